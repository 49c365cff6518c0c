"""For whom and for what a model works: metrics by users' activity and by items' popularity. Host side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jaxals._base.arguments import require_kind, told
from jaxals._base.checks import require_integer
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation.exposure import times_listed
from jaxals.evaluation.plans import same_ids
from jaxals.evaluation.results import Evaluation

Buckets = int | Sequence[int]


def by_activity(evaluation: Evaluation, train: Interactions, buckets: Buckets = 5) -> pd.DataFrame:
    """Average each metric over users of like activity.

    Args:
        evaluation: Of users of `train`.
        train: What activity is counted in: items with a value above zero.
        buckets: How many buckets of about equally many evaluated users; or the least count of each bucket but the
            first, ascending, such as [10, 100]. Users of one activity are never parted, so there may be fewer.

    Returns:
        One row per bucket and metric: bucket (from 0, the least active), lowest and highest (count of items), users,
        metric, mean and standard_error.

    Raises:
        ConfigurationError: `buckets` is neither.
        DataError: `train` has another shape than what was evaluated.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, by_activity, evaluate
        >>> train = jaxals.Interactions.from_arrays([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2], shape=(3, 5))
        >>> test = jaxals.Interactions.from_arrays([0, 1, 2], [1, 2, 3], shape=(3, 5))
        >>> measured = evaluate(Popularity.from_interactions(train), train, test, ["hit_rate@1"])
        >>> by_activity(measured, train, [2])[["lowest", "highest", "users", "mean"]].to_dict("list")
        {'lowest': [1, 2], 'highest': [1, 3], 'users': [1, 2], 'mean': [1.0, 0.5]}
    """
    _check(evaluation, train, buckets)
    counts = _liked(train, "user")[evaluation.user]
    place = _cut(counts, np.ones(len(counts)), buckets)
    rows = []
    for bucket in range(place.max() + 1):
        here = place == bucket
        extent = {"bucket": bucket, "lowest": counts[here].min(), "highest": counts[here].max(), "users": here.sum()}
        for name, values in zip(evaluation.user_metrics, evaluation.values[here].T, strict=True):
            rows.append({**extent, "metric": name, "mean": values.mean(), "standard_error": _standard_error(values)})
    return pd.DataFrame(rows)


def by_popularity(evaluation: Evaluation, train: Interactions, k: int = 10, buckets: Buckets = 5) -> pd.DataFrame:
    """Measure recall@k for relevant items of like popularity, and how much of the lists such items take.

    In a bucket, recall is the share of a user's relevant items from that bucket that are on the list of k items,
    averaged over the users who have any there. Exposure is the bucket's share of all places in these lists. Where ties
    leave open what is on a list, both are expected values.

    Args:
        evaluation: With a metric of k or longer.
        train: What popularity is counted in: users with a value above zero.
        k: Length of the lists.
        buckets: How many buckets of about equal shares of the entries of `train`: a few popular items in the last, the
            long tail in the first; or the least count of each bucket but the first, ascending. Items of one popularity
            are never parted.

    Returns:
        One row per bucket: bucket (from 0, the least popular), lowest and highest (count of users), items, relevant
        (entries to find), users (who have any of them), metric, mean, standard_error and exposure. Without such users
        the mean is NaN. The exposure is NaN where items off the lists tie with their last place: evaluate coverage@k,
        too, which counts them.

    Raises:
        ConfigurationError: `buckets` is neither, or the evaluation kept shorter lists than `k`.
        DataError: `train` has another shape than what was evaluated.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, by_popularity, evaluate
        >>> train = jaxals.Interactions.from_arrays([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2], shape=(3, 5))
        >>> test = jaxals.Interactions.from_arrays([0, 1, 2], [1, 2, 3], shape=(3, 5))
        >>> measured = evaluate(Popularity.from_interactions(train), train, test, ["recall@1"])
        >>> by_popularity(measured, train, k=1, buckets=[2])[["lowest", "highest", "mean"]].to_dict("list")
        {'lowest': [0, 2], 'highest': [1, 3], 'mean': [0.5, 1.0]}
    """
    _check(evaluation, train, buckets)
    require_integer("k", k, 1)
    if evaluation.lists.shape[1] < min(k, train.n_items):
        raise ConfigurationError(
            f"`k` is {k}, but the lists have {evaluation.lists.shape[1]} items; evaluate a metric such as recall@{k}."
        )
    counts = _liked(train, "item")
    place = _cut(counts, counts.astype(np.float64), buckets)
    row = np.repeat(np.arange(evaluation.n_users), np.diff(evaluation.relevant.starts))
    relevant, lists, places = evaluation.relevant.item, evaluation.lists, evaluation.places
    found = places.found(lists, row, relevant, train.n_items, k)
    outside = places.outside.get(k)
    times = times_listed(lists, train.n_items, places.chance(k), outside)
    is_told = outside is not None or not places.is_open(k).any()
    rows = []
    for bucket in range(place.max() + 1):
        items, wanted = place == bucket, place[relevant] == bucket
        n_relevant = np.bincount(row[wanted], minlength=evaluation.n_users)
        n_found = np.bincount(row[wanted], found[wanted], minlength=evaluation.n_users)
        recalls = n_found[n_relevant > 0] / n_relevant[n_relevant > 0]
        rows.append(
            {
                "bucket": bucket,
                "lowest": counts[items].min(),
                "highest": counts[items].max(),
                "items": items.sum(),
                "relevant": wanted.sum(),
                "users": len(recalls),
                "metric": f"recall@{k}",
                "mean": recalls.mean() if len(recalls) else np.nan,
                "standard_error": _standard_error(recalls),
                "exposure": times[items].sum() / max(times.sum(), 1) if is_told else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _check(evaluation: Evaluation, train: Interactions, buckets: Buckets) -> None:
    require_kind("evaluation", evaluation, Evaluation, "an `Evaluation`, from `evaluate`", DataError)
    require_interactions("train", train)
    if train.shape != evaluation.catalog.shape:
        raise DataError(f"`train` is about {train.shape} users and items, the evaluation {evaluation.catalog.shape}.")
    if not same_ids(train.catalog, evaluation.catalog):
        raise DataError("`train` has other raw ids than what was evaluated; pass the one of the same split.")
    if isinstance(buckets, Sequence) and not isinstance(buckets, (str, bytes)):
        are_counts = all(isinstance(least, (int, np.integer)) and not isinstance(least, bool) for least in buckets)
        if not buckets or not are_counts or list(buckets) != sorted(set(buckets)):
            raise ConfigurationError(f"`buckets` must be ascending counts, or how many; got {told(buckets)}.")
    else:
        require_integer("buckets", buckets, 1)


def _liked(train: Interactions, side: str) -> Int[np.ndarray, " rows"]:
    index, size = (train.user, train.n_users) if side == "user" else (train.item, train.n_items)
    return np.bincount(index[train.value > 0], minlength=size)


def _cut(
    counts: Int[np.ndarray, " rows"], weights: Float[np.ndarray, " rows"], buckets: Buckets
) -> Int[np.ndarray, " rows"]:
    """Number the bucket of each row, from 0 without gaps; rows of one count share theirs."""
    level, index = np.unique(counts, return_inverse=True)
    if isinstance(buckets, Sequence):
        place = np.searchsorted(buckets, level, side="right")
    else:
        weight = np.bincount(index, weights)
        middle = (np.cumsum(weight) - weight / 2) / max(weight.sum(), 1.0)
        place = (buckets * middle).astype(np.int64)
    return np.unique(place, return_inverse=True)[1][index]


def _standard_error(values: Float[np.ndarray, " users"]) -> float:
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
