import builtins
import inspect
import json
import logging

import jax
import numpy as np
import pytest

import jaxals
from jaxals import ALS, Choice, LogUniform, Objective, SearchSpace, Uniform, datasets, tune
from jaxals.errors import CheckpointError, ConfigurationError, MissingDependencyError
from jaxals.evaluation import leave_k_out, sample_negatives
from jaxals.hyper import MedianPruning, SearchResult
from jaxals.hyper.samplers import propose
from jaxals.training import loop

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
TRAINER = ALS(factors=4, sweeps=6)
SPACE = SearchSpace.preset("ials", TRAINER)


def search(space=SPACE, **settings) -> SearchResult:
    return tune(DATA, space, **{"trials": 8, "progress": False, "refit": False, **settings})


@pytest.mark.slow
def test_the_best_trial_is_what_fitting_its_settings_gives():
    split = leave_k_out(DATA, 1, seed=3)
    found = search(metrics=["ndcg@10", "auc"], validation=[split], seed=3, pruning=None, patience=6)
    assert found.table["state"].eq("done").all()
    best = found.table.sort_values("ndcg@10").iloc[-1]
    assert found.best["ndcg@10"] == best["ndcg@10"] > found.table["ndcg@10"].median()
    assert found.settings == {name: best[name] for name in ("unobserved_weight", "regularization")}
    assert jax.tree.leaves(found.objective) == jax.tree.leaves(Objective.ials(**found.settings))
    assert repr(found.trainer) == repr(ALS(factors=4, sweeps=int(best["best_step"])))
    run = jaxals.fit(
        split.train,
        found.objective,
        found.trainer,
        seed=jax.random.fold_in(jax.random.key(3), 0),
        validation=split.test,
        metrics=["ndcg@10", "auc"],
        progress=False,
    )
    assert run.history["ndcg@10"].iloc[-1] == best["ndcg@10"] == run.history["ndcg@10"].max()
    assert run.history["auc"].iloc[-1] == best["auc"]


def test_the_test_is_never_seen():
    # Only entries of the interactions given are held out, and none of those is trained on.
    outer = leave_k_out(DATA, 2, seed=0)
    seen = []

    def build(settings, interactions):
        seen.append(interactions)
        return Objective.hkv(settings["alpha"]), TRAINER

    tune(outer.train, SearchSpace({"alpha": Uniform(1, 2)}, build), trials=1, validation=2, progress=False)
    first, second, whole = seen
    assert whole is outer.train
    for part in (first, second):
        assert part.is_among(outer.train).all()
        assert len(part) == len(outer.train) - np.count_nonzero(outer.train.counts() > 1)
    assert not np.array_equal(first.item, second.item)


def test_a_search_finds_what_was_planted():
    # A ridge that crushes the factors loses to one that does not.
    space = SearchSpace.preset("ials", TRAINER, unobserved_weight=0.1, regularization=Choice((0.01, 100.0)))
    assert search(space, pruning=None).settings["regularization"] == 0.01


@pytest.mark.parametrize("sampler", ["random", pytest.param("tpe", marks=pytest.mark.slow)])
def test_interrupted_then_resumed_equals_uninterrupted(sampler, tmp_path):
    space = SearchSpace.preset("ials", TRAINER, frequency_exponent=Uniform(0.0, 1.0), factors=Choice((2, 4)))
    settings = {"sampler": sampler, "validation": 2, "pruning": MedianPruning(startup_trials=2, warmup_steps=1)}
    whole = search(space, trials=9, **settings).table.drop(columns="seconds")
    assert "pruned" in whole["state"].tolist()
    path = tmp_path / "trials.jsonl"
    search(space, trials=5, path=path, **settings)
    with path.open("a") as file:
        file.write('{"trial": 5, "sta')  # killed while writing
    resumed = search(space, trials=9, path=path, **settings)
    assert resumed.table.drop(columns="seconds").equals(whole)
    again = search(space, trials=3, path=path, **settings)  # as many as there are already
    assert again.table.equals(resumed.table)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_proposals_depend_on_the_seed_and_the_trials_so_far(sampler):
    first = propose(sampler, SPACE, 0, [])
    assert propose(sampler, SPACE, 0, []) == first
    assert propose(sampler, SPACE, 1, []) != first
    assert propose(sampler, SPACE, 0, [(first, 0.5)]) != first


def test_proposals_stay_in_range_and_tpe_learns():
    space = SearchSpace({"a": LogUniform(0.01, 100.0), "b": Choice((1, 2))}, SPACE.build)
    trials: list = []
    for _ in range(40):
        settings = propose("tpe", space, 0, trials)
        assert 0.01 <= settings["a"] <= 100
        score = None if settings["b"] == 2 and len(trials) == 3 else -abs(np.log(settings["a"]) - 1.0) + settings["b"]
        trials.append((settings, score))
    late = [settings for settings, _ in trials[25:]]
    assert np.mean([abs(np.log(one["a"]) - 1.0) for one in late]) < 1.5  # at random it would be 2.5
    assert logging.getLogger("optuna").level == logging.WARNING


def test_tpe_without_optuna_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "optuna":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependencyError, match=r'pip install "jaxals\[tune\]"'):
        search(sampler="tpe")
    search(trials=1)


@pytest.mark.slow
def test_trials_of_the_same_shapes_compile_nothing_new(caplog):
    settings = {"validation": 2, "seed": 11, "pruning": None}
    space = SearchSpace.preset("ials", ALS(factors=3, sweeps=2), frequency_exponent=Uniform(0.0, 1.0))
    jax.clear_caches()  # What the tests before have compiled does not count.
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        search(space, trials=1, **settings)
        first = sum("Compiling" in record.message for record in caplog.records)
        caplog.clear()
        search(space, trials=6, **settings)
        later = [record.message for record in caplog.records if "Compiling" in record.message]
    assert first > 5
    assert later == []


@pytest.mark.slow
def test_tiles_are_cut_once_for_trials_of_one_layout(monkeypatch):
    cut = []
    real = ALS.cut

    def counted(trainer, *arguments):
        cut.append(trainer.factors)
        return real(trainer, *arguments)

    monkeypatch.setattr(ALS, "cut", counted)
    search(validation=3)
    assert cut == [4, 4, 4]


def test_hopeless_trainings_end_early():
    rule = MedianPruning(startup_trials=2, warmup_steps=1)
    earlier = [[0.1, 0.5, 0.6], [0.2, 0.3], [0.4, 0.2, 0.2]]
    assert not rule.is_hopeless([0.0], earlier)  # still warming up
    assert rule.is_hopeless([0.3, 0.35], earlier)  # the best so far of the others: 0.5, 0.3, 0.4
    assert not rule.is_hopeless([0.4, 0.1], earlier)
    assert rule.is_hopeless([0.3, 0.35, 0.39], earlier)  # one that ended early counts with its best: 0.6, 0.3, 0.4
    assert not rule.is_hopeless([0.0, 0.0], earlier[:1])


def test_a_pruned_trial_trains_on_no_further_split():
    space = SearchSpace({"ridge": Uniform(0, 1)}, lambda *_: next(builds))
    good, bad = Objective.ials(0.1, 0.01), Objective.ials(0.1, 100.0)
    builds = iter([(good, TRAINER)] * 4 + [(bad, TRAINER)] + [(good, TRAINER)])
    rule = MedianPruning(startup_trials=2, warmup_steps=1)
    frame = search(space, trials=3, validation=2, pruning=rule).table
    assert frame["state"].tolist() == ["done", "done", "pruned"]
    assert frame["standard_error"].isna().tolist() == [False, False, True]


def test_a_trial_that_diverges_is_recorded_and_the_search_goes_on(tmp_path):
    diverging = jaxals.Objective(jax.tree_util.Partial(lambda r: (-1e6 * r, r)), 1.0, 0.0)

    def build(settings, interactions):
        return (Objective.hkv() if settings["works"] else diverging), TRAINER

    path = tmp_path / "trials.jsonl"
    frame = search(SearchSpace({"works": Choice((True, False))}, build), path=path).table
    assert set(frame["state"]) == {"done", "failed"}
    failed = frame[frame["state"] == "failed"]
    assert failed["message"].str.contains("rows are not finite").all()
    assert failed["ndcg@10"].isna().all()
    assert frame["message"].isna().tolist() == frame["works"].tolist()
    with pytest.raises(ConfigurationError, match="None of 2 trials could be trained to the end; the last one said: Af"):
        search(SearchSpace({"works": Choice((False,))}, build), trials=2)


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    def build(settings, interactions):
        calls.append(settings)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return SPACE.build(settings, interactions)

    calls: list[dict] = []
    space, path = SearchSpace(SPACE.ranges, build), tmp_path / "trials.jsonl"
    with pytest.warns(UserWarning, match="Interrupted after 3 trials; to go on, call again with the same `path`"):
        found = search(space, path=path)
    assert len(found.table) == 3
    assert len(path.read_text().splitlines()) == 4
    assert len(search(space, path=path).table) == 8
    calls.clear()
    with pytest.warns(UserWarning, match="name a `path` the next time"):
        search(space)


def test_an_interrupt_within_a_training_ends_the_search(monkeypatch):
    steps = []

    def interrupt(*arguments):
        steps.append(arguments)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return real(*arguments)

    real = loop.run_plan
    monkeypatch.setattr(loop, "run_plan", interrupt)
    with pytest.warns(UserWarning, match="Interrupted after 1 trials") as caught:
        search(patience=6)
    assert len(caught) == 1
    steps[:] = [()] * 7
    with pytest.raises(KeyboardInterrupt):  # nothing is done yet
        search()


def test_negatives_are_part_of_what_a_search_is(tmp_path):
    test, path = leave_k_out(DATA, 1, 0).test, tmp_path / "trials.jsonl"
    search(trials=1, path=path, validation=[sample_negatives(DATA, test, n=10, seed=0)])
    search(trials=1, path=path, validation=[sample_negatives(DATA, test, n=10, seed=0)])
    with pytest.raises(CheckpointError, match="`fingerprints of the splits` is"):
        search(trials=1, path=path, validation=[sample_negatives(DATA, test, n=10, seed=1)])


def test_a_search_of_other_settings_is_told_what_differs(tmp_path):
    path = tmp_path / "trials.jsonl"
    search(trials=1, path=path)
    wider = SearchSpace.preset("ials", TRAINER, regularization=LogUniform(1e-5, 1.0))
    for change, message in (
        ({"seed": 1}, "`seed` is 0 there and 1 here"),
        ({"sampler": "tpe"}, "`sampler` is random there and tpe here"),
        ({"metrics": "auc"}, "`metrics` is "),
        ({"validation": [leave_k_out(DATA, 2)]}, "`fingerprints of the splits` is"),
        ({"space": wider}, "`range of regularization` is LogUniform"),
        ({"space": SearchSpace.preset("ials", ALS(factors=5))}, "`what is not searched` is"),
    ):
        with pytest.raises(CheckpointError, match=message):
            search(path=path, **change)
    assert json.loads(path.read_text().splitlines()[0])["search"]["seed"] == 0


def test_a_search_of_another_build_or_precision_is_refused(tmp_path):
    def made(text: str) -> SearchSpace:
        build = eval(f"lambda settings, data: (Objective.hkv({text}), TRAINER)", {**globals()})
        return SearchSpace({"alpha": Uniform(1, 2)}, build)

    path = tmp_path / "trials.jsonl"
    first = search(made("settings['alpha']"), trials=1, path=path)
    assert search(made("settings['alpha']"), trials=1, path=path).settings == first.settings
    with pytest.raises(
        CheckpointError, match="trials of another search: the code of `build` has changed; name another"
    ):
        search(made("2 * settings['alpha']"), trials=1, path=path)
    message = "`jax_default_matmul_precision` is None there and float32 here"
    with jax.default_matmul_precision("float32"), pytest.raises(CheckpointError, match=message):
        search(made("settings['alpha']"), trials=1, path=path)


def test_two_searches_do_not_write_into_one_file(tmp_path):
    def build(settings, interactions):
        if interactions is not DATA:  # which come last, with the settings that were found
            with pytest.raises(CheckpointError, match="Another search writes to"):
                search(trials=1, path=path)
        return SPACE.build(settings, interactions)

    path = tmp_path / "trials.jsonl"
    search(SearchSpace(SPACE.ranges, build), trials=1, path=path)
    assert len(path.read_text().splitlines()) == 2


def test_negatives_serve_as_validation_and_splits_are_averaged():
    held_out = [leave_k_out(DATA, 1, seed).test for seed in range(2)]
    splits = [sample_negatives(DATA, test, n=10, seed=seed) for seed, test in enumerate(held_out)]
    together, *apart = (search(validation=some, trials=1).table for some in (splits, splits[:1]))
    assert together["ndcg@10"][0] > search(trials=1).table["ndcg@10"][0]  # 11 candidates instead of 40 items
    assert together["standard_error"][0] > 0
    assert apart[0]["standard_error"].isna().all()
    assert together["ndcg@10"][0] != apart[0]["ndcg@10"][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "`trials` must be an integer >= 1; got 0"),
        ({"validation": 0}, "`validation` must be an integer >= 1; got 0"),
        ({"validation": []}, r"`validation` must be a number, or a list of splits; got \[\]"),
        ({"validation": leave_k_out(DATA, 1)}, r"`validation` must be a number, or a list of splits; got a Split"),
        ({"space": {"alpha": 1.0}}, "`space` must be a `SearchSpace`, such as .*; got {'alpha': 1.0}"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"metrics": "ndgc@10"}, "no metric 'ndgc@10'"),
        ({"metrics": ["gini@10", "ndcg@10"]}, "must get better by growing; got 'gini@10'"),
        ({"patience": 0}, "`patience` must be an integer >= 1"),
    ],
)
def test_arguments_out_of_range_are_refused_before_the_first_trial(settings, message, monkeypatch):
    monkeypatch.setattr(jaxals.hyper.search, "propose", lambda *_: pytest.fail("proposed"))
    # Without the run-time check of types, which tests have and users have not.
    with pytest.raises(ConfigurationError, match=message):
        inspect.unwrap(tune)(DATA, **{"space": SPACE, **settings})


def test_a_trainer_of_no_steps_is_refused():
    with pytest.raises(ConfigurationError, match="takes no steps, so there is nothing to measure"):
        search(SearchSpace.preset("ials", ALS(factors=4, sweeps=0), sweeps=Choice((0,))), trials=1)
