import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    ndcg_score,
    precision_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from jaxals.evaluation.metrics import LIST_METRICS, auc, ranked_hits
from tests.combinations import combinations
from tests.evaluation.ranking_oracle import rank_user

LOG3 = np.log2(3)

# hits, |R|, and by hand: recall, capped recall, precision, NDCG, MAP, MRR, hit rate.
BY_HAND = [
    ([1, 1, 0], 2, [1, 1, 2 / 3, 1, 1, 1, 1]),
    ([0, 1, 1], 2, [1, 1, 2 / 3, (1 / LOG3 + 1 / 2) / (1 + 1 / LOG3), (1 / 2 + 2 / 3) / 2, 1 / 2, 1]),
    ([0, 0, 1], 1, [1, 1, 1 / 3, 1 / 2, 1 / 3, 1 / 3, 1]),
    ([1, 1, 1], 5, [3 / 5, 1, 1, 1, 1, 1, 1]),
    ([1, 0, 1], 5, [2 / 5, 2 / 3, 2 / 3, 1.5 / (1.5 + 1 / LOG3), (1 + 2 / 3) / 3, 1, 1]),
    ([0, 0, 0], 4, [0] * 7),
    ([0, 0, 0], 0, [0] * 7),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("hits", "n_relevant", "expected"), BY_HAND)
def test_equals_what_a_hand_works_out(hits, n_relevant, expected, dtype):
    hits = jnp.array(hits, dtype)
    got = jnp.stack([metric(hits, jnp.int32(n_relevant)) for metric in LIST_METRICS.values()])
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=4 * float(jnp.finfo(dtype).eps))


def test_hits_mark_relevant_ranks_and_never_padding():
    relevant = jnp.array([0, 3, 7, 7], jnp.int32)  # of 7 items, so 7 is padding
    hits = ranked_hits(jnp.array([3, 6, -1, 0, -1], jnp.int32), relevant, jnp.float32)
    np.testing.assert_array_equal(hits, [1, 0, 0, 1, 0])
    assert not ranked_hits(jnp.array([0, -1]), jnp.array([7, 7]), jnp.float32).any()


jitted_auc = jax.jit(auc)
batched_auc = jax.jit(jax.vmap(auc))


@pytest.mark.parametrize(("levels", "dtype"), combinations([2, 10, 10**6], [jnp.float32, jnp.float64], strength=1))
def test_auc_and_ndcg_equal_scikit_learn(levels, dtype):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (20, 60)).astype(dtype)
    relevant = rng.random((20, 60)) < rng.uniform(0.05, 0.9, (20, 1))
    padded = np.sort(np.where(relevant, np.arange(60), 60), axis=1).astype(np.int32)
    expected = [roc_auc_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    # The largest sums, 2 * 54 * 30 half pairs, are whole numbers that float32 holds: one rounding in the division.
    np.testing.assert_allclose(batched_auc(scores, padded), expected, rtol=2 * float(jnp.finfo(dtype).eps))

    if levels > 60:  # scikit-learn averages over ties, where lists must choose
        for k in (1, 5, 60):
            hits = np.take_along_axis(relevant, np.argsort(-scores, axis=1)[:, :k], axis=1).astype(dtype)
            got = jax.vmap(LIST_METRICS["ndcg"])(jnp.asarray(hits), jnp.asarray(relevant.sum(axis=1)))
            one_by_one = [ndcg_score([r], [s], k=k) for r, s in zip(relevant, scores, strict=True)]
            np.testing.assert_allclose(got, one_by_one, rtol=60 * float(jnp.finfo(dtype).eps))


def test_list_metrics_equal_scikit_learn():
    rng = np.random.default_rng(7)
    scores = rng.random((12, 40))
    order = np.argsort(-scores, axis=1)
    relevant = rng.random((12, 40)) < rng.uniform(0.05, 0.6, (12, 1))
    relevant[np.arange(12), rng.integers(0, 40, 12)] = True
    measure = lambda kind, relevant, k: jax.vmap(LIST_METRICS[kind])(
        jnp.asarray(np.take_along_axis(relevant, order[:, :k], axis=1).astype(float)), jnp.asarray(relevant.sum(axis=1))
    )
    for k in (1, 5, 20):
        listed = np.zeros_like(relevant)
        np.put_along_axis(listed, order[:, :k], True, axis=1)
        one_by_one = lambda score, listed=listed: [score(r, p) for r, p in zip(relevant, listed, strict=True)]
        np.testing.assert_allclose(measure("recall", relevant, k), one_by_one(recall_score), rtol=1e-14)
        np.testing.assert_allclose(measure("precision", relevant, k), one_by_one(precision_score), rtol=1e-14)
    # It has no truncated average precision: there k is all items.
    expected = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(measure("map", relevant, 40), expected, rtol=1e-13)

    wanted = rng.integers(0, 40, 12)
    single = np.eye(40, dtype=bool)[wanted]
    for k in (1, 5, 20):
        accuracy = top_k_accuracy_score(wanted, scores, k=k, labels=np.arange(40))
        np.testing.assert_allclose(measure("hit_rate", single, k).mean(), accuracy, rtol=1e-14)
    # With one relevant item, the precision at its rank is the reciprocal rank.
    expected = [average_precision_score(r, s) for r, s in zip(single, scores, strict=True)]
    np.testing.assert_allclose(measure("mrr", single, 40), expected, rtol=1e-13)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([1, 3, 1000]), excluded=st.sampled_from([0.0, 0.4, 0.97]))
def test_auc_equals_counting_all_pairs(seed, levels, excluded):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, 50).astype(np.float64)
    is_excluded = rng.random(50) < excluded
    relevant = np.flatnonzero((rng.random(50) < 0.5) & ~is_excluded)
    padded = np.append(relevant, np.full(50 - len(relevant), 50)).astype(np.int32)
    got = jitted_auc(jnp.asarray(np.where(is_excluded, -np.inf, scores)), jnp.asarray(padded))
    expected = rank_user(scores, set(relevant), set(np.flatnonzero(is_excluded)), ["auc"])["auc"]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_auc_without_pairs_is_a_half():
    scores = jnp.array([1.0, 2.0, -jnp.inf])
    assert auc(scores, jnp.array([0, 1])) == 0.5  # nothing else to rank
    assert auc(scores, jnp.array([3, 3])) == 0.5  # nothing relevant
    assert auc(jnp.full(3, -jnp.inf), jnp.array([0, 3])) == 0.5  # everything excluded
    assert auc(jnp.zeros(3), jnp.array([1, 3])) == 0.5  # all tied
