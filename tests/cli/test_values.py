import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from cyclopts import Token

from jaxals.cli.commands import app
from jaxals.cli.options import SOLVERS
from jaxals.cli.values import read_value


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (int, "12", 12),
        (int, "1e2", 100),
        (int, "3.0", 3),
        (int | None, "-1", -1),
        (int, "9007199254740993", 2**53 + 1),
        (float, "1e2", 100.0),
        (float | None, "-.5", -0.5),
        (Literal["cosine", "dot"], "COSINE", "cosine"),
        (Literal["float16", "bfloat16"] | None, "BFloat16", "bfloat16"),
        (Literal["conjugate-gradient"], "Conjugate_Gradient", "conjugate-gradient"),
        (str | None, "none", "none"),  # may be the name of a column
        (str, os.fsencode("é").decode("ascii", "surrogateescape"), "é"),
        (str, "\ud800", "\ud800"),
        (Path, "a b", Path("a b")),
    ],
)
def test_a_word_becomes_a_value(kind, word, value):
    read = read_value(kind, [Token(value=word)])
    assert (read, type(read)) == (value, type(value))


def test_words_become_values():
    tokens = [Token(value=word) for word in ("none", "[1]", "é".encode().decode("ascii", "surrogateescape"))]
    assert read_value(Sequence[str] | None, tokens) == ["none", "[1]", "é"]


@pytest.mark.parametrize("word", ["", "2.5", "-0.5", "1e400", "nan", "inf", "none", "0x10", "9" * 5000 + "."])
def test_what_is_no_integer_is_not_rounded(word):
    with pytest.raises(ValueError, match=r"^must be an integer; got '"):
        read_value(int, [Token(value=word)])


@pytest.mark.parametrize("name", ["CHOLESKY", "Exact", "conjugate_gradient", "Subspace"])
def test_names_are_taken_in_any_case(name):
    words = [
        "fit",
        "d",
        "--output",
        "m",
        "--solver",
        name,
        "--objective",
        "IALS",
        "--metrics",
        "NDCG@10",
        "--holdout",
        "1",
    ]
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert bound.arguments["solver"] == name.lower().replace("_", "-")
    assert bound.arguments["solver"] in SOLVERS
    assert bound.arguments["preset"].objective == "ials"
    assert bound.arguments["metrics"] == ("ndcg@10",)
