import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import Popularity, by_activity, by_popularity, evaluate
from tests.evaluation.test_ranking import Dense, random_case


def measured(names=("recall@4", "ndcg@4", "coverage@4")):
    train, test = random_case()
    scores = np.random.default_rng(1).random(train.shape)
    return train, test, evaluate(Dense(jnp.asarray(scores)), train, test, names)


def test_activity_buckets_average_their_users():
    train, _, got = measured()
    activity = (train.to_scipy().toarray() > 0).sum(axis=1)[got.user]
    table = by_activity(got, train, buckets=[6, 9])
    assert table["metric"].tolist() == ["recall@4", "ndcg@4"] * 3
    for bucket, here in enumerate([activity < 6, (activity >= 6) & (activity < 9), activity >= 9]):
        rows = table[table["bucket"] == bucket]
        assert (rows["users"] == here.sum()).all()
        assert (rows["lowest"] == activity[here].min()).all()
        assert (rows["highest"] == activity[here].max()).all()
        np.testing.assert_allclose(rows["mean"], got.values[here].mean(axis=0))
        np.testing.assert_allclose(rows["standard_error"], got.values[here].std(axis=0, ddof=1) / here.sum() ** 0.5)


def test_activity_buckets_are_of_like_size_and_part_no_level():
    train, _, got = measured()
    table = by_activity(got, train, buckets=3).drop_duplicates("bucket")
    assert table["users"].sum() == got.n_users
    assert table["users"].between(got.n_users / 3 - 6, got.n_users / 3 + 6).all()  # at most 6 users of one activity
    assert (table["lowest"].to_numpy()[1:] > table["highest"].to_numpy()[:-1]).all()
    whole = by_activity(got, train, buckets=1)
    np.testing.assert_allclose(whole["mean"], list(got.metrics.values())[:2])
    np.testing.assert_allclose(whole["standard_error"], list(got.standard_errors.values())[:2])


def test_popularity_buckets_measure_recall_and_exposure():
    train, test, got = measured(["recall@4", "ndcg@9"])  # longer lists than asked for
    popularity = (train.to_scipy().toarray() > 0).sum(axis=0)
    wanted = (test.to_scipy().toarray() > 0) & (train.to_scipy().toarray() == 0)
    listed = np.zeros(train.shape, bool)
    listed[np.repeat(got.user, 4), got.lists[:, :4].ravel()] = True
    table = by_popularity(got, train, k=4, buckets=[5, 8])
    for (_, row), items in zip(
        table.iterrows(), [popularity < 5, (popularity >= 5) & (popularity < 8), popularity >= 8], strict=True
    ):
        relevant = wanted[:, items].sum(axis=1)
        found = (wanted & listed)[:, items].sum(axis=1)
        recalls = (found / np.maximum(relevant, 1))[relevant > 0]
        assert [row["items"], row["relevant"], row["users"]] == [items.sum(), relevant.sum(), len(recalls)]
        assert [row["lowest"], row["highest"]] == [popularity[items].min(), popularity[items].max()]
        np.testing.assert_allclose(row["mean"], recalls.mean())
        np.testing.assert_allclose(row["standard_error"], recalls.std(ddof=1) / len(recalls) ** 0.5)
        np.testing.assert_allclose(row["exposure"], int(np.sum(listed[:, items])) / int(np.sum(listed)))
    np.testing.assert_allclose(table["exposure"].sum(), 1)


def test_one_popularity_bucket_is_plain_recall_and_more_share_the_entries():
    train, _, got = measured()
    whole = by_popularity(got, train, k=4, buckets=1).iloc[0]
    np.testing.assert_allclose(whole["mean"], got["recall@4"])
    np.testing.assert_allclose(whole["standard_error"], got.standard_errors["recall@4"])
    popularity = (train.to_scipy().toarray() > 0).sum(axis=0)
    table = by_popularity(got, train, k=4, buckets=2)
    share = popularity[popularity >= table["lowest"][1]].sum() / popularity.sum()
    assert abs(share - 0.5) < 0.15  # one level of popularity holds up to a quarter of the entries here
    assert table["items"][0] > table["items"][1]


def test_short_lists_are_not_taken_for_items():
    # User 0's list is empty, and padding before user 1 would be the last item of user 0, which is wanted.
    train = Interactions.from_arrays([0, 1, 1], [0, 0, 1], shape=(2, 3))
    test = Interactions.from_arrays([0, 1], [2, 2], shape=(2, 3))
    scores = jnp.array([[0.0, 0.0, -jnp.inf], [0.0, 0.0, 1.0]])
    got = evaluate(Dense(scores.at[0, 1].set(-jnp.inf)), train, test, ["recall@3"])
    assert got.lists.tolist() == [[-1, -1, -1], [2, -1, -1]]
    row = by_popularity(got, train, k=3, buckets=1).iloc[0]
    assert row["mean"] == got["recall@3"] == 0.5


def test_refuses_buckets_that_are_none():
    train, _, got = measured()
    for buckets in ([], [5, 3], [3, 3]):
        with pytest.raises(ConfigurationError, match="`buckets` must be ascending counts, or how many"):
            by_activity(got, train, buckets=buckets)
    with pytest.raises(ConfigurationError, match="`buckets` must be an integer >= 1; got 0"):
        by_popularity(got, train, k=4, buckets=0)
    with pytest.raises(ConfigurationError, match="`k` is 5, but the lists have 4 items"):
        by_popularity(got, train, k=5)
    other = Interactions.from_arrays([0], [0])
    with pytest.raises(DataError, match=r"`train` is about \(1, 1\) users and items, the evaluation \(37, 50\)"):
        by_activity(got, other)


def test_popular_items_are_what_popularity_shows(lastfm_2k):
    popularity = Popularity.from_interactions(lastfm_2k)
    got = evaluate(popularity, lastfm_2k, lastfm_2k, ["recall@10"], exclude=None)
    table = by_popularity(got, lastfm_2k, buckets=4)
    assert table["exposure"].tolist() == [0, 0, 0, 1]
    assert (table["mean"][:3] == 0).all()
    assert table["mean"][3] > 0
