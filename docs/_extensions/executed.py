"""Runs every ```python and ```console block of a page and shows what it prints; one that fails is a warning.

The blocks of a page run in turn, in one process of their own, in an empty folder. `<!-- not run: why -->` on the line
before a block leaves it out. Notebooks and the reference are left alone: `make notebooks` and pytest run those.

What a page gave is kept beside the doctrees, and used again while its blocks, the package and what is installed stay
the same. A page with an error is run again.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

RUNNER = Path(__file__).with_name("run_blocks.py")
LANGUAGES = ("python", "console")
NOT_RUN = "not run:"


class RunBlocks(SphinxTransform):
    """Run the blocks of one page and put their outputs behind them."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        if self.env.docname.startswith(tuple(self.config.executed_skip)):
            return
        blocks = [block for block in self.document.findall(nodes.literal_block) if _is_to_run(block)]
        if not blocks:
            return
        for block, result in zip(blocks, self._results(blocks), strict=False):
            if result["error"]:
                logger.warning("this block fails:\n%s", result["error"], location=block, type="executed")
            self._show(block, result)

    def _results(self, blocks: list[nodes.literal_block]) -> list[dict]:
        page = [{"language": block["language"], "code": block.astext()} for block in blocks]
        folder = Path(self.app.doctreedir, "executed", self.env.docname.replace("/", "-"))
        key, kept = (
            hashlib.sha256((json.dumps(page) + _code(self.app.srcdir)).encode()).hexdigest(),
            folder / "page.json",
        )
        if kept.exists() and (before := json.loads(kept.read_text(encoding="utf-8")))["key"] == key:
            return before["results"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        results = self._run(page, folder)
        if len(results) == len(blocks) and not results[-1]["error"]:
            kept.write_text(json.dumps({"key": key, "results": results}), encoding="utf-8")
        return results

    def _run(self, blocks: list[dict], figures: Path) -> list[dict]:
        page = {"blocks": blocks, "figures": str(figures)}
        paths = [str(self.app.srcdir), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "MPLBACKEND": "agg",
        }
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder, "results.json")
            work = Path(folder, "work")
            work.mkdir()
            try:
                done = subprocess.run(
                    [sys.executable, str(RUNNER), str(results)],
                    input=json.dumps(page),
                    capture_output=True,
                    text=True,
                    cwd=work,
                    env=environment,
                    timeout=self.config.executed_timeout,
                )
                complaint = done.stderr
            except subprocess.TimeoutExpired:
                complaint = f"not done after {self.config.executed_timeout} s"
            found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
        if len(found) < len(blocks) and not (found and found[-1]["error"]):
            logger.warning("block %d ends its process:\n%s", len(found) + 1, complaint, location=self.env.docname)
        return found

    def _show(self, block: nodes.literal_block, result: dict) -> None:
        shown: list[nodes.Node] = []
        if result["output"].strip():
            text = result["output"].rstrip()
            output = nodes.literal_block(text, text, language="text", classes=["printed"])
            shown.append(output)
        for path in result["figures"]:
            uri = os.path.relpath(path, Path(self.env.doc2path(self.env.docname)).parent)
            shown.append(nodes.image(uri=Path(uri).as_posix(), alt="What this block draws", classes=["drawn"]))
        place = block.parent.index(block) + 1
        block.parent[place:place] = shown


@functools.cache
def _code(root: Path) -> str:
    """Sum up what the outputs of a page depend on, besides its blocks."""
    digest = hashlib.sha256(sys.version.encode() + RUNNER.read_bytes())
    for file in sorted(Path(root, "jaxals").rglob("*.py")):
        digest.update(file.read_bytes())
    for package in sorted(f"{found.name} {found.version}" for found in importlib.metadata.distributions()):
        digest.update(package.encode())
    return digest.hexdigest()


def _is_to_run(block: nodes.literal_block) -> bool:
    if block.get("language") not in LANGUAGES:
        return False
    place = block.parent.index(block)
    before = block.parent[place - 1] if place else None
    is_comment = isinstance(before, nodes.comment | nodes.raw)
    return not (is_comment and NOT_RUN in before.astext())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("executed_skip", ["notebooks/"], "env")
    app.add_config_value("executed_timeout", 600, "env")
    app.add_transform(RunBlocks)
    return {"version": "1", "parallel_read_safe": True}
