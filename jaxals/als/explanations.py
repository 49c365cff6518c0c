"""What each entry of a row adds to one of its scores: the explanations of a model. Device side."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals.als.kernels.factorization import solve_symmetric
from jaxals.als.kernels.gram import weighted_gram
from jaxals.objective.factors import gramian
from jaxals.objective.objective import Objective


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
    gram_weight, target_weight = objective.weights(value)
    gram, _ = weighted_gram(other[column], gram_weight, target_weight)
    count = jnp.sum(value != 0, dtype=jnp.int32)
    matrix = gram + objective.unobserved_weight * gramian(other)
    ridge = jnp.full(other.shape[1], objective.ridge(count, other.shape[0], other.dtype))
    direction = solve_symmetric(matrix[None], ridge[None], other[target][None])[0]
    return target_weight * jnp.matmul(other[column], direction, precision="highest")
