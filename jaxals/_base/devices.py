"""Devices: the default one, those of a mesh, and whose they are. Host side."""

import jax
from jax.sharding import Mesh

from jaxals._base.environment import usable_devices
from jaxals.errors import ConfigurationError

_ALONE = (
    "`mesh` must be of devices of this process, for several processes do not train together yet; got some of others: "
    "pass `mesh=jaxals.make_mesh(jax.local_devices())`, and each process trains a model of its own."
)


def default_device() -> jax.Device:
    """Return where arrays go that are told nothing else: of several processes, each has one of its own.

    >>> import jax
    >>> from jaxals._base.devices import default_device
    >>> default_device() in jax.local_devices()
    True
    """
    chosen = getattr(jax.config, "jax_default_device")  # noqa: B009 (unknown to the types of JAX)
    if isinstance(chosen, jax.Device):
        return chosen
    usable_devices()
    return jax.local_devices(backend=chosen)[0]


def devices_of(mesh: Mesh | None) -> list[jax.Device]:
    """Return the devices of a mesh, or the default one."""
    return [default_device()] if mesh is None else list(mesh.devices.flat)


def all_devices() -> list[jax.Device]:
    """Return all devices that JAX has.

    Raises:
        ConfigurationError: JAX cannot use its platforms, or some belong to other processes.
    """
    devices = usable_devices()
    if jax.process_count() > 1:
        raise ConfigurationError(_ALONE)
    return devices


def require_one_process(mesh: Mesh | None) -> None:
    """Refuse devices of other processes, before any of these waits for the others.

    Raises:
        ConfigurationError: Some device is one.
    """
    here = jax.process_index()
    if mesh is not None and any(device.process_index != here for device in mesh.devices.flat):
        raise ConfigurationError(_ALONE)
