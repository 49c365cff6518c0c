"""What a model has jaxals compute: sweeps, fold-ins and the loss in implicit's scale. Host side."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from jaxals._base.forks import refuse_forked_process
from jaxals.als.half_steps import half_step
from jaxals.als.layout.tiles import build_tiles
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver
from jaxals.als.sweeps import sweep
from jaxals.data.interactions import COO
from jaxals.errors import DataError
from jaxals.implicit_api._errors import not_finite
from jaxals.implicit_api._inputs import interactions_of, table_of, tiles_of
from jaxals.implicit_api._settings import device_of, generator_of
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

# Entries: at 100 factors a sweep of so many takes a fraction of a second even in float64.
_SMALL = 2**14


@contextlib.contextmanager
def computing(dtype: Any, use_gpu: bool | None) -> Iterator[None]:
    """Let JAX compute in a dtype and on a device, whatever the program around has set."""
    refuse_forked_process()
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
        ConfigurationError: `random_state` is no seed.
        DataError: There is no user or no item; or a table is none, is not finite, does not have one row per user or
            item, or is wider than the other.
    """
    if not all(shape):
        raise DataError(f"The matrix has {shape[0]} users and {shape[1]} items, so that there is nothing to learn.")
    generator = generator_of(random_state)
    # Users first: the order of the draws is part of what a seed means.
    draw = lambda rows, width: generator.random((rows, width), dtype=dtype) * 0.01
    user = None if user is None else table_of("user_factors", user)
    item = None if item is None else table_of("item_factors", item)
    widths = [table.shape[1] for table in (user, item) if table is not None]
    if len(set(widths)) == 2:
        raise DataError(f"The model's factors are {widths[0]} and {widths[1]} wide; both must be alike.")
    width = widths[0] if widths else factors
    user = draw(shape[0], width) if user is None else user
    item = draw(shape[1], width) if item is None else item
    if (len(user), len(item)) != shape:
        turned = "pass `.T.tocsr()`, or " if (len(item), len(user)) == shape else ""
        raise DataError(
            f"The matrix has {shape} users and items, but the model's factors are for {(len(user), len(item))}; "
            f"{turned}set `user_factors` and `item_factors` to None to start anew."
        )
    for name, table in (("user_factors", user), ("item_factors", item)):
        if not np.isfinite(table).all():
            raise DataError(f"`{name}` must be finite to go on from; it holds NaN or inf.")
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
                raise not_finite(
                    f"NaN encountered in factors, in {rows} rows. Try increasing the regularization parameter."
                )
            loss = _training_loss(objective, factors, entries, confidences) if entries else None
        yield factors, loss


def fold_in(confidences: Any, other: np.ndarray, objective: Objective) -> np.ndarray:
    """Solve rows exactly against the other side's table, which has a row for each of their columns.

    Raises:
        ModelFitError: A row came out with a factor that is not finite.
    """
    n_rows = confidences.shape[0]
    tiles = tiles_of(confidences, len(other), other.shape[1], other.dtype)
    rows = np.array(half_step(tiles, jnp.asarray(other), objective, Cholesky())[0])[:n_rows]
    if not np.isfinite(rows).all():
        raise not_finite("NaN encountered in factors. Try increasing the regularization parameter.")
    return rows


def user_matrix(row: Any, item_factors: np.ndarray, gram: np.ndarray, regularization: float) -> Any:
    """Return the Cholesky factor of a user's matrix, as SciPy gives it and implicit hands it out.

    In float64 whatever the factors, on the host: one small matrix, whose factor the caller keeps for reuse.

    Raises:
        ModelFitError: The matrix is singular.
    """
    vectors = item_factors[row.indices].astype(np.float64)
    matrix = gram + regularization * np.eye(len(gram)) + (vectors.T * (np.abs(row.data) - 1)) @ vectors
    try:
        return scipy.linalg.cho_factor(matrix)
    except np.linalg.LinAlgError:
        raise not_finite("The user's matrix is singular. Try increasing the regularization parameter.") from None


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
