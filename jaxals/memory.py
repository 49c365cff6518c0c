"""Saying no before the machine runs out of memory. Host side."""

import jax
import psutil

from jaxals.errors import ConfigurationError


def require_memory(need: int, what: str, remedy: str) -> None:
    """Refuse work that needs more memory than the default device has free.

    Args:
        need: Bytes that `what` will hold at its peak.
        what: Named in the message.
        remedy: What would fit, named in the message.

    Raises:
        ConfigurationError: It cannot fit.
    """
    free = available_memory()
    if need > free:
        raise ConfigurationError(f"{what} needs about {_readable(need)}, but {_readable(free)} is free; {remedy}.")


def available_memory() -> int:
    """Return the bytes that the default device can still give."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return psutil.virtual_memory().available


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
