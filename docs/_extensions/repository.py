"""Resolves what pages and docstrings say of the repository; what leads nowhere is a warning.

- A link of a page to a folder or source file leads to the repository on the web, if `repository_url` is set.
- What `jaxals/__init__.py` and those of its folders hand on has to be in the reference.
- `single backticks` of a docstring: a link where they name an object of the reference or a page (`docs/why/layout.md`),
  else code. A name that begins with `jaxals.` has to exist.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)

OWN_NAME = re.compile(r"jaxals(\.\w+)+")
PRIVATE_JAX = "jaxlib._jax."
PAGE = re.compile(r"docs/[\w/-]+\.md")


class PlainNames(SphinxTransform):
    """Let ndcg@10 stand for itself, where reStructuredText sees an address, and name `jax.Array` as users do."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for node in list(self.document.findall(nodes.reference)):
            if node.get("refuri", "").startswith("mailto:"):
                node.replace_self(nodes.Text(node.astext()))
        for text in list(self.document.findall(nodes.Text)):
            if PRIVATE_JAX in text:
                text.parent.replace(text, nodes.Text(text.replace(PRIVATE_JAX, "")))


class LinkToRepository(SphinxTransform):
    """Point the links of a page to folders and files at the repository on the web, if its address is known.

    Without it a file is handed on as a download, and of a link to a folder the words stay.
    """

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for node in list(self.document.findall(lambda node: isinstance(node, pending_xref | download_reference))):
            target = self._outside(node)
            if target is None:
                continue
            path = target.relative_to(self.app.srcdir).as_posix()
            if self.config.repository_url:
                address = f"{self.config.repository_url}/{path}"
                node.replace_self(nodes.reference("", "", *node.children, internal=False, refuri=address))
            elif target.is_dir():
                node.replace_self(nodes.inline("", "", *node.children))
            else:
                link = download_reference("", "", *node.children, reftarget=f"/{path}", refdoc=self.env.docname)
                node.replace_self(link)

    def _outside(self, node: pending_xref | download_reference) -> Path | None:
        """Return what a Markdown link leads to where that is there and no page of the site."""
        if node.get("reftype") != "myst":
            return None
        target = node["reftarget"].partition("#")[0]
        if node.get("refdomain") == "doc":
            is_page = target in self.env.found_docs
            path = Path(self.app.srcdir, f"{target}.md")
            return path if path.is_file() and not is_page else None
        path = Path(self.env.relfn2path(target, self.env.docname)[1]).resolve() if target else Path()
        is_there = path.is_dir() if isinstance(node, pending_xref) else path.is_file()
        return path if target and is_there and path.is_relative_to(self.app.srcdir) else None


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, words: nodes.TextElement) -> nodes.Node | None:
    """Answer Sphinx's event for a reference that nothing else resolves."""
    if node.get("refdomain") != "py":
        return None
    if node["reftype"] == "obj" and not node.get("refexplicit"):
        return _backticks(app, env, node, words)
    return _type(app, env, node, words)


def _backticks(app: Sphinx, env: BuildEnvironment, node: pending_xref, words: nodes.TextElement) -> nodes.Node:
    target = node["reftarget"]
    if PAGE.fullmatch(target):
        page = target.removesuffix(".md")
        if page in env.found_docs:
            return make_refnode(app.builder, node["refdoc"], page, None, words)
        logger.warning("there is no page %r", target, location=node)
    if OWN_NAME.fullmatch(target) and not _exists(target):
        logger.warning("there is no %r", target, location=node)
    found = _documented(env, target)
    return make_refnode(app.builder, node["refdoc"], *found, words) if found else words


def _type(app: Sphinx, env: BuildEnvironment, node: pending_xref, words: nodes.TextElement) -> nodes.Node | None:
    """Resolve a type by its name: annotations name the module that defines it, the reference the one that hands it on.

    Types that are no part of the public surface stay without a link, but have to exist.
    """
    target = node["reftarget"]
    found = _documented(env, target.rpartition(".")[2])
    if found:
        return make_refnode(app.builder, node["refdoc"], *found, words)
    return words if OWN_NAME.fullmatch(target) and _exists(target) else None


def _documented(env: BuildEnvironment, target: str) -> tuple[str, str] | None:
    """Find the one class or error of this name, wherever the reference has it."""
    if not re.fullmatch(r"[A-Z]\w+(\.\w+)?", target):
        return None
    objects = env.domains.python_domain.objects
    names = [name for name, entry in objects.items() if name.endswith(f".{target}") and not entry.aliased]
    return (objects[names[0]].docname, objects[names[0]].node_id) if len(names) == 1 else None


def _exists(name: str) -> bool:
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for attribute in parts[n:]:
            if not hasattr(found, attribute) and attribute not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, attribute, None)
        return True
    return False


def require_whole(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that the reference leaves out."""
    documented = {name.rpartition(".")[2] for name in env.domains.python_domain.objects}
    for file in sorted(Path(app.srcdir, "jaxals").rglob("__init__.py")):
        if any(part.startswith("_") for part in file.parent.parts):
            continue
        package = importlib.import_module(".".join(file.parent.relative_to(app.srcdir).parts))
        for name in _handed_on(file):
            if name not in documented and not inspect.ismodule(getattr(package, name)):
                logger.warning("%s hands on %r, which is not in the reference", file.parent.name, name)


def _handed_on(file: Path) -> list[str]:
    """Read `from x import Y as Y` and the module's own functions and classes."""
    names = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    return [name for name in names if not name.startswith("_")]


def escape_bars(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Let |x| stand for itself, in which reStructuredText sees a substitution; examples stay as they are."""
    in_example = False
    for n, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            lines[n] = line.replace("|", r"\|")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("repository_url", "", "env")
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", escape_bars)
    app.add_transform(PlainNames)
    app.add_transform(LinkToRepository)
    app.connect("env-check-consistency", require_whole)
    return {"version": "1", "parallel_read_safe": True}
