"""Against dense versions written from the definitions, and against implicit itself where it is installed."""

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.errors import ConfigurationError, DataError, NotFittedError
from jaxals.implicit_api import MissingRowError, NotOfferedError, ParameterWarning, _neighbours
from jaxals.implicit_api import nearest_neighbours as ours

RECOMMENDERS = ("ItemItemRecommender", "CosineRecommender", "TFIDFRecommender", "BM25Recommender")


def counts(n_users: int = 40, n_items: int = 25, density: float = 0.2, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    # No integers, whose ties fall differently where implicit takes more than N and filters afterwards.
    return sp.csr_matrix((1 + 3 * rng.random((n_users, n_items))) * (rng.random((n_users, n_items)) < density))


def fitted(name: str = "CosineRecommender", K: int = 5, matrix: Any = None) -> Any:
    model = getattr(ours, name)(K=K)
    model.fit(counts() if matrix is None else matrix, show_progress=False)
    return model


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("implicit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import implicit.nearest_neighbours
    return implicit.nearest_neighbours


def dense_weights(name: str, matrix: np.ndarray) -> np.ndarray:
    """Columns of a matrix of users x items, weighted as the definitions say, item by item."""
    items = matrix.T
    idf = np.log(len(items)) - np.log(1 + (items > 0).sum(axis=0))
    if name == "TFIDFRecommender":
        items = np.sqrt(items) * idf
    if name == "BM25Recommender":
        length = items.sum(axis=1, keepdims=True)
        items = items * 2.2 / (items + 1.2 * (0.25 + 0.75 * length / length.mean())) * idf
    elif name != "ItemItemRecommender":
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-300)
    return items.T


@pytest.mark.parametrize("name", RECOMMENDERS)
@pytest.mark.parametrize("K", [1, 5, 50])
def test_neighbours_are_the_largest_products_of_columns(name, K):
    matrix = counts()
    weighted = dense_weights(name, matrix.toarray())
    products = weighted.T @ weighted
    similarity = fitted(name, K).similarity.toarray()
    for row, expected in zip(similarity, products, strict=True):
        found = np.flatnonzero(row)
        np.testing.assert_allclose(row[found], expected[found], rtol=1e-12)
        assert len(found) == min(K, np.count_nonzero(expected))
        assert row[found].min() >= np.sort(expected)[-K:].min() - 1e-12
    model = fitted(name, K)
    ids, scores = model.recommend(3, matrix[3], N=4)
    expected = np.where(matrix[3].toarray()[0] > 0, -np.inf, (matrix[3] @ similarity)[0])
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][: len(ids)], rtol=1e-12)
    np.testing.assert_allclose(scores, expected[ids], rtol=1e-12)


def test_products_by_pieces_are_the_same(monkeypatch):
    whole = fitted("BM25Recommender").similarity
    monkeypatch.setattr(_neighbours, "_ENTRIES_AT_ONCE", 100)
    assert (fitted("BM25Recommender").similarity != whole).nnz == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", RECOMMENDERS)
def test_answers_are_those_of_implicit(theirs, name, seed):
    matrix = counts(density=(0.1, 0.3, 0.6)[seed], seed=seed)
    for weigh in ("tfidf_weight", "normalize", "bm25_weight"):
        mine, yours = getattr(ours, weigh)(matrix), getattr(theirs, weigh)(matrix)
        assert type(mine) is type(yours)
        np.testing.assert_allclose(mine.toarray(), yours.toarray(), rtol=1e-12)
    model, twin = fitted(name, 6, matrix), getattr(theirs, name)(K=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin.fit(matrix, show_progress=False)
    np.testing.assert_allclose(model.similarity.toarray(), twin.similarity.toarray(), rtol=1e-12)
    for user in range(10):
        for arguments in ({"N": 3}, {"N": 5, "filter_already_liked_items": False}, {"N": 3, "filter_items": [1, 2]}):
            (ids, scores), expected = (one.recommend(user, matrix[user], **arguments) for one in (model, twin))
            real = expected[1][: arguments["N"]] != 0  # what the user has got the score 0
            np.testing.assert_array_equal(ids[: real.sum()], expected[0][: arguments["N"]][real])
            np.testing.assert_allclose(scores[: real.sum()], expected[1][: arguments["N"]][real], rtol=1e-12)
    for one in (model.similar_items(4, N=4), model.similar_items(4, N=4, filter_items=[4])):
        assert [part.dtype for part in one] == [np.int32, np.float64]
    np.testing.assert_allclose(model.similar_items(4, N=4)[1], twin.similar_items(4, N=4)[1], rtol=1e-12)


def test_files_travel_both_ways(theirs, tmp_path):
    model = fitted("CosineRecommender")
    model.save(tmp_path / "ours")
    twin = theirs.CosineRecommender.load(str(tmp_path / "ours"))
    twin.save(str(tmp_path / "theirs"))
    back = ours.CosineRecommender.load(tmp_path / "theirs")
    np.testing.assert_array_equal(back.similarity.toarray(), model.similarity.toarray())


def test_what_a_user_has_is_left_out():
    matrix, model = counts(), fitted(K=25)
    for user in range(40):
        ids, scores = model.recommend(user, matrix[user], N=25)
        assert not set(ids) & set(matrix[user].indices)
        assert (np.diff(scores) <= 0).all()


def test_lists_of_a_batch_are_filled_up_and_single_ones_are_not():
    matrix, model = counts(density=0.1), fitted(K=3, matrix=counts(density=0.1))
    ids, scores = model.recommend(np.arange(40), matrix, N=10)
    assert ids.shape == (40, 10)
    for user in range(40):
        single = model.recommend(user, matrix[user], N=10)
        np.testing.assert_array_equal(single[0], ids[user, : len(single[0])])
        np.testing.assert_array_equal(single[1], scores[user, : len(single[0])])
        assert (ids[user, len(single[0]) :] == -1).all()
        assert (scores[user, len(single[0]) :] == np.finfo(np.float32).min).all()
    assert model.similar_items([0, 3], N=10)[0].shape == (2, 10)
    assert model.similar_items({1: 0}.keys(), N=2)[0].shape == (1, 2)


def test_no_more_items_than_there_are_and_cells_given_twice_add_up():
    once = sp.csr_matrix(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 4.0]]))
    twice = sp.csr_matrix((np.array([1.0, 2.0, 1.0, 2.0, 4.0]), np.array([0, 0, 1, 1, 2]), np.array([0, 3, 5])))
    for name in ("CosineRecommender", "TFIDFRecommender", "BM25Recommender"):
        similarity = fitted(name, matrix=twice.copy()).similarity.toarray()
        np.testing.assert_allclose(similarity, fitted(name, matrix=once).similarity.toarray())
    model = fitted("ItemItemRecommender", matrix=twice)
    np.testing.assert_allclose(model.similarity.toarray(), (once.T @ once).toarray())
    assert twice.nnz == 5  # as it was given
    ids, scores = model.recommend([0, 1], once, N=5, filter_already_liked_items=False)
    expected = (once @ (once.T @ once)).toarray()
    np.testing.assert_array_equal(ids[:, :3], np.argsort(-expected))
    np.testing.assert_allclose(scores[:, :3], -np.sort(-expected))
    assert (ids[:, 3:] == -1).all()


def test_chosen_and_hidden_items():
    matrix, model = counts(), fitted(K=25)
    everything = dict(zip(*model.recommend(0, matrix[0], N=25), strict=True))
    for chosen in ([3, 9, 20, 1], {3, 9, 20, 1}, np.isin(np.arange(25), [3, 9, 20, 1])):
        ids, scores = model.recommend(0, matrix[0], items=chosen)
        assert set(ids) == {3, 9, 20, 1}
        lowest = np.finfo(np.float64).min
        assert scores.tolist() == sorted((everything.get(item, lowest) for item in ids), reverse=True)
    assert len(model.recommend(0, matrix[0], N=2, items=[3, 9, 20, 1])[0]) == 2
    assert model.recommend(0, matrix[0], items=[])[0].shape == (0,)
    for hidden in ([3, 9], {3, 9}, np.isin(np.arange(25), [3, 9])):
        assert set(model.recommend(0, matrix[0], N=25, filter_items=hidden)[0]) == set(everything) - {3, 9}
        assert len(model.recommend(0, matrix[0], N=4, filter_items=hidden)[0]) == 4


def test_weightings_of_zeros_and_of_cells_given_twice():
    twice = sp.coo_matrix((np.array([1.0, 2, 0, 4]), (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]))), shape=(3, 3))
    once = sp.csr_matrix(np.array([[3.0, 0, 0], [0, 0, 4], [0, 0, 0]]))
    for weigh in (ours.tfidf_weight, ours.bm25_weight, ours.normalize):
        np.testing.assert_allclose(weigh(twice).toarray(), weigh(once).toarray(), rtol=1e-12)
        np.testing.assert_allclose(weigh(once.toarray()).toarray(), weigh(sp.csr_array(once)).toarray())
        assert weigh(sp.csr_matrix((0, 4))).shape == weigh(sp.csr_matrix((0, 4))).toarray().shape == (0, 4)
    np.testing.assert_allclose(
        ours.normalize(once.astype(np.int8) * np.int8(31)).toarray(), [[1, 0, 0], [0, 0, 1], [0] * 3]
    )


def test_models_can_be_pickled_and_other_formats_are_converted():
    model = fitted()
    same = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(same.similar_items(1)[1], model.similar_items(1)[1])
    for other in (counts().tocoo(), counts().toarray()):
        with pytest.warns(ParameterWarning, match="expects CSR"):
            fitted(matrix=other)
    for taken in (sp.csr_array(counts()), sp.csr_array(counts().tocsc().tocsr())):
        np.testing.assert_allclose(fitted(matrix=taken).similarity.toarray(), model.similarity.toarray(), rtol=1e-12)


ERRORS = [
    (lambda m, x: m.recommend(0, x), DataError, "1 row for every user"),
    (lambda m, x: m.recommend(0, x[0].tocoo()), ValueError, "needs to be a CSR"),
    (lambda m, x: m.recommend(0, x.T.tocsr()[0]), MissingRowError, "40 columns, but the model only 25 items"),
    (lambda m, x: m.recommend(0, x[0], items=[1], filter_items=[2]), ValueError, "both filter_items and items"),
    (lambda m, x: m.recommend(0, x[0], items=[25]), IndexError, "Some itemids"),
    (lambda m, x: m.recommend(0, x[0], N=-1), ConfigurationError, "`N` must be an integer >= 0"),
    (lambda m, x: m.similar_items(25), IndexError, "25 is out of bounds"),
    (lambda m, x: m.similar_items(0, recalculate_item=True), NotImplementedError, "`recalculate_item`"),
    (lambda m, x: m.similar_users(0), NotImplementedError, "`similar_users`"),
    (lambda m, x: m.fit(x, callback=print), NotOfferedError, "`callback`"),
    (lambda m, x: ours.CosineRecommender().similar_items(0), NotFittedError, "call `fit`"),
    (lambda m, x: fitted(K=0), ConfigurationError, "`K` must be an integer >= 1"),
    (lambda m, x: ours.bm25_weight(x, B=2.0), ConfigurationError, "`B` must be >= 0 and <= 1; got 2.0"),
    (lambda m, x: ours.bm25_weight(x, K1=np.nan), ConfigurationError, "`K1` must be finite"),
    (lambda m, x: ours.bm25_weight(-x), DataError, "`X` must hold finite counts >= 0; got -"),
    (lambda m, x: ours.tfidf_weight(x * np.nan), DataError, "`X` must hold finite counts >= 0; got nan"),
    (lambda m, x: ours.normalize([[1.0]]), DataError, "`X` must be a sparse matrix"),
    (lambda m, x: fitted(matrix=x * np.inf), DataError, "must hold finite numbers"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call(fitted(), counts())
    assert message in str(caught.value)
