from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals import ALS, Cholesky, ConjugateGradient, Gradient, LinearConfidence, LogConfidence, Objective, Subspace
from jaxals.errors import ConfigurationError, NumericalError
from jaxals.evaluation import leave_k_out
from jaxals.hyper import Runs, fit_many, many, programs
from tests.combinations import combinations, fast_first

DATA = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
SPLIT = leave_k_out(DATA, 1, seed=0)
# In float64, so that nothing but rounding of 1e-16 can differ; conjugate gradient amplifies it most.
TRAINER = ALS(factors=4, sweeps=4, dtype="float64")
GRID = {"alpha": [0.5, 5.0, 20.0], "regularization": [0.1, 10.0]}


def run(objective=Objective.hkv, trainer=TRAINER, **settings) -> Runs:
    return fit_many(SPLIT.train, objective, trainer, **{"progress": False, "space": GRID, **settings})


def n_compiled() -> int:
    compiled: Any = programs.train_many
    return compiled._cache_size()


def check_against_single_fits(found: Runs) -> None:
    assert found.table.index.tolist() == list(range(len(found.models)))
    for number, model in enumerate(found.models):
        single = jaxals.fit(SPLIT.train, model.objective, model.trainer, seed=model.seed, mesh=None, progress=False)
        factors = found.run(number).factors
        for one, other in ((factors.user, single.factors.user), (factors.item, single.factors.item)):
            np.testing.assert_allclose(one, other, atol=1e-9 * np.abs(other).max())
        np.testing.assert_allclose(found.table["loss"][number], single.history["loss"].iloc[-1], rtol=1e-9)


# Six factors in blocks of two: the shortest rows are solved exactly, the others in blocks.
@pytest.mark.parametrize(
    ("sized", "acceleration"),
    combinations([(Cholesky(), 4), (ConjugateGradient(), 4), (Subspace(2), 6)], ["momentum", None], strength=1),
)
def test_models_are_those_of_single_fits(sized, acceleration):
    solver, factors = sized
    check_against_single_fits(run(trainer=ALS(factors, 4, solver, acceleration, dtype="float64"), seed=[0, 3]))


@pytest.mark.parametrize(
    "batch", fast_first(1, [jaxals.UserBatches(16), jaxals.FullBatch()]), ids=lambda batch: type(batch).__name__
)
def test_gradient_models_are_those_of_single_fits(batch):
    check_against_single_fits(
        run(trainer=Gradient(4, 30, optax.adam(0.02), batch, dtype="float64"), space={"alpha": [1.0, 4.0]})
    )


@pytest.mark.slow
def test_models_spread_over_devices_are_those_of_single_fits(all_devices):
    # Nine models on eight devices: the second call has seven devices left over.
    assert len(jax.devices()) == 8
    check_against_single_fits(run(space={"alpha": np.geomspace(0.5, 20, 9)}))


@pytest.mark.slow
def test_64_models_are_one_compilation(all_devices):
    before = n_compiled()
    found = run(space={"alpha": np.geomspace(0.5, 20, 16)}, seed=range(4), trainer=ALS(4, 3))
    assert len(found.table) == 64
    assert n_compiled() - before <= 1
    # Nor do other settings of the same kind, or another number of sweeps, compile anything.
    before = n_compiled()
    run(space={"alpha": np.geomspace(1, 2, 8)}, trainer=ALS(4, 2))
    assert n_compiled() == before


def test_the_table_has_a_row_a_model_and_chooses_the_best():
    found = run(seed=[1, 2], validation=SPLIT.test, metrics=["ndcg@10", "auc"])
    assert found.table.columns.tolist() == ["alpha", "regularization", "seed", "loss", "ndcg@10", "auc", "seconds"]
    assert len(found.table) == 12
    assert found.table.groupby(["alpha", "regularization"]).size().tolist() == [2] * 6
    best: Any = found.table["ndcg@10"].idxmax()
    assert found.best["model"] == best
    assert found.table["ndcg@10"].nunique() > 1
    np.testing.assert_array_equal(found.factors.user, found.run(best).factors.user)
    again = jaxals.evaluation.evaluate(found.factors, SPLIT.train, SPLIT.test, ["ndcg@10"])
    assert again["ndcg@10"] == pytest.approx(found.table["ndcg@10"].max(), rel=1e-6)
    assert found.run().history.columns.tolist() == ["loss", "ndcg@10", "auc", "seconds"]
    confidence: Any = found.objective.confidence
    assert confidence.alpha == found.table["alpha"][best]


def test_a_metric_that_is_better_when_lower():
    found = run(validation=SPLIT.test, metrics="gini@5")
    assert found.best["model"] == found.table["gini@5"].idxmin()


def test_only_the_best_is_kept_where_that_is_asked_for():
    found = run(validation=SPLIT.test, metrics="ndcg@10", keep="best")
    assert list(found.kept) == [found.best["model"]]
    with pytest.raises(ConfigurationError, match="not kept"):
        found.run(next(number for number in range(6) if number != found.best["model"]))


def test_seeds_alone_are_compared_by_their_loss():
    found = run(space={}, seed=range(4), objective=Objective.hkv(alpha=2.0), keep="best")
    assert found.best["model"] == found.table["loss"].idxmin()
    assert found.table.columns[0] == "seed"


def test_losses_of_different_settings_are_not_compared():
    with pytest.raises(ConfigurationError, match="do not compare"):
        _ = run().best
    with pytest.raises(ConfigurationError, match="do not compare"):
        run(keep="best")


@pytest.mark.slow
def test_other_numbers_of_factors_and_other_confidences_are_programs_of_their_own():
    over = {"factors": [2, 4], "confidence": [LinearConfidence(1.0), LogConfidence(3.0)]}
    found = run(objective=Objective.hkv(regularization=2.0), space=over)
    assert [found.run(number).factors.user.shape[1] for number in range(4)] == [2, 2, 4, 4]
    check_against_single_fits(found)


def test_settings_one_by_one():
    found = run(space=[{"alpha": 1.0}, {"alpha": 2.0, "regularization": 3.0}])
    assert found.table["alpha"].tolist() == [1.0, 2.0]
    assert found.models[0].objective.regularization == 0.1
    assert found.models[1].objective.regularization == 3.0


def test_a_model_that_diverges_spoils_no_other():
    # In float32 no row is finite where α r overflows.
    found = run(trainer=ALS(4, 4), space={"alpha": [1.0, 1e38]}, validation=SPLIT.test, metrics="ndcg@10")
    assert found.table["non_finite_rows"].tolist()[0] == 0
    assert found.table["non_finite_rows"].tolist()[1] > 0
    assert np.isnan(found.table["ndcg@10"][1])
    assert found.best["model"] == 0
    found = run(trainer=ALS(4, 4), space={"alpha": [1e38]}, validation=SPLIT.test, metrics="ndcg@10")
    with pytest.raises(NumericalError, match="None of 1 models"):
        _ = found.best


@pytest.mark.slow
def test_fewer_devices_where_memory_does_not_hold_a_model_on_each(all_devices, monkeypatch):
    sizes = []
    train_many = programs.train_many

    def counting(*args):
        sizes.append(len(args[2]))
        return train_many(*args)

    monkeypatch.setattr(many, "train_many", counting)
    run()
    assert sizes == [6]
    program: Any = many._lay_out(SPLIT.train, TRAINER)
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(program)) + program.working_bytes
    monkeypatch.setattr(many, "available_memory", lambda *_: int(3.5 * need))
    sizes.clear()
    check_against_single_fits(run())
    assert sizes == [3, 3]


def test_what_memory_does_not_hold_is_refused(monkeypatch):
    monkeypatch.setattr("jaxals._base.memory.available_memory", lambda *_: 20_000)
    with pytest.raises(ConfigurationError, match="Training one model on one device needs"):
        run()
    monkeypatch.setattr("jaxals._base.memory.available_memory", lambda *_: 5_000)
    with pytest.raises(ConfigurationError, match=r'Keeping the factors of 6 models .* `keep="best"`'):
        run()


def test_an_interruption_returns_what_is_done(monkeypatch):
    real, calls = many.train_many, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(many, "train_many", interrupted)
    with pytest.warns(UserWarning, match="returning 2 of 6 models"):
        found = run()
    assert found.table.index.tolist() == [0, 1]
    with pytest.raises(ConfigurationError, match="There is no model 2; the table has 2"):
        found.run(2)
    calls[:] = [1, 1]
    with pytest.raises(KeyboardInterrupt):
        run()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": {"gamma": [1.0]}}, "no setting 'gamma' to vary; known are alpha, regularization, factors"),
        ({"space": {"alpha": []}}, "nothing to train"),
        ({"seed": []}, "nothing to train"),
        ({"space": {"alpha": [-1.0]}}, "`alpha` must be > 0"),
        ({"space": {"factors": [0]}}, "`factors` must be an integer >= 1"),
        ({"metrics": "ndcg@10"}, "`validation` is missing"),
        ({"objective": Objective.ials(), "space": {"unobserved_weight": [0.1]}}, "pass the preset itself"),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        run(**settings)


def test_w0_and_its_offset_move_as_one_in_the_preset():
    found = run(objective=Objective.ials, space={"unobserved_weight": [0.1, 0.5]})
    assert [model.objective.frequency_offset for model in found.models] == [0.1, 0.5]
    check_against_single_fits(found)


def test_keys_as_seeds():
    key = jax.random.key(5)
    trainer = ALS(4, 2)
    by_key, by_number = (run(space={}, seed=[seed], trainer=trainer) for seed in (key, 5))
    np.testing.assert_array_equal(by_key.run(0).factors.user, by_number.run(0).factors.user)
    assert by_key.run(0).factors.user.dtype == jnp.float32
