import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxals import Interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import (
    NegativesSplit,
    Split,
    UserSplit,
    leave_k_out,
    random_holdout,
    sample_negatives,
    user_holdout,
)


def random_data(seed=0, n_users=40, n_items=30, density=0.2, disliked=0.2):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((n_users, n_items)) < density)
    value = rng.integers(1, 9, len(user)) * np.where(rng.random(len(user)) < disliked, -1.0, 1.0)
    return Interactions.from_arrays(user, item, value, shape=(n_users, n_items))


def triples(data):
    return list(zip(data.user.tolist(), data.item.tolist(), data.value.tolist(), strict=True))


def assert_partition(data, *parts):
    for part in parts:
        assert part.catalog is data.catalog
        assert triples(part) == sorted(triples(part))
    assert sorted(triple for part in parts for triple in triples(part)) == triples(data)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), fraction=st.floats(0.05, 0.9), k=st.integers(1, 4), share=st.floats(0.05, 0.95))
def test_every_split_is_a_partition_that_holds_out_likes_alone(seed, fraction, k, share):
    data = random_data(seed)
    positive = data.counts("user") - np.bincount(data.user[data.value < 0], minlength=data.n_users)

    split = random_holdout(data, fraction, seed)
    assert_partition(data, split.train, split.test)
    assert len(split.test) == round(fraction * positive.sum())
    assert (split.test.value > 0).all()

    split = leave_k_out(data, k, seed)
    assert_partition(data, split.train, split.test)
    assert (split.test.value > 0).all()
    np.testing.assert_array_equal(split.test.counts("user"), np.where(positive > k, k, 0))

    by_user = user_holdout(data, fraction, share, seed)
    assert_partition(data, by_user.train, by_user.given, by_user.test)
    assert (by_user.test.value > 0).all()
    held_out = np.unique(by_user.test.user)
    assert len(held_out) == round(fraction * (positive >= 2).sum())
    assert not np.isin(by_user.train.user, held_out).any()
    assert np.isin(by_user.given.user, held_out).all()
    given_likes = np.bincount(by_user.given.user[by_user.given.value > 0], minlength=data.n_users)[held_out]
    np.testing.assert_array_equal(given_likes, np.clip(np.rint(share * positive[held_out]), 1, positive[held_out] - 1))


@pytest.mark.parametrize("make", [random_holdout, leave_k_out, user_holdout])
def test_the_seed_decides(make):
    data = random_data()
    first, again, other = (triples(make(data, seed=seed).test) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_leave_k_out_chooses_uniformly():
    data = Interactions.from_arrays([0] * 4 + [1] * 2, [0, 1, 2, 3, 1, 2])
    items = np.array([leave_k_out(data, 1, seed).test.item for seed in range(2000)])
    # 2000 draws: a share of 1/4 has a standard deviation of 0.01, of 1/2 of 0.011; five of those are allowed.
    np.testing.assert_allclose(np.bincount(items[:, 0]) / 2000, [0.25] * 4, atol=0.05)
    np.testing.assert_allclose((items[:, 1] == 1).mean(), 0.5, atol=0.055)
    np.testing.assert_allclose(((items[:, 0] == 0) & (items[:, 1] == 1)).mean(), 0.125, atol=0.04)


def test_dislikes_of_held_out_users_are_given():
    data = Interactions.from_arrays([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [1.0, 1.0, -1.0] * 2)
    split = user_holdout(data, 0.5, 0.5)
    assert (split.given.value < 0).sum() == 1
    assert len(split.given) == 2
    assert len(split.test) == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_refuses_fractions_outside_their_range(fraction):
    data = random_data()
    for make in (
        lambda: random_holdout(data, fraction),
        lambda: user_holdout(data, fraction),
        lambda: user_holdout(data, given=fraction),
    ):
        with pytest.raises(ConfigurationError, match=f"must be above 0 and below 1; got {fraction}"):
            make()


def test_refuses_what_is_no_interactions_or_number():
    # Without the run-time check of types, which tests have and users have not.
    leave, hold_out = inspect.unwrap(leave_k_out), inspect.unwrap(random_holdout)
    sample, data = inspect.unwrap(sample_negatives), random_data()
    for make in (leave, hold_out, inspect.unwrap(user_holdout), lambda matrix: sample(matrix, data)):
        with pytest.raises(DataError, match=r"`data` is a csr_matrix; pass `Interactions.from_scipy\(matrix\)`"):
            make(data.to_scipy())
    with pytest.raises(DataError, match=r"`test` must be `Interactions`, .* got Split"):
        sample(data, random_holdout(data))
    with pytest.raises(ConfigurationError, match=r"`k` must be an integer >= 1; got 1\.5"):
        leave(data, 1.5)
    with pytest.raises(ConfigurationError, match="`fraction` must be above 0 and below 1; got 'half'"):
        hold_out(data, "half")


def test_refuses_what_cannot_be_split():
    data = Interactions.from_arrays([0, 1], [0, 1])
    with pytest.raises(ConfigurationError, match="`k` must be an integer >= 1; got 0"):
        leave_k_out(data, 0)
    with pytest.raises(DataError, match="No user has more than 1 positive entries"):
        leave_k_out(data, 1)
    with pytest.raises(DataError, match="of 2 positive entries is 0 to hold out"):
        random_holdout(data, 0.2)
    with pytest.raises(DataError, match="is 2 to hold out and 0 entries to train on"):
        random_holdout(data, 0.9)
    with pytest.raises(DataError, match="of 0 users with two or more positive entries"):
        user_holdout(data, 0.5)
    with pytest.raises(DataError, match="is 1 to hold out"):
        user_holdout(Interactions.from_arrays([0, 0], [0, 1]), 0.9)


def test_negatives_are_distinct_and_unknown_to_their_users():
    data = random_data(density=0.5)
    test = leave_k_out(data, 2, seed=1).test
    n = int((data.n_items - data.counts()).min())  # the user who knows most gets all that is left
    split = sample_negatives(data, test, n, seed=3)
    assert_partition(data, split.train, split.test)
    np.testing.assert_array_equal(split.negatives.counts(), np.where(test.counts() > 0, n, 0))
    assert not split.negatives.is_among(data).any()
    assert triples(sample_negatives(data, test, n, seed=3).negatives) == triples(split.negatives)
    assert triples(sample_negatives(data, test, n, seed=4).negatives) != triples(split.negatives)
    with pytest.raises(DataError, match=f"has {n} items to draw negatives from; `n` asks for {n + 1}"):
        sample_negatives(data, test, n + 1)
    with pytest.raises(ConfigurationError, match="`n` must be an integer >= 1; got 0"):
        sample_negatives(data, test, 0)


def test_no_side_of_a_split_is_empty():
    data = random_data()
    nothing = data.select(np.zeros(len(data), bool))
    with pytest.raises(DataError, match="`test` of the split has no entry"):
        sample_negatives(data, nothing, 3)
    with pytest.raises(DataError, match="`train` of the split has no entry"):
        sample_negatives(data, data, 3)
    for make, names in (
        (Split, "train test"),
        (UserSplit, "train given test"),
        (NegativesSplit, "train test negatives"),
    ):
        for name in names.split():
            with pytest.raises(DataError, match=f"`{name}` of the split has no entry"):
                make(**{other: nothing if other == name else data for other in names.split()})
        with pytest.raises(DataError, match="`train` must be `Interactions`"):
            inspect.unwrap(make.__init__)(object.__new__(make), *[None] * len(names.split()))


@pytest.mark.slow
def test_negatives_are_drawn_uniformly():
    data = Interactions.from_arrays([0] * 3, [0, 2, 5], shape=(1, 8))
    test = data.select(data.item > 0)
    sets = [tuple(sample_negatives(data, test, 2, seed).negatives.item.tolist()) for seed in range(2000)]
    # 10 sets of 2 out of 5; a share of 0.1 has a standard deviation of 0.0067 here, of which five are allowed.
    assert len(set(sets)) == 10
    assert all(abs(sets.count(one) / 2000 - 0.1) < 0.034 for one in set(sets))


def test_negatives_are_drawn_for_a_test_about_the_same_users_and_items():
    with pytest.raises(DataError, match=r"`test` is about \(5, 30\) users and items, `data` about \(40, 30\)"):
        sample_negatives(random_data(), random_data(n_users=5), n=3)
