"""Memory: saying no before the machine runs out of it, and giving it back. Host side."""

import contextlib
import ctypes
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import psutil

from jaxals._base.cgroup import memory_left
from jaxals.errors import ConfigurationError


@runtime_checkable
class Device(Protocol):
    """A device of JAX, of which only this is asked."""

    def memory_stats(self) -> Any:
        """Return bytes by name; None where the device does not tell."""


def require_memory(need: int, what: str, remedy: str, devices: Iterable[Device] = ()) -> None:
    """Refuse work that needs more memory than there is free.

    Args:
        need: Bytes that `what` will hold at its peak.
        what: Named in the message.
        remedy: What would fit, named in the message.
        devices: What will hold them; none for the machine itself.

    Raises:
        ConfigurationError: It cannot fit.
    """
    free = available_memory(devices)
    if need > free:
        raise ConfigurationError(f"{what} needs about {_readable(need)}, but {_readable(free)} is free; {remedy}.")


def available_memory(devices: Iterable[Device] = ()) -> int:
    """Return the bytes that each of some devices can still give; the machine, no more than its container has left."""
    reported = [device.memory_stats() for device in devices]
    of_devices = [told["bytes_limit"] - told["bytes_in_use"] for told in reported if told and "bytes_limit" in told]
    if reported and len(of_devices) == len(reported):
        return min(of_devices)
    free, left = psutil.virtual_memory().available, memory_left()
    return min([free, *of_devices] if left is None else [free, left, *of_devices])


def give_back_memory() -> None:
    """Return to the system what has been freed; glibc keeps it otherwise, 0.3 GB after compiling a sweep."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
