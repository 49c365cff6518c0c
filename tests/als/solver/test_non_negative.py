"""Rows without negative factors: those of SciPy's active sets, in training, on any layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxals
from jaxals import ALS, Cholesky, ConjugateGradient, Interactions, NonNegative, Objective, build_tiles, half_step
from jaxals.als.layout import row_classes
from jaxals.errors import ConfigurationError
from tests import oracles
from tests.combinations import combinations
from tests.machines import cut_for

FACTORS = 5
VALUES = oracles.random_values(0, 40, 23)
OTHER = np.random.default_rng(1).normal(size=(23, FACTORS))
DATA = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=600, seed=0)
LOG = Objective.log(1.0, regularization=0.5)


def expected_rows(preset: str) -> np.ndarray:
    """Each row's constrained least squares over all columns, stacked on its ridge."""
    weight, target, ridge = oracles.cells(preset, VALUES, oracles.PRESETS[preset][1])
    rows = np.zeros((len(VALUES), FACTORS))
    for row in np.flatnonzero((VALUES != 0).any(1)):
        root = np.sqrt(weight[row])
        matrix = np.concatenate([root[:, None] * OTHER, np.sqrt(ridge[row]) * np.eye(FACTORS)])
        rows[row] = scipy.optimize.nnls(matrix, np.concatenate([root * target[row], np.zeros(FACTORS)]))[0]
    return rows


@pytest.mark.parametrize(
    ("preset", "longest", "n_devices"),
    combinations(["hkv", "implicit", "ials", "spark"], [3, 16_384], [1, 8], strength=1),
)
def test_rows_are_those_of_active_sets(preset, longest, n_devices, monkeypatch):
    monkeypatch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", longest)
    cut_for(monkeypatch, longest_row=longest)
    monkeypatch.setattr(row_classes, "_WIDTHS", (2,))
    user, item = np.nonzero(VALUES)
    data = Interactions.from_arrays(user, item, VALUES[user, item], shape=VALUES.shape)
    mesh = jaxals.make_mesh(jax.devices()[:n_devices])
    tiles = build_tiles(data, factors=FACTORS, dtype=jnp.float64, mesh=mesh)
    assert (tiles.long is not None) == (longest == 3)
    rows, _ = half_step(tiles, jnp.asarray(OTHER), oracles.PRESETS[preset][0], NonNegative(passes=3_000))
    assert float(rows.min()) == 0
    np.testing.assert_allclose(rows, expected_rows(preset), rtol=1e-8, atol=1e-10)


def train(**settings):
    return jaxals.fit(DATA, LOG, ALS(4, 6, dtype="float64", **{"solver": NonNegative(), **settings}), progress=False)


@pytest.mark.parametrize("acceleration", ["momentum", None])
def test_training_makes_no_negative_factor(acceleration):
    run = train(acceleration=acceleration)
    for table in (run.factors.user, run.factors.item):
        assert float(table.min()) == 0
        assert (table > 0).any(axis=0).all()
    assert acceleration or run.history["loss"].is_monotonic_decreasing
    exact = train(solver=Cholesky()).history["loss"].iloc[-1]
    assert exact < run.history["loss"].iloc[-1] < 1.5 * exact


def test_all_devices_train_the_same_model_as_one(all_devices):
    np.testing.assert_allclose(train().factors.item, train_on_one().factors.item, rtol=1e-7, atol=1e-9)


def train_on_one() -> jaxals.Run:
    trainer = ALS(4, 6, NonNegative(), dtype="float64")
    return jaxals.fit(DATA, LOG, trainer, mesh=None, progress=False)


def test_derivatives_are_refused():
    tiles = build_tiles(DATA, factors=4, dtype=jnp.float64)
    other = jnp.ones((40, 4))
    with pytest.raises(ConfigurationError, match=r"Rows of NonNegative\(passes=4\) cannot be differentiated"):
        jax.grad(lambda other: jnp.sum(half_step(tiles, other, LOG, NonNegative())[0]))(other)


def test_factors_that_nothing_depends_on_stay_zero():
    tiles = build_tiles(DATA, factors=4, dtype=jnp.float64)
    other = jnp.ones((40, 4)).at[:, 2].set(0)
    start = jnp.ones((60, 4))
    rows, _ = half_step(tiles, other, Objective.log(1.0, regularization=0.0), NonNegative(), start)
    assert np.isfinite(rows).all()
    assert not rows[:, 2].any()


@pytest.mark.parametrize("start", ["random", "spectral"])
@pytest.mark.parametrize("seed", range(4))
def test_the_only_factor_is_not_lost_to_its_sign(start, seed):
    trainer = ALS(1, 2, NonNegative(), acceleration=None, start=start)
    factors = jaxals.fit(DATA, LOG, trainer, seed=seed, mesh=None, progress=False).factors
    assert (factors.user > 0).mean() > 0.5
    assert (factors.item > 0).mean() > 0.5


def test_a_diagonal_below_zero_gives_no_number():
    values = Interactions.from_arrays([0, 0], [0, 1], [0.1, 0.2], shape=(1, 2))
    tiles = build_tiles(values, factors=2, dtype=jnp.float64)
    rows, _ = half_step(tiles, jnp.eye(2), Objective.implicit(0.5, 0.0), NonNegative())
    assert np.isfinite(rows).all()  # c = .05 and .1
    _, info = half_step(tiles, 3 * jnp.eye(2), Objective(Below(), 1.0, 0.0), NonNegative())
    assert int(info.non_finite_rows) == 1


@jaxals.pytree
class Below:
    """A confidence below zero."""

    def __call__(self, value):
        return -3 * value / value, value


def test_many_models_are_those_of_single_fits():
    trainer = ALS(4, 3, NonNegative(), dtype="float64")
    many = jaxals.hyper.fit_many(DATA, LOG, trainer, seed=[0, 1], progress=False)
    alone = jaxals.fit(DATA, LOG, trainer, seed=1, mesh=None, progress=False)
    np.testing.assert_allclose(many.table["loss"].iloc[-1], alone.history["loss"].iloc[-1], rtol=1e-9)


def test_fewer_than_one_pass_is_refused():
    with pytest.raises(ConfigurationError, match="`passes` must be an integer >= 1; got 0"):
        NonNegative(0)


def test_a_recommender_goes_on_without_negative_factors(tmp_path):
    run = train()
    recommender = jaxals.Recommender.from_run(run, DATA)
    new = Interactions.from_arrays([0] * 3, [1, 5, 8], catalog=jaxals.Catalog(["new"], range(40)))
    free = jaxals.Recommender(run.factors, DATA, LOG).fold_in(new)
    assert float(free.factors.user[-1].min()) < -1e-3
    for each in (recommender, recommender.settled()):
        each.save(tmp_path / "model")
        for model in (each, jaxals.Recommender.load(tmp_path / "model")):
            assert model.is_non_negative
            grown = model.fold_in(new)
            assert float(grown.factors.user.min()) == 0
            assert grown.factors.user[-1].any()
            assert float(grown.fold_in(new).settled().factors.user.min()) == 0
            with pytest.raises(ConfigurationError, match="explain"):
                grown.explain("new", 1)
    items = Interactions.from_arrays([1, 5, 8], [0] * 3, catalog=jaxals.Catalog(range(60), ["new"]))
    assert float(recommender.fold_in(items, side="item").factors.item[-1].min()) == 0
    tiles = build_tiles(DATA, factors=4, dtype=jnp.float64)
    exact, _ = half_step(tiles, run.factors.item, LOG, NonNegative(3_000))
    np.testing.assert_allclose(recommender.settled().factors.user, exact, rtol=1e-6, atol=1e-8)
    assert not jaxals.Recommender.from_run(train(solver=ConjugateGradient()), DATA).is_non_negative
