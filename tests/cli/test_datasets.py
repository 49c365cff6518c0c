import json
import os

import pytest

import jaxals
from jaxals.cli.options import COLUMNS, read


def test_datasets_lists_what_is_known_and_what_is_here(run, monkeypatch, tmp_path):
    (tmp_path / "ml-1m").mkdir()
    for name in ("ratings.dat", "movies.dat"):
        (tmp_path / "ml-1m" / name).write_text("")
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(run("datasets", "--json"))["datasets"]}
    assert list(rows) == jaxals.datasets.names()
    assert rows["movielens-1m"]["in_JAXALS_DATA"] == str(tmp_path / "ml-1m" / "ratings.dat")
    assert rows["online-retail"]["in_JAXALS_DATA"] is None
    output = run("datasets")
    assert "CC BY 4.0" in output
    assert "Harper" in output


def test_the_distributed_file_of_a_known_set_is_recognised(tmp_path):
    path = tmp_path / "usersha1-artmbid-artname-plays.tsv"
    path.write_text("".join(f"u{n % 4}\t\tartist {n}\t{n}\n" for n in range(1, 12)))
    for data in (path, tmp_path):
        assert read(str(data), COLUMNS).shape == (4, 11)
    other = tmp_path / "ratings.dat"  # MovieLens 1M's, but only beside its movies.dat
    other.write_text("user\titem\tvalue\na\tx\t1\n")
    assert read(str(other), COLUMNS).shape == (1, 1)


@pytest.mark.skipif("JAXALS_DATA" not in os.environ, reason="JAXALS_DATA is not set")
def test_real_last_fm_file():
    folder = os.path.join(os.environ["JAXALS_DATA"], "lastfm-360k-format")
    data = read(os.path.join(folder, "usersha1-artmbid-artname-plays.tsv"), COLUMNS)
    assert data.shape == (1892, 17632)
    assert data.catalog.item_indices(["Radiohead"]).shape == (1,)
