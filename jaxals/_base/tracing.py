"""Functions of one's own that JAX traces: what it says of those that it cannot, in our words. Device side."""

import contextlib
from collections.abc import Iterator

import jax

from jaxals.errors import ConfigurationError

_OF_TRACING = (jax.errors.JAXTypeError, jax.errors.NonConcreteBooleanIndexError)


@contextlib.contextmanager
def calling(name: str) -> Iterator[None]:
    """Explain what goes wrong in a function of one's own because its arrays are traced, and have no numbers yet.

    Args:
        name: Of the argument that the function was given as.

    Raises:
        ConfigurationError: The function needs numbers; JAX's own error is its cause.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from jaxals._base.tracing import calling
        >>> def root(value):
        ...     with calling("confidence"):
        ...         return np.sqrt(value)
        >>> jax.jit(root)(2.0)
        Traceback (most recent call last):
            ...
        jaxals.errors.ConfigurationError: `confidence` is compiled by JAX, and must ...
    """
    try:
        yield
    except _OF_TRACING as error:
        raise ConfigurationError(
            f"`{name}` is compiled by JAX, and must compute with `jax.numpy` in the place of NumPy and `float`, and "
            f"choose by `jnp.where` in the place of `if`; JAX says {type(error).__name__}."
        ) from error
