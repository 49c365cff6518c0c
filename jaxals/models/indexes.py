"""Vectors for indexes of nearest neighbours, and the indexes themselves: FAISS, hnswlib, usearch. Host side.

A score is an inner product, and indexes are made for that. `normalized` vectors are for what is alike, `augmented` ones
for what knows nothing but cosines.
"""

import importlib
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxals._base.arguments import require_array
from jaxals._base.checks import require_integer, require_one_of
from jaxals.errors import DataError, MissingDependencyError
from jaxals.objective.factors import Factors, require_factors

# The programs make room for as much at once.
_MOST_NEIGHBOURS, _MOST_EFFORT = 1024, 100_000

Measure = Literal["dot", "cosine"]
Table = Float[np.ndarray, "rows factors"] | Float[Array, "rows factors"]


def normalized(factors: Factors) -> Factors:
    """Divide each row by its length, so that inner products are cosines; rows of zeros stay.

    Args:
        factors: Both tables.

    Returns:
        Tables of the same shapes, whose scores are cosines of users and items.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> factors = jaxals.Factors(jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0], [0.0, 0.0]]))
        >>> vectors = jaxals.exports.normalized(factors)
        >>> vectors.user.round(2).tolist(), vectors.item.tolist()
        ([[0.6..., 0.8...]], [[0.0, 1.0], [0.0, 0.0]])
    """
    require_factors("factors", factors)
    return Factors(*(jnp.asarray(_unit(np.asarray(table))) for table in (factors.user, factors.item)))


def augmented(factors: Factors) -> Factors:
    """Make vectors with one number more, whose cosines rank the items of each user as the inner products did.

    With φ the longest item's length, an item y becomes (y/φ, √(1 - |y|²/φ²)) and a user x becomes (x/|x|, 0): all are
    of length 1, and the cosine of a pair is x·y / (φ |x|) (Bachrach et al. 2014, section 3). Search them exhaustively:
    graphs that found .99 of the best by inner products found .2 to .6 by these (`docs/how-to/serve.md`).

    Args:
        factors: Both tables.

    Returns:
        Tables of one column more. Rows of zeros stay, for nothing is known of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> factors = jaxals.Factors(jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0], [1.2, 0.0]]))
        >>> vectors = jaxals.exports.augmented(factors)
        >>> factors.scores(jnp.array([0])).tolist(), vectors.scores(jnp.array([0])).round(2).tolist()
        ([[8.0, 3.6...]], [[0.8..., 0.36...]])
    """
    require_factors("factors", factors)
    user, item = (np.asarray(table, np.float64) for table in (factors.user, factors.item))
    lengths = np.linalg.norm(item, axis=1)
    longest = float(np.max(lengths, initial=0.0)) or 1.0
    rest = np.sqrt(np.maximum(1.0 - (lengths / longest) ** 2, 0.0)) * (lengths > 0)
    items = np.concatenate([item / longest, rest[:, None]], axis=1)
    users = np.concatenate([_unit(user), np.zeros((len(user), 1))], axis=1)
    return Factors(jnp.asarray(users, factors.user.dtype), jnp.asarray(items, factors.item.dtype))


def faiss_index(table: Table, measure: Measure = "dot", neighbours: int | None = None, effort: int = 200) -> Any:
    """Put the rows of a table into an index of FAISS; those of zeros are left out.

    Args:
        table: [rows, factors], such as `factors.item`; what is found are positions in it.
        measure: "dot", or "cosine" of the rows with what is looked for.
        neighbours: None looks at all rows, which is exact; else each row is linked to so many others (HNSW).
        effort: How many rows such a graph keeps in view, when it is made and when it is searched.

    Returns:
        A `faiss.IndexIDMap2`: `scores, positions = index.search(vectors, 10)`, best first, -1 where there are no more.

    Raises:
        ConfigurationError: A setting lies outside its range.
        DataError: `table` is no table of finite numbers.
        MissingDependencyError: FAISS is not installed.

    Example:
        >>> import numpy as np
        >>> import jaxals
        >>> import pytest; _ = pytest.importorskip("faiss")  # leave this out: it skips the example
        >>> index = jaxals.exports.faiss_index(np.eye(3, 2, dtype=np.float32))
        >>> scores, positions = index.search(np.array([[1.0, 3.0]], np.float32), 3)
        >>> positions.tolist()
        [[1, 0, -1]]
    """
    position, rows = _rows(table, measure, effort)
    if neighbours is not None:
        _require_neighbours(neighbours)
    faiss = _library("faiss", "jaxals[index]")
    inner: Any = faiss.IndexFlatIP(rows.shape[1])
    if neighbours is not None:
        inner = faiss.IndexHNSWFlat(rows.shape[1], int(neighbours), faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = inner.hnsw.efSearch = int(effort)
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(rows, position)
    return index


def hnswlib_index(table: Table, measure: Measure = "dot", neighbours: int = 16, effort: int = 200) -> Any:
    """Put the rows of a table into a graph of hnswlib; those of zeros are left out.

    Args:
        table: As in `faiss_index`: [rows, factors].
        measure: "dot" or "cosine".
        neighbours: How many others each row is linked to.
        effort: How many rows are kept in view.

    Returns:
        An `hnswlib.Index`: `positions, distances = index.knn_query(vectors, k=10)`; scores are 1 - distances.

    Raises:
        ConfigurationError: A setting lies outside its range.
        DataError: `table` is no table of finite numbers.
        MissingDependencyError: hnswlib is not installed.

    Example:
        >>> import numpy as np
        >>> import jaxals
        >>> import pytest; _ = pytest.importorskip("hnswlib")  # leave this out: it skips the example
        >>> index = jaxals.exports.hnswlib_index(np.eye(3, 2, dtype=np.float32))
        >>> index.knn_query(np.array([[1.0, 3.0]], np.float32), k=2)[0].tolist()
        [[1, 0]]
    """
    position, rows = _rows(table, measure, effort)
    _require_neighbours(neighbours)
    hnswlib = _library("hnswlib", "hnswlib")
    index = hnswlib.Index(space="ip" if measure == "dot" else "cosine", dim=rows.shape[1])
    index.init_index(max_elements=max(len(rows), 1), M=int(neighbours), ef_construction=int(effort))
    if len(rows):  # hnswlib fails on none
        index.add_items(rows, position)
    index.set_ef(int(effort))
    return index


def usearch_index(table: Table, measure: Measure = "dot", neighbours: int = 16, effort: int = 200) -> Any:
    """Put the rows of a table into a graph of usearch; those of zeros are left out.

    Takes and refuses what `hnswlib_index` does.

    Returns:
        A `usearch.index.Index`: `index.search(vectors, 10).keys` are positions, a row for each of several vectors;
        scores are 1 - `distances`.

    Example:
        >>> import numpy as np
        >>> import jaxals
        >>> import pytest; _ = pytest.importorskip("usearch.index")  # leave this out: it skips the example
        >>> index = jaxals.exports.usearch_index(np.eye(3, 2, dtype=np.float32))
        >>> index.search(np.array([[1.0, 3.0], [3.0, 1.0]], np.float32), 2).keys.tolist()
        [[1, 0], [0, 1]]
    """
    position, rows = _rows(table, measure, effort)
    _require_neighbours(neighbours)
    usearch = _library("usearch.index", "usearch")
    index = usearch.Index(
        ndim=rows.shape[1],
        metric="ip" if measure == "dot" else "cos",
        dtype="f32",
        connectivity=int(neighbours),
        expansion_add=int(effort),
        expansion_search=int(effort),
    )
    index.add(position, rows)
    return index


def _library(module: str, requirement: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise MissingDependencyError(f"`{name}_index` needs {name}: pip install '{requirement}'.") from None


def _require_neighbours(neighbours: Any) -> None:
    require_integer("neighbours", neighbours, 2, _MOST_NEIGHBOURS)


def _rows(table: Any, measure: Any, effort: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the rows that are not zero, int64, and these rows, float32."""
    what = "a 2-D array of finite floating-point numbers, such as `factors.item`"
    require_array("table", table, 2, jnp.floating, what, DataError)
    require_one_of("measure", measure, "dot", "cosine")
    require_integer("effort", effort, 1, _MOST_EFFORT)
    rows = np.ascontiguousarray(np.asarray(table, np.float32))
    if not np.isfinite(rows).all() or not rows.shape[1]:
        raise DataError(f"`table` must be {what}; one of its numbers is not finite, or it has no column.")
    position = np.flatnonzero(rows.any(axis=1))
    rows = rows[position]
    return position.astype(np.int64), _unit(rows) if measure == "cosine" else rows


def _unit(table: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(table.astype(np.float64), axis=1, keepdims=True)
    return (table / np.where(lengths > 0, lengths, 1.0)).astype(table.dtype)
