"""The best rows of a table for queries, ordered as implicit's heap orders them. Host shell over a traced kernel."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.memory import require_memory
from jaxals.errors import DataError
from jaxals.recommend.sizes import power_of_two
from jaxals.recommend.topk import top_k

_QUERIES_PER_BATCH = 128
# Tables up to this size are padded to a power of two: lists of candidates come in many lengths, programs should not.
_PADDED_ROWS = 4096


def rank(
    table: np.ndarray,
    queries: np.ndarray,
    n: int,
    norms: np.ndarray | None = None,
    liked: Any = None,
    filtered: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the rows of a table for each query, on the device and with the float widths that are set at the call.

    Args:
        table: Rows to rank, rows x factors.
        queries: Vectors, queries x factors.
        n: How many each.
        norms: What to divide the scores of each row by.
        liked: CSR matrix of queries x rows; its entries, explicit zeros too, come last for their query.
        filtered: Rows that come last for all.

    Returns:
        Indices (int32) and scores, best first; past the number of rows -1 and the lowest float.

    Raises:
        ConfigurationError: The answer would not fit into memory.
        DataError: A score is NaN.
    """
    n_rows = len(table)
    if n > n_rows:  # the rest of an answer is no larger than what it is taken from
        require_memory(
            3 * len(queries) * n * (4 + queries.itemsize), f"A list of {n:,} for each", "ask for a smaller `N`"
        )
    ids = np.full((len(queries), n), -1, np.int32)
    scores = np.full((len(queries), n), np.finfo(queries.dtype).min, queries.dtype)
    k = min(n, n_rows)
    if k == 0 or not len(queries):
        return ids, scores
    width = power_of_two(n_rows) if n_rows <= _PADDED_ROWS else n_rows
    device_table = jnp.asarray(np.pad(table, ((0, width - n_rows), (0, 0))))
    norms = np.ones(n_rows, table.dtype) if norms is None else norms
    device_norms = jnp.asarray(np.pad(norms, (0, width - n_rows), constant_values=1))
    for start in range(0, len(queries), _QUERIES_PER_BATCH):
        batch = queries[start : start + _QUERIES_PER_BATCH]
        # Two at least: one vector goes through another kernel on CPU, whose last digits differ from a batch's.
        height = max(power_of_two(len(batch)), 2)
        is_last = np.zeros((height, width), bool)
        if filtered is not None:
            is_last[:, :n_rows][:, filtered] = True
        if liked is not None:
            row = liked[start : start + len(batch)]
            is_last[:, :n_rows][np.repeat(np.arange(len(batch)), np.diff(row.indptr)), row.indices] = True
        best, index = _best(
            device_table,
            jnp.asarray(np.pad(batch, ((0, height - len(batch)), (0, 0)), mode="edge")),
            device_norms,
            jnp.asarray(is_last),
            jnp.asarray(n_rows, jnp.int32),
            k=k,
        )
        ids[start : start + len(batch), :k] = np.asarray(index)[: len(batch)]
        scores[start : start + len(batch), :k] = np.asarray(best)[: len(batch)]
    if np.isnan(scores).any():
        raise DataError("The model's factors hold NaN, or are too large for a score.")
    return ids, scores


@functools.partial(jax.jit, static_argnames="k")
def _best(
    table: Float[Array, "rows factors"],
    queries: Float[Array, "queries factors"],
    norms: Float[Array, " rows"],
    is_last: Bool[Array, "queries rows"],
    n_rows: Int[Array, ""],
    *,
    k: int,
) -> tuple[Float[Array, "queries k"], Int[Array, "queries k"]]:
    scores = jnp.matmul(queries, table.T, precision="highest") / norms[None, :]
    scores = jnp.where(is_last, jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype), scores)
    index = jnp.arange(table.shape[0], dtype=jnp.int32)[None, :]
    scores = jnp.where(index < n_rows, scores, jnp.asarray(-jnp.inf, scores.dtype))
    best, found = top_k(scores[:, ::-1], k)  # reversed: ties go to the higher index
    found = table.shape[0] - 1 - found
    least = best[:, -1:]
    reached = scores >= least

    def cut_ties() -> Int[Array, "queries k"]:
        # A heap of k that is filled from the left lets in no tie once k rows have reached the least score, and drops
        # the lowest index first: of the rows tied for the last places, the last among the first k that reached it.
        early = reached & (jnp.cumsum(reached, axis=1, dtype=jnp.int32) <= k)
        tied = jnp.where(early & (scores == least), index, -1)
        tied, _ = jax.lax.top_k(tied, k)
        place = jnp.arange(k, dtype=jnp.int32)[None, :] - jnp.sum(best > least, axis=1, keepdims=True, dtype=jnp.int32)
        return jnp.where(place >= 0, jnp.take_along_axis(tied, jnp.maximum(place, 0), axis=1), found)

    crowded = jnp.any(jnp.sum(reached, axis=1) > k)
    return best, jax.lax.cond(crowded, cut_ties, lambda: found)
