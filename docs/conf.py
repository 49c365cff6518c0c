"""Sphinx configuration of the documentation: `make docs`.

The source folder is the repository itself, so that links between docs/, notebooks/ and CONTRIBUTING.md are the same on
the site and wherever else the files are read. Nothing is fetched while building: it works without a network.
"""

import sys
from pathlib import Path

from sphinx.domains.python import PyObject

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

project = "jaxals"
author = "The jaxals authors"
copyright = "the jaxals authors"

extensions = [
    "myst_nb",  # Markdown pages and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # Google style
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",  # cards, tabs
    "sphinxcontrib.mermaid",
    "cyclopts.ext.sphinx",  # the commands
    "executed",  # ours: runs the blocks of pages
    "repository",  # ours: links to files, `names` in docstrings
]

root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = ["docs/_*", "build", ".*", "experiments", "benchmarks", "tests", "jaxals"]

# Strict: every reference has to lead somewhere, and `make docs` turns warnings into errors.
nitpicky = True
nitpick_ignore_regex = [
    # Other packages' names: their inventories are not fetched.
    (
        r"py:.*",
        r"(jax|jaxlib|jaxtyping|numpy|np|pandas|pd|scipy|optax|matplotlib|collections|typing|os|pathlib|cyclopts)\..*",
    ),
    (r"py:.*", r"(Array|Float|Int|Bool|Num|Shaped|Key|optional|callable|any|[a-z ]+)"),
    (r"py:class", r"['\"].*"),  # a string that a setting may be
    (r"py:class", r"(Any|Callable|Sequence|Mapping|Iterable|Iterator|Literal|Self|Path|DataFrame|Mesh|PathLike|Axes)"),
]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown. A heading of any page can be linked to as page.md#its-words, as on code hosts.
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]  # a plain fence, which code hosts draw, too
mermaid_height = "auto"
mermaid_fullscreen = False
nb_execution_mode = "off"  # notebooks keep the outputs that `make notebooks` has made
executed_skip = ["notebooks/", "docs/reference/"]

# Reference. Constructor arguments stand in the class's signature, their meaning under "Attributes".
default_role = "py:obj"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 88
for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"  # napoleon calls them variables

# Where files of the repository are read on the web, such as https://example.org/jaxals/blob/main; links to them are
# made where it is known.
repository_url = ""

html_theme = "furo"
html_title = "jaxals"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.printed) > div.highlight > pre"
