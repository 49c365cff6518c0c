"""Ranking in batches: the best items for users, the nearest rows of a table. Host shell over traced kernels."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import first_line
from jaxals._base.forks import refuse_forked_process
from jaxals._base.memory import require_memory
from jaxals.als.layout.machine import Platform, machine_of
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.recommend.evidence import Evidence
from jaxals.recommend.histories import Histories
from jaxals.recommend.ids import Ids
from jaxals.recommend.known import known_items, known_users
from jaxals.recommend.sizes import cut, list_length, power_of_two
from jaxals.recommend.tables import Table, inverse
from jaxals.recommend.topk import blank_excluded, exclude_pairs, top_k

Ranked = tuple[Int[np.ndarray, "batch n"], Float[np.ndarray, "batch n"]]
Cells = tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]
# Cells to leave out that a batch has room for without another program, for each of its rows.
_CELLS_PER_ROW, _LEAST_CELLS = 64, 1024
_NO_CELLS = np.zeros(0, np.int32), np.zeros(0, np.int32)


def rank_columns(
    user: Table,
    item: Table,
    users: Int[np.ndarray, " users"],
    n: int,
    allowed: Bool[np.ndarray, " items"],
    seen: Histories | None,
    unit: bool,
) -> Ranked:
    """Rank items for users, batch by batch.

    Args:
        user: The users' table.
        item: The items' table.
        users: Row indices.
        n: How many items each.
        allowed: Which items may be recommended.
        seen: Histories whose items are left out for their user; None leaves out nothing.
        unit: Whether to stretch each user's candidates to 0..1.

    Returns:
        Indices (int32) and scores, best first; -1 and -inf where no candidate is left.

    Raises:
        ConfigurationError: What is asked for cannot fit into memory.
    """
    refuse_forked_process()

    def left_out(batch: slice) -> Cells:
        return _NO_CELLS if seen is None else _seen_cells(seen, users[batch])

    # Nothing is known of an item without interactions, whose factors are zero, so it is on no list.
    return _rank(user.read(users), item, n, allowed & item.known, left_out, unit=unit)


def nearest_rows(table: Table, rows: Int[np.ndarray, " batch"], n: int, evidence: Evidence | None) -> Ranked:
    """Rank the rows of a table by dot product or cosine with given ones, themselves left out.

    Rows that are all zero are like nothing: they are never found, and nothing is found for them.

    Args:
        table: One side's factors.
        rows: Row indices.
        n: How many rows each.
        evidence: For cosines, what each is multiplied by; None for dot products.

    Returns:
        As `rank_columns` does.

    Raises:
        ConfigurationError: What is asked for cannot fit into memory.
    """
    refuse_forked_process()
    queries = table.read(rows)
    if evidence is not None:
        queries = queries * inverse(np.linalg.norm(queries, axis=1))[:, None]
    itself = lambda batch: (np.arange(len(rows[batch])), rows[batch])
    return _rank(queries, table, n, table.known, itself, evidence=evidence)


def _rank(
    queries: Float[np.ndarray, "queries factors"],
    table: Table,
    n: int,
    allowed: Bool[np.ndarray, " rows"],
    left_out: Callable[[slice], Cells],
    evidence: Evidence | None = None,
    unit: bool = False,
) -> Ranked:
    """Rank a table's trained rows on the device, and put its late ones among them."""
    _require_room(len(queries), n, queries.dtype.itemsize, table.trained.given)
    n_trained = len(table.trained)
    is_candidate = np.zeros(n_trained, bool)
    is_candidate[: len(table)] = allowed[:n_trained]
    is_candidate[table.place[table.place < n_trained]] = False
    weight = table.trained.ones if evidence is None else evidence.trained
    ranked = []
    for start, stop, size in cut(len(queries), _rows_at_once(n_trained, queries.dtype.itemsize)):
        batch, cells = slice(start, stop), left_out(slice(start, stop))
        rows = np.pad(queries[batch], ((0, size - (stop - start)), (0, 0)))
        k = list_length(n, size, n_trained)
        out = _padded(cells, size)
        ranked.append((batch, cells, _rank_batch(rows, table.trained.rows, weight, is_candidate, *out, unit, k=k)))
    index = np.full((len(queries), n), -1, np.int32)
    score = np.full((len(queries), n), -np.inf, queries.dtype)
    # Once all batches are on their way: the host puts one together while the device ranks the next.
    for batch, cells, on_device in ranked:
        best, found, worst = (np.asarray(array)[: batch.stop - batch.start] for array in on_device)
        if len(table.place):
            late = _late_scores(queries[batch], table, allowed, cells, evidence)
            best, found = _among(best, found, late, table.place, n)
            worst = np.minimum(worst, np.min(np.where(late == -np.inf, np.inf, late), axis=1)) if unit else worst
        if unit:
            best = _stretched(best, worst)
        score[batch, : best.shape[1]], index[batch, : best.shape[1]] = best[:, :n], found[:, :n]
    return index, score


@functools.partial(jax.jit, static_argnames="k")
def _rank_batch(
    rows: Float[Array, "batch factors"],
    table: Float[Array, "columns factors"],
    weight: Float[Array, " columns"],
    allowed: Bool[Array, " columns"],
    excluded_row: Int[Array, " excluded"],
    excluded_column: Int[Array, " excluded"],
    with_worst: Bool[Array, ""],
    *,
    k: int,
) -> tuple[Float[Array, "batch k"], Int[Array, "batch k"], Float[Array, " batch"]]:
    """Return the best scores and their columns, and the worst score of each row's candidates where it is asked for."""
    scores = jnp.matmul(rows, table.T, precision="highest") * weight[None, :]
    # Nothing is known of a row without interactions, whose factors are zero, so nothing is ranked for it.
    known = jnp.any(rows != 0, axis=1)
    low = jnp.asarray(-jnp.inf, scores.dtype)
    scores = jnp.where(allowed[None, :] & known[:, None], scores, low)
    scores = exclude_pairs(scores, excluded_row, excluded_column)
    best, index = top_k(scores, k)
    worst = jax.lax.cond(
        with_worst,
        lambda: jnp.min(jnp.where(scores == low, -low, scores), axis=1),
        lambda: jnp.full(len(rows), -low, scores.dtype),
    )
    return best, blank_excluded(best, index), worst


def _padded(cells: Cells, size: int) -> tuple[Int[np.ndarray, " padded"], Int[np.ndarray, " padded"]]:
    """Pad cells to leave out to few lengths; the others lie past the last row."""
    room = max(size * _CELLS_PER_ROW, _LEAST_CELLS)
    missing = (0, (room if len(cells[0]) <= room else power_of_two(len(cells[0]))) - len(cells[0]))
    row = np.pad(cells[0].astype(np.int32), missing, constant_values=np.iinfo(np.int32).max)
    return row, np.pad(cells[1].astype(np.int32), missing)


def _late_scores(
    queries: Float[np.ndarray, "queries factors"],
    table: Table,
    allowed: Bool[np.ndarray, " rows"],
    cells: Cells,
    evidence: Evidence | None,
) -> Float[np.ndarray, "queries late"]:
    # Sums in float64, so that scores of rows that are alike come out alike, wherever the rows lie.
    scores = queries.astype(np.float64) @ table.late.T.astype(np.float64)
    if evidence is not None:
        scores *= inverse(table.late_lengths) * evidence.late
    scores = scores.astype(queries.dtype)
    scores[:, ~allowed[table.place]] = -np.inf
    scores[~np.any(queries != 0, axis=1)] = -np.inf
    slot, is_late = table.find_late(cells[1])
    scores[cells[0][is_late], slot[is_late]] = -np.inf
    return scores


def _among(
    best: Float[np.ndarray, "queries k"],
    found: Int[np.ndarray, "queries k"],
    late: Float[np.ndarray, "queries late"],
    place: Int[np.ndarray, " late"],
    n: int,
) -> tuple[Float[np.ndarray, "queries n"], Int[np.ndarray, "queries n"]]:
    """Put late rows' scores among the best of the trained rows, ties by lower index."""
    n_queries, k = best.shape
    row, slot = np.nonzero((late >= best[:, -1:]) & (late > -np.inf))
    score, index = np.concatenate([best.ravel(), late[row, slot]]), np.concatenate([found.ravel(), place[slot]])
    row = np.concatenate([np.repeat(np.arange(n_queries), k), row])
    order = np.lexsort((index, -score, row))
    row, score, index = row[order], score[order], index[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < n
    merged, places = np.full((n_queries, n), -np.inf, best.dtype), np.full((n_queries, n), -1, np.int32)
    merged[row[kept], rank[kept]], places[row[kept], rank[kept]] = score[kept], index[kept]
    return merged, places


def _stretched(best: Float[np.ndarray, "queries k"], worst: Float[np.ndarray, " queries"]) -> np.ndarray:
    """Scale each row's scores so that its best candidate has 1 and its worst 0; places without one stay at -inf."""
    spread = best[:, :1] - worst[:, None]
    is_candidate = best > -np.inf
    scaled = np.ones_like(best)
    np.divide(best - worst[:, None], spread, out=scaled, where=is_candidate & (best < best[:, :1]))
    return np.where(is_candidate, scaled, best)


def rank_scores(
    scorer: Any, users: Int[np.ndarray, " users"], n: int, n_items: int, seen: Interactions | None
) -> Ranked:
    """Rank items for users by any pytree with `scores(users)`, batch by batch; as `rank_columns` does for factors.

    What the scorer knows nothing of, users and items, is left out where it says so (`jaxals.recommend.known`).
    """
    refuse_forked_process()
    _require_room(len(users), n, 4, scorer)
    known = known_items(scorer, n_items)
    histories, ranked = None if seen is None else Histories.of(seen), []
    for start, stop, size in cut(len(users), _rows_at_once(n_items, 4)):
        batch = users[start:stop].astype(np.int32)
        cells = _padded(_NO_CELLS if histories is None else _seen_cells(histories, batch), size)
        batch = np.pad(batch, (0, size - len(batch)), mode="edge")
        ranked.append((start, stop, _rank_scored(scorer, batch, known, *cells, k=list_length(n, size, n_items))))
    index, score = np.full((len(users), n), -1, np.int32), None
    for start, stop, on_device in ranked:
        found, best = (np.asarray(array)[: stop - start, :n] for array in on_device)
        score = np.full(index.shape, -np.inf, best.dtype) if score is None else score
        score[start:stop, : best.shape[1]], index[start:stop, : best.shape[1]] = best, found
    return index, np.zeros(index.shape, np.float32) if score is None else score


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
    asked_ids: pd.Index | Ids,
    found_ids: pd.Index | Ids,
    names: tuple[str, str],
) -> pd.DataFrame:
    """Write rankings by raw id, with the columns `names`, score and rank; padding is left out."""
    row, place = np.nonzero(found >= 0)
    return pd.DataFrame(
        {
            names[0]: asked_ids.take(asked[row]),
            names[1]: found_ids.take(found[row, place]),
            "score": scores[row, place],
            "rank": place + 1,
        }
    )


def rows_per_batch(n_columns: int, itemsize: int, platform: Platform | None = None) -> int:
    """Return how many rows to score at once, 1 at least, on a platform: that of the default device if none is named."""
    return max(1, machine_of(platform).batch_bytes // (n_columns * itemsize))


def _rows_at_once(n_columns: int, itemsize: int, platform: Platform | None = None) -> int:
    rows = rows_per_batch(n_columns, itemsize, platform)
    # Two arrays of scores and a list have to stay below 32 MiB, or glibc takes them from the system page by page each
    # time: 64 of 50,000 items took 356 µs of CPU time a row in whole batches, and take 178 so.
    return max(1, rows * 7 // 8) if machine_of(platform).in_cache else rows


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
        raise DataError(f"`{name}` must be 1-D integer indices: {first_line(error)}.") from None
    if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
        raise DataError(f"`{name}` must be 1-D integer indices; got {indices.dtype} of shape {indices.shape}.")
    outside = indices[(indices < 0) | (indices >= size)]
    if outside.size:
        raise DataError(f"`{name}` must be indices from 0 to {size - 1}; got {outside[0]}.")
    return indices.astype(np.int32)


def candidates(n_columns: int, only: Any, exclude: Any) -> Bool[np.ndarray, " columns"]:
    """Say which columns may be ranked: all, or only some, but for those to leave out.

    Raises:
        DataError: As `checked_indices` says.
    """
    allowed = np.full(n_columns, only is None)
    if only is not None:
        allowed[checked_indices("items", only, n_columns)] = True
    if exclude is not None:
        allowed[checked_indices("exclude", exclude, n_columns)] = False
    return allowed


def _seen_cells(seen: Histories, users: Int[np.ndarray, " users"]) -> Cells:
    count, item, _ = seen.of_users(users)
    return np.repeat(np.arange(len(count)), count), item


def _require_room(n_rows: int, n: int, itemsize: int, where: Any) -> None:
    # Twice: the batches, and then all of them together.
    need = 2 * n_rows * n * (4 + itemsize)
    if need <= 1 << 20:  # asking the system takes half as long as ranking for one user, and it has as much
        return
    arrays = (leaf for leaf in jax.tree.leaves(where) if isinstance(leaf, jax.Array))
    require_memory(
        need,
        f"Ranking {n:,} for each of {n_rows:,} rows",
        "take a smaller `n` or fewer rows",
        {device for array in arrays for device in array.devices()},
    )
