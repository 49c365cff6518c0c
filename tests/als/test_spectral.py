import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh

import jaxals
from jaxals import ALS, Factors, Interactions, Objective
from jaxals.als import RowTiles
from jaxals.als.layout import row_classes
from jaxals.als.parallel import shared_memory
from jaxals.als.spectral import _random_signs, is_random_better, multiply, spectral_factors
from jaxals.als.stages import EXACT
from tests import oracles
from tests.combinations import combinations
from tests.machines import cut_for

FACTORS = 3
KEY = jax.random.key(0)
VALUES = oracles.random_values(0, 20, 14)  # with a long row and an empty one


def interactions(values: np.ndarray) -> Interactions:
    return Interactions.from_scipy(scipy.sparse.csr_matrix(values.astype(float)))


def tiles_of(data: Interactions, mesh: Mesh | None = None) -> tuple[RowTiles, RowTiles]:
    return ALS(factors=FACTORS, dtype="float64").cut(data, mesh)


def drawn(shape: tuple[int, int], factors: int = FACTORS, dtype=jnp.float64) -> Factors:
    return jaxals.initial_factors(KEY, *shape, factors, dtype=dtype)


def by_dense_algebra(targets: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the scores that three products of subspace iteration lead to, whatever the basis."""
    item = np.linalg.qr(targets.T @ signs)[0]
    user = np.linalg.qr(targets @ item)[0]
    return user @ user.T @ targets


@pytest.mark.parametrize(
    ("preset", "longest", "n_devices"), combinations(["log", "ials", "spark"], [3, 16_384], [1, 2, 8], strength=1)
)
def test_scores_are_those_of_subspace_iteration_on_the_dense_targets(preset, longest, n_devices, monkeypatch):
    monkeypatch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", longest)
    cut_for(monkeypatch, longest_row=longest)
    monkeypatch.setattr(row_classes, "_WIDTHS", (2,))
    objective, parameters = oracles.PRESETS[preset]
    data = interactions(VALUES)
    signs = np.asarray(_random_signs(KEY, len(VALUES), FACTORS, jnp.float64))
    expected = by_dense_algebra(oracles.cells(preset, VALUES, parameters)[1], signs)
    mesh = jaxals.make_mesh(jax.devices()[:n_devices])
    tiles = tiles_of(data, mesh)
    assert (tiles[0].long is not None) == (longest == 3)
    for by in (multiply, shared_memory.multiply) if mesh else (multiply,):
        found = spectral_factors(*tiles, objective, KEY, FACTORS, 0.1, jnp.float64, EXACT, by)
        np.testing.assert_allclose(found.user @ found.item.T, expected, atol=1e-9)
        # Each singular value is shared by both sides.
        np.testing.assert_allclose(found.user.T @ found.user, found.item.T @ found.item, atol=1e-9)


def test_targets_of_low_rank_are_met_and_what_they_leave_open_stays_random():
    groups = np.kron(np.diag([1.0, 2.0]), np.ones((6, 4)))  # binary targets of rank 2
    data = interactions(groups)
    first = drawn(data.shape)
    found = spectral_factors(*tiles_of(data), Objective.hkv(), KEY, FACTORS, 0.1, jnp.float64, EXACT)
    is_drawn = np.array([bool(jnp.allclose(a, b, atol=1e-12)) for a, b in zip(found.item.T, first.item.T, strict=True)])
    assert is_drawn.sum() == 1
    scores = found.user[:, ~is_drawn] @ found.item[:, ~is_drawn].T
    np.testing.assert_allclose(scores, groups > 0, atol=1e-9)
    np.testing.assert_allclose(found.user[:, is_drawn], first.user[:, is_drawn], atol=1e-12)


ODD = {
    "one entry": np.ones((1, 1)),
    "few items": np.ones((7, 2)),
    "dislikes alone": -np.ones((3, 4)),
    "empty rows": np.eye(5)[:, :2],
    "raw counts": np.full((4, 4), 1e5),
    "one user": np.eye(1, 9),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("dislikes alone", "float32")]
    + [pytest.param(name, dtype, marks=pytest.mark.slow) for name in ODD for dtype in ("float32", "float64")],
)
def test_tables_are_finite_whatever_the_data(name, dtype):
    data = interactions(ODD[name])
    trainer = ALS(factors=6, sweeps=2, start="spectral", dtype=dtype)
    training = trainer.begin(data, Objective.hkv(), jax.random.key(0), None, None)
    start = training.start().factors
    assert start.item.shape == (data.shape[1], 6)
    assert all(np.isfinite(table).all() for table in (start.user, start.item))
    assert np.asarray(start.item).any(axis=0).all()  # no factor is dead
    assert np.isfinite(jaxals.fit(data, Objective.hkv(), trainer, progress=False).history["loss"]).all()


@pytest.mark.parametrize("factors", [5, 32, 70])
def test_random_signs_are_balanced_and_unlike_in_every_column(factors):
    signs = np.asarray(_random_signs(KEY, 400, factors, jnp.float32))
    assert signs.shape == (400, factors)
    assert set(np.unique(signs)) == {-1, 1}
    overlap = signs.T @ signs / 400
    assert np.abs(signs.mean(axis=0)).max() < 0.25
    assert np.abs(overlap - np.eye(factors)).max() < 0.3


PLAYS = jaxals.datasets.synthetic(n_users=120, n_items=80, n_interactions=1500, seed=0)


@pytest.mark.parametrize(
    ("objective", "is_random"),
    [
        (Objective.hkv(alpha=40.0), False),
        (Objective.hkv(alpha=4e4), True),
        pytest.param(Objective.ials(0.1, 0.01), False, marks=pytest.mark.slow),
        pytest.param(Objective.ials(1e-5, 0.01), True, marks=pytest.mark.slow),
        pytest.param(Objective.ials(0.0, 0.01), True, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, bool) else None,
)
def test_auto_takes_random_factors_where_entries_outweigh_all_else(objective, is_random):
    trainer = ALS(factors=4, sweeps=1, start="auto")
    first = {}
    for start in ("auto", "random", "spectral"):
        begun = dataclasses.replace(trainer, start=start).begin(PLAYS, objective, jax.random.key(3), None, None)
        first[start] = begun.start()
    other = first["random" if is_random else "spectral"]
    jax.tree.map(np.testing.assert_array_equal, first["auto"], other)
    assert bool(is_random_better(objective, jnp.asarray(PLAYS.value, jnp.float32))) == is_random
    assert int(first["auto"].momentum.streak) == (-1 if is_random else 0)


def test_the_loss_is_reached_in_fewer_sweeps_and_initial_tables_are_kept():
    objective = Objective.log(1.0, 1.0, 10.0)
    losses = lambda start, **more: jaxals.fit(
        PLAYS, objective, ALS(factors=8, sweeps=8, start=start), progress=False, **more
    ).history["loss"]
    random, near = losses("random"), losses("spectral")
    assert near[0] < random[1]
    assert (near < random).all()
    initial = drawn(PLAYS.shape, 8, jnp.float32)
    np.testing.assert_array_equal(losses("random", initial=initial), losses("spectral", initial=initial))


def test_the_first_row_of_the_history_counts_the_start(monkeypatch):
    def draw(*arguments):
        time.sleep(0.5)
        return jaxals.initial_factors(*arguments)

    monkeypatch.setattr("jaxals.training.trainers.initial_factors", draw)
    run = jaxals.fit(PLAYS, Objective.hkv(), ALS(factors=4, sweeps=2, start="random"), progress=False)
    assert run.history["seconds"][0] >= 0.5
    assert run.history["seconds"].diff()[1] < 0.5
