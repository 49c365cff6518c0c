"""Raw ids of users and items, by index and back. Host side."""

import dataclasses
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from jaxals.data.ids import as_index, find, kind_of
from jaxals.data.nearest import unknown_message
from jaxals.errors import DataError, UnknownIdError

Side = Literal["user", "item"]


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """The raw ids of users and items, by index and back.

    Ids are anything that can be hashed, and stay what they are: "1" is not 1, 1 is not True, and integers never become
    floats. The integer 5 and the float 5.0 are one id, below 2^53. A model that is to be saved needs ids that are text,
    numbers, truth values or tuples of them.

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
        object.__setattr__(self, "users", _unique(users, "user"))
        object.__setattr__(self, "items", _unique(items, "item"))

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
        return indices(self.users, ids, "user")

    def item_indices(self, ids: Iterable[Hashable]) -> Int[np.ndarray, " ids"]:
        """Turn raw item ids into indices.

        Args:
            ids: Raw item ids, as often as they are wanted.

        Returns:
            The index of each.

        Raises:
            UnknownIdError: One is not in the catalog; the message names the nearest known.
        """
        return indices(self.items, ids, "item")

    def __repr__(self) -> str:
        return f"Catalog({len(self.users):,} users, {len(self.items):,} items)"


def _unique(ids: Iterable[Hashable], side: Side) -> pd.Index:
    index = as_index(ids, f"{side} ids")
    if isinstance(index, pd.RangeIndex):
        return index
    if index.hasnans:
        first = int(np.argmax(index.isna())) + 1
        raise DataError(f"The {side} ids of a catalog must not be missing; number {first} is.")
    if not index.is_unique:
        twice = index[index.duplicated()].tolist()[0]
        first = next(raw for raw in index.tolist() if raw == twice)
        what = "is there twice" if kind_of(first) == kind_of(twice) else f"equals {first!r} to Python"
        raise DataError(f"The {side} ids of a catalog must be unique; {twice!r} {what}.")
    return index


def indices(index: pd.Index, ids: Iterable[Hashable], side: Side) -> Int[np.ndarray, " ids"]:
    """Turn raw ids into their places in an index, int32.

    Raises:
        UnknownIdError: One is not there.
    """
    wanted = as_index(ids, f"{side} ids")
    found = find(index, wanted)
    if (found < 0).any():
        raise UnknownIdError(unknown_message(index, wanted[found < 0].tolist()[0], side))
    return found.astype(np.int32)
