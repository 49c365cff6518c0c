import gzip
import os
from pathlib import Path

import pytest

from jaxals.datasets.published import find_published, read_adjacency, read_ml_20m, read_msd, read_ncf
from jaxals.errors import DataError
from jaxals.evaluation import Popularity, evaluate_among_negatives

NCF = {
    "toy.train.rating": b"0\t1\t5\t978824268\n0\t0\t3\t978824269\n2\t3\t1\t978824270\n",
    "toy.test.rating": b"0\t2\t4\t1\n2\t0\t2\t1\n",
    "toy.test.negative": b"(0,2)\t3\t4\n(2,0)\t1\t0\t1\n",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def pairs(data) -> list[tuple[int, int]]:
    return list(zip(data.user.tolist(), data.item.tolist(), strict=True))


def test_reads_the_ncf_format(tmp_path):
    split = read_ncf(write(tmp_path, NCF))
    assert split.train.shape == split.test.shape == split.negatives.shape == (3, 5)
    assert pairs(split.train) == [(0, 0), (0, 1), (2, 3)]
    assert split.train.value.tolist() == [3.0, 5.0, 1.0]
    assert pairs(split.test) == [(0, 2), (2, 0)]
    assert pairs(split.negatives) == [(0, 3), (0, 4), (2, 0), (2, 1)]  # item 1 was there twice
    assert split.negatives.value.tolist() == [1.0] * 4


def test_reads_compressed_files_and_three_columns(tmp_path):
    write(tmp_path, {**NCF, "toy.test.rating": b"0\t2\t4\n2\t0\t2\n"})
    for name in ("toy.train.rating", "toy.test.negative"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(NCF[name]))
        (tmp_path / name).unlink()
    assert pairs(read_ncf(tmp_path).negatives) == [(0, 3), (0, 4), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("toy.test.negative", b"(0,2)\t3\t4\n(2,1)\t1\n", "are about different pairs"),
        ("toy.test.negative", b"(0,2)\t3\t4\n2,0\t1\n", r"Line 2 of .*toy\.test\.negative is not what its format asks"),
        (
            "toy.test.negative",
            b"(0,2)\t3\tx\n(2,0)\t1\n",
            r"Line 1 of .*toy\.test\.negative is not what its format asks",
        ),
        ("toy.test.negative", b"", r"toy\.test\.negative is empty"),
        ("toy.train.rating", b"0\t1\n", r"toy\.train\.rating cannot be read as tab-separated"),
        ("toy.train.rating", b"0\tx\t1\n", r"toy\.train\.rating cannot be read as tab-separated"),
        ("other.train.rating", b"0\t1\t1\n", r"there must be one file \*\.train\.rating\[\.gz\]; there are 2"),
    ],
)
def test_names_what_is_broken(tmp_path, file, content, message):
    write(tmp_path, {**NCF, file: content})
    with pytest.raises(DataError, match=message):
        read_ncf(tmp_path)


def test_reads_adjacency_lists(tmp_path):
    write(tmp_path, {"train.txt": b"0 4 1\n1 2\n3 0 \n", "test.txt": b"0 3\n1 \n3 1 2\n"})
    split = read_adjacency(tmp_path / "train.txt", tmp_path / "test.txt")
    assert split.train.shape == split.test.shape == (4, 5)
    assert pairs(split.train) == [(0, 1), (0, 4), (1, 2), (3, 0)]
    assert pairs(split.test) == [(0, 3), (3, 1), (3, 2)]
    (tmp_path / "test.txt").write_bytes(b"0 3\n\n")
    with pytest.raises(DataError, match=r"Line 2 of .*test\.txt is not what its format asks for"):
        read_adjacency(tmp_path / "train.txt", tmp_path / "test.txt")
    with pytest.raises(DataError, match=r"no\.txt cannot be read"):
        read_adjacency(tmp_path / "train.txt", tmp_path / "no.txt")


def test_reads_raw_files_in_their_order(tmp_path):
    write(
        tmp_path,
        {
            "ratings.csv": b"userId,movieId,rating,timestamp\n2,7,3.5,1\n1,9,4.0,2\n2,3,5.0,3\n",
            "train_triplets.txt": b"b80344\tSOBONKR\t3\na1f2\tSOAKIMP\t1\n",
        },
    )
    ratings = read_ml_20m(tmp_path / "ratings.csv")
    assert ratings.astype({"user": int, "item": int}).values.tolist() == [[2, 7, 3.5], [1, 9, 4.0], [2, 3, 5.0]]
    plays = read_msd(tmp_path / "train_triplets.txt")
    assert plays.values.tolist() == [["b80344", "SOBONKR", 3.0], ["a1f2", "SOAKIMP", 1.0]]
    assert list(plays.columns) == list(ratings.columns) == ["user", "item", "value"]


def test_finds_files_where_the_environment_points(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
    (tmp_path / "here").mkdir()
    assert find_published("here") == tmp_path / "here"
    with pytest.raises(DataError, match=r"There is no 'there' in .*, where JAXALS_DATA points"):
        find_published("there")
    monkeypatch.delenv("JAXALS_DATA")
    with pytest.raises(DataError, match="JAXALS_DATA must name the folder that 'here' is in"):
        find_published("here")


@pytest.mark.skipif(not os.path.isdir(os.environ.get("JAXALS_DATA", "")), reason="JAXALS_DATA names no folder")
@pytest.mark.parametrize(
    ("folder", "shape", "counts", "in_both", "published"),
    [
        ("ncf-ml-1m", (6040, 3706), (994_169, 6040), 156, {"hit_rate@10": 0.4535, "ndcg@10": 0.2542}),
        ("deepcf-lastfm", (1741, 2665), (67_408, 1741), 86, {"hit_rate@10": 0.6628, "ndcg@10": 0.3862}),
    ],
)
def test_popularity_is_as_published_on_real_splits(folder, shape, counts, in_both, published):
    split = read_ncf(find_published(folder))
    assert split.train.shape == shape
    assert (len(split.train), len(split.test)) == counts
    assert split.test.is_among(split.negatives).sum() == in_both
    popularity = Popularity.from_interactions(split.train)
    got = evaluate_among_negatives(popularity, split.train, split.test, split.negatives, list(published))
    assert got.metrics == pytest.approx(published, abs=1e-3)
