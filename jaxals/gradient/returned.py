"""What functions of one's own gave back, checked where they are called. Device side."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals._base.arguments import require_array, told
from jaxals._base.checks import require_scalar
from jaxals.errors import ConfigurationError


def penalty_of(value: Any, dtype: Any) -> Float[Array, ""]:
    """Return what a penalty made as an array.

    Raises:
        ConfigurationError: It is not one number.
    """
    require_scalar("penalty", value, "a function that returns one number")
    return jnp.asarray(value, dtype)


def losses_of(cells: Any, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Return what a loss of observed pairs made: a number for each of them.

    Raises:
        ConfigurationError: It is something else; one number for all would be taken for that of each.
    """
    what = "a function that returns an array of floating-point numbers, one for each value"
    require_array("observed_loss", cells, None, jnp.floating, what)
    if cells.shape != shape:
        raise ConfigurationError(
            f"`observed_loss` must return one number for each value, of shape {shape}; got {told(cells)}."
        )
    return cells
