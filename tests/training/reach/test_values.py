"""Kinds of values, and of what functions read: each is told apart from another one, and from itself not at all."""

import sys
import textwrap

import pytest

from jaxals.training.fingerprint import differences
from tests.training.reach.test_walk import told

# What a user wrote, what is edited in it, and what is said of that.
EDITED = {
    "a member of an enumeration": ("import enum\nit = enum.Enum('Mode', 'A B').A", ".A", ".B", "`of` was"),
    "an enumeration that is read": (
        "import enum\nclass Mode(enum.Enum):\n    A = 1\ndef it(r):\n    return Mode.A",
        "A = 1",
        "A = 2",
        "`A` of `Mode` was 1, is 2",
    ),
    "a list within itself": ("it = [1]\nit.append(it)", "[1]", "[2]", "`of` was"),
    "a number of NumPy": (
        "RATE = np.float32(3.0)\ndef it(r):\n    return RATE",
        "3.0",
        "4.0",
        "`RATE` of `it` was 3.0",
    ),
    "a method of a list": ("it = [1].append", "[1]", "[2]", "`of` was"),
    "a method of an instance": (
        "class Scale:\n    def __init__(self, by):\n        self.by = by\n"
        "    def times(self, r):\n        return self.by * r\n"
        "it = Scale(2).times",
        "Scale(2)",
        "Scale(3)",
        "`of` was",
    ),
    "a property that is kept": (
        "import functools\nclass Scale:\n    @functools.cached_property\n"
        "    def by(self):\n        return 2\nit = Scale()",
        "return 2",
        "return 3",
        "the code of `Scale.by` has changed",
    ),
    "a set": ("it = {'x', 'y'}", "'y'", "'z'", "`of` was"),
    "a set of functions": ("it = {min, max}", "max", "abs", "`of` was"),
    "a frame": ("import pandas as pd\nit = pd.DataFrame({'a': [1, 2]})", "[1, 2]", "[1, 3]", "`of` was"),
    "the names of a frame": ("import pandas as pd\nit = pd.DataFrame({'a': [1, 2]})", "'a'", "'b'", "`of` was"),
    "the index of a series": ("import pandas as pd\nit = pd.Series([5, 6], [1, 2])", "[1, 2]", "[1, 3]", "`of` was"),
    "an import of what is installed": (
        "def it(r):\n    import math\n    return math.sin(r)",
        "sin",
        "cos",
        "code of `it`",
    ),
    "an import of nothing": (
        "def it(r):\n    import no_such_module\n    return r",
        "return r",
        "return -r",
        "code of `it`",
    ),
    "a name that is not assigned yet": (
        "def made():\n    def inner(r):\n        return later + r\n    return inner\n    later = 1\nit = made()",
        "later + r",
        "later - r",
        "the code of `inner`",
    ),
}


@pytest.mark.parametrize(("text", "before", "after", "said"), EDITED.values(), ids=EDITED)
def test_an_edit_is_told(text, before, after, said):
    assert text.count(before) == 1
    changed = differences(told(text), told(text.replace(before, after)))
    assert any(said in one for one in changed.values()), changed
    assert differences(told(text), told(text)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "import {p}\nit = lambda r: {p}.inner.helper(r)",
        "def it(r):\n    from {p} import inner\n    return inner.helper(r)",
        "def it(r):\n    import {p}.inner\n    return {p}.inner.helper(r)",
    ],
)
def test_modules_of_a_package_are_followed(text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    tellings = []
    for number, factor in enumerate((1, 2)):
        package = tmp_path / f"package{number}_{tmp_path.name}"
        package.mkdir()
        begins = "from . import inner" if text.startswith("import") else ""
        (package / "__init__.py").write_text(begins)
        (package / "inner.py").write_text(textwrap.dedent(f"def helper(r):\n    return {factor} * r"))
        tellings.append(told(text.format(p=package.name)))
    assert "the code of `helper` has changed" in differences(*tellings).values()
