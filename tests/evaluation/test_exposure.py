import jax.numpy as jnp
import numpy as np

from jaxals import Interactions
from jaxals.evaluation import evaluate, evaluate_among_negatives
from jaxals.evaluation.exposure import coverage, gini, is_lower_better, novelty, self_information
from tests.evaluation.test_ranking import Dense, random_case


def test_novelty_worked_out_by_hand():
    # Of four users with a like, item 0 has 4, item 1 has 1, item 2 nobody, item 3 has 2; user 4 has a dislike alone.
    user, item, value = [0, 1, 2, 3, 3, 4, 1, 2], [0, 0, 0, 0, 1, 2, 3, 3], [1.0, 1, 1, 1, 1, -1, 5, 2]
    information = self_information(Interactions.from_arrays(user, item, value, shape=(7, 4)))
    np.testing.assert_allclose(information, [0, 2, 2, 1], atol=1e-15)
    lists = np.array([[0, 1, 3], [3, 2, -1], [-1, -1, -1]])
    np.testing.assert_allclose(novelty(lists, information), [1, 1.5, 0], atol=1e-15)


def test_gini_is_the_mean_difference_over_twice_the_mean():
    rng = np.random.default_rng(0)
    lists = np.array([rng.choice(30, 5, replace=False, p=np.arange(1, 31) / 465) for _ in range(40)])
    times = np.bincount(lists.ravel(), minlength=30)
    # Over all pairs of different items, which is what dividing by n - 1 instead of n means.
    mean_difference = np.abs(times[:, None] - times[None, :]).sum() / (30 * 29)
    np.testing.assert_allclose(gini(lists, 30), mean_difference / (2 * times.mean()), rtol=1e-12)


def test_gini_and_coverage_at_their_extremes():
    assert gini(np.array([[0, 1], [2, 3]]), 4) == 0
    assert gini(np.array([[2], [2], [2]]), 9) == 1
    assert gini(np.full((3, 2), -1), 9) == 0
    assert gini(np.array([[0]]), 1) == 0
    assert coverage(np.array([[0, 1], [2, 3]]), 4) == 1
    assert coverage(np.array([[3, -1], [3, -1]]), 4) == 0.25
    assert coverage(np.full((3, 2), -1), 9) == 0
    assert is_lower_better("gini@10")
    assert not is_lower_better("ndcg@10")


def test_lists_are_measured_along_with_what_they_find():
    train, test = random_case()
    scores = np.random.default_rng(1).random(train.shape)
    names = ["coverage@3", "ndcg@5", "gini@60", "novelty@7", "auc", "gini@3"]
    got = evaluate(Dense(jnp.asarray(scores)), train, test, names, batch_size=8)
    seen, liked = train.to_scipy().toarray() != 0, train.to_scipy().toarray() > 0
    ranked = [[i for i in np.argsort(-scores[u], kind="stable") if not seen[u, i]] for u in got.user]
    for places, row in zip(got.lists, ranked, strict=True):
        assert places.tolist() == row + [-1] * (50 - len(row))
    top = np.array([row[:3] for row in ranked])
    assert got["coverage@3"] == len(np.unique(top)) / 50
    assert got["gini@3"] == gini(top, 50)
    assert got["gini@60"] == gini(got.lists, 50)
    share = np.maximum(liked.sum(axis=0), 1) / np.count_nonzero(liked.any(axis=1))
    np.testing.assert_allclose(got.per_user()["novelty@7"], [-np.log2(share[row[:7]]).mean() for row in ranked])
    assert got.per_user().columns.tolist() == ["user", "ndcg@5", "novelty@7", "auc"]
    assert got.names == ("ndcg@5", "novelty@7", "auc", "coverage@3", "gini@60", "gini@3")
    alone = evaluate(Dense(jnp.asarray(scores)), train, test, ["ndcg@5", "auc"])
    np.testing.assert_array_equal(got.values[:, [0, 2]], alone.values)


def test_metrics_of_all_lists_have_no_standard_error():
    train, test = random_case()
    got = evaluate(Dense(jnp.zeros(train.shape)), train, test, "coverage@2")
    assert repr(got) == f"Evaluation(coverage@2 {got['coverage@2']:.4f}; {got.n_users} users)"
    assert got.per_user().columns.tolist() == ["user"]
    frame = got.to_frame()
    assert frame["metric"].tolist() == ["coverage@2"]
    assert frame["standard_error"].isna().all()


def test_novelty_among_negatives_is_counted_in_train():
    train, test = random_case()
    got = evaluate_among_negatives(Dense(jnp.zeros(train.shape)), train, test, train, ["coverage@3", "novelty@3"])
    assert got["coverage@3"] > 0
    # All scores tie, so that a list may hold any of a user's candidates.
    candidates = (train.to_scipy().toarray() != 0) | (test.to_scipy().toarray() > 0)
    expected = [np.mean(self_information(train)[candidates[user]]) for user in got.user]
    np.testing.assert_allclose(got.values[:, 0], expected, rtol=1e-12)
