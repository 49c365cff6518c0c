"""Lists whose scores tie: every order of the tied items is as likely, and metrics are expected values. Device side.

A list would otherwise take tied items by their numbers, and a figure would depend on how items were numbered. The
expected values are those of McSherry and Najork 2008 (Computing information retrieval performance measures efficiently
in the presence of tied scores), here for hits at single ranks, which the metrics are linear in.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxals.evaluation.metrics import Hits
from jaxals.recommend.topk import blank_excluded, top_k


class TiedLists(NamedTuple):
    """The best items of each user, and what ties leave open.

    Attributes:
        item: Best first, tied ones by their indices; -1 pads.
        first: How many items are ahead of all that tie with the one at this rank.
        tied: How many tie with it, itself included, whether or not they are on the list.
        is_level: Which relevant items tie with the last place of the list, on it or not; none where it is not open.
        outside: Which items off the list tie with its last place; None where nobody asked.
    """

    item: Int[Array, "batch ranks"]
    first: Int[Array, "batch ranks"]
    tied: Int[Array, "batch ranks"]
    is_level: Bool[Array, "batch relevant"]
    outside: Bool[Array, "batch items"] | None


def rank_tied(
    scores: Float[Array, "batch items"],
    relevant: Int[Array, "batch relevant"],
    known_users: Bool[Array, " batch"],
    known_items: Bool[Array, " items"],
    k: int,
    with_outside: bool,
) -> TiedLists:
    """Rank the k best of the known items for each known user; the lists of other users are empty.

    Args:
        scores: Of all items; -inf excludes one.
        relevant: Items to find, ascending; the number of items pads.
        known_users: Users that the scorer can tell something of.
        known_items: Items that it can tell something of.
        k: Static length of the lists, 1 to the number of items.
        with_outside: Whether to return `outside`, static.
    """
    n_items = scores.shape[1]
    low = jnp.asarray(-jnp.inf, scores.dtype)
    # One more than the list tells whether it is open at its end. Only then, or where an unknown item is on a list, are
    # all scores read again: lists of factors are hardly ever open, and another pass takes a third of the time.
    ahead, index = top_k(scores, min(k + 1, n_items))
    is_open = (ahead[:, k - 1] == ahead[:, k]) if k < n_items else jnp.zeros(len(scores), bool)
    is_unknown = ~known_items[index[:, :k]] & (ahead[:, :k] > low)
    needs_more = ((is_open & (ahead[:, k - 1] > low)) | jnp.any(is_unknown, axis=1)) & known_users

    def read_again() -> tuple[Array, Array, Array, Array, Array | None]:
        ranked = jnp.where(known_items[None, :] & known_users[:, None], scores, low)
        values, index = top_k(ranked, k)
        last = values[:, -1:]
        is_last = (ranked == last) & (last > low)
        row = jnp.arange(len(scores), dtype=jnp.int32)[:, None]
        n_listed = jnp.sum((values == last) & (last > low), axis=1, dtype=jnp.int32)
        n_outside = jnp.sum(is_last, axis=1, dtype=jnp.int32) - n_listed
        is_level = is_last.at[row, relevant].get(mode="fill", fill_value=False) & (n_outside > 0)[:, None]
        outside = is_last.at[row, index].set(False) if with_outside else None
        return values, index, n_outside, is_level, outside

    def keep() -> tuple[Array, Array, Array, Array, Array | None]:
        values = jnp.where(known_users[:, None], ahead[:, :k], low)
        outside = jnp.zeros(scores.shape, bool) if with_outside else None
        return values, index[:, :k], jnp.zeros(len(scores), jnp.int32), jnp.zeros(relevant.shape, bool), outside

    values, index, n_outside, is_level, outside = lax.cond(jnp.any(needs_more), read_again, keep)
    first, after = _groups(values)
    tied = after - first + jnp.where(after == k, n_outside[:, None], jnp.zeros_like(after))
    return TiedLists(blank_excluded(values, index), first, tied, is_level, outside)


def expected_hits(hits: Float[Array, "batch ranks"], lists: TiedLists) -> Hits:
    """Average hits over all orders of the items that tie.

    With n tied items from rank s + 1 on, r of them relevant, and H relevant ones ahead of them, rank i = s + p has

        E[h_i] = r / n,    E[h_i Σ_{j <= i} h_j] = r / n (H + 1 + (p - 1)(r - 1) / (n - 1)),

    and is the first hit, if there was none before, with probability r / (n - p + 1).

    Args:
        hits: 1 where the item at a rank is relevant, in the order of the lists.
        lists: From `rank_tied`.
    """
    k = hits.shape[1]
    one = jnp.ones((), hits.dtype)
    so_far = jnp.pad(jnp.cumsum(hits, axis=1), ((0, 0), (1, 0)))
    n_before = jnp.take_along_axis(so_far, lists.first, axis=1)
    after = jnp.minimum(lists.first + lists.tied, k)
    n_here = jnp.take_along_axis(so_far, after, axis=1) - n_before
    is_open = lists.first + lists.tied > k
    n_level = jnp.sum(lists.is_level, axis=1, dtype=jnp.int32).astype(hits.dtype)
    n_here = jnp.where(is_open, n_level[:, None], n_here)
    tied = lists.tied.astype(hits.dtype)
    place = jnp.arange(k, dtype=jnp.int32)[None, :] - lists.first  # p - 1
    place = place.astype(hits.dtype)
    here = n_here / tied
    joint = here * (n_before + 1 + place * (n_here - 1) / jnp.maximum(tied - 1, one))
    hazard = jnp.where(n_before > 0, jnp.zeros_like(here), jnp.minimum(n_here / (tied - place), one))
    none_yet = jnp.cumprod(1 - hazard, axis=1)
    none_before = jnp.pad(none_yet[:, :-1], ((0, 0), (1, 0)), constant_values=1)
    return Hits(here, hazard * none_before, joint)


def _groups(values: Float[Array, "batch k"]) -> tuple[Int[Array, "batch k"], Int[Array, "batch k"]]:
    """Return where the run of equal values that each place is in begins, and the place after its end."""
    rank = lax.broadcasted_iota(jnp.int32, values.shape, 1)
    differs = values[:, 1:] != values[:, :-1]
    begins = jnp.pad(differs, ((0, 0), (1, 0)), constant_values=True)
    ends = jnp.pad(differs, ((0, 0), (0, 1)), constant_values=True)
    first = lax.cummax(jnp.where(begins, rank, jnp.zeros_like(rank)), axis=1)
    after = lax.cummin(jnp.where(ends, rank + 1, jnp.full_like(rank, values.shape[1])), axis=1, reverse=True)
    return first, after
