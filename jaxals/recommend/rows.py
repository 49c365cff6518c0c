"""A few rows' systems, solved or explained on the host: no number of rows or entries compiles a program of its own.

A half step turns the whole other table first, and is compiled for each layout. Here the Gramian is at hand, so that a
row takes its own entries alone; in float64, which costs nothing at this size.
"""

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals.data.catalog import Side
from jaxals.data.checks import require_held
from jaxals.errors import DataError, NumericalError
from jaxals.objective.objective import Objective
from jaxals.recommend.sizes import power
from jaxals.recommend.tables import Table

# Up to so many rows, numbers read and numbers in matrices. More are left to half steps, whose compilation then counts
# for less than what they save.
_MOST_ROWS, _MOST_READ, _MOST_IN_MATRICES = 1024, 2**22, 2**23


def are_few(n_rows: int, n_entries: int, factors: int) -> bool:
    """Tell whether rows are to be solved here, rather than by a half step."""
    return n_rows <= _MOST_ROWS and n_entries * factors <= _MOST_READ and n_rows * factors**2 <= _MOST_IN_MATRICES


def solve_rows(
    other: Table,
    count: Int[np.ndarray, " rows"],
    column: Int[np.ndarray, " entries"],
    value: Float[np.ndarray, " entries"],
    objective: Objective,
    is_non_negative: bool = False,
) -> Float[np.ndarray, "rows factors"]:
    """Solve rows exactly against the other side's table.

    Args:
        other: The other side's table.
        count: Entries of each row.
        column: Columns of their entries, end to end.
        value: Their values.
        objective: Of these rows.
        is_non_negative: Whether no factor may be below 0.

    Returns:
        Rows in the other table's dtype; NaN where a system is singular.
    """
    systems = _Systems.of(other, count, column, value, objective)
    rows = np.full((len(count), other.factors), np.nan)
    solve = _solve_non_negative if is_non_negative else _solve
    for row, (matrix, target) in enumerate(zip(systems.matrices(), systems.targets(), strict=True)):
        rows[row] = solve(matrix, target)
    with np.errstate(over="ignore"):
        return rows.astype(other.dtype)


def split_score(
    other: Table,
    target: Int[np.ndarray, "1"],
    column: Int[np.ndarray, " entries"],
    value: Float[np.ndarray, " entries"],
    objective: Objective,
) -> Float[np.ndarray, " entries"]:
    """Split a row's score for a column into what each of its entries adds; as `jaxals.als.contributions` does.

    Returns:
        One number per entry in the other table's dtype; NaN where the system is singular.
    """
    systems = _Systems.of(other, np.array([len(column)]), column, value, objective)
    (matrix,) = systems.matrices()
    direction = _solve(matrix, other.read(target)[0].astype(np.float64))
    return (systems.target_weight * (systems.vectors @ direction)).astype(other.dtype)


def singular(what: str, objective: Objective) -> NumericalError:
    """Say that a system is singular, and what helps."""
    return NumericalError(
        f"{what} singular in this precision; raise `regularization` (it is {objective.regularization}) or lower alpha."
    )


def objective_of(objective: Objective, side: Side, rows: Int[np.ndarray, " rows"], n_rows: int) -> Objective:
    """Return the objective of some rows of one side, in NumPy: `Objective.of` would compile a program for each number.

    Raises:
        DataError: λ is given for another number of rows than `n_rows`.
    """
    objective = objective.of(side)
    if not np.ndim(objective.regularization):
        return objective
    ridge = np.asarray(objective.regularization)
    if ridge.shape != (n_rows,):
        raise DataError(f"`regularization` is for {ridge.shape} rows, but there are {(n_rows,)}.")
    return dataclasses.replace(objective, regularization=ridge[rows])


@dataclasses.dataclass(frozen=True)
class _Systems:
    """What rows' equations A x = Σ b y are made of, A = w0 YᵀY + Σ g y yᵀ + λ; float64."""

    shared: Float[np.ndarray, "factors factors"]
    vectors: Float[np.ndarray, "entries factors"]
    gram_weight: Float[np.ndarray, " entries"]
    target_weight: Float[np.ndarray, " entries"]
    ridge: Float[np.ndarray, " rows"]
    end: Int[np.ndarray, " rows"]

    @classmethod
    def of(cls, other: Table, count: Any, column: Any, value: Any, objective: Objective) -> "_Systems":
        require_held(value, other.dtype)
        # Padded, so that there are few programs.
        size = power(8, max(len(value), len(count)), 256)
        if np.ndim(ridge := objective.regularization):
            objective = dataclasses.replace(objective, regularization=np.pad(ridge, (0, size - len(ridge))))
        weights = _weights(
            objective,
            np.pad(value, (0, size - len(value))).astype(other.dtype),
            np.pad(count, (0, size - len(count))).astype(np.int32),
            np.asarray(len(other), other.dtype),
        )
        gram_weight, target_weight, ridge = (np.asarray(array, np.float64) for array in weights)
        return cls(
            float(objective.unobserved_weight) * other.gram,
            other.read(column).astype(np.float64),
            gram_weight[: len(value)],
            target_weight[: len(value)],
            ridge[: len(count)],
            np.cumsum(count),
        )

    def matrices(self) -> Any:
        """Yield A of each row."""
        start = 0
        for end, ridge in zip(self.end, self.ridge, strict=True):
            vectors = self.vectors[start:end]
            matrix = self.shared + (vectors.T * self.gram_weight[start:end]) @ vectors
            matrix[np.diag_indices_from(matrix)] += ridge
            yield matrix
            start = end

    def targets(self) -> Any:
        """Yield Σ b y of each row."""
        start = 0
        for end in self.end:
            yield self.target_weight[start:end] @ self.vectors[start:end]
            start = end


@jax.jit
def _weights(
    objective: Objective, value: Float[Array, " size"], count: Int[Array, " size"], n_columns: Float[Array, ""]
) -> tuple[Float[Array, " size"], Float[Array, " size"], Float[Array, " size"]]:
    """Return g and b of entries and λ of rows; the number of columns is no constant, for it grows."""
    return *objective.weights(value), objective.ridge(count, n_columns, value.dtype)


def _solve(matrix: Float[np.ndarray, "factors factors"], target: Float[np.ndarray, " factors"]) -> np.ndarray:
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(target, np.nan)
    return np.linalg.solve(lower.T, np.linalg.solve(lower, target))


def _solve_non_negative(matrix: Float[np.ndarray, "factors factors"], target: Float[np.ndarray, " factors"]) -> Any:
    """Minimise ½ xᵀA x - xᵀt over x >= 0, by active sets on a root of A; NaN where A is not positive semidefinite."""
    from scipy.optimize import nnls  # nothing else needs it, and importing it takes long

    values, vectors = np.linalg.eigh(matrix)
    rounding = len(matrix) * np.finfo(float).eps * max(values[-1], 0.0)
    is_there = values > rounding
    if values[0] < -rounding or not is_there.any():
        return np.full_like(target, np.nan)
    root, vectors = np.sqrt(values[is_there]), vectors[:, is_there]
    with contextlib.suppress(RuntimeError):  # it gives up
        return nnls(root[:, None] * vectors.T, (target @ vectors) / root, maxiter=30 * len(target))[0]
    return np.full_like(target, np.nan)
