"""Tables of other libraries, on the way in and on the way out."""

import datetime
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import jaxals
from jaxals._base.arguments import told
from jaxals.data.columns import as_frame
from jaxals.data.ids import as_index
from jaxals.errors import DataError, MissingDependencyError
from jaxals.evaluation import Popularity, recommend_with, temporal_split

pyarrow = pytest.importorskip("pyarrow")
BIG = 2**53 + 1
COLUMNS: dict[str, list] = {"user": ["eve", "ann", "ann", "eve"], "item": [BIG, 7, BIG, 7], "plays": [4, 1, 2, 3]}
WANTED = [["ann", 7, 1.0], ["ann", BIG, 2.0], ["eve", 7, 3.0], ["eve", BIG, 4.0]]
DATA = jaxals.Interactions.from_frame(COLUMNS, value="plays")
MODEL = jaxals.Recommender(jaxals.Factors(jnp.ones((2, 2)), jnp.array([[1.0, 0.0], [0.5, 0.0]])), DATA)


class Plan:
    """What dask makes: columns that are computed when someone asks for them."""

    def __init__(self, frame: pd.DataFrame, asked: list):
        self.columns, self._frame, self._asked = frame.columns, frame, asked

    def __getitem__(self, names: list) -> "Plan":
        self._asked.append(names)
        return Plan(self._frame[names], self._asked)

    def compute(self) -> pd.DataFrame:
        return self._frame


def _dask() -> Any:
    return pytest.importorskip("dask.dataframe").from_pandas(pd.DataFrame(COLUMNS), npartitions=2)


def _duckdb() -> Any:
    table = pyarrow.table(COLUMNS)
    return pytest.importorskip("duckdb").connect().from_arrow(table)


def _narwhals() -> Any:
    return pytest.importorskip("narwhals").from_native(pd.DataFrame(COLUMNS)).lazy()


def _dataset() -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(pyarrow.table(COLUMNS))


TABLES: dict[str, Any] = {
    "polars": lambda: pytest.importorskip("polars").DataFrame(COLUMNS),
    "lazy polars": lambda: pytest.importorskip("polars").DataFrame(COLUMNS).lazy(),
    "pyarrow": lambda: pyarrow.table(COLUMNS),
    "batch": lambda: pyarrow.RecordBatch.from_pydict(COLUMNS),
    "reader": lambda: pyarrow.table(COLUMNS).to_reader(),
    "dataset": _dataset,
    "duckdb": _duckdb,
    "dask": _dask,
    "narwhals": _narwhals,
    "plan": lambda: Plan(pd.DataFrame(COLUMNS), []),
    "rows": lambda: pd.DataFrame(COLUMNS).to_dict("records"),
    "records": lambda: pd.DataFrame(COLUMNS).to_records(index=False),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_of_any_library_are_read_exactly(make):
    assert jaxals.Interactions.from_frame(make(), value="plays").to_frame().to_numpy().tolist() == WANTED
    assert temporal_split(make(), 0.25, time="plays").test.to_frame().to_numpy().tolist() == [["eve", BIG, 1.0]]
    with pytest.raises(DataError, match=r"The data has no column 'who'; its columns are \['user', 'item', 'plays'\]"):
        jaxals.Interactions.from_frame(make(), user="who", value=None)


def test_of_a_plan_only_what_is_named_is_computed():
    asked: list = []
    plan = Plan(pd.DataFrame(COLUMNS).assign(text="long"), asked)
    jaxals.Interactions.from_frame(plan, value="plays")
    assert asked == [["user", "item", "plays"]]


def test_what_a_plan_runs_into_is_one_sentence_of_ours():
    class Broken(Plan):
        def __getitem__(self, names):
            raise RuntimeError("The worker died.\nTraceback: ...")

    with pytest.raises(DataError, match=r"^The data cannot be computed: The worker died\.$"):
        jaxals.Interactions.from_frame(Broken(pd.DataFrame(COLUMNS), []), value="plays")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            raise RuntimeError("Conversion Error: no number")

    for read in (as_index, lambda stream, _: as_frame(stream, {"user": "user"})):
        with pytest.raises(DataError, match="cannot be read as Arrow's: Conversion Error: no number"):
            read(Stream(), "user ids")


def test_a_name_that_cannot_be_compared_is_no_column():
    class Frame:  # of polars: a comparison with text is an expression that fails
        def __eq__(self, other):
            raise RuntimeError("cannot compare string with numeric type")

        def __hash__(self):
            return 0

    with pytest.raises(DataError, match="has no column"):
        jaxals.Interactions.from_frame(COLUMNS, user=Frame(), value="plays")


def test_values_whose_text_is_long_are_told_on_one_line():
    matrix = scipy.sparse.csr_array(np.eye(2))
    with pytest.raises(DataError, match=r"^Column 'value' must be numbers; entry 0 is a csr_array [^\n]*$"):
        jaxals.Interactions.from_frame({"user": [1], "item": [1], "value": [matrix]})


def test_rows_that_lack_a_column_have_a_missing_value_there():
    with pytest.raises(DataError, match="id in column 'item' is missing in row 1"):
        jaxals.Interactions.from_frame([{"user": 1, "item": 2}, {"user": 1}], value=None)


def test_ids_may_be_a_table_of_one_column_or_what_a_loop_over_arrow_gives():
    table = pyarrow.table({"user": ["eve", "ann"]})
    for ids in (table, table.to_pandas(), table.to_batches()[0], list(table["user"]), table.to_struct_array()):
        assert as_index(ids, "user ids").tolist() == ["eve", "ann"]
        assert MODEL.recommend(ids, n=1, exclude_seen=False)["user"].tolist() == ["eve", "ann"]
    assert len(MODEL.recommend(table["user"][0], exclude_seen=False)) == 2
    with pytest.raises(DataError, match="The user ids must be one column; got a table of 2: user, item"):
        MODEL.recommend(table.append_column("item", table["user"]))


ANSWERS: dict[str, Any] = {
    "recommend": lambda frame: MODEL.recommend(["ann", "eve"], exclude_seen=False, frame=frame),
    "similar_users": lambda frame: MODEL.similar_users("ann", frame=frame),
    "recommend_with": lambda frame: recommend_with(Popularity.from_interactions(DATA), DATA, "eve", frame=frame),
    "to_frame": DATA.to_frame,
}


@pytest.mark.parametrize("ask", ANSWERS.values(), ids=ANSWERS)
def test_answers_are_frames_of_the_library_that_is_named(ask):
    wanted = ask("pandas")
    assert isinstance(wanted, pd.DataFrame)
    assert ask("pyarrow").to_pylist() == wanted.to_dict("records")
    polars = pytest.importorskip("polars")
    assert isinstance(ask("polars"), polars.DataFrame)
    assert ask("polars").to_dicts() == wanted.to_dict("records")


def test_what_no_frame_can_hold_and_what_is_not_installed_is_said(monkeypatch):
    mixed = jaxals.Interactions.from_frame({"user": [1, "a"], "item": [datetime.date(2020, 1, 2)] * 2}, value=None)
    with pytest.raises(DataError, match='no form with `frame="pyarrow"`'):
        mixed.to_frame("pyarrow")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match='`frame="polars"` needs more than pandas: pip install polars'):
        MODEL.recommend("ann", frame="polars")


def test_frames_of_others_are_told_apart_from_those_of_pandas():
    frame = type("DataFrame", (), {"__module__": "polars.dataframe.frame", "shape": (2, 2)})()
    assert told(frame) == "a DataFrame of polars of shape (2, 2)"
    assert told(pd.DataFrame({"a": [1]})) == "a DataFrame of shape (1, 1)"
