"""Ids keep their value and their kind, whatever they come in."""

import datetime
import decimal
import uuid
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog, Factors, Interactions, Recommender
from jaxals.errors import DataError, UnknownIdError
from jaxals.evaluation import leave_k_out
from jaxals.models import exports
from jaxals.models.model import load_model, save_model
from jaxals.recommend.ids import Ids

PAST, LARGE = 2**53 + 1, 2**63 + 1
DAY, MOMENT = datetime.date(2020, 1, 2), pd.Timestamp("2020-01-02 03:04")
UUIDS = [uuid.UUID(int=number) for number in (7, 5)]


def arrow(*values: Any, of: str | None = None) -> pd.Series:
    pyarrow = pytest.importorskip("pyarrow")
    kinds = {
        "dictionary": lambda: pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        "numbers": lambda: pyarrow.dictionary(pyarrow.int8(), pyarrow.int64()),
        "decimal": lambda: pyarrow.decimal128(5, 2),
    }
    kind = kinds[of]() if of in kinds else getattr(pyarrow, of or "int64")()
    return pd.Series(pyarrow.array(values, kind), dtype=pd.ArrowDtype(kind))


def objects(*values: Any) -> pd.Series:
    return pd.Series(np.fromiter(values, object, len(values)))


# What a column holds, and its ids by index: types and order count.
COLUMNS: dict[str, tuple[Any, list]] = {
    "int8": (lambda: pd.Series([3, -1], dtype="int8"), [-1, 3]),
    "uint64 that fits int64": (lambda: pd.Series([PAST, 1], dtype="uint64"), [1, PAST]),
    "uint64 past int64": (lambda: pd.Series([LARGE, 1], dtype="uint64"), [1, LARGE]),
    "nullable": (lambda: pd.Series([PAST, 5], dtype="Int64"), [5, PAST]),
    "nullable unsigned": (lambda: pd.Series([LARGE, 5], dtype="UInt64"), [5, LARGE]),
    "arrow": (lambda: arrow(PAST, 5), [5, PAST]),
    "arrow unsigned": (lambda: arrow(LARGE, 5, of="uint64"), [5, LARGE]),
    "dictionary": (lambda: arrow("b", "a", of="dictionary"), ["a", "b"]),
    "dictionary of integers": (lambda: arrow(PAST, 5, of="numbers"), [5, PAST]),
    "arrow text": (lambda: arrow("b", "007", of="string"), ["007", "b"]),
    "arrow dates": (lambda: arrow(DAY, datetime.date(2019, 1, 1), of="date32"), [datetime.date(2019, 1, 1), DAY]),
    "arrow decimals": (
        lambda: arrow(decimal.Decimal("1.50"), decimal.Decimal("0.25"), of="decimal"),
        [decimal.Decimal("0.25"), decimal.Decimal("1.50")],
    ),
    "categories": (lambda: pd.Series(pd.Categorical(["a", "b"], ["z", "b", "a"])), ["a", "b"]),
    "ordered categories": (lambda: pd.Series(pd.Categorical(["a", "b"], ["b", "a"], ordered=True)), ["a", "b"]),
    "categories of integers": (lambda: pd.Series(pd.Categorical([PAST, 5], [PAST, 7, 5])), [5, PAST]),
    "python integers": (lambda: objects(PAST, np.int64(5)), [5, PAST]),
    "integers past 64 bits": (lambda: objects(2**70, -1), [-1, 2**70]),
    "integers below and past int64": (lambda: objects(LARGE, -1), [-1, LARGE]),
    "whole floats beside integers": (lambda: objects(5.0, PAST), [5, PAST]),
    "fractions beside integers": (lambda: objects(PAST, 0.5), [0.5, PAST]),
    "halves": (lambda: pd.Series([2.0, 0.5], dtype="float16"), [0.5, 2.0]),
    "floats": (lambda: pd.Series([2.0, 0.5]), [0.5, 2.0]),
    "text": (lambda: objects("b", "a"), ["a", "b"]),
    "text of numbers": (lambda: objects("10", "9", "007", "1e5"), ["007", "10", "1e5", "9"]),
    "names like missing ones": (lambda: objects("NaN", "NA", "null", "None", ""), ["", "NA", "NaN", "None", "null"]),
    "spaces": (lambda: objects(" a", "a", "a "), [" a", "a", "a "]),
    "composed and decomposed": (lambda: objects("e\u0301", "\u00e9"), ["e\u0301", "\u00e9"]),
    "null characters": (lambda: objects("a\0c", "a\0b", "a"), ["a", "a\0b", "a\0c"]),
    "numpy text": (lambda: objects(np.str_("b"), np.str_("a")), ["a", "b"]),
    "numbers beside text": (lambda: objects(np.int64(1), "1"), [1, "1"]),
    "truth values": (lambda: pd.Series([True, False]), [False, True]),
    "nullable truth values": (lambda: pd.Series([True, False], dtype="boolean"), [False, True]),
    "truth values beside text": (lambda: objects(np.bool_(True), "True"), [True, "True"]),
    "bytes": (lambda: objects(b"b", b"a"), [b"a", b"b"]),
    "uuids": (lambda: objects(*UUIDS), UUIDS[::-1]),
    "dates": (lambda: objects(DAY, datetime.date(2019, 1, 1)), [datetime.date(2019, 1, 1), DAY]),
    "moments": (lambda: pd.Series([MOMENT, MOMENT - pd.Timedelta("1h")]), [MOMENT - pd.Timedelta("1h"), MOMENT]),
    "tuples": (lambda: objects(("b", np.int64(1)), ("a", 2)), [("a", 2), ("b", 1)]),
    "sparse": (lambda: pd.Series(pd.arrays.SparseArray([5, 0])), [0, 5]),
}


def typed(ids: Any) -> list:
    return [(type(raw), raw) for raw in ids]


@pytest.fixture(params=COLUMNS)
def column(request) -> tuple[pd.Series, list]:
    make, expected = COLUMNS[request.param]
    return make(), expected


def test_a_column_keeps_its_ids(column):
    given, expected = column
    items = list(range(len(given)))
    data = Interactions.from_frame({"user": given, "item": items, "value": [1.0] * len(given)})
    users = data.catalog.users
    assert typed(users.tolist()) == typed(expected)
    again = Interactions.from_frame(pd.DataFrame({"user": given, "item": items}).iloc[::-1], value=None)
    assert typed(again.catalog.users.tolist()) == typed(expected)
    for asked in (given, given.tolist(), users, expected, iter(expected)):
        asked_ids = list(expected) if not isinstance(asked, (pd.Series, pd.Index)) else asked
        found = data.catalog.user_indices(asked_ids)
        assert sorted(found.tolist()) == items
    # What a catalog makes of them is what it makes of its own.
    assert typed(Catalog(users, [0]).users.tolist()) == typed(expected)
    assert typed(Catalog(users.tolist(), [0]).users.tolist()) == typed(expected)


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [
        (pd.Index([1, 2], dtype="uint64"), "int64"),
        (pd.Index([1, LARGE], dtype="uint64"), "uint64"),
        (pd.Index([1, 2], dtype="Int8"), "int64"),
        (np.array([1, 2], np.float16), "float64"),
        ([1, 2.0], "int64"),
        ([1, 0.5], "object"),
        (pd.Series([1, 2], dtype="float16"), "float64"),
        (pd.Index([True, False], dtype="boolean"), "bool"),
        (pd.Index(["a", "b"], dtype="string"), pd.Index(["a"]).dtype.name),
        (np.array(["a", "b"]), pd.Index(["a"]).dtype.name),
    ],
)
def test_one_type_holds_the_same_ids(ids, dtype):
    users = Catalog(ids, [0]).users
    assert users.dtype.name == dtype
    # The very index is kept, with the hash table that it has.
    if dtype != "object":
        assert Catalog(users, [0]).users is users


STORED = {
    "integers": [1, PAST],
    "past int64": [1, LARGE],
    "floats": [0.5, 2.0],
    "text": ["007", "a"],
}
MIXED = {
    "past 64 bits": [-1, 2**70],
    "numbers": [0.5, PAST],
    "text and numbers": ["1", 1],
    "truth values": [False, True],
    "tuples": [("a", 1), ("b", 2)],
}


@pytest.mark.parametrize("ids", [*STORED.values(), *MIXED.values()], ids=[*STORED, *MIXED])
def test_a_model_keeps_its_ids(ids, tmp_path):
    catalog = Catalog(ids, ["x", "y"])
    save_model(tmp_path / "model", factors(2), Interactions.from_arrays([0, 1], [0, 1], catalog=catalog))
    _, loaded, _ = load_model(tmp_path / "model")
    assert typed(loaded.catalog.users.tolist()) == typed(ids)


@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("ids", STORED.values(), ids=STORED)
def test_an_export_keeps_its_ids(form, ids, tmp_path):
    pytest.importorskip("pyarrow")
    getattr(exports, f"save_{form}")(tmp_path / "factors", factors(2), Catalog(ids, ["x", "y"]))
    _, loaded = getattr(exports, f"load_{form}")(tmp_path / "factors")
    assert typed(loaded.users.tolist()) == typed(ids)


@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("ids", MIXED.values(), ids=MIXED)
def test_an_export_refuses_ids_that_it_would_change(form, ids, tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="user ids must be all strings, all integers or all floats"):
        getattr(exports, f"save_{form}")(tmp_path / "factors", factors(2), Catalog(ids, ["x", "y"]))


def factors(users: int, items: int = 2) -> Factors:
    return Factors(jnp.ones((users, 2)), jnp.ones((items, 2)))


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        ([1, PAST], pd.Series([7.0, 8.0]), [1, PAST, 7, 8]),
        ([1, PAST], pd.Series([0.5, 1.0]), [1, PAST, 0.5]),
        ([1, PAST], pd.Series([LARGE, 7], dtype="uint64"), [1, PAST, 7, LARGE]),
        ([-1, PAST], pd.Series([LARGE], dtype="uint64"), [-1, PAST, LARGE]),
        ([1, PAST], pd.Series([7], dtype="Int64"), [1, PAST, 7]),
        ([1, PAST], pd.Series(["7"]), [1, PAST, "7"]),
        (range(2), pd.Series([1.0, 2.0]), [0, 1, 2]),
        ([0.5, 1.0], pd.Series([1, 7]), [0.5, 1.0, 7.0]),
        (["a", "b"], pd.Series([1]), ["a", "b", 1]),
        (["a", "b"], pd.Series(pd.Categorical(["c", "b"])), ["a", "b", "c"]),
        ([1, LARGE], pd.Series([-1]), [1, LARGE, -1]),
        ([False, True], pd.Series(["x"]), [False, True, "x"]),
    ],
)
def test_folding_in_changes_no_id(known, new, expected):
    catalog = Catalog(known, ["x", "y"])
    more = Interactions.from_frame({"user": new, "item": ["x"] * len(new)}, value=None)
    grown, indices = Ids.of(catalog, "user").extended(more.catalog.users)
    assert typed(grown.whole().tolist()) == typed(expected)
    assert len(indices) == len(new)
    assert grown.indices(known).tolist() == [0, 1]


def test_a_recommender_finds_large_ids_after_a_float_was_folded_in():
    data = Interactions.from_arrays([0, 1], [0, 1], catalog=Catalog([1, PAST], ["x", "y"]))
    from jaxals import Objective

    model = Recommender(factors(2), data, Objective.hkv())
    grown = model.fold_in(Interactions.from_frame(pd.DataFrame({"user": [7.0], "item": ["x"], "value": [1.0]})))
    assert grown.recommend(PAST, n=1)["user"].tolist() == [PAST]
    assert grown.recommend(7, n=1)["user"].tolist() == [7]


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ([1, 2**53], float(PAST)),
        ([1, 2**53], PAST),
        ([0.5, float(2**53)], PAST),
        ([1, 2], True),
        ([1, 2], "1"),
        ([1, 2], decimal.Decimal(1)),
        ([1, "a"], True),
        ([1, "a"], "1"),
        (["1", "a"], 1),
        ([True, False], 1),
        ([True, "a"], 1),
        ([1, 2], 1.5),
        ([1, 2], None),
        ([1, 2], float("nan")),
        ([1, 2], float("inf")),
        ([1, 2], 2**64),
        pytest.param([1, 2], 10**5000, id="huge"),
        ([b"a"], "a"),
        (["e\u0301"], "\u00e9"),
        ([MOMENT], str(MOMENT)),
        ([MOMENT], DAY),
        ([("a", 1), ("b", 1)], ("a", True)),
        ([2**53, "a"], 2.0**53),
        ([("a", 2**53), ("b", 1)], ("a", 2.0**53)),
        ([frozenset([1]), frozenset([2])], frozenset([True])),
        (UUIDS, str(UUIDS[0])),
    ],
)
def test_an_id_of_another_kind_is_unknown(known, unknown):
    catalog = Catalog(known, ["x"])
    for asked in ([unknown], [known[0], unknown], [unknown, "something else"]):
        with pytest.raises(UnknownIdError, match="There is no user"):
            catalog.user_indices(asked)


@pytest.mark.parametrize(("known", "same"), [([5, 7], 5.0), ([5.0, 0.5], 5), ([5, "a"], 5.0), ([LARGE, 5], 5.0)])
def test_whole_floats_and_integers_are_one_id(known, same):
    catalog = Catalog(known, ["x"])
    for asked in ([same], np.array([same]), pd.Series([same]), [same, known[1]]):
        assert catalog.user_indices(asked)[0] == known.index(same)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, True, 2], r"hold 1 and True, of types int and bool, which are equal to Python"),
        (["a", 0, False], "hold 0 and False, of types int and bool"),
        (["a", 2**53, 2.0**53], "hold 9007199254740992 and 9007199254740992.0, of types int and float"),
        ([decimal.Decimal(1), 1], "hold .* of types"),
        ([("a", 1), ("a", True)], r"hold \('a', 1\) and \('a', True\)"),
    ],
)
def test_ids_that_would_merge_are_refused(ids, message):
    table = {"user": ids, "item": [*range(len(ids))]}
    with pytest.raises(DataError, match=f"The ids in column 'user' {message}"):
        Interactions.from_frame(table, value=None)
    with pytest.raises(DataError, match=r"user ids of a catalog must be unique; .* equals .* to Python"):
        Catalog(ids, [0])


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", object])
def test_integers_that_were_rounded_to_floats_are_refused(dtype):
    limit = 2.0**24 if dtype == "float32" else 2.0**53
    for users in (pd.Series([1.0, limit], dtype=dtype), pd.Series([-limit], dtype=dtype).astype("category")):
        with pytest.raises(DataError, match=r"column 'user' are float\d\d and reach .* may stand for several integers"):
            Interactions.from_frame({"user": users, "item": users.notna()}, value=None)
    Interactions.from_frame({"user": pd.Series([limit - 1], dtype=dtype), "item": [0]}, value=None)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT", "s")])
def test_missing_ids_are_refused(missing):
    with pytest.raises(DataError, match="must not be missing; number 2 is"):
        Catalog(["x"], [PAST, missing])
    with pytest.raises(DataError, match="The id in column 'user' is missing in row 1"):
        Interactions.from_frame({"user": [PAST, missing], "item": [0, 0]}, value=None)
    for column in (pd.Series([PAST, None], dtype="Int64"), np.ma.array([PAST, 1], mask=[False, True])):
        with pytest.raises(DataError, match="The id in column 'user' is missing in row 1"):
            Interactions.from_frame({"user": column, "item": [0, 0]}, value=None)


@pytest.mark.parametrize("name", ["text", "integers"])
def test_one_table_in_any_form_is_split_alike(name, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    label = (lambda n: f"u{n}") if name == "text" else (lambda n: int(PAST + n))
    pairs = sorted(
        {(int(user), int(item)) for user, item in rng.integers(40, size=(400, 2))}, key=lambda _: rng.random()
    )
    frame = pd.DataFrame({"u": [label(user) for user, _ in pairs], "i": [label(item) for _, item in pairs]})
    frame.to_csv(tmp_path / "plays.csv", index=False)
    frame.to_parquet(tmp_path / "plays.parquet")
    categories = frame.astype("category")
    categories["u"] = categories["u"].cat.reorder_categories(rng.permutation(categories["u"].cat.categories))
    categories.to_parquet(tmp_path / "categories.parquet")
    table = pyarrow.table({name: pyarrow.array(frame[name]).dictionary_encode() for name in "ui"})
    read = [
        *(Interactions.from_file(tmp_path / f"{name}", "u", "i", None) for name in ("plays.csv", "plays.parquet")),
        Interactions.from_file(tmp_path / "categories.parquet", "u", "i", None),
        *(Interactions.from_frame(one, "u", "i", None) for one in (frame, categories, table, dict(frame))),
        Interactions.from_frame(table.to_pandas(types_mapper=pd.ArrowDtype), "u", "i", None),
    ]
    first = leave_k_out(read[0], 1, seed=3).test
    for data in read[1:]:
        assert typed(data.catalog.users.tolist()) == typed(read[0].catalog.users.tolist())
        pd.testing.assert_frame_equal(leave_k_out(data, 1, seed=3).test.to_frame(), first.to_frame())


def test_parquet_integers_beside_missing_ones_stay_apart(tmp_path):
    from jaxals.data.tables import read_table

    pytest.importorskip("pyarrow")
    path = tmp_path / "plays.parquet"
    pd.DataFrame({"u": pd.array([PAST - 1, PAST, None], "Int64"), "i": ["a", "b", "c"]}).to_parquet(path)
    with pytest.raises(DataError, match=r"Row 3 of .* has no id in column 'u'"):
        Interactions.from_file(path, "u", "i", None)
    kept = read_table(path, "u", "i", None, missing="drop")
    assert Interactions.from_frame(kept, "u", "i", None).catalog.users.tolist() == [PAST - 1, PAST]
