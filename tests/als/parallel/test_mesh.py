import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import make_mesh
from jaxals.als.parallel import mesh as mesh_module
from jaxals.als.parallel.mesh import from_one_device, to_every_device, use_all_cores_by_default


def test_a_mesh_of_what_there_is():
    mesh = make_mesh()
    assert mesh is not None
    assert mesh.size == 8
    assert make_mesh(jax.devices()[:1]) is None


def test_arrays_go_to_every_device_and_back():
    table = jnp.arange(6.0)
    for mesh in (None, make_mesh()):
        everywhere = to_every_device({"table": table}, mesh)
        assert len(everywhere["table"].devices()) == (mesh.size if mesh else 1)
        back = from_one_device(everywhere, mesh)
        assert len(back["table"].devices()) == 1
        np.testing.assert_array_equal(back["table"], table)


PROGRAM = """
import os
os.sched_getaffinity = lambda _: {0, 1, 2}
import jaxals
jaxals._base.environment.cpu_quota = lambda: None
assert jaxals.use_all_cores() == 3
import jax
assert len(jax.devices()) == 3
assert jaxals.use_all_cores() == 3
os.sched_getaffinity = lambda _: {0, 1}
try:
    jaxals.use_all_cores()
except jaxals.errors.ConfigurationError as error:
    assert "comes too late" in str(error)
else:
    raise SystemExit("not refused")
"""


def test_all_cores_become_devices_if_asked_for_in_time():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env={"JAX_PLATFORMS": "cpu"})


def test_devices_of_a_cpu_share_what_is_given_to_all():
    mesh, table = make_mesh(), jnp.arange(4096.0).reshape(64, 64)
    everywhere = to_every_device(table, mesh)
    pointers = {shard.data.unsafe_buffer_pointer() for shard in everywhere.addressable_shards}
    assert pointers == {table.unsafe_buffer_pointer()}
    expected = np.array(table)
    del table
    np.testing.assert_array_equal(jax.jit(lambda x: x + 0)(everywhere), expected)


def test_random_keys_go_to_every_device():
    everywhere = to_every_device(jax.random.key(3), make_mesh())
    assert len(everywhere.devices()) == 8
    assert (jax.random.key_data(everywhere) == jax.random.key_data(jax.random.key(3))).all()


@pytest.fixture
def asked_of_jax(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is asked of JAX on a machine of 3 cores, where JAX has not begun and nobody has said how many devices."""
    asked: list[tuple] = []
    monkeypatch.setattr(mesh_module, "count_cores", lambda: 3)
    monkeypatch.setattr(mesh_module, "has_begun", lambda: False)
    monkeypatch.setattr(mesh_module, "_n_asked_for", lambda: -1)
    monkeypatch.setattr(jax.config, "update", lambda *setting: asked.append(setting))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return asked


def test_a_device_of_each_core_where_jax_has_not_begun(asked_of_jax):
    use_all_cores_by_default("all")
    assert asked_of_jax == [("jax_num_cpu_devices", 3)]


@pytest.mark.parametrize("decline", ["mesh", "flags", "number", "one core"])
def test_not_where_somebody_has_said_how_many(decline, asked_of_jax, monkeypatch):
    if decline == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    if decline == "number":
        monkeypatch.setattr(mesh_module, "_n_asked_for", lambda: 1)
    if decline == "one core":
        monkeypatch.setattr(mesh_module, "count_cores", lambda: 1)
    use_all_cores_by_default(None if decline == "mesh" else "all")
    # No warning either, where JAX has begun: those are errors here.
    monkeypatch.setattr(mesh_module, "has_begun", lambda: True)
    monkeypatch.setattr(mesh_module, "usable_devices", lambda: jax.devices()[:1])
    use_all_cores_by_default(None if decline == "mesh" else "all")
    assert not asked_of_jax


def test_a_sentence_where_jax_has_begun_with_one_device(asked_of_jax, monkeypatch):
    monkeypatch.setattr(mesh_module, "has_begun", lambda: True)
    use_all_cores_by_default("all")  # with 8 devices there is nothing to say
    monkeypatch.setattr(mesh_module, "usable_devices", lambda: jax.devices()[:1])
    with pytest.warns(UserWarning, match=r"^One of 3 cores is used.*call `jaxals.use_all_cores\(\)` before all else"):
        use_all_cores_by_default("all")
    assert not asked_of_jax
