import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import EASE, Interactions, ItemKNN, datasets
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import Popularity, evaluate, leave_k_out
from jaxals.recommend import item_models


def random_data(seed=0, n_users=40, n_items=12, density=0.3):
    """Counts with dislikes; one user and one item have nothing."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((n_users, n_items)) < density, rng.integers(1, 6, (n_users, n_items)), 0)
    values[rng.random(values.shape) < 0.05] *= -1
    values[5], values[:, 3] = 0, 0
    user, item = np.nonzero(values)
    return Interactions.from_arrays(user, item, values[user, item], shape=values.shape)


def liked(data):
    return np.maximum(data.to_scipy().toarray(), 0).astype(np.float64)


def all_scores(model, data):
    return np.asarray(model.scores(jnp.arange(data.n_users)))


def test_ease_is_the_ridge_regression_of_each_item_on_the_others():
    data = random_data()
    x = (liked(data) > 0).astype(float)
    expected = np.zeros((data.n_items, data.n_items))
    for item in range(data.n_items):
        others = np.arange(data.n_items) != item
        a = x[:, others]
        expected[others, item] = np.linalg.solve(a.T @ a + 3.0 * np.eye(data.n_items - 1), a.T @ x[:, item])
    model = EASE(regularization=3.0, dtype=jnp.float64).fit(data)
    np.testing.assert_allclose(model.weights, expected, atol=1e-13)  # well conditioned: 40 rows, ridge 3
    np.testing.assert_allclose(all_scores(model, data), x @ expected, atol=1e-12)
    assert EASE(3.0).fit(data).scores(jnp.arange(4)).dtype == jnp.float32


def knn_by_hand(similarity, k):
    """Keep the k largest of each row but its own item; ties go to the lowest index."""
    kept = np.zeros_like(similarity)
    for row in range(len(similarity)):
        others = [item for item in range(len(similarity)) if item != row]
        for item in sorted(others, key=lambda item: (-similarity[row, item], item))[:k]:
            kept[row, item] = similarity[row, item]
    return kept


@pytest.mark.parametrize("shrinkage", [0.0, 7.0])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_cosine_neighbours_equal_a_dense_version(k, shrinkage):
    data = random_data()
    x = liked(data)
    length = np.linalg.norm(x, axis=0)
    below = np.outer(length, length) + shrinkage
    expected = knn_by_hand(np.divide(x.T @ x, below, out=np.zeros_like(below), where=below > 0), k)
    model = ItemKNN(neighbours=k, shrinkage=shrinkage, dtype=jnp.float64).fit(data)
    np.testing.assert_allclose(model.weights, expected, atol=1e-14)
    np.testing.assert_allclose(all_scores(model, data), x @ expected, atol=1e-13)


def test_neighbours_equal_those_of_implicit(monkeypatch):
    nearest = pytest.importorskip("implicit.nearest_neighbours", reason="the extra `peers` is not installed")
    monkeypatch.setattr(item_models, "_COLUMNS_AT_ONCE", 5)  # several blocks, the last one short
    data = random_data(1, n_users=60, n_items=23)
    matrix = data.select(data.value > 0).to_scipy().astype(np.float64)
    settings = {"cosine": {}, "bm25": {"k1": 2.0, "b": 0.6}}
    theirs = {"cosine": nearest.CosineRecommender(K=6), "bm25": nearest.BM25Recommender(K=6, K1=2.0, B=0.6)}
    for weighting, peer in theirs.items():
        with warnings.catch_warnings():  # the empty item: it divides zero by zero
            warnings.simplefilter("ignore")
            peer.fit(matrix, show_progress=False)
        # Its K neighbours include the item itself, which has the largest cosine, and here the largest product.
        similarity = np.nan_to_num(peer.similarity.toarray())
        assert (np.argmax(similarity, axis=1) == np.arange(23))[similarity.any(axis=1)].all()
        np.fill_diagonal(similarity, 0)
        model = ItemKNN(neighbours=5, weighting=weighting, dtype=jnp.float64, **settings[weighting]).fit(data)
        np.testing.assert_allclose(model.weights, similarity, atol=1e-12)


@pytest.mark.parametrize("make", [EASE(20.0), ItemKNN(), ItemKNN(weighting="bm25")])
def test_beats_popularity_on_data_with_structure(make):
    data = datasets.synthetic(n_users=600, n_items=120, n_interactions=15_000, seed=0)
    split = leave_k_out(data, k=2, seed=0)
    popularity, model = (
        evaluate(scorer, split.train, split.test, ["ndcg@10"])
        for scorer in (Popularity.from_interactions(split.train), make.fit(split.train))
    )
    assert model["ndcg@10"] > popularity["ndcg@10"] + 2 * popularity.standard_errors["ndcg@10"]


def test_scores_other_users_by_the_same_weights():
    data = random_data()
    model = EASE(2.0, dtype=jnp.float64).fit(data.select(data.user >= 10))
    np.testing.assert_array_equal(model.scores(jnp.array([3])), 0)
    folded = model.with_history(data.select(data.user < 10))
    x = (liked(data) > 0).astype(float)
    np.testing.assert_allclose(folded.scores(jnp.array([3, 7])), x[[3, 7]] @ np.asarray(model.weights), atol=1e-13)
    knn = ItemKNN(dtype=jnp.float64).fit(data)
    np.testing.assert_allclose(all_scores(knn.with_history(data), data), all_scores(knn, data))
    with pytest.raises(DataError, match="`interactions` have 13 items, the model 12"):
        model.with_history(random_data(n_items=13))


def test_refuses_what_memory_does_not_hold():
    wide = Interactions.from_arrays([0, 1], [0, 5], shape=(2, 3_000_000))
    with pytest.raises(ConfigurationError, match=r"EASE for 3,000,000 items needs about .* keep the most popular"):
        EASE().fit(wide)
    with pytest.raises(ConfigurationError, match="ItemKNN for 3,000,000 items needs about"):
        ItemKNN().fit(wide)


def test_refuses_settings_outside_their_range():
    with pytest.raises(ConfigurationError, match="`regularization` must be > 0; got 0"):
        EASE(0)
    with pytest.raises(ConfigurationError, match="`neighbours` must be an integer >= 1; got 0"):
        ItemKNN(0)
    with pytest.raises(ConfigurationError, match='`weighting` must be "cosine" or "bm25"; got \'tfidf\''):
        ItemKNN(weighting="tfidf")
    with pytest.raises(ConfigurationError, match="`shrinkage` must be >= 0; got -1"):
        ItemKNN(shrinkage=-1)
    with pytest.raises(ConfigurationError, match=r"`b` must be 0 to 1; got 1.5"):
        ItemKNN(b=1.5)
