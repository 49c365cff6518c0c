"""Tables that are computed when asked for: of polars and narwhals, of dask, and Arrow's data sets. Host side."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from jaxals._base.arguments import first_line
from jaxals.errors import DataError


def computed(
    data: Any, wanted: Mapping[str, Hashable], where: str, require: Callable[[list[Any], Mapping, str], None]
) -> Any:
    """Compute the wanted columns of a table that is still a plan; whatever else it is passes.

    Args:
        data: The table.
        wanted: Names of columns, by what each is for.
        where: What messages call the table.
        require: Refuses a table whose columns are not the wanted ones, before anything is computed.

    Raises:
        DataError: Computing it failed.
    """
    names = list(wanted.values())
    try:
        if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # LazyFrame of polars, of narwhals
            require(data.collect_schema().names(), wanted, where)
            return data.select(names).collect()
        if hasattr(data, "compute") and hasattr(data, "columns"):  # dask
            require(list(data.columns), wanted, where)
            return data[names].compute()
        if hasattr(data, "to_table") and hasattr(data, "schema"):  # Dataset of Arrow: a folder of Parquet, say
            require(data.schema.names, wanted, where)
            return data.to_table(columns=names)
    except DataError:
        raise
    except Exception as error:  # whatever the plan ran into: a file, a network, an expression
        raise DataError(f"{where} cannot be computed: {first_line(error)}.") from None
    return data
