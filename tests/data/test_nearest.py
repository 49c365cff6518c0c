import difflib

import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog
from jaxals.data.nearest import unknown_message
from jaxals.errors import UnknownIdError


@pytest.fixture
def compared(monkeypatch):
    """How many texts each call compared with the unknown one."""
    counts: list[int] = []
    real = difflib.get_close_matches

    def counting(word, possibilities, *given, **named):
        counts.append(len(possibilities))
        return real(word, possibilities, *given, **named)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    return counts


def addresses(count: int) -> list[str]:
    return [f"https://example.org/catalog/products/{number * 7919 % 1_000_003:07}.html" for number in range(count)]


@pytest.mark.parametrize("order", [list, sorted])
def test_work_for_an_unknown_id_does_not_grow_with_the_catalog(order, compared, monkeypatch):
    read: list[int] = []
    real = pd.Index.tolist

    def counting(index):
        read.append(len(index))
        return real(index)

    monkeypatch.setattr(pd.Index, "tolist", counting)
    for count in (3_000, 30_000):
        catalog = Catalog(order(addresses(count)), ["x"])
        read.clear()
        with pytest.raises(UnknownIdError, match=r"nearest known are 'https"):
            catalog.user_indices([catalog.users[7].replace("html", "htm")])
        assert max(read) < 100
    small, large = compared
    assert small <= 2_000
    assert large <= 2_000


def test_a_catalog_of_any_range_is_not_unrolled():
    assert "the nearest known are" in unknown_message(pd.RangeIndex(2**31 - 1), 2**31, "user")


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("RADIOHEAD", "Radiohead"),
        ("radiohaed", "Radiohead"),
        ("Radiohed", "Radiohead"),
        ("Radioohead", "Radiohead"),
        ("Radiphead", "Radiohead"),
        (" Radiohead ", "Radiohead"),
        ("adiohead", "Radiohead"),
        ("the beatles", "The Beatles"),
        ("BJÖRK", "Björk"),
    ],
)
def test_slips_and_case_are_seen_in_a_large_catalog(unknown, nearest, compared):
    catalog = Catalog(["Radiohead", "The Beatles", "Björk", *addresses(3_000)], ["x"])
    with pytest.raises(UnknownIdError, match=f"the nearest known are .*'{nearest}'"):
        catalog.user_indices([unknown])
    assert max(compared) < 100


def test_numbers_beside_an_unknown_one_are_named():
    catalog = Catalog(np.arange(5_000) * 2, ["x"])
    with pytest.raises(UnknownIdError, match=r"the nearest known are \d+, \d+, \d+\."):
        catalog.user_indices([4321])


@pytest.mark.parametrize("unknown", ["x" * 5000, "", "\0", (1, "a"), 10**5000, b"x", object(), 1j], ids=lambda _: "")
def test_anything_unknown_is_named(unknown):
    for ids in (["a"], addresses(2_500), list(range(2_500)), [*range(2_500), "a"]):
        with pytest.raises(UnknownIdError, match="There is no item"):
            Catalog(["x"], ids).item_indices([unknown])
