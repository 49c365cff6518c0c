"""Names in place of the numbers that data sets use for their items, without ever merging two. Host side."""

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path

from jaxals._base.arguments import first_line
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError


def with_names(data: Interactions, names: Mapping[Hashable, str]) -> Interactions:
    """Replace the raw item ids of a data set by names; where two items share one, each gets its id behind it.

    Example:
        >>> import jaxals
        >>> from jaxals.datasets.labels import with_names
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 2])
        >>> with_names(data, {0: "Heat", 1: "Heat", 2: "Big"}).catalog.items.tolist()
        ['Heat [0]', 'Heat [1]', 'Big']
    """
    ids = data.catalog.items.tolist()
    plain = [names.get(raw, str(raw)) for raw in ids]
    with_id = [f"{name} [{raw}]" for name, raw in zip(plain, ids, strict=True)]
    labels, before = plain, None
    while labels != before:  # a name may be what another one becomes with its id
        shared, before = Counter(labels), labels
        labels = [longer if shared[label] > 1 else label for label, longer in zip(labels, with_id, strict=True)]
    return dataclasses.replace(data, catalog=Catalog(data.catalog.users, labels))


def read_names(path: Path, separator: str, or_latin_1: bool = False, header: bool = False) -> dict[Hashable, str]:
    """Read which integer id has which name: the first two fields of each line.

    Args:
        path: The file.
        separator: What stands between two fields; with a comma, fields may be quoted.
        or_latin_1: Whether a file that is not UTF-8 is Latin-1.
        header: Whether the first line holds column names.

    Returns:
        The name of each id.

    Raises:
        DataError: The file cannot be read, or a line has no integer id or no name.
    """
    names: dict[Hashable, str] = {}
    try:
        with io.StringIO(_text(path, or_latin_1), newline="") as handle:
            rows = csv.reader(handle) if separator == "," else (line.rstrip("\r\n").split(separator) for line in handle)
            for number, row in enumerate(rows, start=1):
                if number == 1 and header:
                    continue
                try:
                    names[int(row[0])] = row[1].strip()
                except (ValueError, IndexError):
                    raise DataError(f"Line {number} of {path} is not an integer id and a name.") from None
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of names: {first_line(error)}.") from None
    return names


def _text(path: Path, or_latin_1: bool) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if not or_latin_1:
            raise
        return content.decode("latin-1")
