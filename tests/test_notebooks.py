import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def test_there_are_notebooks():
    assert [script.stem[:2] for script in SCRIPTS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_its_script_with_outputs(script):
    of_script, of_notebook = (jupytext.read(file) for file in (script, script.with_suffix(".ipynb")))
    assert [cell.source for cell in of_notebook.cells] == [cell.source for cell in of_script.cells]
    outputs = [output for cell in of_notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not any(output.output_type == "error" for output in outputs)
    assert not re.search(r"/(home|root|tmp|work)/", str(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_runs_on_small_settings(script):
    if not os.path.isdir(os.environ.get("JAXALS_DATA", "")):
        pytest.skip("JAXALS_DATA names no folder with real data")
    settings = {"JAXALS_SMALL": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(FOLDER.parent)}
    subprocess.run([sys.executable, script], check=True, env={**os.environ, **settings}, cwd=FOLDER)
