import dataclasses
import inspect

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxals
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import compare, holm, paper_table, plan_evaluation, run_plan
from tests.evaluation.test_ranking import Dense, full

N_USERS, N_ITEMS = 40, 12
TRAIN = full(N_USERS, N_ITEMS)
TEST = TRAIN.select(TRAIN.item < 3)
PLAN = plan_evaluation(TRAIN, TEST, ["ndcg@3", "gini@3"], exclude=None)


def noisy(seed: int, strength: float = 1.0) -> Dense:
    """Scores whose first three items, the relevant ones, are above the others by so much."""
    scores = np.random.default_rng(seed).normal(size=(N_USERS, N_ITEMS))
    return Dense(jnp.asarray(scores + strength * (np.arange(N_ITEMS) < 3)))


MODELS = {"good_1": lambda seed: noisy(seed, 3.0), "bad": [noisy(9, 0.0), noisy(10, 0.0)], "flat": noisy(11, 0.1)}
TABLE = paper_table(MODELS, PLAN, seeds=range(3), settings={"bad": jaxals.Objective.hkv()}, resamples=500)


def test_values_are_those_of_each_seed_alone():
    assert TABLE.values["model"].tolist() == ["good_1"] * 3 + ["bad"] * 2 + ["flat"]
    alone = [run_plan(noisy(seed, 3.0), PLAN)["ndcg@3"] for seed in range(3)]
    assert TABLE.values["ndcg@3"][:3].tolist() == alone
    assert TABLE.means.loc["good_1", "ndcg@3"] == pytest.approx(np.mean(alone))
    assert TABLE.deviations.loc["good_1", "ndcg@3"] == pytest.approx(np.std(alone, ddof=1))
    assert TABLE.deviations["ndcg@3"].isna().tolist() == [False, False, True]


def test_pairs_are_tested_as_compare_does_by_means_over_seeds_and_corrected():
    assert TABLE.tests["metric"].tolist() == ["ndcg@3"] * 3  # gini is of all lists together
    ones = [run_plan(noisy(seed, 3.0), PLAN) for seed in range(3)]
    mean = dataclasses.replace(ones[0], values=np.mean([one.values for one in ones], axis=0))
    wanted = compare(mean, run_plan(noisy(11, 0.1), PLAN), resamples=500).iloc[0]
    row = TABLE.tests[(TABLE.tests["first"] == "good_1") & (TABLE.tests["second"] == "flat")].iloc[0]
    for name in ("difference", "low", "high", "p_value"):
        assert row[name] == pytest.approx(wanted[name], abs=1e-12)
    assert TABLE.tests["corrected"].tolist() == holm(TABLE.tests["p_value"]).tolist()
    assert (TABLE.tests["corrected"] >= TABLE.tests["p_value"]).all()
    only = paper_table(MODELS, PLAN, seeds=[0], reference="flat", resamples=200)
    assert only.tests[["first", "second"]].to_numpy().tolist() == [["good_1", "flat"], ["bad", "flat"]]


def test_the_best_is_bold_and_starred_where_it_beats_all():
    assert TABLE.best("ndcg@3") == "good_1"
    assert TABLE.best("gini@3") is None
    assert TABLE.beats_all("good_1", "ndcg@3")
    assert not TABLE.beats_all("bad", "ndcg@3")
    even = paper_table({"one": noisy(0), "same": noisy(0)}, PLAN, resamples=100)
    assert not even.beats_all("one", "ndcg@3")
    assert "*" not in even.to_latex().split("end{tabular}")[0]
    assert not paper_table({"alone": noisy(0)}, PLAN).beats_all("alone", "ndcg@3")


def test_markdown_has_the_table_the_note_and_the_settings():
    lines = TABLE.to_markdown().splitlines()
    assert lines[0] == "| model | ndcg@3 | gini@3 |"
    assert lines[2].startswith("| good_1 | **")
    assert lines[2].split(" | ")[1].endswith(r"**\*")
    assert " ± " not in lines[4]  # one seed
    note = "Means over 40 users; ± standard deviation over 2 to 3 seeds where chance has a part; best in bold; "
    assert lines[6] == note + (
        "* better than every other model, p < 0.05 (paired bootstrap over users, 3 tests corrected by Holm)."
    )
    assert lines[8] == f"- bad: `{jaxals.Objective.hkv()!r}`"
    assert repr(TABLE).endswith(TABLE.note())
    assert TABLE.to_frame()["ndcg@3"].iloc[2] == f"{TABLE.means['ndcg@3'].iloc[2]:.4f}"


def test_latex_escapes_what_latex_reads():
    greek = paper_table({"EASE, λ < 5": noisy(0), "a|b": noisy(1)}, PLAN, resamples=10)
    assert r"EASE, $\lambda$ $<$ 5 &" in greek.to_latex()
    assert "| a\\|b | " in greek.to_markdown()
    text = TABLE.to_latex()
    assert r"good\_1 & \textbf{" in text
    assert r"$\pm$" in text
    assert text.splitlines()[0] == r"\begin{tabular}{lrr}"
    assert text.splitlines()[-1].startswith("% bad: Objective(")


def test_what_fit_returned_says_its_settings():
    def run(seed: int) -> jaxals.Run:
        rng = np.random.default_rng(seed)
        factors = jaxals.Factors(jnp.asarray(rng.normal(size=(N_USERS, 2))), jnp.asarray(rng.normal(size=(N_ITEMS, 2))))
        return jaxals.Run(factors, pd.DataFrame(), jaxals.Objective.hkv(), jaxals.ALS(factors=2, sweeps=0))

    evaluation = run_plan(noisy(0), PLAN)
    table = paper_table({"ALS": [run(0), run(1)], "noise": evaluation, "again": run}, PLAN, resamples=50)
    assert table.settings["ALS"].startswith("Objective(confidence=LinearConfidence(alpha=40.0)")
    assert "ALS(factors=2, sweeps=0" in table.settings["ALS"]
    assert list(table.settings) == ["ALS", "again"]
    values = table.values["ndcg@3"].tolist()
    assert values[2] == evaluation["ndcg@3"]
    assert values[3] == values[0] != values[1]


def test_holm_is_that_of_the_paper():
    # Holm 1979, by hand: m = 4, sorted .005, .01, .03, .04 times 4, 3, 2, 1, and never falling.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    for wrong in ([1.5], [np.nan], ["x"], "x", [[0.1]]):
        with pytest.raises(DataError, match="`p` must be"):
            inspect.unwrap(holm)(wrong)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": {}}, "`models` must hold a model to measure; got none"),
        ({"models": {1: noisy(0)}}, "`models` must have names that are text; got 1"),
        ({"models": {"one": []}}, "`models` must have a model for 'one'; got an empty list"),
        ({"models": {"one": 3}}, r"`models\['one'\]` must be a function of seed; got 3"),
        ({"models": {"one": [3]}}, "`models` must have scorers, runs or evaluations; that of 'one' is 3"),
        ({"seeds": []}, "`seeds` must hold one for the functions"),
        ({"seeds": [-1]}, "`seeds` must be an integer >= 0; got -1"),
        ({"reference": "best"}, "`reference` must be one of one, or None; got 'best'"),
        ({"level": 5}, "`level` must be above 0 and below 1; got 5"),
        ({"plan": None}, "`plan` must be from `plan_evaluation`"),
    ],
)
def test_wrong_arguments_are_named(changed, message):
    given = {"models": {"one": noisy}, "plan": PLAN, "seeds": [0], "resamples": 10} | changed
    with pytest.raises((ConfigurationError, DataError), match=message):
        inspect.unwrap(paper_table)(**given)
    other = run_plan(noisy(0), plan_evaluation(TRAIN, TEST, ["mrr@3"], exclude=None))
    with pytest.raises(DataError, match="the evaluation of 'other' is of another one"):
        paper_table({"other": other}, PLAN)
    for ask in (TABLE.best, lambda metric: TABLE.beats_all("bad", metric)):
        with pytest.raises(ConfigurationError, match="`metric` must be one of ndcg@3, gini@3; got 'mrr'"):
            ask("mrr")
    with pytest.raises(ConfigurationError, match="`model` must be one of good_1, bad, flat; got 'none'"):
        TABLE.beats_all("none", "ndcg@3")


def test_without_chance_the_note_has_no_deviation_and_numbers_that_are_none_are_refused():
    table = paper_table({"one": noisy(0), "other": noisy(1)}, PLAN, resamples=50)
    assert "deviation" not in table.note()
    broken = dataclasses.replace(run_plan(noisy(0), PLAN))
    broken.values[0] = np.nan
    with pytest.raises(DataError, match="finite metrics for every user"):
        paper_table({"one": broken, "other": noisy(1)}, PLAN)
