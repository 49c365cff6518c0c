import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

from jaxals import ALS, Catalog, Gradient, Interactions, Objective, Subspace, UserBatches, datasets
from jaxals.training.fingerprint import describe, differences

DATA = datasets.synthetic(n_users=12, n_items=9, n_interactions=30, seed=0)


def changed(before, after) -> list[str]:
    return list(differences(describe(of=before), describe(of=after)))


def test_code_is_named_after_the_setting_that_leads_to_it_where_it_has_no_name_of_its_own():
    assert changed(lambda r: r + 1, lambda r: r - 1) == ["code.of"]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (Objective.hkv(2.0), Objective.hkv(3.0), ["of.confidence.alpha"]),
        (Objective.hkv(), Objective.hkv(regularization=jnp.float32(0.2)), ["of.regularization"]),
        (ALS(solver=Subspace(2)), ALS(solver=Subspace(4)), ["of.solver.block"]),
        (Gradient(batch=UserBatches(2)), Gradient(batch=UserBatches(3)), ["of.batch.size"]),
        (DATA, DATA.select(np.arange(20)), ["of.user", "of.item", "of.value"]),
        (pd.Index(["a", "b"]), pd.Index(["a", "c"]), ["of"]),
        (range(3), range(4), ["of"]),
        (jax.random.key(1), jax.random.key(2), ["of"]),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1)), optax.chain(optax.clip(2.0), optax.sgd(0.1)), ["of"]),
        (functools.partial(print, 1), functools.partial(print, 2), ["of"]),
        (None, 1, ["of"]),
        (1, 1.0, ["of"]),
    ],
)
def test_what_differs_is_named(before, after, names):
    assert changed(before, after) == names


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 50)),
        lambda: lambda factors: 0.1 * factors.item.var(),
        lambda: jax.jit(lambda x: x + 1),
        lambda: jax.tree_util.Partial(lambda r: (r, r)),
        lambda: Interactions.from_arrays([0], [1], catalog=Catalog([("a", 1)], ["x", "y"])),
        lambda: Objective.ials(),
    ],
)
def test_what_is_made_twice_the_same_way_is_the_same(make):
    assert changed(make(), make()) == []


def test_code_that_is_there_on_one_side_alone_is_named():
    one, other = {"code": "x", "code.gone": "1"}, {"code": "x", "code.come": "2"}
    assert list(differences(one, other).values()) == ["the code of `gone` is gone", "the code of `come` is new"]


def test_a_number_of_numpy_is_that_of_python():
    assert describe(rate=np.float64(0.5)) == describe(rate=0.5)


def test_functions_differ_by_their_constants_and_what_they_closed_over():
    make = lambda weight: lambda x: weight * x
    assert changed(make(1), make(2)) == ["code.of:weight"]
    assert changed(lambda x: x + 1, lambda x: x + 2) == ["code.of"]
    table = np.zeros(3)
    assert changed(make(table), make(table + 1)) == ["code.of:weight"]


@pytest.mark.parametrize("text", ["lambda x: WEIGHT * x", "lambda x: (lambda: WEIGHT * x)()"])
def test_functions_differ_by_the_numbers_and_arrays_that_are_global(text):
    make = lambda weight: eval(text, {"WEIGHT": weight, "unused": object()})
    assert changed(make(0.1), make(0.2)) == ["code.of:WEIGHT"]
    assert changed(make(np.ones(2)), make(np.zeros(2))) == ["code.of:WEIGHT"]
    assert changed(make(0.1), make(0.1)) == []
    assert changed(eval(text, {}), eval(text, {})) == []


def test_functions_differ_by_their_defaults():
    make = lambda weight: eval(f"lambda x, *, weight={weight}: weight * x")
    assert changed(make(1), make(2)) == ["code.of:weight"]


def test_a_function_that_knows_itself_comes_to_an_end():
    def again(n):
        return again(n - 1) if n else 0

    assert changed(again, again) == []


def test_differences_say_what_was_and_what_is():
    assert differences({"a": 1, "b": "x", "c": None}, {"a": 2, "b": "x"}) == {
        "a": "`a` was 1, is 2",
        "c": "`c` was null, is not there",
    }
