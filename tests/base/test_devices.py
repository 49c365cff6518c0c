import types

import jax
import pytest

import jaxals
from jaxals import ALS, Gradient, Objective
from jaxals._base.devices import default_device, devices_of, require_one_process
from jaxals._base.memory import available_memory
from jaxals.errors import ConfigurationError
from jaxals.gradient.user_batches import build_batches
from jaxals.training.loop import choose_devices

DATA = jaxals.datasets.synthetic(n_users=12, n_items=9, n_interactions=30, seed=0)


def device(limit: int | None = None) -> types.SimpleNamespace:
    told = None if limit is None else {"bytes_limit": limit, "bytes_in_use": 10}
    return types.SimpleNamespace(memory_stats=lambda: told, process_index=0, platform="gpu", device_kind="some")


def test_the_default_device_is_the_one_that_jax_is_told():
    last = jax.devices()[-1]
    assert default_device() == jax.devices()[0] == devices_of(None)[0]
    with jax.default_device(last):
        assert devices_of(None) == [last]
    assert devices_of(jaxals.make_mesh()) == jax.devices()


def test_memory_is_that_of_the_devices_that_are_meant():
    assert available_memory([device(50), device(30)]) == 20
    assert available_memory([device(50), device()]) == 40
    assert available_memory([device()]) > 10**6
    assert available_memory() > 10**6


@pytest.mark.parametrize("trainer", [ALS(factors=2, sweeps=0), Gradient(factors=2, steps=0)])
def test_a_mesh_of_a_cpu_asks_no_other_device_for_memory(trainer, monkeypatch):
    mesh = jaxals.make_mesh()
    monkeypatch.setattr(jax, "devices", lambda *_: [device(11)])
    trainer.begin(DATA, Objective.hkv(), jax.random.key(0), None, mesh)


@pytest.mark.parametrize(
    "place",
    [
        choose_devices,
        require_one_process,
        lambda mesh: jaxals.build_tiles(DATA, factors=2, mesh=mesh),
        lambda mesh: build_batches(DATA, factors=2, mesh=mesh),
    ],
)
def test_devices_of_other_processes_are_refused_where_arrays_are_placed(place, monkeypatch):
    mesh = jaxals.make_mesh()
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(ConfigurationError, match=r"^`mesh` must be of devices of this process, .*each process trains"):
        place(mesh)


def test_so_they_are_before_anything_is_trained(all_devices, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="`mesh` must be of devices of this process"):
        jaxals.fit(DATA, Objective.hkv(), ALS(factors=2, sweeps=1), progress=False)
    with pytest.raises(ConfigurationError, match="`mesh` must be of devices of this process"):
        jaxals.make_mesh()
    assert jaxals.make_mesh(jax.local_devices()) is not None
