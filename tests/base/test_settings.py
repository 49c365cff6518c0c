import copy
import dataclasses
import pickle
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals._base.pytree import pytree, static
from jaxals._base.settings import same, settings, shown


@settings
class Trainer:
    factors: int = 64
    penalty: Any = None


@pytree
class Node:
    weight: Any
    name: str = static(default="a")


def scaled(factor: float) -> Any:
    return lambda value: factor * value


SETTINGS = [
    jaxals.ALS(),
    jaxals.ALS(8, solver=jaxals.ConjugateGradient(tolerance=1e-6)),
    jaxals.Gradient(),
    jaxals.Gradient(optimizer=optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 50)))),
    jaxals.Gradient(optimizer=optax.lbfgs(), penalty=scaled(2.0)),
    jaxals.Gradient(batch=jaxals.SampledNegatives(32)),
    jaxals.Subspace(32),
    jaxals.Objective.log(alpha=2.0),
    jaxals.Objective.hkv(regularization=jaxals.Sides(0.1, np.array([0.2, 0.3]))),
    jaxals.SearchSpace.preset("ials", factors=jaxals.Choice((8, 16))),
    jaxals.SearchSpace(
        {"alpha": jaxals.Uniform(1, 2)}, lambda drawn, data: (jaxals.Objective.hkv(**drawn), jaxals.ALS())
    ),
    jaxals.EarlyStopping("ndcg@10"),
]


@pytest.mark.parametrize("one", SETTINGS, ids=lambda one: type(one).__name__)
def test_public_settings_are_values(one):
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        assert other == one
        assert hash(other) == hash(one)
    assert sum(one == other for other in SETTINGS) == 1
    assert len(repr(one)) < 400


def test_settings_made_twice_are_equal():
    assert jaxals.Gradient() == jaxals.Gradient()
    assert jaxals.Gradient(optimizer=optax.adam(0.1)) == jaxals.Gradient(optimizer=optax.adam(0.1))
    assert jaxals.Gradient(optimizer=optax.adam(0.1)) != jaxals.Gradient(optimizer=optax.adam(0.2))
    assert Trainer(penalty=scaled(2.0)) == Trainer(penalty=scaled(2.0))
    assert Trainer(penalty=scaled(2.0)) != Trainer(penalty=scaled(3.0))
    assert Trainer() != dataclasses.replace(Trainer(), factors=8)


def test_arrays_are_compared_by_their_numbers():
    assert Node(jnp.arange(3)) == Node(jnp.arange(3))
    assert Node(jnp.arange(3)) != Node(jnp.arange(3.0))
    assert Node(jnp.arange(3)) != Node(jnp.arange(3), "b")
    assert Node(jax.random.key(1)) == Node(jax.random.key(1))
    assert Node(jax.random.key(1)) != Node(jax.random.key(2))
    assert hash(Node(jnp.arange(3))) == hash(Node(jnp.zeros(3, int)))
    assert Node(1.0) == Node(np.float64(1.0))
    assert hash(Node(1.0)) == hash(Node(np.float64(1.0)))
    assert Node(1.0) != "something else"


def test_what_is_traced_is_the_same_as_itself_alone():
    def function(value):
        assert Node(value) == Node(value)
        assert Node(value) != Node(value + 1)
        return value

    jax.jit(function)(1.0)


def test_functions_that_refer_to_themselves_are_compared():
    def made() -> Any:
        def countdown(n: int) -> int:
            return n and countdown(n - 1)

        return countdown

    assert same(made(), made())
    assert same(partial(scaled(2.0), 1), partial(scaled(2.0), 1))
    assert not same(partial(scaled(2.0), 1), partial(scaled(2.0), 2))


def test_large_arrays_and_functions_are_printed_shortly():
    assert repr(Node(jnp.zeros((3, 5), jnp.float32))) == "Node(weight=float32[3,5], name='a')"
    assert repr(Node(jnp.array(2.0))) == "Node(weight=2.0, name='a')"
    assert repr(jaxals.Gradient()).count("GradientTransformation") == 1
    assert shown({"a": [np.zeros(9)], "b": (np.zeros(9),)}) == "{'a': [float64[9]], 'b': (float64[9],)}"
    assert shown(jaxals.Objective.hkv(regularization=jaxals.Sides(0.1, np.zeros(9)))).count("float64[9]") == 1

    @dataclasses.dataclass
    class Own:
        weight: Any

    assert shown(Own(np.zeros(9))).endswith("Own(weight=float64[9])")


def test_functions_that_share_what_they_closed_over_are_compared_in_time():
    def nested(depth: int) -> Any:
        inner = scaled(2.0)
        for _ in range(depth):
            inner = (lambda one, other: lambda value: one(value) + other(value))(inner, inner)
        return inner

    assert same(nested(60), nested(60))


def test_what_cannot_be_hashed_or_is_not_there_yet_is_hashed_by_its_kind():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

    assert hash(Trainer(penalty=Unhashable())) == hash(Trainer(penalty=Unhashable()))
    assert hash(Trainer(penalty=partial(scaled(2.0), 1))) == hash(Trainer(penalty=partial(scaled(2.0), 2)))

    def early() -> Any:
        later: int
        function = lambda: later
        function, other = (lambda: later for _ in range(2))
        assert same(function, other)
        assert same(Trainer(penalty=function), Trainer(penalty=lambda: later)) is False
        later = 1
        return function

    assert early()() == 1


def test_named_tuples_are_printed_by_their_fields():
    class Pair(NamedTuple):
        first: Any
        second: Any

    assert shown(Pair(1, np.zeros(9))) == "Pair(first=1, second=float64[9])"
