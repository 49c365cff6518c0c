import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxals

DOCS = Path(__file__).parent.parent / "docs"


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
