"""Resolves what pages and docstrings say of the repository; what leads nowhere is a warning.

- A link of a page to a folder that is no page: to the repository on the web, if `repository_url` is set, else the words
  alone. That it exists is checked either way.
- `single backticks` of a docstring: a link where they name an object of the reference or a page (`docs/why/layout.md`),
  else code. A name that begins with `jaxals.` has to exist.
"""

import importlib
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)

OWN_NAME = re.compile(r"jaxals(\.\w+)+")
PAGE = re.compile(r"docs/[\w/-]+\.md")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, words: nodes.TextElement) -> nodes.Node | None:
    """Answer Sphinx's event for a reference that nothing else resolves."""
    if node["reftype"] == "myst":
        return _outside(app, node, words)
    if node.get("refdomain") != "py":
        return None
    if node["reftype"] == "obj" and not node.get("refexplicit"):
        return _backticks(app, env, node, words)
    return _type(app, env, node, words)


def _outside(app: Sphinx, node: pending_xref, words: nodes.TextElement) -> nodes.Node | None:
    target = (Path(app.srcdir, node["refdoc"]).parent / node["reftarget"].partition("#")[0]).resolve()
    if not target.exists() or not target.is_relative_to(app.srcdir):
        return None
    if not app.config.repository_url:
        return nodes.inline("", "", *words.children, classes=["in-repository"])
    address = f"{app.config.repository_url}/{target.relative_to(app.srcdir).as_posix()}"
    return nodes.reference("", "", *words.children, internal=False, refuri=address)


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("repository_url", "", "env")
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True}
