import array
import collections
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog, Factors, Interactions, Recommender
from jaxals.errors import DataError, UnknownIdError
from jaxals.evaluation import Popularity, recommend_with
from jaxals.recommend.asked import listed_ids
from jaxals.recommend.ids import Ids


class Polars:
    """A column as polars has it: it can be iterated over, and NumPy can read it."""

    dtype = "String"

    def __init__(self, values: Any):
        self.values = list(values)

    def __iter__(self):
        return iter(self.values)

    def __array__(self, dtype: Any = None, copy: Any = None):
        return np.array(self.values, object)


def arrow(values: Any) -> Any:
    return pytest.importorskip("pyarrow").array(list(values))


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "unique of text": lambda ids: pd.Series(ids).unique(),
    "values": lambda ids: pd.Series(ids).values,
    "array": lambda ids: pd.Series(ids).array,
    "objects": lambda ids: pd.Series(ids, dtype=object).unique(),
    "nullable": lambda ids: pd.Series(ids).convert_dtypes().unique(),
    "categorical": lambda ids: pd.Series(ids).astype("category").unique(),
    "index": pd.Index,
    "keys": lambda ids: dict.fromkeys(ids).keys(),
    "values of a dictionary": lambda ids: dict(enumerate(ids)).values(),
    "deque": collections.deque,
    "polars": Polars,
    "arrow": arrow,
    "arrow's chunks": lambda ids: pytest.importorskip("pyarrow").chunked_array([arrow(ids)]),
    "arrow's dictionary": lambda ids: arrow(ids).dictionary_encode(),
    "pandas' arrow": lambda ids: pd.Series(pd.arrays.ArrowExtensionArray(arrow(ids))).unique(),
}


@pytest.mark.parametrize("ids", [["ann", "eve"], [7, 2**53 + 1]], ids=["text", "integers"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_ids_are_taken_from_whatever_holds_them(holder, ids):
    given = HOLDERS[holder](ids)
    catalog = Catalog([ids[1], ids[0], "other"], [1])
    known = Ids.of(catalog, "user")
    assert known.indices(listed_ids("users", given, known)).tolist() == [1, 0]
    assert catalog.user_indices(given).tolist() == [1, 0]
    assert Catalog(given, [1]).users.tolist() == ids
    grown, _ = known.extended(pd.Index(["late"]))
    assert grown.indices(listed_ids("users", given, grown)).tolist() == [1, 0]


def test_buffers_hold_integers():
    known = Ids.of(Catalog([5, 6, 7], [1]), "user")
    for given in (array.array("q", [7, 5]), memoryview(array.array("q", [7, 5]))):
        assert known.indices(listed_ids("users", given, known)).tolist() == [2, 0]


@pytest.fixture(scope="module")
def model() -> Recommender:
    data = Interactions.from_frame({"user": ["ann", "bob", "eve"], "item": [1, 2, 3]}, value=None)
    return Recommender(Factors(jnp.eye(3, 2) + 1, jnp.eye(3, 2) + 1), data)


def test_every_question_takes_them(model):
    frame = pd.DataFrame({"user": ["eve", "ann"], "item": pd.array([3, 1], "Int64")})
    users, items = frame["user"].unique(), frame["item"].unique()
    every = model.recommend(users, items=items, exclude_seen=False)
    pd.testing.assert_frame_equal(every, model.recommend(["eve", "ann"], items=[3, 1], exclude_seen=False))
    assert model.recommend(users, exclude=items, exclude_seen=False)["item"].tolist() == [2, 2]
    assert model.recommend("ann", exclude=None)["item"].tolist() == model.recommend("ann")["item"].tolist()
    pd.testing.assert_frame_equal(model.similar_items(items), model.similar_items([3, 1]))
    pd.testing.assert_frame_equal(model.similar_users(users), model.similar_users(["eve", "ann"]))
    popular = Popularity.from_interactions(model.interactions)
    some = recommend_with(popular, model.interactions, arrow(["eve", "ann"]), n=1)
    assert some["user"].tolist() == ["eve", "ann"]


MASKS: dict[str, Callable[[list[bool]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "Series": pd.Series,
    "nullable": lambda flags: pd.array(flags, "boolean"),
    "by id": lambda flags: pd.Series(flags, ["ann", "bob", "eve"]),
    "arrow": arrow,
}


@pytest.mark.parametrize("holder", MASKS)
def test_masks_keep_the_ids_that_they_say(model, holder):
    known = Ids.of(model.catalog, "user")
    assert list(listed_ids("users", MASKS[holder]([True, False, True]), known)) == ["ann", "eve"]
    if holder != "by id":
        with pytest.raises(DataError, match=r"`users` must be a mask of 3 flags, one for each id; got"):
            listed_ids("users", MASKS[holder]([True, False]), known)


def test_a_mask_in_another_order_than_the_catalog_is_refused(model):
    with pytest.raises(DataError, match=r"`users` is a mask whose index is neither .*; pass `mask.index\[mask\]`"):
        model.recommend(pd.Series([True, False, False], ["bob", "ann", "eve"]))


def test_truth_values_may_be_ids():
    known = Ids.of(Catalog([True, "a"], [1]), "user")
    assert known.indices(listed_ids("users", [True, True], known)).tolist() == [0, 0]


def test_what_holds_no_ids_is_refused(model):
    for ids in ({"ann": 1}, pd.DataFrame({"user": ["ann"], "item": [1]})):
        with pytest.raises(DataError, match="The user ids must be a list of them; got"):
            model.recommend(ids)
    with pytest.raises(DataError, match="The user ids must be a list of them; got a DataFrame"):
        Catalog(pd.DataFrame({"user": ["ann"], "item": [1]}), [1])
    with pytest.raises(UnknownIdError, match="no user 'anne'"):
        model.recommend(pd.Series(["anne"]).unique())
