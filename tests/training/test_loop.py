import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxals
from jaxals import ALS, Cholesky, ConjugateGradient, EarlyStopping, Interactions, Objective, Subspace, datasets, fit
from jaxals.als.layout.machine import CPU
from jaxals.errors import ConfigurationError, DataError, NumericalError
from jaxals.evaluation import evaluate, plan_evaluation, random_holdout
from tests import oracles

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
OBJECTIVE = Objective.hkv(alpha=2.0)
TRAINER = ALS(factors=4, sweeps=4)


def train(**settings) -> jaxals.Run:
    return fit(DATA, OBJECTIVE, settings.pop("trainer", TRAINER), **{"progress": False, **settings})


def test_history_and_determinism():
    run, again, other = train(seed=1), train(seed=1), train(seed=2)
    assert list(run.history.columns) == ["step", "seconds", "compile_seconds", "loss"]
    assert run.history["step"].tolist() == [1, 2, 3, 4]
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
    trainer = ALS(factors=3, sweeps=3, acceleration=None, dtype="float64")
    run = fit(data, objective, trainer, seed=0, progress=False)
    y = np.asarray(fit(data, objective, ALS(factors=3, sweeps=0, dtype="float64"), progress=False).factors.item)
    for _ in range(3):
        x = oracles.half_step("implicit", r, y, parameters)
        y = oracles.half_step("implicit", r.T, x, parameters)
    np.testing.assert_allclose(run.factors.user, x, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(run.factors.item, y, rtol=1e-8, atol=1e-10)


def test_continuing_is_the_same_as_going_on():
    # With momentum, which factors alone do not carry, it would start afresh.
    plain = lambda sweeps: ALS(factors=4, sweeps=sweeps, acceleration=None)
    second = train(trainer=plain(2), initial=train(trainer=plain(2)).factors)
    np.testing.assert_array_equal(second.factors.item, train(trainer=plain(4)).factors.item)


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
    assert list(run.history.columns) == ["step", "seconds", "compile_seconds", "loss", "ndcg@10", "recall@5"]
    assert run.stopped_early == "ndcg@10 stopped improving"
    assert len(run.history) < 12
    best = run.history["ndcg@10"].max()
    measured = jaxals.evaluation.evaluate(run.factors, split.train, split.test, ["ndcg@10"])
    assert measured["ndcg@10"] == pytest.approx(best, rel=1e-6)
    assert run.history["ndcg@10"].iloc[-1] < best


def test_early_stopping_keeps_the_lowest_gini():
    split = random_holdout(DATA, 0.3, seed=0)
    run = fit(
        split.train,
        Objective.hkv(alpha=40.0, regularization=1e-3),
        ALS(factors=8, sweeps=8),
        validation=split.test,
        metrics=["gini@5", "ndcg@5"],
        early_stopping=EarlyStopping("gini@5", min_improvement=0.0, patience=8),
        progress=False,
    )
    gini = run.history["gini@5"]
    assert np.argmin(gini) > 0  # else keeping the highest, or the first, would pass
    assert gini.max() > gini.min()
    measured = jaxals.evaluation.evaluate(run.factors, split.train, split.test, ["gini@5"])
    assert measured["gini@5"] == pytest.approx(gini.min(), rel=1e-6)


def test_one_metric_by_its_name_and_repeated_ones_once():
    split = random_holdout(DATA, 0.3, seed=0)
    settings: dict[str, Any] = {
        "validation": split.test,
        "progress": False,
        "early_stopping": EarlyStopping("ndcg@10", patience=9),
    }
    one = fit(split.train, OBJECTIVE, TRAINER, metrics="ndcg@10", **settings)
    assert list(one.history.columns) == ["step", "seconds", "compile_seconds", "loss", "ndcg@10"]
    twice = fit(split.train, OBJECTIVE, TRAINER, metrics=["ndcg@10", "ndcg@10"], **settings)
    assert list(twice.history.columns) == list(one.history.columns)
    np.testing.assert_array_equal(twice.history["ndcg@10"], one.history["ndcg@10"])


def test_a_plan_serves_as_validation():
    split = random_holdout(DATA, 0.3, seed=0)
    by_plan = fit(
        split.train,
        OBJECTIVE,
        TRAINER,
        validation=plan_evaluation(split.train, split.test, ["ndcg@10", "auc"], exclude=None),
        early_stopping=EarlyStopping("auc", patience=9),
        progress=False,
    )
    assert list(by_plan.history.columns) == ["step", "seconds", "compile_seconds", "loss", "ndcg@10", "auc"]
    measured = evaluate(by_plan.factors, split.train, split.test, ["auc"], exclude=None)["auc"]
    assert measured == pytest.approx(by_plan.history["auc"].max(), rel=1e-6)
    with pytest.raises(ConfigurationError, match="names its own metrics"):
        train(validation=plan_evaluation(DATA, DATA, ["auc"], exclude=None), metrics=["auc"])
    other = datasets.synthetic(n_users=20, n_items=40, n_interactions=100, seed=0)
    with pytest.raises(DataError, match=r"The plan is about \(20, 40\) users and items, not \(60, 40\)"):
        train(validation=plan_evaluation(other, other, ["auc"], exclude=None))


def test_rows_short_of_the_tolerance_are_in_the_history():
    strict = ConjugateGradient(steps=1, tolerance=1e-12)
    run = train(trainer=ALS(factors=4, sweeps=2, solver=strict))
    assert list(run.history.columns) == ["step", "seconds", "compile_seconds", "loss", "unconverged_rows"]
    assert (run.history["unconverged_rows"] > 50).all()
    reached = train(trainer=ALS(factors=4, sweeps=2, solver=ConjugateGradient(steps=50, tolerance=0.1)))
    assert "unconverged_rows" not in reached.history


def test_early_stopping_on_the_loss():
    run = train(trainer=ALS(factors=4, sweeps=50), early_stopping=EarlyStopping(min_improvement=0.05))
    change = -np.diff(run.history["loss"]) / run.history["loss"][:-1]
    assert (change[:-1] > 0.05).all()
    assert change.iloc[-1] <= 0.05


def test_callbacks_see_every_step_and_can_stop():
    seen = []

    def stop_after_two(progress: jaxals.training.Progress) -> bool:
        seen.append((progress.step, progress.loss))
        return progress.step == 2

    run = train(callbacks=[stop_after_two])
    assert seen == [(1, run.history["loss"][0]), (2, run.history["loss"][1])]
    assert run.stopped_early == "a callback asked to stop"


def test_an_interrupt_returns_what_there_is():
    def interrupt(progress: jaxals.training.Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="after sweep 2"):
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
        ({"loss_every": -1}, ConfigurationError, "`loss_every` must be an integer >= 0; got -1"),
        ({"seed": 2**63}, ConfigurationError, "`seed` must be an integer of 64 bits or one `jax.random.key`; got 9"),
        ({"seed": jax.random.split(jax.random.key(0))}, ConfigurationError, "`seed` must be an integer of 64 bits"),
        ({"trainer": ALS(factors=10**7)}, ConfigurationError, "needs about .* GB, but .* is free"),
        (
            {"initial": jaxals.initial_factors(jax.random.key(0), 40, 60, 4)},
            DataError,
            r"\(40, 60\).*\(60, 40\).*swapped",
        ),
    ],
)
def test_what_cannot_work_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        train(**settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"factors": 0}, "`factors` must be an integer >= 1; got 0"),
        ({"sweeps": -1}, "`sweeps` must be an integer >= 0; got -1"),
        ({"chunk_bytes": 0}, "`chunk_bytes` must be an integer >= 1; got 0"),
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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((DATA.to_scipy(), OBJECTIVE), DataError, r"is a csr_matrix; pass `Interactions.from_scipy\(matrix\)`"),
        ((np.eye(3), OBJECTIVE), DataError, "`interactions` must be `Interactions`, .* got ndarray"),
        ((DATA.select(np.zeros(len(DATA), bool)), OBJECTIVE), DataError, "There is nothing to train on"),
        ((DATA, "hkv"), ConfigurationError, "`objective` must be an `Objective`, .* got 'hkv'"),
        ((DATA, OBJECTIVE, ALS), ConfigurationError, "`trainer` must be a trainer, .* got the class ALS"),
        ((DATA, OBJECTIVE, 20), ConfigurationError, "`trainer` must be a trainer, .* got 20"),
    ],
)
def test_arguments_of_other_kinds_are_refused(arguments, error, message):
    # Without the run-time check of types, which tests have and users have not.
    with pytest.raises(error, match=message):
        inspect.unwrap(fit)(*arguments, progress=False)


def test_a_seed_of_another_kind_is_refused():
    for seed in (0.5, "0", True, None):
        with pytest.raises(ConfigurationError, match="`seed` must be an integer"):
            inspect.unwrap(fit)(DATA, OBJECTIVE, TRAINER, seed=seed, progress=False)


def test_tables_that_are_not_finite_are_refused_beforehand():
    initial = jaxals.initial_factors(jax.random.key(0), 60, 40, 4)
    broken = dataclasses.replace(initial, item=initial.item.at[3, 1].set(np.nan))
    with pytest.raises(DataError, match="`initial` has 1 item rows that are not finite"):
        train(initial=broken)


def test_weights_that_overflow_are_refused_beforehand():
    data = dataclasses.replace(DATA, value=np.where(DATA.value == DATA.value.max(), 1e38, DATA.value))
    with pytest.raises(
        ConfigurationError, match=r"weights of a value of 1e\+38 are not finite in float32; lower alpha"
    ):
        fit(data, Objective.hkv(alpha=40.0), TRAINER, progress=False)
    fit(data, Objective.log(alpha=40.0), TRAINER, progress=False)
    inverse = jaxals.Objective(jax.tree_util.Partial(lambda r: (1e10 / r, r / r)), 1.0, 0.1)
    tiny = dataclasses.replace(DATA, value=np.where(DATA.value == DATA.value.min(), 1e-30, DATA.value))
    with pytest.raises(ConfigurationError, match="weights of a value of 1e-30 are not finite"):
        fit(tiny, inverse, TRAINER, progress=False)


def test_a_loss_that_is_not_a_number_is_refused(monkeypatch):
    settings = {"trainer": ALS(factors=3, sweeps=1)}  # not compiled yet by another test
    monkeypatch.setattr(Objective, "ridge_loss", lambda *_: jnp.asarray(jnp.nan, jnp.float32))
    with pytest.raises(NumericalError, match="After sweep 1, the loss is not a number"):
        train(**settings)
    train(**settings, loss_every=0)


def test_float64_needs_permission():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ConfigurationError, match="jax_enable_x64"):
            train(trainer=ALS(dtype="float64"))
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The objective is far from these data")
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


@pytest.mark.parametrize(
    "solver",
    [Cholesky(), *(pytest.param(solver, marks=pytest.mark.slow) for solver in (ConjugateGradient(), Subspace(4)))],
)
def test_all_devices_train_the_same_model_as_one(all_devices, solver):
    # In float64: conjugate gradient makes rounding a thousand times larger on data this small.
    trainer = ALS(6, 4, solver, dtype="float64")
    run = lambda **where: fit(DATA, Objective.hkv(alpha=5.0), trainer, progress=False, **where)
    everywhere, alone = run(), run(mesh=None)
    np.testing.assert_allclose(everywhere.history["loss"], alone.history["loss"], rtol=1e-8)
    np.testing.assert_allclose(everywhere.factors.user, alone.factors.user, rtol=1e-6, atol=1e-9)
    assert len(everywhere.factors.user.devices()) == 1


@pytest.mark.parametrize("table_dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_rounded_tables_end_near_full_ones(table_dtype):
    trainer = ALS(factors=8, sweeps=8, solver=ConjugateGradient())
    full, rounded = (train(trainer=dataclasses.replace(trainer, table_dtype=name)) for name in (None, table_dtype))
    assert rounded.factors.user.dtype == np.float32
    assert not np.array_equal(full.factors.user, rounded.factors.user)
    losses = [float(OBJECTIVE.loss(run.factors, DATA)) for run in (full, rounded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The objective is far from these data")
def test_a_tolerance_keeps_raw_play_counts_near_the_exact_loss(lastfm_2k):
    objective = Objective.hkv(alpha=40.0)
    run = lambda solver: fit(
        lastfm_2k,
        objective,
        ALS(factors=20, sweeps=15, solver=solver, acceleration=None),
        progress=False,
        loss_every=15,
    )
    exact, by_tolerance = run(Cholesky()), run(ConjugateGradient(tolerance=1e-4))
    assert by_tolerance.history["loss"].iloc[-1] == pytest.approx(exact.history["loss"].iloc[-1], rel=0.01)


def test_the_best_loss_is_kept_when_the_last_is_not_it(monkeypatch):
    # Losses 5, 3, 4 with patience 1: the factors after the second sweep are the ones to return.
    losses, tables = iter([5.0, 3.0, 4.0]), []

    def next_loss(*_):
        return jnp.asarray(next(losses), jnp.float32)

    monkeypatch.setattr("jaxals.als.sweeps.whole_loss", next_loss)
    keep = lambda progress: tables.append(progress.factors)
    run = train(trainer=ALS(factors=3, sweeps=6), early_stopping=EarlyStopping("loss"), callbacks=[keep])
    assert run.history["loss"].tolist() == [5.0, 3.0, 4.0]
    np.testing.assert_array_equal(run.factors.user, tables[1].user)


def test_a_solver_that_is_a_class_is_refused():
    with pytest.raises(ConfigurationError, match="`solver` must be a solver"):
        ALS(solver=Cholesky)  # type: ignore[arg-type]


def test_continuing_on_a_mesh_from_factors_of_another_device(all_devices):
    elsewhere = jax.device_put(train(mesh=None).factors, jax.devices()[3])
    trainer = ALS(factors=4, sweeps=3)
    continued, alone = train(trainer=trainer, initial=elsewhere), train(trainer=trainer, initial=elsewhere, mesh=None)
    np.testing.assert_allclose(continued.history["loss"], alone.history["loss"], rtol=1e-4)


@pytest.mark.parametrize("n_devices", [1, 8])
def test_every_device_of_a_cpu_counts_in_the_memory_that_is_needed(n_devices, monkeypatch):
    asked: list[float] = []
    monkeypatch.setattr("jaxals.training.trainers.require_memory", lambda needed, *_: asked.append(needed))
    mesh = jaxals.make_mesh(jax.devices()[:n_devices])
    ALS(factors=4, sweeps=0).begin(DATA, OBJECTIVE, jax.random.key(0), None, mesh)
    chunks = 4 * CPU.gram_bytes
    assert n_devices * chunks < asked[0] < (n_devices + 1) * chunks
