from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxals import ALS, Gradient, Interactions, Objective, build_tiles, fit, pytree
from jaxals.errors import ConfigurationError
from jaxals.hyper import hypergradient
from jaxals.objective.factors import Factors

DATA = Interactions.from_arrays([0, 1, 2, 2], [0, 1, 0, 1], [1.0, 2.0, 3.0, 1.0])


def root(values: Any, *_: Any) -> Any:
    return np.sqrt(values), np.sqrt(values)


def branch(values: Any, *_: Any) -> Any:
    return (values, values) if values.sum() > 0 else (0 * values, values)


def number(values: Any, *_: Any) -> Any:
    return values * float(values.ravel()[0]), values


def chosen(values: Any, *_: Any) -> Any:
    return values, jnp.sum(values[values > 1])


@pytree
class Solver:
    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: Any) -> Any:
        return branch(equations.ridge)


def descend(**settings: Any) -> Any:
    return fit(DATA, Objective.hkv(), Gradient(factors=2, steps=1, **settings), progress=False)


def tune(**functions: Callable) -> Any:
    tiles = build_tiles(DATA, "user", factors=2), build_tiles(DATA, "item", factors=2)
    given: dict[str, Any] = {
        "validation_loss": lambda factors, _: jnp.sum(factors.item**2),
        "objective": lambda p: Objective.hkv(regularization=p),
    } | functions
    loss, objective = given.values()
    factors = Factors(jnp.ones((3, 2), jnp.float32), jnp.ones((2, 2), jnp.float32))
    return hypergradient(loss, jnp.array(1.0, jnp.float32), factors, objective=objective, tiles=tiles)


USES: dict[str, Callable[[Callable], Any]] = {
    "confidence": lambda function: jax.jit(Objective(jax.tree_util.Partial(function)).weights)(jnp.ones(2)),
    "penalty": lambda function: descend(penalty=lambda factors: function(factors.user)[0].sum()),
    "observed_loss": lambda function: descend(observed_loss=lambda value, score: function(value)[0]),
    "validation_loss": lambda function: tune(validation_loss=lambda factors, _: function(factors.item)[0].sum()),
    "objective": lambda function: tune(objective=lambda p: Objective.hkv(function(p)[0])),
}


@pytest.mark.parametrize("function", [root, branch, number, chosen])
@pytest.mark.parametrize("name", USES)
def test_what_cannot_be_traced_is_named_with_what_can(name, function):
    with pytest.raises(
        ConfigurationError, match=f"^`{name}` is compiled by JAX, and must compute with `jax.numpy`"
    ) as e:
        USES[name](function)
    assert isinstance(e.value.__cause__, (jax.errors.JAXTypeError, jax.errors.JAXIndexError))


def test_solvers_and_optimisers_too():
    with pytest.raises(ConfigurationError, match="`solver` is compiled by JAX"):
        fit(DATA, Objective.hkv(), ALS(factors=2, sweeps=1, solver=Solver()), progress=False)
    greedy = optax.GradientTransformation(lambda _: (), lambda gradient, memory, *_: (branch(gradient.user), memory))
    with pytest.raises(ConfigurationError, match="`optimizer` is compiled by JAX"):
        descend(optimizer=greedy)
