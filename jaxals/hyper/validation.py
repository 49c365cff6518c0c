"""Validation losses that can be differentiated: how well a model explains what it has not seen.

Device side, but for `hold_out`. All of them depend on scores alone, so that a rotation of both tables changes nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array, require_kind
from jaxals._base.checks import require_finite, require_integer, require_scalar
from jaxals._base.pytree import pytree
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import DataError
from jaxals.evaluation import plan_evaluation
from jaxals.evaluation.plans import RankedBatch
from jaxals.objective.factors import Factors, require_factors
from jaxals.objective.objective import Scalar
from jaxals.recommend.ranking import rows_per_batch
from jaxals.recommend.topk import exclude_pairs


@pytree
class HeldOut:
    """What a model should find, in batches of users.

    Attributes:
        batches: Users, the items to find and the cells that are not ranked, stacked.
        is_user: Which places of the batches are users, and not there to fill up the last batch.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper import hold_out
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1], shape=(2, 3))
        >>> test = jaxals.Interactions.from_arrays([0, 1], [2, 0], shape=(2, 3))
        >>> held_out = hold_out(train, test)
        >>> held_out.batches.users.tolist(), held_out.batches.relevant.tolist(), held_out.is_user.tolist()
        ([[0, 1]], [[[2], [0]]], [[1.0, 1.0]])
    """

    batches: RankedBatch
    is_user: Float[Array, "batches batch"]


def hold_out(train: Interactions, test: Interactions, batch_size: int | None = None) -> HeldOut:
    """Lay out the items that each user should find, among all that are not in `train`.

    Args:
        train: What the model is trained on.
        test: What was held out; entries with a value above zero are to be found.
        batch_size: Users whose scores are computed at once, by default as many as 16 MB of float32 hold.

    Returns:
        Batches on the device, as `softmax_cross_entropy`, `smooth_ndcg` and `squared_error` take them.

    Raises:
        ConfigurationError: `batch_size` is below 1.
        DataError: `train` and `test` are about different users or items, or nobody has anything to find.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, softmax_cross_entropy
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1], shape=(2, 3))
        >>> test = jaxals.Interactions.from_arrays([1], [2], shape=(2, 3))
        >>> float(softmax_cross_entropy(jaxals.Factors(jnp.ones((2, 1)), jnp.ones((3, 1))), hold_out(train, test)))
        0.6931
    """
    require_interactions("train", train)
    if batch_size is not None:
        require_integer("batch_size", batch_size, 1)
    size = rows_per_batch(train.n_items, 4) if batch_size is None else batch_size
    plan = plan_evaluation(train, test, batch_size=size)
    batches = jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *plan.batches())
    is_user = np.arange(batches.users.size).reshape(batches.users.shape) < len(plan.user)
    return HeldOut(batches, jnp.asarray(is_user, jnp.float32))


def softmax_cross_entropy(
    factors: Factors, held_out: HeldOut, temperature: Scalar = 1.0, user_weight: Float[Array, " users"] | None = None
) -> Float[Array, ""]:
    """Compute the mean of -log softmax(s / τ) over the items to find, among all items that are not in training.

    Args:
        factors: The model.
        held_out: What it should find.
        temperature: τ; scores of ALS lie between 0 and 1, so that τ far below 1 is needed to tell items apart. A
            setting of the loss: tuned along with a model, it lowers the loss without one item changing its rank.
        user_weight: What each user counts, 1 by default.

    Returns:
        The mean over users of the mean over their items.

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, softmax_cross_entropy
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out = hold_out(split.train, split.test)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> bool(softmax_cross_entropy(factors, held_out) > 0)
        True
    """
    _check(factors, held_out, user_weight, temperature=temperature)

    def of_user(scores: Array, relevant: Array) -> Array:
        logits = scores / jnp.asarray(temperature, scores.dtype)
        own = logits.at[relevant].get(mode="fill", fill_value=0)
        is_relevant = relevant < len(scores)
        loss = jnp.where(is_relevant, jax.nn.logsumexp(logits) - own, jnp.zeros_like(own))
        return jnp.sum(loss) / _count(is_relevant, scores.dtype)

    return _mean_over_users(of_user, factors, held_out, user_weight)


def smooth_ndcg(
    factors: Factors,
    held_out: HeldOut,
    temperature: Scalar = 0.05,
    k: int | None = None,
    user_weight: Float[Array, " users"] | None = None,
) -> Float[Array, ""]:
    """Compute 1 - NDCG with smooth ranks, 1 + Σ_j sigmoid((s_j - s_i) / τ) over all other items j that are ranked.

    ApproxNDCG of Qin, Liu and Li 2010 (A general approximation framework for direct optimization of information
    retrieval measures, eq. 9 and 16).

    Args:
        factors: The model.
        held_out: What it should find.
        temperature: τ; the smaller, the closer to NDCG, and the fewer items matter to the gradient. A setting of the
            loss: tuned along with a model, it lowers the loss without one item changing its rank.
        k: Let gains vanish beyond this rank, by a sigmoid as wide as 1, as NDCG@k does by a step.
        user_weight: What each user counts, 1 by default.

    Returns:
        The mean over users, between 0 and 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, smooth_ndcg
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out = hold_out(split.train, split.test)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> bool(jnp.isfinite(smooth_ndcg(factors, held_out, temperature=0.1)))
        True
    """
    _check(factors, held_out, user_weight, temperature=temperature)
    if k is not None:
        require_integer("k", k, 1, 2**31 - 1)
        k = int(k)

    def of_user(scores: Array, relevant: Array) -> Array:
        n_items, dtype = len(scores), scores.dtype
        is_relevant = relevant < n_items
        tau = jnp.asarray(temperature, dtype)

        def gain(item: Int[Array, ""]) -> Float[Array, ""]:
            own = scores.at[item].get(mode="fill", fill_value=0)  # 0 where there is no item: gains are left out below
            # The item itself adds 1/2.
            rank = 0.5 + jnp.sum(jax.nn.sigmoid((scores - own) / tau))
            kept = 1.0 if k is None else jax.nn.sigmoid(k + 0.5 - rank)
            return kept / jnp.log2(rank + 1)

        gains = jnp.where(is_relevant, jax.lax.map(gain, relevant), jnp.zeros((), dtype))
        ranks = jnp.arange(1, len(relevant) + 1, dtype=dtype)
        n_counted = jnp.sum(is_relevant, dtype=jnp.int32)
        n_counted = n_counted if k is None else jnp.minimum(n_counted, k)
        ideal = jnp.sum(jnp.where(ranks <= n_counted.astype(dtype), 1 / jnp.log2(ranks + 1), jnp.zeros_like(ranks)))
        return 1 - jnp.sum(gains) / jnp.maximum(ideal, jnp.ones_like(ideal))

    return _mean_over_users(of_user, factors, held_out, user_weight)


def squared_error(
    factors: Factors,
    held_out: HeldOut,
    unobserved_weight: Scalar = 0.0,
    user_weight: Float[Array, " users"] | None = None,
) -> Float[Array, ""]:
    """Compute Σ (1 - s)² over the items to find and w Σ s² over all others that are ranked, per item to find.

    Args:
        factors: The model.
        held_out: What it should find.
        unobserved_weight: w. With 0, scores can only be too small.
        user_weight: What each user counts, 1 by default.

    Returns:
        The mean over users of each user's sum over its number of items to find.

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, squared_error
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out = hold_out(split.train, split.test)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> bool(squared_error(factors, held_out) > 0)
        True
    """
    _check(factors, held_out, user_weight, unobserved_weight=unobserved_weight)

    def of_user(scores: Array, relevant: Array) -> Array:
        own = scores.at[relevant].get(mode="fill", fill_value=0)
        is_relevant = relevant < len(scores)
        ranked = jnp.where(jnp.isfinite(scores), scores, jnp.zeros_like(scores))
        weight = jnp.asarray(unobserved_weight, scores.dtype)
        cells = jnp.where(is_relevant, (1 - own) ** 2 - weight * own**2, jnp.zeros_like(own))
        return (jnp.sum(cells) + weight * jnp.sum(ranked**2)) / _count(is_relevant, scores.dtype)

    return _mean_over_users(of_user, factors, held_out, user_weight)


def _check(factors: Any, held_out: Any, user_weight: Any, **numbers: Any) -> None:
    require_factors("factors", factors)
    require_kind("held_out", held_out, HeldOut, "from `hold_out`", DataError)
    for name, number in numbers.items():
        require_scalar(name, number)
        require_finite(name, number)
    if user_weight is not None:
        require_array("user_weight", user_weight, 1, jnp.floating, "a 1-D array of floating-point numbers", DataError)
        if len(user_weight) != len(factors.user):
            raise DataError(
                f"`user_weight` must have one number for each of {len(factors.user)} users; got {len(user_weight)}."
            )


def _mean_over_users(
    of_user: Callable[[Array, Array], Array],
    factors: Factors,
    held_out: HeldOut,
    user_weight: Float[Array, " users"] | None,
) -> Float[Array, ""]:
    """Average a loss of a user's scores, -inf where not ranked, and items to find, batch by batch."""

    @jax.checkpoint  # the scores of all users would be kept
    def of_batch(args: tuple[RankedBatch, Array]) -> tuple[Array, Array]:
        batch, is_user = args
        scores = exclude_pairs(factors.scores(batch.users), *batch.excluded)
        weight = is_user.astype(scores.dtype)
        if user_weight is not None:
            weight = weight * user_weight[batch.users]
        losses = jax.vmap(of_user)(scores, batch.relevant)
        return jnp.sum(weight * losses), jnp.sum(weight)

    total, weight = jax.lax.map(of_batch, (held_out.batches, held_out.is_user))
    return jnp.sum(total) / jnp.sum(weight)


def _count(is_relevant: Array, dtype: jnp.dtype) -> Float[Array, ""]:
    return jnp.maximum(jnp.sum(is_relevant.astype(dtype)), jnp.ones((), dtype))
