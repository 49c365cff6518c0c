"""What the commands answer with: tables for people, one JSON document for programs. Host side."""

import contextlib
import io
import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.cells import cell_len

INTERRUPTED = 130  # the exit code of what Ctrl-C ended
EXIT_CODES = {"interrupted": INTERRUPTED, "terminated": 143}
_LONGEST_WORD = 500
_STEERING = ("Cc", "Zl", "Zp")  # control characters, and what else ends a line


@contextlib.contextmanager
def any_text() -> Iterator[None]:
    r"""Let stdout and stderr take any text: what their encoding does not have is written as \u03bb.

    An ASCII or Windows terminal has not every name, and the name of a file may be no text at all.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def complain(what: object) -> None:
    """Print one line to stderr; a word that nobody could read through is cut in its middle."""
    words = (word if len(word) <= _LONGEST_WORD else f"{word[:50]}...{word[-50:]}" for word in str(what).split())
    print("jaxals:", _printable(" ".join(words)), file=sys.stderr)


def say(line: str) -> None:
    """Print one line to stdout, however long."""
    print(_printable(line))


def print_table(frame: pd.DataFrame, title: str | None = None, header: bool = True) -> None:
    """Print a table without boxes, one line a row, however long: so ids can be copied, and pipes be read by lines."""
    names = [str(column) for column in frame.columns]
    rows = [[_printable(_cell(value)) for value in row] for row in frame.itertuples(index=False, name=None)]
    if header:
        rows.insert(0, names)
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    is_number = [kind.kind in "if" for kind in frame.dtypes]
    if title:
        say(title)
    for row in rows:
        cells = zip(row, widths, is_number, strict=True)
        print("  ".join(_aligned(*cell) for cell in cells).rstrip())
    print()


def draws_bars(wanted: bool) -> bool:
    """Return whether to draw progress bars: where they are wanted, and somebody sees them."""
    return wanted and sys.stderr is not None and sys.stderr.isatty()


def _aligned(text: str, width: int, to_the_right: bool) -> str:
    space = " " * (width - cell_len(text))  # of a terminal, where a sign may take two places
    return space + text if to_the_right else text + space


def _printable(text: str) -> str:
    """Escape what would break a line, steer a terminal, or is missing in its encoding."""
    if not text.isprintable():
        text = "".join(repr(sign)[1:-1] if unicodedata.category(sign) in _STEERING else sign for sign in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        return ", ".join(f"{row.item} ({row.contribution:+.2f})" for row in value.itertuples())
    return f"{value:,.5g}" if isinstance(value, float) else str(value)


def print_json(document: dict[str, Any]) -> None:
    """Print one document; frames become lists of records, and numbers that are not finite null."""
    print(json.dumps({name.replace(" ", "_"): _plain(value) for name, value in document.items()}, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        names = [str(column).replace(" ", "_") for column in value.columns]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in value.itertuples(index=False, name=None)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
