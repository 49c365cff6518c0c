"""Alternating least squares: half steps and sweeps, as the papers write them. Device side."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals.adjoint import System, with_derivatives
from jaxals.errors import DataError
from jaxals.factorization import solve_symmetric
from jaxals.gather import pack
from jaxals.gram import weighted_gram
from jaxals.objective import Factors, Objective, gramian
from jaxals.solvers import Cholesky, ConjugateGradient, Solver
from jaxals.solving import EXACT, Arithmetic, StepInfo, Task, arrange, eigenbasis, solve_part
from jaxals.tiles import LongRows, RowTiles, Tiles


def half_step(
    tiles: RowTiles,
    other: Float[Array, "columns factors"],
    objective: Objective,
    solver: Solver,
    start: Float[Array, "rows factors"] | None = None,
    arithmetic: Arithmetic = EXACT,
    transposed: RowTiles | None = None,
) -> tuple[Float[Array, "rows factors"], StepInfo]:
    """Solve every row's regularised least squares with the other side held fixed.

    Each row r gets x_r = (w0 YᵀY + Σ g_rc y_c y_cᵀ + λ_r I)⁻¹ Σ b_rc y_c (Hu, Koren and Volinsky 2008, eq. 4, with the
    weights of `objective`). Rows without entries come out zero.

    The rows can be differentiated, forwards and backwards, by the other table, by every leaf of the objective and by
    the tiles' values. Whatever the solver, the derivatives are those of the exact solution, by one more solve
    (`docs/differentiable-als.md`); the info has none.

    Args:
        tiles: The entries of the side that is solved for.
        other: The other side's table Y, float32 or float64.
        objective: Confidence, w0 and ridge; of `objective.of(side)` where users and items differ in their λ.
        solver: How to solve; `Cholesky()` is exact.
        start: Where an iterative solver begins; zeros by default.
        arithmetic: How to round what is gathered and multiplied; by default not at all.
        transposed: The same entries with columns as rows, which backward passes can gather the gradient by `other`
            from: many times as fast on a CPU as without.

    Returns:
        The rows, and what there is to say about them.

    Raises:
        DataError: `other` does not have one row per column of the tiles.
    """
    rows, info, _ = _half_step(tiles, other, objective, solver, start, arithmetic, transposed=transposed)
    return rows, info


@functools.partial(jax.jit, static_argnames=("arithmetic", "with_loss"))
def _half_step(
    tiles: RowTiles,
    other: Float[Array, "columns factors"],
    objective: Objective,
    solver: Solver,
    start: Float[Array, "rows factors"] | None,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
    transposed: RowTiles | None = None,
) -> tuple[Float[Array, "rows factors"], StepInfo, Float[Array, ""]]:
    """Also return the entries' part of the loss, which costs little while the chunk is at hand."""
    if other.shape[0] != tiles.n_columns:
        turned = " The sides look swapped." if other.shape[0] == tiles.n_rows else ""
        raise DataError(f"The other table has {other.shape[0]} rows, but the tiles {tiles.n_columns} columns.{turned}")
    if start is None:
        start = jnp.zeros((tiles.n_rows, other.shape[1]), other.dtype)
    ridge = objective.ridge(tiles.count, tiles.n_columns, other.dtype)
    # What the equations depend on, and no more: a hyperparameter of the ridge acts through it.
    bare = dataclasses.replace(objective, regularization=0.0, frequency_exponent=0.0, frequency_offset=0.0)
    system = System(tiles, other, ridge, bare)
    task = Task(ridge, bare, solver, start, arithmetic=arithmetic, with_loss=with_loss)
    rows, info, loss = _solve(*jax.lax.stop_gradient((tiles, other, task)))
    adjoint = functools.partial(_solve_adjoint, arithmetic=arithmetic)
    return with_derivatives(adjoint, rows, system, transposed, solver), info, loss


def _solve_adjoint(
    system: System, solver: Solver, target: Float[Array, "rows factors"], arithmetic: Arithmetic
) -> Float[Array, "rows factors"]:
    """Return A⁻¹ C, exactly or by conjugate gradient to nearly the precision of its type, from zero."""
    if not isinstance(solver, Cholesky):
        solver = ConjugateGradient(tolerance=float(jnp.finfo(target.dtype).eps) ** 0.75)
    task = Task(system.ridge, system.objective, solver, jnp.zeros_like(target), target, arithmetic)
    return _solve(system.tiles, system.other, task)[0]


Solved = tuple[Float[Array, "rows factors"], StepInfo, Float[Array, ""]]


def _solve(tiles: RowTiles, other: Float[Array, "columns factors"], task: Task) -> Solved:
    """Solve the systems of all tiles, on all devices that they lie on."""
    solve: Any = _solve_on_each_device
    if tiles.mesh is not None:
        parts, whole = PartitionSpec("rows"), PartitionSpec()
        solve = functools.partial(solve, axis="rows")
        # What comes out is gathered from all devices, which the checker of replication cannot see.
        specs = ((parts, parts, whole), whole, whole)
        solve = jax.shard_map(solve, mesh=tiles.mesh, in_specs=specs, out_specs=whole, check_vma=False)
    return solve((tiles.groups, tiles.long, tiles.position), other, task)


def _solve_on_each_device(
    entries: tuple[tuple[Tiles, ...], LongRows | None, Int[Array, " rows"]],
    other: Float[Array, "columns factors"],
    task: Task,
    axis: str | None = None,
) -> Solved:
    """Solve one device's part of the tiles, and bring all parts together on each."""
    groups, long, position = entries
    basis, turned = eigenbasis(other, task.objective.unobserved_weight)
    part, unconverged, loss = solve_part(groups, long, basis, pack(turned, task.arithmetic.table_dtype), task)
    if axis is not None:
        part = jax.lax.all_gather(part, axis, tiled=True)
        unconverged, loss = jax.lax.psum((unconverged, loss), axis)
    rows, non_finite = arrange([part], position)
    return rows, StepInfo(non_finite, unconverged), loss


def sweep(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    factors: Factors,
    objective: Objective,
    solver: Solver,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
) -> tuple[Factors, StepInfo]:
    """Update all users and then all items.

    Args:
        user_tiles: Tiles with users as rows.
        item_tiles: Tiles with items as rows.
        factors: Both tables before the sweep.
        objective: What is minimised; no sweep with an exact solver increases it.
        solver: How each row is solved.
        arithmetic: As in `half_step`.
        with_loss: Whether to compute the loss on the way, which takes one more pass over the gathered rows; with a
            `table_dtype` the entries' part of it is of the rounded users. Like all of the info it has no derivatives;
            those of `objective.loss` can be taken.

    Returns:
        Both tables after the sweep, and what there is to say about it.
    """
    user, user_info, _ = _half_step(
        user_tiles, factors.item, objective.of("user"), solver, factors.user, arithmetic, transposed=item_tiles
    )
    item, item_info, on_entries = _half_step(
        item_tiles, user, objective.of("item"), solver, factors.item, arithmetic, with_loss, transposed=user_tiles
    )
    factors, info = Factors(user, item), jax.tree.map(jnp.add, user_info, item_info)
    if with_loss:
        loss = whole_loss(on_entries, objective, factors, user_tiles.count, item_tiles.count)
        info = dataclasses.replace(info, loss=jax.lax.stop_gradient(loss))
    return factors, info


@jax.jit
def whole_loss(
    on_entries: Float[Array, ""],
    objective: Objective,
    factors: Factors,
    user_count: Int[Array, " users"],
    item_count: Int[Array, " items"],
) -> Float[Array, ""]:
    """Add to the entries' part of the loss, as a half step returns it, what all pairs and the ridge add."""
    everywhere = jnp.sum(gramian(factors.user) * gramian(factors.item))
    ridge = objective.ridge_loss(factors, user_count, item_count)
    return on_entries + objective.unobserved_weight * everywhere + ridge


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
    matrix = gram + objective.unobserved_weight * gramian(other)
    ridge = jnp.full(other.shape[1], objective.ridge(count, other.shape[0], other.dtype))
    direction = solve_symmetric(matrix[None], ridge[None], other[target][None])[0]
    return target_weight * jnp.matmul(other[column], direction, precision="highest")


def initial_factors(
    key: Array, n_users: int, n_items: int, factors: int, scale: float = 0.1, dtype: Any = jnp.float32
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
