"""Confidences: what a raw value weighs in the normal equations. Device side.

A confidence is any callable pytree that maps values r to two arrays of the same shape: the Gram weight g (what the
entry adds to the row's matrix, g y yᵀ) and the target weight b (what it adds to the right-hand side, b y). Its array
leaves can be differentiated, vmapped and swept. To write your own, decorate a class with `jaxals.pytree`, or wrap a
function: `jax.tree_util.Partial(lambda alpha, r: (alpha * r, 1 + alpha * r), 40.0)`.

A value below zero means dislike: its weight comes from |r| and its target is zero, so b = 0.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxals._base.arguments import require_array, told, told_error
from jaxals._base.checks import require_finite, require_positive
from jaxals._base.pytree import pytree, static
from jaxals._base.tracing import calling
from jaxals.errors import ConfigurationError, JaxalsError

Scalar = Float[Array, ""] | float
Weights = tuple[Float[Array, "*shape"], Float[Array, "*shape"]]


@runtime_checkable
class Confidence(Protocol):
    """What an entry weighs: any callable pytree from values r to (g, b), Gram weights and target weights.

    g is what an entry adds to the matrix of its row, g y yᵀ, and b what it adds to the right-hand side, b y. In the
    loss, its pair then weighs c = g + w0, and its target is p = b / c: return g = c - w0 and b = c p.

    Write a class with `jaxals.pytree`, whose fields are numbers or arrays to be differentiated, swept or saved, and
    whose `__call__` takes an array of any shape and returns two of the same shape and dtype, by `jax.numpy`. Where an
    entry means dislike, b is 0. It is never called with the value 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> @jaxals.pytree
        ... class SquareRoot:
        ...     alpha: float = 40.0
        ...     def __call__(self, value):
        ...         gram_weight = self.alpha * jnp.sqrt(jnp.abs(value))
        ...         return gram_weight, jnp.where(value > 0, 1 + gram_weight, 0)
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> objective = jaxals.Objective(SquareRoot(2.0), regularization=1.0)
        >>> run = jaxals.fit(data, objective, jaxals.ALS(factors=4, sweeps=3), progress=False)
        >>> bool(run.history["loss"].is_monotonic_decreasing)
        True
    """

    def __call__(self, value: Float[Array, "*shape"], /) -> Weights:
        """Return g and b for each value."""


@pytree
class LinearConfidence:
    """g = α|r|, b = 1 + α r (Hu, Koren and Volinsky 2008, section 4; Spark MLlib weighs alike).

    Attributes:
        alpha: α > 0.

    Raises:
        ConfigurationError: A concrete α is not above 0 and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> jaxals.LinearConfidence(alpha=40.0)(jnp.array([1.0, -2.0], jnp.float32))
        (Array([40., 80.], dtype=float32), Array([41.,  0.], dtype=float32))
    """

    alpha: Scalar = 40.0

    def __post_init__(self) -> None:
        _require_range(alpha=self.alpha)

    def __call__(self, value: Float[Array, "*shape"]) -> Weights:
        """Return g and b for each value."""
        require_array("value", value, None, jnp.floating, "an array of floating-point numbers")
        gram_weight = self.alpha * jnp.abs(value)
        return gram_weight, _liked(value, 1 + gram_weight)


@pytree
class ImplicitConfidence:
    """g = α|r| - 1, b = α r: the full weight of an observed cell is α|r| (the implicit library).

    Attributes:
        alpha: α > 0.

    Raises:
        ConfigurationError: A concrete α is not above 0 and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> gram_weight, target_weight = jaxals.ImplicitConfidence(alpha=2.0)(jnp.array([3.0, -1.0]))
        >>> gram_weight.tolist(), target_weight.tolist()
        ([5.0, 1.0], [6.0, 0.0])
    """

    alpha: Scalar = 1.0

    def __post_init__(self) -> None:
        _require_range(alpha=self.alpha)

    def __call__(self, value: Float[Array, "*shape"]) -> Weights:
        """Return g and b for each value."""
        require_array("value", value, None, jnp.floating, "an array of floating-point numbers")
        full_weight = self.alpha * jnp.abs(value)
        return full_weight - 1, _liked(value, full_weight)


@pytree
class LogConfidence:
    """g = α log(1 + |r|/ε), b = 1 + g: for heavy-tailed counts (Hu, Koren and Volinsky 2008, eq. 6).

    Attributes:
        alpha: α > 0.
        epsilon: ε > 0, the value from which on counts are damped.

    Raises:
        ConfigurationError: A concrete α or ε is not above 0 and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> gram_weight, target_weight = jaxals.LogConfidence(alpha=2.0, epsilon=1.0)(jnp.array([1.0, 3.0]))
        >>> gram_weight.tolist(), target_weight.tolist()
        ([1.386, 2.773], [2.386, 3.773])
    """

    alpha: Scalar = 40.0
    epsilon: Scalar = 1.0

    def __post_init__(self) -> None:
        _require_range(alpha=self.alpha, epsilon=self.epsilon)

    def __call__(self, value: Float[Array, "*shape"]) -> Weights:
        """Return g and b for each value."""
        require_array("value", value, None, jnp.floating, "an array of floating-point numbers")
        gram_weight = self.alpha * jnp.log1p(jnp.abs(value) / self.epsilon)
        return gram_weight, _liked(value, 1 + gram_weight)


@pytree
class BinaryConfidence:
    """g = 1, b = 1 for every entry, whatever its value (Rendle, Krichene, Zhang and Koren 2021, eq. 4).

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> gram_weight, target_weight = jaxals.BinaryConfidence()(jnp.array([3.0, -1.0]))
        >>> gram_weight.tolist(), target_weight.tolist()
        ([1.0, 1.0], [1.0, 0.0])
    """

    def __call__(self, value: Float[Array, "*shape"]) -> Weights:
        """Return g and b for each value."""
        require_array("value", value, None, jnp.floating, "an array of floating-point numbers")
        ones = jnp.ones_like(value)
        return ones, _liked(value, ones)


def weights_of(confidence: Confidence, value: Float[Array, "*shape"]) -> Weights:
    """Call a confidence, which a user may have written.

    Raises:
        ConfigurationError: It fails, or returns something else than two arrays of the values' shape.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.objective.confidence import weights_of
        >>> [weight.tolist() for weight in weights_of(jaxals.LinearConfidence(2.0), jnp.array([1.0, -3.0]))]
        [[2.0, 6.0], [3.0, 0.0]]
    """
    try:
        with calling("confidence"):
            weights = confidence(value)
    except JaxalsError:
        raise
    except Exception as error:  # it is the user's code
        raise ConfigurationError(
            f"`confidence` must take an array and use `jax.numpy`; {told(confidence)} fails: {told_error(error)}."
        ) from error
    shapes = [np.shape(weight) for weight in weights] if isinstance(weights, (tuple, list)) else None
    if shapes != [value.shape] * 2:
        what = f"{len(shapes)} of shapes {shapes}" if shapes is not None else told(weights)
        raise ConfigurationError(
            "`confidence` must return two arrays of the values' shape, Gram weights and target weights; from "
            f"values of shape {value.shape}, {told(confidence)} made {what}."
        )
    return weights


def opened(confidence: Confidence, dtype: Any) -> Confidence:
    """Return a confidence whose leaves are all that it may be differentiated by.

    A function such as `lambda r: (alpha * r, 1 + alpha * r)` may read an `alpha` that JAX traces. Where derivatives are
    given by what the leaves are, that by such an array would silently be zero.

    Args:
        confidence: Any.
        dtype: Of the values that it will be called with.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxals.objective.confidence import opened
        >>> def leaves(alpha):
        ...     confidence = jax.tree_util.Partial(lambda r: (alpha * r, 1 + alpha * r))
        ...     return len(jax.tree.leaves(opened(confidence, jnp.float32)))
        >>> jax.eval_shape(lambda alpha: jnp.zeros(leaves(alpha)), 40.0).shape
        (1,)
    """
    example = jax.ShapeDtypeStruct((1, 1), dtype)
    function, arrays = jax.closure_convert(weights_of, confidence, example)
    return _Opened(confidence, tuple(arrays), function) if arrays else confidence


@pytree
class _Opened:
    confidence: Confidence
    arrays: tuple[Array, ...]
    function: Callable = static()

    def __call__(self, value: Float[Array, "*shape"]) -> Weights:
        # The function has a shape built in, that of one value.
        of_each = jax.vmap(lambda one: self.function(self.confidence, one, *self.arrays))
        return jax.tree.map(lambda weight: weight.reshape(value.shape), of_each(value.reshape(-1, 1, 1)))


def _require_range(**settings: Scalar) -> None:
    for name, value in settings.items():
        require_positive(name, value)
        require_finite(name, value)


def _liked(value: Float[Array, "*shape"], weight: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.where(value > 0, weight, jnp.zeros_like(weight))
