"""Sparse products ranked by row: the nearest columns, and lists of the best. Host side."""

from typing import Any

import numpy as np
import scipy.sparse
from tqdm.auto import tqdm

from jaxals._base.checks import require_integer
from jaxals._base.memory import require_memory
from jaxals.errors import DataError
from jaxals.implicit_api._ids import chosen_rows

Ranked = tuple[np.ndarray, np.ndarray]

# What implicit fills up the lists of a batch with.
_NO_ID, _NO_SCORE = -1, -np.finfo(np.float32).max
# Entries of a product to have at a time: with what sorting takes, some 300 MB.
_ENTRIES_AT_ONCE = 2**22


def nearest_columns(matrix: Any, k: int, show_progress: bool) -> scipy.sparse.csr_matrix:
    """Return the `k` largest entries of each row of XᵀX.

    Args:
        matrix: X, CSR in float64: rows are users, columns items.
        k: How many.
        show_progress: Whether to draw a progress bar.

    Returns:
        CSR matrix of items x items.
    """
    columns = matrix.T.tocsr()
    n_items = columns.shape[0]
    lengths = np.diff(matrix.indptr)
    # Row i of the product has at most as many entries as the users of i have together.
    work = np.concatenate([[0], np.cumsum(lengths[columns.indices], dtype=np.int64)])[columns.indptr]
    ids, scores, counts = [], [], []
    with tqdm(total=n_items, disable=not show_progress) as progress:
        first = 0
        while first < n_items:
            last = int(np.searchsorted(work, work[first] + _ENTRIES_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), n_items)
            kept, found, values = best_of_rows(columns[first:last] @ matrix, k)
            ids.append(found)
            scores.append(values)
            counts.append(np.bincount(kept, minlength=last - first))
            progress.update(last - first)
            first = last
    starts = np.concatenate([[0], *counts]).cumsum()
    triple = np.concatenate([*scores, []]), np.concatenate([*ids, np.zeros(0, np.int32)]), starts
    nearest = scipy.sparse.csr_matrix(triple, shape=(n_items, n_items))
    nearest.sort_indices()
    return nearest


def best_of_rows(matrix: Any, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns and values of the `k` largest entries of each row, best first; ties by the higher column.

    Args:
        matrix: CSR matrix. Of entries that tie for the last places, those that stand early in their row are in.
        k: How many.
    """
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.indices, -matrix.data, row))
    rank = np.arange(len(row)) - matrix.indptr[row]
    value = matrix.data[order]
    is_cut = np.zeros(len(row), bool)
    is_cut[1:] = (rank[1:] == k) & (value[1:] == value[:-1])
    if is_cut.any():
        # As in a heap of k that is filled from the left: it lets in no tie once k entries have reached the least score.
        least = np.full(matrix.shape[0], -np.inf)
        least[row[is_cut]] = value[is_cut]
        reached = matrix.data >= least[row]
        before = np.concatenate([[0], reached.cumsum()])
        is_late = (before[1:] - before[matrix.indptr[row]] > k) & (matrix.data == least[row])
        order = np.lexsort((-matrix.indices, is_late, -matrix.data, row))
    order = order[rank < k]
    return row[order], matrix.indices[order], matrix.data[order]


def ranked(scores: Any, n: Any, is_single: bool, liked: Any, filtered: Any, chosen: Any) -> Ranked:
    """Rank the columns of each row of a sparse matrix.

    Args:
        scores: CSR matrix of rows x items.
        n: How many each.
        is_single: Whether to return one row without what fills it up.
        liked: CSR matrix of cells to leave out, or None.
        filtered: Ids to leave out everywhere, or None.
        chosen: Ids of the only items to rank, or None; those without an entry come last.

    Raises:
        DataError: `filtered` and `chosen` are both given, or are no ids.
        ConfigurationError: `n` is no integer >= 0, or the answer does not fit into memory.
    """
    require_integer("N", n, 0)
    n = int(n)  # whatever its width
    n_rows, n_items = scores.shape
    if filtered is not None and chosen is not None:
        raise DataError("Can't specify both filter_items and items")
    hidden = None if liked is None else liked.astype(bool)
    if filtered is not None:
        hidden = _also_hidden(hidden, chosen_rows("filter_items", filtered, n_items, "item"), scores.shape)
    if hidden is not None:
        scores = _without(scores, hidden)
    if chosen is not None:
        chosen = np.unique(chosen_rows("items", chosen, n_items, "item"))
        n = min(n, len(chosen))
        scores = _only(scores, chosen)
    if n > n_items:  # the rest of an answer is no larger than what it is taken from
        require_memory(2 * n_rows * n * 12, f"A list of {n:,} for each", "ask for a smaller `N`")
    ids, values = np.full((n_rows, n), _NO_ID, np.int32), np.full((n_rows, n), _NO_SCORE, np.float64)
    row, column, value = best_of_rows(scores, n)
    place = np.arange(len(row)) - np.searchsorted(row, row)
    ids[row, place], values[row, place] = column, value
    return (ids[0, : len(row)], values[0, : len(row)]) if is_single else (ids, values)


def _also_hidden(hidden: Any, ids: np.ndarray, shape: tuple[int, int]) -> Any:
    column = np.tile(ids, shape[0])
    starts = np.arange(shape[0] + 1) * len(ids)
    everywhere = scipy.sparse.csr_matrix((np.ones(len(column), bool), column, starts), shape=shape)
    return everywhere if hidden is None else everywhere + hidden


def _without(scores: Any, hidden: Any) -> Any:
    """Drop entries, keeping the order of the rest."""
    row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    of_hidden = np.repeat(np.arange(scores.shape[0]), np.diff(hidden.indptr))
    keys = lambda rows, columns: rows * np.int64(scores.shape[1]) + columns
    keep = ~np.isin(keys(row, scores.indices), keys(of_hidden, hidden.indices))
    return _kept(scores, row, keep)


def _only(scores: Any, chosen: np.ndarray) -> Any:
    """Keep chosen columns, and fill in those without an entry with the lowest float."""
    row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    scores = _kept(scores, row, np.isin(scores.indices, chosen))
    here = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    is_there = np.zeros((scores.shape[0], len(chosen)), bool)
    is_there[here, np.searchsorted(chosen, scores.indices)] = True
    absent, position = np.nonzero(~is_there)
    rows, columns = np.concatenate([here, absent]), np.concatenate([scores.indices, chosen[position]])
    values = np.concatenate([scores.data, np.full(len(absent), -np.finfo(np.float64).max)])
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=scores.shape)


def _kept(matrix: Any, row: np.ndarray, keep: np.ndarray) -> Any:
    starts = np.concatenate([[0], np.bincount(row[keep], minlength=matrix.shape[0])]).cumsum()
    return scipy.sparse.csr_matrix((matrix.data[keep], matrix.indices[keep], starts), shape=matrix.shape)
