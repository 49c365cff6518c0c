"""Answers as frames of the library that asks for them. Host side."""

from typing import Any, Literal

import pandas as pd

from jaxals._base.arguments import first_line
from jaxals._base.checks import require_one_of
from jaxals.errors import DataError, MissingDependencyError

Library = Literal["pandas", "polars", "pyarrow"]


def require_library(frame: Any) -> None:
    """Refuse anything but the name of a library of frames that is installed; before the answer is computed.

    Raises:
        ConfigurationError: It is none.
        MissingDependencyError: It is not installed.
    """
    require_one_of("frame", frame, "pandas", "polars", "pyarrow")
    if frame != "pandas":
        _libraries(frame)


def to_library(answer: pd.DataFrame, frame: Library) -> Any:
    """Turn a DataFrame into a frame of another library, its index left behind.

    Args:
        answer: What was asked for.
        frame: "pandas" leaves it as it is; "polars" makes a `polars.DataFrame`, "pyarrow" a `pyarrow.Table`.

    Raises:
        DataError: A column holds what the library has no type for, such as ids of several kinds.
        MissingDependencyError: The library, or pyarrow, is not installed.

    Example:
        >>> import pandas as pd
        >>> from jaxals.data.frames import to_library
        >>> to_library(pd.DataFrame({"item": ["Air", "Moby"], "rank": [1, 2]}), "pyarrow").column_names
        ['item', 'rank']
    """
    if frame == "pandas":
        return answer
    pyarrow, polars = _libraries(frame)
    try:
        table = pyarrow.Table.from_pandas(answer, preserve_index=False).replace_schema_metadata(None)
        return table if polars is None else polars.from_arrow(table)
    except Exception as error:  # each library has its own
        raise DataError(f'The answer has no form with `frame="{frame}"`: {first_line(error)}.') from None


def _libraries(frame: Library) -> tuple[Any, Any]:
    try:
        import pyarrow

        if frame == "pyarrow":
            return pyarrow, None
        import polars
    except ImportError:
        way = "pip install 'jaxals[parquet]'" if frame == "pyarrow" else "pip install polars 'jaxals[parquet]'"
        raise MissingDependencyError(f'`frame="{frame}"` needs more than pandas: {way}.') from None
    return pyarrow, polars
