"""Alternating least squares: half steps and sweeps, as the papers write them. Device side."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._pytree import pytree
from jaxals.errors import ConfigurationError, DataError
from jaxals.objective import Factors, Objective, gramian
from jaxals.solvers import NormalEquations, Solution, Solver, solve_positive, weighted_gram
from jaxals.tiles import LongRows, RowTiles, Tiles


@pytree
class StepInfo:
    """What a person may want to know about a half step; it never feeds back.

    Attributes:
        non_finite_rows: How many rows came out with a NaN or infinite factor: their systems are singular.
        unconverged_rows: How many rows have not reached the tolerance that the solver was given.
        loss: The loss after the step where the step had to know it, else None.
    """

    non_finite_rows: Int[Array, ""]
    unconverged_rows: Int[Array, ""]
    loss: Float[Array, ""] | None = None


@jax.jit
def half_step(
    tiles: RowTiles,
    other: Float[Array, "columns factors"],
    objective: Objective,
    solver: Solver,
    start: Float[Array, "rows factors"] | None = None,
) -> tuple[Float[Array, "rows factors"], StepInfo]:
    """Solve every row's regularised least squares with the other side held fixed.

    Each row r gets x_r = (w0 YᵀY + Σ g_rc y_c y_cᵀ + λ_r I)⁻¹ Σ b_rc y_c (Hu, Koren and Volinsky 2008, eq. 4, with the
    weights of `objective`). Rows without entries come out zero.

    Args:
        tiles: The entries of the side that is solved for.
        other: The other side's table Y, float32 or float64.
        objective: Confidence, w0 and ridge.
        solver: How to solve; `Cholesky()` is exact.
        start: Where an iterative solver begins; zeros by default.

    Returns:
        The rows, and what there is to say about them.

    Raises:
        DataError: `other` does not have one row per column of the tiles.
        ConfigurationError: The solver cannot be trusted on the tiles' mesh.
    """
    if other.shape[0] != tiles.n_columns:
        turned = " The sides look swapped." if other.shape[0] == tiles.n_rows else ""
        raise DataError(f"The other table has {other.shape[0]} rows, but the tiles {tiles.n_columns} columns.{turned}")
    if tiles.mesh is not None and tiles.mesh.devices.flat[0].platform == "cpu" and solver.forms_grams:
        raise ConfigurationError(
            f"{solver} hangs on a mesh of CPU devices (see `docs/layout.md`): take `ConjugateGradient()` or one device."
        )
    if start is None:
        start = jnp.zeros((tiles.n_rows, other.shape[1]), other.dtype)
    solve = functools.partial(_solve_part, n_columns=tiles.n_columns)
    if tiles.mesh is not None:
        parts, whole = PartitionSpec("rows"), PartitionSpec()
        specs = ((parts, parts, whole), whole, whole, whole, whole)
        solve = functools.partial(solve, axis="rows")
        # What comes out is gathered from all devices, which the checker of replication cannot see.
        solve = jax.shard_map(solve, mesh=tiles.mesh, in_specs=specs, out_specs=whole, check_vma=False)
    return solve((tiles.groups, tiles.long, tiles.position), other, objective, solver, start)


def _solve_part(
    tiles: tuple[tuple[Tiles, ...], LongRows | None, Int[Array, " rows"]],
    other: Float[Array, "columns factors"],
    objective: Objective,
    solver: Solver,
    start: Float[Array, "rows factors"],
    *,
    n_columns: int,
    axis: str | None = None,
) -> tuple[Float[Array, "rows factors"], StepInfo]:
    """Solve one device's part of the tiles, and bring all parts together."""
    groups, long, position = tiles
    if not groups and long is None:
        nothing = jnp.zeros((), jnp.int32)
        return jnp.zeros_like(start), StepInfo(nothing, nothing)
    with jax.named_scope("gramian"):
        # In this basis the matrix that all rows share is diagonal, whatever each row's ridge; see `docs/solvers.md`.
        eigenvalues, basis = jnp.linalg.eigh(objective.unobserved_weight * gramian(other))
        eigenvalues = jnp.maximum(eigenvalues, 0)
        other, start = _rotate(other, basis), _rotate(start, basis)

    def solve_chunk(wait: Int[Array, ""], chunk: Tiles) -> Solution:
        ridge = objective.ridge(chunk.count, n_columns, other.dtype)
        gram_weight, target_weight = objective.weights(chunk.value.astype(other.dtype))
        with jax.named_scope("gather"):
            equations = NormalEquations(
                vectors=other[chunk.column + wait],  # [tiles, width] -> [tiles, width, factors]
                gram_weight=gram_weight,
                target_weight=target_weight,
                segment=chunk.segment,
                shared=eigenvalues[None, :] + ridge[:, None],
                start=start.at[chunk.row].get(mode="fill", fill_value=0),
                one_tile_per_row=chunk.one_tile_per_row,
            )
        return solver.solve(equations)

    solved, unconverged, wait = [], jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    for group in groups:
        rows, is_unconverged = jax.lax.map(functools.partial(solve_chunk, wait), group)  # [chunks, rows, factors], ...
        solved.append(rows.reshape(-1, other.shape[1]))
        unconverged += jnp.sum(is_unconverged & (group.count > 0), dtype=jnp.int32)
        wait = _zero_after(rows)
    if long is not None:
        accumulate = lambda lane: _solve_long_rows(lane, wait, other, objective, eigenvalues, n_columns)
        solved.append(jax.lax.map(accumulate, long).reshape(-1, other.shape[1]))
    rows = jnp.concatenate(solved)
    if axis is not None:
        rows = jax.lax.all_gather(rows, axis, tiled=True)
        unconverged = jax.lax.psum(unconverged, axis)
    # Each row's solution is read from where its chunk left it; rows without entries read past the end and get zero.
    rows = _rotate(rows.at[position].get(mode="fill", fill_value=0), basis.T)
    non_finite = jnp.sum(~jnp.all(jnp.isfinite(rows), axis=1), dtype=jnp.int32)
    return rows, StepInfo(non_finite, unconverged)


def _zero_after(rows: Float[Array, "..."]) -> Int[Array, ""]:
    """Return 0, but only once `rows` are there: added to an index, it makes one solve wait for another.

    jaxlib's batched LAPACK calls on a CPU block a thread of the very pool that they hand their work to (0.10 and 0.12):
    as many of them at once as there are threads hang, and XLA runs at once what does not depend on each other. A
    barrier (`optimization_barrier`) is gone by the time threads are dealt out.
    """
    return jnp.minimum(jnp.sum(~jnp.isfinite(rows), dtype=jnp.int32), 0)


def _rotate(
    table: Float[Array, "rows factors"], basis: Float[Array, "factors factors"]
) -> Float[Array, "rows factors"]:
    return jnp.matmul(table, basis, precision="highest")


def _solve_long_rows(
    long: LongRows,
    wait: Int[Array, ""],
    other: Float[Array, "columns factors"],
    objective: Objective,
    eigenvalues: Float[Array, " factors"],
    n_columns: int,
) -> Float[Array, "steps factors"]:
    # Whatever the solver: a row of so many entries is solved best from its Gram matrix, whose product feeds whole
    # matrix units, while an iterative solver would gather its entries once per iteration.
    def accumulate(carry: tuple, step: LongRows) -> tuple[tuple, Float[Array, " factors"]]:
        gram_weight, target_weight = objective.weights(step.value.astype(other.dtype))
        sums = jax.tree.map(jnp.add, carry, weighted_gram(other[step.column + wait], gram_weight, target_weight))
        ridge = objective.ridge(step.count, n_columns, other.dtype)
        solution = jax.lax.cond(
            step.is_last,
            lambda gram, target: solve_positive(gram, eigenvalues + ridge, target),
            lambda gram, target: jnp.zeros_like(target),
            *sums,
        )
        return jax.tree.map(lambda a: jnp.where(step.is_last, jnp.zeros_like(a), a), sums), solution

    factors = other.shape[1]
    zeros = (jnp.zeros((factors, factors), other.dtype), jnp.zeros(factors, other.dtype))
    return jax.lax.scan(accumulate, zeros, long)[1]


def sweep(
    user_tiles: RowTiles, item_tiles: RowTiles, factors: Factors, objective: Objective, solver: Solver
) -> tuple[Factors, StepInfo]:
    """Update all users and then all items.

    Args:
        user_tiles: Tiles with users as rows.
        item_tiles: Tiles with items as rows.
        factors: Both tables before the sweep.
        objective: What is minimised; no sweep with an exact solver increases it.
        solver: How each row is solved.

    Returns:
        Both tables after the sweep, and what there is to say about it.
    """
    user, user_info = half_step(user_tiles, factors.item, objective, solver, factors.user)
    item, item_info = half_step(item_tiles, user, objective, solver, factors.item)
    return dataclasses.replace(factors, user=user, item=item), jax.tree.map(jnp.add, user_info, item_info)


@jax.jit
def contributions(
    other: Float[Array, "columns factors"],
    column: Int[Array, " entries"],
    value: Float[Array, " entries"],
    target: Int[Array, ""],
    objective: Objective,
) -> Float[Array, " entries"]:
    """Split a row's score for a column into what each of its entries adds: b_i y_jᵀ A⁻¹ y_i.

    The sum is y_j · x for the row's exact solution x (Hu, Koren and Volinsky 2008, section 5).

    Args:
        other: The other side's table Y.
        column: Columns of the row's entries.
        value: Their values; 0 is padding.
        target: Column j whose score is split.
        objective: Confidence, w0 and ridge.

    Returns:
        One number per entry.
    """
    gram_weight, target_weight = objective.weights(value)
    gram, _ = weighted_gram(other[column], gram_weight, target_weight)
    count = jnp.sum(value != 0, dtype=jnp.int32)
    ridge = jnp.full(other.shape[1], objective.ridge(count, other.shape[0], other.dtype))
    direction = solve_positive(gram + objective.unobserved_weight * gramian(other), ridge, other[target])
    return target_weight * jnp.matmul(other[column], direction, precision="highest")


def initial_factors(
    key: Array, n_users: int, n_items: int, factors: int, scale: float = 0.1, dtype: jnp.dtype | type = jnp.float32
) -> Factors:
    """Draw both tables from a normal distribution of standard deviation scale / √factors.

    The score of any pair then starts near scale² / √factors (Rendle, Krichene, Zhang and Koren 2021, section 4).
    """
    user_key, item_key = jax.random.split(key)
    deviation = scale / factors**0.5
    return Factors(
        deviation * jax.random.normal(user_key, (n_users, factors), dtype),
        deviation * jax.random.normal(item_key, (n_items, factors), dtype),
    )
