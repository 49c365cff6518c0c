"""Ranking in batches: the best items for users, the nearest rows of a table. Host shell over traced kernels."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.forks import refuse_forked_process
from jaxals._base.memory import require_memory
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.objective.factors import Factors
from jaxals.recommend.known import known_items, known_users
from jaxals.recommend.topk import blank_excluded, exclude_pairs, top_k

# Scores of one batch, in bytes: rows enough for a fast matrix product, few enough for the scores to stay in cache until
# they are ranked (20,000 users, 160,000 items, 2 cores: 3.6 s; 8.4 s with 2**26, 7.5 s with 2**22).
_BATCH_BYTES = 2**24

Ranked = tuple[Int[np.ndarray, "batch n"], Float[np.ndarray, "batch n"]]


def rank_columns(
    factors: Factors,
    users: Int[np.ndarray, " users"],
    n: int,
    allowed: Bool[np.ndarray, " items"],
    seen: Interactions | None,
    unit: bool,
) -> Ranked:
    """Rank items for users, batch by batch.

    Args:
        factors: Both tables.
        users: Row indices.
        n: How many items each.
        allowed: Which items may be recommended.
        seen: Interactions whose items are left out for their user; None leaves out nothing.
        unit: Whether to stretch each user's candidates to 0..1.

    Returns:
        Indices (int32) and scores, best first; -1 and -inf where no candidate is left.

    Raises:
        ConfigurationError: What is asked for cannot fit into memory.
    """
    refuse_forked_process()
    _require_room(len(users), n, factors.user.dtype.itemsize, factors)
    k = min(n, len(allowed))
    item_table, is_allowed = jnp.asarray(factors.item), jnp.asarray(allowed)
    user_table = jnp.asarray(factors.user)
    ranked = [
        _rank_batch(user_table[batch], item_table, is_allowed, *_seen_pairs(seen, batch), k=k, unit=unit)
        for batch in batches(users, rows_per_batch(len(allowed), user_table.dtype.itemsize))
    ]
    return _collect(ranked, len(users), n)


def nearest_rows(table: Float[Array, "rows factors"], rows: Int[np.ndarray, " batch"], n: int, cosine: bool) -> Ranked:
    """Rank the rows of a table by dot product or cosine with given ones, themselves left out.

    Rows that are all zero are like nothing: they are never found, and nothing is found for them.

    Args:
        table: One side's factors.
        rows: Row indices.
        n: How many rows each.
        cosine: Whether to divide by the lengths of both rows.

    Returns:
        As `rank_columns` does.

    Raises:
        ConfigurationError: What is asked for cannot fit into memory.
    """
    refuse_forked_process()
    _require_room(len(rows), n, table.dtype.itemsize, table)
    k = min(n, len(table))
    norms = jnp.linalg.norm(table, axis=1, keepdims=True)
    known = norms[:, 0] > 0
    if cosine:
        table = table / jnp.where(norms > 0, norms, jnp.ones_like(norms))
    ranked = []
    for batch in batches(rows, rows_per_batch(len(table), table.dtype.itemsize)):
        itself = jnp.arange(len(batch), dtype=jnp.int32)
        ranked.append(_rank_batch(table[batch], table, known, itself, jnp.asarray(batch), k=k, unit=False))
    return _collect(ranked, len(rows), n)


@functools.partial(jax.jit, static_argnames=("k", "unit"))
def _rank_batch(
    rows: Float[Array, "batch factors"],
    table: Float[Array, "columns factors"],
    allowed: Bool[Array, " columns"],
    excluded_row: Int[Array, " excluded"],
    excluded_column: Int[Array, " excluded"],
    *,
    k: int,
    unit: bool,
) -> tuple[Int[Array, "batch k"], Float[Array, "batch k"]]:
    def score(is_allowed: Bool[Array, " columns"]) -> tuple[Float[Array, "batch columns"], Array]:
        scores = jnp.matmul(rows, table.T, precision="highest")
        low = jnp.asarray(-jnp.inf, scores.dtype)
        # Nothing is known of a row without interactions, whose factors are zero, so nothing is ranked for it.
        known = jnp.any(rows != 0, axis=1)
        scores = jnp.where(is_allowed[None, :] & known[:, None], scores, low)
        return exclude_pairs(scores, excluded_row, excluded_column), low

    def rank_known() -> tuple[Float[Array, "batch k"], Int[Array, "batch k"]]:
        return top_k(score(allowed & jnp.any(table != 0, axis=1))[0], k)

    # Nor is anything known of a column that is zero. It is rarely on a list, and only then the table is read again, but
    # the worst column, which a scale of "unit" needs, may always be one.
    scores, low = score(allowed & jnp.any(table != 0, axis=1) if unit else allowed)
    best, index = lax.optimization_barrier(top_k(scores, k))
    is_blank = jnp.any(jnp.all(table[index] == 0, axis=2) & (best > low))
    best, index = lax.cond(is_blank, rank_known, lambda: (best, index))
    if unit:
        worst = jnp.min(jnp.where(scores == low, -low, scores), axis=1, keepdims=True)
        spread = best[:, :1] - worst
        # The best is 1 as it stands: XLA may multiply with 1 / spread. Places without a candidate stay at -inf.
        ones = jnp.ones_like(best)
        scaled = jnp.where(best < best[:, :1], (best - worst) / jnp.where(spread > 0, spread, ones[:, :1]), ones)
        best = jnp.where(best == low, low, scaled)
    return blank_excluded(best, index), best


def rank_scores(
    scorer: Any, users: Int[np.ndarray, " users"], n: int, n_items: int, seen: Interactions | None
) -> Ranked:
    """Rank items for users by any pytree with `scores(users)`, batch by batch; as `rank_columns` does for factors.

    What the scorer knows nothing of, users and items, is left out where it says so (`jaxals.recommend.known`).
    """
    refuse_forked_process()
    _require_room(len(users), n, 4, scorer)
    known = known_items(scorer, n_items)
    ranked = [
        _rank_scored(scorer, jnp.asarray(batch), known, *_seen_pairs(seen, batch), k=min(n, n_items))
        for batch in batches(users, rows_per_batch(n_items, 4))
    ]
    return _collect(ranked, len(users), n)


@functools.partial(jax.jit, static_argnames="k")
def _rank_scored(
    scorer: Any,
    users: Int[Array, " batch"],
    known: Bool[Array, " items"],
    row: Int[Array, " excluded"],
    column: Int[Array, " excluded"],
    *,
    k: int,
) -> tuple[Int[Array, "batch k"], Float[Array, "batch k"]]:
    scores = scorer.scores(users)
    is_known = known[None, :] & known_users(scorer, users)[:, None]
    scores = jnp.where(is_known, scores, jnp.asarray(-jnp.inf, scores.dtype))
    best, index = top_k(exclude_pairs(scores, row, column), k)
    return blank_excluded(best, index), best


def ranking_frame(
    asked: Int[np.ndarray, " batch"],
    found: Int[np.ndarray, "batch n"],
    scores: Float[np.ndarray, "batch n"],
    asked_ids: pd.Index,
    found_ids: pd.Index,
    names: tuple[str, str],
) -> pd.DataFrame:
    """Write rankings by raw id, with the columns `names`, score and rank; padding is left out."""
    row, place = np.nonzero(found >= 0)
    return pd.DataFrame(
        {
            names[0]: asked_ids[asked[row]],
            names[1]: found_ids[found[row, place]],
            "score": scores[row, place],
            "rank": place + 1,
        }
    )


def rows_per_batch(n_columns: int, itemsize: int) -> int:
    """Return how many rows to score at once, 1 at least."""
    return max(1, _BATCH_BYTES // (n_columns * itemsize))


def batches(rows: Int[np.ndarray, " rows"], size: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Cut rows into batches of one size, the last one filled up with its first row.

    Args:
        rows: Row indices.
        size: Rows a batch; fewer where there are fewer rows.

    Yields:
        Row indices, int32.

    Example:
        >>> import numpy as np
        >>> from jaxals.recommend.ranking import batches
        >>> [batch.tolist() for batch in batches(np.array([3, 1, 2]), 2)]
        [[3, 1], [2, 2]]
    """
    size = min(size, len(rows))
    for start in range(0, len(rows), max(size, 1)):
        batch = rows[start : start + size].astype(np.int32)
        yield np.concatenate([batch, np.full(size - len(batch), batch[0], np.int32)])


def listed_cells(
    first: Int[np.ndarray, " rows"], last: Int[np.ndarray, " rows"], columns: Int[np.ndarray, " entries"], length: int
) -> tuple[Int[np.ndarray, " length"], Int[np.ndarray, " length"]]:
    """List the cells of a batch's scores that its rows' entries name, as `jaxals.recommend.topk` takes them.

    Args:
        first: Where each row's entries begin in `columns`.
        last: Where they end.
        columns: Column of each entry.
        length: Cells to return, the entries of all rows at least; the others lie past the last row.

    Returns:
        Row within the batch, and column, of each cell, int32.

    Example:
        >>> import numpy as np
        >>> from jaxals.recommend.ranking import listed_cells
        >>> cells = listed_cells(np.array([0, 2]), np.array([1, 4]), np.array([7, 8, 5, 6]), length=3)
        >>> [indices.tolist() for indices in cells]
        [[0, 1, 1], [7, 5, 6]]
    """
    counts = last - first
    total = int(counts.sum())
    row, column = np.full(length, np.iinfo(np.int32).max, np.int32), np.zeros(length, np.int32)
    row[:total] = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    column[:total] = columns[np.repeat(first, counts) + offset]
    return row, column


def checked_indices(name: str, indices: Any, size: int) -> Int[np.ndarray, " indices"]:
    """Return row indices as an int32 array.

    Raises:
        DataError: They are not a list of integers, or one is negative or not below `size`.
    """
    try:
        indices = np.asarray(indices)
    except (TypeError, ValueError, OverflowError) as error:  # lists in lists, of several lengths
        raise DataError(f"`{name}` must be 1-D integer indices: {error}.") from None
    if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
        raise DataError(f"`{name}` must be 1-D integer indices; got {indices.dtype} of shape {indices.shape}.")
    outside = indices[(indices < 0) | (indices >= size)]
    if outside.size:
        raise DataError(f"`{name}` must be indices from 0 to {size - 1}; got {outside[0]}.")
    return indices.astype(np.int32)


def power_of_two(number: int) -> int:
    """Round up to a power of two, 1 at least: a kernel is then compiled for few lengths."""
    return 1 << max(number - 1, 0).bit_length()


def _seen_pairs(seen: Interactions | None, batch: np.ndarray) -> tuple[Int[Array, " pairs"], Int[Array, " pairs"]]:
    if seen is None:
        return jnp.zeros(0, jnp.int32), jnp.zeros(0, jnp.int32)
    first, last = np.searchsorted(seen.user, [batch, batch + 1])
    row, column = listed_cells(first, last, seen.item, power_of_two(int((last - first).sum())))
    return jnp.asarray(row), jnp.asarray(column)


def _require_room(n_rows: int, n: int, itemsize: int, where: Any) -> None:
    arrays = (leaf for leaf in jax.tree.leaves(where) if isinstance(leaf, jax.Array))
    # Twice: the batches, and then all of them together.
    require_memory(
        2 * n_rows * n * (4 + itemsize),
        f"Ranking {n:,} for each of {n_rows:,} rows",
        "take a smaller `n` or fewer rows",
        {device for array in arrays for device in array.devices()},
    )


def _collect(ranked: list, n_rows: int, n: int) -> Ranked:
    if not ranked:
        return np.zeros((0, n), np.int32), np.zeros((0, n), np.float32)
    index = np.concatenate([np.asarray(index) for index, _ in ranked])[:n_rows]
    score = np.concatenate([np.asarray(score) for _, score in ranked])[:n_rows]
    missing = ((0, 0), (0, n - index.shape[1]))
    return np.pad(index, missing, constant_values=-1), np.pad(score, missing, constant_values=-np.inf)
