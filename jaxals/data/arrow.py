"""Columns of Arrow as pandas has them, with every integer exact and every dictionary read. Host side."""

from typing import Any

import pandas as pd

from jaxals._base.arguments import first_line
from jaxals.errors import DataError, MissingDependencyError


def read_arrow(kind: str, data: Any, what: str) -> Any:
    """Read what another library hands over as Arrow does: polars, DuckDB, pyarrow itself.

    Args:
        kind: What pyarrow is to make of it: a "table", "array" or "chunked_array".
        data: It.
        what: What messages call it.

    Raises:
        DataError: It is none.
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingDependencyError("Reading what Arrow holds needs pyarrow: pip install 'jaxals[parquet]'.") from None
    try:
        return getattr(pyarrow, kind)(data)
    except Exception as error:  # those of whoever computes it, too, such as DuckDB
        raise DataError(f"{what} cannot be read as Arrow's: {first_line(error)}.") from None


def series_of_arrow(values: Any, what: str) -> pd.Series | None:
    """Turn an array of Arrow, a column of polars, or a table of one column, into a Series; None where it is neither.

    Raises:
        DataError: It cannot be read as one column.
        MissingDependencyError: pyarrow is not installed.
    """
    if isinstance(values, (pd.Series, pd.DataFrame)):
        return None
    if hasattr(values, "__arrow_c_stream__"):
        return to_series(_only_column(read_arrow("chunked_array", values, what), what))
    return to_series(read_arrow("array", values, what)) if hasattr(values, "__arrow_c_array__") else None


def _only_column(column: Any, what: str) -> Any:
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return column
    if column.type.num_fields != 1:
        names = ", ".join(field.name for field in column.type)
        raise DataError(f"{what} must be one column; got a table of {column.type.num_fields}: {names}.")
    return column.flatten()[0] if isinstance(column, pyarrow.ChunkedArray) else column.field(0)


def to_series(column: Any) -> pd.Series:
    """Turn a column of Arrow into a Series; integers beside missing ones stay integers, as pandas' nullable types.

    Args:
        column: A `pyarrow.ChunkedArray`.

    Returns:
        Dictionaries as categories, UUIDs and the like as Python objects, and the rest as pyarrow turns it.
    """
    import pyarrow

    if isinstance(column.type, pyarrow.BaseExtensionType):
        return pd.Series(column.to_pylist(), dtype=object)
    sizes = (8, 16, 32, 64)
    nullable = {getattr(pyarrow, f"int{bits}")(): getattr(pd, f"Int{bits}Dtype")() for bits in sizes}
    nullable |= {getattr(pyarrow, f"uint{bits}")(): getattr(pd, f"UInt{bits}Dtype")() for bits in sizes}
    nullable[pyarrow.bool_()] = pd.BooleanDtype()
    mapper = nullable.get if column.null_count else None
    if pyarrow.types.is_dictionary(column.type):
        try:
            return column.to_pandas()
        except ValueError:  # the dictionary itself has a missing or a repeated entry
            return to_series(column.cast(column.type.value_type))
    return column.to_pandas(types_mapper=mapper)


def without_arrow(column: pd.Series) -> pd.Series:
    """Turn a Series of an Arrow type into one of pandas' or NumPy's; others pass."""
    if not isinstance(column.dtype, pd.ArrowDtype):
        return column
    return to_series(column.array.__arrow_array__()).set_axis(column.index)
