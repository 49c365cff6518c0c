import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

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


@pytest.fixture(autouse=True)
def few_mappings() -> Iterator[None]:
    """Drop compiled programs before there are more memory mappings than Linux allows (65,530): XLA then crashes."""
    yield
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
