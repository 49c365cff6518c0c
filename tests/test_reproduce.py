import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxals import datasets
from jaxals.evaluation import leave_k_out, sample_negatives

SCRIPTS = Path(__file__).parents[1] / "experiments" / "reproduce"
README = "before\n<!-- results: written by experiments/reproduce -->\nold\n<!-- end of results -->\nafter\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project's folder with a README, and beside it data of which `JAXALS_DATA` is told."""
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield tmp_path
    for helper in ("report", "strong"):
        sys.modules.pop(helper, None)


def run(folder, monkeypatch, name: str, *options: str) -> dict[str, dict]:
    """Run a script, and return the rows of its JSON by model."""
    monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(folder / "experiments" / "results")])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    return {row["model"]: row for row in written(folder, name)["rows"]}


def written(folder: Path, name: str) -> dict:
    return json.loads((folder / "experiments" / "results" / f"reproduce_{name}.json").read_text())


def write_ncf(folder: Path) -> None:
    data = datasets.synthetic(n_users=60, n_items=250, n_interactions=900, seed=0)
    split = sample_negatives(data, leave_k_out(data, 1).test, n=15)
    folder.mkdir()
    for name, part in (("train", split.train), ("test", split.test)):
        lines = (f"{u}\t{i}\t{v:g}\n" for u, i, v in zip(part.user, part.item, part.value, strict=True))
        (folder / f"toy.{name}.rating").write_text("".join(lines))
    negatives = np.split(split.negatives.item, split.negatives.row_starts()[1:-1])
    pairs = zip(split.test.user, split.test.item, strict=True)
    lines = (f"({u},{i})\t" + "\t".join(map(str, negatives[u])) + "\n" for u, i in pairs)
    (folder / "toy.test.negative").write_text("".join(lines))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning")  # irspack's, of pydantic
def test_the_table_of_ncf(folder, monkeypatch, capsys):
    write_ncf(folder / "data" / "ncf-ml-1m")
    rows = run(folder, monkeypatch, "ncf_ml_1m", "--seeds", "2", "--factors", "4")
    assert [label.split(",")[0] for label in rows][:3] == ["popularity", "EASE", "iALS"]
    pairs = {(test["first"], test["second"]) for test in written(folder, "ncf_ml_1m")["tests"]}
    assert pairs >= {("popularity", "iALS"), ("EASE", "iALS")}
    values = rows["iALS, 4 factors"]["values"]["hit_rate@10"]
    assert len(set(values)) == 2
    assert rows["popularity"]["published"] == {"hit_rate@10": 0.4535, "ndcg@10": 0.2542}

    ours = f"{np.mean(values):.4f}".removeprefix("0") + " ± " + f"{np.std(values, ddof=1):.4f}".removeprefix("0")
    markdown = (folder / "experiments" / "results" / "reproduce_ncf_ml_1m.md").read_text()
    assert f"| iALS, 4 factors | {ours} |" in markdown
    assert markdown in capsys.readouterr().out
    readme = (folder / "README.md").read_text()
    assert f"| NCF ML-1M, HR@10 / NDCG@10 | iALS, 4 factors | {ours} / " in readme
    assert readme.startswith("before\n<!-- results: written")
    assert readme.endswith("\n<!-- end of results -->\nafter\n")
    assert "old" not in readme


def test_the_readme_shows_all_tables_that_were_written(folder, monkeypatch):
    for name, n in (("first", 1), ("second", 2)):
        script = runpy.run_path(str(SCRIPTS / "report.py"))
        shown = script["Row"](name, {"auc": [0.5] * n})
        hidden = script["Row"]("hidden", {"auc": [0.25]}, in_readme=False)
        script["write"](name, f"title {name}", "Protocol.", [shown, hidden], folder / "experiments" / "results")
    rows = (folder / "README.md").read_text().splitlines()[4:6]
    assert rows == ["| title first | first | .5000 |  |", "| title second | second | .5000 ± .0000 |  |"]


@pytest.mark.slow
def test_the_table_of_online_retail(folder, monkeypatch):
    data = datasets.synthetic(n_users=40, n_items=30, n_interactions=400, seed=1)
    frame = pd.DataFrame(
        {
            "StockCode": data.item.astype(str),
            "Description": "thing",
            "Quantity": data.value.astype(int),
            "CustomerID": data.user.astype(float),
        }
    )
    (folder / "data" / "online-retail").mkdir()
    frame.to_parquet(folder / "data" / "online-retail" / "online_retail_uci.parquet")
    rows = run(folder, monkeypatch, "online_retail", "--seeds", "2", "--sweeps", "3")
    assert set(rows) == {"popularity, all pairs", "popularity, training pairs", "ALS, 20 factors"}
    assert all(0 < value < 1 for row in rows.values() for value in row["values"]["auc"])


@pytest.mark.slow
def test_the_table_of_lastfm(folder, monkeypatch):
    data = datasets.synthetic(n_users=80, n_items=60, n_interactions=2000, seed=2)
    (folder / "data" / "lastfm-2k").mkdir()
    plays = pd.DataFrame({"userID": data.user, "artistID": data.item, "weight": data.value.astype(int)})
    plays.to_csv(folder / "data" / "lastfm-2k" / "user_artists.dat", sep="\t", index=False)
    artists = pd.DataFrame({"id": range(60), "name": [f"artist {i}" for i in range(60)]})
    artists.to_csv(folder / "data" / "lastfm-2k" / "artists.dat", sep="\t", index=False)
    rows = run(folder, monkeypatch, "lastfm_2k", "--seeds", "1", "--factors", "4", "--sweeps", "2", "--quick")
    assert len(rows) == 6
    head, tail = (rows["popularity"]["values"][f"recall@20 of {part}"][0] for part in ("head", "tail"))
    assert head > tail


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The objective is far from these data")
@pytest.mark.parametrize("name", ["ml_20m", "msd"])
def test_tables_of_unseen_users_run_on_files_of_their_format(folder, monkeypatch, capsys, name):
    options = ["--factors", "4", "--sweeps", "2", "--held-out-users", "20"]
    with pytest.raises(SystemExit):
        run(folder, monkeypatch, name, *options)
    assert "Skipped: There is no" in capsys.readouterr().out

    if name == "ml_20m":
        data = datasets.synthetic(n_users=400, n_items=150, n_interactions=12_000, seed=0)
        frame = pd.DataFrame({"userId": data.user + 1, "movieId": data.item * 3, "rating": 4.0, "timestamp": 1})
        frame.loc[::7, "rating"] = 3.5
        file = folder / "data" / "ml-20m" / "ratings.csv"
    else:  # as many listeners as songs need to be kept
        data = datasets.synthetic(n_users=3000, n_items=120, n_interactions=90_000, seed=0)
        users = [f"u{user:x}" for user in data.user]
        frame = pd.DataFrame({"user": users, "song": [f"SO{item}" for item in data.item], "plays": data.value})
        file = folder / "data" / "msd" / "train_triplets.txt"
    file.parent.mkdir()
    frame.to_csv(file, sep="," if name == "ml_20m" else "\t", header=name == "ml_20m", index=False)
    rows = run(folder, monkeypatch, name, *options)
    assert [label.split(",")[0] for label in rows] == ["popularity", "EASE", "iALS"]
    assert all(0.05 < values[0] < 1 for row in rows.values() for values in row["values"].values())
    assert "20 others are folded in" in written(folder, name)["protocol"]


def test_scripts_name_their_own_file():
    for script in SCRIPTS.glob("*.py"):
        if script.stem not in ("report", "strong"):
            assert f"python experiments/reproduce/{script.name}" in script.read_text()
            assert f'"{script.stem}"' in script.read_text()
    assert os.environ.get("XLA_FLAGS"), "with devices made beforehand, `use_all_cores` changes nothing in this process"
