"""The systems of a half step: what they share, what one device solves of them, where its solutions belong. Device side.

Three stages: one program runs them all on each device (`half_steps`), or each is a program of its own where devices
share a memory (`parallel.shared_memory`).
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxals._base.checks import require_one_of
from jaxals._base.pytree import pytree, static
from jaxals._base.tracing import calling
from jaxals.als.kernels.gather import Table
from jaxals.als.kernels.gram import Precision, read_scores, sum_grams
from jaxals.als.layout.machine import CPU, Machine
from jaxals.als.layout.tiles import LongRows, Tiles
from jaxals.als.solver.coordinates import Coordinates
from jaxals.als.solver.equations import NormalEquations, Solver, solve_from_gram
from jaxals.objective.objective import Objective

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

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.als import StepInfo
        >>> info = StepInfo(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        >>> int(info.non_finite_rows), info.loss
        (0, None)
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


@pytree
class Task:
    """What a half step asks of the systems that its tiles are for: the same on every device.

    Attributes:
        ridge: λ_r of every row.
        objective: Confidence and w0; its own λ is not read.
        solver: How to solve.
        start: Where an iterative solver begins, all rows.
        target: Right-hand sides of all rows in the place of Σ b y, or None.
        arithmetic: How to round, static.
        with_loss: Whether to compute the loss of the entries, static.
        machine: What the tiles were cut for, static.
    """

    ridge: Float[Array, " rows"]
    objective: Objective
    solver: Solver
    start: Float[Array, "rows factors"]
    target: Float[Array, "rows factors"] | None = None
    arithmetic: Arithmetic = static(default=EXACT)
    with_loss: bool = static(default=False)
    machine: Machine = static(default=CPU)


def solve_part(
    groups: tuple[Tiles, ...], long: LongRows | None, coordinates: Coordinates, table: Table, task: Task
) -> tuple[Float[Array, "places factors"], Int[Array, ""], Float[Array, ""]]:
    """Solve one device's part of the tiles.

    Args:
        groups: Short, middle and wide rows of that part.
        long: Long ones.
        coordinates: From `coordinates_of`, with the next.
        table: The other table in these coordinates.
        task: What is asked.

    Returns:
        Solutions in the order of the tiles, how many have not reached the tolerance, and Σ c (p - s)² - w0 s² over the
        entries, 0 where it was not asked for.
    """
    ridge, objective, start, target = task.ridge, task.objective, task.start, task.target
    precision, in_cache = task.arithmetic.precision, task.machine.in_cache
    if not groups and long is None:
        return jnp.zeros((0, start.shape[1]), start.dtype), jnp.zeros((), jnp.int32), jnp.zeros((), start.dtype)

    def solve_chunk(chunk: Tiles) -> _Part:
        gram_weight, target_weight = objective.weights(chunk.value.astype(table.dtype))
        with jax.named_scope("gather"):
            equations = NormalEquations(
                table=table,
                column=chunk.column,
                vectors=table[chunk.column],  # [tiles, width] -> [tiles, width, factors]
                gram_weight=gram_weight,
                target_weight=target_weight,
                segment=chunk.segment,
                ridge=ridge[jnp.minimum(chunk.row, len(ridge) - 1)],
                # Rotated here, not the whole table at once: that stays in cache.
                start=coordinates.enter(_rows_or_zero(start, chunk.row)),
                one_tile_per_row=chunk.one_tile_per_row,
                precision=precision,
                target=None if target is None else coordinates.enter(_rows_or_zero(target, chunk.row)),
                machine=task.machine,
                gramian=coordinates.gramian,
                eigenvalues=coordinates.eigenvalues,
            )
        with calling("solver"):
            rows, is_unconverged = task.solver.solve(equations)
        loss = jnp.zeros((), rows.dtype)
        if task.with_loss:
            # What forms Gram matrices has read the vectors a few at a time; what does not has them at hand.
            is_read_again = task.solver.gram_size(rows.shape[1]) > 0
            again = (table, chunk.column, equations.by_tile(rows), precision, in_cache)
            scores = read_scores(*again) if is_read_again else equations.scores(rows)
            loss = objective.loss_on_entries(chunk.value.astype(rows.dtype), scores)
        return _Part(coordinates.leave(rows), is_unconverged & (chunk.count > 0), loss)

    def solve_lane(lane: LongRows) -> _Part:
        part = _solve_long_rows(lane, table, coordinates, task)
        return dataclasses.replace(part, rows=coordinates.leave(part.rows))

    parts = [jax.lax.map(solve_chunk, group) for group in groups]
    if long is not None:
        parts.append(jax.lax.map(solve_lane, long))
    rows = jnp.concatenate([part.rows.reshape(-1, start.shape[1]) for part in parts])
    unconverged = jnp.stack([jnp.sum(part.is_unconverged, dtype=jnp.int32) for part in parts]).sum(dtype=jnp.int32)
    loss = jnp.sum(jnp.stack([jnp.sum(part.loss) for part in parts]))
    return rows, unconverged, loss


def combine_part(
    groups: tuple[Tiles, ...], long: LongRows | None, table: Table, objective: Objective, precision: Precision
) -> Float[Array, "places factors"]:
    """Return Σ p y for the rows of one device's part of the tiles: what their entries' targets p make of the table.

    Args:
        groups: Short, middle and wide rows of that part.
        long: Long ones.
        table: The other table.
        objective: Whose targets to take.
        precision: Of products with the vectors.

    Returns:
        One vector for each row, in the order of the tiles.
    """
    einsum = functools.partial(jnp.einsum, precision=precision)

    def targets(value: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
        return objective.cells(value.astype(table.dtype))[1]

    def combine_chunk(chunk: Tiles) -> Float[Array, "rows factors"]:
        by_tile = einsum("tw,twf->tf", targets(chunk.value), table[chunk.column])
        if chunk.one_tile_per_row:
            return by_tile
        return jax.ops.segment_sum(by_tile, chunk.segment, len(chunk.row), indices_are_sorted=True)

    def accumulate(carry: Float[Array, " factors"], step: LongRows) -> tuple[Array, Array]:
        total = carry + einsum("w,wf->f", targets(step.value), table[step.column])
        return jnp.where(step.is_last, jnp.zeros_like(total), total), total

    nothing = jnp.zeros(table.factors, table.dtype)
    parts = [jax.lax.map(combine_chunk, group) for group in groups]
    if long is not None:
        parts.append(jax.lax.map(lambda lane: jax.lax.scan(accumulate, nothing, lane)[1], long))
    return jnp.concatenate([part.reshape(-1, table.factors) for part in parts] or [nothing[None, :][:0]])


def arrange(
    parts: list[Float[Array, "places factors"]], position: Int[Array, " rows"]
) -> tuple[Float[Array, "rows factors"], Int[Array, ""]]:
    """Return solutions in the order of their rows, and how many are not finite.

    Args:
        parts: Solutions in the order of the tiles, those of equally many on each device, or all in one.
        position: Where each row's solution lies, as `RowTiles` has it.
    """
    # Each row's solution is read from where its chunk left it; rows without entries read past the end and get zero.
    size = len(parts[0])
    rows = _rows_or_zero(parts[0], position)
    for number, part in enumerate(parts[1:], start=1):
        is_here = (position >= number * size) & (position < (number + 1) * size)
        rows = jnp.where(is_here[:, None], part[jnp.clip(position - number * size, 0, size - 1)], rows)
    return rows, jnp.sum(~jnp.all(jnp.isfinite(rows), axis=1), dtype=jnp.int32)


def _rows_or_zero(rows: Float[Array, "rows factors"], index: Int[Array, " wanted"]) -> Float[Array, "wanted factors"]:
    """Read rows; an index past the end reads zeros."""
    if not len(rows):
        return jnp.zeros((len(index), rows.shape[1]), rows.dtype)
    last = len(rows) - 1
    wanted = rows[jnp.minimum(index, last)]
    return jnp.where((index <= last)[:, None], wanted, jnp.zeros_like(wanted))


def _solve_long_rows(
    long: LongRows,
    table: Table,
    coordinates: Coordinates,
    task: Task,
) -> _Part:
    # Whatever the solver: a row of so many entries is solved best from its Gram matrix, whose product feeds whole
    # matrix units, while an iterative solver would gather its entries once per iteration.
    objective, ridge, precision = task.objective, task.ridge, task.arithmetic.precision
    factors = table.factors

    def accumulate(carry: tuple, step: LongRows) -> tuple[tuple, _Part]:
        value = step.value.astype(table.dtype)
        gram_weight, target_weight = objective.weights(value)
        observed = objective.loss_on_entries(value, jnp.zeros_like(value))
        cells = (step.column[None], gram_weight[None], target_weight[None])
        how = precision, task.machine.in_cache, True
        (gram,), (target,) = sum_grams(table, *cells, jnp.zeros(1, jnp.int32), 1, *how)
        gram, target, observed = sums = jax.tree.map(jnp.add, carry, (gram, target, observed))
        own = jnp.minimum(step.row, len(ridge) - 1)

        def solve() -> tuple[Float[Array, " factors"], Float[Array, ""], Bool[Array, ""]]:
            right = target if task.target is None else coordinates.enter(task.target[own])
            row, is_unconverged = solve_from_gram(
                task.solver,
                gram,
                coordinates,
                ridge[own],
                right,
                coordinates.enter(task.start[own]),
                precision,
                is_derivative=task.target is not None,
                machine=task.machine,
            )
            # Σ c (p - s)² - w0 s² = Σ c p² - 2 b s + g s², which the sums know, to within the rounding of Σ c p².
            # Of Σ g y yᵀ the lower triangle is there, which stands for both.
            image = 2 * jnp.matmul(jnp.tril(gram, -1), row, precision="highest") + jnp.diagonal(gram) * row
            return row, observed + jnp.dot(image - 2 * target, row), is_unconverged

        skip = lambda: (jnp.zeros_like(target), jnp.zeros_like(observed), jnp.zeros((), bool))
        row, loss, is_unconverged = jax.lax.cond(step.is_last, solve, skip)
        carry = jax.tree.map(lambda a: jnp.where(step.is_last, jnp.zeros_like(a), a), sums)
        return carry, _Part(row, is_unconverged, loss)

    zeros = [jnp.zeros(shape, table.dtype) for shape in ((factors, factors), (factors,), ())]
    return jax.lax.scan(accumulate, tuple(zeros), long)[1]
