from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from jaxals import Interactions, datasets
from jaxals.datasets.labels import read_names, with_names
from jaxals.errors import DataError


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["Heat", "Heat", "Big"], ["Heat [0]", "Heat [1]", "Big"]),
        (["Heat", "Heat", "Heat [0]"], ["Heat [0]", "Heat [1]", "Heat [0] [2]"]),
        (["Heat [1]", "Heat", "Heat"], ["Heat [1] [0]", "Heat [1]", "Heat [2]"]),
        (["Heat", "Heat", "Heat [0]", "Heat [0] [2]"], ["Heat [0]", "Heat [1]", "Heat [0] [2]", "Heat [0] [2] [3]"]),
        (["1", None, "x"], ["1 [0]", "1 [1]", "x"]),
        (["", "", " "], [" [0]", " [1]", " "]),
    ],
)
def test_no_two_items_share_a_label(names, labels):
    data = Interactions.from_arrays([0] * len(names), list(range(len(names))))
    given: Any = {number: name for number, name in enumerate(names) if name is not None}
    assert with_names(data, given).catalog.items.tolist() == labels


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize(
    ("name", "file", "separator", "ratings"),
    [("movielens-1m", "movies.dat", "::", "ratings.dat"), ("movielens-100k", "u.item", "|", "u.data")],
)
def test_titles_are_utf_8_or_else_latin_1(name, file, separator, ratings, encoding, tmp_path: Path):
    line = separator.join(["1", "Amélie (2001)", "x"]) + "\n"
    (tmp_path / file).write_bytes(line.encode(encoding))
    rating = "::".join("1151") if ratings == "ratings.dat" else "\t".join("1151")
    (tmp_path / ratings).write_text(rating + "\n")
    assert datasets.load(name, tmp_path).catalog.items.tolist() == ["Amélie (2001)"]


def test_names_that_must_be_utf_8(tmp_path: Path):
    (tmp_path / "names").write_bytes("1\tBjörk\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as a table of names"):
        read_names(tmp_path / "names", "\t")


@pytest.mark.parametrize("name", [None, 5, ["lastfm-2k"], datasets.published])
def test_what_is_no_name_of_a_data_set_is_refused(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(DataError, match="`name` must be one of lastfm-360k"):
        datasets.load(name)


def test_a_published_split_is_no_data_set():
    with pytest.raises(DataError, match=r"no data set 'gowalla-lightgcn'.*read by `jaxals.datasets.published`"):
        datasets.load("gowalla-lightgcn")


READERS: list[Any] = [
    lambda path: datasets.load("lastfm-2k", path),
    lambda path: datasets.find("lastfm-2k", path),
    lambda path: datasets.published.read_ncf(path),
    lambda path: datasets.published.read_adjacency(path, "x"),
    lambda path: datasets.published.read_ml_20m(path),
    lambda path: Interactions.from_file(path),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_path_is_refused(read, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(DataError, match=r"must be a path, a string or `pathlib.Path`; got 5"):
        read(5)


@pytest.mark.parametrize("line", ["1.5\t2\t1", "\t2\t1", f"{2**70}\t2\t1", "a\t2\t1", "1\t2\tx"])
def test_columns_of_a_published_split_must_be_integers(line, tmp_path: Path):
    for ending in (".train.rating", ".test.rating"):
        (tmp_path / f"a{ending}").write_text(f"1\t1\t1\n{line}\n")
    with pytest.raises(DataError, match="cannot be read as tab-separated users, items and values"):
        datasets.published.read_ncf(tmp_path)
