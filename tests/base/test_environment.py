import json
import subprocess
import types

import jax
import pytest

import jaxals
from jaxals._base import environment as module
from jaxals._base.environment import count_cores, environment

EPYC = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n"
GRAVITON = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def test_what_a_result_file_names_fits_in_json():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["jaxals"] == jaxals.__version__
    assert found["versions"]["jax"] == jax.__version__
    machine = found["machine"]
    assert machine["processor"]
    assert machine["devices"] == ["8 x cpu"]
    assert machine["memory GB"] > 0
    assert any("threads" in library for library in machine["blas"])


@pytest.mark.parametrize(
    ("text", "processor", "generation"),
    [
        (EPYC, "AMD EPYC", "cpu family 25, model 17"),
        (GRAVITON, "aarch64", "CPU implementer 0x41, CPU part 0xd0c"),  # such files hold no name
        (None, "aarch64", None),
    ],
)
def test_the_processor_is_named_by_what_linux_says(text, processor, generation, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(module, "_SECOND_LEVEL_CACHE", tmp_path / "size")
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    machine = environment()["machine"]
    assert machine["processor"] == processor
    assert machine.get("processor generation") == generation
    assert "second-level cache" not in machine  # left out where it cannot be found out


def test_a_mac_is_asked_for_its_processor(monkeypatch):
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout="Apple M4\n"))
    assert environment()["machine"]["processor"] == "Apple M4"


def test_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "_OPTIONAL", ("no-such-package",))
    assert "no-such-package" not in environment()["versions"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("Unable to initialize backend 'cuda':\n no driver"),
            "RuntimeError Unable to initialize backend 'cuda': no driver",
        ),
        (AssertionError(), "AssertionError"),  # JAX 0.10 where `JAX_PLATFORMS=cuda` finds no plugin
    ],
)
def test_devices_that_do_not_start_are_part_of_the_report(error, said, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    jaxals.show_versions()
    assert f"none: {said}\n" in capsys.readouterr().out


def test_accelerators_are_counted_by_kind(monkeypatch):
    gpu = types.SimpleNamespace(platform="gpu", device_kind="NVIDIA H200")
    monkeypatch.setattr(jax, "devices", lambda: [gpu, gpu])
    assert environment()["machine"]["devices"] == ["2 x gpu NVIDIA H200"]


def test_only_cores_that_may_be_used_count(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    for quota, cores in ((None, 3), (2.0, 2), (1.5, 2), (0.3, 1), (64.0, 3)):
        monkeypatch.setattr(module, "cpu_quota", lambda quota=quota: quota)
        assert count_cores() == cores
