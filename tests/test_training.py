import jax
import numpy as np
import pytest
import scipy.sparse

import jaxals
from jaxals import ALS, EarlyStopping, Interactions, Objective, datasets, fit
from jaxals.errors import ConfigurationError, DataError, NumericalError
from jaxals.evaluation import random_holdout
from tests import oracles

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
OBJECTIVE = Objective.hkv(alpha=2.0)
TRAINER = ALS(factors=4, sweeps=4)


def train(**settings) -> jaxals.Run:
    return fit(DATA, OBJECTIVE, settings.pop("trainer", TRAINER), **{"progress": False, **settings})


def test_history_and_determinism():
    run, again, other = train(seed=1), train(seed=1), train(seed=2)
    assert list(run.history.columns) == ["sweep", "seconds", "loss"]
    assert run.history["sweep"].tolist() == [1, 2, 3, 4]
    assert run.history["seconds"].is_monotonic_increasing
    assert (np.diff(run.history["loss"]) < 0).all()
    np.testing.assert_array_equal(run.factors.user, again.factors.user)
    np.testing.assert_array_equal(run.history["loss"], again.history["loss"])
    assert not np.array_equal(run.factors.user, other.factors.user)
    assert run.objective is OBJECTIVE
    by_key = train(seed=jax.random.key(1))
    np.testing.assert_array_equal(run.factors.item, by_key.factors.item)


def test_agrees_with_the_dense_oracle_over_several_sweeps():
    r = oracles.random_values(4, 15, 12)
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    objective, parameters = oracles.PRESETS["implicit"]
    trainer = ALS(factors=3, sweeps=3, dtype="float64")
    run = fit(data, objective, trainer, seed=0, progress=False)
    y = np.asarray(fit(data, objective, ALS(factors=3, sweeps=0, dtype="float64"), progress=False).factors.item)
    for _ in range(3):
        x = oracles.half_step("implicit", r, y, parameters)
        y = oracles.half_step("implicit", r.T, x, parameters)
    np.testing.assert_allclose(run.factors.user, x, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(run.factors.item, y, rtol=1e-8, atol=1e-10)


def test_continuing_is_the_same_as_going_on():
    first = train(trainer=ALS(factors=4, sweeps=2))
    second = train(trainer=ALS(factors=4, sweeps=2), initial=first.factors)
    np.testing.assert_array_equal(second.factors.item, train().factors.item)


def test_metrics_are_measured_and_early_stopping_keeps_the_best():
    split = random_holdout(DATA, 0.3, seed=0)
    trainer = ALS(factors=8, sweeps=12)
    run = fit(
        split.train,
        Objective.hkv(alpha=40.0, regularization=1e-3),
        trainer,
        validation=split.test,
        metrics=["ndcg@10", "recall@5"],
        early_stopping=EarlyStopping("ndcg@10", min_improvement=0.0, patience=2),
        progress=False,
    )
    assert list(run.history.columns) == ["sweep", "seconds", "loss", "ndcg@10", "recall@5"]
    assert run.stopped_early == "ndcg@10 stopped improving"
    assert len(run.history) < 12
    best = run.history["ndcg@10"].max()
    measured = jaxals.evaluation.evaluate(run.factors, split.train, split.test, ["ndcg@10"])
    assert measured["ndcg@10"] == pytest.approx(best, rel=1e-6)
    assert run.history["ndcg@10"].iloc[-1] < best


def test_early_stopping_on_the_loss():
    run = train(trainer=ALS(factors=4, sweeps=50), early_stopping=EarlyStopping(min_improvement=0.05))
    change = -np.diff(run.history["loss"]) / run.history["loss"][:-1]
    assert (change[:-1] > 0.05).all()
    assert change.iloc[-1] <= 0.05


def test_callbacks_see_every_step_and_can_stop():
    seen = []

    def stop_after_two(progress: jaxals.Progress) -> bool:
        seen.append((progress.step, progress.loss))
        return progress.step == 2

    run = train(callbacks=[stop_after_two])
    assert seen == [(1, run.history["loss"][0]), (2, run.history["loss"][1])]
    assert run.stopped_early == "a callback asked to stop"


def test_an_interrupt_returns_what_there_is():
    def interrupt(progress: jaxals.Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="after 2 steps"):
        run = train(callbacks=[interrupt])
    assert len(run.history) == 2
    np.testing.assert_array_equal(run.factors.item, train(trainer=ALS(factors=4, sweeps=2)).factors.item)


def test_the_loss_can_be_left_out():
    assert train(loss_every=0).history["loss"].isna().all()
    assert train(loss_every=2).history["loss"].isna().tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"early_stopping": EarlyStopping("ndcg@10")}, ConfigurationError, "'ndcg@10', which is not among"),
        ({"early_stopping": EarlyStopping(), "loss_every": 2}, ConfigurationError, "needs `loss_every=1`; got 2"),
        ({"metrics": ["ndcg@10"]}, ConfigurationError, "`validation` is missing"),
        ({"validation": DATA}, ConfigurationError, "`metrics` is missing"),
        ({"loss_every": -1}, ConfigurationError, "`loss_every` must be >= 0; got -1"),
        ({"trainer": ALS(factors=10**7)}, ConfigurationError, "needs about .* GB, but .* is free"),
        ({"initial": jaxals.initial_factors(jax.random.key(0), 40, 60, 4)}, DataError, r"\(40, 4\).*\(60, 4\)"),
    ],
)
def test_what_cannot_work_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        train(**settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"factors": 0}, "`factors` must be >= 1; got 0"),
        ({"sweeps": -1}, "`sweeps` must be >= 0; got -1"),
        ({"chunk_bytes": 0}, "`chunk_bytes` must be >= 1; got 0"),
    ],
)
def test_trainer_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        ALS(**setting)


def test_singular_systems_are_refused_beforehand_or_named_afterwards():
    with pytest.raises(ConfigurationError, match="`regularization` is 0 and the systems are singular"):
        fit(DATA, Objective.hkv(regularization=0.0), ALS(factors=50), progress=False)
    bad = jaxals.Objective(jax.tree_util.Partial(lambda r: (-1e6 * r, r)), 1.0, 0.0)
    with pytest.raises(NumericalError, match=r"After sweep 1, \d+ rows are not finite"):
        fit(DATA, bad, TRAINER, progress=False)


def test_float64_needs_permission():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ConfigurationError, match="jax_enable_x64"):
            train(trainer=ALS(dtype="float64"))
    finally:
        jax.config.update("jax_enable_x64", True)


def test_raw_play_counts_in_float32_end_near_float64(lastfm_2k):
    # alpha * r reaches 1.4e7: the largest play count is 352,698.
    objective = Objective.hkv(alpha=40.0, regularization=0.1)
    assert lastfm_2k.value.max() * 40 > 1.4e7
    losses = {}
    for dtype in ("float32", "float64"):
        run = fit(lastfm_2k, objective, ALS(factors=20, sweeps=15, dtype=dtype), progress=False, loss_every=0)
        assert np.isfinite(run.factors.user).all()
        wide = jax.tree.map(lambda a: a.astype(np.float64), run.factors)
        losses[dtype] = float(objective.loss(wide, lastfm_2k))
    assert losses["float32"] == pytest.approx(losses["float64"], rel=0.005)
