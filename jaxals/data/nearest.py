"""What to say of an id that is not there: the nearest ones, in time that does not grow with the catalog. Host side."""

import bisect
import difflib
import string
from collections.abc import Hashable, Iterator
from typing import Literal

import numpy as np
import pandas as pd

from jaxals._base.arguments import told_label
from jaxals.data.ids import as_index, find

# Comparing one text with this many takes 0.1 s, and more where they are addresses on the web.
_MOST_COMPARED = 2_000
# Neighbours in the order of a sorted catalog, which begin alike.
_NEIGHBOURS = 20
# Changing each of a text's characters into each of these is what a slip of the finger does.
_KEYS = string.ascii_lowercase + string.digits + " -_.'"
_MOST_CHANGED, _LONG = 40, 100


def unknown_message(index: pd.Index, unknown: Hashable, side: Literal["user", "item"]) -> str:
    """Say that an id is not in a catalog, and name up to three that are and resemble it.

    Of a small catalog each id is compared. Of a large one those are that differ by case or by one slip of the finger,
    which are looked up, and those that stand where the id would, if the catalog is sorted.
    """
    try:
        text, shown = str(unknown), told_label(unknown)
    except ValueError:  # an integer of thousands of digits
        text = shown = f"of type {type(unknown).__name__}"
    if index.empty:
        return f"There is no {side} {shown}: the catalog holds no {side}s."
    wanted = text.casefold()
    if len(index) <= _MOST_COMPARED:
        candidates = index.tolist()
    else:
        candidates = [*_slips(index, text), *_neighbours(index, unknown, text)]
    known = {str(raw).casefold(): raw for raw in candidates}
    nearest = [known[key] for key in difflib.get_close_matches(wanted, list(known), n=3, cutoff=0.6)]
    hint = f"a known one is {index[:1].tolist()[0]!r}"
    if nearest:
        hint = f"the nearest known are {', '.join(map(repr, nearest))}"
    return f"There is no {side} {shown} in the catalog of {len(index):,} {side}s; {hint}."


def _slips(index: pd.Index, unknown: str) -> list[Hashable]:
    texts = list(dict.fromkeys(_cased(list(_changed(unknown)))))
    variants: list[Hashable] = [*texts]
    if index.dtype.kind in "iu":
        variants = [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 20]
    found = find(index, as_index(variants, "ids"))
    return index[np.unique(found[found >= 0])[:_MOST_COMPARED]].tolist()


def _cased(texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield from (text, text.lower(), text.upper(), text.title(), text.capitalize())


def _changed(text: str) -> Iterator[str]:
    """Yield a text, and what one slip makes of it: a character left out, doubled, added, swapped or replaced."""
    yield text
    yield text.strip()
    if len(text) > _LONG:
        return
    for at in range(min(len(text), _MOST_CHANGED)):
        before, after = text[:at], text[at:]
        yield before + after[1:]
        yield before + after[1:2] + after[:1] + after[2:]
        for key in _KEYS:
            yield before + key + after
            yield before + key + after[1:]
    yield from (text + key for key in _KEYS)


def _neighbours(index: pd.Index, unknown: Hashable, text: str) -> list[Hashable]:
    if index.dtype == object or not index.is_monotonic_increasing:
        return []
    around: list[Hashable] = []
    for one in (unknown, *_cased([text])):
        try:
            place = bisect.bisect_left(index, one)
        except (TypeError, ValueError, ArithmeticError):  # of another type
            continue
        around += index[max(place - _NEIGHBOURS, 0) : place + _NEIGHBOURS].tolist()
    return around
