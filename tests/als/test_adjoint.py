"""Derivatives of half steps in float64: against finite differences, dense autodiff, each other."""

import dataclasses
import functools
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
    initial_factors,
    make_mesh,
    sweep,
)
from jaxals.als.layout import row_classes
from jaxals.errors import ConfigurationError, DataError
from tests import oracles
from tests.combinations import combinations
from tests.machines import cut_for

N_USERS, N_ITEMS, FACTORS = 23, 17, 5
VALUES = oracles.random_values(0, N_USERS, N_ITEMS)
DATA = Interactions.from_scipy(scipy.sparse.csr_matrix(VALUES))
OTHER = jnp.asarray(np.random.default_rng(1).normal(size=(N_ITEMS, FACTORS)))
WEIGHT = jnp.asarray(np.random.default_rng(2).normal(size=(N_USERS, FACTORS)))
# All of them exact: derivatives are those of exact solutions.
SOLVERS = {
    "Cholesky": Cholesky(),
    "ConjugateGradient": ConjugateGradient(tolerance=1e-14),
    "Subspace": Subspace(FACTORS),
}


def tiles_of(side: Any, n_devices: int = 1, longest: int = 16_384, data: Interactions = DATA) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if longest < 16_384:  # longer rows are accumulated
            patch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", longest)
            cut_for(patch, longest_row=longest)
            patch.setattr(row_classes, "_WIDTHS", (2,))
        mesh = make_mesh(jax.devices()[:n_devices])
        return build_tiles(data, side, factors=FACTORS, dtype=jnp.float64, mesh=mesh)


def parameters() -> dict[str, Any]:
    return {
        "other table": OTHER,
        "alpha": jnp.asarray(2.0),
        "epsilon": jnp.asarray(0.7),
        "unobserved weight": jnp.asarray(0.3),
        "λ": jnp.asarray(0.2),
        "ν": jnp.asarray(0.4),
        "κ": jnp.asarray(0.1),
        "λ of each row": jnp.linspace(0.5, 2.0, N_USERS),
        "values": None,  # those of the tiles
    }


def with_values(tiles: Any, values: list) -> Any:
    leaves = [*tiles.groups, *([tiles.long] if tiles.long is not None else [])]
    parts = [dataclasses.replace(part, value=value) for part, value in zip(leaves, values, strict=True)]
    n_groups = len(tiles.groups)
    return dataclasses.replace(tiles, groups=tuple(parts[:n_groups]), long=parts[-1] if len(parts) > n_groups else None)


def rows_of(p: dict[str, Any], tiles: Any, solver: Any, transposed: Any = None) -> Any:
    ridge = p["λ"] * p["λ of each row"]
    objective = Objective(LogConfidence(p["alpha"], p["epsilon"]), p["unobserved weight"], ridge, p["ν"], p["κ"])
    if p["values"] is not None:
        tiles = with_values(tiles, p["values"])
    return half_step(tiles, p["other table"], objective, solver, transposed=transposed)[0]


class Case:
    """A function of all parameters, its gradient by all of them at once, and its slopes."""

    def __init__(self, solver: str, n_devices: int, longest: int):
        tiles = tiles_of("user", n_devices, longest)
        assert (tiles.long is not None) == (longest < 16_384)
        assert n_devices == 1 or tiles.mesh.size == n_devices
        transposed = tiles_of("item", n_devices, longest)
        function = lambda p: jnp.sum(WEIGHT * jnp.sin(rows_of(p, tiles, SOLVERS[solver], transposed)))
        values = [group.value for group in tiles.groups] + ([tiles.long.value] if tiles.long is not None else [])
        self.at = {**parameters(), "values": values}
        self.function = jax.jit(function)
        self.gradient = jax.jit(jax.grad(function))
        self.slope = jax.jit(lambda p, way: jax.jvp(function, (p,), (way,))[1])

    def way(self, name: str) -> dict[str, Any]:
        """Return a direction that changes one parameter alone, and of the values no padding."""
        none = jax.tree.map(jnp.zeros_like, self.at)
        # The change of an entry depends on its value alone, so that all tiles of the same entries have the same slope.
        along = lambda leaf: jnp.cos(3 * leaf + 1) * (leaf != 0).astype(leaf.dtype)
        return {**none, name: jax.tree.map(along, self.at[name])}


@functools.cache
def case(solver: str, n_devices: int, longest: int) -> Case:
    return Case(solver, n_devices, longest)


@functools.cache
def slope_by_differences(name: str) -> float:
    """Differentiate the exact solution: all solvers and all ways to lay out the tiles must have its slope."""
    made = case("Cholesky", 1, 16_384)
    way = made.way(name)
    # Five points with steps of 1e-4: their error is that of h⁴ f⁽⁵⁾ / 30 and of eps f / h, both near 1e-12 here.
    at = lambda steps: float(made.function(jax.tree.map(lambda a, b: a + 1e-4 * steps * b, made.at, way)))
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / 12e-4


@pytest.mark.parametrize(
    ("solver", "n_devices", "longest"),
    [
        pytest.param("Cholesky", 1, 16_384, marks=pytest.mark.slow),
        pytest.param("Cholesky", 2, 3, marks=pytest.mark.slow),
        pytest.param("ConjugateGradient", 1, 16_384, marks=pytest.mark.slow),
        pytest.param("Subspace", 1, 16_384, marks=pytest.mark.slow),
        pytest.param("ConjugateGradient", 2, 3, marks=pytest.mark.slow),
        pytest.param("Subspace", 2, 3, marks=pytest.mark.slow),
    ],
)
def test_derivatives_agree_with_finite_differences(solver, n_devices, longest):
    made = case(solver, n_devices, longest)
    gradient = made.gradient(made.at)
    for name in parameters():
        way, expected = made.way(name), slope_by_differences(name)
        assert abs(expected) > 1e-3, name
        backwards = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient[name], way[name])))
        assert float(backwards) == pytest.approx(expected, rel=1e-6), name
        assert float(made.slope(made.at, way)) == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize(("gathers", "preset"), combinations([False, True], oracles.PRESETS, strength=1))
def test_the_gradient_by_the_other_table_is_that_of_dense_algebra(preset, gathers):
    objective, settings = oracles.PRESETS[preset]
    full, target, ridge = map(jnp.asarray, oracles.cells(preset, VALUES, settings))
    is_active = jnp.asarray((VALUES != 0).any(1))

    def dense(other):
        eye = jnp.eye(FACTORS)
        solve = lambda c, p, lam: jnp.linalg.solve((other.T * c[None]) @ other + lam * eye, other.T @ (c * p))
        return jnp.where(is_active[:, None], jax.vmap(solve)(full, target, ridge), 0.0)

    tiles, transposed = tiles_of("user"), tiles_of("item") if gathers else None
    ours = lambda other: half_step(tiles, other, objective, Cholesky(), transposed=transposed)[0]
    loss = lambda rows: jnp.sum(WEIGHT * jnp.sin(rows))
    expected = jax.jit(jax.grad(lambda other: loss(dense(other))))(OTHER)
    got = jax.jit(jax.grad(lambda other: loss(ours(other))))(OTHER)
    # Condition numbers reach 1e4.
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-9 * float(jnp.abs(expected).max()))


def test_jacobians_agree_forwards_backwards_and_jitted():
    tiles, transposed = tiles_of("user"), tiles_of("item")
    function = lambda p: rows_of(p, tiles, Cholesky(), transposed)[3]
    some = parameters()
    forwards, backwards = jax.jit(jax.jacfwd(function))(some), jax.jit(jax.jacrev(function))(some)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), forwards, backwards)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [1, 8])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_can_be_vmapped(solver, n_devices):
    # The other table and w0, too: then every model has a Gramian of its own.
    tiles, transposed = tiles_of("user", n_devices), tiles_of("item", n_devices)
    function = lambda p: jnp.sum(WEIGHT * rows_of(p, tiles, SOLVERS[solver], transposed))
    some = parameters()
    models = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf, 0.7 * leaf]), some)
    together = jax.jit(jax.vmap(jax.grad(function)))(models)
    for number in range(3):
        alone = jax.jit(jax.grad(function))(jax.tree.map(lambda leaf, n=number: leaf[n], models))
        jax.tree.map(lambda a, b, n=number: np.testing.assert_allclose(a[n], b, rtol=1e-6, atol=1e-8), together, alone)


@pytest.mark.parametrize("unobserved_weight", [0.0, 1.0])
def test_eigenvalues_that_coincide_do_no_harm(unobserved_weight):
    other = jnp.linalg.qr(OTHER)[0]  # YᵀY is the identity
    solve = lambda other, weight: jnp.sum(
        jnp.sin(half_step(tiles_of("user"), other, Objective.ials(weight, 0.1), Cholesky())[0])
    )
    way = 1e-6 * jnp.cos(jnp.arange(other.size)).reshape(other.shape)
    expected = (solve(other + way, unobserved_weight) - solve(other - way, unobserved_weight)) / 2
    got = jnp.vdot(jax.grad(solve)(other, unobserved_weight), way)
    assert float(got) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.slow
def test_at_its_solution_a_pass_over_blocks_has_the_exact_derivative():
    tiles = tiles_of("user")
    exact = half_step(tiles, OTHER, Objective.hkv(2.0), Cholesky())[0]
    loss = lambda other, solver: jnp.sum(WEIGHT * half_step(tiles, other, Objective.hkv(2.0), solver, exact)[0])
    gradient = jax.jit(jax.grad(loss))
    expected = gradient(OTHER, Cholesky())
    for solver in (Subspace(2), ConjugateGradient(steps=1)):
        np.testing.assert_allclose(gradient(OTHER, solver), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_a_sweep_is_differentiable():
    user_tiles, item_tiles = tiles_of("user"), tiles_of("item")
    start = initial_factors(jax.random.key(0), N_USERS, N_ITEMS, FACTORS, scale=1.0, dtype=jnp.float64)

    def function(p):
        ridge = Sides(p["user"], p["item"])
        objective = Objective(LogConfidence(p["alpha"], 0.5), p["w0"], ridge, 0.3, 0.1)
        factors = Factors(start.user, p["start"])
        for _ in range(2):
            factors, _ = sweep(user_tiles, item_tiles, factors, objective, Cholesky())
        return jnp.sum(jnp.sin(jnp.matmul(factors.user, factors.item.T)))

    at = {
        "user": jnp.linspace(0.1, 0.4, N_USERS),
        "item": jnp.asarray(0.2),
        "alpha": jnp.asarray(1.5),
        "w0": jnp.asarray(0.4),
        "start": start.item,
    }
    gradient, jitted = jax.jit(jax.grad(function))(at), jax.jit(function)
    for name in at:
        way = jax.random.normal(jax.random.key(1), at[name].shape, jnp.float64)
        moved = lambda steps, name=name, way=way: float(jitted({**at, name: at[name] + 1e-4 * steps * way}))
        expected = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12e-4
        assert float(jnp.vdot(gradient[name], way)) == pytest.approx(expected, rel=1e-6), name


def test_the_loss_of_a_sweep_is_that_of_the_factors():
    start = initial_factors(jax.random.key(0), N_USERS, N_ITEMS, FACTORS, dtype=jnp.float64)
    tiles, entries = (tiles_of("user"), tiles_of("item")), DATA.to_coo(jnp.float64)

    def both(alpha):
        objective = Objective.hkv(alpha, 0.3)
        factors, info = sweep(*tiles, start, objective, Cholesky(), with_loss=True)
        return info.loss, objective.loss(factors, entries)

    (loss, expected), (slope, expected_slope) = jax.jit(lambda alpha: jax.jvp(both, (alpha,), (1.0,)))(2.0)
    assert float(loss) == pytest.approx(float(expected), rel=1e-10)
    assert float(slope) == pytest.approx(float(expected_slope), rel=1e-9)


@pytest.mark.parametrize(
    ("size", "solver"), combinations([1e-18, 1e-30, 1e30], [ConjugateGradient(), Subspace(2)], strength=1)
)
def test_gradients_of_any_size_are_right_in_single_precision(size, solver):
    tiles = build_tiles(DATA, "user", factors=FACTORS)
    other, weight = OTHER.astype(jnp.float32), WEIGHT.astype(jnp.float32)
    exact = half_step(tiles, other, Objective.hkv(2.0), Cholesky())[0]

    def loss(other, solver, size):
        return size * jnp.sum(weight * half_step(tiles, other, Objective.hkv(2.0), solver, exact)[0])

    gradient = jax.jit(jax.grad(loss))
    expected = gradient(other, Cholesky(), jnp.float32(1.0))
    got = gradient(other, solver, jnp.float32(size)) / jnp.float32(size)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * float(jnp.abs(expected).max()))


def test_each_row_can_have_its_own_ridge():
    ridges = np.linspace(0.1, 3.0, N_USERS)
    objective = Objective.hkv(2.0, Sides(user=jnp.asarray(ridges), item=0.5))
    rows, _ = half_step(tiles_of("user"), OTHER, objective.of("user"), Cholesky())
    for user, ridge in enumerate(ridges):
        alone = oracles.half_step("hkv", VALUES[[user]], np.asarray(OTHER), {"alpha": 2.0, "lam": ridge})
        np.testing.assert_allclose(rows[user], alone[0], rtol=1e-8, atol=1e-10)
    with pytest.raises(ConfigurationError, match="`regularization` has two sides"):
        half_step(tiles_of("user"), OTHER, objective, Cholesky())
    with pytest.raises(DataError, match=r"for \(23,\) rows, but there are \(17,\)"):
        half_step(tiles_of("item"), WEIGHT, objective.of("user"), Cholesky())


def test_what_a_confidence_closes_over_is_differentiated_too():
    tiles = tiles_of("user")

    def loss(alpha: Any) -> Any:
        confidence = jax.tree_util.Partial(lambda r: (alpha * r, 1 + alpha * r))
        return jnp.sum(jnp.sin(half_step(tiles, OTHER, Objective(confidence, 0.3, 0.5), Cholesky())[0]))

    both = jax.jit(jax.value_and_grad(loss))
    expected = (both(2.0 + 1e-5)[0] - both(2.0 - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(both(2.0)[1], expected, rtol=1e-7)
