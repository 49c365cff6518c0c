"""From whatever names rows of a model to an array of their numbers, or one sentence. Host side."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from jaxals._base.memory import require_memory
from jaxals.errors import DataError
from jaxals.implicit_api._errors import MissingRowError, brief

Noun = Literal["user", "item"]


def rows_named(name: str, ids: Any, n_rows: int, noun: Noun) -> tuple[np.ndarray, bool]:
    """Read one id or an ordered list of them, whose rows are answered in that order.

    Args:
        name: Of the argument, for messages.
        ids: An integer, a sequence of them, or a mask of all rows.
        n_rows: How many rows the model has.
        noun: What a row is.

    Returns:
        The ids, and whether it was one alone.

    Raises:
        DataError: These are no ids, or have no order.
        MissingRowError: One is not in the model.
    """
    if is_one(ids):
        return _among(name, _integers(name, [ids]), n_rows, noun), True
    if isinstance(ids, (set, frozenset)):
        raise DataError(f"`{name}` must have an order, as the answer has one; got a {type(ids).__name__}.")
    return chosen_rows(name, ids, n_rows, noun), False


def chosen_rows(name: str, ids: Any, n_rows: int, noun: Noun) -> np.ndarray:
    """Read a selection of rows: integers in any collection, or a mask of all rows.

    Raises:
        DataError: These are no ids.
        MissingRowError: One is not in the model.

    Example:
        >>> from jaxals.implicit_api._ids import chosen_rows
        >>> chosen_rows("items", {3, 1}, 5, "item")
        array([1, 3])
    """
    array = _array(name, ids)
    if array.dtype != bool:
        return _among(name, _integers(name, array), n_rows, noun)
    if array.shape != (n_rows,):
        raise DataError(f"`{name}` is a mask of shape {array.shape}, but the model has {n_rows:,} {noun}s.")
    return np.flatnonzero(array)


def growing_rows(name: str, ids: Any, table: np.ndarray) -> np.ndarray:
    """Read ids of rows to store, which may lie past the end of a table.

    Raises:
        DataError: These are no ids.
        MissingRowError: One is negative.
        ConfigurationError: The table would not fit into memory.
    """
    array = _integers(name, [ids] if is_one(ids) else _array(name, ids))
    if array.size and array.min() < 0:
        raise MissingRowError(f"`{name}` must be ids >= 0; got {array.min()}.")
    n_rows = int(array.max(initial=-1)) + 1
    if n_rows > len(table):
        require_memory(
            3 * n_rows * table[:1].nbytes, f"A table up to the id {n_rows - 1}", f"give `{name}` smaller ids"
        )
    return array


def is_one(ids: Any) -> bool:
    """Return whether this is one id, an array without axes included."""
    return np.isscalar(ids) or ids is None or (hasattr(ids, "ndim") and ids.ndim == 0)


def _array(name: str, ids: Any) -> np.ndarray:
    if isinstance(ids, (str, bytes, dict)) or not isinstance(ids, Iterable):
        raise DataError(f"`{name}` must be a list of integer ids; got {brief(ids)}.")
    if isinstance(ids, (set, frozenset)):
        ids = list(ids)
        ids = sorted(ids) if all(isinstance(one, (int, np.integer)) for one in ids) else ids
    try:
        array = np.asarray(ids if hasattr(ids, "__array__") else list(ids))
        # Nullable columns come as objects, and as integers where nothing is missing.
        array = np.asarray(array.tolist()) if array.dtype == object else array
    except (ValueError, TypeError, OverflowError):  # lists of unequal length
        raise DataError(f"`{name}` must be a list of integer ids; got {brief(ids)}.") from None
    if array.ndim != 1:
        raise DataError(f"`{name}` must be a list of ids; got an array of shape {array.shape}.")
    return array


def _integers(name: str, ids: Any) -> np.ndarray:
    try:
        array = np.asarray(ids)
    except (ValueError, TypeError, OverflowError):
        array = np.asarray(None)
    if array.size and (array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max):
        shown = ids[0] if isinstance(ids, list) and len(ids) == 1 else ids
        raise DataError(f"`{name}` must be integer ids; got {brief(shown)}.")
    return array if array.dtype.kind == "i" else array.astype(np.int64)


def _among(name: str, ids: np.ndarray, n_rows: int, noun: Noun) -> np.ndarray:
    wrong = ids[(ids < 0) | (ids >= n_rows)]
    if wrong.size:
        raise MissingRowError(
            f"Some {noun}ids in the `{name}` parameter are not in the model: {wrong[0]} is out of bounds for its "
            f"{n_rows} {noun}s, 0 to {n_rows - 1}."
        )
    return ids
