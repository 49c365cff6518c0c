"""Every option of every command, found by asking the parser, with values that it should not have."""

import dataclasses
import functools
import io
import re
import sys

import pytest

from jaxals import cli
from jaxals.cli.commands import app
from jaxals.errors import DataError
from jaxals.hyper import search
from jaxals.training import loop as training

STEP = 16  # the fast tests give each parameter three of the values, another three than the parameter before
WRONG = [
    *(
        "",
        " ",
        "\n",
        "bad",
        "Bad Word",
        "'",
        "%s",
        "{}",
        "[bold]",
        "[1,2]",
        '{"a":1}',
        "none",
        "null",
        "true",
        "--",
        "-",
    ),
    *(
        "-1",
        "-0.5",
        "0",
        "2.5",
        "1e400",
        "9" * 30,
        "nan",
        "inf",
        "-inf",
        "1,2",
        "1..2",
        "-1..1",
        "x..y",
        "1..",
        "nan..1",
    ),
    *(
        "\u0436",
        "\u65e5\u672c",
        "\udcff",
        "\ud800",
        "a\0b",
        "nowhere/nothing",
        "a-file",
        "a-folder",
        "none",
        "x" * 5000,
    ),
]
BEFORE = {
    "fit": ["plays.tsv"],
    "recommend": ["model", "3"],
    "similar": ["model", "3"],
    "evaluate": ["plays.tsv"],
    "tune": ["plays.tsv"],
    "datasets": [],
    "demo": [],
}
NEEDED = {"fit": {"--output": "made"}, "tune": {"--path": "trials.jsonl", "--trials": "1"}}
SMALL = {"--factors": "4", "--sweeps": "1"}


def parameters():
    for command in (name for name in app if not name.startswith("-")):
        for argument in app[command].assemble_argument_collection():
            if argument.parse and argument.name != "*":
                yield command, argument.name


PARAMETERS = list(parameters())


def line(command, name, value):
    """Write the command with one value of one parameter, whatever else it needs with it."""
    places = {"DATA": 0, "MODEL": 0, "USERS": 1, "IDS": 1}
    words = list(BEFORE[command])
    if name in places:
        words[places[name]] = value
        given = []
    else:
        given = [f"{name}={value}"]
    known = {other for one, other in PARAMETERS if one == command}
    options = {k: v for k, v in (NEEDED.get(command, {}) | SMALL).items() if k != name and k in known}
    return [command, *words, *(word for pair in options.items() for word in pair), *given]


class Terminal(io.TextIOWrapper):
    """What is printed, by a stream that takes nothing but ASCII."""

    def __init__(self):
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="ascii", newline="\n")

    def said(self):
        self.flush()
        return self.bytes.getvalue().decode("ascii")


def check(arguments, monkeypatch):
    """Run a command in a terminal that has ASCII alone: it ends well, or with one sentence."""
    out, err = Terminal(), Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        code = cli.main(arguments)
    said = err.said()
    assert code in (0, 2), ascii(arguments)
    if code == 2:
        assert re.fullmatch(r"jaxals: .*\S.*\n", said), ascii(arguments)
        assert "Traceback" not in said, ascii(arguments)
        assert len(said) < 1000, ascii(arguments)


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    for name in ("plays.tsv", "model"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "a-folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
    monkeypatch.setattr("jaxals.cli.demo.show", lambda *_, **__: None)
    return tmp_path


@pytest.mark.parametrize("number", range(len(PARAMETERS)), ids=[" ".join(pair) for pair in PARAMETERS])
def test_a_wrong_value_is_one_sentence(number, place, monkeypatch):
    def fit(*_, **__):
        raise DataError("Trained by the slow test alone.")

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr("jaxals.hyper.search.tune", fit)
    command, name = PARAMETERS[number]
    for value in WRONG[number % STEP :: STEP]:
        check(line(command, name, value), monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The model is worse")
@pytest.mark.parametrize(("command", "name"), PARAMETERS)
def test_a_wrong_value_is_one_sentence_when_trained(command, name, place, monkeypatch):
    def fit(interactions, objective, trainer, **settings):
        return real(interactions, objective, dataclasses.replace(trainer, sweeps=min(trainer.sweeps, 1)), **settings)

    real = training.fit
    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr("jaxals.cli.tuning.search.tune", functools.partial(_tune_once, search.tune))
    for value in WRONG:
        (place / "trials.jsonl").unlink(missing_ok=True)
        check(line(command, name, value), monkeypatch)


def _tune_once(tune, interactions, space, **settings):
    if max(settings["trials"], settings["validation"]) > 2:
        raise DataError("More trials or splits than there is time for.")
    return tune(interactions, space, **settings)


def test_every_parameter_is_found():
    assert {command for command, _ in PARAMETERS} == set(BEFORE)
    options = {name for command, name in PARAMETERS if command == "fit"}
    assert options >= {"DATA", "--output", "--objective", "--alpha", "--factors", "--solver", "--patience", "--keep"}
