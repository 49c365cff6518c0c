"""A start near the answer: the leading singular vectors of what the entries aim at. Device side.

The matrix P has the target p = b / c where there is an entry, and 0 elsewhere. Its singular vectors are found by
subspace iteration from random vectors (Halko, Martinsson and Tropp 2011, algorithm 4.4), and each is scaled by the root
of its singular value, so that scores begin near targets. Products with P and its transpose are passes over the tiles
that form no matrices. Measurements: `docs/why/start.md`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from jaxals.als.kernels.factorization import eigendecompose
from jaxals.als.kernels.gather import Table, pack
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.stages import Arithmetic, arrange, combine_part
from jaxals.als.sweeps import initial_factors
from jaxals.objective.factors import Factors, gramian
from jaxals.objective.objective import Objective

# A start needs few digits: half the bytes are gathered, with the range of float32.
_ROUGHLY = Arithmetic("bfloat16")
# Entries that weigh this many times as much as other pairs outweigh these (`docs/why/start.md`).
_OUTWEIGHED = 4000

Start = Literal["auto", "spectral", "random"]
Multiply = Callable[[RowTiles, Float[Array, "columns factors"], Objective, Arithmetic], Float[Array, "rows factors"]]


@functools.partial(jax.jit, static_argnames="arithmetic")
def multiply(
    tiles: RowTiles, other: Float[Array, "columns factors"], objective: Objective, arithmetic: Arithmetic
) -> Float[Array, "rows factors"]:
    """Multiply the matrix of targets and a table, as one program on all devices of the tiles.

    Args:
        tiles: The entries, with the matrix' rows as rows.
        other: What to multiply with.
        objective: Whose targets to take.
        arithmetic: How to round.

    Returns:
        One row for each of the tiles.
    """
    combine = functools.partial(combine_part, precision=arithmetic.precision)

    def on_each_device(entries: tuple, table: Table, objective: Objective) -> Float[Array, "rows factors"]:
        groups, long, position = entries
        part = combine(groups, long, table, objective)
        return arrange([part if tiles.mesh is None else jax.lax.all_gather(part, "rows", tiled=True)], position)[0]

    if tiles.mesh is not None:
        parts, whole = PartitionSpec("rows"), PartitionSpec()
        specs = ((parts, parts, whole), whole, whole)
        on_each_device = jax.shard_map(
            on_each_device, mesh=tiles.mesh, in_specs=specs, out_specs=whole, check_vma=False
        )
    return on_each_device(
        (tiles.groups, tiles.long, tiles.position),
        pack(other, arithmetic.table_dtype, tiles.machine.in_cache),
        objective,
    )


def spectral_factors(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    objective: Objective,
    key: Array,
    factors: int,
    scale: float = 0.1,
    dtype: Any = jnp.float32,
    arithmetic: Arithmetic = _ROUGHLY,
    multiply: Multiply = multiply,
) -> Factors:
    """Return both tables scaled so that their product is near the best approximation to the targets of its rank.

    Args:
        user_tiles: Tiles with users as rows.
        item_tiles: Tiles with items as rows.
        objective: Whose targets to take; neither weights nor ridge matter.
        key: Of the vectors that the iteration begins with. What the targets leave undetermined, as where there are
            more factors than items, is drawn by `initial_factors` from the same key.
        factors: Length of the vectors.
        scale: As in `initial_factors`.
        dtype: Of both tables, float32 or float64.
        arithmetic: How products round: by default roughly.
        multiply: What makes them.

    Returns:
        Both tables, [users, factors] and [items, factors].

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.als.spectral import spectral_factors
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> tiles = [jaxals.build_tiles(data, side, factors=4) for side in ("user", "item")]
        >>> objective = jaxals.Objective.ials(0.1, 0.01)
        >>> near = spectral_factors(*tiles, objective, jax.random.key(0), factors=4)
        >>> drawn = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> bool(objective.loss(near, data) < 0.9 * objective.loss(drawn, data))
        True
    """
    signs = _random_signs(key, user_tiles.n_rows, factors, dtype)
    item = multiply(item_tiles, signs, objective, arithmetic)
    user = _orthonormal(multiply(user_tiles, _orthonormal(item), objective, arithmetic))
    item = multiply(item_tiles, user, objective, arithmetic)
    found, is_found = _scaled(user, item)
    if not isinstance(is_found, jax.core.Tracer) and np.asarray(is_found).all():
        return found
    return _filled(found, is_found, key, scale)


@jax.jit
def is_random_better(objective: Objective, value: Float[Array, " entries"]) -> Bool[Array, ""]:
    """Tell whether entries outweigh all other pairs so much that random vectors are the better start.

    That is so with raw play counts and a large α: rows are then fitted to their own entries alone. Random vectors are
    nearly orthogonal, and so fit a row's entries one by one, where singular vectors fit what rows have in common.

    Args:
        objective: Whose weights to take.
        value: Of all entries, in the type of the tables.
    """
    weight, _ = objective.cells(value)
    return jnp.mean(weight) > _OUTWEIGHED * objective.unobserved_weight


@functools.partial(jax.jit, static_argnames=("n_rows", "factors", "dtype"))
def _random_signs(key: Array, n_rows: int, factors: int, dtype: Any) -> Float[Array, "rows factors"]:
    """Return a table of 1 and -1, which spans as much as normal numbers and takes one random bit a number."""
    words = jax.random.bits(key, (n_rows, -(-factors // 32)), jnp.uint32)
    bits = words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None] & 1
    return 2 * bits.reshape(n_rows, -1)[:, :factors].astype(dtype) - 1


@jax.jit
def _orthonormal(table: Float[Array, "rows factors"]) -> Float[Array, "rows factors"]:
    """Return columns that span the same, orthonormal but for rounding; zeros where they span less."""
    table = table / _positive(jnp.max(jnp.abs(table)))
    size, basis, is_found = _directions(table)
    turned = jnp.matmul(table, basis, precision="highest")
    return jnp.where(is_found[None], turned / size[None], jnp.zeros_like(turned))


@jax.jit
def _scaled(
    user: Float[Array, "users factors"], item: Float[Array, "items factors"]
) -> tuple[Factors, Bool[Array, " factors"]]:
    """Turn orthonormal users, and the items Pᵀ U, to the singular vectors, and scale both alike; tell which are any."""
    size, basis, is_found = _directions(item)
    root = jnp.sqrt(size)[None]
    turn = lambda table: jnp.matmul(table, basis, precision="highest")
    return Factors(turn(user) * root, turn(item) / root), is_found


@functools.partial(jax.jit, static_argnames="scale")
def _filled(found: Factors, is_found: Bool[Array, " factors"], key: Array, scale: float) -> Factors:
    """Draw what was not found."""

    def fill() -> Factors:
        drawn = initial_factors(key, len(found.user), len(found.item), len(is_found), scale, found.user.dtype)
        return jax.tree.map(lambda table, random: jnp.where(is_found[None], table, random), found, drawn)

    return jax.lax.cond(jnp.all(is_found), lambda: found, fill)


def _directions(
    table: Float[Array, "rows factors"],
) -> tuple[Float[Array, " factors"], Float[Array, "factors factors"], Bool[Array, " factors"]]:
    """Return singular values, right singular vectors, and which of them rounding leaves anything of."""
    square, basis = eigendecompose(gramian(table))
    is_found = square > 10 * jnp.finfo(table.dtype).eps * jnp.max(square)
    return jnp.sqrt(jnp.where(is_found, square, jnp.ones_like(square))), basis, is_found


def _positive(size: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(size > 0, size, jnp.ones_like(size))
