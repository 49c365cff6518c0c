"""The layout of the work: interactions cut into fixed-shape tiles, one orientation at a time. Host side.

A naive segment-sum of outer products needs entries · factors² memory. Here each row's entries are cut into tiles of
one width, padded with value 0; tiles are dealt into chunks of one shape, and the solvers walk over chunks, so that
memory is bounded by a chunk, whatever the data. Rows go by their length:

- short rows fit in one tile;
- middle rows have several tiles in one chunk, summed by segment; wide rows likewise, with wider tiles;
- long rows, longer than a chunk should hold, are accumulated step by step.

Over a mesh, chunks are shared out evenly. Measurements behind the choices: `docs/why/layout.md`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, Num

from jaxals._base.arguments import checked_dtype, require_flag, require_kind, require_mesh
from jaxals._base.checks import require_integer, require_side
from jaxals._base.devices import require_one_process
from jaxals._base.pytree import pytree, static
from jaxals.als.layout.machine import Machine, Platform, machine_of
from jaxals.als.layout.row_classes import ONE_FIT, choose_classes
from jaxals.data.catalog import Side
from jaxals.data.checks import require_held
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import DataError


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
    value: Num[Array, "chunks tiles width"]
    segment: Int[Array, "chunks tiles"]
    row: Int[Array, "chunks rows"]
    count: Int[Array, "chunks rows"]
    one_tile_per_row: bool = static()


@pytree
class LongRows:
    """Rows of many entries, cut into steps that are accumulated one after another; lanes are independent.

    Attributes:
        column: Column index of each entry, 0 in padding.
        value: Value of each entry, 0 in padding.
        row: Index of the row a step belongs to, `n_rows` where unused; the steps of a row follow each other.
        count: Entries of that row, 0 where unused.
        is_last: Whether a step is the last of its row.
    """

    column: Int[Array, "lanes steps width"]
    value: Num[Array, "lanes steps width"]
    row: Int[Array, "lanes steps"]
    count: Int[Array, "lanes steps"]
    is_last: Bool[Array, "lanes steps"]


@pytree
class RowTiles:
    """All entries of one orientation, ready for a half step.

    Attributes:
        groups: Short, middle and wide rows, those that there are.
        long: Long rows, or None.
        position: Where each row's solution lies when each device lays those of its part of `groups` and then of `long`
            end to end, and the devices follow each other; one past the end for rows without entries.
        count: Entries of each row.
        n_rows: Rows of the table that is solved for, static.
        n_columns: Rows of the other table, static.
        mesh: Devices that the first axis of `groups` and `long` is sharded over; None for one device, static.
        machine: What they were cut for, which half steps go by, static.

    Example:
        >>> import jaxals
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1], shape=(3, 2))
        >>> tiles = jaxals.build_tiles(data, "user", factors=4)
        >>> (tiles.n_rows, tiles.n_columns), tiles.count.tolist(), [group.row.tolist() for group in tiles.groups]
        ((3, 2), [2, 1, 0], [[[0, 1]]])
    """

    groups: tuple[Tiles, ...]
    long: LongRows | None
    position: Int[Array, " rows"]
    count: Int[Array, " rows"]
    n_rows: int = static()
    n_columns: int = static()
    mesh: Mesh | None = static()
    machine: Machine = static()


@dataclasses.dataclass(frozen=True)
class _Rows:
    """CSR view of one orientation."""

    starts: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.starts)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where arrays go, and what type their values take."""

    mesh: Mesh | None
    dtype: Any

    @property
    def n_devices(self) -> int:
        return self.mesh.size if self.mesh else 1

    def sharded(self, array: np.ndarray) -> jax.Array:
        return self._put(array, PartitionSpec("rows"))

    def replicated(self, array: np.ndarray) -> jax.Array:
        return self._put(array, PartitionSpec())

    def _put(self, array: np.ndarray, axes: PartitionSpec) -> jax.Array:
        array = array.astype(self.dtype) if np.issubdtype(array.dtype, np.floating) else array
        return jax.device_put(array, NamedSharding(self.mesh, axes) if self.mesh else None)


def build_tiles(
    interactions: Interactions,
    side: Side = "user",
    *,
    factors: int,
    dtype: Any = jnp.float32,
    gram_size: int | None = None,
    chunk_bytes: int | None = None,
    sweeps: int = ONE_FIT,
    mesh: Mesh | None = None,
    is_compact: bool = False,
    platform: Platform | None = None,
) -> RowTiles:
    """Cut the interactions of all users (or items) into tiles.

    Args:
        interactions: What to lay out.
        side: Whose rows to solve for: "user" or "item".
        factors: Number of factors that the chunks are sized for; any number can be solved with them.
        dtype: Type of the values on the device.
        gram_size: Size of the Gram matrices that the solver forms, as its method of this name says; 0 for none, by
            default `factors`. Any layout serves any solver, at another speed; with `Subspace`, it decides which rows
            are solved exactly.
        chunk_bytes: Bound on the Gram matrices that one chunk forms at a time, in bytes; by default 16 MB for a CPU,
            1 GB for a GPU and 512 MB for a TPU.
        sweeps: How many sweeps to be laid out for: the more, the more classes of rows, which save time in each sweep
            but take longer to compile.
        mesh: Devices to share the tiles out over, from `make_mesh`; None for the default device alone.
        is_compact: Whether to keep the values in the smallest type that holds all of them exactly: a byte each where
            they are small counts, or all 1. Nothing can be differentiated by such values.
        platform: What to lay out for, "cpu", "gpu" or "tpu"; by default for the devices that the tiles go to. Any
            layout gives the same rows on any device, to rounding, at another speed.

    Returns:
        Tiles on the mesh, or on the default device.

    Raises:
        ConfigurationError: A setting lies outside its range, or `mesh` has other axes than "rows", or devices of
            other processes.
        DataError: `interactions` are something else, or a value of theirs is 0 or infinite in `dtype`.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> tiles = jaxals.build_tiles(data, "user", factors=4)
        >>> tiles.n_rows, tiles.n_columns, int(tiles.count.sum())
        (50, 30, 400)
    """
    require_interactions("interactions", interactions)
    require_side(side)
    for name, number in (("factors", factors), ("sweeps", sweeps)):
        require_integer(name, number, 1)
    if chunk_bytes is not None:
        require_integer("chunk_bytes", chunk_bytes, 1)
    if gram_size is not None:
        require_integer("gram_size", gram_size, 0)
    dtype = checked_dtype("dtype", dtype, jnp.int32)  # for `number_entries`
    require_held(interactions.value, dtype)
    require_mesh(mesh)
    require_flag("is_compact", is_compact)
    n_rows, n_columns = interactions.shape if side == "user" else interactions.shape[::-1]
    require_one_process(mesh)
    machine = machine_of(platform, mesh)
    value_dtype = _smallest_type(interactions.value, dtype) if is_compact else dtype
    rows, place = _rows_of(interactions, side), _Place(mesh, value_dtype)
    counts = rows.counts
    gram_size = factors if gram_size is None else gram_size
    item_bytes = np.dtype(dtype).itemsize
    chunk_bytes = machine.gram_bytes if chunk_bytes is None else chunk_bytes
    most_tiles = max(chunk_bytes // (gram_size**2 * item_bytes), 1) if gram_size else len(interactions) + 1

    groups, done = [], 0
    for kind in choose_classes(counts, factors, gram_size, item_bytes, most_tiles, machine, sweeps):
        chosen = np.flatnonzero((counts > done) & (counts <= kind.longest))
        groups.append(_deal(rows, chosen, kind.width, kind.tiles_per_chunk, n_rows, place))
        done = kind.longest
    chosen = np.flatnonzero(counts > done)
    long = _cut(rows, chosen, machine.step_entries, n_rows, place) if len(chosen) else None
    position = place.replicated(_positions(groups, long, n_rows, place.n_devices))
    count = place.replicated(counts.astype(np.int32))
    return RowTiles(tuple(groups), long, position, count, n_rows, n_columns, mesh, machine)


def require_tiles(name: str, tiles: Any) -> None:
    """Refuse what is no tiles.

    Raises:
        DataError: It is something else.
    """
    require_kind(name, tiles, RowTiles, "tiles from `build_tiles`", DataError)


def padding(tiles: RowTiles) -> float:
    """Return how many cells the tiles hold per entry: 1 is perfect."""
    values = [group.value for group in tiles.groups] + ([tiles.long.value] if tiles.long else [])
    entries = sum(int(np.count_nonzero(value)) for value in values)
    return sum(value.size for value in values) / max(entries, 1)


def _smallest_type(value: np.ndarray, dtype: np.dtype) -> np.dtype:
    """Return the smallest type that holds all values as they are in `dtype`."""
    held = value.astype(dtype)
    for smaller in (np.uint8, np.int8, np.uint16, np.int16):
        limits = np.iinfo(smaller)
        if limits.min <= held.min() and held.max() <= limits.max and np.array_equal(held.astype(smaller), held):
            return np.dtype(smaller)
    return dtype


def _rows_of(interactions: Interactions, side: Side) -> _Rows:
    if side == "user":
        return _Rows(interactions.row_starts(), interactions.item, interactions.value)
    # Transposing a CSR matrix in SciPy is a counting sort: an order of magnitude faster than sorting keys.
    transposed = interactions.to_scipy().tocsc()
    return _Rows(transposed.indptr.astype(np.int64), transposed.indices, transposed.data)


def _deal(rows: _Rows, chosen: np.ndarray, width: int, tiles_per_chunk: int, n_rows: int, place: _Place) -> Tiles:
    counts = rows.counts[chosen]
    n_tiles = -(-counts // width)
    one_tile_per_row = bool((n_tiles == 1).all())
    n_chunks = -(-int(n_tiles.sum()) // (tiles_per_chunk * place.n_devices)) * place.n_devices
    chunk = _share_out(n_tiles, n_chunks)
    order = np.lexsort((-n_tiles, chunk))  # rows in the order of chunks, longest first in each
    chunk = chunk[order]

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
    column, value = _place(rows, chosen[order], start, n_chunks * tiles_per_chunk * width, place.dtype)
    shape = (n_chunks, tiles_per_chunk, width)
    return Tiles(
        place.sharded(column.reshape(shape)),
        place.sharded(value.reshape(shape)),
        place.sharded(segment),
        place.sharded(row),
        place.sharded(count),
        one_tile_per_row,
    )


def _cut(rows: _Rows, chosen: np.ndarray, width: int, n_rows: int, place: _Place) -> LongRows:
    n_lanes = place.n_devices
    counts = rows.counts[chosen]
    n_steps = -(-counts // width)
    lane = _share_out(n_steps, n_lanes)
    order = np.argsort(lane, kind="stable")
    chosen, counts, n_steps, lane = chosen[order], counts[order], n_steps[order], lane[order]
    first = _running_sum_within(lane, n_steps)
    most = int((first + n_steps).max())

    start = lane * most + first
    step = np.repeat(start, n_steps) + _arange_each(n_steps)
    row, count = np.full(n_lanes * most, n_rows, np.int32), np.zeros(n_lanes * most, np.int32)
    row[step], count[step] = np.repeat(chosen, n_steps), np.repeat(counts, n_steps)
    is_last = np.zeros(n_lanes * most, bool)
    is_last[start + n_steps - 1] = True
    column, value = _place(rows, chosen, start * width, n_lanes * most * width, place.dtype)
    by_lane = lambda array: array.reshape(n_lanes, most, *array.shape[1:])
    steps_of = lambda array: by_lane(array.reshape(-1, width))
    arrays = (steps_of(column), steps_of(value), by_lane(row), by_lane(count), by_lane(is_last))
    return LongRows(*map(place.sharded, arrays))


def _share_out(load: np.ndarray, n_bins: int) -> np.ndarray:
    """Give rows, heaviest first, to the bins with the lightest loads, in rounds of one row a bin."""
    order, bin_of = np.argsort(-load, kind="stable"), np.empty(len(load), np.int64)
    total, done = np.zeros(n_bins, np.int64), 0
    while done < len(load):
        # A bin that is ahead by more than a row waits, as it would if rows were dealt one by one.
        is_open = total <= np.min(total) + load[order[done]]
        bins = np.flatnonzero(is_open)
        bins = bins[np.argsort(total[bins], kind="stable")][: len(load) - done]
        rows = order[done : done + len(bins)]
        bin_of[rows] = bins
        total[bins] += load[rows]
        done += len(bins)
    return bin_of


def _place(rows: _Rows, chosen: np.ndarray, start: np.ndarray, size: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copy the entries of rows to flat cells, each row's beginning at its `start`; other cells are padding."""
    counts = rows.counts[chosen]
    # Half the memory where 32 bits number all entries and cells.
    index_dtype = np.int32 if max(size, len(rows.column)) < 2**31 else np.int64
    offset = _arange_each(counts).astype(index_dtype)
    cell = np.repeat(start.astype(index_dtype), counts)
    cell += offset
    entry = np.repeat(rows.starts[chosen].astype(index_dtype), counts)
    entry += offset
    del offset
    column, value = np.zeros(size, np.int32), np.zeros(size, dtype)
    column[cell], value[cell] = rows.column[entry], rows.value[entry]
    return column, value


def _positions(groups: list[Tiles], long: LongRows | None, n_rows: int, n_devices: int) -> np.ndarray:
    solved = [np.asarray(group.row).reshape(n_devices, -1) for group in groups]
    if long is not None:
        # A step that does not end its row solves nothing.
        solved.append(np.where(np.asarray(long.is_last), np.asarray(long.row), n_rows))
    row = np.concatenate(solved, axis=1).reshape(-1) if solved else np.zeros(0, np.int64)
    position = np.full(n_rows + 1, len(row), np.int32)
    position[row] = np.arange(len(row))
    return position[:n_rows]


def _arange_each(counts: np.ndarray) -> np.ndarray:
    """Concatenate 0..n-1 for each n in `counts`."""
    ends = np.cumsum(counts)
    numbers = np.arange(int(ends[-1]) if len(ends) else 0)
    numbers -= np.repeat(ends - counts, counts)
    return numbers


def _rank_within(group: np.ndarray) -> np.ndarray:
    """Return each element's place in its group; `group` is ascending."""
    return np.arange(len(group)) - np.searchsorted(group, group)


def _running_sum_within(group: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return the sum of the amounts before each element in its group; `group` is ascending."""
    before = np.cumsum(amount) - amount
    return before - before[np.searchsorted(group, group)]
