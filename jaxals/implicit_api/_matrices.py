"""Matrices as they come, read as CSR, and refused where they cannot be what the model was trained on. Host side."""

import time
from typing import Any, Literal

import numpy as np
import scipy.sparse

from jaxals.errors import DataError
from jaxals.implicit_api._errors import MissingRowError, brief, warn_of_parameter

Csr = scipy.sparse.csr_matrix | scipy.sparse.csr_array


def as_csr(name: str, matrix: Any) -> Any:
    """Read a matrix as CSR, with implicit's warning where it has to be converted.

    Args:
        name: Of the argument, for messages.
        matrix: Sparse of any format, or a dense array of two axes. One row of a `csr_array` has one.

    Returns:
        A CSR matrix of real numbers, the one given where it is that already.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(matrix, Csr):
        matrix = _converted(name, matrix)
    if matrix.ndim == 1:
        matrix = matrix.reshape(1, -1).tocsr()
    if matrix.dtype.kind not in "biuf":
        raise DataError(f"`{name}` must hold real numbers; got {matrix.dtype}.")
    beyond = matrix.indices[(matrix.indices < 0) | (matrix.indices >= matrix.shape[1])]
    if beyond.size:
        raise DataError(f"`{name}` is damaged: it has {matrix.shape[1]} columns, and an entry in column {beyond[0]}.")
    return matrix


def rows_as_csr(name: str, matrix: Any, n_rows: int, noun: Literal["user", "item"]) -> Any:
    """Read a CSR matrix that has one row for each row that is asked for.

    Raises:
        DataError: It is none, or has another number of rows.
    """
    if not isinstance(matrix, Csr):
        raise DataError(
            f"`{name}` needs to be a CSR sparse matrix with one row for each {noun}; got {type(matrix).__name__}."
        )
    matrix = as_csr(name, matrix)
    require_rows(name, matrix, n_rows, noun)
    return matrix


def require_rows(name: str, matrix: Any, n_rows: int, noun: Literal["user", "item"]) -> None:
    """Refuse a matrix that has not one row for each user or item asked for."""
    if matrix.shape[0] != n_rows:
        raise DataError(
            f"`{name}` must contain 1 row for every {noun} in {noun}ids; got {matrix.shape[0]} for {n_rows}."
        )


def require_columns(name: str, matrix: Any, n_columns: int, n_rows: int, noun: Literal["user", "item"]) -> None:
    """Refuse rows with more columns than a model has, warn of those that look transposed.

    Fewer are taken: a model grows, and what was written down before has no columns for what came after.

    Args:
        name: Of the argument, for messages.
        matrix: The rows.
        n_columns: How many `noun`s the model has, which are the columns.
        n_rows: How many it has on the other side.
        noun: What a column is.

    Raises:
        MissingRowError: There are too many.
    """
    width = matrix.shape[1]
    if width > n_columns:
        raise MissingRowError(
            f"`{name}` has {width} columns, but the model only {n_columns} {noun}s for them{_advice(width == n_rows)}."
        )
    if width == n_rows != n_columns:
        other = "user" if noun == "item" else "item"
        warn_of_parameter(
            f"`{name}` has {width} columns, one for each {other} of the model, where its {n_columns} {noun}s are "
            f"expected{_advice(True)}."
        )


def confidences_of(name: str, matrix: Any, alpha: float) -> Any:
    """Multiply a CSR matrix with alpha, in float32 whatever the model's dtype, as implicit does.

    Raises:
        DataError: A value is not finite, or too large for float32.
    """
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()
    with np.errstate(over="ignore", invalid="ignore"):  # told below, with its place
        confidences = matrix.astype(np.float32, copy=False)
        confidences = confidences if alpha == 1.0 else confidences * np.float32(alpha)
    wrong = np.flatnonzero(~np.isfinite(confidences.data))
    if wrong.size:
        entry = int(wrong[0])
        row, column = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1, matrix.indices[entry]
        value = matrix.data[entry]
        why = f"is too large for float32 with `alpha` {alpha}" if np.isfinite(value) else "is not finite"
        raise DataError(f"`{name}` holds {value} in row {row}, column {column}, which {why}.")
    return confidences


def restrict(matrix: Any, columns: np.ndarray) -> Any:
    """Keep the chosen columns of a matrix, ascending ids, under their positions; explicit zeros go."""
    coo = matrix.tocoo()
    position = np.minimum(np.searchsorted(columns, coo.col), len(columns) - 1)
    keep = (columns[position] == coo.col) & (coo.data != 0)
    shape = (matrix.shape[0], len(columns))
    return scipy.sparse.csr_matrix((coo.data[keep], (coo.row[keep], position[keep])), shape=shape)


def _converted(name: str, matrix: Any) -> Any:
    start = time.time()
    is_dense = isinstance(matrix, np.ndarray) and matrix.dtype.kind in "biuf"
    if (is_dense or scipy.sparse.issparse(matrix)) and matrix.ndim == 2:
        converted = scipy.sparse.csr_matrix(matrix)
    else:
        # Not even frames: one with a column for each item looks like one of users, items and values.
        raise DataError(f"`{name}` must be a sparse matrix of users x items or of rows of it; got {_kind(matrix)}.")
    warn_of_parameter(
        f"Method expects CSR input, and was passed {type(matrix).__name__} instead. "
        f"Converting to CSR took {time.time() - start} seconds"
    )
    return converted


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {brief(value)}" if value is None or np.isscalar(value) else type(value).__name__


def _advice(looks_transposed: bool) -> str:
    return "; pass `.T.tocsr()` if it is transposed" if looks_transposed else ""
