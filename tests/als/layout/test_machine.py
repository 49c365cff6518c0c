"""Layouts for every platform: the same rows on a CPU, and programs for devices that are not there."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import (
    Cholesky,
    ConjugateGradient,
    Interactions,
    Objective,
    Subspace,
    build_tiles,
    half_step,
    make_mesh,
    pytree,
)
from jaxals.als import Solver
from jaxals.als.half_steps import half_step_with_loss
from jaxals.als.layout.machine import CPU, GPU, TPU, machine_of
from jaxals.als.layout.row_classes import choose_classes
from jaxals.als.layout.tiles import RowTiles
from jaxals.errors import ConfigurationError
from jaxals.recommend.ranking import _rows_at_once
from jaxals.recommend.sizes import cut
from tests import oracles
from tests.combinations import combinations, fast_first
from tests.machines import cut_for

FACTORS = 8
SOLVERS: list[Solver] = [Cholesky(), ConjugateGradient(tolerance=1e-14), Subspace(FACTORS)]
# Rows of no entries, of fewer than factors, and of more.
VALUES = np.where(np.arange(90)[None] < 2 * np.arange(40)[:, None], oracles.random_values(0, 40, 90), 0)
OTHER = np.random.default_rng(1).normal(size=(90, FACTORS))


@pytree
class Below:
    """Observed pairs weigh less than nothing."""

    def __call__(self, value):
        return jnp.full_like(value, -2.0), value


def data() -> Interactions:
    rows, columns = np.nonzero(VALUES)
    return Interactions.from_arrays(rows, columns, VALUES[rows, columns], shape=VALUES.shape)


@pytest.fixture
def all_classes(monkeypatch):
    """Have every class of rows that saves any time, though the data are small."""
    cut_for(monkeypatch, compile=0, compile_unknown=0, launch=0)


def tiles_for(platform: Any, solver: Any = SOLVERS[0], n_devices: int = 1, dtype: type = np.float64) -> RowTiles:
    mesh = make_mesh(jax.devices()[:n_devices])
    settings = {"dtype": dtype, "gram_size": solver.gram_size(FACTORS), "mesh": mesh}
    return build_tiles(data(), factors=FACTORS, platform=platform, **settings)


@pytest.mark.parametrize(
    ("preset", "platform", "n_devices"), combinations(["hkv", "implicit"], ["gpu", "tpu"], [1, 8], strength=1)
)
def test_exact_solvers_agree_with_the_oracle_on_every_layout(preset, platform, n_devices, all_classes):
    objective, parameters = oracles.PRESETS[preset]
    expected = oracles.half_step(preset, VALUES, OTHER, parameters)
    for solver in SOLVERS:
        solved, info = half_step(tiles_for(platform, solver, n_devices), jnp.asarray(OTHER), objective, solver)
        np.testing.assert_allclose(solved, expected, rtol=1e-8, atol=1e-9)
        assert int(info.non_finite_rows) == 0


@pytest.mark.parametrize(
    ("platform", "solver"), combinations(["gpu", "tpu"], [ConjugateGradient(), Subspace(4), Subspace(2)], strength=1)
)
def test_solvers_that_stop_early_take_the_steps_of_the_cpus_layout(platform, solver, all_classes):
    objective, start = oracles.PRESETS["ials"][0], jnp.ones((40, FACTORS))
    mine, cpus = (
        half_step(tiles_for(name, solver), jnp.asarray(OTHER), objective, solver, start)[0]
        for name in (platform, "cpu")
    )
    np.testing.assert_allclose(mine, cpus, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("platform", fast_first(1, ["gpu", "tpu"]))
def test_derivatives_are_those_of_the_cpus_layout(platform, all_classes):
    def slope(name: str) -> tuple:
        tiles = tiles_for(name)
        loss = lambda alpha, other: jnp.sum(jnp.sin(half_step(tiles, other, Objective.hkv(alpha, 0.3), Cholesky())[0]))
        return jax.grad(loss, argnums=(0, 1))(2.0, jnp.asarray(OTHER))

    for mine, cpus in zip(slope(platform), slope("cpu"), strict=True):
        np.testing.assert_allclose(mine, cpus, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_matrix_that_is_not_definite_gives_nan(platform):
    # One entry of weight c = w0 - 2 makes an eigenvalue of a row negative, whether its dual form is taken or not.
    objective = Objective(Below(), unobserved_weight=1.0, regularization=0.1)
    rows, columns = [0, 1], [0, 1]
    one = Interactions.from_arrays(rows, columns, np.ones(2), shape=(2, 90))
    for factors in (1, FACTORS):
        tiles = build_tiles(one, factors=factors, dtype=np.float64, platform=platform)
        other = jnp.zeros((90, factors)).at[:2, 0].set(jnp.array([3.0, 1e-3]))
        solved, info = half_step(tiles, other, objective, Cholesky())
        assert np.isnan(np.asarray(solved)).any(axis=1).tolist() == [True, False]
        assert int(info.non_finite_rows) == 1


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(), Subspace(4)], ids=lambda one: type(one).__name__)
def test_programs_for_a_platform_are_exported_without_one(platform, solver):
    tiles = tiles_for("tpu" if platform == "tpu" else "gpu", solver, dtype=np.float32)
    objective = jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), Objective.ials(0.1, 0.01))
    shapes = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype),
        (tiles, jnp.asarray(OTHER, jnp.float32), objective, jnp.zeros((40, FACTORS), jnp.float32)),
    )
    step = jax.jit(functools.partial(_step, solver=solver))
    text = jax.export.export(step, platforms=[platform])(*shapes).mlir_module()
    assert not re.search(r"xf64\b", text)  # though the tests allow it; Python's own numbers are constants of it
    assert "lapack" not in text
    assert "ui16" not in text  # the pieces that a CPU reads


@pytest.mark.parametrize("solver", [Cholesky(), Subspace(4)], ids=repr)
def test_systems_are_solved_by_the_library_of_the_platform(solver, all_classes):
    for platform in ("cpu", "gpu", "tpu"):
        step = functools.partial(_step, solver=solver)
        arrays = tiles_for(platform, solver), jnp.asarray(OTHER), Objective.ials(0.1, 0.01), jnp.zeros((40, FACTORS))
        text = str(jax.make_jaxpr(step)(*arrays))
        found = {name: bool(re.search(rf"= {name}\b", text)) for name in ("cholesky", "lu")}
        # Rows of more entries than factors, and the dual form of the others.
        assert found == {"cholesky": platform != "cpu", "lu": platform != "cpu"}


def _step(tiles, other, objective, start, solver):
    return half_step_with_loss(tiles, other, objective, solver, start)[:2]


def power_law(n_rows: int, mean: float, spread: float, most: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).lognormal(np.log(mean) - spread**2 / 2, spread, n_rows)
    return np.clip(drawn, 0, most).astype(np.int64)


SHAPES = {
    "Last.fm users": power_law(360_000, 47, 0.6, 5000),
    "Last.fm items": power_law(160_000, 106, 2.2, 77_000),
    "one huge row": np.r_[power_law(100_000, 20, 1.0, 500), 900_000],
    "all short": np.full(300_000, 3),
    "all alike": np.full(100_000, 170),
    "MovieLens users": power_law(6040, 165, 1.1, 2300),
    "MovieLens items": power_law(3700, 270, 1.5, 3400),
    "10M rows": power_law(10_000_000, 8, 1.0, 2000),
    "few rows": np.asarray([1, 5, 70_000, 300_000]),
    "a third empty": np.where(np.arange(150_000) % 3 == 0, 0, power_law(150_000, 30, 1.0, 4000)),
}


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        pytest.param(name, machine, marks=pytest.mark.slow if machine == TPU or name == "10M rows" else ())
        for name in SHAPES
        for machine in (GPU, TPU)
    ],
    ids=lambda one: getattr(one, "platform", one),
)
def test_steps_and_classes_stay_few(name, machine):
    counts = SHAPES[name]
    lengths, n_rows = np.unique(counts[counts > 0], return_counts=True)
    for factors, gram_size in ((64, 0), (128, 0), (64, 64), (128, 128)):
        most_tiles = machine.gram_bytes // (4 * gram_size**2) if gram_size else int(counts.sum())
        classes = choose_classes(counts, factors, gram_size, 4, most_tiles, machine)
        assert classes[-1].longest >= counts.max()  # none is cut into steps
        assert len(classes) <= 12  # each is compiled by itself
        done, steps, cells = 0, 0, 0
        for kind in classes:
            inside = (lengths > done) & (lengths <= kind.longest)
            n_tiles = int(np.sum(n_rows[inside] * -(-lengths[inside] // kind.width)))
            # What tiles leave of a matrix is never added up between them.
            assert not gram_size or n_tiles == n_rows[inside].sum()
            steps += -(-n_tiles // kind.tiles_per_chunk)
            cells += n_tiles * kind.width
            done = kind.longest
        assert steps <= (100 if machine == GPU else 300) * max(counts.sum() / 17e6, 1)
        # Padding takes time, classes take compilation: that pays where there is much to do.
        assert cells <= (2.5 if machine == GPU else 4) * counts.sum() or counts.sum() < 1e7


def test_a_layout_is_for_the_devices_it_goes_to_or_for_what_is_named():
    assert tiles_for(None).machine == CPU
    assert (tiles_for("gpu").machine, tiles_for("tpu").machine) == (GPU, TPU)
    with pytest.raises(ConfigurationError, match="`platform` must be"):
        machine_of("cuda")


def test_serving_takes_few_batches_on_a_gpu():
    for platform in ("gpu", "tpu"):
        assert len(list(cut(20_000, _rows_at_once(160_000, 4, platform)))) <= 40
