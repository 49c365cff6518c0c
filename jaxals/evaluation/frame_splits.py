"""Splits that need what interactions forget: when each event was, and the order of the rows in a file. Host side."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from jaxals._base.checks import require_fraction, require_integer
from jaxals.data.catalog import Catalog
from jaxals.data.columns import as_frame, as_moments, columns_by_role
from jaxals.data.ids import factorize, find
from jaxals.data.interactions import Interactions
from jaxals.data.split import Split, UserSplit, empty_side
from jaxals.errors import DataError

# Held-out users with fewer items are only folded in: a fifth of them would be no item at all.
_LEAST_SPLIT = 5


def temporal_split(
    frame: Any,
    fraction: float = 0.2,
    user: Hashable = "user",
    item: Hashable = "item",
    value: Hashable | None = None,
    time: Hashable = "time",
) -> Split:
    """Train on what came first, and find again what came later: one moment parts all users' events.

    The catalog is that of the first events. Later events of users or items that are new then, of pairs that were
    there before, and with a value that is not above zero, are left out: no model of this kind can find them, or they
    are nothing to find.

    Args:
        frame: One row per event, in what `Interactions.from_frame` takes.
        fraction: Share of the events that is later, above 0 and below 1; events of one moment stay together.
        user: Column of raw user ids.
        item: Column of raw item ids.
        value: Column of values, or None to count each event as 1.
        time: Column of times: numbers, dates, or text of numbers or of ISO 8601 (2019-12-31); other text is refused,
            for it does not sort by time.

    Returns:
        What came first and what came later, over the catalog of what came first.

    Raises:
        ConfigurationError: `fraction` lies outside its range.
        DataError: A column is missing, a time is missing or not to be compared, or a side of the split is empty.

    Example:
        >>> import pandas as pd
        >>> from jaxals.evaluation import temporal_split
        >>> events = pd.DataFrame({"user": [*"abab"], "item": [*"xyyx"], "time": [1, 2, 3, 4]})
        >>> split = temporal_split(events, fraction=0.5)
        >>> split.train.to_frame()["item"].tolist(), split.test.to_frame()["item"].tolist()
        (['x', 'y'], ['y', 'x'])
    """
    require_fraction("fraction", fraction)
    frame = as_frame(frame, columns_by_role(user=user, item=item, value=value, time=time))
    times = as_moments(frame[time], f"column {time!r}")
    first_later = len(frame) - max(1, round(fraction * len(frame)))
    is_later = (times >= times.sort_values().iloc[first_later]).to_numpy() if len(frame) else np.zeros(0, bool)
    train = Interactions.from_frame(frame[~is_later], user, item, value)
    if not is_later.any():
        raise DataError("No later event is about a user and an item of the earlier ones; take another `fraction`.")
    (rows, users), (columns, items) = (factorize(frame[side][is_later], f"column {side!r}") for side in (user, item))
    is_known = (find(train.catalog.users, users)[rows] >= 0) & (find(train.catalog.items, items)[columns] >= 0)
    if not is_known.any():
        raise DataError("No later event is about a user and an item of the earlier ones; take another `fraction`.")
    later = Interactions.from_frame(frame[is_later][is_known], user, item, value, catalog=train.catalog)
    test = later.select((later.value > 0) & ~later.is_among(train))
    if not len(test):
        raise DataError(
            "No later event is something to find: each has a value of 0 or below, or a pair of the earlier ones; take "
            "another `fraction`."
        )
    return Split(train, test)


def strong_generalization(
    frame: Any,
    held_out_users: int,
    user: Hashable = "user",
    item: Hashable = "item",
    min_users: int = 0,
    min_items: int = 5,
    seed: int = 98765,
) -> tuple[UserSplit, UserSplit]:
    """Hold out whole users, twice, and from 80 % of their items find the rest: exactly as Liang et al. 2018 do.

    Their protocol (Variational Autoencoders for Collaborative Filtering, section 4.1), with the random numbers of the
    code they published: MovieLens 20M is split with 10,000 users, `min_items` 5 and the ratings above 3.5; the Million
    Song Dataset with 50,000 users, `min_items` 20 and `min_users` 200. A held-out user with fewer than 5 items left is
    given whole, and not measured.

    Args:
        frame: One row per pair of user and item, none twice, in the order of the published file: it decides which
            items are drawn.
        held_out_users: How many users are held out for validation, and again for the test, at least 1.
        user: Column of raw user ids.
        item: Column of raw item ids.
        min_users: First, items of fewer users are dropped.
        min_items: Then, users of fewer items are dropped.
        seed: Of the random choices.

    Returns:
        The split for validation and the one for the test, with the same `train`, over one catalog: users in sorted
        order, and the items that users in `train` have. Values are 1.

    Raises:
        ConfigurationError: A count is negative, or `held_out_users` below 1.
        DataError: A column is missing, a pair is there twice, no user is left to train on, or nothing is left to find.

    Example:
        >>> import pandas as pd
        >>> from jaxals.evaluation import strong_generalization
        >>> pairs = pd.DataFrame([(u, i) for u in range(9) for i in range(6)], columns=["user", "item"])
        >>> validation, test = strong_generalization(pairs, held_out_users=2)
        >>> len(test.train), len(test.given), len(test.test)
        (30, 10, 2)
    """
    require_integer("held_out_users", held_out_users, 1)
    require_integer("min_users", min_users, 0)
    require_integer("min_items", min_items, 0)
    require_integer("seed", seed, 0, 2**32 - 1)
    frame = as_frame(frame, columns_by_role(user=user, item=item))
    (rows, users), (columns, items) = (
        factorize(frame[user], f"column {user!r}"),
        factorize(frame[item], f"column {item!r}"),
    )
    keep = np.bincount(columns, minlength=len(items))[columns] >= min_users
    keep &= np.bincount(rows[keep], minlength=len(users))[rows] >= min_items
    rows, columns = rows[keep], columns[keep]
    (rows, users), (columns, items) = _renumber(rows, users), _renumber(columns, items)
    n_train = len(users) - 2 * held_out_users
    if n_train < 1:
        raise DataError(f"`held_out_users` {held_out_users}, twice, leaves none of {len(users)} users to train on.")

    part = np.zeros(len(users), np.int8)  # 0 trains, 1 validates, 2 tests
    # NumPy's legacy generator: only that one gives the numbers of the published splits.
    shuffled = np.random.RandomState(seed).permutation(len(users))
    part[shuffled[n_train:]] = np.repeat([1, 2], held_out_users)
    trains = part[rows] == 0
    is_known = np.zeros(len(items), bool)
    is_known[columns[trains]] = True
    keep = is_known[columns]
    rows, trains = rows[keep], trains[keep]
    columns, items = _renumber(columns[keep], items)
    catalog = Catalog(users, items)

    def interactions(name: str, chosen: Bool[np.ndarray, " rows"]) -> Interactions:
        if not chosen.any():
            raise DataError(empty_side(name))
        return Interactions.from_arrays(rows[chosen], columns[chosen], catalog=catalog, duplicates="error")

    train, splits = interactions("train", trains), []
    for number in (1, 2):
        held_out = part[rows] == number
        is_test = np.zeros(len(rows), bool)
        is_test[_draw_a_fifth(np.flatnonzero(held_out), rows, seed)] = True
        given, test = interactions("given", held_out & ~is_test), interactions("test", is_test)
        splits.append(UserSplit(train, given, test))
    return splits[0], splits[1]


def _renumber(index: Int[np.ndarray, " rows"], ids: pd.Index) -> tuple[Int[np.ndarray, " rows"], pd.Index]:
    present, renumbered = np.unique(index, return_inverse=True)
    return renumbered, ids[present]


def _draw_a_fifth(
    positions: Int[np.ndarray, " held_out"], rows: Int[np.ndarray, " rows"], seed: int
) -> Int[np.ndarray, " drawn"]:
    """Draw int(n / 5) of each user's n positions, users in sorted order, positions in that of the file."""
    rng = np.random.RandomState(seed)
    positions = positions[np.argsort(rows[positions], kind="stable")]
    of_users = np.split(positions, np.flatnonzero(np.diff(rows[positions])) + 1)
    drawn = [
        mine[rng.choice(len(mine), size=int(0.2 * len(mine)), replace=False)]
        for mine in of_users
        if len(mine) >= _LEAST_SPLIT
    ]
    return np.concatenate(drawn) if drawn else np.zeros(0, np.int64)
