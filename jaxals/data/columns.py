"""Columns of whatever holds a table, and what may stand in them: numbers, and moments in time. Host side."""

import contextlib
import decimal
import fractions
import itertools
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from pandas.api.types import infer_dtype

from jaxals._base.arguments import first_line, require_order, told, told_label
from jaxals.data.arrow import read_arrow, series_of_arrow, to_series, without_arrow
from jaxals.data.lazy import computed
from jaxals.errors import DataError

_ISO = re.compile(
    r"\d{4}-\d\d(?:-\d\d)?(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)
# Columns that a message names.
_MOST_LISTED = 20
_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating, decimal.Decimal, fractions.Fraction, str)


def as_frame(data: Any, wanted: Mapping[str, Hashable], where: str = "The data") -> pd.DataFrame:
    """Return the wanted columns of a table as a DataFrame.

    Args:
        data: A DataFrame, whose named index counts as columns where no column has the name; a mapping of names to
            columns; a list of such mappings of names to values, one for each row; a structured array; what hands its
            columns over as Arrow does (polars, pyarrow, DuckDB); or what is computed when asked for (LazyFrames, dask).
        wanted: Names of columns, by what each is for.
        where: What messages call the table.

    Raises:
        DataError: It is something else, a column is missing or there twice, or columns differ in length.
        MissingDependencyError: The table is Arrow's, and pyarrow is not installed.

    Example:
        >>> from jaxals.data.columns import as_frame
        >>> as_frame({"who": ["ann", "bob"], "item": [1, 2]}, {"user": "who", "item": "item"}).shape
        (2, 2)
    """
    names = list(wanted.values())
    data = computed(data, wanted, where, require_columns)
    if isinstance(data, pd.DataFrame):
        present = [*data.columns]
        named = [level for level in data.index.names if level is not None and data.columns.nlevels == 1]
        levels = [level for level in named if _count(names, level) and not _count(present, level)]
        require_columns([*present, *levels], wanted, where)
        return data.reset_index(level=levels) if levels else data
    if isinstance(data, Mapping):
        require_columns(list(data), wanted, where)
        columns = {name: _column(data[name], name) for name in names}
    elif hasattr(data, "__arrow_c_stream__") and not isinstance(data, pd.Series):
        table = read_arrow("table", data, where)
        require_columns(table.column_names, wanted, where)
        columns = {name: to_series(table[name]) for name in names}
    elif isinstance(data, np.ndarray) and data.dtype.names is not None and data.ndim == 1:
        require_columns(data.dtype.names, wanted, where)
        columns = {name: _column(data[str(name)], name) for name in names}
    elif isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        require_columns(list(data[0]), wanted, where)
        columns = {name: _column([row.get(name) for row in data], name) for name in names}
    else:
        raise DataError(
            f"{where} must be a DataFrame, a dictionary of columns, a list of dictionaries, or a table of polars or "
            f"Arrow; got {told(data)}."
        )
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} in {name!r}" for name, column in columns.items())
        raise DataError(f"The columns of the data must be of one length; there are {lengths}.")
    return pd.DataFrame(columns)


def columns_by_role(**columns: Hashable | None) -> dict[str, Hashable]:
    """Return which column has which role, without that of the values where it is None.

    Raises:
        DataError: One column has two roles, such as users that are the values, too.

    Example:
        >>> from jaxals.data.columns import columns_by_role
        >>> columns_by_role(user="who", item="what", value=None)
        {'user': 'who', 'item': 'what'}
    """
    roles = {role: column for role, column in columns.items() if role != "value" or column is not None}
    for (first, column), (second, other) in itertools.combinations(roles.items(), 2):
        if _is_same(column, other):
            raise DataError(f"`{first}` and `{second}` must be two columns; got {told_label(column)} for both.")
    return roles


def require_columns(present: Sequence[Any], wanted: Mapping[str, Hashable], where: str) -> None:
    """Refuse a table, described by `where`, that has not each wanted column, by role, once."""
    for role, column in wanted.items():
        count = _count(present, column)
        if not count:
            way = f"name the column by `{role}`" + (", or pass `value=None` to count rows" if role == "value" else "")
            raise DataError(f"{where} has no column {told_label(column)}; its columns are {_listed(present)}; {way}.")
        if count > 1:
            raise DataError(
                f"{where} has more than one column {told_label(column)}; its columns are {_listed(present)}."
            )


def _listed(present: Sequence[Any]) -> str:
    shown = [told_label(one) for one in present[:_MOST_LISTED]] + ["..."] * (len(present) > _MOST_LISTED)
    return f"[{', '.join(shown)}]"


def as_numbers(values: Any, where: str) -> Float[np.ndarray, " rows"]:
    """Read values as floating-point numbers; what is missing, and text that is no number, becomes NaN.

    Integers, floats, truth values (1 and 0), decimals and fractions are numbers, and so is text of one. Dates,
    durations, complex numbers and bytes are not, though NumPy converts some of them.

    Args:
        values: A Series or anything that NumPy makes a 1-D array of.
        where: What messages call them.

    Raises:
        DataError: A value is none of these, or the array is not 1-D.

    Example:
        >>> from jaxals.data.columns import as_numbers
        >>> as_numbers(["3", 1.5, True, None], "`value`").tolist()
        [3.0, 1.5, 1.0, nan]
    """
    array = _as_array(values, where)
    if array.ndim != 1:
        raise DataError(f"{where} must be a 1-D array; got shape {array.shape}.")
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind in "biu" or jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float64)
    if array.dtype.kind not in "OUT":
        raise DataError(f"{where} must be numbers; got {array.dtype}.")
    objects = array.astype(object)
    if infer_dtype(objects, skipna=False) in ("integer", "floating", "mixed-integer-float", "boolean"):
        with contextlib.suppress(OverflowError):
            return objects.astype(np.float64)
    missing = pd.isna(objects)
    for row in np.flatnonzero(~missing):
        raw = objects[row]
        if not isinstance(raw, _NUMBERS) or isinstance(raw, np.timedelta64):
            raise DataError(f"{where} must be numbers; entry {row} is {told_label(raw)}, of type {type(raw).__name__}.")
    return np.array([np.nan if is_missing else _number(raw) for raw, is_missing in zip(objects, missing, strict=True)])


def require_finite_numbers(numbers: Float[np.ndarray, " rows"], values: Any, where: str) -> None:
    """Refuse numbers that are not finite, by what stands in their place in the values that they were read from."""
    if not (finite := np.isfinite(numbers)).all():
        row = int(np.argmin(finite))
        what, shown = "finite", numbers[row]
        if isinstance(raw := list(values)[row], str) and np.isnan(numbers[row]):
            what, shown = "numbers", repr(raw)
        raise DataError(f"{where} must be {what}; entry {row} is {shown}.")


def as_moments(column: pd.Series, where: str) -> pd.Series:
    """Read a column of times as what sorts by time: numbers, dates and times, or text of either.

    Text is read if all of it is numbers, or all of it ISO 8601 (2019-12-31, 2019-12-31T23:59:59+01:00), all with a
    time zone or all without; as text, "9" would come after "12/31/2019". Ordered categories go by their order.

    Args:
        column: The times, none missing.
        where: What messages call the column.

    Raises:
        DataError: A time is missing, is text of another form, or cannot be compared with the others.

    Example:
        >>> import pandas as pd
        >>> from jaxals.data.columns import as_moments
        >>> as_moments(pd.Series(["10", "9"]), "column 'time'").tolist()
        [10, 9]
    """
    column = without_arrow(column)
    if column.isna().any():
        raise DataError(f"The time in {where} is missing in row {int(np.argmax(column.isna()))}; drop such rows.")
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.cat.ordered:
            return column.cat.codes
        column = column.astype(column.cat.categories.dtype)
    kind = infer_dtype(column, skipna=False)
    if kind in ("string", "empty"):
        return _moments_of_text(column, where)
    if kind in ("complex", "bytes", "boolean", "mixed-integer", "time"):  # a time of day is of any day
        raise DataError(f"The times in {where} are {_types(column)}, which have no order in time.")
    try:
        if column.dtype == object:
            column.sort_values()
    except (TypeError, ValueError):
        raise DataError(
            f"The times in {where} are of types that cannot be compared, {_types(column)}; make them all one type."
        ) from None
    return column


def _moments_of_text(column: pd.Series, where: str) -> pd.Series:
    texts = column.astype(object)
    for dtype in (np.int64, np.float64):
        with contextlib.suppress(ValueError, OverflowError):
            numbers = texts.to_numpy().astype(dtype)
            if np.isfinite(numbers).all() and not texts.str.contains("_").any():
                return pd.Series(numbers, column.index)
    zones = {match and match["zone"] is not None for match in map(_ISO.fullmatch, texts)}
    if len(zones) == 1 and None not in zones:  # of those without a time zone among those with one nobody knows it
        with contextlib.suppress(ValueError, OverflowError):
            return pd.to_datetime(column, format="ISO8601", utc=True)
    raise DataError(
        f"The times in {where} are text such as {column.iloc[0]!r}, whose order in time is not sure; pass numbers, "
        "datetimes, or text like 2019-12-31."
    )


def _types(column: pd.Series) -> str:
    if column.dtype != object:
        return str(column.dtype)
    return " and ".join(sorted({type(raw).__name__ for raw in column})[:4])


def _count(present: Sequence[Any], wanted: Hashable) -> int:
    return sum(_is_same(one, wanted) for one in present)


def _is_same(one: Any, other: Any) -> bool:
    try:
        return isinstance(other, Hashable) and bool(one == other)
    except Exception:  # labels may be anything: arrays, missing values, frames of other libraries with errors of theirs
        return False


def _column(values: Any, name: Hashable) -> pd.Series:
    what = f"Column {name!r} of the data"
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if isinstance(values, (pd.Index, pd.api.extensions.ExtensionArray)):
        return pd.Series(values)
    if (series := series_of_arrow(values, what)) is not None:
        return series
    require_order(what, values)
    if isinstance(values, (str, bytes, Mapping)) or not (hasattr(values, "__iter__") or hasattr(values, "__array__")):
        raise DataError(f"{what} must be a list or an array; got {type(values).__name__}.")
    if hasattr(values, "__array__") and not isinstance(values, np.ma.MaskedArray):
        array = np.asarray(values)
        if array.ndim != 1:
            raise DataError(f"{what} must be 1-D; got shape {array.shape}.")
        return pd.Series(array)
    # Objects: pandas would make floats of an integer and a missing one.
    values = values.tolist() if isinstance(values, np.ma.MaskedArray) else list(values)
    return pd.Series(np.fromiter(values, object, len(values)), dtype=object)


def _as_array(values: Any, where: str) -> np.ndarray:
    if isinstance(values, pd.MultiIndex):
        raise DataError(f"{where} must be a 1-D array; got a MultiIndex.")
    if isinstance(values, np.ma.MaskedArray):
        values = values.tolist() if np.ma.is_masked(values) else values.data
    if isinstance(values, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        values = without_arrow(pd.Series(values))
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        if values.dtype.kind in "mMc":
            raise DataError(f"{where} must be numbers; got {values.dtype}.")
        if values.dtype.kind in "biuf" and not isinstance(values.dtype, (np.dtype, pd.SparseDtype)):
            return values.to_numpy(np.float64, na_value=np.nan)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:  # lists in lists, of several lengths
        raise DataError(f"{where} must be a 1-D array: {first_line(error)}.") from None


def _number(raw: Any) -> float:
    try:
        return np.nan if isinstance(raw, str) and "_" in raw else float(raw)
    except OverflowError:
        return np.inf
    except ValueError:
        return np.nan
