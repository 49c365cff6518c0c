"""Weights of counts by TF-IDF, BM25 and length, as the implicit library defines them. Host side."""

from typing import Any

import numpy as np
import scipy.sparse

from jaxals._base.checks import require_at_least
from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api._matrices import as_csr
from jaxals.implicit_api._settings import require_number


def tfidf_weight(X: Any) -> scipy.sparse.coo_matrix:
    """Weight counts by √x (log N - log(1 + n)), N rows in all and n with an entry in the column.

    Args:
        X: Matrix of counts >= 0, what is described in rows: items x users for neighbours of items.

    Returns:
        A matrix of the same cells (float64).

    Raises:
        DataError: It is no matrix, or a count is negative or not finite.

    Example:
        >>> import scipy
        >>> from jaxals.implicit_api._weightings import tfidf_weight
        >>> tfidf_weight(scipy.sparse.csr_matrix([[4.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).toarray()
        array([[0.81, 0.  ],
               [0.  , 0.41],
               [0.  , 0.  ]])
    """
    counts = _counts(X, least=0)
    counts.data = np.sqrt(counts.data) * _idf(counts)[counts.col]
    return counts


def normalize(X: Any) -> scipy.sparse.coo_matrix:
    """Divide each row by its length; rows of zeros stay.

    Raises:
        DataError: It is no matrix, or a value is not finite.
    """
    values = _counts(X)
    length = np.sqrt(np.bincount(values.row, values.data**2, minlength=values.shape[0]))
    values.data = values.data / np.where(length > 0, length, 1)[values.row]
    return values


def bm25_weight(X: Any, K1: float = 100, B: float = 0.8) -> scipy.sparse.coo_matrix:
    """Weight counts by BM25: x (K1 + 1) / (x + K1 (1 - B + B l / mean l)) (log N - log(1 + n)), l the sum of the row.

    Args:
        X: Matrix of counts >= 0, what is described in rows: items x users for neighbours of items.
        K1: Count from which on more of it hardly adds.
        B: How far the weights of long rows are lowered, 0 to 1.

    Returns:
        A matrix of the same cells (float64).

    Raises:
        DataError: It is no matrix, or a count is negative or not finite.
        ConfigurationError: `K1` or `B` lies outside its range.

    Example:
        >>> import scipy
        >>> from jaxals.implicit_api._weightings import bm25_weight
        >>> bm25_weight(scipy.sparse.csr_matrix([[4.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), K1=1.2, B=0.0).toarray()
        array([[0.69, 0.  ],
               [0.  , 0.41],
               [0.  , 0.  ]])
    """
    require_bm25(K1, B)
    counts = _counts(X, least=0)
    length = np.bincount(counts.row, counts.data, minlength=counts.shape[0])
    mean = length.mean() if length.any() else 1.0
    divisor = K1 * (1.0 - B + B * length / mean)[counts.row] + counts.data
    counts.data = counts.data * (K1 + 1.0) / np.where(divisor > 0, divisor, 1) * _idf(counts)[counts.col]
    return counts


def require_bm25(k1: Any, b: Any) -> None:
    """Refuse settings of BM25 outside their ranges."""
    for name, value in (("K1", k1), ("B", b)):
        require_number(name, value)
        require_at_least(name, value, 0)
    if b > 1:
        raise ConfigurationError(f"`B` must be >= 0 and <= 1; got {b}.")


def _counts(matrix: Any, least: float = -np.inf) -> scipy.sparse.coo_matrix:
    """Copy a matrix in float64, with each cell once."""
    is_known = scipy.sparse.issparse(matrix) or isinstance(matrix, np.ndarray)
    # Converted in silence: implicit takes every format here.
    matrix = as_csr("X", scipy.sparse.csr_matrix(matrix) if is_known and matrix.ndim == 2 else matrix)
    counts = scipy.sparse.coo_matrix(matrix.astype(np.float64))
    counts.sum_duplicates()
    wrong = counts.data[~(np.isfinite(counts.data) & (counts.data >= least))]
    if wrong.size:
        raise DataError(f"`X` must hold finite counts{' >= 0' if least == 0 else ''}; got {wrong[0]}.")
    return counts


def _idf(counts: scipy.sparse.coo_matrix) -> np.ndarray:
    # An explicit zero is no occurrence.
    n_with = np.bincount(counts.col[counts.data != 0], minlength=counts.shape[1])
    return np.log(max(counts.shape[0], 1)) - np.log1p(n_with)
