"""Checks of settings that several modules share; concrete values only, before anything is traced. Host side."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxals._base.arguments import told
from jaxals.errors import ConfigurationError

_MOST_INTEGER = 2**63 - 1


def require_at_least(name: str, value: Any, least: float) -> None:
    """Refuse a concrete number below `least`, and NaN; JAX arrays and tracers pass, since they may be batched.

    Example:
        >>> from jaxals._base.checks import require_at_least
        >>> require_at_least("alpha", 1.0, 0)
    """
    if _is_something_else(value) or (_is_number(value) and not value >= least):
        raise ConfigurationError(f"`{name}` must be >= {least}; got {told(value)}.")


def require_positive(name: str, value: Any) -> None:
    """Refuse a concrete number that is not above 0; JAX arrays and tracers pass."""
    if _is_something_else(value) or (_is_number(value) and not value > 0):
        raise ConfigurationError(f"`{name}` must be > 0; got {told(value)}.")


def require_finite(name: str, value: Any) -> None:
    """Refuse a concrete number that is infinite or NaN; JAX arrays and tracers pass."""
    if _is_something_else(value) or (_is_number(value) and not _is_finite(value)):
        raise ConfigurationError(f"`{name}` must be finite; got {told(value)}.")


def require_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse anything but a Python or NumPy integer of `least` or more, and at most `most`, or what 64 bits hold."""
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
    if not is_integer or value < least or value > (_MOST_INTEGER if most is None else most):
        up_to = "" if most is None else f" and at most {most}"
        raise ConfigurationError(f"`{name}` must be an integer >= {least}{up_to}; got {told(value)}.")


def require_fraction(name: str, value: Any) -> None:
    """Refuse anything but a number above 0 and below 1."""
    if not _is_number(value) or not 0 < value < 1:
        raise ConfigurationError(f"`{name}` must be above 0 and below 1; got {told(value)}.")


def require_one_of(name: str, value: Any, *options: str | None) -> None:
    """Refuse anything but one of some words, or None where that is among them.

    Example:
        >>> from jaxals._base.checks import require_one_of
        >>> require_one_of("dtype", "float32", "float32", "float64")
    """
    # Not by `in` alone, which fails on arrays.
    if not (value is None or isinstance(value, str)) or value not in options:
        *first, last = ("None" if option is None else f'"{option}"' for option in options)
        raise ConfigurationError(f"`{name}` must be {', '.join(first)} or {last}; got {told(value)}.")


def require_side(side: Any) -> None:
    """Refuse anything but "user" and "item"."""
    require_one_of("side", side, "user", "item")


def require_number(name: str, value: Any, what: str = "a number") -> None:
    """Refuse anything but a concrete number: what shapes no program, and is not traced."""
    if not _is_number(value) or isinstance(value, np.ndarray) or _is_past_floats(value):
        raise ConfigurationError(f"`{name}` must be {what}; got {told(value)}.")


def require_scalar(name: str, value: Any, what: str = "one number") -> None:
    """Refuse anything but a number, or an array or tracer without a dimension."""
    if _is_something_else(value) or np.shape(value) != () or _is_past_floats(value):
        raise ConfigurationError(f"`{name}` must be {what}; got {told(value)}.")


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:  # an integer past all floats
        return False


def _is_past_floats(value: Any) -> bool:
    return isinstance(value, int) and not _is_finite(value)


def _is_something_else(value: Any) -> bool:
    # What stands for a number may be an array of them, or a tracer.
    if isinstance(value, jax.Array):
        return not any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer))
    is_array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    return not (_is_number(value) or (is_array and value.dtype.kind in "iuf"))
