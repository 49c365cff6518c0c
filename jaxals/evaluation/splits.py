"""Splits of interactions into what is trained on and what is ranked. Host side.

Only entries with a value above zero are ever held out: a negative value is a dislike, so it is no relevant item to
find. Dislikes stay in `train` (or in `given`), where the model can learn from them and lists leave them out.
All randomness is `numpy.random.default_rng(seed)`: the same seed gives the same split on every machine.
"""

import numpy as np
from jaxtyping import Bool, Int

from jaxals._base.checks import require_fraction, require_integer
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.data.split import NegativesSplit, Split, UserSplit, empty_side
from jaxals.errors import DataError


def random_holdout(data: Interactions, fraction: float = 0.2, seed: int = 0) -> Split:
    """Hold out a random fraction of all positive entries.

    Args:
        data: What to split.
        fraction: Share of the positive entries that goes to the test, above 0 and below 1; the count is rounded.
        seed: Of the random choice.

    Returns:
        What was kept and what was held out, over the catalog of `data`.

    Raises:
        ConfigurationError: `fraction` lies outside its range.
        DataError: There are too few entries for both sides to have one.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import random_holdout
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])
        >>> split = random_holdout(data, fraction=0.4)
        >>> len(split.train), len(split.test)
        (3, 2)
    """
    require_interactions("data", data)
    require_fraction("fraction", fraction)
    require_integer("seed", seed, 0)
    positive = np.flatnonzero(data.value > 0)
    n_test = round(fraction * len(positive))
    if not 0 < n_test < len(data):
        raise DataError(
            f"`fraction` {fraction} of {len(positive)} positive entries is {n_test} to hold out and "
            f"{len(data) - n_test} entries to train on; both must have at least one."
        )
    chosen = np.random.default_rng(seed).choice(positive, n_test, replace=False, shuffle=False)
    held_out = np.zeros(len(data), bool)
    held_out[chosen] = True
    return Split(data.select(~held_out), data.select(held_out))


def leave_k_out(data: Interactions, k: int = 1, seed: int = 0) -> Split:
    """Hold out k random positive entries of every user who has more than k; the others only train.

    Args:
        data: What to split.
        k: Entries held out per user, at least 1.
        seed: Of the random choice.

    Returns:
        What was kept and what was held out, over the catalog of `data`.

    Raises:
        ConfigurationError: `k` is no integer of 1 or more.
        DataError: `data` are no `Interactions`, or no user has more than k positive entries.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import leave_k_out
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1, 2, 2, 2], [0, 1, 0, 0, 1, 2])
        >>> leave_k_out(data, k=1).test.counts("user")
        array([1, 0, 1])
    """
    require_interactions("data", data)
    require_integer("k", k, 1)
    require_integer("seed", seed, 0)
    positive = np.flatnonzero(data.value > 0)
    counts = np.bincount(data.user[positive], minlength=data.n_users)
    positive = positive[counts[data.user[positive]] > k]
    if not len(positive):
        raise DataError(f"No user has more than {k} positive entries, so nothing can be held out; lower `k`.")
    held_out = np.zeros(len(data), bool)
    held_out[positive[_shuffled_rank(data.user[positive], np.random.default_rng(seed)) < k]] = True
    return Split(data.select(~held_out), data.select(held_out))


def user_holdout(data: Interactions, fraction: float = 0.1, given: float = 0.8, seed: int = 0) -> UserSplit:
    """Hold out whole users, for models that fold in users they were not trained on.

    Only users with at least two positive entries are held out, so that each has one to be folded in from and one to
    be ranked. Evaluate with `evaluate(Recommender(...).fold_in(split.given).factors, split.given, split.test)`.

    Args:
        data: What to split.
        fraction: Share of those users to hold out, above 0 and below 1; the count is rounded.
        given: Share of a held-out user's positive entries to fold in, above 0 and below 1; rounded, and at least one
            entry stays on each side.
        seed: Of the random choice.

    Returns:
        The entries of the other users, and of those held out what is given and what is to be found.

    Raises:
        ConfigurationError: `fraction` or `given` lies outside its range.
        DataError: There are too few users for both sides to have one.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import user_holdout
        >>> data = jaxals.Interactions.from_arrays([0, 0, 0, 1, 1, 1, 2], [0, 1, 2, 0, 1, 2, 0])
        >>> split = user_holdout(data, fraction=0.5, given=0.6)
        >>> len(split.train), len(split.given), len(split.test)
        (4, 2, 1)
    """
    require_interactions("data", data)
    require_fraction("fraction", fraction)
    require_fraction("given", given)
    require_integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    is_positive = data.value > 0
    counts = np.bincount(data.user[is_positive], minlength=data.n_users)
    eligible = np.flatnonzero(counts >= 2)
    n_held_out = round(fraction * len(eligible))
    is_held_out = np.zeros(data.n_users, bool)
    is_held_out[rng.choice(eligible, n_held_out, replace=False, shuffle=False)] = True
    of_held_out = is_held_out[data.user]
    if not n_held_out or of_held_out.all():
        raise DataError(
            f"`fraction` {fraction} of {len(eligible)} users with two or more positive entries is {n_held_out} to "
            f"hold out; at least one must be held out and at least one entry left to train on."
        )
    is_test = np.zeros(len(data), bool)
    is_test[of_held_out] = hold_out_of_each(data.select(of_held_out), given, rng)
    return UserSplit(data.select(~of_held_out), data.select(of_held_out & ~is_test), data.select(is_test))


def hold_out_of_each(data: Interactions, given: float, rng: np.random.Generator) -> Bool[np.ndarray, " entries"]:
    """Choose positive entries to hold out of each user who has two or more, at random.

    Args:
        data: What to choose from.
        given: Share of a user's positive entries that stay; rounded, and at least one is on each side.
        rng: Of the choice.

    Returns:
        Which entries are held out.
    """
    positive = np.flatnonzero(data.value > 0)
    counts = np.bincount(data.user[positive], minlength=data.n_users)
    positive = positive[counts[data.user[positive]] >= 2]
    user = data.user[positive]
    n_given = np.clip(np.rint(given * counts), 1, np.maximum(counts - 1, 1))
    is_test = np.zeros(len(data), bool)
    is_test[positive[_shuffled_rank(user, rng) >= n_given[user]]] = True
    return is_test


def sample_negatives(data: Interactions, test: Interactions, n: int = 99, seed: int = 0) -> NegativesSplit:
    """Draw items that users have nothing to do with, uniformly, for their held-out ones to be found among.

    What He et al. 2017 (Neural Collaborative Filtering, section 4.1) do with n = 99, after a leave-one-out split.

    Args:
        data: All that is known, the held-out entries included.
        test: The held-out entries; each user with one gets negatives.
        n: How many distinct items each user gets, at least 1.
        seed: Of the random choice.

    Returns:
        `data` without the entries of `test`, these, and the negatives with values of 1.

    Raises:
        ConfigurationError: `n` is below 1.
        DataError: A user has fewer than `n` items to draw from, `test` is empty, or nothing is left to train on.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import leave_k_out, sample_negatives
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1, 1], [0, 1, 0, 2], shape=(2, 9))
        >>> split = sample_negatives(data, leave_k_out(data, k=1).test, n=3)
        >>> split.negatives.counts("user"), split.negatives.is_among(data).any()
        (array([3, 3]), np.False_)
    """
    require_interactions("data", data)
    require_interactions("test", test)
    if test.shape != data.shape:
        raise DataError(f"`test` is about {test.shape} users and items, `data` about {data.shape}.")
    require_integer("n", n, 1)
    if not len(test):
        raise DataError(empty_side("test"))
    require_integer("seed", seed, 0)
    users, known = np.unique(test.user), data.user.astype(np.int64) * data.n_items + data.item
    left = data.n_items - data.counts()[users]
    if (left < n).any():
        user = data.catalog.users[users[[np.argmin(left)]]].tolist()[0]
        raise DataError(f"User {user!r} has {int(np.min(left))} items to draw negatives from; `n` asks for {n}.")
    rng = np.random.default_rng(seed)
    drawn = np.empty(0, np.int64)
    missing = np.full(len(users), n)
    # No user draws more than is missing, so all that is new may stay, and every set of n items is equally likely.
    # What is known or drawn ascends, and is searched: to sort it again in each round took 30 times as long.
    while missing.any():
        keys = np.repeat(users, missing) * np.int64(data.n_items) + rng.integers(data.n_items, size=int(missing.sum()))
        keys = np.unique(keys)
        keys = keys[~_is_in(keys, known) & ~_is_in(keys, drawn)]
        drawn = np.insert(drawn, np.searchsorted(drawn, keys), keys)
        missing -= np.bincount(np.searchsorted(users, keys // data.n_items), minlength=len(users))
    negatives = Interactions.from_arrays(drawn // data.n_items, drawn % data.n_items, catalog=data.catalog)
    return NegativesSplit(data.select(~data.is_among(test)), test, negatives)


def _is_in(keys: Int[np.ndarray, " keys"], ascending: Int[np.ndarray, " there"]) -> Bool[np.ndarray, " keys"]:
    place = np.searchsorted(ascending, keys)
    return np.append(ascending, -1)[place] == keys  # no key is negative


def _shuffled_rank(user: Int[np.ndarray, " entries"], rng: np.random.Generator) -> Int[np.ndarray, " entries"]:
    # Position of each entry in a random order of its own user's entries; `user` ascends.
    # No two keys are equal, so any sorting algorithm gives the same order.
    order = np.argsort(user * np.int64(len(user)) + rng.permutation(len(user)))
    starts = np.concatenate([[0], np.cumsum(np.bincount(user))])
    rank = np.empty(len(user), np.int64)
    rank[order] = np.arange(len(user)) - starts[user]
    return rank
