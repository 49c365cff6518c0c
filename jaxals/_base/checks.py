"""Checks of settings that several modules share; concrete values only, before anything is traced. Host side."""

import types
from typing import Any

import numpy as np

from jaxals.errors import ConfigurationError


def require_at_least(name: str, value: Any, least: float) -> None:
    """Refuse a concrete number below `least`, and NaN; JAX arrays and tracers pass, since they may be batched.

    Example:
        >>> from jaxals._base.checks import require_at_least
        >>> require_at_least("alpha", 1.0, 0)
    """
    if _is_something_else(value) or (_is_number(value) and not value >= least):
        raise ConfigurationError(f"`{name}` must be >= {least}; got {_shown(value)}.")


def require_positive(name: str, value: Any) -> None:
    """Refuse a concrete number that is not above 0; JAX arrays and tracers pass."""
    if _is_something_else(value) or (_is_number(value) and not value > 0):
        raise ConfigurationError(f"`{name}` must be > 0; got {_shown(value)}.")


def require_finite(name: str, value: Any) -> None:
    """Refuse a concrete number that is infinite or NaN; JAX arrays and tracers pass."""
    if _is_something_else(value) or (_is_number(value) and not np.isfinite(value)):
        raise ConfigurationError(f"`{name}` must be finite; got {_shown(value)}.")


def require_integer(name: str, value: Any, least: int) -> None:
    """Refuse anything but a Python or NumPy integer of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigurationError(f"`{name}` must be an integer >= {least}; got {value!r}.")


def require_fraction(name: str, value: Any) -> None:
    """Refuse anything but a number above 0 and below 1."""
    if not _is_number(value) or not 0 < value < 1:
        raise ConfigurationError(f"`{name}` must be above 0 and below 1; got {value!r}.")


def require_one_of(name: str, value: Any, *options: str | None) -> None:
    """Refuse anything but one of some words, or None where that is among them.

    Example:
        >>> from jaxals._base.checks import require_one_of
        >>> require_one_of("dtype", "float32", "float32", "float64")
    """
    # Not by `in` alone, which fails on arrays.
    if not (value is None or isinstance(value, str)) or value not in options:
        *first, last = ("None" if option is None else f'"{option}"' for option in options)
        raise ConfigurationError(f"`{name}` must be {', '.join(first)} or {last}; got {value!r}.")


def require_side(side: Any) -> None:
    """Refuse anything but "user" and "item"."""
    require_one_of("side", side, "user", "item")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _is_something_else(value: Any) -> bool:
    # By what is no number for sure: what stands for one may be a tracer, or a pytree of one's own.
    builtins = (str, bytes, complex, type(None), list, tuple, dict, set, frozenset, range, type, types.FunctionType)
    return isinstance(value, builtins) or (isinstance(value, np.ndarray) and value.dtype.kind not in "biuf")


def _shown(value: Any) -> str:
    return str(value) if _is_number(value) else repr(value)
