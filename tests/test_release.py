import importlib.metadata
import re
from pathlib import Path

import jaxals

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere():
    """It is written in `jaxals/__init__.py`, and once more in CITATION.cff, which cannot read it from there."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [jaxals.__version__]
    assert importlib.metadata.version("jaxals") == jaxals.__version__, "install again: `make clean dev`"
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxals.__version__)


def test_what_the_readme_cites_is_what_the_citation_file_says():
    citation, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "README.md"))
    entry = re.search(r"```bibtex\n(.*?)```", readme, re.DOTALL)
    title = re.search(r'^title: "(.*)"$', citation, re.MULTILINE)
    author = re.search(r"- name: (.*)", citation)
    assert entry
    assert title
    assert author
    assert f"title = {{{title[1]}}}" in entry[1]
    assert f"author = {{{{{author[1]}}}}}" in entry[1]
