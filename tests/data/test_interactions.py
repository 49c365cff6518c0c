import datetime
import inspect
from collections import defaultdict
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Duplicates, Interactions
from jaxals.errors import ConfigurationError, DataError, UnknownIdError


def frame(users: Any, items: Any, values: Any = None) -> pd.DataFrame:
    values = np.ones(len(users)) if values is None else values
    columns = (pd.Series(list(column), dtype=object).infer_objects() for column in (users, items))
    return pd.DataFrame(dict(zip(("user", "item"), columns, strict=True)) | {"value": values})


def triples(data: Interactions) -> dict[tuple, float]:
    return {(row.user, row.item): row.value for row in data.to_frame().itertuples()}


class TestFromArrays:
    def test_sorts_by_user_then_item(self) -> None:
        data = Interactions.from_arrays([1, 0, 1, 0], [0, 2, 1, 0], [1, 2, 3, 4])
        assert data.user.tolist() == [0, 0, 1, 1]
        assert data.item.tolist() == [0, 2, 0, 1]
        assert data.value.tolist() == [4, 2, 1, 3]
        assert (data.user.dtype, data.item.dtype, data.value.dtype) == (np.int32, np.int32, np.float32)

    @pytest.mark.parametrize(("duplicates", "expected"), [("sum", 4.5), ("max", 5.0), ("last", -2.5)])
    def test_duplicates(self, duplicates: Duplicates, expected: float) -> None:
        user, item, value = [1, 0, 1, 1], [2, 0, 2, 2], [2.0, 9.0, 5.0, -2.5]
        data = Interactions.from_arrays(user, item, value, duplicates=duplicates)
        assert data.value.tolist() == [9.0, expected]

    def test_duplicates_as_error(self) -> None:
        with pytest.raises(DataError, match="pair of user 1 and item 2 is there more than once"):
            Interactions.from_arrays([1, 0, 1], [2, 0, 2], duplicates="error")
        with pytest.raises(DataError, match="pair of user 'bob' and item 30 is there more than once"):
            Interactions.from_frame(frame(["bob", "ann", "bob"], [30, 10, 30]), duplicates="error")
        assert len(Interactions.from_arrays([1, 0, 1], [2, 0, 1], duplicates="error")) == 3

    def test_unknown_duplicates(self) -> None:
        # Without the run-time check of types, which tests have and users have not.
        checked: Any = Interactions.from_arrays
        with pytest.raises(DataError, match='must be "sum", "max", "last" or "error"; got \'mean\''):
            inspect.unwrap(checked.__func__)(Interactions, [0], [0], duplicates="mean")

    def test_zeros_are_dropped_and_negatives_kept(self) -> None:
        data = Interactions.from_arrays([0, 0, 1, 1], [0, 1, 0, 0], [0.0, -3.0, 2.0, -2.0])
        assert triples(data) == {(0, 1): -3.0}
        assert data.shape == (2, 2)

    def test_last_zero_deletes(self) -> None:
        data = Interactions.from_arrays([0, 0, 0], [0, 0, 1], [5.0, 0.0, 1.0], duplicates="last")
        assert triples(data) == {(0, 1): 1.0}

    def test_values_are_float32_only_where_exact(self) -> None:
        assert Interactions.from_arrays([0], [0], [2**24]).value.dtype == np.float32
        for value in (2**24 + 1, 0.1, 1e300, 1e-300):
            data = Interactions.from_arrays([0], [0], [value])
            assert data.value.dtype == np.float64
            assert data.value.tolist() == [value]

    def test_sums_of_float32_are_exact(self) -> None:
        value = np.array([2**24, 1], np.float32)
        assert Interactions.from_arrays([0, 0], [0, 0], value).value.tolist() == [2**24 + 1]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_values_must_be_finite(self, bad: float) -> None:
        with pytest.raises(DataError, match=f"`value` must be finite; entry 1 is {bad}"):
            Interactions.from_arrays([0, 1], [0, 1], [1.0, bad])

    def test_values_must_be_numbers(self) -> None:
        with pytest.raises(DataError, match=r"`value` must be numbers; entry 0 is 'x'\."):
            Interactions.from_arrays([0], [0], ["x"])
        with pytest.raises(DataError, match="`value` must be a 1-D array"):
            Interactions.from_arrays([0], [0], [[1.0]])

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(DataError, match="must have one length; got 2, 1 and 1"):
            Interactions.from_arrays([0, 1], [0], [1.0])

    @pytest.mark.parametrize("indices", [[0.5], [True], [[0]], ["a"]])
    def test_indices_must_be_integers(self, indices: list) -> None:
        with pytest.raises(DataError, match="`user` must be a 1-D array of integers"):
            Interactions.from_arrays(indices, [0])

    def test_nothing_left(self) -> None:
        for user, item, value in [([], [], []), ([0, 1], [0, 1], [0.0, 0.0]), ([0, 0], [0, 0], [1.0, -1.0])]:
            with pytest.raises(DataError, match="There are no interactions"):
                Interactions.from_arrays(user, item, value)

    def test_bounds(self) -> None:
        with pytest.raises(DataError, match="must not be negative"):
            Interactions.from_arrays([-1], [0])
        with pytest.raises(DataError, match=r"A user index is 3, past the shape \(2, 2\)\.$"):
            Interactions.from_arrays([3], [0], shape=(2, 2))
        with pytest.raises(DataError, match=r"An? item index is 3, past the shape \(2, 2\)\.$"):
            Interactions.from_arrays([0], [3], shape=(2, 2))

    @pytest.mark.parametrize("index", [2**31 - 1, 2**31, 2**32, 2**62])
    def test_indices_past_int32_are_refused(self, index: int) -> None:
        # They used to wrap around: 2^32 became user 0.
        for user, item in ((index, 0), (0, index)):
            with pytest.raises(DataError, match=r"past 2,147,483,647 users or items; .* belong in `from_frame`"):
                Interactions.from_arrays([user, 1], [item, 1])
        assert Interactions.from_arrays([0], [2**31 - 2]).item.tolist() == [2**31 - 2]

    def test_swapped_indices_are_recognised(self) -> None:
        with pytest.raises(DataError, match="look swapped"):
            Interactions.from_arrays([0, 4], [0, 1], shape=(2, 5))

    def test_shape_and_catalog(self) -> None:
        assert Interactions.from_arrays([0], [1], shape=(3, 4)).shape == (3, 4)
        catalog = Catalog(["a", "b"], ["x", "y", "z"])
        data = Interactions.from_arrays([1], [2], catalog=catalog)
        assert data.shape == (2, 3)
        assert triples(data) == {("b", "z"): 1.0}
        with pytest.raises(DataError, match=r"The shape is \(3, 2\), but the ids are \(2, 3\).*transposed: pass `.T`"):
            Interactions.from_arrays([1], [1], shape=(3, 2), catalog=catalog)


IDS = st.sampled_from(["b", "a", "A", "", 1, 0, -7, 2.5, ("a", 1), ("a",), datetime.date(2020, 1, 2), frozenset({1})])
# Eighths: every sum is exact in float32, so the order of summing cannot matter.
VALUES = st.integers(-400, 400).map(lambda eighths: eighths / 8)
ROWS = st.lists(st.tuples(IDS, IDS, VALUES), min_size=1, max_size=30)


class TestFromFrame:
    @settings(deadline=None, max_examples=60)
    @given(rows=ROWS, duplicates=st.sampled_from(["sum", "max", "last"]))
    def test_agrees_with_a_dictionary(self, rows: list[tuple], duplicates: Duplicates) -> None:
        merged: dict[tuple, list[float]] = defaultdict(list)
        for user, item, value in rows:
            merged[user, item].append(value)
        merges: dict[str, Any] = {"sum": sum, "max": max, "last": lambda values: values[-1]}
        merge = merges[duplicates]
        expected = {pair: merge(values) for pair, values in merged.items() if merge(values) != 0}
        table = frame(*zip(*rows, strict=True))
        if not expected:
            with pytest.raises(DataError, match="There are no interactions"):
                Interactions.from_frame(table, duplicates=duplicates)
            return
        data = Interactions.from_frame(table, duplicates=duplicates)
        assert triples(data) == expected
        assert set(data.catalog.users) == {user for user, _, _ in rows}
        key = data.user.astype(np.int64) * data.n_items + data.item
        assert (np.diff(key) > 0).all()
        np.testing.assert_array_equal(data.catalog.user_indices(data.catalog.users), np.arange(data.n_users))

    @settings(deadline=None)
    @given(order=st.permutations(range(6)))
    def test_order_of_rows_does_not_matter(self, order: list[int]) -> None:
        table = frame(["c", "a", "b", "a", "c", "b"], [3, 1, 2, 2, 1, 1], np.arange(1.0, 7.0))
        first, second = Interactions.from_frame(table), Interactions.from_frame(table.iloc[order])
        assert first.catalog.users.tolist() == second.catalog.users.tolist() == ["a", "b", "c"]
        for name in ("user", "item", "value"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))

    @pytest.mark.parametrize(
        "ids",
        [
            ["b", "a"],
            [2, 1],
            [2.5, 1.0],
            [("b", 1), ("a", 2)],
            ["b", 1],
            ["b", ("a", 2)],
            [datetime.date(2021, 1, 1), datetime.date(2020, 1, 1)],
        ],
    )
    def test_kinds_of_ids(self, ids: list) -> None:
        data = Interactions.from_frame(frame(ids, ids[::-1], [1.0, 2.0]))
        assert triples(data) == {(ids[0], ids[1]): 1.0, (ids[1], ids[0]): 2.0}
        assert data.catalog.users[data.catalog.user_indices(ids)].tolist() == ids
        with pytest.raises(UnknownIdError):
            data.catalog.user_indices(["someone else"])

    def test_categorical_ids(self) -> None:
        table = pd.DataFrame({"user": pd.Categorical(["b", "a"], ["z", "b", "a"]), "item": [1, 2], "value": [1.0, 2.0]})
        data = Interactions.from_frame(table)
        # In the order of their values, and only those that occur.
        assert data.catalog.users.tolist() == ["a", "b"]
        assert not isinstance(data.catalog.users, pd.CategoricalIndex)
        assert triples(data) == {("b", 1): 1.0, ("a", 2): 2.0}

    def test_columns_by_name_and_without_values(self) -> None:
        table = pd.DataFrame({"who": ["ann", "ann", "bob"], 7: ["Air", "Air", "Air"]})
        data = Interactions.from_frame(table, user="who", item=7, value=None)
        assert triples(data) == {("ann", "Air"): 2.0, ("bob", "Air"): 1.0}

    def test_missing_column(self) -> None:
        with pytest.raises(DataError, match=r"no column 'plays'; its columns are \['user', 'item', 'value'\]"):
            Interactions.from_frame(frame([1], [1]), value="plays")

    def test_repeated_column(self) -> None:
        twice = pd.DataFrame([["a", "x", 1, 2]], columns=["user", "item", "value", "value"])
        with pytest.raises(DataError, match="The data has more than one column 'value'"):
            Interactions.from_frame(twice)
        assert len(Interactions.from_frame(twice, value=None)) == 1

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
    def test_missing_id(self, missing: Any) -> None:
        with pytest.raises(DataError, match="The id in column 'item' is missing in row 1"):
            Interactions.from_frame(frame(["a", "b"], ["x", missing]))

    def test_missing_value(self) -> None:
        with pytest.raises(DataError, match="Column 'value' must be finite; entry 1 is nan"):
            Interactions.from_frame(frame(["a", "b"], ["x", "y"], pd.array([1, None], "Int64")))

    def test_empty(self) -> None:
        with pytest.raises(DataError, match="There are no interactions"):
            Interactions.from_frame(frame([], []))


class TestFromScipy:
    @pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
    @pytest.mark.parametrize("container", ["array", "matrix"])
    def test_formats(self, kind: str, container: str) -> None:
        dense = np.array([[0.0, 2.0, 0.0], [-1.0, 0.0, 3.0]])
        data = Interactions.from_scipy(getattr(scipy.sparse, f"{kind}_{container}")(dense))
        np.testing.assert_array_equal(data.to_scipy().toarray(), dense)

    def test_ids(self) -> None:
        matrix = scipy.sparse.csr_array(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
        data = Interactions.from_scipy(matrix, users=["ann", "bob"], items=["x", "y", "z"])
        assert triples(data) == {("ann", "y"): 2.0, ("bob", "x"): 1.0, ("bob", "z"): 3.0}

    def test_transposed(self) -> None:
        matrix = scipy.sparse.csr_array(np.ones((2, 3)))
        with pytest.raises(
            DataError, match=r"shape is \(3, 2\), but the ids are \(2, 3\).*looks transposed: pass `.T`"
        ):
            Interactions.from_scipy(matrix.T, users=["a", "b"], items=["x", "y", "z"])
        with pytest.raises(DataError, match=r"The shape is \(2, 3\), but the ids are \(2, 4\) users and items\.$"):
            Interactions.from_scipy(matrix, users=["a", "b"], items=["w", "x", "y", "z"])

    def test_repeated_and_explicit_zero_entries(self) -> None:
        coo = scipy.sparse.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
        assert triples(Interactions.from_scipy(coo)) == {(0, 1): 3.0}
        with pytest.raises(DataError, match="more than once"):
            Interactions.from_scipy(coo, duplicates="error")

    @pytest.mark.parametrize("matrix", [np.eye(2), [[1.0]], scipy.sparse.coo_array(np.ones(3)), None])
    def test_not_a_sparse_matrix(self, matrix: Any) -> None:
        with pytest.raises(DataError, match="`matrix` must be a 2-D scipy sparse matrix"):
            Interactions.from_scipy(matrix)

    @settings(deadline=None)
    @given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=6))
    def test_round_trip(self, rows: list[list[int]]) -> None:
        dense = np.array(rows, float)
        if not dense.any():
            return
        data = Interactions.from_scipy(scipy.sparse.csr_array(dense))
        np.testing.assert_array_equal(data.to_scipy().toarray(), dense)
        np.testing.assert_array_equal(data.counts(), (dense != 0).sum(axis=1))
        np.testing.assert_array_equal(data.counts("item"), (dense != 0).sum(axis=0))
        np.testing.assert_array_equal(data.row_starts(), data.to_scipy().indptr)


class TestViews:
    @pytest.fixture
    def data(self) -> Interactions:
        return Interactions.from_arrays([0, 0, 2], [1, 3, 0], [1.0, -2.0, 3.0], shape=(4, 4))

    def test_counts_include_empty_rows(self, data: Interactions) -> None:
        assert data.counts().tolist() == [2, 0, 1, 0]
        assert data.counts("item").tolist() == [1, 1, 0, 1]
        assert data.row_starts().tolist() == [0, 2, 2, 3, 3]
        with pytest.raises(ConfigurationError, match='`side` must be "user" or "item"; got \'users\''):
            inspect.unwrap(Interactions.counts)(data, "users")

    def test_select_keeps_the_catalog(self, data: Interactions) -> None:
        for keep in (np.array([True, False, True]), np.array([0, 2])):
            part = data.select(keep)
            assert triples(part) == {(0, 1): 1.0, (2, 0): 3.0}
            assert part.catalog is data.catalog
        assert len(data.select(np.zeros(3, bool))) == 0

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
    def test_to_coo(self, data: Interactions, dtype: Any) -> None:
        coo = data.to_coo(dtype)
        assert (coo.user.dtype, coo.item.dtype, coo.value.dtype) == (jnp.int32, jnp.int32, dtype)
        assert (coo.n_users, coo.n_items) == (4, 4)
        np.testing.assert_array_equal(coo.value, data.value)

    def test_copies_do_not_share_memory(self, data: Interactions) -> None:
        matrix = data.to_scipy()
        matrix.data[:] = 0
        matrix.indices[:] = 0
        assert data.value.tolist() == [1.0, -2.0, 3.0]
        assert data.item.tolist() == [1, 3, 0]

    def test_repr(self, data: Interactions) -> None:
        assert repr(data) == "Interactions(4 users x 4 items, 3 entries, density 0.19)"
        assert repr(data.catalog) == "Catalog(4 users, 4 items)"


class TestCatalog:
    @pytest.mark.parametrize(
        ("unknown", "nearest"),
        [
            ("jay z", "'Jay-Z'"),
            ("RADIOHEAD", "'Radiohead'"),
            ("radiohaed", "'Radiohead'"),
            ("the betles", "'The Beatles'"),
        ],
    )
    def test_nearest_known_whatever_the_case(self, unknown: str, nearest: str) -> None:
        catalog = Catalog(["ann"], ["Jay-Z", "Radiohead", "The Beatles", "Air"])
        with pytest.raises(UnknownIdError) as caught:
            catalog.item_indices(["Air", unknown])
        start = f"There is no item {unknown!r} in the catalog of 4 items; the nearest known are {nearest}"
        assert str(caught.value).startswith(start)

    def test_nothing_near(self) -> None:
        with pytest.raises(UnknownIdError, match=r"There is no user 99 in the catalog of 2 users; a known one is 1\.$"):
            Catalog([1, 2], ["x"]).user_indices([99])
        with pytest.raises(UnknownIdError, match="the catalog holds no users"):
            Catalog([], ["x"]).user_indices([99])

    def test_nearest_in_a_large_catalog(self) -> None:
        catalog = Catalog([f"{number * 7919 % 100_003:06d} user" for number in range(11_000)], ["x"])
        with pytest.raises(UnknownIdError, match=f"nearest known are .*{catalog.users[123]}"):
            catalog.user_indices([catalog.users[123].upper()])

    def test_indices(self) -> None:
        catalog = Catalog(["b", "a"], [("x", 1), "x", 3])
        for ids in (["a", "b", "a"], np.array(["a", "b", "a"]), pd.Series(["a", "b", "a"]), iter("aba")):
            found = catalog.user_indices(ids)
            assert found.dtype == np.int32
            assert found.tolist() == [1, 0, 1]
        assert catalog.item_indices([3, ("x", 1)]).tolist() == [2, 0]
        assert catalog.item_indices([]).tolist() == []

    def test_ids_must_be_unique_and_hashable(self) -> None:
        with pytest.raises(DataError, match="item ids of a catalog must be unique; 'x' is there twice"):
            Catalog([1], ["x", "y", "x"])
        unhashable = ("a", ["list"])
        for ids in ([unhashable], [unhashable, "b"]):
            with pytest.raises(DataError, match="The user ids must be hashable"):
                Catalog(ids, [1])
        with pytest.raises(DataError, match="The user ids must be hashable"):
            Catalog(["a"], [1]).user_indices([unhashable])

    def test_a_string_is_not_another_type(self) -> None:
        with pytest.raises(UnknownIdError, match="There is no user '1'"):
            Catalog([1, 2], ["x"]).user_indices(["1"])


def test_real_play_counts(lastfm_2k: Interactions) -> None:
    assert lastfm_2k.shape == (1892, 17632)
    assert len(lastfm_2k) == 92834
    assert (lastfm_2k.value.min(), lastfm_2k.value.max()) == (1, 352698)
    again = Interactions.from_frame(lastfm_2k.to_frame().sample(frac=1, random_state=0), duplicates="error")
    assert triples(again) == triples(lastfm_2k)
