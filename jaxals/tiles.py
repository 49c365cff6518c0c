"""The layout of the work: interactions cut into fixed-shape tiles, one orientation at a time. Host side.

A naive segment-sum of outer products needs entries · factors² memory. Here each row's entries are cut into tiles of
one width, padded with value 0; tiles are dealt into chunks of one shape, and the solvers walk over chunks, so that
memory is bounded by a chunk, whatever the data. Three kinds of rows, each its own shape at most:

- short rows, which fit in one tile;
- middle rows, of several tiles within one chunk, summed by segment;
- long rows, of more tiles than a chunk should hold, accumulated step by step.

Measurements behind the choices: `docs/layout.md`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxals._pytree import pytree, static
from jaxals.catalog import Side
from jaxals.errors import ConfigurationError
from jaxals.interactions import Interactions

# A chunk of 4K entries keeps the gathered rows (1 MB at 64 factors) in cache between the passes over them.
_ENTRIES_PER_CHUNK = 4096
_WIDTHS = (4, 8, 16, 32, 64, 128)
# A tile costs about as much as this many extra entries: its partial Gram matrix is written and summed.
_TILE_OVERHEAD = 8
# Rows of more than a chunk's tiles over this number are accumulated apart, so that chunks stay balanced.
_LONG_ROW_SHARE = 8


@pytree
class Tiles:
    """Chunks of tiles of one shape; each row lies whole inside one chunk.

    Attributes:
        column: Column index of each entry, 0 in padding.
        value: Value of each entry, 0 in padding.
        segment: Which of its chunk's rows a tile belongs to, ascending.
        row: Index of each row in the table that is solved for, `n_rows` where unused.
        count: Entries of each row, 0 where unused.
        one_tile_per_row: Whether tile i of a chunk is all of the chunk's row i, static.
    """

    column: Int[Array, "chunks tiles width"]
    value: Float[Array, "chunks tiles width"]
    segment: Int[Array, "chunks tiles"]
    row: Int[Array, "chunks rows"]
    count: Int[Array, "chunks rows"]
    one_tile_per_row: bool = static()


@pytree
class LongRows:
    """Rows of many entries, cut into steps that are accumulated one after another.

    Attributes:
        column: Column index of each entry, 0 in padding.
        value: Value of each entry, 0 in padding.
        row: Index of the row a step belongs to; the steps of a row follow each other.
        count: Entries of that row.
        is_last: Whether a step is the last of its row.
    """

    column: Int[Array, "steps width"]
    value: Float[Array, "steps width"]
    row: Int[Array, " steps"]
    count: Int[Array, " steps"]
    is_last: Bool[Array, " steps"]


@pytree
class RowTiles:
    """All entries of one orientation, ready for a half step.

    Attributes:
        groups: Short and middle rows, those that there are.
        long: Long rows, or None.
        position: Where each row's solution lies when those of `groups` and then of `long` are laid end to end; one
            past the end for rows without entries.
        n_rows: Rows of the table that is solved for, static.
        n_columns: Rows of the other table, static.
    """

    groups: tuple[Tiles, ...]
    long: LongRows | None
    position: Int[Array, " rows"]
    n_rows: int = static()
    n_columns: int = static()


@dataclasses.dataclass(frozen=True)
class _Rows:
    """CSR view of one orientation."""

    starts: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.starts)


def build_tiles(
    interactions: Interactions, side: Side = "user", *, factors: int, dtype: Any = jnp.float32, chunk_bytes: int = 2**24
) -> RowTiles:
    """Cut the interactions of all users (or items) into tiles.

    Args:
        interactions: What to lay out.
        side: Whose rows to solve for: "user" or "item".
        factors: Number of factors that the chunks are sized for; any number can be solved with them.
        dtype: Type of the values on the device.
        chunk_bytes: Bound on the Gram matrices that one chunk forms at a time, in bytes.

    Returns:
        Tiles on the default device.

    Raises:
        ConfigurationError: `chunk_bytes` or `factors` is below 1.
    """
    for name, number in (("chunk_bytes", chunk_bytes), ("factors", factors)):
        if number < 1:
            raise ConfigurationError(f"`{name}` must be >= 1; got {number}.")
    n_rows, n_columns = interactions.shape if side == "user" else interactions.shape[::-1]
    rows = _rows_of(interactions, side)
    counts = rows.counts

    short_width, width = _choose_widths(counts)
    grams_per_chunk = max(chunk_bytes // (factors**2 * np.dtype(dtype).itemsize), 1)
    tiles_per_chunk = int(np.clip(_ENTRIES_PER_CHUNK // width, 1, grams_per_chunk))
    rows_per_chunk = int(np.clip(_ENTRIES_PER_CHUNK // short_width, 1, grams_per_chunk))

    longest = max(tiles_per_chunk // _LONG_ROW_SHARE, 1) * width
    short = np.flatnonzero((counts > 0) & (counts <= short_width))
    middle = np.flatnonzero((counts > short_width) & (counts <= longest))
    long = np.flatnonzero(counts > max(longest, short_width))

    groups = []
    if len(short):
        groups.append(_deal(rows, short, short_width, rows_per_chunk, n_rows, dtype))
    if len(middle):
        groups.append(_deal(rows, middle, width, tiles_per_chunk, n_rows, dtype))
    long_rows = _cut(rows, long, longest, dtype) if len(long) else None
    return RowTiles(tuple(groups), long_rows, _positions(groups, long_rows, n_rows), n_rows, n_columns)


def padding(tiles: RowTiles) -> float:
    """Return how many cells the tiles hold per entry: 1 is perfect."""
    values = [group.value for group in tiles.groups] + ([tiles.long.value] if tiles.long else [])
    entries = sum(np.count_nonzero(value) for value in values)
    return sum(value.size for value in values) / max(entries, 1)


def _rows_of(interactions: Interactions, side: Side) -> _Rows:
    if side == "user":
        return _Rows(interactions.row_starts(), interactions.item, interactions.value)
    # Transposing a CSR matrix in SciPy is a counting sort: an order of magnitude faster than sorting keys.
    transposed = interactions.to_scipy().tocsc()
    return _Rows(transposed.indptr.astype(np.int64), transposed.indices, transposed.data)


def _choose_widths(counts: np.ndarray) -> tuple[int, int]:
    """Pick the width of short rows and the tile width of all others that cost least."""
    lengths, n_rows = np.unique(counts[counts > 0], return_counts=True)

    def cost(short_width: int, width: int) -> float:
        tiles = np.where(lengths <= short_width, 1, -(-lengths // width))
        widths = np.where(lengths <= short_width, short_width, width)
        return float(np.sum(n_rows * tiles * (widths + _TILE_OVERHEAD)))

    return min(((short, wide) for wide in _WIDTHS for short in _WIDTHS if short <= wide), key=lambda w: cost(*w))


def _deal(rows: _Rows, chosen: np.ndarray, width: int, tiles_per_chunk: int, n_rows: int, dtype: Any) -> Tiles:
    """Deal rows to chunks like cards, longest first and back and forth, so that all chunks get alike loads."""
    counts = rows.counts[chosen]
    n_tiles = -(-counts // width)
    one_tile_per_row = bool((n_tiles == 1).all())
    n_chunks = -(-int(n_tiles.sum()) // tiles_per_chunk)

    turn, seat = np.divmod(np.arange(len(chosen)), n_chunks)
    chunk = np.where(turn % 2 == 0, seat, n_chunks - 1 - seat)
    by_length = np.argsort(-n_tiles, kind="stable")
    order = by_length[np.argsort(chunk, kind="stable")]  # rows in the order of chunks, longest first in each
    chunk = np.sort(chunk, kind="stable")

    slot = _rank_within(chunk)
    first_tile = _running_sum_within(chunk, n_tiles[order])
    rows_per_chunk = int(slot.max()) + 1
    tiles_per_chunk = int((first_tile + n_tiles[order]).max())

    row = np.full((n_chunks, rows_per_chunk), n_rows, np.int32)
    count = np.zeros((n_chunks, rows_per_chunk), np.int32)
    row[chunk, slot], count[chunk, slot] = chosen[order], counts[order]

    # Unused tiles go to the last row: segments stay ascending, and their entries weigh nothing.
    segment = np.full((n_chunks, tiles_per_chunk), rows_per_chunk - 1, np.int32)
    tile_of_row = np.repeat(chunk * tiles_per_chunk + first_tile, n_tiles[order]) + _arange_each(n_tiles[order])
    segment.reshape(-1)[tile_of_row] = np.repeat(slot, n_tiles[order])

    start = (chunk * tiles_per_chunk + first_tile) * width
    column, value = _place(rows, chosen[order], start, n_chunks * tiles_per_chunk * width)
    shape = (n_chunks, tiles_per_chunk, width)
    return Tiles(
        jnp.asarray(column.reshape(shape)),
        jnp.asarray(value.reshape(shape), dtype),
        jnp.asarray(segment),
        jnp.asarray(row),
        jnp.asarray(count),
        one_tile_per_row,
    )


def _cut(rows: _Rows, chosen: np.ndarray, width: int, dtype: Any) -> LongRows:
    counts = rows.counts[chosen]
    n_steps = -(-counts // width)
    ends = np.cumsum(n_steps)
    column, value = _place(rows, chosen, (ends - n_steps) * width, int(ends[-1]) * width)
    is_last = np.zeros(int(ends[-1]), bool)
    is_last[ends - 1] = True
    return LongRows(
        jnp.asarray(column.reshape(-1, width)),
        jnp.asarray(value.reshape(-1, width), dtype),
        jnp.asarray(np.repeat(chosen, n_steps).astype(np.int32)),
        jnp.asarray(np.repeat(counts, n_steps).astype(np.int32)),
        jnp.asarray(is_last),
    )


def _place(rows: _Rows, chosen: np.ndarray, start: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Copy the entries of rows to flat cells, each row's beginning at its `start`; other cells are padding."""
    counts = rows.counts[chosen]
    offset = _arange_each(counts)
    cell = np.repeat(start, counts) + offset
    entry = np.repeat(rows.starts[chosen], counts) + offset
    column, value = np.zeros(size, np.int32), np.zeros(size, rows.value.dtype)
    column[cell], value[cell] = rows.column[entry], rows.value[entry]
    return column, value


def _positions(groups: list[Tiles], long: LongRows | None, n_rows: int) -> Int[Array, " rows"]:
    solved = [np.asarray(group.row).reshape(-1) for group in groups]
    if long is not None:
        # A step that does not end its row solves nothing.
        solved.append(np.where(np.asarray(long.is_last), np.asarray(long.row), n_rows))
    row = np.concatenate(solved) if solved else np.zeros(0, np.int64)
    position = np.full(n_rows + 1, len(row), np.int32)
    position[row] = np.arange(len(row))
    return jnp.asarray(position[:n_rows])


def _arange_each(counts: np.ndarray) -> np.ndarray:
    """Concatenate 0..n-1 for each n in `counts`."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)


def _rank_within(group: np.ndarray) -> np.ndarray:
    """Return each element's place in its group; `group` is ascending."""
    return np.arange(len(group)) - np.searchsorted(group, group)


def _running_sum_within(group: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return the sum of the amounts before each element in its group; `group` is ascending."""
    before = np.cumsum(amount) - amount
    return before - before[np.searchsorted(group, group)]
