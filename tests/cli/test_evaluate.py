import json

import numpy as np
import pandas as pd
import pytest

import jaxals
from jaxals.cli.options import split_up
from jaxals.evaluation import leave_k_out, random_holdout
from tests.cli import FAST


def test_evaluate_measures_beside_popularity_and_random(folder, run):
    arguments = ["evaluate", folder / "plays.tsv", *FAST, "--metrics", "recall@5", "auc"]
    document = json.loads(run(*arguments, "--json"))
    rows = pd.DataFrame(document["metrics"])
    assert len(rows) == 6
    assert rows["model"].unique().tolist()[1:] == ["popularity", "random"]
    assert rows["standard_error"].gt(0).all()
    assert document["held_out"] == 140
    assert run(*arguments).count("±") == 7


def test_splits_are_those_of_the_library(folder):
    data = jaxals.Interactions.from_file(folder / "plays.tsv")
    for ours, theirs in (
        (split_up(data, 2, None, 5), leave_k_out(data, 2, 5)),
        (split_up(data, None, 0.3, 5), random_holdout(data, 0.3, 5)),
        (split_up(data, None, None, 5), random_holdout(data, seed=5)),
    ):
        np.testing.assert_array_equal(ours.test.item, theirs.test.item)


@pytest.mark.filterwarnings("ignore:.*popularity")
def test_float64_is_taken_where_it_is_asked_for(folder, run):
    document = json.loads(run("evaluate", folder / "plays.tsv", *FAST, "--dtype", "float64", "--json"))
    assert document["held_out"] == 140
