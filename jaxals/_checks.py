"""Checks of settings that several modules share; concrete values only, before anything is traced. Host side."""

from typing import Any

import numpy as np

from jaxals.errors import ConfigurationError


def require_at_least(name: str, value: Any, least: float) -> None:
    """Refuse a concrete number below `least`, and NaN; JAX arrays and tracers pass, since they may be batched.

    Example:
        >>> require_at_least("alpha", 1.0, 0)
    """
    if _is_number(value) and not value >= least:
        raise ConfigurationError(f"`{name}` must be >= {least}; got {value}.")


def require_positive(name: str, value: Any) -> None:
    """Refuse a concrete number that is not above 0; JAX arrays and tracers pass."""
    if _is_number(value) and not value > 0:
        raise ConfigurationError(f"`{name}` must be > 0; got {value}.")


def require_finite(name: str, value: Any) -> None:
    """Refuse a concrete number that is infinite or NaN; JAX arrays and tracers pass."""
    if _is_number(value) and not np.isfinite(value):
        raise ConfigurationError(f"`{name}` must be finite; got {value}.")


def require_integer(name: str, value: Any, least: int) -> None:
    """Refuse anything but a Python or NumPy integer of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigurationError(f"`{name}` must be an integer >= {least}; got {value!r}.")


def require_fraction(name: str, value: Any) -> None:
    """Refuse anything but a number above 0 and below 1."""
    if not _is_number(value) or not 0 < value < 1:
        raise ConfigurationError(f"`{name}` must be above 0 and below 1; got {value!r}.")


def require_side(side: Any) -> None:
    """Refuse anything but "user" and "item"."""
    if side not in ("user", "item"):
        raise ConfigurationError(f'`side` must be "user" or "item"; got {side!r}.')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0)
