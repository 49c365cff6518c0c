import argparse
import ast
import csv
import inspect
import shutil
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
        ("def f(c): return [i for i in c if i]", "def f(c):\n  return [\n    i\n    for i in c\n    if i\n  ]"),
        ("def f(a, b, c): return a and b or c", "def f(a, b, c):\n  return (a and\n    b\n    or c)"),
        (
            "def f(c): return [i for i in c if i and i > 2]",
            "def f(c):\n  return [i for i in c\n    if i and\n    i > 2]",
        ),
        ("def f(a, b): return g(a, b)", "def f(a, b):\n  return g(\n    a,\n    b,\n  )"),
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


@pytest.mark.parametrize("module", [argparse, csv, shutil])
def test_nor_do_comments_and_lines_of_long_programs(module):
    text = inspect.getsource(module)
    one, other = (compile(each, "here", "exec") for each in (text, ast.unparse(ast.parse(text))))
    for ours, theirs in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(ours, types.CodeType):
            assert program(ours) == program(theirs), ours.co_name


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
