"""What each entry of a row adds to one of its scores: the explanations of a model. Device side."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array, told
from jaxals.als.kernels.factorization import Method, solve_symmetric
from jaxals.als.kernels.gram import weighted_gram
from jaxals.als.layout.machine import machine_of
from jaxals.errors import DataError
from jaxals.objective.factors import gramian
from jaxals.objective.objective import Objective, require_objective


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

    Raises:
        DataError: An array is none, or `column` and `value` differ in length.
        ConfigurationError: `objective` is none.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.als import contributions
        >>> item = jnp.array([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]])
        >>> column, value = jnp.array([0, 1]), jnp.array([2.0, 1.0])
        >>> parts = contributions(item, column, value, jnp.array(2), jaxals.Objective.hkv(alpha=1.0))
        >>> parts.shape, bool(parts[1] > parts[0])
        ((2,), True)
    """
    require_array("other", other, 2, jnp.floating, "a 2-D array of floating-point numbers", DataError)
    require_array("column", column, 1, jnp.integer, "a 1-D array of integers", DataError)
    require_array("value", value, 1, jnp.floating, "a 1-D array of floating-point numbers", DataError)
    require_array("target", target, 0, jnp.integer, "an integer, as an array", DataError)
    if column.shape != value.shape:
        raise DataError(f"`column` and `value` must have one length; got {len(column)} and {len(value)}.")
    if 0 in other.shape:
        raise DataError(f"`other` must have a row and a factor; got {told(other)}.")
    if other.dtype != value.dtype:
        raise DataError(f"`value` must be of the dtype of `other`, {other.dtype}; got {value.dtype}.")
    require_objective("objective", objective)
    return _contributions(other, column, value, target, objective, method=machine_of(None).factorization)


@functools.partial(jax.jit, static_argnames="method")
def _contributions(
    other: Float[Array, "columns factors"],
    column: Int[Array, " entries"],
    value: Float[Array, " entries"],
    target: Int[Array, ""],
    objective: Objective,
    method: Method,
) -> Float[Array, " entries"]:
    gram_weight, target_weight = objective.weights(value)
    gram, _ = weighted_gram(other[column], gram_weight, target_weight)
    count = jnp.sum(value != 0, dtype=jnp.int32)
    matrix = gram + objective.unobserved_weight * gramian(other)
    ridge = jnp.full(other.shape[1], objective.ridge(count, other.shape[0], other.dtype))
    direction = solve_symmetric(matrix[None], ridge[None], other[target][None], method=method)[0]
    return target_weight * jnp.matmul(other[column], direction, precision="highest")
