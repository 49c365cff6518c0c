"""Edits of a user's code: which are told apart, and which are none."""

import collections
import importlib
import json
import subprocess
import sys
import textwrap
from typing import Any

import jax
import numpy as np
import pytest

import jaxals
from jaxals.training import fingerprint
from jaxals.training.fingerprint import describe, differences


def written(text: str, **given: Any) -> dict[str, Any]:
    """Run what a user wrote."""
    names = {"collections": collections, "jaxals": jaxals, "jax": jax, "np": np, **given}
    exec(textwrap.dedent(text), names)
    return names


def told(text: str, **given: Any) -> dict[str, Any]:
    return describe(of=written(text, **given)["it"])


CONFIDENCE = """
import dataclasses, functools, typing

ALPHA = 3.0
TABLE = np.array([1.0, 2.0])
SETTINGS = {"scale": [1.0, 2.0]}

def deep(r):
    return r + 1

def helper(r):
    return deep(r) * 2

jitted = jax.jit(lambda r: r * 2)

def doubled(function):
    @functools.wraps(function)
    def wrapper(*args):
        return 2 * function(*args)
    return wrapper

@doubled
def decorated(r):
    return r + 3

@jax.custom_jvp
def kinked(r):
    return r

@kinked.defjvp
def kinked_rule(primals, tangents):
    return primals[0], 7 * tangents[0]

class Scale:
    def __init__(self, factor):
        self.factor = factor
    def times(self, r):
        return self.factor * r

SCALE = Scale(2.0)

class Base:
    POWER = 0.5
    def inherited(self, r):
        return r + 4
    @property
    def computed(self):
        return 5
    @staticmethod
    def plain(r):
        return r + 6

@jaxals.pytree
class MyConfidence(Base):
    alpha: float = 1.0
    beta: typing.ClassVar[float] = 8.0

    def __call__(self, r, power=9):
        def nested(x):
            return x - 10
        weight = self.inherited(helper(r)) ** self.POWER + self.computed + self.plain(r) + ALPHA * TABLE.sum()
        weight += jitted(r) + decorated(r) + kinked(r) + SCALE.times(r) + nested(r) + SETTINGS["scale"][0]
        return abs(r) + weight, (lambda x: x * 11)(r)

it = jaxals.Objective(MyConfidence())
"""

EDITS = {
    "abs(r) + weight": ("abs(r) * weight", "the code of `MyConfidence.__call__`"),
    "ALPHA = 3.0": ("ALPHA = 4.0", "`ALPHA` of `MyConfidence.__call__` was 3.0, is 4.0"),
    "np.array([1.0, 2.0])": ("np.array([1.0, 3.0])", "`TABLE` of `MyConfidence.__call__` was"),
    "[1.0, 2.0]}": ("[1.0, 3.0]}", "`SETTINGS` of `MyConfidence.__call__` was"),
    "return deep(r) * 2": ("return deep(r) / 2", "the code of `helper`"),
    "return r + 1": ("return r - 1", "the code of `deep`"),
    "jax.jit(lambda r: r * 2)": ("jax.jit(lambda r: r / 2)", "the code of `of.confidence`"),
    "return 2 * function(*args)": ("return 2 + function(*args)", "the code of `wrapper`"),
    "return r + 3": ("return r - 3", "the code of `decorated`"),
    "7 * tangents": ("7 + tangents", "the code of `kinked_rule`"),
    "return self.factor * r": ("return self.factor / r", "the code of `Scale.times`"),
    "Scale(2.0)": ("Scale(3.0)", "`SCALE` of `MyConfidence.__call__` was"),
    "POWER = 0.5": ("POWER = 0.25", "`POWER` of `Base` was 0.5, is 0.25"),
    "return r + 4": ("return r - 4", "the code of `Base.inherited`"),
    "return 5": ("return 6", "the code of `Base.computed`"),
    "return r + 6": ("return r - 6", "the code of `Base.plain`"),
    "[float] = 8.0": ("[float] = 9.0", "`beta` of `MyConfidence` was 8.0, is 9.0"),
    "power=9": ("power=8", "`power` of `MyConfidence.__call__` was 9, is 8"),
    "return x - 10": ("return x + 10", "the code of `MyConfidence.__call__`"),
    "lambda x: x * 11": ("lambda x: x / 11", "the code of `MyConfidence.__call__`"),
    "def __call__(self, r, power=9)": ("def __call__(self, r, *, power=9)", "the code of `MyConfidence.__call__`"),
}


@pytest.mark.parametrize("before", EDITS)
def test_an_edit_of_what_a_confidence_reaches_is_named(before):
    after, named = EDITS[before]
    assert CONFIDENCE.count(before) == 1
    changed = differences(told(CONFIDENCE), told(CONFIDENCE.replace(before, after)))
    assert any(named in one for one in changed.values()), changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\n\ndef deep(r):", "\n\n\n# a comment\ndef deep(r):\n    '''Add one.'''"),
        ("return r + 4", "return (\n            r\n            + 4  # plus four\n        )"),
        ("    POWER = 0.5", "    '''Of all.'''\n    POWER = 0.5"),
        ("alpha: float = 1.0", "alpha: 'float' = 1.0"),
        ("class Scale:", "UNUSED = 3\n\ndef unused():\n    return 1\n\nclass Scale:"),
        ("SCALE = Scale(2.0)", "CALLS = []\nSCALE = Scale(1.0 + 1.0)"),
    ],
)
def test_what_computes_the_same_is_the_same(before, after):
    assert before in CONFIDENCE
    text = CONFIDENCE.replace(before, after, 1) if before else CONFIDENCE
    assert differences(told(CONFIDENCE), told(text)) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lambda r: a * r", "lambda r: a / r"),
        ("jax.tree_util.Partial(lambda a, r: a * r, 2)", "jax.tree_util.Partial(lambda a, r: a / r, 2)"),
        ("jax.tree_util.Partial(lambda a, r: a * r, 2)", "jax.tree_util.Partial(lambda a, r: a * r, 3)"),
        ("jax.vmap(lambda r: a * r)", "jax.vmap(lambda r: a - r)"),
        ("jax.jit(jax.vmap(lambda r: a * r))", "jax.jit(jax.vmap(lambda r: a - r))"),
        ("{'f': lambda r: a * r}", "{'f': lambda r: a - r}"),
        ("[min, max]", "[max, min]"),
        ("np.vectorize(lambda r: a * r)", "np.vectorize(lambda r: a + r)"),
        ("jax.random.key(1)", "jax.random.key(2)"),
        ("lambda r: np.sqrt(r)", "lambda r: np.cbrt(r)"),
        ("lambda r: r if r > 0 else -r", "lambda r: r if r < 0 else -r"),
        ("lambda a, b: a - b", "lambda b, a: a - b"),
        ("lambda r: r in {'x', 'y'}", "lambda r: r in {'x', 'z'}"),
        ("np.array(['x', None], object)", "np.array(['y', None], object)"),
        ("np.ma.masked_array([1, 2], [True, False])", "np.ma.masked_array([1, 2], [False, True])"),
        ("collections.defaultdict(lambda: a)", "collections.defaultdict(lambda: -a)"),
    ],
)
def test_values_that_compute_something_else_differ(one, other):
    assert differences(told(f"a = 2\nit = {one}"), told(f"a = 2\nit = {other}"))
    assert differences(told(f"a = 2\nit = {one}"), told(f"a = 2\nit = {one}")) == {}


def test_a_plain_class_is_compared_by_what_it_holds():
    text = """
    class Trainer:
        __slots__ = ("rate", "inner")
        def __init__(self, rate, inner):
            self.rate, self.inner = rate, inner
    it = Trainer(0.1, [Trainer(0.2, None)])
    """
    assert differences(told(text), told(text)) == {}
    assert differences(told(text), told(text.replace("0.1", "0.3"))) == {"of.rate": "`of.rate` was 0.1, is 0.3"}
    assert list(differences(told(text), told(text.replace("0.2", "0.3")))) == ["of.inner"]


def test_what_a_function_counts_for_itself_is_no_difference():
    function = written("seen, kept = [], {}\ndef it(r):\n    seen.append(r)\n    kept[r] = 1\n    return r")["it"]
    before = describe(of=function)
    function(3)
    assert differences(before, describe(of=function)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "import {m}\nit = lambda r: {m}.helper(r)",
        "import {m} as other\nit = lambda r: other.helper(r)",
        "from {m} import helper\nit = lambda r: helper(r)",
        "def it(r):\n    from {m} import helper\n    return helper(r)",
        "def it(r):\n    import {m} as other\n    return other.helper(r)",
        "import {m}\nit = lambda r: getattr({m}, 'helper')(r)",
        "import {m}\nit = {m}.WRAPPED",
    ],
)
def test_helpers_of_another_module_are_followed(text, tmp_path, monkeypatch):
    name = f"helpers_{tmp_path.name}"
    path = tmp_path / f"{name}.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    tellings = []
    for constant in (1, 2, 2):
        path.write_text(
            f"import jax\nFACTOR = {constant}\ndef helper(r):\n    return FACTOR * r\nWRAPPED = jax.jit(helper)"
        )
        if name in sys.modules:
            importlib.reload(sys.modules[name])
        tellings.append(told(text.format(m=name)))
    monkeypatch.delitem(sys.modules, name)
    assert list(differences(*tellings[:2]).values()) == ["`FACTOR` of `helper` was 1, is 2"]
    assert differences(*tellings[1:]) == {}


def test_it_is_the_same_in_another_process():
    # Not a `pytree`, whose methods have their types checked here, and not there.
    text = CONFIDENCE.replace("@jaxals.pytree", "@dataclasses.dataclass(frozen=True)")
    text = text.replace("jaxals.Objective(MyConfidence())", "MyConfidence()")  # an objective takes a `pytree` alone
    show = "import json, jaxals.training.fingerprint as f\nprint(json.dumps(f.describe(of=it)))"
    program = f"import jaxals, jax, numpy as np\n{text}\n{show}"
    environment = {"PYTHONHASHSEED": "1", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(run.stdout) == told(text)


def test_what_is_compiled_and_not_of_python_is_named():
    one = told("it = np.frompyfunc(lambda r: r, 1, 1)")
    assert differences(one, one) == {}
    assert fingerprint.untold(one, one) == (
        "Whether `numpy.<lambda> (vectorized)` still compute the same cannot be told: it is not written in Python."
    )
    assert fingerprint.untold(told("it = np.sqrt"), told("it = np.sqrt")) is None


def test_code_of_another_python_is_not_compared_and_what_it_reads_is():
    here = told(CONFIDENCE)
    there = {**here, "code": "cpython-399", "code.helper": "another"}
    assert differences(there, here) == {}
    assert "cannot be told: it was compiled by cpython-399, and is by" in str(fingerprint.untold(there, here))
    there["code.MyConfidence.__call__:ALPHA"] = 2.0
    assert list(differences(there, here).values()) == ["`ALPHA` of `MyConfidence.__call__` was 2.0, is 3.0"]


def test_what_an_earlier_version_wrote_goes_on_with_a_word():
    here = describe(of=lambda r: r, jax_enable_x64=False, other=1)
    there = {"of": "f.<locals>.<lambda>, checksum 123", "other": 1}
    assert differences(there, here) == {}
    assert "an earlier version of jaxals" in str(fingerprint.untold(there, here))
    assert list(differences({**there, "other": 2}, here)) == ["other"]
    assert fingerprint.untold({"other": 1}, describe(other=1, jax_enable_x64=False)) is None
