"""What a table may be, and what may stand in its columns."""

import datetime
import decimal
import fractions
from typing import Any

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from jaxals import Catalog, Interactions
from jaxals.data.columns import as_moments, as_numbers
from jaxals.errors import ConfigurationError, DataError, MissingDependencyError, UnknownIdError
from jaxals.evaluation import strong_generalization, temporal_split

DAY = datetime.date(2020, 1, 2)
MASKED = np.ma.array([2, 3], mask=[False, True])


def objects(*values: Any) -> pd.Series:
    return pd.Series(np.fromiter(values, object, len(values)))


def triples(data: Interactions) -> list:
    return data.to_frame().to_numpy().tolist()


NUMBERS: dict[str, Any] = {
    "integers": [1, 2],
    "narrow": np.array([1, 2], np.int8),
    "unsigned": np.array([1, 2], np.uint64),
    "half": np.array([1, 2], np.float16),
    "bfloat16": jnp.array([1, 2], jnp.bfloat16),
    "truth values": np.array([True, True]) + np.array([0, 1]),
    "nullable": pd.array([1, 2], "Int64"),
    "nullable floats": pd.Series([1, 2], dtype="Float32"),
    "text": ["1", " 2.0 "],
    "pandas' text": pd.Series(["1", "2e0"]),
    "decimals": objects(decimal.Decimal(1), decimal.Decimal("2.0")),
    "fractions": objects(fractions.Fraction(1), fractions.Fraction(2)),
    "mixed": objects(True, "2"),
    "categories": pd.Categorical([1, 2]),
    "sparse": pd.arrays.SparseArray([1, 2]),
    "masked without a mask": np.ma.array([1, 2]),
}


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_taken(values):
    assert as_numbers(values, "`value`").tolist() == [1.0, 2.0]
    table = {"user": [0, 1], "item": [0, 1], "value": values}
    assert Interactions.from_frame(table).value.tolist() == [1.0, 2.0]


NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "dates": (pd.Series(pd.to_datetime(["2020-01-01", "NaT"])), "datetime64"),
    "zoned": (pd.Series(pd.to_datetime(["2020-01-01", "2020-01-01"], utc=True)), r"datetime64\[[un]s, UTC\]"),
    "numpy dates": (np.array(["2020-01-01", "NaT"], "M8[D]"), r"datetime64\[[Ds]\]"),
    "durations": (pd.Series(pd.to_timedelta(["1h", None])), "timedelta64"),
    "numpy durations": (np.array([1, 2], "m8[s]"), r"timedelta64\[s\]"),
    "complex": (np.array([1 + 0j, 2]), "complex128"),
    "periods": (pd.Series(pd.period_range("2020", periods=2, freq="D")), "period|Period"),
    "date objects": (objects(DAY, DAY), "of type date"),
    "moment objects": (objects(pd.Timestamp(DAY), 1), "of type Timestamp"),
    "duration objects": (objects(1, np.timedelta64(1, "s")), "of type timedelta64"),
    "complex objects": (objects(1, 1j), "of type complex"),
    "bytes": (objects(b"1", b"2"), "of type bytes"),
    "numpy bytes": (np.array([b"1", b"2"]), "S1|of type bytes"),
    "categories of dates": (pd.Series(pd.to_datetime(["2020-01-01"] * 2)).astype("category"), "datetime64"),
    "lists": (objects([1], [2]), "of type list"),
}


@pytest.mark.parametrize(("values", "kind"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_is_refused_with_its_column_and_type(values, kind):
    table = {"user": [0, 1], "item": [0, 1], "plays": values}
    with pytest.raises(DataError, match=f"Column 'plays' must be numbers; .*({kind})"):
        Interactions.from_frame(table, value="plays")
    with pytest.raises(DataError, match=f"`value` must be numbers; .*({kind})"):
        Interactions.from_arrays([0, 1], [0, 1], values)


def test_parquet_values_that_are_no_numbers_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"u": [1, 2], "i": [1, 2], "v": pd.to_datetime(["2020-01-01", "NaT"])})
    frame.to_parquet(tmp_path / "plays.parquet")
    with pytest.raises(DataError, match=r"Column 'v' of .*plays.parquet must be numbers; got datetime64"):
        Interactions.from_file(tmp_path / "plays.parquet", "u", "i", "v")


def test_complex_matrices_are_refused():
    with pytest.raises(DataError, match="entries of `matrix` must be numbers; got complex128"):
        Interactions.from_scipy(scipy.sparse.coo_array(np.array([[1 + 0j]])))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([1, None], "finite; entry 1 is nan"),
        ([1, pd.NA], "finite; entry 1 is nan"),
        (pd.array([1, None], "Int64"), "finite; entry 1 is nan"),
        (MASKED, "finite; entry 1 is nan"),
        ([1, -np.inf], "finite; entry 1 is -inf"),
        (["1", "inf"], "finite; entry 1 is inf"),
        (["1", "1_000"], "numbers; entry 1 is '1_000'"),
        (["1", "nan"], "numbers; entry 1 is 'nan'"),
        (["1", "12/31/2019"], "numbers; entry 1 is '12/31/2019'"),
        ([1, 10**400], "finite; entry 1 is inf"),
        (objects(decimal.Decimal(1), decimal.Decimal("NaN")), "finite; entry 1 is nan"),
    ],
)
def test_values_that_are_not_finite_are_refused(values, fault):
    with pytest.raises(DataError, match=f"`value` must be {fault}"):
        Interactions.from_arrays([0, 1], [0, 1], values)
    with pytest.raises(DataError, match=f"Column 'value' must be {fault}"):
        Interactions.from_frame({"user": [0, 1], "item": [0, 1], "value": values})


TIMES: dict[str, Any] = {
    "integers": [9, 10, 11],
    "past 2^53": [2**53, 2**53 + 1, 2**53 + 2],
    "text of integers": ["9", "10", "11"],
    "text past 2^53": [str(2**53 + more) for more in range(3)],
    "text of floats": ["9.5", "1e1", "11"],
    "days": ["2019-12-31", "2020-01-01", "2020-01-02"],
    "moments": ["2019-12-31 23:59:59", "2020-01-01T00:00:00.5", "2020-01-02"],
    "zones": ["2020-01-01T01:00:00+02:00", "2020-01-01T00:30:00Z", "2020-01-01T00:00:00-0100"],
    "dates": [DAY, DAY + datetime.timedelta(1), DAY + datetime.timedelta(2)],
    "datetimes": pd.to_datetime(["2019-12-31", "2020-01-01", "2020-01-02"]),
    "durations": pd.to_timedelta(["9s", "10s", "11s"]),
    "categories": pd.Categorical(["9", "10", "11"], ["10", "11", "9"]),
    "ordered categories": pd.Categorical(["mon", "tue", "wed"], ["mon", "tue", "wed"], ordered=True),
    "nullable": pd.array([2**53, 2**53 + 1, 2**53 + 2], "Int64"),
    "decimals": [decimal.Decimal(9), decimal.Decimal(10), decimal.Decimal(11)],
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_times_sort_as_times(times):
    moments = as_moments(pd.Series(times), "column 'time'")
    assert moments.iloc[[2, 0, 1]].sort_values().index.tolist() == [0, 1, 2]
    events = pd.DataFrame({"user": ["ann", "bob", "ann"], "item": [0, 1, 1], "time": times})
    split = temporal_split(events.iloc[[2, 0, 1]], fraction=0.3)
    assert triples(split.train) == [["ann", 0, 1.0], ["bob", 1, 1.0]]
    assert triples(split.test) == [["ann", 1, 1.0]]


NO_TIMES: dict[str, tuple[Any, str]] = {
    "american": (["12/31/2019", "9"], "text such as '12/31/2019'"),
    "german": (["31.12.2019", "1.1.2020"], "text such as '31.12.2019'"),
    "words": (["now", "today"], "text such as 'now'"),
    "numbers and days": (["9", "2019-12-31"], "text such as '9'"),
    "with and without a zone": (["2020-01-01T00:00", "2020-01-01T00:00Z"], "text such as"),
    "no such day": (["2019-02-30", "2019-02-28"], "text such as '2019-02-30'"),
    "underscores": (["1_0", "9"], "text such as '1_0'"),
    "text and numbers": (objects("9", 10), "int and str"),
    "dates and numbers": (objects(DAY, 10), "date and int|int and date"),
    "days and moments": (objects(DAY, datetime.datetime(2020, 1, 1)), "date and datetime"),
    "naive and aware": (objects(pd.Timestamp(0), pd.Timestamp(0, tz="UTC")), "Timestamp"),
    "complex": ([1j, 2j], "complex"),
    "bytes": (objects(b"9", b"10"), "bytes"),
    "truth values": ([True, False], "bool"),
    "times of day": ([datetime.time(23), datetime.time(1)], "time, which"),
    "lists": (objects([1], "a"), "list and str"),
}


@pytest.mark.parametrize(("times", "kind"), NO_TIMES.values(), ids=NO_TIMES)
def test_times_without_a_sure_order_are_refused_with_their_column_and_type(times, kind):
    events = {"user": ["ann", "ann"], "item": [0, 1], "when": times}
    with pytest.raises(DataError, match=f"The times in column 'when' are .*({kind})"):
        temporal_split(events, time="when")


ROWS: dict[str, Any] = {"user": ["ann", "bob", "ann"], "item": [1, 2, 2], "value": [3, 4, 5]}
EXPECTED = [["ann", 1, 3.0], ["ann", 2, 5.0], ["bob", 2, 4.0]]


class Polars:
    """A table that is known by how it hands its columns over."""

    def __init__(self, **columns: Any):
        self._table = pytest.importorskip("pyarrow").table(columns)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


TABLES: dict[str, Any] = {
    "dictionary of lists": lambda: ROWS,
    "dictionary of arrays": lambda: {name: np.array(column) for name, column in ROWS.items()},
    "dictionary of arrow": lambda: {name: pytest.importorskip("pyarrow").array(c) for name, c in ROWS.items()},
    "dictionary of chunks": lambda: dict(zip(ROWS, Polars(**ROWS)._table.columns, strict=True)),
    "dictionary of indexes": lambda: {name: pd.Index(column) for name, column in ROWS.items()},
    "arrow": lambda: Polars(**ROWS)._table,
    "polars": lambda: Polars(**ROWS, other=[None, 1, [2]][:1] * 3),
    "index": lambda: pd.DataFrame(ROWS).groupby(["user", "item"]).sum(),
    "part of an index": lambda: pd.DataFrame(ROWS).set_index("user"),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_are_taken(make):
    assert triples(Interactions.from_frame(make())) == EXPECTED


def test_splits_take_tables_too():
    table = Polars(user=[1, 1, 2], item=[1, 2, 2], time=[1, 3, 2])
    assert triples(temporal_split(table, 0.3).test) == [[1, 2, 1.0]]
    pairs = Polars(user=np.repeat(range(9), 6), item=np.tile(range(6), 9))
    assert strong_generalization(pairs, 2)[0].train.shape == (9, 6)


def test_parquet_ids_may_lie_in_the_index(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame(ROWS).groupby(["user", "item"]).sum().to_parquet(tmp_path / "plays.parquet")
    assert triples(Interactions.from_file(tmp_path / "plays.parquet")) == EXPECTED


@pytest.mark.parametrize("table", [[1, 2], None, "plays.csv", np.eye(3), pd.Series([1]), [{"user": 1}, 2], {1, 2}])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(
        DataError, match=r"The data must be a DataFrame, a dictionary of columns,.* or a table of polars"
    ):
        Interactions.from_frame(table)
    with pytest.raises(DataError, match="The data must be a DataFrame"):
        temporal_split(table)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item": [1]}, "columns of the data must be of one length; there are 3 in 'user', 1 in 'item'"),
        ({"item": "abc"}, "Column 'item' of the data must be a list or an array; got str"),
        ({"item": 5}, "Column 'item' of the data must be a list or an array; got int"),
        ({"item": np.eye(3)}, r"Column 'item' of the data must be 1-D; got shape \(3, 3\)"),
        ({"item": [[1], [2], [3]]}, "The ids in column 'item' must be hashable: unhashable type"),
        ({"item": [1, None, 3]}, "The id in column 'item' is missing in row 1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        Interactions.from_frame({**ROWS, **changed})


@pytest.mark.parametrize("make", [lambda: ROWS, lambda: pd.DataFrame(ROWS), lambda: Polars(**ROWS)])
@pytest.mark.parametrize("name", ["plays", None, ["user"], np.array(["user"]), 5])
def test_columns_that_are_not_there_are_refused(make, name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(DataError, match=r"The data has no column .*; its columns are \['user', 'item', 'value'\]"):
        Interactions.from_frame(make(), user=name)


def test_columns_that_are_there_twice_are_refused():
    twice = Polars(**ROWS)
    twice._table = twice._table.append_column("user", twice._table["user"])
    for table in (twice, pd.DataFrame({"value": [1]}, index=pd.MultiIndex.from_arrays([[1], [2]], names=["user"] * 2))):
        with pytest.raises(DataError, match="The data has more than one column 'user'"):
            Interactions.from_frame(table, item="value", value=None)


def test_arrow_without_pyarrow_is_named(monkeypatch):
    import sys

    table = Polars(**ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[parquet\]'"):
        Interactions.from_frame(table)


class TestSharedCatalog:
    train = Interactions.from_frame(pd.DataFrame(ROWS))

    def test_two_tables_share_a_catalog(self):
        later = {"user": ["bob", "ann"], "item": pd.Series([1, 1.0]), "value": [7, 8]}
        data = Interactions.from_frame(later, catalog=self.train.catalog)
        assert data.catalog is self.train.catalog
        assert triples(data) == [["ann", 1, 8.0], ["bob", 1, 7.0]]

    def test_unknown_ids_are_an_error_or_dropped(self, tmp_path):
        later = {"user": ["bob", "eve", "ann"], "item": [1, 1, 9], "value": [7, 8, 9]}
        pd.DataFrame(later).to_csv(tmp_path / "later.csv", index=False)
        read = [
            lambda **given: Interactions.from_frame(later, catalog=self.train.catalog, **given),
            lambda **given: Interactions.from_file(tmp_path / "later.csv", catalog=self.train.catalog, **given),
        ]
        for one in read:
            with pytest.raises(UnknownIdError, match="There is no user 'eve' in the catalog of 2 users"):
                one()
            assert triples(one(unknown="drop")) == [["bob", 1, 7.0]]

    def test_a_catalog_of_integers_is_not_one_of_text(self):
        with pytest.raises(UnknownIdError, match="There is no item '1'"):
            Interactions.from_frame({**ROWS, "item": ["1", "2", "2"]}, catalog=self.train.catalog)

    def test_nothing_known(self):
        with pytest.raises(DataError, match="There are no interactions"):
            Interactions.from_frame({**ROWS, "user": [1, 2, 3]}, catalog=self.train.catalog, unknown="drop")

    def test_wrong_settings_are_named(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
        wrong: Any = "keep"
        with pytest.raises(ConfigurationError, match='`unknown` must be "error" or "drop"'):
            Interactions.from_frame(ROWS, catalog=self.train.catalog, unknown=wrong)
        no_catalog: Any = self.train
        with pytest.raises(DataError, match="`catalog` must be a Catalog"):
            Interactions.from_frame(ROWS, catalog=no_catalog)
        assert isinstance(self.train.catalog, Catalog)
