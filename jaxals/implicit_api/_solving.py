"""What a model has jaxals compute: sweeps, fold-ins and the loss in implicit's scale. Host side."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from jaxals._base.checks import require_integer
from jaxals.als.half_steps import half_step
from jaxals.als.layout.tiles import build_tiles
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver
from jaxals.als.sweeps import sweep
from jaxals.data.interactions import COO
from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api._errors import ModelFitError
from jaxals.implicit_api._inputs import device_of, generator_of, interactions_of, tiles_of
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

# Entries: at 100 factors a sweep of so many takes a fraction of a second even in float64.
_SMALL = 2**14


@contextlib.contextmanager
def computing(dtype: Any, use_gpu: bool | None) -> Iterator[None]:
    """Let JAX compute in a dtype and on a device, whatever the program around has set."""
    device = device_of(use_gpu)
    on_device = jax.default_device(device) if device else contextlib.nullcontext()
    with jax.enable_x64(bool(dtype == np.float64)), on_device:
        yield


def initial_tables(
    shape: tuple[int, int],
    factors: int,
    dtype: Any,
    random_state: Any,
    user: np.ndarray | None,
    item: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the tables that are missing, uniform in [0, 0.01), and check those that are there.

    Raises:
        ConfigurationError: `factors` is not an integer >= 1, or a table's dtype is neither float32 nor float64.
        DataError: A table does not have one row per user or item.
    """
    require_integer("factors", factors, 1)
    generator = generator_of(random_state)
    # Users first: the order of the draws is part of what a seed means.
    draw = lambda rows: generator.random((rows, factors), dtype=dtype) * 0.01
    user = draw(shape[0]) if user is None else user
    item = draw(shape[1]) if item is None else item
    if (len(user), len(item)) != shape:
        raise DataError(
            f"The matrix has {shape} users and items, but the model's factors are for {(len(user), len(item))}; "
            "set `user_factors` and `item_factors` to None to start anew."
        )
    for table in (user, item):
        if table.dtype not in (np.float32, np.float64):
            raise ConfigurationError(
                f"Invalid dtype {table.dtype} for cpu ALS model. Allowed dtypes are: float32 and float64"
            )
    return user, item


def tables_of(factors: Factors, user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copy factors into new arrays of the dtypes of two tables."""
    return np.array(factors.user, user.dtype), np.array(factors.item, item.dtype)


def sweeps(
    confidences: Any,
    user: np.ndarray,
    item: np.ndarray,
    objective: Objective,
    solver: Solver,
    use_gpu: bool | None,
    with_loss: bool,
) -> Iterator[tuple[Factors, float | None]]:
    """Update all users and then all items, again and again; yield the factors and their loss.

    Raises:
        ModelFitError: A row came out with a factor that is not finite.
    """
    dtype = _working_dtype(confidences, user, item)
    with computing(dtype, use_gpu):
        interactions = interactions_of(confidences, confidences.shape[1])
        cut = functools.partial(
            build_tiles, interactions, factors=user.shape[1], dtype=dtype, gram_size=solver.gram_size(user.shape[1])
        )
        user_tiles, item_tiles = cut("user"), cut("item")
        entries = interactions.to_coo(dtype) if with_loss else None
        factors = Factors(jnp.asarray(user, dtype), jnp.asarray(item, dtype))
    while True:
        # Not around the loop: the program that takes the factors must not find JAX set up differently.
        with computing(dtype, use_gpu):
            factors, info = sweep(user_tiles, item_tiles, factors, objective, solver)
            if rows := int(info.non_finite_rows):
                raise ModelFitError(
                    f"NaN encountered in factors, in {rows} rows. Try increasing the regularization parameter."
                )
            loss = _training_loss(objective, factors, entries, confidences) if entries else None
        yield factors, loss


def fold_in(confidences: Any, other: np.ndarray, objective: Objective) -> np.ndarray:
    """Solve rows exactly against the other side's table.

    Raises:
        ModelFitError: A row came out with a factor that is not finite.
        DataError: There are more columns than the table has rows.
    """
    n_rows, n_columns = confidences.shape
    if n_columns > len(other):
        raise DataError(f"The matrix has {n_columns} columns, but the model only {len(other)} rows for them.")
    tiles = tiles_of(confidences, len(other), other.shape[1], other.dtype)
    rows = np.array(half_step(tiles, jnp.asarray(other), objective, Cholesky())[0])[:n_rows]
    if not np.isfinite(rows).all():
        raise ModelFitError("NaN encountered in factors. Try increasing the regularization parameter.")
    return rows


def user_matrix(row: Any, item_factors: np.ndarray, gram: np.ndarray, regularization: float) -> Any:
    """Return the Cholesky factor of a user's matrix, as SciPy gives it and implicit hands it out.

    In float64 whatever the factors, on the host: one small matrix, whose factor the caller keeps for reuse.
    """
    vectors = item_factors[row.indices].astype(np.float64)
    matrix = gram + regularization * np.eye(len(gram)) + (vectors.T * (np.abs(row.data) - 1)) @ vectors
    return scipy.linalg.cho_factor(matrix)


def _working_dtype(confidences: Any, user: np.ndarray, item: np.ndarray) -> Any:
    # Float64 for small data, whatever the model's dtype: it costs nothing there, and toy problems are where systems
    # are nearly singular. With no ridge and as many factors as rows, float32 spoils the fourth digit of a score.
    return np.dtype(np.float64) if confidences.nnz <= _SMALL else np.result_type(user, item)


def _training_loss(objective: Objective, factors: Factors, entries: COO, confidences: Any) -> float:
    """Return the loss as implicit reports it: per unit of confidence.

    A disliked pair's confidence counts as a constant loss there, as if its target were 1.
    """
    weight = np.abs(confidences.data, dtype=np.float64)
    total = float(objective.loss(factors, entries)) + weight[confidences.data < 0].sum()
    n_users, n_items = confidences.shape
    return float(total / (weight.sum() + n_users * n_items - confidences.nnz))
