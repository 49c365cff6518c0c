"""Interactions laid out for gradients: batches of users, their entries in tiles of one shape. Host side.

A gradient adds up one vector an entry, no matrix, so the layout is simpler than that of `als.layout.tiles`: rows of any
length are cut into tiles of one width, and the tiles' sums are added to their rows. Measurements:
`docs/why/gradient.md`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.devices import require_one_process
from jaxals._base.pytree import pytree, static
from jaxals.als.layout.machine import CPU, Machine, Platform, machine_of
from jaxals.data.checks import require_held
from jaxals.data.interactions import Interactions

_WIDTHS = (4, 8, 16, 32, 64)
# Adding a tile's sum to its row takes about as long as reading so many entries (0.5 µs against 20 ns).
_TILE_OVERHEAD = 24


@pytree
class EntryTiles:
    """Entries of one orientation, sorted by row and cut into tiles; a row may go on in the next chunk.

    Attributes:
        column: Column index of each entry, 0 in padding.
        value: Value of each entry, 0 in padding.
        row: Which row a tile belongs to, ascending.
        mesh: Devices that chunks are sharded over; None for one device, static.
        machine: What the tiles were cut for, static.
    """

    column: Int[Array, "... chunks tiles width"]
    value: Float[Array, "... chunks tiles width"]
    row: Int[Array, "... chunks tiles"]
    mesh: Mesh | None = static()
    machine: Machine = static(default=CPU)


@pytree
class UserBatch:
    """Some users with all of their entries, both ways round; or many such batches, stacked.

    Attributes:
        user: Indices of the users, `n_users` where unused; a user's place here is its slot.
        count: Entries of each of them, 0 where unused.
        by_user: Entries with slots as rows and items as columns.
        by_item: Entries with items as rows and slots as columns.
    """

    user: Int[Array, "... slots"]
    count: Int[Array, "... slots"]
    by_user: EntryTiles
    by_item: EntryTiles


def build_batches(
    interactions: Interactions,
    size: int | None = None,
    *,
    factors: int,
    dtype: Any = jnp.float32,
    mesh: Mesh | None = None,
    platform: Platform | None = None,
) -> UserBatch:
    """Deal the users into batches with alike numbers of entries.

    Args:
        interactions: What to lay out.
        size: Most users a batch; None for one batch of all users, whose slots are their indices.
        factors: Number of factors that the chunks are sized for.
        dtype: Type of the values on the device.
        mesh: Devices to share each batch's chunks out over, from `make_mesh`; None for the default device alone.
        platform: What to lay out for, as in `build_tiles`.

    Returns:
        Stacked batches: all arrays have a leading axis of one per batch. Unless `size` is None, users without entries
        are in none.

    Raises:
        ConfigurationError: `mesh` has devices of other processes.
        DataError: A value is 0 or infinite in `dtype`.

    Example:
        >>> import jaxals
        >>> from jaxals.gradient.user_batches import build_batches
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1, 2, 2], [0, 1, 1, 0, 2])
        >>> batches = build_batches(data, size=2, factors=4)
        >>> batches.user.tolist(), batches.count.tolist()
        ([[0, 3], [1, 2]], [[2, 0], [1, 2]])
    """
    require_one_process(mesh)
    require_held(interactions.value, dtype)
    counts = interactions.counts()
    batch, slot, n_batches = _whole(len(counts)) if size is None else _dealt(counts, size)
    n_slots = int(slot.max()) + 1
    user = np.full((n_batches, n_slots), len(counts), np.int32)
    count = np.zeros((n_batches, n_slots), np.int32)
    chosen = np.flatnonzero(slot >= 0)
    user[batch[chosen], slot[chosen]], count[batch[chosen], slot[chosen]] = chosen, counts[chosen]

    entry_batch, entry_slot = batch[interactions.user], slot[interactions.user]
    n_devices = mesh.size if mesh else 1
    machine = machine_of(platform, mesh)
    per_chunk = max(machine.vector_bytes // (factors * np.dtype(dtype).itemsize), max(_WIDTHS))

    def tiled(row: np.ndarray, column: np.ndarray) -> EntryTiles:
        arrays = _tiled(entry_batch, row, column, interactions.value.astype(dtype), n_batches, per_chunk, n_devices)
        chunks = NamedSharding(mesh, PartitionSpec(None, "rows")) if mesh else None
        columns, values, rows = (jax.device_put(array, chunks) for array in arrays)
        return EntryTiles(columns, values, rows, mesh, machine)

    everywhere = NamedSharding(mesh, PartitionSpec()) if mesh else None
    by_user, by_item = tiled(entry_slot, interactions.item), tiled(interactions.item, entry_slot)
    return UserBatch(jax.device_put(user, everywhere), jax.device_put(count, everywhere), by_user, by_item)


def _whole(n_users: int) -> tuple[np.ndarray, np.ndarray, int]:
    return np.zeros(n_users, np.int64), np.arange(n_users), 1


def _dealt(counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Deal users like cards, those with most entries first and back and forth; slots ascend with the users' indices."""
    active = np.flatnonzero(counts)
    n_batches = -(-len(active) // size)
    turn, seat = np.divmod(np.arange(len(active)), n_batches)
    batch, slot = np.full(len(counts), -1), np.full(len(counts), -1)
    batch[active[np.argsort(-counts[active], kind="stable")]] = np.where(turn % 2 == 0, seat, n_batches - 1 - seat)
    order = active[np.argsort(batch[active], kind="stable")]
    slot[order] = np.arange(len(order)) - np.searchsorted(batch[order], batch[order])
    return batch, slot, n_batches


def _tiled(
    batch: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    n_batches: int,
    per_chunk: int,
    n_devices: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the entries of each batch and row into tiles; every batch gets as many chunks as the longest needs."""
    n_rows = int(row.max()) + 1
    key = batch * n_rows + row
    order = np.argsort(key, kind="stable")
    starts = np.searchsorted(key[order], np.arange(n_batches * n_rows + 1))
    counts = np.diff(starts)
    width = min(_WIDTHS, key=lambda width: int(np.sum(-(-counts // width))) * (width + _TILE_OVERHEAD))
    n_tiles = -(-counts // width)  # of each batch and row
    longest = int(n_tiles.reshape(n_batches, n_rows).sum(axis=1).max())
    tiles = min(max(per_chunk // width, 1), -(-longest // n_devices))
    n_chunks = -(-longest // (tiles * n_devices)) * n_devices
    per_batch = n_chunks * tiles

    # The first tile of each batch and row, counted over all batches with their padding.
    first = np.cumsum(n_tiles) - n_tiles
    first += np.repeat(per_batch * np.arange(n_batches) - first[::n_rows], n_rows)
    rank = np.arange(len(order)) - starts[key[order]]
    cell = first[key[order]] * width + rank
    columns, values = (np.zeros(n_batches * per_batch * width, kind) for kind in (np.int32, value.dtype))
    columns[cell], values[cell] = column[order], value[order]
    # Unused tiles go to the last row: rows stay ascending, and their entries weigh nothing.
    rows = np.full(n_batches * per_batch, n_rows - 1, np.int32)
    rows[cell // width] = row[order]
    shape = (n_batches, n_chunks, tiles)
    return columns.reshape(*shape, width), values.reshape(*shape, width), rows.reshape(shape)
