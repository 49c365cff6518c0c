import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest

from jaxals import Factors, Interactions, Objective, Recommender
from jaxals.data.catalog import Side
from jaxals.errors import ConfigurationError

# Item 0 has the three users, 1 two of them, 2 and 3 one each.
PLAYS = Interactions.from_arrays([0, 1, 2, 0, 1, 2, 0], [0, 0, 0, 1, 1, 2, 3])
VECTORS = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 0.1], [1.0, 0.2]])
MODEL = Recommender(Factors(jnp.asarray(VECTORS[:3]), jnp.asarray(VECTORS)), PLAYS, Objective.ials(0.5, 0.2))


def shrunk_cosines(vectors: np.ndarray, counts: np.ndarray, shrinkage: float) -> np.ndarray:
    """Compute every cosine times k / (k + s) of the row that is found."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T * (counts / (counts + shrinkage))[None, :]


@pytest.mark.parametrize("shrinkage", [0.0, 0.5, 2.0, 100.0])
@pytest.mark.parametrize("side", ["item", "user"])
def test_a_cosine_counts_by_the_entries_of_what_is_found(side, shrinkage):
    vectors = np.asarray(getattr(MODEL.factors, side))
    expected = shrunk_cosines(vectors, PLAYS.counts(side), shrinkage)
    ask = MODEL.similar_items if side == "item" else MODEL.similar_users
    for row, scores in enumerate(expected):
        found = ask(row, shrinkage=shrinkage)
        order = [other for other in np.argsort(-scores, kind="stable") if other != row]
        assert found[f"similar_{side}"].tolist() == order
        np.testing.assert_allclose(found["score"], scores[order], rtol=1e-12)


def test_by_default_one_user_does_not_outweigh_two():
    assert MODEL.similar_items(0, shrinkage=0)["similar_item"].tolist() == [2, 3, 1]
    assert MODEL.similar_items(0)["similar_item"].tolist() == [1, 2, 3]
    assert MODEL.nearest(np.array([0]), 3)[0].tolist() == [[1, 2, 3]]


def test_dot_products_are_not_shrunk():
    plain, shrunk = (MODEL.similar_items([0, 3], measure="dot", shrinkage=shrinkage) for shrinkage in (0, 50))
    assert plain.equals(shrunk)


@pytest.mark.parametrize("limit", [1000, 1])  # late rows and entries beside the trained ones, and among them
def test_what_was_folded_in_counts_as_if_it_had_been_trained(monkeypatch, limit):
    monkeypatch.setattr("jaxals.recommend.sizes._LATE_ROWS", limit)
    monkeypatch.setattr("jaxals.recommend.histories._LATE_ENTRIES", limit)
    grown = MODEL
    steps: list[tuple[list[int], list[int], Side]] = [
        ([7, 7, 1], [3, 2, 3], "user"),
        ([0, 7], [9, 9], "item"),
        ([8, 0], [9, 1], "user"),
    ]
    for users, items, side in steps:
        frame = {"user": users, "item": items, "value": np.ones(len(users))}
        grown = grown.fold_in(Interactions.from_frame(frame), side)
        anew = Recommender(grown.factors, grown.interactions)
        for name in ("user", "item"):
            counts = grown._model.histories.counts(name, len(getattr(grown.catalog, f"{name}s")))
            assert counts.tolist() == grown.interactions.counts(name).tolist()
        pd.testing.assert_frame_equal(grown.similar_items([3, 0], n=9), anew.similar_items([3, 0], n=9), rtol=1e-9)
        pd.testing.assert_frame_equal(grown.similar_users([7, 2], n=9), anew.similar_users([7, 2], n=9), rtol=1e-9)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf"), "2", None])
def test_a_shrinkage_that_is_none_is_refused(monkeypatch, bad):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    for ask in (MODEL.similar_items, MODEL.similar_users, lambda row, **given: MODEL.nearest(np.array([row]), **given)):
        with pytest.raises(ConfigurationError, match="`shrinkage` must be"):
            ask(0, shrinkage=bad)
