import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxals import EASE, Factors, Interactions, Recommender
from jaxals.errors import ConfigurationError, UnknownIdError
from jaxals.evaluation import recommend_with
from tests.evaluation.test_ranking import Dense, random_case


def test_recommends_as_a_recommender_does():
    train, _ = random_case()
    rng = np.random.default_rng(0)
    factors = Factors(*(jnp.asarray(rng.normal(size=(size, 3)), jnp.float32) for size in train.shape))
    expected = Recommender(factors, train).recommend([3, 1, 4, 1], n=6)
    pd.testing.assert_frame_equal(recommend_with(factors, train, [3, 1, 4, 1], n=6), expected)
    seen = Recommender(factors, train).recommend([3, 1], n=50, exclude_seen=False)
    pd.testing.assert_frame_equal(recommend_with(factors, train, [3, 1], n=99, exclude_seen=False), seen)


def test_item_models_recommend_by_raw_id():
    frame = pd.DataFrame({"user": [*"aabbccd"], "item": ["x", "y", "x", "y", "x", "y", "x"]})
    train = Interactions.from_frame(frame, value=None)
    got = recommend_with(EASE(1.0).fit(train), train, ["d", "a"], n=2)
    # Who has x has y; user a has both, so nothing is left.
    assert got[["user", "item", "rank"]].to_numpy().tolist() == [["d", "y", 1]]
    assert got["score"][0] > 0.5


def test_what_a_scorer_rules_out_is_not_recommended():
    train, _ = random_case()
    scores = np.full(train.shape, -np.inf)
    scores[:, 7] = 1.0
    got = recommend_with(Dense(jnp.asarray(scores)), train, range(5), n=3, exclude_seen=False)
    assert got["item"].tolist() == [7] * 5


def test_refuses_unknown_users_and_empty_lists():
    train, _ = random_case()
    scorer = Dense(jnp.zeros(train.shape))
    with pytest.raises(UnknownIdError):
        recommend_with(scorer, train, ["nobody"])
    with pytest.raises(ConfigurationError, match="`n` must be an integer >= 1; got 0"):
        recommend_with(scorer, train, [1], n=0)
