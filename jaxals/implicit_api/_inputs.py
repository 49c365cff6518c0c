"""From implicit's arguments to what jaxals works on: matrices, tiles, tables, devices. Host side."""

import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxals.als.layout.tiles import RowTiles, Tiles, build_tiles
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api._errors import MissingRowError, ParameterWarning

# Confidence 0 with target 0: below zero, so that it is a dislike, and too small to count beside 1 in any precision.
_NO_CONFIDENCE = np.float32(-1e-30)
# Up to this many rows, of so many cells in all, are one tile each: few shapes, so few compilations.
_ROWS_AS_TILES, _CELLS_AS_TILES = 128, 65_536


def as_csr(matrix: Any) -> Any:
    """Convert to CSR, with implicit's warning."""
    if isinstance(matrix, scipy.sparse.csr_matrix):
        return matrix
    start = time.time()
    converted = matrix.tocsr()
    warnings.warn(
        f"Method expects CSR input, and was passed {type(matrix).__name__} instead. "
        f"Converting to CSR took {time.time() - start} seconds",
        ParameterWarning,
        stacklevel=3,
    )
    return converted


def confidences_of(matrix: Any, alpha: float) -> Any:
    """Multiply a CSR matrix with alpha, in float32 whatever the model's dtype, as implicit does."""
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()
    matrix = matrix.astype(np.float32, copy=False)
    return matrix if alpha == 1.0 else matrix * np.float32(alpha)


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
    return RowTiles((tiles,), None, position, count_of_row[0], height, n_columns, None)


def restrict(matrix: scipy.sparse.csr_matrix, columns: np.ndarray) -> scipy.sparse.csr_matrix:
    """Keep the chosen columns of a matrix, ascending ids, under their positions; explicit zeros go."""
    coo = matrix.tocoo()
    position = np.minimum(np.searchsorted(columns, coo.col), len(columns) - 1)
    keep = (columns[position] == coo.col) & (coo.data != 0)
    shape = (matrix.shape[0], len(columns))
    return scipy.sparse.csr_matrix((coo.data[keep], (coo.row[keep], position[keep])), shape=shape)


def chosen_rows(table: np.ndarray, ids: np.ndarray, filtered: Any, caller: str) -> np.ndarray:
    """Return the rows of a table that a caller's list of ids names, with implicit's errors."""
    noun = "user" if caller == "similar_users" else "item"
    if filtered is not None and len(filtered):
        raise DataError(f"Can't set both {noun}s and filter_{noun}s in {caller} call")
    rows = table[ids]
    if ids.min() < 0:
        raise MissingRowError(f"Some {noun}ids in the {noun}s parameter are not in the model")
    return rows


def with_rows(table: np.ndarray, ids: Any, rows: np.ndarray) -> np.ndarray:
    """Return a copy of a table with new rows in place, grown by zeros where ids lie past its end."""
    table = np.pad(table, ((0, max(int(max(ids)) + 1 - len(table), 0)), (0, 0)))
    table[ids] = rows
    return table


def count_of(ids: Any) -> int:
    """Return how many rows one id or a sequence of them asks for."""
    return 1 if np.isscalar(ids) else len(ids)


def norms_of(vectors: np.ndarray) -> Any:
    """Return lengths, with 1e-10 instead of zero to divide by."""
    norms = np.linalg.norm(vectors, axis=-1)
    return np.where(norms == 0, norms.dtype.type(1e-10), norms)


def generator_of(random_state: Any) -> np.random.Generator:
    """Return the generator that implicit draws initial factors from."""
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    return np.random.default_rng(random_state)


def device_of(use_gpu: bool | None) -> jax.Device | None:
    """Return the device that a model asks for, None for JAX's choice.

    Raises:
        ConfigurationError: There is none.
    """
    if use_gpu is None:
        return None
    try:
        return jax.local_devices(backend="gpu" if use_gpu else "cpu")[0]
    except RuntimeError as error:
        raise ConfigurationError(f"`use_gpu={use_gpu}` asks for a device that JAX does not have: {error}.") from None


def power_of_two(number: int) -> int:
    """Round up to a power of two, 1 at least."""
    return 1 << max(number - 1, 0).bit_length()


def _values(confidences: Any) -> np.ndarray:
    return np.where(confidences.data == 0, _NO_CONFIDENCE, confidences.data)
