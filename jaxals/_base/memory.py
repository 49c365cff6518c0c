"""Memory: saying no before the machine runs out of it, and giving it back. Host side."""

import contextlib
import ctypes
from pathlib import Path

import jax
import psutil

from jaxals.errors import ConfigurationError

_CGROUP = Path("/sys/fs/cgroup")


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
    """Return the bytes that the default device can still give; on CPU no more than the process's container has left."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    free = psutil.virtual_memory().available
    left = _left_in_container()
    return free if left is None else min(free, left)


def give_back_memory() -> None:
    """Return to the system what has been freed; glibc keeps it otherwise, 0.3 GB after compiling a sweep."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _left_in_container() -> int | None:
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such container, or "max": no limit
        return None
    # Files that were read stay counted until their memory is wanted.
    return max(0, limit - used + int(statistics.get("inactive_file", 0)))


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
