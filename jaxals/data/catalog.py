"""Raw ids of users and items, by index and back. Host side."""

import dataclasses
import difflib
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from jaxals.errors import DataError, UnknownIdError

Side = Literal["user", "item"]


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """The raw ids of users and items, by index and back.

    Attributes:
        users: Raw user ids; position is the index used in every array.
        items: Raw item ids, likewise.

    Example:
        >>> import jaxals
        >>> catalog = jaxals.Catalog(["ann", "bob"], [10, 20, 30])
        >>> catalog.users[1], catalog.user_indices(["bob", "ann"])
        ('bob', array([1, 0], dtype=int32))
    """

    users: pd.Index
    items: pd.Index

    def __init__(self, users: Iterable[Hashable], items: Iterable[Hashable]):
        object.__setattr__(self, "users", _as_index(users, "user"))
        object.__setattr__(self, "items", _as_index(items, "item"))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""
        return len(self.users), len(self.items)

    def user_indices(self, ids: Iterable[Hashable]) -> Int[np.ndarray, " ids"]:
        """Turn raw user ids into indices.

        Args:
            ids: Raw user ids, as often as they are wanted.

        Returns:
            The index of each.

        Raises:
            UnknownIdError: One is not in the catalog; the message names the nearest known.
        """
        return _indices(self.users, ids, "user")

    def item_indices(self, ids: Iterable[Hashable]) -> Int[np.ndarray, " ids"]:
        """Turn raw item ids into indices.

        Args:
            ids: Raw item ids, as often as they are wanted.

        Returns:
            The index of each.

        Raises:
            UnknownIdError: One is not in the catalog; the message names the nearest known.
        """
        return _indices(self.items, ids, "item")

    def __repr__(self) -> str:
        return f"Catalog({len(self.users):,} users, {len(self.items):,} items)"


def _as_index(ids: Iterable[Hashable], side: Side, unique: bool = True) -> pd.Index:
    if isinstance(ids, range):
        return pd.RangeIndex(ids.start, ids.stop, ids.step)
    try:
        index = ids if isinstance(ids, pd.Index) else pd.Index(list(ids), tupleize_cols=False)
        if index.dtype == object:
            list(map(hash, index))  # pandas takes a single id for unique without hashing it
        repeated = unique and not index.is_unique
    except TypeError as error:
        raise DataError(f"Every {side} id must be hashable: {error}.") from None
    except (ValueError, OverflowError) as error:  # text that is not Unicode
        raise DataError(f"The {side} ids cannot be used: {error}.") from None
    if repeated:
        raise DataError(f"The {side} ids of a catalog must be unique; {index[index.duplicated()][0]!r} is there twice.")
    return index


def _indices(index: pd.Index, ids: Iterable[Hashable], side: Side) -> np.ndarray:
    wanted = _as_index(ids, side, unique=False)
    found = index.get_indexer(wanted)
    if (found < 0).any():
        raise UnknownIdError(_unknown_message(index, wanted.tolist()[int(np.argmax(found < 0))], side))
    return found.astype(np.int32)


def _unknown_message(index: pd.Index, unknown: Hashable, side: Side) -> str:
    if index.empty:
        return f"There is no {side} {unknown!r}: the catalog holds no {side}s."
    known, wanted = {str(raw).casefold(): raw for raw in index.tolist()}, str(unknown).casefold()
    keys = list(known)
    if len(keys) > 10_000:
        # Comparing with each of 360,000 ids took 46 s; a near one nearly always begins or ends alike.
        keys = [key for key in keys if key[:2] == wanted[:2] or key[-2:] == wanted[-2:]]
    nearest = [known[key] for key in difflib.get_close_matches(wanted, keys, n=3, cutoff=0.6)]
    hint = f"a known one is {index[:1].tolist()[0]!r}"
    if nearest:
        hint = f"the nearest known are {', '.join(map(repr, nearest))}"
    return f"There is no {side} {unknown!r} in the catalog of {len(index):,} {side}s; {hint}."


def factorize(column: pd.Series, where: str) -> tuple[Int[np.ndarray, " rows"], pd.Index]:
    """Number the raw ids of a column in sorted order: each row's index, and the ids by index.

    Raises:
        DataError: An id is missing; the message names `where` and the row.
    """
    if column.isna().any():
        raise DataError(f"The id in {where} is missing in row {int(np.argmax(column.isna()))}; drop or fill such rows.")
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, ids = pd.factorize(column, sort=True)
        return codes, ids.astype(column.dtype.categories.dtype)
    try:
        codes, ids = pd.factorize(column)
        ids = pd.Index(ids, tupleize_cols=False)
    except (TypeError, ValueError, OverflowError) as error:  # unhashable, or text that is not Unicode
        raise DataError(f"The ids in {where} cannot be used: {error}.") from None
    # Sorted ids: the order of the rows in a file then never changes what is trained.
    try:
        order = ids.argsort()
    except TypeError:
        order = np.array(sorted(range(len(ids)), key=lambda i: (type(ids[i]).__name__, str(ids[i]))))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[codes], ids[order]
