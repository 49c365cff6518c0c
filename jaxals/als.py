"""Alternating least squares: half steps and sweeps, as the papers write them. Device side."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxals._checks import require_one_of
from jaxals._pytree import pytree
from jaxals.adjoint import System, with_derivatives
from jaxals.errors import DataError
from jaxals.factorization import solve_symmetric
from jaxals.gather import Table, pack
from jaxals.objective import Factors, Objective, gramian
from jaxals.solvers import Cholesky, ConjugateGradient, NormalEquations, Precision, Solver, weighted_gram
from jaxals.tiles import LongRows, RowTiles, Tiles

TableType = Literal["float16", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """How half steps round; static. Sums over entries keep the type of the tables, and systems are solved in it.

    Attributes:
        table_dtype: "float16" or "bfloat16" to round the other table for the gathers, which moves half the bytes.
        precision: Of products with the gathered rows, as in `jax.lax.Precision`: "highest" is that of the type;
            "high" and "default" let accelerators use their faster units, such as TF32 for float32, and change nothing
            on a CPU.

    Raises:
        ConfigurationError: A name is unknown.
    """

    table_dtype: TableType | None = None
    precision: Precision = "highest"

    def __post_init__(self) -> None:
        require_one_of("table_dtype", self.table_dtype, "float16", "bfloat16", None)
        require_one_of("precision", self.precision, "highest", "high", "default")


EXACT = Arithmetic()


@pytree
class StepInfo:
    """What a person may want to know about a step; it never feeds back.

    Attributes:
        non_finite_rows: How many rows came out with a NaN or infinite factor: their systems are singular.
        unconverged_rows: How many rows have not reached the tolerance that the solver was given.
        loss: The loss after the step, or None where it was not asked for.
    """

    non_finite_rows: Int[Array, ""]
    unconverged_rows: Int[Array, ""]
    loss: Float[Array, ""] | None = None


@pytree
class _Part:
    """What one device solves of a half step, in the order of its tiles.

    Attributes:
        rows: Solutions.
        is_unconverged: Which of them have not reached the tolerance.
        loss: Σ c (p - s)² - w0 s² over the entries; 0 from tiles where it was not asked for.
    """

    rows: Float[Array, "... factors"]
    is_unconverged: Bool[Array, "..."]
    loss: Float[Array, "..."]


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
    """Also return the entries' part of the loss, which costs little while their vectors are at hand."""
    if other.shape[0] != tiles.n_columns:
        turned = " The sides look swapped." if other.shape[0] == tiles.n_rows else ""
        raise DataError(f"The other table has {other.shape[0]} rows, but the tiles {tiles.n_columns} columns.{turned}")
    if start is None:
        start = jnp.zeros((tiles.n_rows, other.shape[1]), other.dtype)
    ridge = objective.ridge(tiles.count, tiles.n_columns, other.dtype)
    # What the equations depend on, and no more: a hyperparameter of the ridge acts through it.
    bare = dataclasses.replace(objective, regularization=0.0, frequency_exponent=0.0, frequency_offset=0.0)
    system = System(tiles, other, ridge, bare)
    fixed, start = jax.lax.stop_gradient((system, start))
    rows, info, loss = _solve(fixed, solver, start, arithmetic=arithmetic, with_loss=with_loss)
    adjoint = functools.partial(_solve_adjoint, arithmetic=arithmetic)
    return with_derivatives(adjoint, rows, system, transposed, solver), info, loss


def _solve_adjoint(
    system: System, solver: Solver, target: Float[Array, "rows factors"], arithmetic: Arithmetic
) -> Float[Array, "rows factors"]:
    """Return A⁻¹ C, exactly or by conjugate gradient to nearly the precision of its type, from zero."""
    if not isinstance(solver, Cholesky):
        solver = ConjugateGradient(tolerance=float(jnp.finfo(target.dtype).eps) ** 0.75)
    return _solve(system, solver, jnp.zeros_like(target), target, arithmetic=arithmetic)[0]


def _solve(
    system: System,
    solver: Solver,
    start: Float[Array, "rows factors"],
    target: Float[Array, "rows factors"] | None = None,
    *,
    arithmetic: Arithmetic,
    with_loss: bool = False,
) -> tuple[Float[Array, "rows factors"], StepInfo, Float[Array, ""]]:
    """Solve a system for its own right-hand sides Σ b y, or for others."""
    tiles = system.tiles
    solve = functools.partial(_solve_part, arithmetic=arithmetic, with_loss=with_loss)
    if tiles.mesh is not None:
        parts, whole = PartitionSpec("rows"), PartitionSpec()
        specs = ((parts, parts, whole), *[whole] * 6)
        solve = functools.partial(solve, axis="rows")
        # What comes out is gathered from all devices, which the checker of replication cannot see.
        solve = jax.shard_map(solve, mesh=tiles.mesh, in_specs=specs, out_specs=whole, check_vma=False)
    entries = (tiles.groups, tiles.long, tiles.position)
    return solve(entries, system.other, system.ridge, system.objective, solver, start, target)


def _solve_part(
    tiles: tuple[tuple[Tiles, ...], LongRows | None, Int[Array, " rows"]],
    other: Float[Array, "columns factors"],
    ridge: Float[Array, " rows"],
    objective: Objective,
    solver: Solver,
    start: Float[Array, "rows factors"],
    target: Float[Array, "rows factors"] | None,
    *,
    arithmetic: Arithmetic,
    with_loss: bool,
    axis: str | None = None,
) -> tuple[Float[Array, "rows factors"], StepInfo, Float[Array, ""]]:
    """Solve one device's part of the tiles, and bring all parts together."""
    groups, long, position = tiles
    if not groups and long is None:
        nothing = jnp.zeros((), jnp.int32)
        return jnp.zeros_like(start), StepInfo(nothing, nothing), jnp.zeros((), other.dtype)
    with jax.named_scope("gramian"):
        # In this basis the matrix that all rows share is diagonal, whatever each row's ridge; see `docs/solvers.md`.
        eigenvalues, basis = _eigh(objective.unobserved_weight * gramian(other))
        eigenvalues = jnp.maximum(eigenvalues, 0)
        table = pack(_rotate(other, basis), arithmetic.table_dtype)

    def solve_chunk(chunk: Tiles) -> _Part:
        own_ridge = ridge[jnp.minimum(chunk.row, len(ridge) - 1)]
        gram_weight, target_weight = objective.weights(chunk.value.astype(other.dtype))
        with jax.named_scope("gather"):
            equations = NormalEquations(
                vectors=table[chunk.column],  # [tiles, width] -> [tiles, width, factors]
                gram_weight=gram_weight,
                target_weight=target_weight,
                segment=chunk.segment,
                shared=eigenvalues[None, :] + own_ridge[:, None],
                # Rotated here, not the whole table at once: that stays in cache.
                start=_rotate(_rows_or_zero(start, chunk.row), basis),
                one_tile_per_row=chunk.one_tile_per_row,
                precision=arithmetic.precision,
                target=None if target is None else _rotate(_rows_or_zero(target, chunk.row), basis),
            )
        rows, is_unconverged = solver.solve(equations)
        loss = jnp.zeros((), rows.dtype)
        if with_loss:
            loss = objective.loss_on_entries(chunk.value.astype(rows.dtype), equations.scores(rows))
        return _Part(_rotate(rows, basis.T), is_unconverged & (chunk.count > 0), loss)

    def solve_lane(lane: LongRows) -> _Part:
        turned = None if target is None else _rotate(target, basis)
        part = _solve_long_rows(lane, table, objective, eigenvalues, ridge, turned, arithmetic.precision)
        return dataclasses.replace(part, rows=_rotate(part.rows, basis.T))

    parts = [jax.lax.map(solve_chunk, group) for group in groups]
    if long is not None:
        parts.append(jax.lax.map(solve_lane, long))
    rows = jnp.concatenate([part.rows.reshape(-1, other.shape[1]) for part in parts])
    unconverged = jnp.stack([jnp.sum(part.is_unconverged, dtype=jnp.int32) for part in parts]).sum(dtype=jnp.int32)
    loss = jnp.sum(jnp.stack([jnp.sum(part.loss) for part in parts]))
    if axis is not None:
        rows = jax.lax.all_gather(rows, axis, tiled=True)
        unconverged, loss = jax.lax.psum((unconverged, loss), axis)
    # Each row's solution is read from where its chunk left it; rows without entries read past the end and get zero.
    rows = _rows_or_zero(rows, position)
    non_finite = jnp.sum(~jnp.all(jnp.isfinite(rows), axis=1), dtype=jnp.int32)
    return rows, StepInfo(non_finite, unconverged), loss


@jax.custom_batching.sequential_vmap
def _eigh(matrix: Float[Array, "factors factors"]) -> tuple[Float[Array, " factors"], Float[Array, "factors factors"]]:
    """Decompose one matrix after another where there are many: batches of them can hang (`docs/solvers.md`)."""
    eigenvalues, basis = jnp.linalg.eigh(matrix)
    return eigenvalues, basis


def _rotate(
    table: Float[Array, "rows factors"], basis: Float[Array, "factors factors"]
) -> Float[Array, "rows factors"]:
    return jnp.matmul(table, basis, precision="highest")


def _rows_or_zero(rows: Float[Array, "rows factors"], index: Int[Array, " wanted"]) -> Float[Array, "wanted factors"]:
    """Read rows; an index past the end reads zeros."""
    last = len(rows) - 1
    wanted = rows[jnp.minimum(index, last)]
    return jnp.where((index <= last)[:, None], wanted, jnp.zeros_like(wanted))


def _solve_long_rows(
    long: LongRows,
    table: Table,
    objective: Objective,
    eigenvalues: Float[Array, " factors"],
    ridge: Float[Array, " rows"],
    target_rows: Float[Array, "rows factors"] | None,
    precision: Precision,
) -> _Part:
    # Whatever the solver: a row of so many entries is solved best from its Gram matrix, whose product feeds whole
    # matrix units, while an iterative solver would gather its entries once per iteration.
    def accumulate(carry: tuple, step: LongRows) -> tuple[tuple, _Part]:
        value = step.value.astype(table.dtype)
        gram_weight, target_weight = objective.weights(value)
        observed = objective.loss_on_entries(value, jnp.zeros_like(value))
        entries = (*weighted_gram(table[step.column], gram_weight, target_weight, precision), observed)
        gram, target, observed = sums = jax.tree.map(jnp.add, carry, entries)
        own = jnp.minimum(step.row, len(ridge) - 1)

        def solve() -> tuple[Float[Array, " factors"], Float[Array, ""]]:
            matrix = gram + jnp.diag(eigenvalues + ridge[own])
            row = solve_symmetric(matrix[None], (target if target_rows is None else target_rows[own])[None])[0]
            # Σ c (p - s)² - w0 s² = Σ c p² - 2 b s + g s², which the sums know, to within the rounding of Σ c p².
            return row, observed + jnp.dot(jnp.matmul(gram, row, precision="highest") - 2 * target, row)

        skip = lambda: (jnp.zeros_like(target), jnp.zeros_like(observed))
        row, loss = jax.lax.cond(step.is_last, solve, skip)
        carry = jax.tree.map(lambda a: jnp.where(step.is_last, jnp.zeros_like(a), a), sums)
        return carry, _Part(row, jnp.zeros((), bool), loss)

    factors = len(eigenvalues)
    zeros = [jnp.zeros(shape, table.dtype) for shape in ((factors, factors), (factors,), ())]
    return jax.lax.scan(accumulate, tuple(zeros), long)[1]


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
        loss = _whole_loss(on_entries, objective, factors, user_tiles.count, item_tiles.count)
        info = dataclasses.replace(info, loss=jax.lax.stop_gradient(loss))
    return factors, info


@jax.jit
def _whole_loss(
    on_entries: Float[Array, ""],
    objective: Objective,
    factors: Factors,
    user_count: Int[Array, " users"],
    item_count: Int[Array, " items"],
) -> Float[Array, ""]:
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
    ridge = objective.ridge(count, other.shape[0], other.dtype) * jnp.eye(other.shape[1], dtype=other.dtype)
    matrix = gram + objective.unobserved_weight * gramian(other) + ridge
    direction = solve_symmetric(matrix[None], other[target][None])[0]
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
