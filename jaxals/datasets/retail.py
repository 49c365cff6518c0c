"""UCI Online Retail: what customers of a gift wholesaler bought, from the workbook or a Parquet copy. Host side."""

from pathlib import Path

import numpy as np
import pandas as pd

from jaxals._base.arguments import first_line
from jaxals.data.columns import as_numbers, require_finite_numbers
from jaxals.data.interactions import Interactions
from jaxals.datasets.labels import with_names
from jaxals.datasets.registry import IdKind
from jaxals.errors import DataError, MissingDependencyError

_COLUMNS = ["StockCode", "Description", "Quantity", "CustomerID"]


def read_retail(path: Path, ids: IdKind) -> Interactions:
    """Read how many units of each product a customer bought and kept.

    Rows without a customer or a stock code are dropped and quantities summed per customer and product; a sum of 0
    (bought and sent back) becomes 1, since it was chosen once, and a sum below 0 (sent back only) is dropped.

    Args:
        path: `Online Retail.xlsx` or a Parquet file with the workbook's columns.
        ids: Products by "names" (the most frequent description of each stock code, and the code where two products
            share one), or by "raw" stock codes.

    Returns:
        Units of customers (integers) x products.

    Raises:
        MissingDependencyError: openpyxl, or pyarrow for a Parquet file, is not installed.
        DataError: The file lacks a column, or a customer or a quantity is no number.
    """
    rows = _rows(path)
    rows = rows[rows["CustomerID"].notna() & rows["StockCode"].notna()].astype({"StockCode": str})
    numbers = {name: as_numbers(rows[name], f"Column {name!r} of {path}") for name in ("CustomerID", "Quantity")}
    for name, column in numbers.items():
        require_finite_numbers(column, rows[name], f"Column {name!r} of {path}")
    # The workbook has them as floats, for some are missing.
    if (numbers["CustomerID"] % 1 != 0).any() or np.abs(numbers["CustomerID"]).max(initial=0) >= 2**53:
        raise DataError(f"Column 'CustomerID' of {path} must hold integers.")
    rows = rows.assign(CustomerID=numbers["CustomerID"].astype(np.int64), Quantity=numbers["Quantity"])
    bought = rows.groupby(["CustomerID", "StockCode"], as_index=False)["Quantity"].sum()
    bought["Quantity"] = bought["Quantity"].replace(0, 1)
    data = Interactions.from_frame(bought[bought["Quantity"] > 0], "CustomerID", "StockCode", "Quantity")
    return data if ids == "raw" else with_names(data, _descriptions(rows))


def _rows(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path, columns=_COLUMNS)
        return pd.read_excel(path, usecols=_COLUMNS, dtype={"StockCode": str, "Description": str})
    except ImportError:
        package, extra = ("pyarrow", "parquet") if path.suffix == ".parquet" else ("openpyxl", "excel")
        raise MissingDependencyError(f"Reading {path.name} needs {package}: pip install 'jaxals[{extra}]'.") from None
    except (ValueError, OSError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as Online Retail with columns {_COLUMNS}: {first_line(error)}."
        ) from None


def _descriptions(rows: pd.DataFrame) -> dict:
    described = rows[rows["Description"].notna()]
    counts = described.groupby(["StockCode", described["Description"].str.strip()]).size()
    # Stable, on an index that groupby sorted: of two equally frequent descriptions the first by alphabet wins.
    most_frequent_first = counts.sort_values(ascending=False, kind="stable").reset_index()
    first = most_frequent_first.drop_duplicates("StockCode")
    return dict(zip(first["StockCode"], first["Description"], strict=True))
