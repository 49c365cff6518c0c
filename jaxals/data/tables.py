"""Tables on disk: the user, item and value columns of text and Parquet files. Host side."""

import bz2
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import lzma
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from jaxals._base.arguments import checked_path, first_line, listed, require_text
from jaxals.data.arrow import to_series
from jaxals.data.columns import as_numbers, columns_by_role, require_columns
from jaxals.errors import DataError, MissingDependencyError

Missing = Literal["error", "drop"]

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
# pandas' fast parser takes one-character separators only, so "::" becomes ASCII's own unit separator.
_DOUBLE_COLON, _UNIT_SEPARATOR = "::", "\x1f"
# A million rows a chunk: the id strings of one chunk, never those of the whole file, are in memory at once.
_CHUNK_ROWS = 1 << 20
_INTEGER = re.compile("0|-?[1-9][0-9]{0,19}")

_Codes = tuple[np.ndarray, np.ndarray]  # codes of a chunk's rows, and the ids of the chunk that they name
_Part = tuple[list[_Codes], np.ndarray | None]  # users and items of a chunk, and values


@dataclasses.dataclass(frozen=True)
class _TextTable:
    """How a text file is laid out, and which of its columns are wanted; without a header, that has 0 lines."""

    path: Path
    separator: str
    columns: list[str]
    header_lines: int
    ids: list[int]
    value: int | None
    missing: Missing

    @property
    def quoting(self) -> Literal[0, 3]:
        # Tab-separated files carry names with bare quotes (16 artists of HetRec 2011); comma-separated ones quote.
        return csv.QUOTE_MINIMAL if self.separator == "," else csv.QUOTE_NONE

    @property
    def delimiter(self) -> str:
        return _UNIT_SEPARATOR if self.separator == _DOUBLE_COLON else self.separator


def read_table(
    path: str | os.PathLike,
    user: str,
    item: str,
    value: str | None,
    names: Sequence[str] | None = None,
    missing: Missing = "error",
) -> pd.DataFrame:
    r"""Read the columns of users, items and values, and no others, from a text or Parquet file.

    A name that ends in .csv means commas (fields may be quoted), .tsv means tabs (never quoted), .parquet means
    Parquet; in any other text file the first line tells: tab, `::` or comma. Text is UTF-8, and .gz, .bz2 and .xz
    are unpacked on the way. Ids of a text file are integers if each of them is written as one ("007" is not) and fits
    64 bits, else text as it stands; NA and null are names like any other. Those of a Parquet file keep their type, and
    may lie in the index that pandas wrote.

    Args:
        path: The file.
        user: Column of raw user ids.
        item: Column of raw item ids.
        value: Column of values, or None where each row counts as 1.
        names: Column names of a text file that has no header line.
        missing: Whether a row without a user or item id is an "error", or one to "drop".

    Returns:
        A frame with the wanted columns; ids of a text file are categorical with sorted categories.

    Raises:
        DataError: The file or a column is missing, or a line is broken (the message has its number).
        MissingDependencyError: The file is Parquet, and pyarrow is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxals.data.tables import read_table
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "plays.csv"
        >>> _ = path.write_text('user,artist,plays\nann,"Tyler, The Creator",3\nbob,Air,5\n')
        >>> read_table(path, user="user", item="artist", value="plays")
          user              artist  plays
        0  ann  Tyler, The Creator    3.0
        1  bob                 Air    5.0
    """
    path = checked_path("path", path, DataError)
    for name, column in (("user", user), ("item", item), ("value", value)):
        if column is not None or name != "value":
            require_text(name, column, "the name of a column", DataError)
    wanted = columns_by_role(user=user, item=item, value=value)
    if names is not None:
        for one in (names := listed("names", names, "a list of names of columns", DataError, is_ordered=True)):
            require_text("names", one, "a list of names of columns", DataError)
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, wanted, missing)
        return _read_text(path, wanted, names, missing)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read; it may be damaged: {first_line(error)}.") from None


def _read_text(path: Path, wanted: dict[str, Any], names: Sequence[str] | None, missing: Missing) -> pd.DataFrame:
    table = _layout(path, wanted, names, missing)
    frame, suspicious = None, True
    # The second look, line by line, finds what is wrong and says it better than pandas does.
    with contextlib.suppress(ValueError, pd.errors.ParserWarning):
        frame, suspicious = _parse(table)
    if suspicious:
        _raise_first_broken_line(table)
    if frame is None or frame.empty:
        raise DataError(f"{path} holds no rows that can be read as columns {table.columns}.")
    return frame


def _layout(path: Path, wanted: dict[str, Any], names: Sequence[str] | None, missing: Missing) -> _TextTable:
    with _open(path, errors="replace") as handle:
        before, first_line = next(((n, line) for n, line in enumerate(handle) if line.strip()), (0, None))
        if first_line is None:
            raise DataError(f"{path} is empty.")
        separator = _separator(path, first_line)
        table = _TextTable(path, separator, [], 0, [], None, missing)
        if names is None:
            header = _rows(table, itertools.chain([first_line.replace(separator, table.delimiter)], handle))
            try:
                names = next(header)  # several lines, where a name in quotes has a line break
            except csv.Error as error:
                raise DataError(f"Line {before + 1} of {path} cannot be read: {error}.") from None
            table = dataclasses.replace(table, header_lines=before + header.line_num)
    columns = list(names)
    require_columns(columns, wanted, str(path))
    place = {role: columns.index(column) for role, column in wanted.items()}
    return dataclasses.replace(table, columns=columns, ids=[place["user"], place["item"]], value=place.get("value"))


def _separator(path: Path, first_line: str) -> str:
    stem = path.with_suffix("") if path.suffix.lower() in _OPENERS else path
    sniffed = next((separator for separator in ("\t", _DOUBLE_COLON, ",") if separator in first_line), None)
    separator = _SEPARATORS.get(stem.suffix.lower(), sniffed)
    if separator is None:
        raise DataError(f"Line 1 of {path} has neither a tab nor `::` nor a comma to separate its columns.")
    return separator


def _open(path: Path, separator: str = "", errors: str = "strict") -> io.TextIOWrapper | io.StringIO:
    opener = _OPENERS.get(path.suffix.lower(), open)
    handle: io.TextIOWrapper = opener(path, "rt", encoding="utf-8-sig", errors=errors, newline="")  # type: ignore[operator]
    if separator != _DOUBLE_COLON:
        return handle
    with handle:
        return io.StringIO(handle.read().replace(_DOUBLE_COLON, _UNIT_SEPARATOR), newline="")


def _parse(table: _TextTable) -> tuple[pd.DataFrame, bool]:
    """Parse the wanted columns fast, and say whether some line may be broken."""
    last, beyond = str(len(table.columns) - 1), str(len(table.columns))
    # pandas fills short lines up and cuts long ones silently; a peek at the last column and at one past it shows both.
    # object, not str or category: the parser then makes one Python string of each id of a chunk, which hashes fast.
    dtypes: dict[str, Any] = dict.fromkeys([*map(str, table.ids), last], object) | {beyond: float}
    if table.value is not None:
        dtypes[str(table.value)] = float
    parts: list[_Part] = []
    suspicious = False
    with _open(table.path, table.separator) as handle, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        for _ in range(table.header_lines):
            next(handle)
        chunks = pd.read_csv(  # type: ignore[call-overload]
            _WithHeader(table.delimiter.join(map(str, range(len(table.columns) + 1))) + "\n", handle),
            sep=table.delimiter,
            usecols=sorted(dtypes),
            dtype=dtypes,
            index_col=False,
            quoting=table.quoting,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
            chunksize=_CHUNK_ROWS,
        )
        for chunk in chunks:
            suspicious |= bool(chunk[beyond].notna().any() or chunk[last].isna().any())
            if table.value is not None:
                suspicious |= not np.isfinite(chunk[str(table.value)].to_numpy()).all()
            coded = [pd.factorize(chunk[str(position)]) for position in table.ids]
            is_named = np.all([codes >= 0 for codes, _ in coded], axis=0)
            if table.missing == "error":
                suspicious |= not is_named.all()
            named: Any = np.s_[:] if table.missing == "error" or is_named.all() else is_named
            values = None if table.value is None else chunk[str(table.value)].to_numpy()[named]
            parts.append(([(codes[named].astype(np.int32), ids.to_numpy()) for codes, ids in coded], values))
    columns: dict[str, Any] = {
        table.columns[position]: _merged([ids[side] for ids, _ in parts]) for side, position in enumerate(table.ids)
    }
    if table.value is not None:
        columns[table.columns[table.value]] = np.concatenate([values for _, values in parts])
    return pd.DataFrame(columns), suspicious


class _WithHeader:
    """A text handle whose first line is ours: pandas reads columns past the file's own only if a header names them."""

    def __init__(self, header: str, handle: io.TextIOBase):
        self._header, self._handle = header, handle

    def read(self, size: int = -1) -> str:
        header, self._header = self._header, ""
        return header or self._handle.read(size)

    def __iter__(self) -> Iterator[str]:
        return self._handle


def _merged(parts: list[_Codes]) -> pd.Categorical:
    """Join codes into the ids of one chunk to codes into the sorted ids of all chunks."""
    of_all, ids = pd.factorize(np.concatenate([ids for _, ids in parts]))
    # Integers only if nothing is lost by it: neither leading zeros, nor a decimal point, nor digits past 64 bits.
    if all(map(_INTEGER.fullmatch, ids)):
        ids = _as_integers(ids)
    order = np.argsort(ids, kind="stable")
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    codes, start = [], 0
    for chunk_codes, chunk_ids in parts:
        stop = start + len(chunk_ids)
        codes.append(np.append(place[of_all[start:stop]], np.int32(-1))[chunk_codes])  # -1 stays -1: a missing id
        start = stop
    return pd.Categorical.from_codes(np.concatenate(codes), categories=pd.Index(ids[order]))


def _as_integers(ids: np.ndarray) -> np.ndarray:
    for dtype in (np.int64, np.uint64):
        with contextlib.suppress(OverflowError):
            return ids.astype(dtype)
    return ids


def _raise_first_broken_line(table: _TextTable) -> None:
    with _open(table.path, table.separator, errors="surrogateescape") as handle:
        rows = _rows(table, handle)
        header_to_come, line = table.header_lines > 0, 1
        try:
            for row in rows:
                first, line = line, rows.line_num + 1
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                fault = _text_fault(row) if header_to_come else _text_fault(row) or _fault(table, row)
                header_to_come = False
                if fault:
                    raise DataError(f"Line {first} of {table.path} {fault}.")
        except csv.Error as error:
            raise DataError(f"Line {line} of {table.path} cannot be read: {first_line(error)}.") from None


def _rows(table: _TextTable, lines: Iterable[str]) -> Any:  # typing names no type for the reader of csv
    return csv.reader(lines, delimiter=table.delimiter, quoting=table.quoting)


def _text_fault(row: list[str]) -> str | None:
    escaped = any("\udc80" <= character <= "\udcff" for field in row for character in field)
    return "is not valid UTF-8" if escaped else None


def _fault(table: _TextTable, row: list[str]) -> str | None:
    width = len(table.columns)
    if len(row) != width and row[width:] != [""]:
        return f"has {len(row)} field{'s' * (len(row) != 1)} instead of {width}"
    for position in table.ids:
        if table.missing == "error" and not row[position]:
            return f"has no id in column {table.columns[position]!r}"
    if table.value is not None and not _is_number(row[table.value]):
        return f"has {row[table.value]!r} in column {table.columns[table.value]!r}, which is not a finite number"
    return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _read_parquet(path: Path, wanted: dict[str, Any], missing: Missing) -> pd.DataFrame:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("Reading Parquet needs pyarrow: pip install 'jaxals[parquet]'.") from None
    user, item, value = wanted["user"], wanted["item"], wanted.get("value")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            # Without what pandas wrote beside the table: it hides columns in an index, and makes floats of integers.
            require_columns(file.schema_arrow.names, wanted, str(path))
            table = file.read(columns=[*wanted.values()])
        frame = pd.DataFrame({column: to_series(table[column]) for column in wanted.values()})
    except DataError:
        raise
    # Besides its own errors pyarrow raises those of Python where a file is damaged.
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {first_line(error)}.") from None
    if missing == "drop":
        frame = frame.dropna(subset=[user, item]).reset_index(drop=True)
    for column in (user, item):
        if (absent := frame[column].isna()).any():
            raise DataError(f"Row {int(np.argmax(absent)) + 1} of {path} has no id in column {column!r}.")
    if value is not None:
        numbers = as_numbers(frame[value], f"Column {value!r} of {path}")
        if not (finite := np.isfinite(numbers)).all():
            row = int(np.argmin(finite))
            raw = frame[value].tolist()[row]
            what = f"{raw if pd.isna(raw) else repr(raw)} in column {value!r}, which is not a finite number"
            raise DataError(f"Row {row + 1} of {path} has {what}.")
        frame[value] = numbers.astype(np.float64)
    return frame
