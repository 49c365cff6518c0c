"""Against versions written user by user from the definitions, and against implicit itself where it is installed."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api import evaluation as ours
from jaxals.implicit_api.nearest_neighbours import CosineRecommender

N_USERS, N_ITEMS = 30, 20


def ratings(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.csr_matrix(rng.integers(1, 6, (N_USERS, N_ITEMS)) * (rng.random((N_USERS, N_ITEMS)) < 0.3) * 1.0)


class Lists:
    """A model that answers from lists."""

    def __init__(self, ids: np.ndarray, scores: np.ndarray | None = None):
        self.ids, self.scores = ids, np.ones(ids.shape, np.float32) if scores is None else scores

    def recommend(self, userid, user_items, N=10):
        assert user_items.shape == (len(userid), N_ITEMS)
        return self.ids[userid, :N], self.scores[userid, :N]


def permuted(seed: int = 1) -> np.ndarray:
    return np.argsort(np.random.default_rng(seed).random((N_USERS, N_ITEMS)), axis=1).astype(np.int32)


def one_by_one(lists: np.ndarray, test: np.ndarray, k: int) -> dict[str, float]:
    hits = possible = 0.0
    precisions, gains, areas = [], [], []
    for row, values in zip(lists, test, strict=True):
        liked = set(np.flatnonzero(values > 0))
        if not liked:
            continue
        found = [item in liked for item in row[:k]]
        hits, possible = hits + sum(found), possible + min(k, len(liked))
        precisions.append(sum(sum(found[: i + 1]) / (i + 1) for i in range(k) if found[i]) / min(k, len(liked)))
        ideal = sum(1 / np.log2(2 + i) for i in range(min(k, len(liked))))
        gains.append(sum(1 / np.log2(2 + i) for i in range(k) if found[i]) / ideal)
        # Pairs in the right order; items that are not in the list stand in no order, which counts half.
        place = {item: i for i, item in enumerate(row[:k])}
        pairs = [
            np.sign(place.get(other, k) - place.get(item, k)) / 2 + 0.5
            for item in liked
            for other in set(range(N_ITEMS)) - liked
        ]
        areas.append(np.mean(pairs))
    return {"precision": hits / possible, "map": np.mean(precisions), "ndcg": np.mean(gains), "auc": np.mean(areas)}


@pytest.mark.parametrize("k", [1, 4, N_ITEMS])
def test_metrics_are_those_of_the_definitions(k):
    test = ratings()
    test.data[::5] *= -1
    found = ours.ranking_metrics_at_k(Lists(permuted()), test, test, K=k, show_progress=False)
    expected = one_by_one(permuted(), test.toarray(), k)
    assert found == pytest.approx(expected, rel=1e-12)
    for name, measure in (
        ("precision", ours.precision_at_k),
        ("map", ours.mean_average_precision_at_k),
        ("ndcg", ours.ndcg_at_k),
        ("auc", ours.AUC_at_k),
    ):
        assert measure(Lists(permuted()), test, test, k, False) == found[name]


def test_batches_are_the_same(monkeypatch):
    whole = ours.ranking_metrics_at_k(Lists(permuted()), ratings(), ratings(), 5, False)
    monkeypatch.setattr(ours, "_USERS_AT_ONCE", 7)
    assert ours.ranking_metrics_at_k(Lists(permuted()), ratings(), ratings(), 5, False) == pytest.approx(
        whole, rel=1e-12
    )


@pytest.mark.parametrize("filler", [(-1, np.finfo(np.float32).min), (0, np.finfo(np.float64).min)])
def test_what_fills_lists_up_is_neither_a_hit_nor_a_miss(filler):
    short = permuted()[:, :3]
    full = np.concatenate([short, np.full((N_USERS, 5), filler[0], np.int32)], axis=1)
    scores = np.concatenate([np.ones(short.shape), np.full((N_USERS, 5), filler[1])], axis=1)
    # Item 0 in none of the lists, but in the test of everyone, so that taking the filler for it shows.
    test = sp.csr_matrix(np.maximum(ratings().toarray(), np.arange(N_ITEMS) == 0))
    padded, cut = (
        ours.ranking_metrics_at_k(model, test, test, 8, False) for model in (Lists(full, scores), Lists(short))
    )
    assert padded == cut


def test_past_the_number_of_items_implicit_repeats_item_0():
    ids = np.concatenate([permuted(), np.zeros((N_USERS, 5), np.int32)], axis=1)
    found = ours.ranking_metrics_at_k(Lists(ids), ratings(), ratings(), N_ITEMS + 5, False)
    assert found == pytest.approx(ours.ranking_metrics_at_k(Lists(permuted()), ratings(), ratings(), N_ITEMS, False))


def test_who_likes_everything_has_no_area():
    test = sp.csr_matrix(np.ones((N_USERS, N_ITEMS)))
    assert np.isnan(ours.AUC_at_k(Lists(permuted()), test, test, 3, False))


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.coo_matrix])
def test_a_random_split_parts_the_entries(form):
    matrix = ratings()
    train, test = ours.train_test_split(form(matrix), 0.7, 3)
    assert type(train) is type(test) is sp.csr_matrix
    assert abs(train + test - matrix).nnz == 0
    assert 0 < test.nnz < train.nnz
    again = ours.train_test_split(matrix, 0.7, np.random.default_rng(3))
    assert abs(again[0] - train).nnz == 0
    ours.train_test_split(matrix, 0.7, np.random.RandomState(3))  # where implicit fails
    disliked = ours.train_test_split(-matrix, 0.5, 0)
    assert disliked[1].nnz == 0


@pytest.mark.parametrize("k", [1, 3])
def test_k_of_each_user_are_left_out(k):
    matrix = ratings()
    matrix = sp.csr_matrix(matrix.toarray() * (np.arange(N_USERS) % 3 > 0)[:, None])  # users without entries between
    train, test = ours.leave_k_out_split(matrix, K=k, random_state=5)
    assert abs(train + test - matrix).nnz == 0
    before, held = np.diff(matrix.indptr), np.diff(test.indptr)
    np.testing.assert_array_equal(held, np.where(before > k + 1, k, 0))
    np.random.seed(0)  # noqa: NPY002 (implicit draws from it)
    again = ours.leave_k_out_split(matrix, K=k, random_state=5)[1]
    assert abs(again - test).nnz == 0
    assert abs(ours.leave_k_out_split(matrix, K=k, random_state=6)[1] - test).nnz > 0


def test_some_users_stay_in_train():
    _, test = ours.leave_k_out_split(ratings(), train_only_size=0.4, random_state=0)
    assert (np.diff(test.indptr) == 0).sum() == int(0.4 * N_USERS)


def test_every_entry_of_a_user_may_be_left_out():
    row = sp.csr_matrix(np.ones((1, 5)))
    held = [ours.leave_k_out_split(row, random_state=seed)[1].indices[0] for seed in range(60)]
    assert set(held) == set(range(5))


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("implicit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import implicit.evaluation
    return implicit.evaluation


def test_figures_are_those_of_implicit(theirs):
    for seed in range(3):
        matrix = ratings(seed)
        split, expected = (one.train_test_split(matrix, 0.7, seed) for one in (ours, theirs))
        for mine, yours in zip(split, expected, strict=True):
            assert (mine != yours).nnz == 0
            assert mine.dtype == yours.dtype
        for k in (1, 5, 10):
            mine, yours = (one.ranking_metrics_at_k(Lists(permuted(seed)), *split, k, False) for one in (ours, theirs))
            assert mine == pytest.approx(yours, rel=1e-12)


X = ratings()
ERRORS = [
    (lambda: ours.train_test_split(X, 1.5), ConfigurationError, "`train_percentage` must be a number >= 0 and <= 1"),
    (lambda: ours.train_test_split(X, np.nan), ConfigurationError, "`train_percentage` must be a number"),
    (lambda: ours.train_test_split("x"), DataError, "`ratings` must be a sparse matrix"),
    (lambda: ours.train_test_split(X, random_state=-1), ConfigurationError, "`random_state` must be None"),
    (lambda: ours.leave_k_out_split(None, K=0), ValueError, "`K` must be an integer >= 1"),
    (lambda: ours.leave_k_out_split(None, train_only_size=-1.0), ValueError, "`train_only_size` must be a number"),
    (lambda: ours.leave_k_out_split(None, train_only_size=1.0), ValueError, ">= 0 and < 1; got 1.0"),
    (
        lambda: ours.ranking_metrics_at_k(Lists(permuted()), X, X[:5]),
        DataError,
        "of one shape; got (30, 20) and (5, 20)",
    ),
    (lambda: ours.ranking_metrics_at_k(Lists(permuted()), X, X * 0), DataError, "no value above zero"),
    (lambda: ours.ranking_metrics_at_k(Lists(permuted()), X, X, 0), ConfigurationError, "`K` must be an integer >= 1"),
    (lambda: ours.ranking_metrics_at_k(3, X, X), ConfigurationError, "`model` must have a method `recommend`"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_models_of_ours_are_measured():
    train, test = ours.train_test_split(X, random_state=0)
    model = CosineRecommender()
    model.fit(train, show_progress=False)
    assert 0 < ours.precision_at_k(model, train, test, K=5, show_progress=False) < 1
