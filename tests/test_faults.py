"""Small versions of the benchmarks of faults, each in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(name: str, *options: str, code: int = 0) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *options]
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]  # one device
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("inputs", "seed"), [("50", "1"), pytest.param("10000", "0", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_malformed_inputs_are_used_or_refused(inputs, seed, tmp_path):
    said = run("fuzz.py", "--inputs", inputs, "--seed", seed, "--out", str(tmp_path))
    assert f"{int(inputs):,} inputs, 0 failures" in said
    document = json.loads((tmp_path / f"fuzz-seed{seed}-from0.json").read_text())
    assert document["inputs"]["checkpoints"]["refused: CheckpointError"] > 0


@pytest.mark.slow
def test_an_input_that_does_not_end_is_a_failure():
    said = run("fuzz.py", "--only", "hang", "--inputs", "1", "--seconds", "0.5", code=1)
    assert "1 inputs, 1 failures" in said
    assert "Hang: longer than 0.5 s" in said


@pytest.mark.slow
@pytest.mark.skipif("JAXALS_DATA" not in os.environ, reason="JAXALS_DATA is not set")
def test_killed_processes_resume_to_the_same_bits(tmp_path):
    said = run("kill_and_resume.py", "--kills", "3", "--seed", "1", "--out", str(tmp_path))
    assert "3 of 3 end bit-identical" in said
    # A process that had ended before it was to be killed shows nothing.
    match = re.search(r"(\d+) were running", said)
    assert match is not None
    assert int(match[1]) >= 1


@pytest.mark.slow
def test_memory_stays_flat_over_some_fits(tmp_path):
    run("soak.py", "--fits", "100", "--recommendations", "100000", "--out", str(tmp_path))
    document = json.loads((tmp_path / "soak.json").read_text())
    assert document["fits"]["programs compiled since"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("most", "code"), [("1000", 0), ("-1", 1)])
def test_checkpoints_that_cost_too_much_are_a_failure(most, code, tmp_path):
    size = ["--users", "300", "--items", "200", "--entries", "3000", "--factors", "4", "--sweeps", "2"]
    turns = ["--turns", "2", "--whole", "1"]
    said = run("checkpoint.py", *size, *turns, "--most", most, "--out", str(tmp_path), code=code)
    assert "6 sweeps, a checkpoint every 2" in said
    document = json.loads((tmp_path / "checkpoint-f4-exact.json").read_text())
    # The sweeps after the first one, of which two were made beside a checkpoint.
    assert len(document["seconds"]["sweeps"]) == 5
    # What is added is the same, and the whole fit takes longer than its sweeps do without compilation.
    assert 0 < document["cost"] / document["cost of sweeps alone"] < 1
    assert len(document["seconds"]["whole fits without and with"]) == 1
