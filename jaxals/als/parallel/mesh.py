"""Devices: which there are, and getting arrays to all of them and back. Host side.

Tiles are shared out over a mesh of one axis, tables are copied to every device of it.
"""

import functools
import os
import warnings
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxals._base.arguments import listed, require_kind
from jaxals._base.devices import all_devices
from jaxals._base.environment import count_cores, usable_devices
from jaxals._base.forks import has_begun
from jaxals.errors import ConfigurationError

T = TypeVar("T")

_FLAG = "host_platform_device_count"  # of XLA, which takes precedence


def use_all_cores() -> int:
    """Make one JAX device of each core of the processor: it is what makes training on a CPU use all of them.

    `fit`, `tune` and `fit_many` call it by themselves where JAX has not begun: it is for code that makes arrays before
    these. To be called before JAX makes its first array. Where there is an accelerator, that goes on being used
    instead; a number of devices in `XLA_FLAGS` is left alone.

    Returns:
        The number of cores, in a container as many as its share of the processors' time fills.

    Raises:
        ConfigurationError: JAX is at work already, with another number of CPU devices.

    Example:
        >>> import jaxals
        >>> jaxals.use_all_cores() >= 1  # before all else
        True
    """
    cores = count_cores()
    if _n_asked_for() == cores or _FLAG in os.environ.get("XLA_FLAGS", ""):
        return cores
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        raise ConfigurationError(
            "`jaxals.use_all_cores()` comes too late: call it before anything else makes an array or asks for devices."
        ) from None
    return cores


def use_all_cores_by_default(mesh: Any) -> None:
    """Make one JAX device of each core where all are asked for, nobody has said how many, and JAX has not begun.

    Where it has begun with one device of a CPU, a warning says what would use the other cores.

    Args:
        mesh: As `fit` takes it.
    """
    cores = count_cores()
    said = _n_asked_for() > 0 or _FLAG in os.environ.get("XLA_FLAGS", "")
    if not (isinstance(mesh, str) and mesh == "all") or said or cores == 1:
        return
    if not has_begun():
        jax.config.update("jax_num_cpu_devices", cores)
    elif [device.platform for device in usable_devices()] == ["cpu"]:
        warnings.warn(
            f"One of {cores} cores is used, for JAX had begun before `fit` could make a device of each: call "
            "`jaxals.use_all_cores()` before all else, or pass `mesh=None` if one is meant.",
            stacklevel=3,
        )


def _n_asked_for() -> int:
    n: int = getattr(jax.config, "jax_num_cpu_devices")  # noqa: B009 (unknown to the types of JAX 0.10)
    return n


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh | None:
    """Arrange devices for tiles to be shared out over; None where there is only one.

    Args:
        devices: By default all that JAX has; on a CPU that is one, but after `use_all_cores()` or a `fit`.

    Returns:
        A mesh of one axis, "rows", for `fit`, `build_tiles` and `ALS.cut`; None for one device.

    Raises:
        ConfigurationError: `devices` are something else; or there are several processes, and they are not named.

    Example:
        >>> import jax
        >>> import jaxals
        >>> jaxals.make_mesh(jax.devices()[:1]) is None
        True
    """
    devices = (
        all_devices()
        if devices is None
        else listed("devices", devices, "a list of JAX devices, or None", is_ordered=True)
    )
    for device in devices:
        require_kind("devices", device, jax.Device, "a list of JAX devices, such as `jax.devices()[:2]`")
    return Mesh(np.asarray(devices), ("rows",)) if len(devices) > 1 else None


@overload
def everywhere(mesh: Mesh) -> NamedSharding: ...
@overload
def everywhere(mesh: None) -> None: ...
def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """Return where arrays lie that every device of a mesh has alike; None for wherever JAX puts them."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def to_every_device(arrays: T, mesh: Mesh | None) -> T:
    """Give the arrays of a pytree to every device of a mesh: copies, but on a CPU, whose devices share one memory."""
    if mesh is None:
        return arrays
    return jax.tree.map(functools.partial(_replicate, sharding=everywhere(mesh)), arrays)


def _replicate(array: jax.Array, sharding: NamedSharding) -> jax.Array:
    devices = sharding.mesh.devices.flat
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    if devices[0].platform != "cpu" or is_key or not array.is_fully_addressable or len(array.sharding.device_set) > 1:
        return jax.device_put(array, sharding)
    # JAX takes over a NumPy view of its own memory without copying it; between two devices it always copies.
    view = np.asarray(array)
    copies = [jax.device_put(view, device) for device in devices]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, copies)


def from_one_device(arrays: T, mesh: Mesh | None) -> T:
    """Take the first device's copy of arrays that all devices of a mesh have alike."""
    return arrays if mesh is None else jax.tree.map(lambda array: array.addressable_data(0), arrays)
