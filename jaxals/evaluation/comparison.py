"""Whether one model is better than another, or lucky with its test users: a paired bootstrap. Host side."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from jaxals._base.arguments import require_kind
from jaxals._base.checks import require_fraction, require_integer
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation.results import Evaluation

# Numbers resampled at once: 64 MB.
_BATCH_SIZE = 2**23


def compare(
    first: Evaluation, second: Evaluation, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Compare two models on the same users by a paired bootstrap.

    Users are drawn with replacement, the same ones for both models and for all metrics, and the mean difference is
    computed anew each time (Efron and Tibshirani 1993, percentile intervals; for ranking metrics see Sakai 2006). That
    measures how much depends on who the test users are; not on the seed of the training or of the split.

    Args:
        first: One model's evaluation.
        second: The other's, of the same users.
        resamples: How many times to draw.
        confidence: Share of the resamples inside of the interval, above 0 and below 1.
        seed: Of the draws.

    Returns:
        One row for each metric that both have for each user, with the columns metric, first and second (the means),
        difference (first - second), low and high (its interval), and p_value: two-sided, twice the share of resamples
        on the other side of 0; at least 2 / (resamples + 1), and 2 / n^n of n users.

    Raises:
        ConfigurationError: A setting lies outside its range, or no metric is in both.
        DataError: The evaluations are of different users or of a single one, or a value is not finite.

    Example:
        >>> import jax, jaxals
        >>> from jaxals.evaluation import Popularity, Random, compare, evaluate, leave_k_out
        >>> data = jaxals.datasets.synthetic(n_users=200, n_items=50, n_interactions=2000, seed=0)
        >>> split = leave_k_out(data, k=1, seed=0)
        >>> scorers = Popularity.from_interactions(split.train), Random(jax.random.key(0), 50)
        >>> table = compare(*(evaluate(scorer, split.train, split.test, ["ndcg@10"]) for scorer in scorers))
        >>> bool(table["low"][0] > 0), bool(table["p_value"][0] < 0.05)
        (True, True)
    """
    for name, one in (("first", first), ("second", second)):
        require_kind(name, one, Evaluation, "an `Evaluation`, from `evaluate`", DataError)
    require_integer("resamples", resamples, 1)
    require_fraction("confidence", confidence)
    require_integer("seed", seed, 0)
    shared = [name for name in first.user_metrics if name in second.user_metrics]
    if not shared:
        raise ConfigurationError(
            f"The evaluations have no metric of users in common: {', '.join(first.names)}; {', '.join(second.names)}."
        )
    ours, theirs = (each.per_user().set_index("user")[shared] for each in (first, second))
    if len(ours) != len(theirs) or not ours.index.isin(theirs.index).all():
        raise DataError(f"The evaluations are of different users ({len(ours):,} and {len(theirs):,}); use one split.")
    if len(ours) < 2:
        raise DataError("There is one user, and nothing to draw from; evaluate more.")
    difference = (ours - theirs.loc[ours.index]).to_numpy()
    if not np.isfinite(difference).all():
        name = shared[int(np.argmin(np.isfinite(difference).all(axis=0)))]
        raise DataError(f"The difference in {name!r} is not a finite number for every user; leave such users out.")
    means = resampled_means(difference, resamples, seed)
    low, high = np.percentile(means, [50 * (1 - confidence), 50 * (1 + confidence)], axis=0)
    return pd.DataFrame(
        {
            "metric": shared,
            "first": ours.mean().to_numpy(),
            "second": theirs.mean().to_numpy(),
            "difference": difference.mean(axis=0),
            "low": low,
            "high": high,
            "p_value": p_values(means, len(ours)),
        }
    )


def resampled_means(
    values: Float[np.ndarray, "users columns"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples columns"]:
    """Draw users with replacement, again and again, and take the mean of each column.

    Args:
        values: One row per user.
        resamples: How many times to draw.
        seed: Of the draws, which are the same for all columns.

    Returns:
        One row of means for each time.
    """
    rng, n_users = np.random.default_rng(seed), len(values)
    batch = max(1, _BATCH_SIZE // n_users)
    means = np.empty((resamples, values.shape[1]))
    for first in range(0, resamples, batch):
        drawn = rng.integers(0, n_users, (min(batch, resamples - first), n_users))
        # How often each user was drawn: one product then serves all columns, where a gather is as long as they are.
        drawn += n_users * np.arange(len(drawn))[:, None]
        count = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[first : first + len(drawn)] = count.astype(np.float64) @ values / n_users
    return means


def p_values(means: Float[np.ndarray, "resamples columns"], n_users: int) -> Float[np.ndarray, " columns"]:
    """Compute two-sided p-values of differences: twice the share of resampled means on the other side of 0."""
    # The observed mean counts as one more resample, so that no p-value is zero (Davison and Hinkley 1997, eq. 4.11).
    tail = np.minimum(np.sum(means <= 0, axis=0), np.sum(means >= 0, axis=0))
    # Of n users some n^n samples can be drawn, and no tail is thinner than one of them: this matters for 2 to 5 users.
    return np.clip(2 * (tail + 1) / (len(means) + 1), 2 * float(n_users) ** -n_users, 1.0)
