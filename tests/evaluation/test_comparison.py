import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import Random, compare, evaluate, random_holdout
from tests.evaluation.test_ranking import Dense, full, random_case


def of_values(values, names=("ndcg@10",)):
    """An evaluation with given values for each user."""
    train, test = full(len(values), 3), full(len(values), 3)
    some = evaluate(Dense(jnp.zeros(train.shape)), train, test, "mrr@1", exclude=None)
    return dataclasses.replace(
        some, user_metrics=tuple(names), values=np.asarray(values, float).reshape(len(values), -1)
    )


def test_interval_is_that_of_the_mean_difference():
    rng = np.random.default_rng(0)
    base = rng.normal(size=900)
    first, second = of_values(base + 0.1 + 0.5 * rng.normal(size=900)), of_values(base)
    row = compare(first, second).iloc[0]
    difference = (first.values - second.values)[:, 0]
    error = difference.std(ddof=1) / np.sqrt(900)
    # Of 900 users the mean is all but normal; the ends of 10,000 resamples vary by some 3 % of the standard error.
    np.testing.assert_allclose(row["difference"], difference.mean())
    np.testing.assert_allclose(
        [row["low"], row["high"]], difference.mean() + np.array([-1.96, 1.96]) * error, atol=0.1 * error
    )
    assert row["p_value"] < 0.001
    # Unpaired, the difference drowns in how much users differ.
    assert difference.mean() < first.standard_errors["ndcg@10"] * 5
    turned = compare(second, first).iloc[0]
    np.testing.assert_allclose([turned["low"], turned["high"]], [-row["high"], -row["low"]], atol=1e-12)


@pytest.mark.slow
def test_p_values_are_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(1)
    p = [
        compare(of_values(rng.normal(size=(60, 1))), of_values(np.zeros((60, 1))), resamples=400)["p_value"][0]
        for _ in range(120)
    ]
    # A share of 0.1 of 120 has a standard deviation of 0.027, of 0.5 one of 0.046; three of those are allowed.
    assert abs(np.mean(np.array(p) < 0.1) - 0.1) < 0.082
    assert abs(np.mean(np.array(p) < 0.5) - 0.5) < 0.137


def test_equal_models_do_not_differ():
    train, test = random_case()
    one = evaluate(Random(jax.random.key(0), train.n_items), train, test, ["ndcg@5", "auc", "gini@5"])
    table = compare(one, one)
    assert table["metric"].tolist() == ["ndcg@5", "auc"]
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["p_value"] == 1).all()


@pytest.mark.parametrize("n_users", [2, 3, 50])
def test_few_users_prove_little_whatever_their_values(n_users):
    # No variance: every resample has the same mean. Two users may be drawn in four ways, each as likely.
    row = compare(of_values(np.ones(n_users)), of_values(np.zeros(n_users)), resamples=999).iloc[0]
    assert row["low"] == row["high"] == row["difference"] == 1
    assert row["p_value"] == pytest.approx({2: 0.5, 3: 2 / 27, 50: 0.002}[n_users])


def test_the_seed_decides_and_metrics_share_their_draws():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 2))
    both = compare(of_values(values, ("a", "b")), of_values(0 * values, ("a", "b")), resamples=200, seed=3)
    again = compare(of_values(values, ("a", "b")), of_values(0 * values, ("b", "a")), resamples=200, seed=3)
    pd.testing.assert_frame_equal(both, again)
    alone = compare(of_values(values[:, 1], ("b",)), of_values(0 * values, ("a", "b")), resamples=200, seed=3)
    np.testing.assert_allclose(alone.iloc[0, 1:].astype(float), both.iloc[1, 1:].astype(float), rtol=1e-12)
    other = compare(of_values(values, ("a", "b")), of_values(0 * values, ("a", "b")), resamples=200, seed=4)
    assert (other["low"] != both["low"]).all()


def test_users_are_matched_by_their_ids():
    first = of_values([1.0, 2.0, 4.0])
    second = dataclasses.replace(of_values([4.0, 1.0, 2.0]), user=np.array([2, 0, 1]))
    assert compare(first, second, resamples=10)["difference"][0] == 0
    assert (compare(first, second, resamples=10)["high"] == 0).all()


def test_refuses_what_cannot_be_compared():
    train, test = random_case()
    scorer = Dense(jnp.zeros(train.shape))
    whole = evaluate(scorer, train, test, "ndcg@5")
    with pytest.raises(ConfigurationError, match="no metric of users in common: ndcg@5; mrr@5"):
        compare(whole, evaluate(scorer, train, test, "mrr@5"))
    fewer = evaluate(scorer, train, random_holdout(test, 0.1).test, "ndcg@5")
    with pytest.raises(DataError, match="of different users"):
        compare(whole, fewer)
    with pytest.raises(DataError, match="There is one user"):
        compare(of_values([1.0]), of_values([2.0]))
    with pytest.raises(DataError, match="The difference in 'ndcg@10' is not a finite number for every user"):
        compare(of_values([1.0, np.nan, 2.0]), of_values([0.0, 1.0, 2.0]))
    with pytest.raises(DataError, match=r"`second` must be an `Evaluation`, .* got {'ndcg@5'"):
        inspect.unwrap(compare)(whole, whole.metrics)
    with pytest.raises(ConfigurationError, match="`resamples` must be an integer >= 1; got 0"):
        compare(whole, whole, resamples=0)
    with pytest.raises(ConfigurationError, match="`confidence` must be above 0 and below 1; got 95"):
        compare(whole, whole, confidence=95)
