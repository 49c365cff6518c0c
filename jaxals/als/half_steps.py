"""Alternating least squares: half steps and sweeps, as the papers write them. Device side."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array, require_kind, told
from jaxals.als.adjoint import System, loss_with_derivatives, with_derivatives
from jaxals.als.kernels.gather import pack
from jaxals.als.layout.tiles import LongRows, RowTiles, Tiles, require_tiles
from jaxals.als.solver.coordinates import coordinates_of
from jaxals.als.solver.equations import Solver, adjoint_of, in_eigenbasis, require_solver
from jaxals.als.stages import EXACT, Arithmetic, StepInfo, Task, arrange, solve_part
from jaxals.errors import ConfigurationError, DataError
from jaxals.objective.confidence import opened
from jaxals.objective.objective import Objective, Sides, require_objective


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
    (`docs/why/derivatives.md`). Solvers of something else, such as `NonNegative`, refuse.

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
        DataError: `other` does not have one row per column of the tiles, or an array is none.
        ConfigurationError: The objective or the solver is none.

    Example:
        >>> import jax
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> tiles = jaxals.build_tiles(data, "user", factors=4)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> objective = jaxals.Objective.hkv(alpha=1.0)
        >>> user, info = jaxals.half_step(tiles, factors.item, objective, jaxals.Cholesky())
        >>> after = jaxals.Factors(user, factors.item)
        >>> user.shape, bool(objective.loss(after, data) < objective.loss(factors, data)), int(info.non_finite_rows)
        ((50, 4), True, 0)
    """
    _check(tiles, other, objective, solver, start, arithmetic, transposed)
    rows, info, _ = half_step_with_loss(tiles, other, objective, solver, start, arithmetic, transposed=transposed)
    return rows, info


def _check(tiles: Any, other: Any, objective: Any, solver: Any, start: Any, arithmetic: Any, transposed: Any) -> None:
    """Refuse what cannot be a half step, in a sentence, before JAX meets it."""
    require_tiles("tiles", tiles)
    require_array("other", other, 2, jnp.floating, "a 2-D array of floating-point numbers, the other table", DataError)
    if other.dtype.itemsize < 4:
        raise DataError(f"`other` must be of float32 or float64; got {told(other)}.")
    if isinstance(objective, Objective) and isinstance(objective.regularization, Sides):
        raise ConfigurationError('`regularization` has two sides; take `objective.of("user")` or `.of("item")`.')
    require_objective("objective", objective)
    require_solver("solver", solver)
    if start is not None:
        require_array("start", start, 2, jnp.floating, "a 2-D array of floating-point numbers, or None", DataError)
        if start.shape != (tiles.n_rows, other.shape[1]):
            raise DataError(f"`start` must be of shape {(tiles.n_rows, other.shape[1])}; got {start.shape}.")
    require_kind("arithmetic", arithmetic, Arithmetic, "an `Arithmetic`")
    if transposed is not None:
        require_tiles("transposed", transposed)
        if (transposed.n_rows, transposed.n_columns) != (tiles.n_columns, tiles.n_rows):
            raise DataError(
                f"`transposed` must have the {tiles.n_columns} columns of the tiles as rows, and their {tiles.n_rows} "
                f"rows as columns; got {transposed.n_rows} and {transposed.n_columns}."
            )


@functools.partial(jax.jit, static_argnames=("arithmetic", "with_loss"))
def half_step_with_loss(
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
    bare = dataclasses.replace(
        objective,
        confidence=opened(objective.confidence, other.dtype),
        regularization=0.0,
        frequency_exponent=0.0,
        frequency_offset=0.0,
    )
    system = System(tiles, other, ridge, bare)
    task = Task(ridge, bare, solver, start, arithmetic=arithmetic, with_loss=with_loss, machine=tiles.machine)
    rows, info, loss = _solve(*jax.lax.stop_gradient((tiles, other, task)))
    adjoint = functools.partial(_solve_adjoint, arithmetic=arithmetic)
    rows = with_derivatives(adjoint, rows, system, transposed, solver)
    return rows, info, loss_with_derivatives(loss, rows, system) if with_loss else loss


def _solve_adjoint(
    system: System, solver: Solver, target: Float[Array, "rows factors"], arithmetic: Arithmetic
) -> Float[Array, "rows factors"]:
    """Return A⁻¹ C by the solver's adjoint, from zero."""
    tiles, adjoint = system.tiles, adjoint_of(solver, target.dtype)
    zero = jnp.zeros_like(target)
    task = Task(system.ridge, system.objective, adjoint, zero, target, arithmetic, machine=tiles.machine)
    return _solve(tiles, system.other, task)[0]


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
    coordinates, turned = coordinates_of(other, task.objective.unobserved_weight, in_eigenbasis(task.solver))
    part, unconverged, loss = solve_part(
        groups, long, coordinates, pack(turned, task.arithmetic.table_dtype, task.machine.in_cache), task
    )
    if axis is not None:
        part = jax.lax.all_gather(part, axis, tiled=True)
        unconverged, loss = jax.lax.psum((unconverged, loss), axis)
    rows, non_finite = arrange([part], position)
    return rows, StepInfo(non_finite, unconverged), loss
