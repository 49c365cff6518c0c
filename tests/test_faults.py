"""Small versions of the experiments on faults, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(name: str, *options: str) -> str:
    command = [sys.executable, str(ROOT / "experiments" / name), *options]
    # Without the settings of these tests, such as eight devices.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("inputs", "seed"), [("300", "1"), pytest.param("10000", "0", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_malformed_inputs_are_used_or_refused(inputs, seed):
    assert f"{int(inputs):,} inputs, 0 failures" in run("fuzz.py", "--inputs", inputs, "--seed", seed)


@pytest.mark.slow
@pytest.mark.skipif("JAXALS_DATA" not in os.environ, reason="JAXALS_DATA is not set")
def test_killed_processes_resume_to_the_same_bits():
    assert "3 of 3 end bit-identical" in run("kill_and_resume.py", "--kills", "3", "--seed", "1")
