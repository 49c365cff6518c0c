import io
import json
import re
import sys

import pandas as pd
import pytest

import jaxals
from jaxals import cli
from jaxals.cli import commands
from jaxals.cli.output import print_table, say
from tests.combinations import fast_first

NAMES = ["Björk", "Дмитрий", "坂本 龍一", "tab\tand\nline", "\x1b[2J", "λ±"]
LONG = "https://example.org/" + "a-long-id/" * 30


class Terminal(io.TextIOWrapper):
    """A stream of some encoding, as Python makes it for a terminal or pipe."""

    def __init__(self, encoding, is_terminal=False):
        self.bytes, self.is_terminal = io.BytesIO(), is_terminal
        super().__init__(self.bytes, encoding=encoding, newline="\n")

    def isatty(self):
        return self.is_terminal

    def said(self):
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


@pytest.fixture
def ask(monkeypatch):
    def ask(encoding, *arguments, is_terminal=False):
        out, err = Terminal(encoding, is_terminal), Terminal(encoding, is_terminal)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            code = cli.main([str(argument) for argument in arguments])
        assert (out.errors, err.errors) == ("strict", "strict")  # as they were
        return code, out.said(), err.said()

    return ask


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Save a model whose users and items no terminal but one of UTF-8 can show."""
    names = [*NAMES, LONG]
    data = jaxals.Interactions.from_arrays(
        [0, 0, 1, 1, 2, 3, 4, 5, 6], [1, 2, 0, 1, 3, 4, 5, 6, 0], catalog=jaxals.Catalog(names, names)
    )
    run = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=1), progress=False)
    folder = tmp_path_factory.mktemp("named") / "model"
    jaxals.Recommender(run.factors, data, run.objective).save(folder)
    return folder


@pytest.mark.parametrize("encoding", fast_first(2, ["ascii", "cp1252", "latin-1", "utf-8"]))
def test_names_reach_any_terminal(encoding, named, ask):
    for name in jaxals.Recommender.load(named).catalog.users:
        code, out, err = ask(encoding, "recommend", named, name, "--n", 7)
        assert (code, err) == (0, "")
        shown = name.encode(encoding, "backslashreplace").decode(encoding)
        for sign in "\t\n\x1b":
            shown = shown.replace(sign, repr(sign)[1:-1])
        assert out.splitlines()[0] == f"For user {shown}"
        assert "\x1b" not in out
    code, out, err = ask(encoding, "similar", named, "Bj", "--json")
    assert code == 2
    assert err.count("\n") == 1
    code, out, _ = ask(encoding, "similar", named, "Björk", "--json")
    assert {row["item"] for row in json.loads(out)["similar"]} == {"Björk"}


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", [[], *([name] for name in commands.app if not name.startswith("-"))])
def test_help_reaches_any_terminal(command, encoding, ask):
    code, out, err = ask(encoding, *command, "--help")
    assert (code, err) == (0, "")
    assert "Usage" in out


def test_the_name_of_a_folder_reaches_any_terminal(folder, ask, tmp_path):
    place = tmp_path / "Ж"
    code, out, err = ask("ascii", "fit", folder / "plays.tsv", "--output", place, "--factors", 4, "--sweeps", 1)
    assert (code, err) == (0, "")
    assert r"\u0416" in out
    assert place.is_dir()
    code, _, err = ask("ascii", "recommend", tmp_path / "Ж2", 3)
    assert (code, err.count("\n")) == (2, 1)


def test_long_ids_stay_whole(named, ask):
    for is_terminal in (False, True):
        code, out, _ = ask("utf-8", "recommend", named, "Björk", "--n", 7, "--explain", is_terminal=is_terminal)
        assert code == 0
        assert any(LONG in line for line in out.splitlines())
        _, out, _ = ask("utf-8", "recommend", named, LONG, is_terminal=is_terminal)
        assert out.startswith(f"For user {LONG}\n")


def test_tables_are_aligned_a_row_to_a_line(capsys):
    frame = pd.DataFrame({"rank": [1, 10], "item": ["坂本", "b"], "score": [0.5, 1234.5], "why": ["x", "y z"]})
    print_table(frame, "Title [bold]")
    assert capsys.readouterr().out == (
        "Title [bold]\nrank  item    score  why\n   1  坂本      0.5  x\n  10  b     1,234.5  y z\n\n"
    )
    say(f"{LONG} {LONG}")
    assert capsys.readouterr().out == f"{LONG} {LONG}\n"


def test_an_empty_table_is_its_header(capsys):
    print_table(pd.DataFrame({"rank": [], "item": []}))
    assert re.fullmatch(r"rank +item\n\n", capsys.readouterr().out)
