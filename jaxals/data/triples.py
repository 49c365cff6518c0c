"""Triples of user, item and value as arrays: checked, sorted, unique. Host side."""

from typing import Any, Literal

import numpy as np

from jaxals._base.arguments import first_line
from jaxals.data.catalog import Catalog
from jaxals.data.columns import as_numbers, require_finite_numbers
from jaxals.errors import DataError

Duplicates = Literal["sum", "max", "last", "error"]


def index_array(index: Any, name: str) -> np.ndarray:
    """Return indices as int64."""
    try:
        index = np.asarray(index)
    except (TypeError, ValueError, OverflowError) as error:  # lists in lists, of several lengths
        raise DataError(f"`{name}` must be a 1-D array: {first_line(error)}.") from None
    if index.ndim != 1 or not (np.issubdtype(index.dtype, np.integer) or index.size == 0):
        raise DataError(f"`{name}` must be a 1-D array of integers; got shape {index.shape} of {index.dtype}.")
    return index.astype(np.int64, copy=False)


def value_array(value: Any) -> np.ndarray:
    """Return values as floating-point numbers, all finite."""
    numbers = as_numbers(value, "`value`")
    require_finite_numbers(numbers, value, "`value`")
    return numbers


def check_shape(got: tuple[int, ...], expected: tuple[int, int]) -> None:
    """Refuse a shape that is not that of the ids."""
    if got != expected:
        turned = " It looks transposed: pass `.T`." if got == expected[::-1] else ""
        raise DataError(f"The shape is {got}, but the ids are {expected} users and items.{turned}")


def check_bounds(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuse indices that are negative or past the shape."""
    highest = int(user.max(initial=-1)), int(item.max(initial=-1))
    if min(user.min(initial=0), item.min(initial=0)) < 0:
        raise DataError("Indices of users and items must not be negative.")
    for side, high, size in zip(("user", "item"), highest, shape, strict=True):
        if high >= size:
            fits_turned = highest[0] < shape[1] and highest[1] < shape[0]
            turned = " `user` and `item` look swapped: users are rows." if fits_turned else ""
            raise DataError(f"A {side} index is {high}, past the shape {tuple(shape)}.{turned}")


def sorted_unique(
    user: np.ndarray, item: np.ndarray, value: np.ndarray, catalog: Catalog, duplicates: Duplicates
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort triples by user and item, make one of those of a pair, and leave out zeros."""
    n_items = max(len(catalog.items), 1)
    key = user * n_items + item
    if not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        key, value = key[order], value[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        if len(first) < len(key):
            value = _merge(value, first, duplicates, key, catalog)
            key = key[first]
        user, item = key // n_items, key % n_items
    keep = value != 0
    return (user, item, value) if keep.all() else (user[keep], item[keep], value[keep])


def _merge(
    value: np.ndarray, first: np.ndarray, duplicates: Duplicates, key: np.ndarray, catalog: Catalog
) -> np.ndarray:
    if duplicates == "sum":
        return np.add.reduceat(value, first, dtype=np.float64)
    if duplicates == "max":
        return np.maximum.reduceat(value, first)
    if duplicates == "last":
        return value[np.append(first[1:], len(value)) - 1]
    user, item = divmod(key[1:][key[1:] == key[:-1]][:1], len(catalog.items))
    raise DataError(
        f"The pair of user {catalog.users[user].tolist()[0]!r} and item {catalog.items[item].tolist()[0]!r} is there "
        f'more than once; pass `duplicates="sum"`, "max" or "last" to merge such rows.'
    )


def compact(value: np.ndarray) -> np.ndarray:
    """Return values as float32 where nothing is lost, else as float64."""
    # Half the memory wherever nothing is lost: counts up to 2^24 and anything that came as float32.
    with np.errstate(over="ignore"):
        narrow = value.astype(np.float32)
    return narrow if (narrow == value).all() else value.astype(np.float64)
