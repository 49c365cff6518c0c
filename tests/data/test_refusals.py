"""What no data can be made of, where nothing has checked the annotations before: as users run it."""

from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog, Interactions
from jaxals.data.arrow import to_series
from jaxals.errors import DataError

catalog: Any = Catalog
from_arrays: Any = Interactions.from_arrays
DATA = Interactions.from_arrays([0, 1], [0, 1])
select: Any = DATA.select
RAGGED = [[0], [1, 2]]


class Stream:
    """What says that it holds a table of Arrow, and does not."""

    def __init__(self, error: Exception):
        self._error = error

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise self._error


REFUSED = {
    "a text for ids": (lambda: Catalog("ab", [1]), "The user ids must be a list of them; got 'ab'."),
    "no list of ids": (lambda: catalog([1], 5), "The item ids must be a list of them; got 5."),
    "ids of half a character": (lambda: Catalog(["\ud800"], [1]), "The user ids cannot be used: 'utf-8' codec"),
    "a category of half a character": (
        lambda: Catalog(pd.Categorical.from_codes([0], pd.Index(["\ud800"], dtype=object)), [1]),
        "The ids cannot be used: 'utf-8' codec",
    ),
    "a column of half a character": (
        lambda: Interactions.from_frame({"user": ["\ud800"], "item": [1]}, value=None),
        "The ids in column 'user' cannot be used: 'utf-8' codec",
    ),
    "one number for a shape": (
        lambda: from_arrays([0], [0], shape=(1,)),
        "`shape` must be a pair of counts, of users and of items; got (1,).",
    ),
    "indices of several lengths": (
        lambda: from_arrays(RAGGED, [0, 1]),
        "`user` must be a 1-D array: setting an array element with a sequence. The requested",
    ),
    "values of several lengths": (
        lambda: from_arrays([0, 1], [0, 1], RAGGED),
        "`value` must be a 1-D array: setting an array element with a sequence. The requested",
    ),
    "values in levels": (
        lambda: from_arrays([0], [0], pd.MultiIndex.from_tuples([(1, 2)])),
        "`value` must be a 1-D array; got a MultiIndex.",
    ),
    "a selection of several lengths": (
        lambda: select(RAGGED),
        "`keep` must be a mask of 2 flags, or ascending positions below 2; got [[0], [1, 2]].",
    ),
    "descending positions": (lambda: select([1, 0]), "`keep` must be a mask of 2 flags"),
    "a mask of others": (lambda: select([True]), "`keep` must be a mask of 2 flags"),
    "other interactions": (
        lambda: DATA.is_among(Interactions.from_arrays([0], [0])),
        "`other` is about (1, 1) users and items, not (2, 2).",
    ),
    "columns of several lengths": (
        lambda: Interactions(DATA.user, DATA.item[:1], DATA.value, DATA.catalog),
        "`item` must be a 1-D NumPy array of integers, as long as `user`; got int32[1]; `Interactions.from_arrays`",
    ),
    "a stream that is shut": (
        lambda: Interactions.from_frame({"user": Stream(ValueError("It is shut.\nOpen it.")), "item": [1]}, value=None),
        "Column 'user' of the data cannot be read as Arrow's: It is shut.",
    ),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_data_can_be_made_of_is_refused(make, said, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(DataError) as refused:
        make()
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(".")
    assert not str(refused.value).endswith("..")


def test_repeats_in_a_dictionary_of_arrow_are_one_id():
    pyarrow = pytest.importorskip("pyarrow")
    user = pyarrow.DictionaryArray.from_arrays([0, 1, 2], ["a", "b", "a"])
    data = Interactions.from_frame(pyarrow.table({"user": user, "item": [1, 2, 3]}), value=None)
    assert data.catalog.users.tolist() == ["a", "b"]
    assert data.user.tolist() == [0, 0, 1]


def test_extension_types_of_arrow_come_as_objects():
    pyarrow = pytest.importorskip("pyarrow", "18")

    import uuid

    one = uuid.UUID(int=7)
    found = to_series(pyarrow.chunked_array([pyarrow.array([one.bytes], pyarrow.uuid())]))
    assert found.tolist() == [one]


def test_times_are_found_whatever_their_unit():
    moments = pd.DatetimeIndex(["2020-01-02", "2020-01-03"])
    catalog = Catalog(moments.as_unit("s"), [1])
    assert catalog.user_indices(moments[::-1].as_unit("ns")).tolist() == [1, 0]


def test_masked_ids_and_levels_are_read_by_value():
    assert Catalog(np.ma.array([3, 1]), [1]).users.dtype == np.int64
    assert Catalog(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), [1]).users.tolist() == [("a", 1), ("b", 2)]
