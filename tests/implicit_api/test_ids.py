import numpy as np
import pandas as pd
import pytest

from jaxals.errors import DataError
from jaxals.implicit_api import MissingRowError
from jaxals.implicit_api._ids import chosen_rows, growing_rows, rows_named

MASK = np.arange(5) % 2 == 1


@pytest.mark.parametrize(
    "ids",
    [
        [1, 3],
        (1, 3),
        {3, 1},
        frozenset({1, 3}),
        range(1, 5, 2),
        (one for one in (1, 3)),
        MASK,
        MASK.tolist(),
        pd.Series(MASK),
        np.array([1, 3], np.int8),
        np.array([1, 3], np.uint64),
        pd.Series([1, 3], dtype="Int64"),
        pd.Index([1, 3]),
        np.array([1, 3], object),
        {1: "a", 3: "b"}.keys(),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_collections_of_ids_and_masks(ids):
    rows = chosen_rows("items", ids, 5, "item")
    assert rows.tolist() == [1, 3]
    assert rows.dtype.kind == "i"


@pytest.mark.parametrize("ids", [[], (), set(), np.zeros(0), np.zeros(0, bool)[:0].astype(int)], ids=repr)
def test_nothing_chosen(ids):
    assert chosen_rows("items", ids, 5, "item").shape == (0,)


WRONG = [
    ([1.0, 2.0], DataError),
    ([np.nan], DataError),
    ("12", DataError),
    ({1: 2}, DataError),
    (3, DataError),
    (["1"], DataError),
    ([[1, 2]], DataError),
    ([[1, 2], [3]], DataError),
    ([None], DataError),
    (np.array(["2020"], "datetime64[D]"), DataError),
    (pd.Series([1, None], dtype="Int64"), DataError),
    (np.ones(4, bool), DataError),
    ([-1], MissingRowError),
    ([5], MissingRowError),
    (np.array([2**63], np.uint64), DataError),
    ([10**30], DataError),
]


@pytest.mark.parametrize(("ids", "error"), WRONG, ids=repr)
def test_what_is_no_selection(ids, error):
    with pytest.raises(error, match=r"`items`") as caught:
        chosen_rows("items", ids, 5, "item")
    assert "\n" not in str(caught.value)


def test_one_id_or_many_in_order():
    assert rows_named("userid", np.array(3), 5, "user")[1]
    assert rows_named("userid", np.int8(3), 5, "user")[0].tolist() == [3]
    ids, is_single = rows_named("userid", [3, 3, 0], 5, "user")
    assert (ids.tolist(), is_single) == ([3, 3, 0], False)
    assert rows_named("userid", MASK, 5, "user")[0].tolist() == [1, 3]
    for wrong in ({1, 2}, True, 1.0, "1", None, np.nan):
        with pytest.raises(DataError, match="`userid` must"):
            rows_named("userid", wrong, 5, "user")


def test_rows_to_store():
    table = np.zeros((5, 2))
    assert growing_rows("userids", 7, table).tolist() == [7]
    assert growing_rows("userids", [7, 1], table).tolist() == [7, 1]
    with pytest.raises(MissingRowError, match="`userids` must be ids >= 0; got -1"):
        growing_rows("userids", [-1], table)
    with pytest.raises(ValueError, match=r"A table up to the id 1000000000000 needs about .*`userids` smaller ids"):
        growing_rows("userids", [10**12], table)
