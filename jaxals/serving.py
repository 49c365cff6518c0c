"""Ranking in batches: the best items for users, the nearest rows of a table. Host shell over traced kernels."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxals.interactions import Interactions
from jaxals.objective import Factors
from jaxals.topk import blank_excluded, exclude_pairs, top_k

# Scores of one batch, in bytes: enough rows for a fast matrix product, little enough for any device.
_BATCH_BYTES = 2**26

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
    """
    k = min(n, len(allowed))
    item_table, is_allowed = jnp.asarray(factors.item), jnp.asarray(allowed)
    user_table = jnp.asarray(factors.user)
    ranked = [
        _rank_batch(user_table[batch], item_table, is_allowed, *_seen_pairs(seen, batch), k=k, unit=unit)
        for batch in _batches(users, len(allowed), user_table.dtype.itemsize)
    ]
    return _collect(ranked, len(users), n)


def nearest_rows(table: Float[Array, "rows factors"], rows: Int[np.ndarray, " batch"], n: int, cosine: bool) -> Ranked:
    """Rank the rows of a table by dot product or cosine with given ones, themselves left out.

    Rows that are all zero are like nothing: they are never found, and nothing is found for them.
    """
    k = min(n, len(table))
    norms = jnp.linalg.norm(table, axis=1, keepdims=True)
    known = norms[:, 0] > 0
    if cosine:
        table = table / jnp.where(norms > 0, norms, jnp.ones_like(norms))
    ranked = []
    for batch in _batches(rows, len(table), table.dtype.itemsize):
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
    scores = jnp.matmul(rows, table.T, precision="highest")
    # Nothing is known of a row without interactions, whose factors are zero, so nothing is ranked for it.
    known = jnp.any(rows != 0, axis=1)
    low = jnp.asarray(-jnp.inf, scores.dtype)
    scores = jnp.where(allowed[None, :] & known[:, None], scores, low)
    scores = exclude_pairs(scores, excluded_row, excluded_column)
    best, index = top_k(scores, k)
    if unit:
        worst = jnp.min(jnp.where(scores == low, -low, scores), axis=1, keepdims=True)
        spread = best[:, :1] - worst
        # A lone candidate is the best one: 1. Places without a candidate stay at -inf.
        ones = jnp.ones_like(spread)
        scaled = jnp.where(spread > 0, (best - worst) / jnp.where(spread > 0, spread, ones), ones)
        best = jnp.where(best == low, low, scaled)
    return blank_excluded(best, index), best


def _batches(rows: np.ndarray, n_columns: int, itemsize: int) -> Iterator[np.ndarray]:
    """Cut rows into batches of one size, the last one filled up with its first row."""
    size = int(np.clip(_BATCH_BYTES // (n_columns * itemsize), 1, max(len(rows), 1)))
    for start in range(0, len(rows), size):
        batch = rows[start : start + size].astype(np.int32)
        yield np.concatenate([batch, np.full(size - len(batch), batch[0], np.int32)])


def _seen_pairs(seen: Interactions | None, batch: np.ndarray) -> tuple[Int[Array, " pairs"], Int[Array, " pairs"]]:
    """List the cells of a batch's scores that were seen, padded past the last row to a power of two."""
    if seen is None:
        return jnp.zeros(0, jnp.int32), jnp.zeros(0, jnp.int32)
    first, last = np.searchsorted(seen.user, [batch, batch + 1])
    counts = last - first
    total = int(counts.sum())
    # Powers of two: the kernel is compiled for few lengths.
    row = np.full(1 << max(total - 1, 0).bit_length(), len(batch), np.int32)
    column = np.zeros_like(row)
    row[:total] = np.repeat(np.arange(len(batch)), counts)
    offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    column[:total] = seen.item[np.repeat(first, counts) + offset]
    return jnp.asarray(row), jnp.asarray(column)


def _collect(ranked: list, n_rows: int, n: int) -> Ranked:
    if not ranked:
        return np.zeros((0, n), np.int32), np.zeros((0, n), np.float32)
    index = np.concatenate([np.asarray(index) for index, _ in ranked])[:n_rows]
    score = np.concatenate([np.asarray(score) for _, score in ranked])[:n_rows]
    missing = ((0, 0), (0, n - index.shape[1]))
    return np.pad(index, missing, constant_values=-1), np.pad(score, missing, constant_values=-np.inf)
