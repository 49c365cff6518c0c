"""Where this runs: what a bug report needs, and a measurement has to name. Host side."""

import contextlib
import importlib.metadata
import math
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import psutil
from threadpoolctl import threadpool_info

from jaxals._base.cgroup import cpu_quota
from jaxals.errors import ConfigurationError

_LIBRARIES = ("jaxals", "jax", "jaxlib", "jaxtyping", "optax", "orbax-checkpoint", "numpy", "scipy", "pandas")
_ACCELERATORS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
_OPTIONAL = ("matplotlib", "pyarrow", "openpyxl", "optuna", "scikit-learn", "implicit", "irspack", "faiss-cpu")
_NUMERIC_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_disable_jit",
)
# A hypervisor often hides half of a name: "AMD EPYC" alone may be any of five generations.
_GENERATION = ("cpu family", "model", "stepping", "CPU implementer", "CPU part")
_CPU_INFO = Path("/proc/cpuinfo")
_SECOND_LEVEL_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")


def show_versions() -> None:
    """Print what a report of a defect should contain: versions, processor, memory, devices and BLAS.

    JAX is asked for its devices, so that `use_all_cores()` comes too late afterwards.

    >>> import jaxals
    >>> jaxals.show_versions()
    python ...
    jaxals ...
    processor ...
    devices ...
    """
    for part in environment().values():
        for name, value in part.items():
            print(f"{name:24}{'; '.join(value) if isinstance(value, list) else value}")


def environment() -> dict[str, dict[str, Any]]:
    """Return what `show_versions` prints, for files of results; what cannot be found out is left out.

    Returns:
        Under "versions" those of Python and of libraries by name, optional ones where they are installed. Under
        "machine": the platform, the processor's name and generation, the cores this process may use, the size of a
        core's second-level cache, memory in GB (1e9 bytes), the devices of JAX, and each BLAS that is loaded.

    >>> import jax
    >>> from jaxals._base.environment import environment
    >>> found = environment()
    >>> found["versions"]["jax"] == jax.__version__
    True
    >>> found["machine"]["cores"] >= 1
    True
    """
    processor, generation = _processor()
    machine = {
        "platform": " ".join(filter(None, [platform.system(), platform.machine(), *platform.libc_ver()])),
        "processor": processor,
        "processor generation": generation,
        "cores": count_cores(),
        "second-level cache": _read(_SECOND_LEVEL_CACHE).strip(),
        "memory GB": round(psutil.virtual_memory().total / 1e9, 1),
        "devices": _devices(),
        "blas": _blas(),
    }
    return {
        "versions": {"python": platform.python_version(), **_installed([*_LIBRARIES, *_ACCELERATORS, *_OPTIONAL])},
        "machine": {name: value for name, value in machine.items() if value},
    }


def usable_devices() -> list[jax.Device]:
    """Return the devices of JAX.

    Raises:
        ConfigurationError: JAX was told of a platform that it cannot use.
    """
    try:
        return jax.devices()
    # JAX 0.10 fails an assertion where "cuda" has no plugin.
    except (RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split()) or "it has no plugin that is installed"
        asked: Any = getattr(jax.config, "jax_platforms")  # noqa: B009 (unknown to the types of JAX)
        raise ConfigurationError(
            f"JAX cannot use the platforms {asked!r} that `JAX_PLATFORMS` or its configuration names: {said}."
        ) from None


def count_cores() -> int:
    """Return how many cores this process may use: no more than it is pinned to, nor than its container's time fills."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else min(cores, math.ceil(quota))


def numeric_settings() -> dict[str, Any]:
    """Return the settings of JAX that decide numbers, as they are for this thread.

    >>> from jaxals._base.environment import numeric_settings
    >>> numeric_settings()["jax_default_prng_impl"]
    'threefry2x32'
    """
    return {name: getattr(jax.config, name, None) for name in _NUMERIC_SETTINGS}


def settings_of_thread() -> dict[str, Any]:
    """Return what context managers of JAX may have set for this thread alone: numbers, and where they are computed."""
    return {**numeric_settings(), "jax_default_device": getattr(jax.config, "jax_default_device")}  # noqa: B009


@contextlib.contextmanager
def under(settings: Mapping[str, Any]) -> Iterator[None]:
    """Have this thread compute as another one did that has `settings_of_thread`.

    >>> import jax
    >>> from jaxals._base.environment import numeric_settings, settings_of_thread, under
    >>> with jax.default_matmul_precision("highest"):
    ...     there = settings_of_thread()
    >>> with under(there):
    ...     print(numeric_settings()["jax_default_matmul_precision"])
    highest
    """
    with contextlib.ExitStack() as stack:
        for name, value in settings.items():
            manager = getattr(jax, name.removeprefix("jax_"), None)
            if manager is not None and getattr(jax.config, name) != value:
                stack.enter_context(manager(value))
        yield


def _installed(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def require_devices() -> None:
    """Refuse to go on where JAX finds no device of the platform that it was told to use.

    Raises:
        ConfigurationError: It has none.

    Example:
        >>> from jaxals._base.environment import require_devices
        >>> require_devices()
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX 0.10 asserts that there is one
        platforms: str | None = getattr(jax.config, "jax_platforms")  # noqa: B009 (unknown to the types of JAX 0.10)
        told = f"JAX_PLATFORMS={platforms}" if platforms else "the platforms it knows"
        reason = " ".join(str(error).split(". ")[0].split()) or "no plugin for it works"
        raise ConfigurationError(
            f"JAX finds no device for {told} ({reason}); unset JAX_PLATFORMS, or install JAX's plugin for it."
        ) from None


def _processor() -> tuple[str, str]:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip(), ""
    lines = (line.partition(":") for line in _read(_CPU_INFO).split("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    generation = ", ".join(f"{name} {facts[name]}" for name in _GENERATION if name in facts)
    return facts.get("model name") or platform.processor() or platform.machine(), generation


def processor_features() -> str:
    """Return what programs are compiled for: the processor's name, and its instructions where the system lists them."""
    lines = _read(_CPU_INFO).split("\n\n")[0].splitlines()
    instructions = [line for line in lines if line.startswith(("flags", "Features"))]
    return " ".join([platform.machine(), *_processor(), *instructions])


def _devices() -> list[str]:
    try:
        kinds = Counter((device.platform, device.device_kind) for device in jax.devices())
    # What does not start is what the report is about; JAX 0.10 fails an assertion where "cuda" has no plugin.
    except (RuntimeError, AssertionError) as error:
        return [f"none: {type(error).__name__} {' '.join(str(error).split())}".rstrip()]
    return [f"{n} x {' '.join(dict.fromkeys(kind))}" for kind, n in kinds.items()]


def _blas() -> list[str]:
    libraries = (library for library in threadpool_info() if library["user_api"] == "blas")
    about = ("internal_api", "version", "architecture", "threading_layer")
    described = (
        [*(library[fact] for fact in about if library.get(fact)), f"{library['num_threads']} threads"]
        for library in libraries
    )
    return list(dict.fromkeys(", ".join(facts) for facts in described))  # NumPy and SciPy bring one each


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system than Linux
        return ""
