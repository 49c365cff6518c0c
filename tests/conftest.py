import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

# Compilation takes most of the time of this suite, so XLA compiles quickly, not well: without optimisation, as one
# LLVM module, and by the older emitters of fusions, which took a third of the CPU seconds together. Tests with the
# optimised programs that users run: XLA_FLAGS=--xla_force_host_platform_device_count=8 make test-all
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
    # Newer versions have the new emitters alone, and end the process at a flag that they do not know.
    *(["--xla_cpu_use_fusion_emitters=false"] if metadata.version("jaxlib").startswith("0.10.") else []),
)
os.environ.setdefault("XLA_FLAGS", " ".join(("--xla_force_host_platform_device_count=8", *QUICK_COMPILATION)))

# What one process has compiled, none compiles again, processes that tests begin included: an eighth of the CPU seconds.
# The first process makes the folder and removes it, unless it was told of another.
CACHE = "JAX_COMPILATION_CACHE_DIR"
own_cache = None
if CACHE not in os.environ:
    own_cache = os.environ[CACHE] = tempfile.mkdtemp(prefix="jaxals-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

# Before the package: doctests and fixtures make arrays on import.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

from jaxals import Interactions, datasets
from jaxals.training import loop as training


def pytest_configure() -> None:
    assert len(jax.devices()) == 8, "the suite needs 8 virtual devices"
    # Tracing makes many objects and little garbage: looking for it as often as usual takes 8 % of the CPU seconds.
    gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the examples of docstrings as a reader does who pastes them: with no name but those they make themselves."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.dtest.globs = {"__name__": "__main__"}


def pytest_unconfigure() -> None:
    if own_cache:
        shutil.rmtree(own_cache, ignore_errors=True)


TESTS = itertools.count(1)


@pytest.fixture(autouse=True)
def few_mappings() -> Iterator[None]:
    """Drop compiled programs before there are more memory mappings than Linux allows (65,530): XLA then crashes."""
    yield
    if next(TESTS) % 10:  # counting takes 10 ms, and ten tests add few
        return
    mappings = Path("/proc/self/maps")
    if mappings.exists() and len(mappings.read_bytes().splitlines()) > 30_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def lastfm_2k() -> Interactions:
    if not os.path.isdir(os.environ.get("JAXALS_DATA", "")):
        pytest.skip("JAXALS_DATA names no folder with real data")
    return datasets.load("lastfm-2k")


@pytest.fixture(autouse=True)
def one_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fit` take one device: 8 virtual ones on few cores are slow. Tests of the mesh ask for it."""
    if "all_devices" not in request.fixturenames:
        monkeypatch.setattr(training, "make_mesh", lambda: None)


@pytest.fixture
def all_devices() -> None:
    """Let `fit` take all devices, as it does by default."""
