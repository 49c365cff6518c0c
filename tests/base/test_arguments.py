import collections
import os
import types
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from jaxals import Catalog, Choice, Interactions, Recommender, make_mesh
from jaxals._base.arguments import (
    checked_dtype,
    checked_path,
    listed,
    require_array,
    require_flag,
    require_function,
    require_key,
    require_order,
    told_label,
)
from jaxals.errors import ConfigurationError, DataError, JaxalsError
from jaxals.hyper.grid import expand
from jaxals.models.plots import plot_loss
from jaxals.objective.objective import Objective
from jaxals.training.trainers import ALS

NAMES: Any = {"ann", "bob", "eve"}
PLAYS = {"user": [*NAMES], "item": [1, 2, 3], "value": [1.0, 2.0, 3.0]}
MATRIX = scipy.sparse.csr_array(np.eye(3))


@pytest.mark.parametrize(
    "give",
    [
        lambda: Interactions.from_frame(PLAYS | {"user": NAMES}),
        lambda: Interactions.from_frame(PLAYS | {"item": frozenset(NAMES)}),
        lambda: Interactions.from_frame(PLAYS | {"value": {1.0, 2.0, 3.0}}),
        lambda: Interactions.from_scipy(MATRIX, users=NAMES),
        lambda: Interactions.from_file("plays.csv", names=NAMES),
        lambda: Catalog(NAMES, [1]),
        lambda: Catalog([1], NAMES),
        lambda: Catalog([*NAMES], [1]).user_indices(NAMES),
        lambda: make_mesh(NAMES),
        lambda: Choice(NAMES),
        lambda: expand(Objective.hkv, ALS(), {"alpha": {1.0, 2.0}}, [0]),
    ],
)
def test_sets_are_refused_where_order_means_something(give, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(JaxalsError, match=r"must have an order, which a (frozen)?set has not; pass a list"):
        give()


def test_views_of_dictionaries_have_an_order():
    for ordered in ({"a": 1}.keys(), {"a": 1}.items(), os.environ.keys(), collections.OrderedDict(a=1).keys()):
        require_order("`names`", ordered)


@pytest.mark.parametrize("ask", [Interactions.from_file, Recommender.load])
def test_addresses_are_no_paths(ask):
    with pytest.raises(JaxalsError, match=r"on this machine; got the address 'https://example\.com"):
        ask("https://example.com/plays.csv")


def test_a_picture_of_a_run_is_one_of_its_history(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    run: Any = types.SimpleNamespace(history=pd.DataFrame({"sweep": [1], "loss": [1.0]}))
    with pytest.raises(JaxalsError, match=r"`history` must be a DataFrame \(of a run, its `history`\); got a Simple"):
        plot_loss(run)


MATRICES = scipy.sparse.dia_array((2, 2)), scipy.sparse.bsr_array((2, 2))  # which hold rows, and do not list them


def test_a_label_too_long_for_python_to_write_is_told_by_its_size():
    assert told_label(10**5000) == "an integer of 16610 bits"


@pytest.mark.parametrize(
    ("value", "told"), [(1, "1"), ("True", "'True'"), (None, "None"), (np.array([True]), "bool[1]")]
)
def test_what_is_no_flag_is_refused(value, told):
    require_flag("progress", np.True_)
    with pytest.raises(ConfigurationError) as refused:
        require_flag("progress", value)
    assert str(refused.value) == f"`progress` must be True or False; got {told}."


def test_functions_are_refused_by_what_they_take():
    require_function("measure", max, of=["factors"])  # of C: it says nothing of what it takes
    require_function("measure", lambda *of: of, of=["factors", "step"])
    require_function("default_factory", tuple, of=[])
    for value, said in (
        (lambda: None, "; the function <lambda> takes other arguments."),
        (int, "; got the class int."),
    ):
        with pytest.raises(ConfigurationError) as refused:
            require_function("measure", value, of=["factors"])
        assert str(refused.value) == f"`measure` must be a function of factors{said}"


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", "folder/" + "é" * 128])
def test_names_that_no_file_can_have_are_refused(path):
    with pytest.raises(DataError, match=r"^`path` must be the path of a file or folder; got '"):
        checked_path("path", path, DataError)


@pytest.mark.parametrize(
    "value",
    [[1.0, 2.0], np.arange(2), jnp.ones((1, 2)), np.ma.masked_array([1.0, 2.0]), jax.ShapeDtypeStruct((2,), float)],
)
def test_what_is_no_array_of_such_numbers_is_refused(value):
    require_array("score", np.ones(2), 1, jnp.floating, "a vector")
    with pytest.raises(ConfigurationError, match=r"^`score` must be a vector; got "):
        require_array("score", value, 1, jnp.floating, "a vector")


@pytest.mark.parametrize("value", [3, jax.random.PRNGKey(0), np.zeros(2, np.uint32), jnp.uint32(1)])
def test_what_is_no_key_is_refused(value):
    require_key("key", jax.random.key(0))
    with pytest.raises(ConfigurationError, match=r"^`key` must be one `jax.random.key`; got "):
        require_key("key", value)


@pytest.mark.parametrize("value", [None, "no type", [2], "int32", "float16"])
def test_what_names_no_type_of_numbers_to_compute_in_is_refused(value):
    assert checked_dtype("dtype", "float64") == np.float64
    assert checked_dtype("dtype", jnp.bfloat16, jnp.bfloat16) == jnp.bfloat16
    with pytest.raises(ConfigurationError, match=r'^`dtype` must be "float32" or "float64"; got '):
        checked_dtype("dtype", value)


@pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1}, 3, np.array(3), list, *MATRICES])
def test_what_lists_nothing_is_refused(value):
    assert listed("ids", iter((1, 2)), "ids") == [1, 2]
    with pytest.raises(DataError, match=r"^`ids` must be a list of ids; got "):
        listed("ids", value, "a list of ids", DataError)
