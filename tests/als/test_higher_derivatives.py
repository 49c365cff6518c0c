"""Second derivatives by everything at once, in both orders of both directions, against dense float64 algebra."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import (
    Cholesky,
    ConjugateGradient,
    Factors,
    Interactions,
    LogConfidence,
    Objective,
    Sides,
    Subspace,
    build_tiles,
    half_step,
    pytree,
    sweep,
)
from jaxals.als import NormalEquations
from jaxals.als.adjoint import _values, _with_values
from jaxals.hyper import FoldIn, Truncated, hypergradient
from tests import oracles

N_USERS, N_ITEMS, FACTORS = 7, 6, 2
VALUES = oracles.random_values(0, N_USERS, N_ITEMS)
DATA = Interactions.from_scipy(scipy.sparse.csr_matrix(VALUES))
TILES = tuple(build_tiles(DATA, side, factors=FACTORS, dtype=jnp.float64) for side in ("user", "item"))
WEIGHT, USER, ITEM = (
    jnp.asarray(np.random.default_rng(seed).normal(size=(rows, FACTORS)))
    for seed, rows in enumerate((N_USERS, N_USERS, N_ITEMS))
)


@pytree
class Direct:
    """A solver as a user may write one."""

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Any:
        matrix, target = equations.matrices()
        return jnp.linalg.solve(matrix, target[:, :, None])[:, :, 0], jnp.zeros(len(target), bool)

    def adjoint(self, dtype: Any) -> "Direct":
        return self


SOLVERS = {
    "Cholesky": Cholesky(),
    "ConjugateGradient": ConjugateGradient(tolerance=1e-14),
    "Subspace": Subspace(FACTORS),
    "own": Direct(),
}
# Outer, inner.
MODES = {
    "forwards twice": (jax.jacfwd, jax.jacfwd),
    "forwards over backwards": (jax.jacfwd, jax.jacrev),
    "backwards over forwards": (jax.jacrev, jax.jacfwd),
    "backwards twice": (jax.jacrev, jax.jacrev),
}
AT = {
    "α": jnp.asarray(2.0),
    "ε": jnp.asarray(0.7),
    "w0": jnp.asarray(0.3),
    "λ of users": jnp.linspace(0.4, 0.9, N_USERS),
    "λ of items": jnp.asarray(0.5),
    "ν": jnp.asarray(0.4),
    "κ": jnp.asarray(0.1),
    "scale of values": jnp.asarray(1.2),
    "start": USER,
    "other table": ITEM,
    "weight": WEIGHT,
}
Parameters = dict[str, Any]


def objective_of(p: Parameters) -> Objective:
    ridge = Sides(p["λ of users"], p["λ of items"])
    return Objective(LogConfidence(p["α"], p["ε"]), p["w0"], ridge, p["ν"], p["κ"])


def tiles_of(p: Parameters) -> tuple[Any, Any]:
    user, item = (
        _with_values(tiles, tuple(p["scale of values"] * value for value in _values(tiles))) for tiles in TILES
    )
    return user, item


def dense_half_step(p: Parameters, other: Any, side: Any) -> Any:
    objective, values = objective_of(p).of(side), VALUES if side == "user" else VALUES.T
    seen, count = values != 0, (values != 0).sum(1).astype(float)
    weights = objective.confidence(p["scale of values"] * jnp.where(seen, values, 1.0))
    gram_weight, target_weight = (jnp.where(seen, weight, 0.0) for weight in weights)
    offset = objective.frequency_offset * values.shape[1]
    ridge = objective.regularization * (count + offset) ** objective.frequency_exponent

    def solve(gram_weight: Any, target_weight: Any, ridge: Any) -> Any:
        matrix = (other.T * (objective.unobserved_weight + gram_weight)[None]) @ other + ridge * jnp.eye(FACTORS)
        return jnp.linalg.solve(matrix, other.T @ target_weight)

    rows = jax.vmap(solve)(gram_weight, target_weight, ridge * jnp.ones(len(values)))
    return jnp.where((count > 0)[:, None], rows, 0.0)


def dense_sweeps(p: Parameters, n_sweeps: int) -> Factors:
    user, item = p["start"], p["other table"]
    for _ in range(n_sweeps):
        user = dense_half_step(p, item, "user")
        item = dense_half_step(p, user, "item")
    return Factors(user, item)


def dense_loss(p: Parameters, factors: Factors) -> Any:
    scores, seen, objective = factors.user @ factors.item.T, VALUES != 0, objective_of(p)
    weights = objective.confidence(p["scale of values"] * jnp.where(seen, VALUES, 1.0))
    gram_weight, target_weight = (jnp.where(seen, weight, 0.0) for weight in weights)
    full = gram_weight + objective.unobserved_weight
    ridge = objective.ridge_loss(factors, jnp.asarray(seen.sum(1)), jnp.asarray(seen.sum(0)))
    return jnp.sum(full * (target_weight / full - scores) ** 2) + ridge


def of_rows(p: Parameters, rows: Any) -> Any:
    return jnp.sum(p["weight"] * jnp.sin(rows))


def of_scores(p: Parameters, factors: Factors) -> Any:
    return jnp.sum(jnp.sin(factors.user @ factors.item.T)) + of_rows(p, factors.user)


def one_half_step(p: Parameters, solver: Any) -> Any:
    tiles, objective = tiles_of(p), objective_of(p).of("user")
    return of_rows(p, half_step(tiles[0], p["other table"], objective, solver, p["start"], transposed=tiles[1])[0])


def scattered(p: Parameters, solver: Any) -> Any:
    return of_rows(p, half_step(tiles_of(p)[0], p["other table"], objective_of(p).of("user"), solver, p["start"])[0])


def two_sweeps(p: Parameters, solver: Any) -> Any:
    step = lambda factors, _: (sweep(*tiles_of(p), factors, objective_of(p), solver)[0], None)
    return of_scores(p, jax.lax.scan(step, Factors(p["start"], p["other table"]), length=2)[0])


def loss_of_a_sweep(p: Parameters, solver: Any) -> Any:
    start = Factors(p["start"], p["other table"])
    return sweep(*tiles_of(p), start, objective_of(p), solver, with_loss=True)[1].loss


def value_of(method: Any) -> Callable[[Parameters, Any], Any]:
    def value(p: Parameters, solver: Any) -> Any:
        start, loss = Factors(p["start"], p["other table"]), lambda factors, p: of_scores(p, factors)
        known = dict(objective=objective_of, tiles=tiles_of(p), solver=solver, method=method)
        return hypergradient(loss, p, start, **known).value

    return value


FUNCTIONS: dict[str, tuple[Callable, Callable[[Parameters], Any]]] = {
    "half step": (one_half_step, lambda p: of_rows(p, dense_half_step(p, p["other table"], "user"))),
    "half step, scattered": (scattered, lambda p: of_rows(p, dense_half_step(p, p["other table"], "user"))),
    "two sweeps": (two_sweeps, lambda p: of_scores(p, dense_sweeps(p, 2))),
    "loss of a sweep": (loss_of_a_sweep, lambda p: dense_loss(p, dense_sweeps(p, 1))),
    "folded in": (
        value_of(FoldIn()),
        lambda p: of_scores(p, Factors(dense_half_step(p, p["other table"], "user"), p["other table"])),
    ),
    "truncated": (value_of(Truncated(2)), lambda p: of_scores(p, dense_sweeps(p, 2))),
}


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.fixture(scope="module")
def expected() -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def of(name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in found:
            dense = FUNCTIONS[name][1]
            both = jax.jit(lambda p: (jax.grad(dense)(p), jax.jacfwd(jax.grad(dense))(p)))(AT)
            found[name] = flat(both[0]), flat(both[1])
        return found[name]

    return of


FAST = {("half step", "Cholesky", "forwards over backwards")}


@pytest.mark.parametrize(
    ("name", "solver", "mode"),
    [
        case if case in FAST else pytest.param(*case, marks=pytest.mark.slow)
        for case in itertools.product(FUNCTIONS, SOLVERS, MODES)
    ],
)
def test_they_are_those_of_dense_algebra(name, solver, mode, expected):
    outer, inner = MODES[mode]
    function = lambda p: FUNCTIONS[name][0](p, SOLVERS[solver])
    first, second = jax.jit(lambda p: (inner(function)(p), outer(inner(function))(p)))(AT)
    scale = np.abs(expected(name)[1]).max()
    np.testing.assert_allclose(flat(first), expected(name)[0], rtol=1e-9, atol=1e-10 * scale)
    np.testing.assert_allclose(flat(second), expected(name)[1], rtol=1e-8, atol=1e-10 * scale)


@pytest.mark.slow
def test_each_parameter_by_each_other_alone():
    # What JAX knows to be constant then differs from pair to pair.
    ours, dense = (lambda p: one_half_step(p, Cholesky())), FUNCTIONS["half step"][1]
    names = ["α", "λ of users", "scale of values", "start", "other table", "weight"]

    def mixed(function: Callable, mode: str, first: str, second: str) -> Any:
        outer, inner = MODES[mode]
        by_first = lambda y: inner(lambda x: function({**AT, second: y, first: x}))(AT[first])
        return jax.jit(outer(by_first))(AT[second])

    for first in names:
        for second in set(names) - {first}:
            right = mixed(dense, "forwards twice", first, second)
            for mode in MODES:
                np.testing.assert_allclose(
                    mixed(ours, mode, first, second), right, rtol=1e-8, atol=1e-10, err_msg=f"{first} {second} {mode}"
                )


@pytest.mark.slow
def test_products_with_the_hessian_can_be_vmapped():
    def products(function: Callable) -> Any:
        along = lambda way: jax.jvp(jax.grad(function), (AT,), (way,))[1]
        return jax.jit(jax.vmap(along))(jax.tree.map(lambda leaf: jnp.stack([leaf, jnp.cos(leaf)]), AT))

    ours, dense = (lambda p: two_sweeps(p, Cholesky())), FUNCTIONS["two sweeps"][1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), products(ours), products(dense))


@pytest.mark.slow
def test_models_that_are_vmapped_can_be_differentiated_twice():
    def curvature(function: Callable) -> Any:
        models = lambda p: jax.vmap(lambda scale: function({**p, "other table": scale * p["other table"]}))
        both = lambda α: jnp.sum(jnp.sin(models({**AT, "α": α})(jnp.asarray([1.0, 2.0, -0.5]))))
        return jax.jit(jax.grad(jax.grad(both)))(AT["α"])

    ours, dense = (lambda p: one_half_step(p, Cholesky())), FUNCTIONS["half step"][1]
    assert float(curvature(ours)) == pytest.approx(float(curvature(dense)), rel=1e-9)
