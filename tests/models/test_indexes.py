import importlib.util
import inspect
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Factors, exports
from jaxals.errors import ConfigurationError, DataError, MissingDependencyError

RNG = np.random.default_rng(0)
USER = RNG.normal(size=(30, 6)).astype(np.float32)
# Lengths that differ by far, and rows of which nothing is known.
ITEM = (RNG.normal(size=(200, 6)) * RNG.lognormal(size=(200, 1))).astype(np.float32)
ITEM[::17] = 0
FACTORS = Factors(jnp.asarray(USER), jnp.asarray(ITEM))
KNOWN = ITEM.any(axis=1)


def exact(user: Any, item: Any, n: int = 10) -> np.ndarray:
    """Return the best items of each user, by all inner products in float64."""
    scores = np.asarray(user, np.float64) @ np.asarray(item, np.float64).T
    return np.argsort(-np.where(KNOWN, scores, -np.inf), axis=1)[:, :n]


def recall(found: Any, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(wanted, np.asarray(found), strict=True)]))


def cosines(item: np.ndarray) -> np.ndarray:
    return item / np.where(KNOWN, np.linalg.norm(item, axis=1), 1)[:, None]


def test_augmented_vectors_are_of_length_one_and_rank_as_the_scores_do():
    vectors = exports.augmented(FACTORS)
    assert vectors.user.shape == (30, 7)
    np.testing.assert_allclose(np.linalg.norm(vectors.user, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors.item, axis=1), KNOWN, rtol=1e-6)
    np.testing.assert_array_equal(exact(vectors.user, vectors.item), exact(USER, ITEM))
    longest = np.max(np.linalg.norm(ITEM, axis=1))
    wanted = USER @ ITEM.T / longest / np.linalg.norm(USER, axis=1)[:, None]
    np.testing.assert_allclose(np.asarray(vectors.user @ vectors.item.T), wanted, atol=1e-6)
    assert vectors.item.dtype == FACTORS.item.dtype


def test_normalized_vectors_have_cosines_for_scores():
    vectors = exports.normalized(FACTORS)
    np.testing.assert_allclose(np.asarray(vectors.item), cosines(ITEM), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors.user, axis=1), 1, rtol=1e-6)
    none = exports.augmented(Factors(jnp.zeros((2, 3)), jnp.zeros((4, 3))))
    assert not np.asarray(none.item).any()


def of_faiss(neighbours: int | None) -> Any:
    pytest.importorskip("faiss")
    return lambda table, measure, vectors: exports.faiss_index(table, measure, neighbours).search(vectors, 10)[1]


def of_hnswlib() -> Any:
    pytest.importorskip("hnswlib")
    return lambda table, measure, vectors: exports.hnswlib_index(table, measure).knn_query(vectors, k=10)[0]


def of_usearch() -> Any:
    pytest.importorskip("usearch.index")
    return lambda table, measure, vectors: exports.usearch_index(table, measure).search(vectors, 10).keys


INDEXES: dict[str, Any] = {
    "faiss": lambda: of_faiss(None),
    "faiss graph": lambda: of_faiss(16),
    "hnswlib": of_hnswlib,
    "usearch": of_usearch,
}


@pytest.mark.parametrize("make", INDEXES.values(), ids=INDEXES)
def test_indexes_find_what_all_inner_products_find(make):
    find, vectors = make(), exports.augmented(FACTORS)
    # Graphs of several threads are another each time: usearch had .96 once, of augmented vectors, and 1 else.
    least = 1.0 if make is INDEXES["faiss"] else 0.9
    assert recall(find(FACTORS.item, "dot", USER), exact(USER, ITEM)) >= least
    assert recall(find(FACTORS.item, "cosine", USER), exact(USER, cosines(ITEM))) >= least
    assert recall(find(vectors.item, "cosine", np.asarray(vectors.user)), exact(USER, ITEM)) >= least


def test_rows_of_zeros_are_never_found():
    pytest.importorskip("faiss")
    found = exports.faiss_index(FACTORS.item).search(USER, 200)[1]
    assert set(found.ravel()) == {-1, *np.flatnonzero(KNOWN)}


@pytest.mark.parametrize("module", ["faiss", "hnswlib", "usearch.index"])
def test_what_is_not_installed_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    name = module.split(".")[0]
    with pytest.raises(MissingDependencyError, match=rf"`{name}_index` needs .*: pip install "):
        getattr(exports, f"{name}_index")(ITEM)


def test_integers_of_numpy_and_tables_without_rows_are_taken():
    for library, module in (("faiss", "faiss"), ("hnswlib", "hnswlib"), ("usearch", "usearch.index")):
        if importlib.util.find_spec(module.split(".")[0]) is None:
            continue
        make = inspect.unwrap(getattr(exports, f"{library}_index"))
        make(ITEM, neighbours=np.int64(4), effort=np.int8(20))
        make(np.zeros((3, 2), np.float32))
        make(np.zeros((0, 2), np.float32))


def test_wrong_arguments_are_named():
    with pytest.raises(DataError, match=r"`table` must be a 2-D array of finite .* is not finite"):
        exports.faiss_index(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ConfigurationError, match="`neighbours` must be an integer >= 2 and at most 1024; got 1"):
        exports.hnswlib_index(ITEM, neighbours=1)
    with pytest.raises(ConfigurationError, match="`effort` must be an integer >= 1 and at most 100000; got 0"):
        exports.usearch_index(ITEM, effort=0)
