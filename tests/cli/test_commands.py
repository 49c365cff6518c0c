import re

import pytest

import jaxals


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
