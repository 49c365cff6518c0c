"""From matrices and tables of NumPy to what jaxals works on. Host side."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxals.als.layout.machine import machine_of
from jaxals.als.layout.tiles import RowTiles, Tiles, build_tiles
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.recommend.sizes import power_of_two

# Confidence 0 with target 0: below zero, so that it is a dislike, and too small to count beside 1 in any precision.
_NO_CONFIDENCE = np.float32(-1e-30)
# Up to this many rows, of so many cells in all, are one tile each: few shapes, so few compilations.
_ROWS_AS_TILES, _CELLS_AS_TILES = 128, 65_536


def interactions_of(confidences: Any, n_columns: int) -> Interactions:
    """Read confidences as interactions with `n_columns` items, of an objective whose alpha is 1."""
    n_rows = confidences.shape[0]
    row = np.repeat(np.arange(n_rows, dtype=np.int32), np.diff(confidences.indptr))
    column, value = confidences.indices.astype(np.int32), _values(confidences)
    # Not `from_scipy`: it would merge entries that a matrix holds twice, and implicit counts each.
    return Interactions(row, column, value, Catalog(range(n_rows), range(n_columns)))


def tiles_of(confidences: Any, n_columns: int, factors: int, dtype: Any) -> RowTiles:
    """Lay out rows to be solved once against a table of `n_columns` rows; there may be more tiled rows than given."""
    count = np.diff(confidences.indptr)
    height, width = power_of_two(len(count)), power_of_two(int(count.max(initial=8)))
    if height > _ROWS_AS_TILES or height * width > _CELLS_AS_TILES:
        return build_tiles(interactions_of(confidences, n_columns), "user", factors=factors, dtype=dtype)
    count = np.pad(count, (0, height - len(count))).astype(np.int32)
    is_entry = np.arange(width) < count[:, None]
    cells = np.zeros((height, width), np.int32), np.zeros((height, width), dtype)
    cells[0][is_entry], cells[1][is_entry] = confidences.indices, _values(confidences)
    each = np.arange(height, dtype=np.int32)
    column, value, row, count_of_row = (jnp.asarray(a[None]) for a in (*cells, each, count))
    tiles = Tiles(column, value, row, row, count_of_row, one_tile_per_row=True)
    position = jnp.asarray(np.where(count > 0, each, height).astype(np.int32))
    return RowTiles((tiles,), None, position, count_of_row[0], height, n_columns, None, machine_of(None))


def table_of(name: str, table: Any) -> np.ndarray:
    """Read factors that a program may have set.

    Raises:
        DataError: They are no table of floating-point numbers.
    """
    try:
        array = np.asarray(table)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if array.ndim != 2 or array.dtype not in (np.float32, np.float64):
        shown = type(table).__name__ if array.dtype == object else f"{array.dtype} of shape {array.shape}"
        raise DataError(f"`{name}` must be an array of rows x factors in float32 or float64; got {shown}.")
    return array


def with_rows(table: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a copy of a table with new rows in place, grown by zeros where ids lie past its end."""
    table = np.pad(table, ((0, max(int(ids.max(initial=-1)) + 1 - len(table), 0)), (0, 0)))
    table[ids] = rows
    return table


def norms_of(vectors: np.ndarray) -> Any:
    """Return lengths, with 1e-10 instead of zero to divide by."""
    norms = np.linalg.norm(vectors, axis=-1)
    return np.where(norms == 0, norms.dtype.type(1e-10), norms)


def _values(confidences: Any) -> np.ndarray:
    # Below normal numbers devices see 0, which is padding; beside 1 such a confidence is none.
    return np.where(np.abs(confidences.data) < np.finfo(np.float32).tiny, _NO_CONFIDENCE, confidences.data)
