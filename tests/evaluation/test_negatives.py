import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Interactions
from jaxals.errors import DataError
from jaxals.evaluation import evaluate, evaluate_among_negatives, plan_negatives
from tests.evaluation.ranking_oracle import rank_all
from tests.evaluation.test_ranking import NAMES, Dense, dense, full, random_case


@pytest.mark.parametrize("levels", [3, 10**6])
def test_equals_the_oracle_that_ranks_nothing_else(levels):
    # Some of what is in both has a value above zero in `test`, so it is wanted though it is a negative, too.
    negatives, test = random_case()
    scores = np.random.default_rng(1).integers(0, levels, test.shape)
    got = evaluate_among_negatives(Dense(jnp.asarray(scores, jnp.float64)), test, test, negatives, NAMES, batch_size=8)
    wanted = dense(test) > 0
    users, expected = rank_all(scores, wanted, ~wanted & (dense(negatives) == 0), NAMES)
    assert got.users.tolist() == users
    np.testing.assert_allclose(got.values, expected, rtol=0, atol=1e-14)
    assert (wanted & (dense(negatives) != 0)).any()


def test_counts_an_item_among_its_own_negatives_once():
    test = Interactions.from_arrays([0], [1], shape=(1, 4))
    negatives = Interactions.from_arrays([0, 0], [1, 3], shape=(1, 4))
    scorer = Dense(jnp.array([[9.0, 1.0, 8.0, 2.0]]))
    got = evaluate_among_negatives(scorer, test, test, negatives, ["mrr@4", "auc", "recall@2"])
    assert got.metrics == {"mrr@4": 0.5, "auc": 0.0, "recall@2": 1.0}


def test_all_other_items_as_negatives_are_the_full_ranking():
    _, test = random_case()
    everything = full(*test.shape)
    scorer = Dense(jnp.asarray(np.random.default_rng(4).random(test.shape)))
    among = evaluate_among_negatives(scorer, test, test, everything, NAMES)
    whole = evaluate(scorer, test, test, NAMES, exclude=None)
    np.testing.assert_array_equal(among.values, whole.values)


def test_refuses_what_does_not_fit_together():
    negatives, test = random_case()
    with pytest.raises(DataError, match=r"`negatives` is about \(50, 37\) users and items, `train` about \(37, 50\)"):
        plan_negatives(test, test, Interactions.from_scipy(negatives.to_scipy().T))
    with pytest.raises(DataError, match="`negatives` has no item for 1 users of `test`, such as 3"):
        plan_negatives(test, test, negatives.select(negatives.user != 3))
    with pytest.raises(DataError, match="No user has a relevant item"):
        plan_negatives(test, test.select(test.value < 0), negatives)
