import numpy as np
import pytest

from jaxals import implicit_api
from jaxals.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
    (tmp_path / "usersha1-artmbid-artname-plays.tsv").write_text(
        "u2\tm1\tMoby\t3\nu1\tm1\tMoby\t5\nu1\tm2\tAir\t2\nu3\t\tZz Top\t7\nu3\tm2\tAir\t0\n"
    )
    (tmp_path / "u.data").write_text("7\t2\t4\t1\n3\t5\t2\t1\n7\t5\t1\t1\n")
    (tmp_path / "u.item").write_text("2|Heat (1995)|x\n5|Amélie (2001)|x\n6|Nobody saw it|x\n", encoding="latin-1")
    return tmp_path


def test_lastfm_has_artists_in_rows(folder):
    artists, users, plays = implicit_api.datasets.lastfm.get_lastfm()
    assert (artists.tolist(), users.tolist()) == (["Air", "Moby", "Zz Top"], ["u1", "u2", "u3"])
    np.testing.assert_array_equal(plays.toarray(), [[2, 0, 0], [5, 3, 0], [0, 0, 7]])
    assert (plays.format, plays.dtype) == ("csr", np.float32)


def test_movielens_has_rows_by_id(folder):
    titles, ratings = implicit_api.datasets.movielens.get_movielens("100k")
    assert titles.tolist() == ["", "", "Heat (1995)", "", "", "Amélie (2001)", "Nobody saw it"]
    expected = np.zeros((6, 8))
    expected[[2, 5, 5], [7, 3, 7]] = 4, 2, 1
    np.testing.assert_array_equal(ratings.toarray(), expected)
    assert (ratings.format, ratings.dtype) == ("csr", np.float32)
    with pytest.raises(ConfigurationError, match='`variant` must be "20m", "1m" or "100k"; got \'10m\''):
        implicit_api.datasets.movielens.get_movielens("10m")


def test_modules_stand_where_implicit_has_them():
    for name in ("als", "nearest_neighbours", "evaluation", "datasets"):
        assert hasattr(implicit_api, name)
    assert implicit_api.als.AlternatingLeastSquares is implicit_api.AlternatingLeastSquares
