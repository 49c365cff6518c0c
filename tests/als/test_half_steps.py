import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.sparse

from jaxals import (
    Cholesky,
    ConjugateGradient,
    Factors,
    Interactions,
    Objective,
    Subspace,
    build_tiles,
    half_step,
    initial_factors,
    make_mesh,
    sweep,
)
from jaxals.als.kernels import gram
from jaxals.als.layout import row_classes
from jaxals.als.stages import Arithmetic
from jaxals.errors import ConfigurationError, DataError
from tests import oracles
from tests.combinations import combinations
from tests.machines import cut_for

N_USERS, N_ITEMS, FACTORS = 23, 17, 5


def problem(seed: int = 0) -> tuple[np.ndarray, Interactions, np.ndarray]:
    r = oracles.random_values(seed, N_USERS, N_ITEMS)
    other = np.random.default_rng(seed + 1).normal(size=(N_ITEMS, FACTORS))
    return r, Interactions.from_scipy(scipy.sparse.csr_matrix(r)), other


@pytest.mark.parametrize(
    ("preset", "side", "dtype"), combinations(oracles.PRESETS, ["user", "item"], ["float64", "float32"])
)
def test_half_step_agrees_with_the_dense_oracle(preset, side, dtype):
    tolerance = {"float64": 1e-10, "float32": 1e-4}[dtype]  # the matrices' condition numbers reach 1e3 here
    r, data, other = problem()
    if side == "item":
        r, other = r.T, np.random.default_rng(5).normal(size=(N_USERS, FACTORS))
    objective, parameters = oracles.PRESETS[preset]
    expected = oracles.half_step(preset, r, other, parameters)
    tiles = build_tiles(data, side, factors=FACTORS, dtype=dtype)
    solved, info = half_step(tiles, jnp.asarray(other, dtype), objective, Cholesky())
    assert solved.dtype == dtype
    assert int(info.non_finite_rows) == 0
    rows = np.asarray(solved)
    assert np.linalg.norm(rows - expected) <= tolerance * np.linalg.norm(expected)
    worst_row = np.abs(rows - expected).max(1) / (np.abs(expected).max(1) + 1e-30)
    assert worst_row.max() <= 10 * tolerance


def test_rows_without_entries_are_zero():
    r, data, other = problem()
    rows, _ = half_step(build_tiles(data, "user", factors=FACTORS), jnp.asarray(other), Objective.hkv(), Cholesky())
    empty = (r == 0).all(1)
    assert empty.any()
    assert not np.asarray(rows)[empty].any()
    assert np.asarray(rows)[~empty].all(axis=1).all()


def test_loss_never_rises():
    _, data, _ = problem()
    objective = Objective.hkv(alpha=10.0)
    user_tiles, item_tiles = (build_tiles(data, side, factors=FACTORS, dtype=jnp.float64) for side in ("user", "item"))
    factors = initial_factors(jax.random.key(0), *data.shape, FACTORS, dtype=jnp.float64)
    losses = [float(objective.loss(factors, data))]
    for _ in range(6):
        factors, _ = sweep(user_tiles, item_tiles, factors, objective, Cholesky())
        losses.append(float(objective.loss(factors, data)))
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize(
    ("preset", "longest", "n_devices"), combinations(oracles.PRESETS, [3, 16_384], [1, 2, 8], strength=1)
)
def test_the_loss_on_the_way_is_the_loss(preset, longest, n_devices, monkeypatch):
    # Rows longer than 3 entries are accumulated, or go in tiles.
    monkeypatch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", longest)
    cut_for(monkeypatch, longest_row=longest)
    monkeypatch.setattr(row_classes, "_WIDTHS", (2,))
    monkeypatch.setattr(gram, "_LEAST_HALVED", FACTORS)  # as with many factors
    r, data, _ = problem()
    objective, parameters = oracles.PRESETS[preset]
    mesh = make_mesh(jax.devices()[:n_devices])
    user_tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64, mesh=mesh)
    item_tiles = build_tiles(data, "item", factors=FACTORS, dtype=jnp.float64, mesh=mesh)
    assert (user_tiles.long is not None) == (longest == 3)
    start = initial_factors(jax.random.key(0), *data.shape, FACTORS, scale=1.0, dtype=jnp.float64)
    for solver in (Cholesky(), ConjugateGradient(steps=1)):
        factors, info = sweep(user_tiles, item_tiles, start, objective, solver, with_loss=True)
        expected = oracles.loss(preset, r, np.asarray(factors.user), np.asarray(factors.item), parameters)
        assert info.loss is not None
        assert float(info.loss) == pytest.approx(expected, rel=1e-10)


def test_recovers_a_planted_solution():
    # Every cell is observed with a huge weight and target x·y: the solution must be the planted one.
    rng = np.random.default_rng(0)
    planted, other = rng.normal(size=(N_USERS, FACTORS)), rng.normal(size=(N_ITEMS, FACTORS))
    scores = planted @ other.T
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(scores))
    weights = jax.tree_util.Partial(lambda weight, r: (weight * jnp.ones_like(r), weight * r), 1e8)
    objective = Objective(weights, unobserved_weight=0.0, regularization=1e-6)
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64)
    rows, _ = half_step(tiles, jnp.asarray(other), objective, Cholesky())
    np.testing.assert_allclose(rows, planted, rtol=1e-8)


def test_a_rotation_of_the_other_table_rotates_the_solution():
    _, data, other = problem()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(FACTORS, FACTORS)))[0]
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64)
    plain, _ = half_step(tiles, jnp.asarray(other), Objective.hkv(), Cholesky())
    rotated, _ = half_step(tiles, jnp.asarray(other @ rotation), Objective.hkv(), Cholesky())
    np.testing.assert_allclose(rotated @ (other @ rotation).T, plain @ other.T, rtol=1e-8, atol=1e-10)


def test_same_inputs_give_the_same_bits():
    _, data, other = problem()
    tiles = build_tiles(data, "user", factors=FACTORS)
    solve = lambda: half_step(tiles, jnp.asarray(other, jnp.float32), Objective.hkv(), Cholesky())[0]
    np.testing.assert_array_equal(solve(), solve())


@pytest.mark.slow
def test_rows_are_those_of_a_step_that_is_not_compiled():
    _, data, other = problem()
    tiles = build_tiles(data, "user", factors=FACTORS)
    solve = lambda: half_step(tiles, jnp.asarray(other, jnp.float32), Objective.hkv(), Cholesky())[0]
    first = solve()
    with jax.disable_jit():
        eager = solve()
    # Sums in another order, in systems whose condition numbers reach 1e3.
    np.testing.assert_allclose(first, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(preconditioner="jacobi"), Subspace(2)])
def test_precision_is_that_of_products_with_the_rows(solver):
    _, data, other = problem()
    tiles = build_tiles(data, "user", factors=FACTORS)

    def program(arithmetic: Arithmetic) -> str:
        step = lambda other: half_step(tiles, other, Objective.hkv(), solver, arithmetic=arithmetic)[0]
        return str(jax.make_jaxpr(step)(jnp.asarray(other, jnp.float32)))

    assert "Precision.DEFAULT" not in program(Arithmetic())
    fast = program(Arithmetic(precision="default"))
    assert "Precision.DEFAULT" in fast
    assert "Precision.HIGHEST" in fast  # rotations and factorisations


@pytest.mark.parametrize("settings", [{"precision": "low"}, {"table_dtype": "float8"}])
def test_unknown_arithmetic_is_refused(settings, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(ConfigurationError, match="must be"):
        Arithmetic(**settings)


def test_hyperparameters_can_be_vmapped():
    r, data, other = problem()
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64)
    alphas = jnp.asarray([1.0, 5.0])
    solve = lambda alpha: half_step(tiles, jnp.asarray(other), Objective.hkv(alpha, 0.2), Cholesky())[0]
    for alpha, rows in zip(alphas, jax.vmap(solve)(alphas), strict=True):
        expected = oracles.half_step("hkv", r, other, {"alpha": float(alpha), "lam": 0.2})
        np.testing.assert_allclose(rows, expected, rtol=1e-8, atol=1e-12)


def test_derivatives_reach_the_other_table():
    _, data, other = problem()
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64)
    solve = lambda other: jnp.sum(jnp.sin(half_step(tiles, other, Objective.hkv(2.0), Cholesky())[0]))
    direction = jax.random.normal(jax.random.key(0), other.shape, jnp.float64)
    step = 1e-5 * direction
    expected = (solve(other + step) - solve(other - step)) / 2e-5
    assert float(jnp.sum(jax.grad(solve)(jnp.asarray(other)) * direction)) == pytest.approx(float(expected), rel=1e-6)


def test_swapped_sides_are_refused():
    _, data, _ = problem()
    with pytest.raises(DataError, match="sides look swapped"):
        half_step(build_tiles(data, "user", factors=2), jnp.ones((N_USERS, 2)), Objective.hkv(), Cholesky())


def test_a_singular_system_is_counted():
    _, data, _ = problem()
    objective = Objective.hkv(regularization=0.0)
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=jnp.float64)
    _, info = half_step(tiles, jnp.zeros((N_ITEMS, FACTORS)), objective, Cholesky())
    assert int(info.non_finite_rows) > 0


def test_initial_factors_have_the_stated_spread_and_accept_abstract_keys():
    factors = initial_factors(jax.random.key(0), 2000, 1000, 16, scale=0.2)
    assert np.std(factors.user) == pytest.approx(0.2 / 4, rel=0.02)
    assert np.abs(np.mean(factors.item)) < 0.001
    shapes = jax.eval_shape(lambda key: initial_factors(key, 3, 2, 4), jax.random.key(0))
    assert isinstance(shapes, Factors)
    assert shapes.item.shape == (2, 4)
