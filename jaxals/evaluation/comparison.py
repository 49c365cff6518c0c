"""Whether one model is better than another, or lucky with its test users: a paired bootstrap. Host side."""

import numpy as np
import pandas as pd

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
    # Not at the top: it takes two fifths of the time, and a sixth of the memory, of importing all of jaxals.
    from scipy.stats import bootstrap

    drawn = bootstrap(
        (difference,),
        np.mean,
        axis=0,
        n_resamples=resamples,
        batch=max(1, _BATCH_SIZE // difference.size),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    means = drawn.bootstrap_distribution  # [metrics, resamples]
    # The observed mean counts as one more resample, so that no p-value is zero (Davison and Hinkley 1997, eq. 4.11).
    tail = np.minimum(np.sum(means <= 0, axis=1), np.sum(means >= 0, axis=1))
    # Of n users some n^n samples can be drawn, and no tail is thinner than one of them: this matters for 2 to 5 users.
    least = 2 * float(len(ours)) ** -len(ours)
    return pd.DataFrame(
        {
            "metric": shared,
            "first": ours.mean().to_numpy(),
            "second": theirs.mean().to_numpy(),
            "difference": difference.mean(axis=0),
            "low": drawn.confidence_interval.low,
            "high": drawn.confidence_interval.high,
            "p_value": np.clip(2 * (tail + 1) / (resamples + 1), least, 1.0),
        }
    )
