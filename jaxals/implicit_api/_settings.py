"""Settings of a model, checked when they are used: programs change them between two calls. Host side."""

from typing import Any

import jax
import numpy as np

from jaxals._base.arguments import first_line
from jaxals._base.checks import require_at_least, require_integer, require_positive
from jaxals.errors import ConfigurationError
from jaxals.implicit_api._errors import brief

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def require_settings(model: Any) -> None:
    """Refuse settings of a model with which it cannot train.

    Raises:
        ConfigurationError: One lies outside its range.
    """
    require_integer("factors", model.factors, 1)
    require_integer("iterations", model.iterations, 0)
    require_integer("cg_steps", model.cg_steps, 1)
    require_dtype(model.dtype)
    require_weights(model)
    for name in ("use_cg", "calculate_training_loss"):
        if not isinstance(getattr(model, name), (bool, np.bool_, int, np.integer)):
            raise ConfigurationError(f"`{name}` must be True or False; got {brief(getattr(model, name))}.")


def require_weights(model: Any) -> None:
    """Refuse an alpha that is no number > 0, or a regularization that is none >= 0: whatever solves rows uses both."""
    require_number("alpha", model.alpha)
    require_positive("alpha", model.alpha)
    require_number("regularization", model.regularization)
    require_at_least("regularization", model.regularization, 0)


def require_number(name: str, value: Any) -> None:
    """Refuse what is no number that float32 can hold."""
    scalar = np.asarray(value) if isinstance(value, (int, float, np.generic, np.ndarray, jax.Array)) else np.asarray("")
    # Integers past 64 bits are objects.
    is_number = scalar.ndim == 0 and (scalar.dtype.kind in "iuf" or type(value) is int)
    if not is_number:
        raise ConfigurationError(f"`{name}` must be a number; got {brief(value)}.")
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise ConfigurationError(f"`{name}` must be finite in float32; got {brief(value)}.")


def require_dtype(dtype: Any) -> None:
    """Refuse what is neither float32 nor float64."""
    if not isinstance(dtype, np.dtype) or dtype not in _DTYPES:  # NumPy finds None equal to float64
        raise ConfigurationError(f"`dtype` must be float32 or float64; got {brief(dtype)}.")


def dtype_of(dtype: Any) -> np.dtype:
    """Read a dtype; None, which NumPy takes for float64, is none.

    Raises:
        ConfigurationError: It is neither float32 nor float64.
    """
    try:
        read = np.dtype(object if dtype is None else dtype)
    except (TypeError, ValueError):
        read = np.dtype(object)
    if read not in _DTYPES:
        raise ConfigurationError(f"`dtype` must be float32 or float64; got {brief(dtype)}.")
    return read


def require_callable(name: str, value: Any) -> None:
    """Refuse what is neither None nor can be called."""
    if value is not None and not callable(value):
        raise ConfigurationError(f"`{name}` must be None or a function; got {brief(value)}.")


def flag_of(name: str, value: Any) -> bool:
    """Read what a method is asked to do or not to do.

    Raises:
        ConfigurationError: It is neither yes nor no.
    """
    if not isinstance(value, (bool, np.bool_, int, np.integer, type(None))):
        raise ConfigurationError(f"`{name}` must be True or False; got {brief(value)}.")
    return bool(value)


def generator_of(random_state: Any) -> np.random.Generator:
    """Return the generator that implicit draws initial factors from.

    Raises:
        ConfigurationError: It is no seed.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    try:
        if isinstance(random_state, np.matrix):  # its rows are matrices for ever, and NumPy asks until it crashes
            raise TypeError
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"`random_state` must be None, an integer >= 0, or a random generator of NumPy; got {brief(random_state)}."
        ) from None


def device_of(use_gpu: Any) -> jax.Device | None:
    """Return the device that a model asks for, None for JAX's choice.

    Raises:
        ConfigurationError: There is none.
    """
    if use_gpu is None:
        return None
    if not isinstance(use_gpu, (bool, np.bool_, int, np.integer)):
        raise ConfigurationError(f"`use_gpu` must be True, False or None; got {brief(use_gpu)}.")
    try:
        return jax.local_devices(backend="gpu" if use_gpu else "cpu")[0]
    except RuntimeError as error:
        raise ConfigurationError(
            f"`use_gpu={use_gpu}` asks for a device that JAX does not have: {first_line(error)}."
        ) from None
