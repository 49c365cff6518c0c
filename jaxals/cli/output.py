"""What the commands answer with: tables for people, one JSON document for programs. Host side."""

import json
import math
import sys
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

INTERRUPTED = 130  # the exit code of what Ctrl-C ended
EXIT_CODES = {"interrupted": INTERRUPTED, "terminated": 143}


def complain(what: object) -> None:
    """Print one line to stderr."""
    print("jaxals:", " ".join(str(what).split()), file=sys.stderr)


def say(line: str) -> None:
    """Print text to stdout as it stands, wrapped."""
    _console().print(Text(line), soft_wrap=True)


def _console() -> Console:
    return Console(highlight=False)


def print_table(frame: pd.DataFrame, title: str | None = None, header: bool = True) -> None:
    """Print a table without boxes; long cells are folded."""
    table = Table(title=title and Text(title), title_justify="left", show_header=header, box=None, pad_edge=False)
    for column in frame.columns:
        table.add_column(str(column), justify="right" if frame[column].dtype.kind in "if" else "left", overflow="fold")
    for row in frame.itertuples(index=False, name=None):
        # Text: titles may hold brackets, which rich would take for markup.
        table.add_row(*(Text(_cell(value)) for value in row))
    console = _console()
    console.print(table, end="\n\n")


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
