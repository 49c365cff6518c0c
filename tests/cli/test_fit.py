import dataclasses
import json
import os
import re
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxals
from jaxals import cli
from jaxals.cli import commands
from jaxals.cli.options import _PRESETS, SOLVERS, Preset, build_objective, read
from jaxals.training import loop as training
from tests.cli import FAST


def test_fit_saves_the_settled_model_of_the_library(folder, run, tmp_path):
    arguments = ["fit", folder / "plays.tsv", "--output", tmp_path / "model", "--json", "--seed", 3]
    document = json.loads(run(*arguments, *FAST))
    data = jaxals.Interactions.from_file(folder / "plays.tsv")
    expected = jaxals.fit(data, trainer=jaxals.ALS(factors=4, sweeps=3), seed=3, progress=False)
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
    expected = jaxals.fit(data, trainer=trainer, progress=False)
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
    assert set(document["history"][0]) == {"step", "seconds", "compile_seconds", "loss", "ndcg@5", "auc"}
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


def test_the_summary_has_every_column_of_the_last_step():
    history = pd.DataFrame({"step": [1, 2], "loss": [9.0, 8.5], "unconverged_rows": [0, 12]})
    factors = jaxals.Factors(jnp.ones((1, 1)), jnp.ones((1, 1)))
    run = training.Run(factors, history, jaxals.Objective.hkv(), jaxals.ALS())
    assert commands._summary(run) == {"sweeps": 2, "loss": 8.5, "unconverged rows": 12, "stopped early": None}


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


def test_checkpoints_inside_the_model_are_refused_before_anything_is_read(fails, tmp_path):
    for checkpoint in (tmp_path / "m", tmp_path / "m" / "checkpoints", tmp_path / "m" / ".." / "m"):
        said = fails("fit", tmp_path / "no-data.tsv", "--output", tmp_path / "m", "--checkpoint", checkpoint)
        assert "`--checkpoint` must lie outside of the model" in said
    assert not list(tmp_path.iterdir())


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
