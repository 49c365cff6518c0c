import importlib.util
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxals

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.slow  # `make docs` runs them, too
def test_the_examples_on_evaluation_run_as_pasted(capsys):
    code = re.findall(r"```python\n(.*?)```", (DOCS / "why" / "evaluation.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) >= 4
    names: dict[str, object] = {}
    for example in code:
        exec(example, names)
    printed = capsys.readouterr().out
    claimed = re.search(r"print\(als\)  # (.*)", code[0])
    assert claimed
    assert claimed[1] in printed
    assert "p_value" in printed
    assert "exposure" in printed


@pytest.mark.slow  # `make docs` runs them, too
def test_the_examples_on_gradients_run_as_pasted():
    code = re.findall(r"```python\n(.*?)```", (DOCS / "why" / "gradient.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 3
    names: dict[str, Any] = {}
    for example in code:
        exec(example, names)
    objective, settings = names["objective"], names["settings"]
    plain = jaxals.fit(names["data"], objective, jaxals.Gradient(**settings), progress=False).factors
    assert names["small"] > 2 * float(jnp.mean(jnp.abs(plain.item) < 1e-2))
    one, other = names["one"], names["other"]
    assert names["apart"] < 0.5 * float(jnp.linalg.norm(plain.item[one] - plain.item[other]))
    assert not np.allclose(names["run"].factors.user, plain.user)


@pytest.mark.slow  # `make docs` runs them, too
def test_the_example_on_differentiable_als_runs_as_pasted(capsys):
    code = re.findall(r"```python\n(.*?)```", (DOCS / "why" / "derivatives.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for example in code:
        exec(example, names)
    assert "loss" in capsys.readouterr().out


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert not missing


@pytest.fixture(scope="module")
def run_blocks() -> Any:
    spec = importlib.util.spec_from_file_location("run_blocks", DOCS / "_extensions" / "run_blocks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_block_shows_what_it_prints_and_its_last_value(run_blocks):
    names: dict[str, object] = {}
    assert run_blocks.run_python("x = 3\nprint('three')\nx + 1", names, "<block 1>") == ("three\n", 4)
    assert run_blocks.run_python("y = x", names, "<block 2>") == ("", None)
    assert names["y"] == 3


def test_an_error_is_told_from_the_block_on(run_blocks):
    with pytest.raises(ZeroDivisionError) as raised:
        run_blocks.run_python("1 / 0", {}, "<block 1>")
    told = run_blocks.describe_error(raised.value)
    assert '<block 1>", line 1' in told
    assert "run_blocks.py" not in told


def test_commands_are_run_and_have_to_succeed(run_blocks):
    assert run_blocks.run_console("$ echo one\n$ echo two") == "one\ntwo\n"
    assert run_blocks.run_console("$ echo one\nas the page shows it") == ""
    with pytest.raises(RuntimeError, match="exit code 1"):
        run_blocks.run_console("$ false")
