import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxals
from jaxals import Factors, Interactions, pytree, static
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import (
    Popularity,
    Random,
    Split,
    evaluate,
    leave_k_out,
    plan_evaluation,
    plan_negatives,
    random_holdout,
    ranking,
    run_plan,
)
from tests.combinations import combinations
from tests.evaluation.ranking_oracle import rank_all

NAMES = ["recall@3", "recall@10", "capped_recall@5", "precision@10", "ndcg@3", "ndcg@10", "map@5", "mrr@10"]
NAMES += ["hit_rate@1", "hit_rate@10", "auc"]


@pytree
class Dense:
    """Scores that are already there."""

    table: jax.Array

    def scores(self, users):
        return self.table[users]


def random_case(seed=0, n_users=37, n_items=50):
    """Train and test interactions, some of them dislikes, and some in both."""
    rng = np.random.default_rng(seed)
    parts = []
    for density in (0.2, 0.15):
        user, item = np.nonzero(rng.random((n_users, n_items)) < density)
        value = np.where(rng.random(len(user)) < 0.2, -1.0, 1.0)
        parts.append(Interactions.from_arrays(user, item, value, shape=(n_users, n_items)))
    return parts


def full(n_users, n_items):
    user, item = np.divmod(np.arange(n_users * n_items), n_items)
    return Interactions.from_arrays(user, item, shape=(n_users, n_items))


def dense(data):
    return data.to_scipy().toarray()


@pytest.mark.parametrize(
    ("exclude", "levels", "dtype"),
    combinations(["train", None], [3, 10**6], [jnp.float32, jnp.float64], strength=1),
)
def test_equals_the_oracle(exclude, levels, dtype):
    train, test = random_case()
    scores = np.random.default_rng(1).integers(0, levels, train.shape)
    got = evaluate(Dense(jnp.asarray(scores, dtype)), train, test, NAMES, batch_size=8, exclude=exclude)
    excluded = dense(train) != 0 if exclude else np.zeros(train.shape, bool)
    users, expected = rank_all(scores, dense(test) > 0, excluded, NAMES)
    assert got.users.tolist() == users
    assert got.values.dtype == np.float64
    tolerance = 10 * float(jnp.finfo(dtype).eps)  # a few roundings of sums of at most 50 terms near 1
    np.testing.assert_allclose(got.values, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(list(got.metrics.values()), expected.mean(axis=0), rtol=0, atol=tolerance)


def test_measures_a_ranking_worked_out_by_hand():
    train = Interactions.from_arrays([0, 1], [0, 4], shape=(3, 5))
    test = Interactions.from_arrays([0, 0, 1], [2, 4, 0], shape=(3, 5))
    # User 0 ranks 3, 4, 1, 2 (item 0 is seen) and wants 2 and 4; user 1 ranks 0, 1, 2, 3 in any order and wants 0.
    scorer = Dense(jnp.array([[9.0, 2.0, 1.0, 4.0, 3.0], [0.0] * 5, [5.0] * 5]))
    got = evaluate(scorer, train, test, ["recall@2", "mrr@4", "auc", "map@4"])
    np.testing.assert_allclose(got.values, [[0.5, 0.5, 0.25, 0.5], [0.5, 25 / 48, 0.5, 25 / 48]], atol=1e-12)
    assert got.n_users == 2
    assert got["recall@2"] == 0.5


def test_does_not_depend_on_the_batch_size():
    train, test = random_case()
    scorer = Dense(jax.random.normal(jax.random.key(0), train.shape, jnp.float64))
    whole = evaluate(scorer, train, test, NAMES)
    for batch_size in (1, 5, 1000):
        got = evaluate(scorer, train, test, NAMES, batch_size=batch_size)
        np.testing.assert_allclose(got.values, whole.values, rtol=0, atol=1e-15)
        assert got.users.equals(whole.users)


def test_repeats_itself_bit_by_bit_and_compiles_once():
    train, test = random_case()
    factors = lambda seed: Factors(
        jax.random.normal(jax.random.key(seed), (train.n_users, 4), jnp.float32),
        jax.random.normal(jax.random.key(seed + 1), (train.n_items, 4), jnp.float32),
    )
    plan = plan_evaluation(train, test, NAMES, batch_size=7)
    programs = ranking._measure._cache_size  # type: ignore[attr-defined]
    before = programs()
    first, again, other = (run_plan(factors(seed), plan) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first.values, again.values)
    assert (first.values != other.values).any()
    assert programs() == before + 1
    np.testing.assert_array_equal(first.values, evaluate(factors(0), train, test, NAMES, batch_size=7).values)


def test_a_perfect_scorer_is_perfect_and_its_opposite_is_not():
    train, test = random_case()
    wanted = (dense(test) > 0).astype(np.float64)
    names = ["capped_recall@5", "ndcg@5", "ndcg@40", "map@5", "mrr@5", "hit_rate@1", "auc"]
    best = evaluate(Dense(jnp.asarray(wanted)), train, test, names)
    np.testing.assert_allclose(best.values, 1, rtol=1e-14)
    worst = evaluate(Dense(jnp.asarray(-wanted)), train, test, names)
    np.testing.assert_array_equal(worst.values[:, [0, 1, 3, 4, 5, 6]], 0)


def test_never_lists_what_is_excluded():
    train, test = random_case()
    seen = dense(train) != 0
    # Seen items score highest, so any leak would take the places of the others.
    scorer = Dense(jnp.asarray(np.where(seen, 9.0, dense(test) > 0)))
    np.testing.assert_allclose(evaluate(scorer, train, test, ["ndcg@10"]).values, 1, rtol=1e-14)
    everything = full(*train.shape)
    with pytest.raises(DataError, match="No user has a relevant item"):
        evaluate(scorer, train, test, exclude=everything)


def test_excludes_other_interactions_than_train():
    train, test = random_case()
    scores = np.random.default_rng(2).random(train.shape)
    got = evaluate(Dense(jnp.asarray(scores)), random_case(9)[0], test, NAMES, exclude=train)
    _, expected = rank_all(scores, dense(test) > 0, dense(train) != 0, NAMES)
    np.testing.assert_allclose(got.values, expected, rtol=0, atol=1e-14)


def test_zero_scores_and_short_catalogs_give_numbers():
    train = Interactions.from_arrays([0, 0, 1], [0, 1, 0], shape=(2, 3))
    test = Interactions.from_arrays([0, 1], [2, 1], shape=(2, 3))
    factors = Factors(jnp.zeros((2, 4), jnp.float32), jnp.zeros((3, 4), jnp.float32))
    # Lists of 10 out of 3 items, all but one of them seen by user 0. Zero factors know nothing, and list nothing.
    for scorer, precision in ((Dense(jnp.zeros((2, 3), jnp.float32)), 0.1), (factors, 0)):
        got = evaluate(scorer, train, test, NAMES)
        assert np.isfinite(got.values).all()
        np.testing.assert_allclose(got.per_user()["precision@10"], precision, rtol=1e-6)
        np.testing.assert_array_equal(got.per_user()["auc"], 0.5)
    nothing = evaluate(Dense(jnp.full((2, 3), -jnp.inf)), train, test, NAMES)  # the scorer itself rules out everything
    assert np.isfinite(nothing.values).all()
    np.testing.assert_array_equal(nothing.values[:, :-1], 0)


def test_measures_wide_catalogs_as_narrow_ones():
    train, test = random_case(n_users=5, n_items=4000)
    scores = np.random.default_rng(3).integers(0, 30, train.shape)
    names = [name for name in NAMES if name != "auc"]
    got = evaluate(Dense(jnp.asarray(scores, jnp.float32)), train, test, names)
    _, expected = rank_all(scores, dense(test) > 0, dense(train) != 0, names)
    np.testing.assert_allclose(got.values, expected, rtol=0, atol=1e-6)


def test_reports_what_was_measured():
    train = Interactions.from_frame(pd.DataFrame({"user": [*"abc"], "item": [*"xyz"], "value": 1.0}))
    test = Interactions.from_arrays([0, 2], [1, 1], catalog=train.catalog)
    scorer = Dense(jnp.array([[0.0, 2.0, 1.0], [0.0] * 3, [1.0, 0.0, 0.0]]))
    got = evaluate(scorer, train, test, ["mrr@2", "hit_rate@1", "mrr@2"])
    assert got.metrics == {"mrr@2": 0.75, "hit_rate@1": 0.5}
    assert got.standard_errors == {"mrr@2": 0.25, "hit_rate@1": 0.5}
    assert repr(got) == "Evaluation(mrr@2 0.7500 ± 0.2500, hit_rate@1 0.5000 ± 0.5000; 2 users)"
    frame = got.to_frame()
    assert frame.columns.tolist() == ["metric", "mean", "standard_error", "users", "unknown_users"]
    assert frame["metric"].tolist() == ["mrr@2", "hit_rate@1"]
    pd.testing.assert_frame_equal(
        got.per_user(), pd.DataFrame({"user": ["a", "c"], "mrr@2": [1.0, 0.5], "hit_rate@1": [1.0, 0.0]})
    )
    with pytest.raises(ConfigurationError, match="'ndcg@10' was not measured; this evaluation has mrr@2, hit_rate@1"):
        got["ndcg@10"]
    one = evaluate(scorer, train, Interactions.from_arrays([0], [1], catalog=train.catalog), "mrr@2")
    assert np.isnan(one.standard_errors["mrr@2"])
    assert repr(one) == "Evaluation(mrr@2 1.0000 ± n/a; 1 user)"


@pytest.mark.parametrize(
    "name", ["ndgc@10", "ndcg", "ndcg@0", "ndcg@-1", "ndcg@1.5", "auc@10", "", "ndcg@" + "9" * 5000, 10, None]
)
def test_refuses_unknown_metrics_and_names_the_known(name):
    # Without the run-time check of types, which tests have and users have not.
    train, test = random_case()
    with pytest.raises(ConfigurationError, match=r"known are recall@k, capped_recall@k, .* and auc"):
        inspect.unwrap(plan_evaluation)(train, test, ["recall@5", name])
    with pytest.raises(ConfigurationError, match="`metrics` must be names of metrics; got 10"):
        inspect.unwrap(plan_evaluation)(train, test, 10)


def test_lists_longer_than_the_catalog_cost_nothing():
    train, test = random_case()
    scorer = Dense(jnp.asarray(np.random.default_rng(1).random(train.shape)))
    kinds = ["recall", "capped_recall", "ndcg", "map", "mrr", "hit_rate", "novelty", "coverage", "gini"]
    whole = evaluate(scorer, train, test, [f"{kind}@50" for kind in kinds] + ["precision@50"])
    longer = evaluate(scorer, train, test, [f"{kind}@100000000000" for kind in kinds] + ["precision@100"])
    np.testing.assert_allclose(list(longer.metrics.values())[:-3], list(whole.metrics.values())[:-3])
    assert longer["coverage@100000000000"] == whole["coverage@50"]
    assert longer["precision@100"] == pytest.approx(whole["precision@50"] / 2)


def test_refuses_what_does_not_fit_together():
    train, test = random_case()
    turned = Interactions.from_scipy(test.to_scipy().T)
    with pytest.raises(
        DataError, match=r"`test` is about \(50, 37\) users and items, `train` about \(37, 50\).*transp"
    ):
        plan_evaluation(train, turned)
    with pytest.raises(DataError, match=r"`exclude` is about \(50, 37\)"):
        plan_evaluation(train, test, exclude=turned)
    renamed = Interactions.from_scipy(test.to_scipy(), users=range(1, 38))
    with pytest.raises(DataError, match="different raw ids"):
        plan_evaluation(train, renamed)
    with pytest.raises(ConfigurationError, match="`exclude` must be \"train\", `Interactions` or None; got 'test'"):
        inspect.unwrap(plan_evaluation)(train, test, exclude="test")
    with pytest.raises(DataError, match="`exclude` is a csr_matrix"):
        inspect.unwrap(plan_evaluation)(train, test, exclude=test.to_scipy())
    with pytest.raises(ConfigurationError, match='`unknown_users` must be "skip" or "rank"; got True'):
        inspect.unwrap(plan_evaluation)(train, test, unknown_users=True)
    with pytest.raises(DataError, match="No user has a relevant item"):
        plan_evaluation(train, test.select(test.value < 0))
    with pytest.raises(ConfigurationError, match="`batch_size` must be an integer >= 1; got 0"):
        plan_evaluation(train, test, batch_size=0)
    with pytest.raises(ConfigurationError, match="at least one metric"):
        plan_evaluation(train, test, [])

    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
    with pytest.raises(
        DataError, match=r"factors of `scorer` are for \(50, 37\) .* for \(37, 50\). Users and items look swapped"
    ):
        evaluate(Factors(zeros(50, 2), zeros(37, 2)), train, test)
    with pytest.raises(DataError, match=r"factors of `scorer` are for \(36, 50\)"):
        evaluate(Factors(zeros(36, 2), zeros(50, 2)), train, test)
    with pytest.raises(DataError, match=r"scores have shape \(5, 49\); for 5 users and the 50 items"):
        evaluate(Dense(zeros(37, 49)), train, test, batch_size=5)
    with pytest.raises(DataError, match="holds NaN"):
        evaluate(Factors(zeros(37, 2).at[3, 1].set(jnp.nan), zeros(50, 2)), train, test)


class Plain:
    def scores(self, users):
        return jnp.zeros((len(users), 50))


@pytree
class Odd:
    """Scores that are none: what a function makes of the users."""

    make: Callable = static()

    def scores(self, users):
        return self.make(users)


NO_SCORERS = [
    (Plain(), "Plain is not one"),
    (Popularity, r"`scores\(users\)`, as the `.factors` of a run"),
    (jaxals.EASE(), r"`scores\(users\)`, as the `.factors` of a run"),
    (None, r"`scores\(users\)`, as the `.factors` of a run"),
    (pd.DataFrame({"scores": [1.0]}), "DataFrame"),
    (Odd(lambda users: [users]), "must return one array of floating-point scores; got list"),
    (Odd(lambda users: jnp.zeros((len(users), 50), jnp.int32)), "floating-point scores; got an array of int32"),
    (Odd(lambda users: users["a"]), "of the Odd fails when JAX traces it: TypeError"),
    (Odd(lambda: None), "of the Odd fails when JAX traces it: TypeError"),
]


@pytest.mark.parametrize(("scorer", "message"), NO_SCORERS)
def test_refuses_what_is_no_scorer(scorer, message):
    # Without the run-time check of types, which tests have and users have not.
    with pytest.raises(DataError, match=message):
        inspect.unwrap(run_plan)(scorer, plan_evaluation(*random_case()))


def test_refuses_what_is_no_interactions():
    train, test = random_case()
    with pytest.raises(DataError, match=r"`train` must be `Interactions`, .* got Split"):
        inspect.unwrap(plan_evaluation)(Split(train, test), test)
    with pytest.raises(DataError, match="`test` is a csr_matrix"):
        inspect.unwrap(plan_evaluation)(train, test.to_scipy())
    with pytest.raises(DataError, match="`negatives` must be `Interactions`"):
        inspect.unwrap(plan_negatives)(train, test, None)


def test_popularity_counts_likers_and_random_is_per_user():
    train, test = random_case()
    popularity = Popularity.from_interactions(train)
    np.testing.assert_array_equal(popularity.counts, (dense(train) > 0).sum(axis=0))
    random = Random(jax.random.key(0), train.n_items)
    some = random.scores(jnp.array([3, 8, 3]))
    np.testing.assert_array_equal(some[0], some[2])
    np.testing.assert_array_equal(some[1], random.scores(jnp.array([8]))[0])
    assert (some[0] != some[1]).all()
    with pytest.raises(ConfigurationError, match="`n_items` must be an integer >= 1"):
        Random(jax.random.key(0), 0)
    for scorer in (popularity, random):
        small, whole = (evaluate(scorer, train, test, ["ndcg@10"], batch_size=size).values for size in (4, 37))
        np.testing.assert_allclose(small, whole, rtol=0, atol=1e-6)


def test_random_scores_are_at_chance():
    data = full(400, 100)
    split = leave_k_out(data.select(np.random.default_rng(0).random(len(data)) < 0.3), k=5)
    got = evaluate(Random(jax.random.key(3), 100), split.train, split.test, ["auc", "hit_rate@10"], exclude=None)
    assert abs(got["auc"] - 0.5) < 5 * got.standard_errors["auc"]
    missed = np.prod([(90 - i) / (100 - i) for i in range(5)])
    assert abs(got["hit_rate@10"] - (1 - missed)) < 5 * got.standard_errors["hit_rate@10"]


def test_popularity_does_well_on_real_plays(lastfm_2k):
    split = random_holdout(lastfm_2k, 0.2, seed=0)
    popularity = Popularity.from_interactions(split.train)
    got = evaluate(popularity, split.train, split.test, ["recall@10", "auc"])
    assert got.n_users + got.n_unknown_users == len(np.unique(split.test.user)) > 1800
    assert got.n_unknown_users == 1  # all of that user's plays are held out
    assert 0.04 < got["recall@10"] < 0.12  # chance: 10 of 17,632 items
    assert got["auc"] > 0.8
