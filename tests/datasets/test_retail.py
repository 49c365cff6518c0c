from pathlib import Path

import pandas as pd
import pytest

from jaxals import datasets
from jaxals.errors import DataError


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"CustomerID": [1.5]}, "Column 'CustomerID' of .* must hold integers"),
        ({"CustomerID": ["x"]}, "Column 'CustomerID' of .* must be numbers; entry 0 is 'x'"),
        ({"CustomerID": [2.0**53]}, "Column 'CustomerID' of .* must hold integers"),
        ({"Quantity": ["many"]}, r"Column 'Quantity' of .* must be numbers; entry 0 is 'many'"),
        ({"Quantity": pd.to_datetime(["2020-01-01"])}, "Column 'Quantity' of .* must be numbers; got datetime64"),
    ],
)
def test_online_retail_of_other_types(changed: dict, message: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    whole: dict = {"StockCode": ["a"], "Description": ["A"], "Quantity": [1], "CustomerID": [1.0]}
    pd.DataFrame({**whole, **changed}).to_parquet(tmp_path / "online_retail_uci.parquet")
    with pytest.raises(DataError, match=message):
        datasets.load("online-retail", tmp_path)
