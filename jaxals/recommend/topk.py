"""Exact top-k over the scores of many items, and the convention for excluded ones. Device side.

An excluded item has score -inf; where fewer than k items are left, the list is padded with index -1 and score -inf.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array, told
from jaxals.errors import ConfigurationError, DataError

# Rows of fewer items per k go through `lax.top_k` alone: there the second level costs what the first one saves
# (2 cores: 1.9 times slower at 100 items per k, 1.3 to 1.9 times faster at 500, 4 times faster at 2500).
_LEAST_ITEMS_PER_K = 256


def top_k(scores: Float[Array, "*rows items"], k: int) -> tuple[Float[Array, "*rows k"], Int[Array, "*rows k"]]:
    """Find the k largest scores of each row, exactly; equal scores come in the order of their indices.

    Wide rows go through two levels: the maximum of each block of about √(items/k) items, the top k blocks, and the
    top k inside them. Nothing is lost: if the best of k other blocks beat all of a block, that block has none of the
    top k. On CPU this is what keeps the ranking cheaper than the matrix product that made the scores.

    Args:
        scores: Any number of rows, without NaN. 0.0 and -0.0 are equal here, unlike in `lax.top_k`.
        k: Static length of the list, 1 to the number of items.

    Returns:
        The scores in descending order, and their indices (int32).

    Raises:
        ConfigurationError: `k` lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.recommend import top_k
        >>> values, indices = top_k(jnp.array([1.0, 3.0, 2.0, 3.0]), 3)
        >>> values.tolist(), indices.tolist()
        ([3.0, 3.0, 2.0], [1, 3, 2])
    """
    require_array("scores", scores, None, jnp.floating, "an array of floating-point numbers", DataError)
    if not scores.shape:
        raise DataError(f"`scores` must have an axis of items; got {told(scores)}.")
    n_items = scores.shape[-1]
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= n_items:
        raise ConfigurationError(f"`k` must be 1 to the number of items, {n_items}; got {told(k)}.")
    if n_items < _LEAST_ITEMS_PER_K * k:
        values, indices = lax.top_k(_unsigned_zeros(scores), k)
        return values, indices

    # The square root balances the two levels: items/block maxima against k blocks of candidates.
    block = math.isqrt(n_items // k)
    window = (1,) * (scores.ndim - 1) + (block,)
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, -n_items % block)]
    # A strided window, not a padded reshape: that one copies all scores where `block` does not divide the row.
    maxima = lax.reduce_window(scores, np.array(-np.inf, scores.dtype), lax.max, window, window, padding)
    _, blocks = lax.top_k(_unsigned_zeros(maxima), k)
    # In ascending order, so that candidates keep the order of their indices and ties go to the lowest.
    first = jnp.sort(blocks, axis=-1) * block
    candidates = first[..., None] + lax.broadcasted_iota(first.dtype, (*first.shape, block), first.ndim)
    candidates = candidates.reshape(*first.shape[:-1], k * block)
    found = jnp.take_along_axis(scores, candidates, axis=-1, mode="fill", fill_value=-jnp.inf)
    values, position = lax.top_k(_unsigned_zeros(found), k)
    return values, jnp.take_along_axis(candidates, position, axis=-1)


def exclude_pairs(
    scores: Float[Array, "rows items"], row: Int[Array, " pairs"], item: Int[Array, " pairs"]
) -> Float[Array, "rows items"]:
    """Set the score of each (row, item) pair to -inf; a pair past the last row is padding and changes nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.recommend.topk import exclude_pairs
        >>> exclude_pairs(jnp.zeros((2, 3)), jnp.array([0, 1, 2]), jnp.array([2, 0, 0])).tolist()
        [[0.0, 0.0, -inf], [-inf, 0.0, 0.0]]
    """
    return scores.at[row, item].set(-jnp.inf, mode="drop")


def keep_pairs(
    scores: Float[Array, "rows items"], row: Int[Array, " pairs"], item: Int[Array, " pairs"]
) -> Float[Array, "rows items"]:
    """Set all scores but those of the (row, item) pairs to -inf; a pair past the last row is padding.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.recommend.topk import keep_pairs
        >>> keep_pairs(jnp.ones((2, 3)), jnp.array([0, 1, 2]), jnp.array([2, 0, 0])).tolist()
        [[-inf, -inf, 1.0], [1.0, -inf, -inf]]
    """
    kept = jnp.zeros(scores.shape, bool).at[row, item].set(True, mode="drop")
    return jnp.where(kept, scores, jnp.asarray(-jnp.inf, scores.dtype))


def blank_excluded(values: Float[Array, "*shape"], indices: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Turn the index of every entry whose score is -inf into -1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.recommend.topk import blank_excluded
        >>> blank_excluded(jnp.array([2.0, -jnp.inf]), jnp.array([7, 4])).tolist()
        [7, -1]
    """
    return jnp.where(values == -jnp.inf, jnp.full_like(indices, -1), indices)


def _unsigned_zeros(scores: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # `lax.top_k` puts 0.0 before -0.0, whatever their indices; a maximum may return either.
    return jnp.where(scores == 0, jnp.zeros_like(scores), scores)
