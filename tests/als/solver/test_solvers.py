import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import (
    Cholesky,
    ConjugateGradient,
    Interactions,
    Objective,
    Subspace,
    build_tiles,
    half_step,
    make_mesh,
)
from jaxals.als.kernels.gather import pack
from jaxals.als.solver.equations import NormalEquations
from jaxals.errors import ConfigurationError
from tests import oracles
from tests.combinations import combinations, fast_first

FACTORS = 6
OTHER = np.random.default_rng(1).normal(size=(17, FACTORS))


def solve(r: np.ndarray, preset: str, solver, dtype=jnp.float64, start=None):
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    tiles = build_tiles(data, "user", factors=FACTORS, dtype=dtype)
    objective = oracles.PRESETS[preset][0]
    return half_step(tiles, jnp.asarray(OTHER, dtype), objective, solver, start)


@pytest.mark.parametrize(
    ("preset", "preconditioner"),
    combinations(["hkv", "implicit", "ials"], ["gramian", "jacobi", None], strength=1),
)
def test_as_many_steps_as_factors_are_exact(preset, preconditioner):
    r = oracles.random_values(0, 23, 17)
    rows, _ = solve(r, preset, ConjugateGradient(steps=3 * FACTORS, preconditioner=preconditioner))
    # In exact arithmetic `FACTORS` steps do; weights from 2 to 1e3 make rounding cost some more.
    expected = oracles.half_step(preset, r, OTHER, oracles.PRESETS[preset][1])
    np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-8)


def test_the_gramian_saves_steps():
    r = (oracles.random_values(0, 23, 17) != 0).astype(float)
    expected = oracles.half_step("ials", r, OTHER, oracles.PRESETS["ials"][1])
    errors = {}
    for preconditioner in ("gramian", None):
        rows, _ = solve(r, "ials", ConjugateGradient(steps=2, preconditioner=preconditioner))
        errors[preconditioner] = np.linalg.norm(rows - expected)
    assert errors["gramian"] < errors[None]


def test_a_tolerance_is_reached_or_the_rows_are_counted():
    r = oracles.random_values(0, 23, 17)
    expected = oracles.half_step("hkv", r, OTHER, oracles.PRESETS["hkv"][1])
    rows, info = solve(r, "hkv", ConjugateGradient(steps=100, tolerance=1e-8))
    assert int(info.unconverged_rows) == 0
    # The residual is small in the preconditioner's norm; the error is larger by the condition number, under 1e4.
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)
    _, info = solve(r, "hkv", ConjugateGradient(steps=1, tolerance=1e-8))
    assert 0 < int(info.unconverged_rows) <= (r != 0).any(1).sum()


def test_a_tolerance_takes_the_steps_it_needs():
    # Weights up to 3e6 in one row: many more steps than factors, and far more than the three of the default.
    r = oracles.random_values(0, 23, 17)
    r[3:6, :6] = [1, 1e2, 1e4, 1e5, 1e6, 3]
    rows, info = solve(r, "hkv", ConjugateGradient(tolerance=1e-6))
    assert int(info.unconverged_rows) == 0
    expected = oracles.half_step("hkv", r, OTHER, oracles.PRESETS["hkv"][1])
    np.testing.assert_allclose(rows, expected, rtol=1e-2, atol=1e-3)


def test_rows_of_dislikes_alone_reach_a_tolerance_at_zero():
    r = -np.abs(oracles.random_values(0, 23, 17))
    start = jnp.ones((23, FACTORS))
    rows, info = solve(r, "hkv", ConjugateGradient(steps=1, tolerance=1e-6), start=start)
    assert int(info.unconverged_rows) == 0
    assert not np.asarray(rows).any()


def test_starting_at_the_solution_stays_there():
    r = oracles.random_values(0, 23, 17)
    exact, _ = solve(r, "ials", Cholesky())
    rows, _ = solve(r, "ials", ConjugateGradient(steps=1), start=exact)
    np.testing.assert_allclose(rows, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-3), (jnp.float64, 1e-9)])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_dual_form_with_weights_below_and_at_zero(alpha, dtype, rtol):
    # implicit's Gram weight is α r - 1: at r = 1 below zero for α < 1, and zero for α = 1.
    rng = np.random.default_rng(0)
    r = np.zeros((40, 17))
    for row in range(40):
        r[row, rng.choice(17, rng.integers(1, 4), replace=False)] = rng.integers(1, 4)
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    tiles = build_tiles(data, factors=FACTORS, dtype=dtype)
    assert tiles.groups[0].one_tile_per_row
    assert tiles.groups[0].column.shape[-1] < FACTORS
    rows, _ = half_step(tiles, jnp.asarray(OTHER, dtype), Objective.implicit(alpha, 0.1), Cholesky())
    expected = oracles.half_step("implicit", r, OTHER, {"alpha": alpha, "lam": 0.1})
    np.testing.assert_allclose(rows, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("spread", [1e2, 1e7])
def test_dual_form_in_float32_survives_heavy_weights(spread):
    rng = np.random.default_rng(0)
    r = np.zeros((40, 17))
    for row in range(40):
        r[row, rng.choice(17, 4, replace=False)] = spread ** rng.random(4)
    rows, _ = solve(r, "hkv", Cholesky(), jnp.float32)
    expected = oracles.half_step("hkv", r, OTHER, oracles.PRESETS["hkv"][1])
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("block", [6, 64])
@pytest.mark.parametrize("preset", ["hkv", "implicit", "ials"])
def test_one_block_of_all_factors_is_exact(preset, block):
    r = oracles.random_values(0, 23, 17)
    rows, _ = solve(r, preset, Subspace(block))
    expected = oracles.half_step(preset, r, OTHER, oracles.PRESETS[preset][1])
    np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("block", fast_first(1, [4, 2, 1]))  # 4 does not divide the 6 factors
def test_passes_over_blocks_approach_the_exact_solution(block):
    r = oracles.random_values(0, 23, 17)
    expected, _ = solve(r, "ials", Cholesky())
    rows, errors = None, []
    for _ in range(60):
        rows, _ = solve(r, "ials", Subspace(block), start=rows)
        errors.append(np.linalg.norm(rows - expected) / np.linalg.norm(expected))
    assert errors[2] < 0.5 * errors[0]
    assert errors[-1] < 1e-6


def one_pass(preset: str, r: np.ndarray, start: np.ndarray, block: int) -> np.ndarray:
    """Blocks one after another, by the whole matrix of each row."""
    objective, parameters = oracles.PRESETS[preset]
    weight, target, ridge = oracles.cells(preset, r, parameters)
    turn = np.linalg.eigh(float(objective.unobserved_weight) * OTHER.T @ OTHER)[1]
    y, rows = OTHER @ turn, start @ turn
    for row in range(len(r)):
        matrix = (y * weight[row][:, None]).T @ y + ridge[row] * np.eye(FACTORS)
        right = y.T @ (weight[row] * target[row])
        for first in range(0, FACTORS, block):
            part = slice(min(first, FACTORS - block), min(first, FACTORS - block) + block)
            lack = (right - matrix @ rows[row])[part]
            rows[row, part] += np.linalg.solve(matrix[part, part], lack)
    return rows @ turn.T


@pytest.mark.parametrize(
    ("preset", "block", "on_mesh"),
    combinations(["hkv", "implicit", "ials"], [1, 2, 4], [False, True], strength=1),
)
def test_a_pass_solves_one_block_after_another_and_short_rows_exactly(preset, block, on_mesh, all_devices):
    r = oracles.random_values(0, 23, 17)
    r[0] = 1
    r[2:9, 3:] = 0  # rows of one and two entries
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    start = np.random.default_rng(2).normal(size=(23, FACTORS))
    mesh = make_mesh() if on_mesh else None
    tiles = build_tiles(data, factors=FACTORS, dtype=jnp.float64, gram_size=block, mesh=mesh)
    objective, parameters = oracles.PRESETS[preset]
    rows, _ = half_step(tiles, jnp.asarray(OTHER), objective, Subspace(block), jnp.asarray(start))
    # Tiles have four entries at least, and that is fewer than factors.
    has_entries = (r != 0).any(1)
    is_short = ((r != 0).sum(1) <= 4) & (2 * block >= 4) & has_entries
    exact, in_blocks = oracles.half_step(preset, r, OTHER, parameters), one_pass(preset, r, start, block)
    expected = np.where(is_short[:, None], exact, in_blocks)
    np.testing.assert_allclose(rows[has_entries], expected[has_entries], rtol=1e-8, atol=1e-9)
    assert is_short.any() == (block > 1)
    for kind in (is_short, ~is_short & has_entries):
        assert not kind.any() or np.abs(in_blocks - exact)[kind].max() > 1e-3


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(), Subspace(2), Subspace(64)])
def test_equations_may_have_any_right_hand_side(solver):
    rng = np.random.default_rng(0)
    vectors, weight = rng.normal(size=(4, 9, FACTORS)), rng.random((4, 9))
    eigenvalues, ridge, target = 1 + rng.random(FACTORS), rng.random(4), rng.normal(size=(4, FACTORS))
    matrices = np.einsum("rwf,rw,rwg->rfg", vectors, weight, vectors) + np.diag(eigenvalues)
    matrices += ridge[:, None, None] * np.eye(FACTORS)

    @jax.jit  # otherwise the loops of a solver are compiled again in each turn
    def step(rows):
        equations = NormalEquations(
            table=pack(jnp.asarray(vectors.reshape(36, FACTORS))),
            column=jnp.arange(36).reshape(4, 9),
            vectors=jnp.asarray(vectors),
            gram_weight=jnp.asarray(weight),
            target_weight=jnp.full((4, 9), jnp.nan),
            segment=jnp.arange(4),
            ridge=jnp.asarray(ridge),
            start=rows,
            one_tile_per_row=True,
            target=jnp.asarray(target),
            eigenvalues=jnp.asarray(eigenvalues),
        )
        return solver.solve(equations)[0]

    rows = jnp.zeros((4, FACTORS))
    for _ in range(40):
        rows = step(rows)
    np.testing.assert_allclose(rows, np.linalg.solve(matrices, target[:, :, None])[:, :, 0], rtol=1e-6)


def test_a_block_below_one_is_refused():
    with pytest.raises(ConfigurationError, match="`block` must be an integer >= 1; got 0"):
        Subspace(0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "`steps` must be an integer >= 1; got 0"),
        ({"tolerance": -1.0}, "`tolerance` must be >= 0; got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        ConjugateGradient(**setting)
