import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Factors, Interactions, datasets
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import evaluate, leave_k_out
from jaxals.hyper import hold_out, smooth_ndcg, softmax_cross_entropy, squared_error

SPLIT = leave_k_out(datasets.synthetic(n_users=30, n_items=20, n_interactions=250, seed=0), 2, seed=0)
RNG = np.random.default_rng(0)
FACTORS = Factors(*(jnp.asarray(RNG.normal(size=(n, 4))) for n in SPLIT.train.shape))


def users():
    """Give each user's scores of ranked items, and which of those are to be found."""
    train, test = (part.to_scipy().toarray() != 0 for part in (SPLIT.train, SPLIT.test))
    scores = np.asarray(FACTORS.user) @ np.asarray(FACTORS.item).T
    return [(scores[u][~train[u]], test[u][~train[u]]) for u in range(len(scores)) if test[u].any()]


@pytest.mark.parametrize("batch_size", [None, 7])
def test_losses_are_those_of_the_dense_formulas(batch_size):
    held_out = hold_out(SPLIT.train, SPLIT.test, batch_size)
    expected = np.mean([np.mean(np.log(np.exp(s / 0.5).sum()) - s[r] / 0.5) for s, r in users()])
    assert float(softmax_cross_entropy(FACTORS, held_out, 0.5)) == pytest.approx(expected, rel=1e-6)
    cells = [((1 - s[r]) ** 2).sum() + 0.1 * (s[~r] ** 2).sum() for s, r in users()]
    expected = np.mean([cell / r.sum() for cell, (_, r) in zip(cells, users(), strict=True)])
    assert float(squared_error(FACTORS, held_out, 0.1)) == pytest.approx(expected, rel=1e-6)


def test_there_is_no_batch_of_no_users():
    with pytest.raises(ConfigurationError, match="`batch_size` must be an integer >= 1; got 0"):
        hold_out(SPLIT.train, SPLIT.test, batch_size=0)


def test_smooth_ndcg_becomes_ndcg():
    held_out = hold_out(SPLIT.train, SPLIT.test, 8)
    exact = evaluate(FACTORS, SPLIT.train, SPLIT.test, ["ndcg@20"]).metrics["ndcg@20"]
    errors = [abs(1 - float(smooth_ndcg(FACTORS, held_out, temperature)) - exact) for temperature in (1.0, 0.1, 1e-4)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
    # The cut at k stays a sigmoid, whatever the temperature.
    gains = []
    for s, is_relevant in users():
        rank = 1 + (s[None, :] > s[is_relevant][:, None]).sum(axis=1)
        ideal = (1 / np.log2(np.arange(min(is_relevant.sum(), 3)) + 2)).sum()
        gains.append((1 / (1 + np.exp(rank - 3.5)) / np.log2(rank + 1)).sum() / ideal)
    assert 1 - float(smooth_ndcg(FACTORS, held_out, 1e-4, k=3)) == pytest.approx(np.mean(gains), abs=1e-3)


@pytest.mark.parametrize("loss", [smooth_ndcg, softmax_cross_entropy, squared_error])
def test_gradients_with_unequal_numbers_of_items_to_find(loss):
    # User 1 has one item to find where user 0 has two, and was trained on the last item of the catalog.
    train = Interactions.from_arrays([0, 1, 1], [0, 0, 4], shape=(2, 5))
    held_out = hold_out(train, Interactions.from_arrays([0, 0, 1], [1, 2, 3], shape=(2, 5)))
    value = jax.jit(lambda item: loss(Factors(FACTORS.user[:2], item), held_out, 0.3))
    item, way = FACTORS.item[:5], FACTORS.item[5:10]
    moved = lambda steps: value(item + 1e-4 * steps * way)
    expected = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12e-4
    assert float(jnp.vdot(jax.grad(value)(item), way)) == pytest.approx(float(expected), rel=1e-6)


def test_users_can_weigh_differently():
    held_out = hold_out(SPLIT.train, SPLIT.test)
    weight = jnp.zeros(SPLIT.train.n_users).at[3].set(2.0)
    scores, relevant = users()[3]
    expected = np.mean(np.log(np.exp(scores).sum()) - scores[relevant])
    assert float(softmax_cross_entropy(FACTORS, held_out, 1.0, weight)) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DataError, match="`user_weight` must have one number for each of 30 users; got 3"):
        softmax_cross_entropy(FACTORS, held_out, 1.0, weight[:3])


def test_without_k_every_rank_counts():
    exact = []
    for scores, is_relevant in users():
        gains = is_relevant[np.argsort(-scores)] / np.log2(np.arange(len(scores)) + 2)
        exact.append(gains.sum() / (1 / np.log2(np.arange(is_relevant.sum()) + 2)).sum())
    loss = smooth_ndcg(FACTORS, hold_out(SPLIT.train, SPLIT.test), temperature=1e-4, k=None)
    assert 1 - float(loss) == pytest.approx(np.mean(exact), abs=1e-3)
