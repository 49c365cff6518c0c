import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxals
from jaxals import cli
from jaxals.cli import commands
from jaxals.cli.options import _PRESETS, COLUMNS, SOLVERS, Preset, build_objective, raw_ids, read, split_up
from jaxals.cli.tuning import parse_range
from jaxals.evaluation import leave_k_out, random_holdout
from jaxals.training import loop as training

FAST = ["--factors", "4", "--sweeps", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    frame = data.to_frame()
    frame.to_csv(folder / "plays.tsv", sep="\t", index=False)
    named = frame.assign(item="artist [" + frame["item"].astype(str) + "]")
    named.columns = ["who", "what", "how_often"]
    named.to_csv(folder / "named.csv", index=False)
    assert cli.main(["fit", str(folder / "plays.tsv"), "--output", str(folder / "model"), "--json", *FAST]) == 0
    columns = ["--user", "who", "--item", "what", "--value", "how_often"]
    assert cli.main(["fit", str(folder / "named.csv"), *columns, "--output", str(folder / "named"), *FAST]) == 0
    return folder


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def fails(capsys):
    def fails(*arguments):
        capsys.readouterr()
        assert cli.main([str(a) for a in arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("jaxals: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return fails


# What works


def test_fit_saves_the_settled_model_of_the_library(folder, run, tmp_path):
    arguments = ["fit", folder / "plays.tsv", "--output", tmp_path / "model", "--json", "--seed", 3]
    document = json.loads(run(*arguments, *FAST))
    data = jaxals.Interactions.from_file(folder / "plays.tsv")
    expected = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), seed=3, progress=False)
    assert document["loss"] == expected.history["loss"].iloc[-1]
    assert [row["step"] for row in document["history"]] == [1, 2, 3]
    assert (document["users"], document["items"], document["interactions"]) == (60, 40, 700)
    saved = jaxals.Recommender.load(tmp_path / "model")
    settled = jaxals.Recommender(expected.factors, data, expected.objective).settled()
    np.testing.assert_array_equal(saved.factors.user, settled.factors.user)
    np.testing.assert_array_equal(saved.factors.item, settled.factors.item)
    assert jax.tree.leaves(saved.objective) == jax.tree.leaves(expected.objective)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_the_solver_is_chosen_by_name(name, folder, run, tmp_path):
    arguments = ["fit", folder / "plays.tsv", "--output", tmp_path / "model", "--json", "--solver", name]
    document = json.loads(run(*arguments, *FAST))
    data = jaxals.Interactions.from_file(folder / "plays.tsv")
    trainer = jaxals.ALS(factors=4, sweeps=3, solver=SOLVERS[name])
    expected = jaxals.fit(data, jaxals.Objective.hkv(), trainer, progress=False)
    assert document["loss"] == expected.history["loss"].iloc[-1]


@pytest.mark.parametrize("preset", list(_PRESETS))
def test_every_preset_and_its_options_reach_the_objective(preset):
    settings = {name: 0.5 + place for place, name in enumerate(_PRESETS[preset].parameters)}
    built, expected = build_objective(Preset(preset, **settings)), getattr(jaxals.Objective, preset)(**settings)
    assert type(built.confidence) is type(expected.confidence)
    assert jax.tree.leaves(built) == jax.tree.leaves(expected)
    assert jax.tree.leaves(build_objective(Preset(preset))) == jax.tree.leaves(getattr(jaxals.Objective, preset)())


def test_fit_watches_what_is_held_out_and_stops_early(folder, run, tmp_path):
    watching = ["--holdout", 2, "--metrics", "ndcg@5", "auc", "--monitor", "ndcg@5", "--patience", 2]
    arguments = ["fit", folder / "plays.tsv", "--output", tmp_path / "m", "--factors", 4, "--sweeps", 50, *watching]
    document = json.loads(run(*arguments, "--json"))
    assert set(document["history"][0]) == {"step", "seconds", "loss", "ndcg@5", "auc"}
    assert document["stopped_early"] == "ndcg@5 stopped improving"
    assert len(document["history"]) < 50
    held_out = document["held_out"]
    assert held_out > 80
    assert len(jaxals.Recommender.load(tmp_path / "m").interactions) == document["interactions"] - held_out


def test_float64_reaches_the_model(folder, run, tmp_path):
    run("fit", folder / "plays.tsv", "--output", tmp_path / "m", "--dtype", "float64", *FAST)
    assert jaxals.Recommender.load(tmp_path / "m").factors.user.dtype == np.float64


def test_a_table_without_header_and_values_is_counted(tmp_path):
    path = tmp_path / "events.txt"
    path.write_text("a,x\na,x\nb,x\nb,y\nc,y\n")
    options = ["--names", "user", "item", "--no-value", "--output", "m"]
    _, bound, _ = commands.app.parse_args(["fit", str(path), *options])
    assert read(str(path), bound.arguments["columns"]).value.tolist() == [2, 1, 1, 1]


def test_people_get_a_short_table(folder, run, tmp_path):
    output = run("fit", folder / "plays.tsv", "--output", tmp_path / "m", *FAST)
    assert "60 users x 40 items, 700 entries" in " ".join(output.split())
    for label in ("objective", "sweeps", "seconds", "loss", "device", "model"):
        assert re.search(rf"^{label} +\S", output, re.MULTILINE), label
    assert "stopped early" not in output
    assert "held out" not in output


def test_recommend_takes_integer_ids_and_agrees_with_the_library(folder, run):
    document = json.loads(run("recommend", folder / "model", 5, 7, "--n", 3, "--json"))
    expected = jaxals.Recommender.load(folder / "model").recommend([5, 7], n=3)
    assert [(r["user"], r["item"], r["rank"]) for r in document["recommendations"]] == [
        (r.user, r.item, r.rank) for r in expected.itertuples()
    ]


def test_recommend_explains(folder, run):
    (row,) = json.loads(run("recommend", folder / "named", 5, "--n", 1, "--json", "--explain"))["recommendations"]
    assert set(row["because"][0]) == {"item", "value", "contribution"}
    assert len(row["because"]) == 3
    output = run("recommend", folder / "named", 5, "--n", 2, "--explain", "--scale", "unit")
    assert "For user 5" in output
    assert re.search(r"artist \[\d+\] \([+-]0\.\d\d\)", output)  # brackets survive rich's markup


def test_seen_items_come_back_only_on_request(folder, run):
    seen = set(pd.read_table(folder / "plays.tsv").query("user == 5")["item"])
    arguments = ["recommend", folder / "model", 5, "--n", 40, "--json"]
    found = lambda *extra: {row["item"] for row in json.loads(run(*arguments, *extra))["recommendations"]}
    assert not found() & seen
    assert found("--include-seen") == set(range(40))


def test_similar_items_and_users(folder, run):
    document = json.loads(run("similar", folder / "named", "artist [3]", "--n", 4, "--measure", "dot", "--json"))
    expected = jaxals.Recommender.load(folder / "named").similar_items("artist [3]", n=4, measure="dot")
    assert [row["similar_item"] for row in document["similar"]] == expected["similar_item"].tolist()
    assert "Like user 7" in run("similar", folder / "model", 7, "--users")


def test_evaluate_measures_beside_popularity_and_random(folder, run):
    arguments = ["evaluate", folder / "plays.tsv", *FAST, "--metrics", "recall@5", "auc"]
    document = json.loads(run(*arguments, "--json"))
    rows = pd.DataFrame(document["metrics"])
    assert len(rows) == 6
    assert rows["model"].unique().tolist()[1:] == ["popularity", "random"]
    assert rows["standard_error"].gt(0).all()
    assert document["held_out"] == 140
    assert run(*arguments).count("±") == 7


def test_splits_are_those_of_the_library(folder):
    data = jaxals.Interactions.from_file(folder / "plays.tsv")
    for ours, theirs in (
        (split_up(data, 2, None, 5), leave_k_out(data, 2, 5)),
        (split_up(data, None, 0.3, 5), random_holdout(data, 0.3, 5)),
        (split_up(data, None, None, 5), random_holdout(data, seed=5)),
    ):
        np.testing.assert_array_equal(ours.test.item, theirs.test.item)


TUNE = ["--factors", "2,4", "--sweeps", 3, "--trials", 4]


def test_tune_finds_what_the_library_finds_and_says_how_to_train_with_it(folder, run, tmp_path):
    arguments = ["tune", folder / "named.csv", "--user", "who", "--item", "what", "--value", "how_often", *TUNE]
    arguments += ["--regularization", "0.01..0.1", "--frequency-exponent", "0..1", "--validation", 2]
    path = tmp_path / "trials.jsonl"
    document = json.loads(run(*arguments, "--path", path, "--json"))
    space = jaxals.SearchSpace.preset(
        "ials",
        jaxals.ALS(sweeps=3),
        factors=jaxals.Choice((2, 4)),
        regularization=jaxals.LogUniform(0.01, 0.1),
        frequency_exponent=jaxals.Uniform(0.0, 1.0),
    )
    data = jaxals.Interactions.from_file(folder / "named.csv", "who", "what", "how_often")
    expected = jaxals.tune(data, space, trials=4, validation=2, progress=False)
    assert document["ndcg@10"] == expected.best["ndcg@10"]
    assert len(document["trials"]) == 4
    assert {name: document[name] for name in expected.settings} == expected.settings
    output = run(*arguments, "--path", path)  # the trials are there already
    assert re.search(r"The best of 4 trials \((\d \w+(, )?)+\)", output)
    command = shlex.split(output.splitlines()[-1])
    assert command == shlex.split(document["command"])
    _, bound, _ = commands.app.parse_args(command[1:])
    objective = build_objective(bound.arguments["preset"])
    np.testing.assert_allclose(jax.tree.leaves(objective), jax.tree.leaves(expected.objective), rtol=1e-5)
    assert repr(bound.arguments["trainer"]) == repr(expected.trainer)
    assert read(command[2], bound.arguments["columns"]).shape == data.shape


def test_tune_goes_on_from_its_file_and_after_an_interrupt(folder, run, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        if len(arguments[-1]) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    real = jaxals.hyper.search.propose
    path = tmp_path / "trials.jsonl"
    arguments = ["tune", folder / "plays.tsv", "--path", path, *TUNE]
    with monkeypatch.context() as patched:
        patched.setattr(jaxals.hyper.search, "propose", interrupted)
        assert cli.main([str(argument) for argument in arguments]) == 130
    captured = capsys.readouterr()
    assert captured.err == f"jaxals: interrupted; the same command goes on from the 2 trials in {path}\n"
    assert "The best of 2 trials" in captured.out
    assert "The best of 4 trials" in run(*arguments)
    assert len(path.read_text().splitlines()) == 5


def test_ranges_are_read_as_they_are_written():
    assert parse_range("alpha", "0.1..10") == jaxals.LogUniform(0.1, 10.0)
    assert parse_range("frequency_exponent", "0.5..1") == jaxals.Uniform(0.5, 1.0)
    assert parse_range("unobserved_weight", "0..1") == jaxals.Uniform(0.0, 1.0)
    assert parse_range("factors", "64") == jaxals.Choice((64,))
    assert parse_range("regularization", "0.1,1e-3") == jaxals.Choice((0.1, 0.001))


def test_datasets_lists_what_is_known_and_what_is_here(run, monkeypatch, tmp_path):
    (tmp_path / "ml-1m").mkdir()
    for name in ("ratings.dat", "movies.dat"):
        (tmp_path / "ml-1m" / name).write_text("")
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(run("datasets", "--json"))["datasets"]}
    assert list(rows) == jaxals.datasets.names()
    assert rows["movielens-1m"]["in_JAXALS_DATA"] == str(tmp_path / "ml-1m" / "ratings.dat")
    assert rows["online-retail"]["in_JAXALS_DATA"] is None
    output = run("datasets")
    assert "CC BY 4.0" in output
    assert "Harper" in output


def test_the_distributed_file_of_a_known_set_is_recognised(tmp_path):
    path = tmp_path / "usersha1-artmbid-artname-plays.tsv"
    path.write_text("".join(f"u{n % 4}\t\tartist {n}\t{n}\n" for n in range(1, 12)))
    for data in (path, tmp_path):
        assert read(str(data), COLUMNS).shape == (4, 11)
    other = tmp_path / "ratings.dat"  # MovieLens 1M's, but only beside its movies.dat
    other.write_text("user\titem\tvalue\na\tx\t1\n")
    assert read(str(other), COLUMNS).shape == (1, 1)


@pytest.mark.skipif("JAXALS_DATA" not in os.environ, reason="JAXALS_DATA is not set")
def test_real_last_fm_file():
    folder = os.path.join(os.environ["JAXALS_DATA"], "lastfm-360k-format")
    data = read(os.path.join(folder, "usersha1-artmbid-artname-plays.tsv"), COLUMNS)
    assert data.shape == (1892, 17632)
    assert data.catalog.item_indices(["Radiohead"]).shape == (1,)


@pytest.mark.parametrize("command", ["fit", "recommend", "similar", "evaluate", "tune", "datasets", "demo"])
def test_help_describes_every_option_and_shows_an_example(command, run):
    output = run(command, "--help")
    assert f"Example: jaxals {command}" in output
    for option in re.findall(r"^│ [* ]? *(--[a-z].*?)│$", output, re.MULTILINE):
        assert re.search(r"  +\S", option), f"no help: {option}"


def test_the_version_is_told(run):
    assert run("--version") == f"jaxals {jaxals.__version__}\n"


def test_help_and_defaults_come_from_the_library(run):
    output = " ".join(run("fit", "--help").replace("│", " ").split())
    assert "Length of the vectors that are learned. [default: 64]" in output
    assert "How many rows of the history in a row may pass without one." in output
    assert "hkv (default 40), implicit (default 1)" in output
    assert "Take binary values and a frequency-scaled ridge" in output
    assert "How a row is solved: exact, or faster steps" in output


# What a user gets wrong


def test_what_is_asked_twice_is_answered_once(folder, run):
    for command in ("recommend", "similar"):
        rows = next(iter(json.loads(run(command, folder / "model", 1, 1, "--n", 3, "--json")).values()))
        assert [row["rank"] for row in rows] == [1, 2, 3]
        output = run(command, folder / "model", 1, 1, "--n", 3)
        assert len(re.findall(r"^ +[123] ", output, re.MULTILINE)) == 3


def test_the_summary_has_every_column_of_the_last_step():
    history = pd.DataFrame({"step": [1, 2], "loss": [9.0, 8.5], "unconverged_rows": [0, 12]})
    factors = jaxals.Factors(jnp.ones((1, 1)), jnp.ones((1, 1)))
    run = training.Run(factors, history, jaxals.Objective.hkv(), jaxals.ALS())
    assert commands._summary(run) == {"sweeps": 2, "loss": 8.5, "unconverged rows": 12, "stopped early": None}


def test_mistakes_on_the_command_line(folder, fails, tmp_path):
    table, model = folder / "plays.tsv", folder / "model"
    fit = ["fit", table, "--output", tmp_path / "new"]
    assert "--factrs" in fails(*fit, "--factrs", 3)
    assert "ft" in fails("ft", table)
    assert "--output" in fails("fit", table)
    assert "DATA" in fails("fit")
    assert "--factors" in fails(*fit, "--factors", "many")
    assert "`factors` must be an integer >= 1" in fails(*fit, "--factors", 0)
    assert "`regularization` must be >= 0; got -0.1" in fails(*fit, "--regularization", -0.1)
    assert "`regularization`" in fails(*fit, "--regularization", "nan")
    assert "`alpha` must be > 0" in fails(*fit, "--alpha", 0)
    assert "`patience`" in fails(*fit, "--patience", 0)
    assert "--seed" in fails(*fit, "--seed", -1)
    assert "--dtype" in fails(*fit, "--dtype", "float16")
    assert "--objective" in fails(*fit, "--objective", "bpr")
    assert "ials takes --unobserved-weight" in fails(*fit, "--objective", "ials", "--alpha", 3)
    assert "hkv takes --alpha and --regularization, but no --epsilon" in fails(*fit, "--epsilon", 3)
    assert "--holdout" in fails(*fit, "--metrics", "ndcg@10")
    assert "no metric 'ndgc@10'" in fails(*fit, "--holdout", 1, "--metrics", "ndgc@10")
    assert "ndcg@10" in fails(*fit, "--monitor", "ndcg@10")
    assert "more than 99" in fails(*fit, "--holdout", 99)
    assert "not both" in fails("evaluate", table, "--holdout", 1, "--fraction", 0.2)
    assert "`fraction`" in fails("evaluate", table, "--fraction", 1.5)
    tune = ["tune", table, "--path", tmp_path / "new"]
    assert "--factors must be such as 32 or 32,64,128; got '16..64'" in fails(*tune, "--factors", "16..64")
    assert "--alpha must be such as 0.01..1" in fails(*tune, "--objective", "hkv", "--alpha", "big")
    assert "--alpha: `low` must be above 0 and below `high`" in fails(*tune, "--objective", "hkv", "--alpha", "9..1")
    assert "ials takes --unobserved-weight" in fails(*tune, "--alpha", "1..2")
    assert "--sampler" in fails(*tune, "--sampler", "grid")
    assert "--trials" in fails(*tune, "--trials", 0)
    assert "no metric 'ndgc@10'" in fails(*tune, "--metrics", "ndgc@10")
    assert "something other than the trials of a search" in fails("tune", table, "--path", table)
    assert "USERS" in fails("recommend", model)
    assert "--n" in fails("recommend", model, 3, "--n", 0)
    assert "--measure" in fails("similar", model, 3, "--measure", "euclid")
    assert not (tmp_path / "new").exists()


def test_mistakes_in_files_and_ids(folder, fails, tmp_path, monkeypatch):
    table, model = folder / "plays.tsv", folder / "model"
    monkeypatch.delenv("JAXALS_DATA", raising=False)
    assert "no file 'missing.tsv'" in fails("fit", "missing.tsv", "--output", tmp_path / "new")
    assert "no column 'artist'" in fails("fit", table, "--item", "artist", "--output", tmp_path / "new")
    assert "lastfm-2k is a known data set" in fails("evaluate", "lastfm-2k", "--user", "who")
    assert "There is no model folder" in fails("recommend", tmp_path / "nowhere", 3)
    assert "not a jaxals model" in fails("recommend", tmp_path, 3)
    assert "no user 61" in fails("recommend", model, 61)
    assert "no user 'ann'" in fails("recommend", model, "ann")
    assert "no item 'artist 3'; the nearest known are" in fails("similar", folder / "named", "artist 3").replace(
        " in the catalog of 40 items", ""
    )
    broken = tmp_path / "broken.csv"
    broken.write_text("user,item,value\na,x,1\na,y\n")
    assert "Line 3 of" in fails("fit", broken, "--output", tmp_path / "new")
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path / "nowhere"))
    assert "JAXALS_DATA" in fails("datasets")


def test_asking_for_more_memory_or_devices_than_there_are_is_one_line(folder, fails, monkeypatch):
    much = ["--metrics", "ndcg@99999999999999"]
    assert "Out of memory" in fails("evaluate", folder / "plays.tsv", *FAST, *much)

    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda': no driver")

    monkeypatch.setattr(jax, "devices", fail)
    assert "backend 'cuda'" in fails("fit", folder / "plays.tsv", "--output", folder / "new", *FAST)


def test_what_cannot_be_saved_is_refused_before_training(folder, fails, tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained"))
    fit = ["fit", folder / "plays.tsv", "--output"]
    assert "something other than a jaxals model" in fails(*fit, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert "cannot be written to" in fails(*fit, tmp_path / "thesis.txt" / "model")
    odd = jaxals.Interactions.from_arrays([0], [0], catalog=jaxals.Catalog([pd.Timestamp("2024")], ["x"]))
    monkeypatch.setattr(commands, "read", lambda *_: odd)
    assert "Ids must be strings" in fails(*fit, tmp_path / "new")


# What interrupts


def test_interrupted_training_keeps_its_sweeps(folder, monkeypatch, capsys, tmp_path):
    def interrupted(*arguments, **settings):
        def stop(done):
            if done.step == 2:
                raise KeyboardInterrupt

        return real(*arguments, **settings, callbacks=[stop])

    real = training.fit
    monkeypatch.setattr(training, "fit", interrupted)
    monkeypatch.setattr(jaxals.Recommender, "settled", lambda _: pytest.fail("there may be no time for that"))
    arguments = ["fit", str(folder / "plays.tsv"), "--output", str(tmp_path / "m"), *FAST]
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err.startswith("jaxals: interrupted; the model after 2 sweeps is in")
    assert len(jaxals.Recommender.load(tmp_path / "m").factors.user) == 60


def test_termination_in_the_first_sweep_says_how_to_go_on(folder, monkeypatch, capsys, tmp_path):
    let_go, begin = threading.Event(), jaxals.ALS.begin

    def begin_slowly(*arguments):
        def step(*given):
            os.kill(os.getpid(), signal.SIGTERM)
            let_go.wait(20)
            return begun.step(*given)

        begun = begin(*arguments)
        return dataclasses.replace(begun, step=step)

    arguments = ["fit", str(folder / "plays.tsv"), "--output", str(tmp_path / "m"), *FAST, "--resume"]
    arguments += ["--checkpoint", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        patched.setattr(jaxals.ALS, "begin", begin_slowly)
        patched.setattr("jaxals.training.interruption.GRACE_SECONDS", 0.0)
        assert cli.main(arguments) == 143
    let_go.set()
    # What the handler says goes past Python's streams.
    assert capsys.readouterr().err == (
        "jaxals: terminated before the first sweep was finished; the same command with --resume goes on from there\n"
    )
    assert not (tmp_path / "m").exists()
    assert cli.main(arguments) == 0


def test_checkpoints_inside_the_model_are_refused_before_anything_is_read(fails, tmp_path):
    for checkpoint in (tmp_path / "m", tmp_path / "m" / "checkpoints", tmp_path / "m" / ".." / "m"):
        said = fails("fit", tmp_path / "no-data.tsv", "--output", tmp_path / "m", "--checkpoint", checkpoint)
        assert "`--checkpoint` must lie outside of the model" in said
    assert not list(tmp_path.iterdir())


def test_interrupt_elsewhere_is_one_line(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_load", interrupt)
    assert cli.main(["similar", "model", "3"]) == 130
    assert capsys.readouterr().err == "jaxals: interrupted\n"


def test_an_interrupted_process_ends_without_taking_jax_down():
    # It crashed where devices still computed: whatever runs at exit would show that the interpreter was taken down.
    script = """
import atexit, sys
from jaxals import cli
from jaxals.cli import commands
atexit.register(print, "taken down")
def interrupt(*_):
    print("begun")
    raise KeyboardInterrupt
commands._load = interrupt
sys.argv = ["jaxals", "similar", "model", "3"]
sys.exit(cli.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "begun\n", "jaxals: interrupted\n")


def test_ids_from_the_shell_become_the_catalogs_type():
    assert raw_ids(pd.Index([1, 2]), ["2", "x"]) == [2, "x"]
    assert raw_ids(pd.Index([1.5, 2.0]), ["2"]) == [2.0]
    assert raw_ids(pd.Index(["1", "b"]), ["1"]) == ["1"]


def test_processes_end_with_the_code_and_no_traceback(tmp_path):
    run = lambda *arguments: subprocess.run(
        [sys.executable, "-m", "jaxals", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    done = run("datasets", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["datasets"]) == len(jaxals.datasets.names())
    failed = run("recommend", tmp_path / "nowhere", 3)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)


def test_output_that_nobody_reads_ends_quietly(folder):
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["datasets", "--json"], ["recommend", str(folder / "model"), "3"]):
        command = [sys.executable, "-m", "jaxals", *arguments]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (1, "")
    os.close(writer)
