import dataclasses
import json
import re
import shlex
import types
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest

import jaxals
from jaxals import cli
from jaxals.cli import commands
from jaxals.cli.options import COLUMNS, build_objective, read
from jaxals.cli.tuning import _command, parse_range

TUNE = ["--factors", "2,4", "--sweeps", 3, "--trials", 4]


@pytest.mark.slow
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


def test_the_command_that_trains_with_what_was_found_says_all_of_it(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # of a search, what the command takes from it
    found: Any = types.SimpleNamespace(
        settings={"unobserved_weight": 0.25, "regularization": 0.5},
        objective=jaxals.Objective.ials(0.25, 0.125),
        trainer=jaxals.ALS(sweeps=5),
    )
    columns = dataclasses.replace(COLUMNS, user="who am i", value=None)
    words = shlex.split(_command("plays.csv", columns, "ials", found, "conjugate-gradient"))
    _, bound, _ = commands.app.parse_args(words[1:])
    assert bound.arguments["columns"] == columns
    assert bound.arguments["solver"] == "conjugate-gradient"
    assert bound.arguments["trainer"].sweeps == 5
    assert build_objective(bound.arguments["preset"]) == jaxals.Objective.ials(0.25, 0.125)


def test_tune_prints_a_document_for_programs(folder, run, tmp_path):
    arguments = ["tune", folder / "plays.tsv", "--factors", "2,4", "--sweeps", 1, "--trials", 1]
    document = json.loads(run(*arguments, "--path", tmp_path / "trials.jsonl", "--json"))
    assert document["factors"] in (2, 4)
    assert len(document["trials"]) == 1
    assert document["command"].startswith("jaxals fit ")
