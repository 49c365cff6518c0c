import json
import re

import pandas as pd

import jaxals
from jaxals.cli.options import raw_ids


def test_recommend_takes_integer_ids_and_agrees_with_the_library(folder, run):
    document = json.loads(run("recommend", folder / "model", 5, 7, "--n", 3, "--json"))
    expected = jaxals.Recommender.load(folder / "model").recommend([5, 7], n=3)
    assert [(r["user"], r["item"], r["rank"]) for r in document["recommendations"]] == [
        (r.user, r.item, r.rank) for r in expected.itertuples()
    ]


def test_recommend_explains(folder, run):
    (row,) = json.loads(run("recommend", folder / "named", 5, "--n", 1, "--json", "--explain"))["recommendations"]
    assert set(row["because"][0]) == {"item", "value", "contribution"}
    assert len(row["because"]) == 3
    output = run("recommend", folder / "named", 5, "--n", 2, "--explain", "--scale", "unit")
    assert "For user 5" in output
    assert re.search(r"artist \[\d+\] \([+-]0\.\d\d\)", output)  # brackets survive rich's markup


def test_seen_items_come_back_only_on_request(folder, run):
    seen = set(pd.read_table(folder / "plays.tsv").query("user == 5")["item"])
    arguments = ["recommend", folder / "model", 5, "--n", 40, "--json"]
    found = lambda *extra: {row["item"] for row in json.loads(run(*arguments, *extra))["recommendations"]}
    assert not found() & seen
    assert found("--include-seen") == set(range(40))


def test_similar_items_and_users(folder, run):
    document = json.loads(run("similar", folder / "named", "artist [3]", "--n", 4, "--measure", "dot", "--json"))
    expected = jaxals.Recommender.load(folder / "named").similar_items("artist [3]", n=4, measure="dot")
    assert [row["similar_item"] for row in document["similar"]] == expected["similar_item"].tolist()
    assert "Like user 7" in run("similar", folder / "model", 7, "--users")


def test_what_is_asked_twice_is_answered_once(folder, run):
    for command in ("recommend", "similar"):
        rows = next(iter(json.loads(run(command, folder / "model", 1, 1, "--n", 3, "--json")).values()))
        assert [row["rank"] for row in rows] == [1, 2, 3]
        output = run(command, folder / "model", 1, 1, "--n", 3)
        assert len(re.findall(r"^ +[123] ", output, re.MULTILINE)) == 3


def test_ids_from_the_shell_become_the_catalogs_type():
    assert raw_ids(pd.Index([1, 2]), ["2", "x"]) == [2, "x"]
    assert raw_ids(pd.Index([1.5, 2.0]), ["2"]) == [2.0]
    assert raw_ids(pd.Index(["1", "b"]), ["1"]) == ["1"]
