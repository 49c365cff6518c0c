"""The scripts of `benchmarks/` that nobody runs every day: that they run, and count what is there."""

import json
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def costs():
    return runpy.run_path(str(FOLDER / "program_text.py"))["costs"]


def text_of(function, *shapes) -> str:
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    return str(jax.jit(function).lower(*arrays).compile().as_text())


def test_steps_of_a_loop_are_counted(costs):
    step = lambda x: jnp.sin(x @ x)
    found = costs(text_of(lambda x: jax.lax.map(step, x), ((7, 30, 30), jnp.float32)))
    assert found.steps == 7
    assert found.unknown_loops == found.conditionals == 0
    assert found.launches >= 14
    # Each step reads a matrix for the product at least, writes one, reads it for the sine and writes it.
    assert found.bytes >= 7 * 4 * 30 * 30 * 4


def test_loops_of_unknown_trips_and_branches_are_told(costs):
    text = text_of(
        lambda x: jax.lax.while_loop(lambda x: jnp.sum(x) > 1, lambda x: jnp.sin(x @ x), x), ((30, 30), jnp.float32)
    )
    once, twelve = costs(text), costs(text, 12)
    assert once.unknown_loops == twelve.unknown_loops == 1
    assert twelve.steps == 12
    assert twelve.launches > once.launches
    branching = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: jnp.sin(x @ x), lambda x: jnp.cos(x @ x @ x), x)
    assert costs(text_of(branching, ((30, 30), jnp.float32))).conditionals == 1


def test_a_gather_moves_what_it_gathers(costs):
    table, index = ((100_000, 64), jnp.float32), ((50,), jnp.int32)
    found = costs(text_of(lambda table, index: table[index], table, index))
    assert 2 * 50 * 64 * 4 <= found.bytes < 3 * 50 * 64 * 4 + 10_000


@pytest.mark.slow
def test_what_waits_for_an_accelerator_runs_without_one(tmp_path, monkeypatch, capsys):
    options = ["--scale", "0.001", "--minutes", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["on_an_accelerator.py", *options])
    runpy.run_path(str(FOLDER / "on_an_accelerator.py"), run_name="__main__")
    found = json.loads((tmp_path / "on-an-accelerator-cpu.json").read_text())
    assert max(error for name, error in found["errors"].items()) < 1e-3
    assert found["cg 64"]["median"] > 0
    assert found["the same bits again"] == {"cg": True, "cholesky": True}
    assert not [name for name, what in found.items() if isinstance(what, str) and "Error" in what]
