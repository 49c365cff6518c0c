"""Expected values over orders of tied items, against the mean over all these orders."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Factors, Interactions
from jaxals.evaluation import by_popularity, evaluate, evaluate_among_negatives
from jaxals.evaluation.exposure import coverage, gini, novelty, self_information, times_listed
from tests.combinations import fast_first
from tests.evaluation.test_ranking import Dense

KINDS = ["recall", "capped_recall", "precision", "ndcg", "map", "mrr", "hit_rate", "novelty", "coverage", "gini"]
SCORES = np.array([[1.0, 2, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [3, 1, 2, 1, 1, 5]])
TRAIN = Interactions.from_arrays([0, 1, 2, 2], [4, 5, 0, 5], shape=(3, 6))
TEST = Interactions.from_arrays([0, 0, 0, 1, 2, 2], [0, 1, 3, 2, 3, 4], shape=(3, 6))


def orders(user):
    """All rankings of what the user has not seen that the scores allow."""
    left = [item for item in range(6) if item not in TRAIN.item[TRAIN.user == user]]
    return [order for order in itertools.permutations(left) if (np.diff(SCORES[user][list(order)]) <= 0).all()]


@pytest.mark.parametrize("k", fast_first(1, [2, 6, 1, 3]))
def test_figures_are_means_over_all_orders(k):
    got = evaluate(Dense(jnp.asarray(SCORES)), TRAIN, TEST, [f"{kind}@{k}" for kind in KINDS])
    # One user for each order, whose scores are all different.
    information, values, shown = self_information(TRAIN), [], []
    for user in range(3):
        ways = orders(user)
        n, scores = len(ways), np.zeros((len(ways), 6))
        for row, order in zip(scores, ways, strict=True):
            row[list(order)] = 6.0 - np.arange(len(order))
        repeat = lambda items, n=n: Interactions.from_arrays(
            np.repeat(np.arange(n), len(items)), np.tile(items, n), shape=(n, 6)
        )
        plain = evaluate(
            Dense(jnp.asarray(scores)),
            repeat(TRAIN.item[TRAIN.user == user]),
            repeat(TEST.item[TEST.user == user]),
            [f"{kind}@{k}" for kind in KINDS[:7]],
        )
        lists = np.array([(*order, *[-1] * 6)[:k] for order in ways])
        values.append([*plain.values.mean(axis=0), novelty(lists, information).mean()])
        shown.append(np.mean([times_listed(row[None], 6) for row in lists], axis=0))
    np.testing.assert_allclose(got.values, values, rtol=1e-12)
    times = np.sum(shown, axis=0)
    assert got[f"coverage@{k}"] == pytest.approx(np.mean(1 - np.prod(1 - np.array(shown), axis=0)))
    in_order = np.sort(times)
    assert got[f"gini@{k}"] == pytest.approx(np.sum((2 * np.arange(1, 7) - 7) * in_order) / (5 * times.sum()))
    table = by_popularity(got, TRAIN, k=k, buckets=[1])
    known = TRAIN.counts("item") > 0
    share = float(times[known].sum()) / float(times.sum())
    np.testing.assert_allclose(table["exposure"], [1 - share, share])
    recall = by_popularity(got, TRAIN, k=k, buckets=1)["mean"][0]
    assert recall == pytest.approx(got[f"recall@{k}"])


def test_shorter_lists_than_were_kept_have_their_own_chances():
    longer = evaluate(Dense(jnp.asarray(SCORES)), TRAIN, TEST, ["recall@2", "recall@3"])
    assert by_popularity(longer, TRAIN, k=2, buckets=1)["mean"][0] == pytest.approx(longer["recall@2"])
    # Items off the lists of 3 tie with what is on those of 2, and no metric counted them.
    assert np.isnan(by_popularity(longer, TRAIN, k=2, buckets=1)["exposure"][0])


def test_where_nothing_ties_lists_are_counted_as_they_are():
    lists = np.array([[0, 1], [1, -1]])
    np.testing.assert_array_equal(times_listed(lists, 3), [1, 2, 0])
    assert coverage(lists, 3) == 2 / 3
    assert gini(lists, 3) == coverage(lists, 3)


@pytest.mark.slow
def test_what_factors_know_nothing_of_is_on_no_list_but_ranked_among_negatives():
    # Both items that item 2, never trained, lies above have scores below 0; user 1 was told nothing.
    factors = Factors(jnp.array([[1.0], [0.0]]), jnp.array([[-1.0], [-2.0], [0.0], [0.0]]))
    train = Interactions.from_arrays([0, 1], [3, 3], shape=(2, 4))
    test = Interactions.from_arrays([0, 1], [1, 1], shape=(2, 4))
    got = evaluate(factors, train, test, ["mrr@4", "auc"])
    assert got.lists.tolist() == [[0, 1, -1, -1], [-1, -1, -1, -1]]
    np.testing.assert_allclose(got.values, [[0.5, 0], [0, 0.5]])  # the AUC compares the scores of all items
    negatives = Interactions.from_arrays([0, 0, 1, 1], [0, 2, 0, 2], shape=(2, 4))
    among = evaluate_among_negatives(factors, train, test, negatives, ["mrr@4"])
    np.testing.assert_allclose(among.values[:, 0], [1 / 3, (1 + 1 / 2 + 1 / 3) / 3])
