"""The same factors, measured by us, by implicit and by irspack; `docs/why/evaluation.md` says what differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import Factors, Interactions
from jaxals.evaluation import evaluate

SHAPE = 70, 90
CUTOFFS = (3, 10)
# The peers add up in float64, we in float32, some 70 numbers near 1; the lists are the same.
ROUNDING = 1e-6

pytestmark = pytest.mark.filterwarnings("ignore:OpenBLAS is configured")  # by implicit, where nobody limits its threads


@pytest.fixture(scope="module")
def case():
    """Factors, train, and test that shares nothing with it: some users have nothing to find, some more than a list."""
    rng = np.random.default_rng(0)
    drawn = rng.random(SHAPE)
    wanted = drawn > 1 - np.maximum(rng.uniform(-0.05, 0.25, (SHAPE[0], 1)), 0)
    train, test = (Interactions.from_scipy(scipy.sparse.csr_array(cells)) for cells in (drawn < 0.15, wanted))
    assert 0 < np.count_nonzero(test.counts() == 0) < 30
    assert test.counts().min(where=test.counts() > 0, initial=99) < 3 < 10 < test.counts().max()
    factors = Factors(
        jax.random.normal(jax.random.key(0), (SHAPE[0], 8), jnp.float32),
        jax.random.normal(jax.random.key(1), (SHAPE[1], 8), jnp.float32),
    )
    return factors, train, test


def measure_by_implicit(factors, train, test, k):
    als = pytest.importorskip("implicit.cpu.als", reason="the extra `peers` is not installed")
    from implicit.evaluation import ranking_metrics_at_k

    model = als.AlternatingLeastSquares(factors=8)
    model.user_factors, model.item_factors = np.asarray(factors.user), np.asarray(factors.item)
    return ranking_metrics_at_k(model, train, test, K=k, show_progress=False)


def truncated_auc(hits, n_relevant, n_items):
    """Implicit's: what is not on the list counts as tied, below it; what was seen counts as ranked."""
    n_others, found = n_items - n_relevant, np.cumsum(hits)
    misses = len(hits) - found[-1]
    below = np.sum(found[hits == 0]) + (found[-1] + n_relevant) / 2 * (n_others - misses)
    return below / (n_relevant * n_others)


@pytest.mark.parametrize("k", CUTOFFS)
def test_implicit_agrees(case, k):
    factors, train, test = case
    theirs = measure_by_implicit(factors, train.to_scipy(), test.to_scipy(), k)
    ours = evaluate(factors, train, test, [f"{kind}@{k}" for kind in ("ndcg", "map", "precision", "capped_recall")])
    assert theirs["ndcg"] == pytest.approx(ours[f"ndcg@{k}"], rel=ROUNDING)
    assert theirs["map"] == pytest.approx(ours[f"map@{k}"], rel=ROUNDING)

    # Its precision is all hits over all that could be, Σ min(k, |R|): neither our precision nor a mean over users.
    n_relevant = test.counts()[ours.user]
    hits = k * ours.per_user()[f"precision@{k}"].sum()
    assert theirs["precision"] == pytest.approx(hits / np.minimum(k, n_relevant).sum(), rel=ROUNDING)
    assert abs(theirs["precision"] - ours[f"capped_recall@{k}"]) > 1e-3
    assert abs(theirs["precision"] - ours[f"precision@{k}"]) > 1e-3

    wanted = test.to_scipy().toarray() > 0
    areas = [
        truncated_auc(wanted[user, items], n_relevant[row], SHAPE[1])
        for row, (user, items) in enumerate(zip(ours.user, ours.lists, strict=True))
    ]
    assert theirs["auc"] == pytest.approx(np.mean(areas), rel=1e-12)


def test_auc_of_implicit_is_ours_once_lists_are_whole_and_nothing_is_excluded(case):
    factors, train, test = case
    whole = measure_by_implicit(
        factors, scipy.sparse.csr_matrix(np.zeros(SHAPE, np.float32)), test.to_scipy(), SHAPE[1]
    )
    assert whole["auc"] == pytest.approx(evaluate(factors, train, test, "auc", exclude=None)["auc"], rel=ROUNDING)
    # Short lists say less: most of it is half of the pairs that are on no list.
    short = measure_by_implicit(factors, train.to_scipy(), test.to_scipy(), 10)
    assert abs(short["auc"] - evaluate(factors, train, test, "auc")["auc"]) > 1e-3


@pytest.mark.parametrize("k", CUTOFFS)
def test_irspack_agrees(case, k):
    evaluation = pytest.importorskip("irspack.evaluation", reason="the extra `peers` is not installed")
    factors, train, test = case
    scores = np.asarray(factors.user) @ np.asarray(factors.item).T
    peers = [
        evaluation.Evaluator(test.to_scipy(), masked_interactions=train.to_scipy(), recall_with_cutoff=capped)
        for capped in (False, True)
    ]
    theirs, capped = (peer.get_scores_from_score_matrix(scores, [k]) for peer in peers)
    kinds = ("hit_rate", "recall", "capped_recall", "ndcg", "map", "precision", "gini", "coverage")
    ours = evaluate(factors, train, test, [f"{kind}@{k}" for kind in kinds])
    for name, kind in {"hit": "hit_rate", "recall": "recall", "ndcg": "ndcg", "precision": "precision"}.items():
        assert theirs[f"{name}@{k}"] == pytest.approx(ours[f"{kind}@{k}"], rel=ROUNDING), kind
    assert capped[f"recall@{k}"] == pytest.approx(ours[f"capped_recall@{k}"], rel=ROUNDING)
    assert theirs[f"catalog_coverage@{k}"] == ours[f"coverage@{k}"]

    # Its average precision is over |R|, ours over min(k, |R|); its Gini index is over n, ours over n - 1.
    n_relevant = test.counts()[ours.user]
    over_all = ours.per_user()[f"map@{k}"] * np.minimum(k, n_relevant) / n_relevant
    assert theirs[f"map@{k}"] == pytest.approx(over_all.mean(), rel=ROUNDING)
    assert theirs[f"gini_index@{k}"] == pytest.approx(ours[f"gini@{k}"] * (SHAPE[1] - 1) / SHAPE[1], rel=1e-12)


def test_irspack_counts_relevant_items_that_were_seen_and_we_do_not(case):
    evaluation = pytest.importorskip("irspack.evaluation", reason="the extra `peers` is not installed")
    factors, train, test = case
    scores = np.asarray(factors.user) @ np.asarray(factors.item).T
    both = Interactions.from_scipy(train.to_scipy() + test.to_scipy())
    peer = evaluation.Evaluator(both.to_scipy(), masked_interactions=train.to_scipy())
    ours = evaluate(factors, train, both, ["recall@10"])
    assert ours["recall@10"] == evaluate(factors, train, test, ["recall@10"])["recall@10"]
    assert peer.get_scores_from_score_matrix(scores, [10])["recall@10"] < ours["recall@10"] / 1.5
