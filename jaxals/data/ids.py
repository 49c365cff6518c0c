"""Raw ids as an index: each keeps its value and its kind, whatever column or list it came in. Host side."""

import datetime
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from pandas.api.types import (
    infer_dtype,
    is_bool_dtype,
    is_float_dtype,
    is_integer_dtype,
    is_string_dtype,
    is_unsigned_integer_dtype,
)

from jaxals._base.arguments import first_line, require_order, told
from jaxals.data.arrow import series_of_arrow, without_arrow
from jaxals.errors import DataError

# From here on a float64 may stand for several integers.
_EXACT = 2**53
_TYPED = [np.dtype(kind) for kind in (bool, np.int64, np.float64)]


def as_index(ids: Any, where: str) -> pd.Index:
    """Hold ids in the narrowest index that has room for them as they are.

    Integers are int64, past that uint64, past that Python's; floats are float64; text, truth values and times have
    pandas' own types; everything else, mixtures too, are objects. In a mixture a float below 2^53 that is a whole
    number becomes that integer, if there are integers at all.

    Args:
        ids: Anything iterable that has an order, with repeats or without, or a table of one column.
        where: What messages call the ids.

    Raises:
        DataError: An id cannot be hashed or is no Unicode, or they are no list, but a set, say.

    Example:
        >>> from jaxals.data.ids import as_index
        >>> [as_index(ids, "user ids").dtype.name for ids in ([1, 2.0], [2**63, 1], [1, 0.5], [0.5])]
        ['int64', 'uint64', 'object', 'float64']
    """
    if isinstance(ids, range):
        return pd.RangeIndex(ids.start, ids.stop, ids.step)
    if isinstance(ids, pd.DataFrame) and ids.shape[1] == 1:
        ids = ids.iloc[:, 0]
    if not hasattr(ids, "dtype") and (series := series_of_arrow(ids, f"The {where}")) is not None:
        ids = series
    if isinstance(ids, (str, bytes, Mapping, type, pd.DataFrame)) or not isinstance(ids, Iterable):
        raise DataError(f"The {where} must be a list of them; got {told(ids)}.")
    require_order(f"The {where}", ids)
    try:
        given = _as_pandas(ids) if hasattr(ids, "dtype") else None
        index = None if given is None else _of_index(given)
        return _of_objects(list(ids) if given is None else given.tolist()) if index is None else index
    except TypeError as error:
        raise DataError(f"The {where} must be hashable: {first_line(error)}.") from None
    except (ValueError, OverflowError) as error:  # text that is not Unicode, times out of bounds
        if isinstance(error, DataError):
            raise
        raise DataError(f"The {where} cannot be used: {first_line(error)}.") from None


def find(index: pd.Index, wanted: pd.Index) -> Int[np.ndarray, " wanted"]:
    """Return where each wanted id stands in an index, -1 where it does not.

    Both come from `as_index`. An integer and a float are one id where they are equal and below 2^53, past which
    a float may have been another integer; other kinds are never one: neither 1 and True, nor 1 and "1".

    Example:
        >>> from jaxals.data.ids import as_index, find
        >>> find(as_index([5, 9007199254740992], "ids"), as_index(["5", 5.0, 9007199254740993.0, True], "ids")).tolist()
        [-1, 0, -1, -1]
    """
    if index.dtype == object or wanted.dtype == index.dtype or not len(wanted):
        found = index.get_indexer(wanted if wanted.dtype == index.dtype else wanted.astype(object))
        if index.dtype == object:
            for place in np.flatnonzero(found >= 0).tolist():
                if kind_of(index[found[place]]) != kind_of(wanted[place]):
                    found[place] = -1
        return found
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)) and isinstance(wanted, type(index)):
        return index.get_indexer(wanted)  # of another unit
    found = np.full(len(wanted), -1)
    fitting = [(place, one) for place, raw in enumerate(wanted.tolist()) if (one := _fitted(raw, index)) is not None]
    if fitting:
        places, ids = zip(*fitting, strict=True)
        same_type = pd.Index(list(ids), dtype=index.dtype, tupleize_cols=False)
        found[list(places)] = index.get_indexer(same_type)
    return found


def extended(index: pd.Index, given: pd.Index) -> pd.Index:
    """Append the ids that an index has not, and change none of those that it has.

    Example:
        >>> from jaxals.data.ids import as_index, extended
        >>> extended(as_index([2**53 + 1], "ids"), as_index([7.0, 0.5], "ids")).tolist()
        [9007199254740993, 7, 0.5]
    """
    fresh = given[find(index, given) < 0]
    if fresh.empty or fresh.dtype == index.dtype:
        return index.append(fresh) if len(fresh) else index
    ids = [raw if (one := _fitted(raw, index)) is None else one for raw in fresh.tolist()]
    return as_index([*index.tolist(), *ids], "ids")


def require_apart(index: pd.Index, fresh: pd.Index, where: str) -> None:
    """Refuse ids that an index has not, but could not hold, for Python takes them for equal to some that it has.

    Example:
        >>> from jaxals.data.ids import as_index, require_apart
        >>> require_apart(as_index([1], "ids"), as_index([2, "1"], "ids"), "user ids")
    """
    if fresh.dtype == index.dtype and index.dtype != object:
        return
    twins = [(raw, twin) for raw in fresh.tolist() for twin in _twins(raw)]
    found = find(index, as_index([twin for _, twin in twins], where))
    if (found >= 0).any():
        raw, twin = twins[int(np.argmax(found >= 0))]
        raise DataError(f"The {where} must differ to Python, but the new {raw!r} equals {twin!r}; write them as text.")


def _twins(raw: Any) -> list[Any]:
    """Return numbers of other kinds that Python takes for equal to one."""
    if not isinstance(raw, (bool, int, float)) or not abs(raw) <= sys.float_info.max:
        return []
    return [twin for kind in (bool, int, float) if (twin := kind(raw)) == raw and kind_of(twin) != kind_of(raw)]


def factorize(column: pd.Series, where: str) -> tuple[Int[np.ndarray, " rows"], pd.Index]:
    """Number the raw ids of a column in sorted order: each row's index, and the ids by index.

    Args:
        column: The ids; categories, dictionaries and nullable types are read by value.
        where: What messages call the column.

    Raises:
        DataError: An id is missing, or was rounded to a float that may stand for several; the message names `where`.
    """
    column = without_arrow(column)
    if column.isna().any():
        raise DataError(f"The id in {where} is missing in row {int(np.argmax(column.isna()))}; drop or fill such rows.")
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, categories = column.cat.codes.to_numpy(), column.cat.categories
        present = np.flatnonzero(np.bincount(codes, minlength=len(categories)))
        ids, dtype = as_index(categories[present], f"ids in {where}"), categories.dtype
        codes = _inverse(present, len(categories))[codes]
    else:
        (codes, ids), dtype = _numbered(column, where), column.dtype
    if is_float_dtype(ids.dtype):
        _require_exact(ids, dtype, where)
    # Sorted ids: the order of the rows in a file then never changes what is trained.
    try:
        order = ids.argsort()
    except TypeError:
        order = np.array(sorted(range(len(ids)), key=lambda i: (type(ids[i]).__name__, str(ids[i]))))
    return _inverse(order, len(ids))[codes], ids[order]


def _numbered(column: pd.Series, where: str) -> tuple[np.ndarray, pd.Index]:
    values: Any = column.astype(np.float64) if column.dtype == np.float16 else column
    if column.dtype == object and infer_dtype(column, skipna=False).startswith("mixed"):
        values = as_index(column.tolist(), f"ids in {where}")
    try:
        codes, ids = pd.factorize(values)
    except (TypeError, ValueError, OverflowError) as error:  # unhashable, or text that is not Unicode
        raise DataError(f"The ids in {where} cannot be used: {first_line(error)}.") from None
    index = as_index(ids, f"ids in {where}")
    if isinstance(values, pd.Index) and values.dtype == object:
        firsts = index.tolist()
        kinds = list(map(kind_of, firsts))
        for raw, code in zip(values, codes.tolist(), strict=True):
            if kind_of(raw) != kinds[code]:
                raise DataError(
                    f"The ids in {where} hold {firsts[code]!r} and {raw!r}, of types {type(firsts[code]).__name__} and "
                    f"{type(raw).__name__}, which are equal to Python; write them as text."
                )
    return codes, index


def _require_exact(ids: pd.Index, dtype: Any, where: str) -> None:
    narrow = getattr(dtype, "numpy_dtype", dtype) if is_float_dtype(dtype) else np.dtype(np.float64)
    rounded = np.abs(ids) >= 2.0 ** (np.finfo(narrow).nmant + 1)
    if rounded.any():
        raise DataError(
            f"The ids in {where} are {narrow} and reach {ids[rounded][0]}, where one may stand for several integers; "
            "read them as integers or as text."
        )


def _inverse(order: np.ndarray, size: int) -> np.ndarray:
    place = np.empty(size, np.int64)
    place[order] = np.arange(len(order))
    return place


def _as_pandas(ids: Any) -> pd.Index:
    if isinstance(ids, np.ma.MaskedArray):
        return pd.Index(ids.tolist(), dtype=object, tupleize_cols=False)
    if not isinstance(ids, (pd.Index, pd.Series, pd.api.extensions.ExtensionArray)):
        ids = np.asarray(ids)
        ids = ids.astype(np.float64) if ids.dtype.kind == "f" else ids  # pandas has no index of half precision
        # Not pandas' own reading of objects, which makes floats of 1 and 0.5.
        ids = ids.tolist() if ids.dtype.kind in "OUSV" else ids
        return pd.Index(ids, dtype=object if isinstance(ids, list) else None, tupleize_cols=False)
    if isinstance(ids, pd.Series) and ids.dtype == np.float16:
        ids = ids.astype(np.float64)
    if isinstance(ids.dtype, pd.ArrowDtype):
        ids = without_arrow(pd.Series(ids))
    return ids if isinstance(ids, pd.Index) else pd.Index(ids, tupleize_cols=False)


def _of_index(index: pd.Index) -> pd.Index | None:
    """Convert an index by its type; None where it takes a look at each id."""
    dtype = index.dtype
    if isinstance(index, pd.RangeIndex) or (isinstance(dtype, np.dtype) and dtype in _TYPED) or _is_text(index):
        return index  # the very one, with the hash table that it may have
    if isinstance(index, pd.CategoricalIndex) and not index.hasnans:
        categories = as_index(index.categories, "ids")
        return categories[index.codes]
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)):
        return index
    if isinstance(dtype, pd.SparseDtype):
        return _of_index(pd.Index(np.asarray(index)))
    if isinstance(index, pd.MultiIndex) or index.hasnans:
        return None
    if is_bool_dtype(dtype):
        return pd.Index(index.to_numpy(bool))
    if is_unsigned_integer_dtype(dtype):
        wide = index.to_numpy(np.uint64)
        if not (wide > np.iinfo(np.int64).max).any():
            return pd.Index(wide.astype(np.int64))
        return index if dtype == np.uint64 else pd.Index(wide)
    if is_integer_dtype(dtype):
        return pd.Index(index.to_numpy(np.int64))
    return pd.Index(index.to_numpy(np.float64)) if is_float_dtype(dtype) else None


def _is_text(index: pd.Index) -> bool:
    # Arrow's and nullable text are other types, and become this one.
    return isinstance(index.dtype, pd.StringDtype) and index.dtype == pd.Index(["a"]).dtype and not index.hasnans


def _of_objects(values: list[Any]) -> pd.Index:
    array = np.fromiter(values, object, len(values))
    kind = infer_dtype(array, skipna=False)
    if kind.startswith("mixed"):
        values = [raw.as_py() if hasattr(raw, "as_py") else _plain(raw) for raw in values]  # Arrow's scalars, NumPy's
        if any(isinstance(raw, int) and not isinstance(raw, bool) for raw in values):
            values = [int(raw) if isinstance(raw, float) and _is_exact(raw) else raw for raw in values]
        array = np.fromiter(values, object, len(values))
        kind = infer_dtype(array, skipna=False)
    if kind in ("floating", "boolean"):
        return pd.Index(array.astype(np.float64 if kind == "floating" else bool))
    if kind == "integer":
        lowest, highest = min(values), max(values)
        for dtype in (np.int64, np.uint64):
            if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max:
                return pd.Index(array.astype(dtype))
    if kind == "string":
        return pd.Index(list(map(_plain, values)))
    if kind in ("datetime", "datetime64", "timedelta", "timedelta64", "period"):
        return pd.Index(values, tupleize_cols=False)
    array = np.fromiter(map(_plain, values), object, len(values))
    list(map(hash, array))  # pandas takes a single id for unique without hashing it
    return pd.Index(array, dtype=object, tupleize_cols=False)


def _plain(raw: Any) -> Any:
    """Turn NumPy's scalars into Python's, which can be saved, in tuples too."""
    if type(raw) is tuple:
        return tuple(map(_plain, raw))
    is_scalar = isinstance(raw, (np.bool_, np.number, np.str_, np.bytes_)) and not isinstance(raw, np.timedelta64)
    return raw.item() if is_scalar else raw


def _fitted(raw: Any, index: pd.Index) -> Any:
    """Return an id in the type of a typed index, None where it is of another kind or may have been rounded."""
    kind, dtype = kind_of(raw), index.dtype
    if is_bool_dtype(dtype):
        return raw if kind == "truth value" else None
    if is_integer_dtype(dtype) and kind == "number":
        raw = int(raw) if isinstance(raw, int) or _is_exact(raw) else None
        bounds = np.iinfo(np.uint64 if dtype == np.uint64 else np.int64)
        return raw if raw is not None and bounds.min <= raw <= bounds.max else None
    if is_float_dtype(dtype) and kind in ("number", "rounded number"):
        return float(raw) if isinstance(raw, float) or _is_exact(raw) else None
    if is_string_dtype(dtype):
        return raw if kind == "text" else None
    return None


def _is_exact(number: float) -> bool:
    return abs(number) < _EXACT and number == int(number)


def kind_of(raw: Any) -> Any:
    """Tell ids apart that Python takes for equal.

    Example:
        >>> from jaxals.data.ids import kind_of
        >>> True == 1, kind_of(True) == kind_of(1), kind_of(2.0**53) == kind_of(2**53)
        (True, False, False)
    """
    if isinstance(raw, frozenset):
        return frozenset((kind_of(one), one) for one in raw)
    if isinstance(raw, tuple):
        return tuple(map(kind_of, raw))
    if isinstance(raw, (bool, np.bool_)):
        return "truth value"
    if isinstance(raw, (float, np.floating)) and abs(float(raw)) >= _EXACT:
        return "rounded number"
    if isinstance(raw, (int, float, np.integer, np.floating)) and not isinstance(raw, np.timedelta64):
        return "number"
    if isinstance(raw, str):
        return "text"
    return datetime.datetime if isinstance(raw, datetime.datetime) else type(raw)
