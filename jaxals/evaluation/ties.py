"""Lists whose scores tie: every order of the tied items is as likely, and metrics are expected values. Device side.

A list would otherwise take tied items by their numbers, and a figure would depend on how items were numbered. The
expected values are those of McSherry and Najork 2008 (Computing information retrieval performance measures efficiently
in the presence of tied scores), here for hits at single ranks, which the metrics are linear in.
"""

from collections.abc import Callable
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
    score_again: Callable[[], Float[Array, "batch items"]],
    relevant: Int[Array, "batch relevant"],
    known_users: Bool[Array, " batch"],
    known_items: Bool[Array, " items"],
    k: int,
    with_outside: bool,
) -> TiedLists:
    """Rank the k best of the known items for each known user; the lists of other users are empty.

    Args:
        scores: Of all items; -inf excludes one.
        score_again: Computes them. They are rarely needed twice, and a branch that takes them copies them: that doubled
            the time, where to compute them again costs nothing unless it happens (83 users, 50K items, on a CPU).
        relevant: Items to find, ascending; the number of items pads.
        known_users: Users that the scorer can tell something of.
        known_items: Items that it can tell something of.
        k: Static length of the lists, 1 to the number of items.
        with_outside: Whether to return `outside`, static.
    """
    n_items, is_known = scores.shape[1], known_items[None, :] & known_users[:, None]
    low = jnp.asarray(-jnp.inf, scores.dtype)
    # One more than the list tells whether it is open at its end.
    length = min(k + 1, n_items)
    ahead, index = _top_k(scores, length)
    has_unknown = jnp.any(~known_items[index] & (ahead > low) & known_users[:, None])
    ahead, index = lax.cond(
        has_unknown, lambda: _top_k(jnp.where(is_known, score_again(), low), length), lambda: (ahead, index)
    )
    ahead = jnp.where(known_users[:, None], ahead, low)
    values, index, last = ahead[:, :k], index[:, :k], ahead[:, k - 1 : k]
    is_open = (last == ahead[:, -1:]) & (last > low) if length > k else jnp.zeros(last.shape, bool)

    def count_level() -> tuple[Array, Array, Array | None]:
        row = jnp.arange(len(relevant), dtype=jnp.int32)[:, None]
        is_last = (score_again() == last) & is_known & is_open
        is_level = is_last.at[row, relevant].get(mode="fill", fill_value=False)
        outside = is_last.at[row, index].set(False) if with_outside else None
        return jnp.sum(is_last, axis=1, dtype=jnp.int32), is_level, outside

    def count_none() -> tuple[Array, Array, Array | None]:
        outside = jnp.zeros(scores.shape, bool) if with_outside else None
        return jnp.zeros(len(relevant), jnp.int32), jnp.zeros(relevant.shape, bool), outside

    n_level, is_level, outside = lax.cond(jnp.any(is_open), count_level, count_none)
    first, after = _groups(values)
    tied = jnp.where(is_open & (after == k), n_level[:, None], after - first)
    return TiedLists(blank_excluded(values, index), first, tied, is_level, outside)


def _top_k(scores: Float[Array, "batch items"], k: int) -> tuple[Float[Array, "batch k"], Int[Array, "batch k"]]:
    # XLA finds a top-k by its shape, a sort and one slice. Where another slice of it is taken, all is sorted on a CPU,
    # which took three times as long as the scores and their top-k together (83 users, 50K items).
    return lax.optimization_barrier(top_k(scores, k))


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
