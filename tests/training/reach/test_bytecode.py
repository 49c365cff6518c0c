import sys
import types

import pytest

from jaxals.training.reach.bytecode import program


def compiled(text: str) -> types.CodeType:
    names: dict = {}
    exec(text, names)
    return names["f"].__code__


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "def f(c): return [i for i in c if i]",
            "def f(c):\n  return [\n    i\n    for i in c\n    if i\n  ]",
            marks=pytest.mark.xfail(sys.version_info >= (3, 13), reason="3.13 adds a step, which is told as an edit"),
        ),
        ("def f(a, b, c): return a and b or c", "def f(a, b, c):\n  return (a and\n    b\n    or c)"),
        (
            "def f(a):\n  try: return 1 if a else 2\n  except ValueError: return None",
            "def f(a):\n  'Do.'\n  try:\n    return (\n      1\n      if a\n      else 2\n    )\n"
            "  except ValueError:\n    return None",
        ),
        (
            "def f(a):\n  class K:\n    z = 1\n    def m(self): self.q = self.p = 1",
            "\n\ndef f(a):\n  class K:\n    'Of it.'\n    z = 1\n\n    def m(self):\n      self.q = self.p = 1",
        ),
    ],
)
def test_where_lines_break_makes_no_difference(one, other):
    assert program(compiled(one)) == program(compiled(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(c): return [i for i in c if i]", "def f(c): return [i for i in c if not i]"),
        ("def f(a, b, c): return a and b or c", "def f(a, b, c): return a or b and c"),
        ("def f(a):\n  try: g(); h()\n  except E: pass", "def f(a):\n  try: g()\n  except E: pass\n  h()"),
        ("def f(a): return 0.0 * a", "def f(a): return -0.0 * a"),
        ("def f(a): return 1 * a", "def f(a): return 1.0 * a"),
    ],
)
def test_what_is_done_does(one, other):
    assert program(compiled(one)) != program(compiled(other))
