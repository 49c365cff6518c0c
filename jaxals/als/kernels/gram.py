"""Gram matrices of weighted vectors, and scores, a few tiles at a time. Device side.

Every row's normal equations are made of Σ g y yᵀ and Σ b y over its entries (Hu, Koren and Volinsky 2008, eq. 4).
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals.als.kernels.gather import Table, TablePart

Precision = Literal["highest", "high", "default"]

# Vectors, weighted vectors and matrices that a CPU works on at a time: what its second-level cache holds. How this and
# the next were measured: `docs/why/solvers.md`.
_BLOCK_BYTES = 2**19
# Products of more entries are slower on a CPU: wider tiles are cut.
_MOST_WIDTH = 128
# From this many factors on, leaving out a matrix's upper right quarter pays on a CPU for making it of two products.
_LEAST_HALVED = 128


def weighted_gram(
    vectors: Float[Array, "width factors"],
    gram_weight: Float[Array, " width"],
    target_weight: Float[Array, " width"],
    precision: Precision = "highest",
) -> tuple[Float[Array, "factors factors"], Float[Array, " factors"]]:
    """Return Σ g y yᵀ and Σ b y over one tile."""
    gram = jnp.matmul(vectors.T, gram_weight[:, None] * vectors, precision=precision)
    return gram, jnp.matmul(target_weight, vectors, precision=precision)


def sum_grams(
    table: Table | TablePart,
    column: Int[Array, "tiles width"],
    gram_weight: Float[Array, "tiles width"],
    target_weight: Float[Array, "tiles width"],
    segment: Int[Array, " tiles"],
    n_rows: int,
    precision: Precision = "highest",
    in_cache: bool = True,
    one_tile_per_row: bool = False,
) -> tuple[Float[Array, "rows factors factors"], Float[Array, "rows factors"]]:
    """Return the lower triangle of Σ g y yᵀ, and Σ b y, over the tiles of each row, y being rows of a table.

    In a CPU's cache, a few tiles are read, multiplied and added to their rows at a time.

    Args:
        table: What vectors y are read from.
        column: Which one each entry reads, 0 in padding.
        gram_weight: g, zero in padding.
        target_weight: b, zero in padding.
        segment: Which row a tile belongs to, ascending.
        n_rows: How many rows there are.
        precision: Of products with the vectors.
        in_cache: Whether to go a few tiles at a time, which a CPU's cache holds; all at once otherwise.
        one_tile_per_row: Whether tile i is all of row i.

    Returns:
        One matrix and one vector a row, zero for rows without tiles; what is above a matrix's diagonal means nothing.
    """
    factors, dtype = table.factors, gram_weight.dtype
    cells, n_blocks, size, half = (column, gram_weight, target_weight), 1, len(segment), 0
    if not in_cache and one_tile_per_row:
        (_, grams), sums = jax.vmap(functools.partial(_lower_gram, half=0, precision=precision))(
            table[column], *cells[1:]
        )
        return grams, sums
    if in_cache:
        width = gram_weight.shape[1]
        if width % _MOST_WIDTH == 0:
            segment, width = jnp.repeat(segment, width // _MOST_WIDTH), _MOST_WIDTH
            cells = jax.tree.map(lambda array: array.reshape(-1, width), cells)
        of_a_tile = (2 * width + factors) * factors * dtype.itemsize
        n_blocks, size = _blocks(len(segment), max(_BLOCK_BYTES // of_a_tile, 1))
        half = factors // 2 if factors >= _LEAST_HALVED else 0

    def add(sums: tuple[Array, Array], block: tuple) -> tuple[tuple[Array, Array], None]:
        column, *weights, segment = block
        multiply = functools.partial(_lower_gram, half=half, precision=precision)
        (corner, bottom), targets = jax.vmap(multiply)(table[column], *weights)
        add_to = lambda place, new: place.add(new, indices_are_sorted=True)
        grams = add_to(sums[0].at[segment, half:], bottom)
        if half:
            grams = add_to(grams.at[segment, :half, :half], corner)
        return (grams, add_to(sums[1].at[segment], targets)), None

    zeros = jnp.zeros((n_rows, factors, factors), dtype), jnp.zeros((n_rows, factors), dtype)
    # Tiles that fill the last block up weigh nothing, and belong to the last row.
    cut = functools.partial(_cut, n_blocks=n_blocks, size=size)
    return jax.lax.scan(add, zeros, (*map(cut, cells), cut(segment, mode="edge")))[0]


def read_scores(
    table: Table | TablePart,
    column: Int[Array, "tiles width"],
    rows: Float[Array, "tiles factors"],
    precision: Precision = "highest",
    in_cache: bool = True,
) -> Float[Array, "tiles width"]:
    """Return y·x for every cell, y being rows of a table and x one row for each tile.

    For one pass over entries; where there are several, reading them once and keeping them is faster.

    Args:
        table: What vectors y are read from.
        column: Which one each entry reads, 0 in padding.
        rows: x, for each tile.
        precision: Of products with the vectors.
        in_cache: Whether to go a few tiles at a time, which a CPU's cache holds; all at once otherwise.

    Returns:
        One number for each cell.
    """
    n_blocks, size = 1, len(column)
    if in_cache:
        n_blocks, size = _blocks(size, max(_BLOCK_BYTES // (column.shape[1] * table.factors * rows.dtype.itemsize), 1))
    score = lambda block: jnp.einsum("twf,tf->tw", table[block[0]], block[1], precision=precision)
    scores = jax.lax.map(score, (_cut(column, n_blocks, size), _cut(rows, n_blocks, size)))
    return scores.reshape(-1, column.shape[1])[: len(column)]


def _lower_gram(
    vectors: Float[Array, "width factors"],
    gram_weight: Float[Array, " width"],
    target_weight: Float[Array, " width"],
    half: int,
    precision: Precision,
) -> tuple[tuple[Float[Array, "half half"], Float[Array, "rest factors"]], Float[Array, " factors"]]:
    """Return Σ g y yᵀ over one tile, without its upper right part, and Σ b y."""
    first, rest = vectors[:, :half], vectors[:, half:]
    multiply = lambda left, right: jnp.matmul((gram_weight[:, None] * left).T, right, precision=precision)
    target = jnp.matmul(target_weight, vectors, precision=precision)
    return (multiply(first, first), multiply(rest, vectors)), target


def _cut(array: Array, n_blocks: int, size: int, **how: Any) -> Array:
    """Cut tiles into blocks; the last one is filled up with zeros, or as `jnp.pad` is told."""
    rest = array.shape[1:]
    array = jnp.pad(array, [(0, n_blocks * size - len(array)), *[(0, 0)] * len(rest)], **how)
    return array.reshape(n_blocks, size, *rest)


def _blocks(n_tiles: int, most: int) -> tuple[int, int]:
    """Return how many blocks of which size, at least half the most, to cut tiles into: what fills up least."""
    most = min(most, n_tiles)
    size = min(range(most, (most - 1) // 2, -1), key=lambda size: -n_tiles % size)
    return -(-n_tiles // size), size
