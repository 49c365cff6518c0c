"""Ranking metrics of one user, as pure functions to `vmap` over a batch. Device side.

All but `auc` see a ranked list of k items as `hits` (1 where the item at that rank is relevant, else 0; rank 1 first)
and |R|, the number of relevant items. A user without relevant items gets 0, never NaN. Sums are in the dtype of `hits`.

Each is linear in one part of `Hits`. Where scores tie, `jaxals.evaluation.ties` puts expected values there, and the
metric is its expected value over all orders of the tied items.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

Count = Int[Array, ""] | int


class Hits(NamedTuple):
    """What is known of the hits h_i of a list, rank 1 first; expected values where the order is not.

    Attributes:
        here: h_i.
        first: h_i where there is no hit before it, else 0.
        so_far: h_i Σ_{j <= i} h_j.
    """

    here: Float[Array, "*lists ranks"]
    first: Float[Array, "*lists ranks"]
    so_far: Float[Array, "*lists ranks"]


ListHits = Hits | Float[Array, " ranks"]


def as_hits(hits: ListHits) -> Hits:
    """Read a list whose order is known, of ones and zeros, as `Hits`; what is `Hits` stays.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import as_hits
        >>> as_hits(jnp.array([0.0, 1.0, 1.0])).so_far.tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(hits, Hits):
        return hits
    found = jnp.cumsum(hits)
    return Hits(hits, jnp.where(found == 1, hits, jnp.zeros_like(hits)), hits * found)


# The comparisons of 32 relevant items with all others fuse into one pass over the scores. For 335 users of 50K items,
# up to 512 of them relevant, that took 1.3 s where a sort of the scores took 5.7 s (2 cores); 16 or 64 took longer.
_RELEVANT_PER_PASS = 32


def metric_dtype(scores: Float[Array, "*shape"]) -> Any:
    """Return the dtype to measure in: that of the scores, but float32 for narrower ones."""
    return scores.dtype if scores.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def ranked_hits(ranked: Int[Array, " ranks"], relevant: Int[Array, " relevant"], dtype: Any) -> Float[Array, " ranks"]:
    """Mark which ranks hold a relevant item.

    Args:
        ranked: Distinct item indices, best first; -1 pads.
        relevant: Item indices, ascending; the number of items pads the end.
        dtype: Dtype of the result.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import ranked_hits
        >>> ranked_hits(jnp.array([4, 2, -1]), jnp.array([0, 4, 9]), jnp.float32).tolist()
        [1.0, 0.0, 0.0]
    """
    position = jnp.searchsorted(relevant, ranked)
    return (relevant.at[position].get(mode="clip") == ranked).astype(dtype)


def recall(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute Σ hits / |R|; below 1 even for a perfect list where |R| > k (see `capped_recall`).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import recall
        >>> float(recall(jnp.array([1.0, 0.0, 1.0]), 4))
        0.5
    """
    return _ratio(jnp.sum(as_hits(hits).here), n_relevant)


def capped_recall(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute Σ hits / min(k, |R|), which a perfect list makes 1 (Liang et al. 2018, section 4.2, "Recall@R").

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import capped_recall
        >>> float(capped_recall(jnp.array([1.0, 0.0, 1.0]), 4))
        0.6667
    """
    here = as_hits(hits).here
    return _ratio(jnp.sum(here), jnp.minimum(n_relevant, here.shape[0]))


def precision(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute Σ hits / k.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import precision
        >>> float(precision(jnp.array([1.0, 0.0, 1.0, 0.0]), 2))
        0.5
    """
    here = as_hits(hits).here
    return _ratio(jnp.sum(here), here.shape[0])


def ndcg(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute Σ hits_i / log2(i + 1) over ranks i, divided by what the best list has: min(k, |R|) hits at its top.

    Järvelin and Kekäläinen 2002 with binary gains and the discount of Burges et al. 2005.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import ndcg
        >>> float(ndcg(jnp.array([1.0, 0.0, 1.0]), 2))
        0.9197
    """
    here = as_hits(hits).here
    rank = _ranks(here)
    discount = 1 / jnp.log2(rank + 1)
    ideal = jnp.sum(jnp.where(rank <= jnp.asarray(n_relevant, here.dtype), discount, jnp.zeros_like(discount)))
    return jnp.sum(here * discount) / jnp.where(ideal > 0, ideal, jnp.ones_like(ideal))


def average_precision(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute Σ hits_i · precision@i over ranks i, divided by min(k, |R|); its mean over users is MAP@k.

    Manning, Raghavan and Schütze 2008, section 8.4, truncated at k. Others divide by |R| or by the number of hits.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import average_precision
        >>> float(average_precision(jnp.array([1.0, 0.0, 1.0]), 5))
        0.5556
    """
    so_far = as_hits(hits).so_far
    return _ratio(jnp.sum(so_far / _ranks(so_far)), jnp.minimum(n_relevant, so_far.shape[0]))


def reciprocal_rank(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute 1 / rank of the first hit, 0 without one; its mean over users is MRR@k (Voorhees 1999).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import reciprocal_rank
        >>> float(reciprocal_rank(jnp.array([0.0, 1.0, 1.0]), 2))
        0.5
    """
    first = as_hits(hits).first
    return jnp.sum(first / _ranks(first))


def hit_rate(hits: ListHits, n_relevant: Count) -> Float[Array, ""]:
    """Compute 1 if any of the k items is relevant, else 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import hit_rate
        >>> float(hit_rate(jnp.array([0.0, 1.0, 1.0]), 2))
        1.0
    """
    return jnp.sum(as_hits(hits).first)


def auc(scores: Float[Array, " items"], relevant: Int[Array, " relevant"]) -> Float[Array, ""]:
    """Compute the share of (relevant, other) pairs of items that the scores put in order; a tie counts half.

    The area under the ROC curve as a pair count (Hanley and McNeil 1982), exact over all items but the excluded ones.

    Args:
        scores: Score of every item; -inf excludes one.
        relevant: Item indices, ascending; the number of items pads the end.

    Returns:
        A scalar, at least in float32; 0.5 where there is no pair to put in order.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation.metrics import auc
        >>> float(auc(jnp.array([0.9, 0.1, 0.5, -jnp.inf]), jnp.array([2])))
        0.5
    """
    dtype = metric_dtype(scores)
    n_items, infinity = scores.shape[0], jnp.full_like(scores, jnp.inf)
    # What is not to be compared, excluded or relevant itself, goes to +inf, below no finite score.
    others = jnp.where(scores == -jnp.inf, infinity, scores).at[relevant].set(jnp.inf, mode="drop")
    padding = -relevant.shape[0] % _RELEVANT_PER_PASS
    wanted = scores.at[jnp.pad(relevant, (0, padding), constant_values=n_items)].get(mode="fill", fill_value=-jnp.inf)
    n_relevant = jnp.sum(relevant < n_items, dtype=jnp.int32)
    n_others = jnp.sum(others < jnp.inf, dtype=jnp.int32)

    def count_pass(step: Int[Array, ""], total: Float[Array, ""]) -> Float[Array, ""]:
        halves = jnp.zeros(n_items, jnp.int32)
        # Unrolled: a broadcast against the 32 scores would be written out, 32 times the memory of the scores.
        for score in lax.dynamic_slice_in_dim(wanted, step * _RELEVANT_PER_PASS, _RELEVANT_PER_PASS):
            # Twice the pairs in order: 2 where the other item is below, 1 where it is level.
            halves += (others < score).astype(jnp.int32) + (others <= score).astype(jnp.int32)
        return total + jnp.sum(halves, dtype=jnp.int32).astype(dtype)

    passes = (n_relevant + _RELEVANT_PER_PASS - 1) // _RELEVANT_PER_PASS
    total = lax.fori_loop(jnp.zeros_like(passes), passes, count_pass, jnp.zeros((), dtype))
    pairs = n_relevant.astype(dtype) * n_others.astype(dtype)
    return jnp.where(pairs > 0, total / (2 * jnp.maximum(pairs, 1)), jnp.full_like(total, 0.5))


LIST_METRICS: Mapping[str, Callable[[ListHits, Count], Float[Array, ""]]] = MappingProxyType(
    {
        "recall": recall,
        "capped_recall": capped_recall,
        "precision": precision,
        "ndcg": ndcg,
        "map": average_precision,
        "mrr": reciprocal_rank,
        "hit_rate": hit_rate,
    }
)


def _ranks(hits: Float[Array, " ranks"]) -> Float[Array, " ranks"]:
    return jnp.arange(1, hits.shape[0] + 1, dtype=hits.dtype)


def _ratio(numerator: Float[Array, ""], count: Count) -> Float[Array, ""]:
    return numerator / jnp.maximum(jnp.asarray(count, numerator.dtype), 1)
