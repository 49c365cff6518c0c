"""A figure depends on nothing but the model: other numbers for the same users and items change none."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxals
from jaxals import EASE, Factors, Interactions, ItemKNN, Recommender
from jaxals.errors import DataError
from jaxals.evaluation import (
    Popularity,
    by_activity,
    by_popularity,
    compare,
    evaluate,
    evaluate_among_negatives,
    plan_evaluation,
    recommend_with,
    sample_negatives,
)
from jaxals.hyper import hold_out, smooth_ndcg, softmax_cross_entropy
from jaxals.recommend.ensemble import Ensemble
from tests.combinations import fast_first
from tests.evaluation.test_ranking import Dense

SHAPE = N_USERS, N_ITEMS = 30, 24
METRICS = [f"{kind}@{k}" for kind in ("recall", "ndcg", "map", "mrr", "hit_rate", "novelty") for k in (2, 5)]
METRICS += ["auc", "coverage@2", "gini@5", "coverage@5"]
UNKNOWN_USERS, UNKNOWN_ITEMS = [0, 7], [0, 1, 11]


def parts():
    """Train, test and negatives; a few users and items, the first ones too, are in the test alone."""
    rng = np.random.default_rng(0)
    drawn = rng.random(SHAPE)
    seen = drawn < 0.2
    seen[UNKNOWN_USERS] = False
    seen[:, UNKNOWN_ITEMS] = False

    def make(cells):
        user, item = np.nonzero(cells)
        return Interactions.from_arrays(user, item, shape=SHAPE)

    train, test = make(seen), make(drawn > 0.85)
    together = make(seen | (drawn > 0.85))
    return {"train": train, "test": test, "negatives": sample_negatives(together, test, 6).negatives}


def renumbered(data, users, items):
    return Interactions.from_arrays(users[data.user], items[data.item], data.value, shape=SHAPE)


def tables(train):
    """Factors of few whole numbers, whose scores tie often and are exact; zero without an entry, as trained ones."""
    rng = np.random.default_rng(1)
    for _ in range(2):
        user, item = (
            rng.integers(-1, 2, (n, 3)) * (train.counts(s) > 0)[:, None] for s, n in zip(SIDES, SHAPE, strict=True)
        )
        yield user, item


SIDES = ("user", "item")


def moved(model, users, items):
    user, item = (np.empty_like(table) for table in model)
    user[users], item[items] = model
    return Factors(jnp.asarray(user, jnp.float32), jnp.asarray(item, jnp.float32))


SCORERS = {
    "factors": lambda train, models, users, items: moved(models[0], users, items),
    "ensemble": lambda train, models, users, items: Ensemble.of([moved(model, users, items) for model in models]),
    "one level": lambda train, models, users, items: Dense(jnp.zeros(SHAPE, jnp.float32)),
    "item kNN": lambda train, models, users, items: ItemKNN(3, dtype=jnp.float64).fit(train),
    "popularity": lambda train, models, users, items: Popularity.from_interactions(train),
    "EASE": lambda train, models, users, items: EASE(5.0, jnp.float64).fit(train),
}


@pytest.fixture(scope="module", params=fast_first(3, SCORERS))
def cases(request):
    """The same model and data in two numberings."""
    rng = np.random.default_rng(2)
    given = parts()
    models = list(tables(given["train"]))
    made = []
    for users, items in [tuple(map(np.arange, SHAPE)), tuple(map(rng.permutation, SHAPE))]:
        data = {name: renumbered(part, users, items) for name, part in given.items()}
        made.append((SCORERS[request.param](data["train"], models, users, items), data, users, items))
    return made


def assert_same(first, second, metrics=METRICS):
    assert first.n_users == second.n_users
    assert first.n_unknown_users == second.n_unknown_users == len(UNKNOWN_USERS)
    # Sums in another order, of at most 30 terms, in float32.
    np.testing.assert_allclose([first[name] for name in metrics], [second[name] for name in metrics], rtol=3e-6)
    np.testing.assert_allclose(
        list(first.standard_errors.values()), list(second.standard_errors.values()), rtol=1e-5, equal_nan=True
    )


def assert_close(both, rtol=1e-5):
    first, second = (np.asarray(each, float) for each in both)
    np.testing.assert_allclose(first, second, rtol=rtol, atol=1e-12)


def test_figures_are_those_of_another_numbering(cases):
    first, second = (evaluate(scorer, data["train"], data["test"], METRICS) for scorer, data, *_ in cases)
    assert_same(first, second)
    for k in (2, 5):
        buckets = [
            by_popularity(e, data["train"], k, 3) for e, (_, data, *_) in zip((first, second), cases, strict=True)
        ]
        columns = ["mean", "standard_error", "exposure", "relevant"]
        assert_close([table[columns] for table in buckets])
    activity = [
        by_activity(e, data["train"], 3)["mean"] for e, (_, data, *_) in zip((first, second), cases, strict=True)
    ]
    assert_close(activity)
    differences = [
        compare(e, dataclasses.replace(e, values=0 * e.values), resamples=50)["difference"] for e in (first, second)
    ]
    assert_close(differences)


def test_figures_among_negatives_are_those_of_another_numbering(cases):
    assert_same(*(evaluate_among_negatives(scorer, metrics=METRICS, **data) for scorer, data, *_ in cases))


def test_lists_are_what_is_recommended(cases):
    scorer, data, *_ = cases[0]
    train, test = data["train"], data["test"]
    got = evaluate(scorer, train, test, ["recall@5"])
    shown = recommend_with(scorer, train, range(N_USERS), 5)
    for user, listed in zip(got.user, got.lists, strict=True):
        assert shown["item"][shown["user"] == user].tolist() == listed[listed >= 0].tolist()
    if isinstance(scorer, Dense):  # does not say what it knows
        return
    assert not shown["item"].isin(UNKNOWN_ITEMS).any()
    assert shown["user"].isin(UNKNOWN_USERS).any() == isinstance(scorer, Popularity)
    if isinstance(scorer, Factors):
        by_recommender = Recommender(scorer, train).recommend(range(N_USERS), 5)
        assert by_recommender["item"].tolist() == shown["item"].tolist()
        whole = Recommender(scorer, train).recommend(range(N_USERS), N_ITEMS, exclude_seen=False, scale="unit")
        assert not whole["item"].isin(UNKNOWN_ITEMS).any()
        assert (whole.groupby("user")["score"].min()[whole.groupby("user")["score"].nunique() > 1] == 0).all()


def test_recommended_scores_are_those_of_another_numbering(cases):
    tables = []
    for scorer, data, users, _ in cases:
        shown = recommend_with(scorer, data["train"], users, 5)
        tables.append((np.argsort(users)[shown["user"]], shown["rank"], shown["score"]))
    for first, second in zip(*tables, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-12)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, smooth_ndcg])
def test_validation_losses_leave_out_unknown_users(loss):
    data = parts()
    train, test = data["train"], data["test"]
    users, items = (np.random.default_rng(3).permutation(n) for n in SHAPE)
    model = next(tables(train))
    known = test.select(~np.isin(test.user, UNKNOWN_USERS))
    first = loss(moved(model, *map(np.arange, SHAPE)), hold_out(train, test))
    assert float(first) == float(loss(moved(model, *map(np.arange, SHAPE)), hold_out(train, known)))
    second = loss(moved(model, users, items), hold_out(*(renumbered(part, users, items) for part in (train, test))))
    assert float(first) == pytest.approx(float(second), rel=1e-5)


@pytest.mark.slow
def test_what_is_watched_in_training_is_that_of_another_numbering():
    data = parts()
    users, items = (np.random.default_rng(3).permutation(n) for n in SHAPE)
    rng, histories = np.random.default_rng(4), []
    start = rng.normal(size=(N_USERS, 3)), rng.normal(size=(N_ITEMS, 3))
    for numbers in (tuple(map(np.arange, SHAPE)), (users, items)):
        train, test = (renumbered(data[name], *numbers) for name in ("train", "test"))
        trainer = jaxals.ALS(factors=3, sweeps=2, dtype="float64")
        initial = Factors(*(jnp.asarray(table, jnp.float64) for table in moved_tables(start, *numbers)))
        run = jaxals.fit(
            train, jaxals.Objective.hkv(), trainer, initial=initial, validation=test, metrics=METRICS, progress=False
        )
        histories.append(run.history[METRICS].to_numpy())
    assert_close(histories, rtol=1e-9)


def moved_tables(model, users, items):
    user, item = (np.empty_like(table) for table in model)
    user[users], item[items] = model
    return user, item


def test_unknown_users_are_counted_apart():
    data = parts()
    scorer = Popularity.from_interactions(data["train"])
    got = evaluate(scorer, data["train"], data["test"], ["recall@5"])
    assert f"; {got.n_users} users, 2 unknown left out)" in repr(got)
    assert got.to_frame()["unknown_users"].tolist() == [2]
    everyone = evaluate(scorer, data["train"], data["test"], ["recall@5"], unknown_users="rank")
    assert everyone.n_users == got.n_users + 2
    assert everyone.n_unknown_users == 0
    only = data["test"].select(np.isin(data["test"].user, UNKNOWN_USERS))
    with pytest.raises(DataError, match="None of 2 users with something to find has an entry in `train`"):
        plan_evaluation(data["train"], only)


def test_a_plan_of_other_ids_is_refused():
    data = parts()
    other = Interactions.from_scipy(data["train"].to_scipy(), users=range(1, N_USERS + 1))
    plan = plan_evaluation(data["train"], data["test"], ["recall@5"])
    for fit in (jaxals.fit, jaxals.hyper.fit_many):
        with pytest.raises(DataError, match="The plan as `validation` has other raw ids"):
            fit(other, jaxals.Objective.hkv(), jaxals.ALS(factors=3), validation=plan, progress=False)
    measured = evaluate(Popularity.from_interactions(data["train"]), data["train"], data["test"], ["recall@10"])
    for split in (by_activity, by_popularity):
        with pytest.raises(DataError, match="`train` has other raw ids"):
            split(measured, other)
