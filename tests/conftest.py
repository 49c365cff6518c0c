import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import pytest

# Before the package: doctests and fixtures make arrays on import.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

from jaxals import Interactions, datasets


def pytest_configure() -> None:
    assert len(jax.devices()) == 8, "the suite needs 8 virtual devices"


@pytest.fixture(scope="session")
def lastfm_2k() -> Interactions:
    if not os.path.isdir(os.environ.get("JAXALS_DATA", "")):
        pytest.skip("JAXALS_DATA names no folder with real data")
    return datasets.load("lastfm-2k")
