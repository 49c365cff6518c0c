"""What all results answer alike, whoever trained."""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import jaxals
from jaxals import ALS, Factors, Objective, Recommender, SearchSpace, pytree, tune
from jaxals.als import StepInfo
from jaxals.errors import ConfigurationError, NumericalError
from jaxals.evaluation import leave_k_out
from jaxals.hyper import fit_many, hold_out, smooth_ndcg, tune_by_gradient
from jaxals.objective.factors import require_shape
from jaxals.training import Checkpoint, Trained, Training
from jaxals.training.run import summary
from tests.combinations import fast_first

DATA = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
SPLIT = leave_k_out(DATA, 1, seed=0)
TRAINER = ALS(factors=4, sweeps=3)


def by_gradient() -> Any:
    held_out = hold_out(SPLIT.train, SPLIT.test)
    return tune_by_gradient(
        lambda factors, p: smooth_ndcg(factors, held_out, temperature=0.1),
        {"w0": 0.3, "ridge": 0.01},
        jaxals.initial_factors(jax.random.key(0), *DATA.shape, 4),
        objective=lambda p: Objective.ials(p["w0"], p["ridge"]),
        tiles=TRAINER.cut(SPLIT.train, None),
        steps=2,
        progress=False,
    )


RESULTS = {
    "fit": lambda: jaxals.fit(DATA, Objective.hkv(), TRAINER, progress=False),
    "many": lambda: fit_many(DATA, Objective.hkv(), TRAINER, seed=range(3), progress=False),
    "search": lambda: tune(DATA, SearchSpace.preset("ials", TRAINER), trials=2, progress=False),
    "by gradient": by_gradient,
}


@pytest.mark.parametrize("name", fast_first(3, RESULTS))
def test_results_answer_the_same_questions(name):
    found: Any = RESULTS[name]()
    require_shape(found.factors, DATA.shape)
    assert isinstance(found.objective, Objective)
    assert isinstance(found.trainer, ALS)
    table = found.history if hasattr(found, "history") else found.table
    assert isinstance(table, pd.DataFrame)
    best = {key: value for key, value in found.best.items() if key in table and value == value}
    assert best
    assert any(all(row[key] == value for key, value in best.items()) for row in table.to_dict("records"))
    assert len(repr(found).splitlines()) <= 10
    assert max(map(len, repr(found).splitlines())) < 250
    recommender = Recommender.from_run(found, DATA)
    assert len(recommender.recommend(7, n=5)) == 5
    assert repr(recommender).startswith("Recommender(4 factors, Interactions(50 users")


def test_the_best_step_is_the_one_that_the_factors_are_of():
    stopping = jaxals.EarlyStopping("ndcg@10", patience=2)
    run = jaxals.fit(
        SPLIT.train,
        Objective.hkv(),
        ALS(4, 12),
        validation=SPLIT.test,
        metrics="ndcg@10",
        early_stopping=stopping,
        progress=False,
    )
    assert run.best_step == run.history["step"].tolist()[run.history["ndcg@10"].argmax()]
    again = jaxals.evaluation.evaluate(run.factors, SPLIT.train, SPLIT.test, "ndcg@10")
    assert again["ndcg@10"] == pytest.approx(run.best["ndcg@10"], rel=1e-6)


def test_a_run_without_steps_has_no_best_row():
    run = jaxals.fit(DATA, Objective.hkv(), ALS(4, 0), progress=False)
    assert run.best == {}
    assert "Run(50 users x 30 items, 4 factors" in repr(run)


def test_a_search_that_kept_no_factors_says_so():
    found = tune(DATA, SearchSpace.preset("ials", TRAINER), trials=1, refit=False, progress=False)
    assert found.factors is None
    with pytest.raises(ConfigurationError, match="The SearchResult holds no factors"):
        Recommender.from_run(found, DATA)
    with pytest.raises(ConfigurationError, match="`run` must be what `fit`"):
        Recommender.from_run(DATA, DATA)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), NumericalError("It diverged.")], ids=["Ctrl-C", "diverged"])
def test_a_search_is_not_lost_with_the_training_that_follows_it(fault, monkeypatch):
    def fail(*arguments, **settings):
        raise fault

    monkeypatch.setattr("jaxals.hyper.search.fit", fail)
    with pytest.warns(UserWarning, match="The best settings were not trained on all interactions: (interrupted|It di)"):
        found = tune(DATA, SearchSpace.preset("ials", TRAINER), trials=1, progress=False)
    assert found.factors is None
    assert len(found.table) == 1


def test_settings_that_are_arrays_are_told_apart():
    ridges = [jaxals.Sides(np.full(50, ridge), 1.0) for ridge in (0.5, 2.0)]
    runs = fit_many(DATA, Objective.hkv(), TRAINER, space={"regularization": ridges}, progress=False)
    with pytest.raises(ConfigurationError, match="do not compare"):
        _ = runs.best
    assert "do not compare" in repr(runs)


def test_a_search_trains_its_best_settings_on_everything():
    found = tune(DATA, SearchSpace.preset("ials", TRAINER), trials=2, progress=False, seed=3)
    again = jaxals.fit(DATA, found.objective, found.trainer, seed=3, progress=False)
    assert found.factors == again.factors
    assert found.trainer == ALS(factors=4, sweeps=found.best["best_step"])


@pytree
class State:
    factors: Factors


@pytree
class Half:
    """A program of many models: the first factors, halved."""

    dtype: Any = jaxals.static(default="float32")

    def train(self, objective: Objective, key: jax.Array) -> Trained:
        first = jaxals.initial_factors(key, 50, 30, 4)
        nothing = jnp.zeros((), jnp.int32)
        halved = jax.tree.map(lambda table: table / 2, first)
        return Trained(halved, StepInfo(nothing, nothing, jnp.sum(halved.user**2)))


@dataclasses.dataclass(frozen=True)
class Own:
    """A trainer that a user wrote, with nothing but what the protocol asks for."""

    steps: int = 3

    def begin(self, interactions, objective, key, initial, mesh) -> Training:
        def step(state: State, with_loss: bool) -> tuple[State, StepInfo]:
            nothing = jnp.zeros((), jnp.int32)
            loss = jnp.sum(state.factors.user**2) if with_loss else None
            return State(jax.tree.map(lambda table: table / 2, state.factors)), StepInfo(nothing, nothing, loss)

        start = lambda: State(initial or jaxals.initial_factors(key, 50, 30, 4))
        return Training(start, step, self.steps, "step")


@dataclasses.dataclass(frozen=True)
class Capable(Own):
    def with_steps(self, n: int) -> "Capable":
        return dataclasses.replace(self, steps=n)

    def program(self, interactions) -> Half:
        return Half()


def test_a_trainer_of_ones_own_fits_is_searched_and_is_checkpointed(tmp_path):
    run = jaxals.fit(DATA, Objective.hkv(), Own(), progress=False)
    assert run.history["step"].tolist() == [1, 2, 3]
    build = lambda settings, interactions: (Objective.hkv(settings["alpha"]), Capable())
    found = tune(DATA, SearchSpace({"alpha": jaxals.Uniform(1, 2)}, build), trials=2, progress=False)
    assert found.trainer == Capable(found.best["best_step"])
    half = jaxals.fit(DATA, Objective.hkv(), Capable(2), checkpoint=Checkpoint(tmp_path), progress=False)
    whole = jaxals.fit(DATA, Objective.hkv(), Capable(4), checkpoint=Checkpoint(tmp_path), resume=True, progress=False)
    assert whole.history["step"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(whole.factors.user, half.factors.user / 4)


def test_a_trainer_of_ones_own_trains_many_models_or_is_told_what_it_lacks():
    runs = fit_many(DATA, Objective.hkv(), Capable(), seed=range(3), progress=False)
    assert runs.best["loss"] == runs.table["loss"].min()
    assert isinstance(runs.trainer, Capable)
    with pytest.raises(ConfigurationError, match=r"Own has no method `program\(interactions\)`"):
        fit_many(DATA, Objective.hkv(), Own(), seed=range(3), progress=False)


def test_one_seed_or_several():
    one, several = (fit_many(DATA, Objective.hkv(), TRAINER, seed=seed, progress=False) for seed in (3, [3]))
    assert one.factors == several.factors
    assert len(one.table) == 1


def test_the_same_settings_of_an_optimiser_are_one_program():
    trainers = [jaxals.Gradient(4, 10, optax.adam(0.1)) for _ in range(2)]
    assert trainers[0] == trainers[1]


def test_progress_is_printed_on_a_line():
    seen: list[str] = []
    callback = lambda progress: seen.append(repr(progress))
    jaxals.fit(DATA, Objective.hkv(), TRAINER, callbacks=[callback], progress=False)
    assert seen[-1].startswith("Progress(step 3, ")
    assert ", loss " in seen[-1]


def test_a_result_without_a_model_says_so():
    result = types.SimpleNamespace(factors=None, objective=jaxals.Objective.hkv(), trainer=jaxals.ALS())
    assert summary(result, {"steps": 3, "seed": None}).startswith("SimpleNamespace(no factors\n    steps 3\n")
