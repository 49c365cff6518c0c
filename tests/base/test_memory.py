import psutil
import pytest

from jaxals._base import memory
from jaxals._base.cgroup import memory_left
from jaxals.errors import ConfigurationError


@pytest.fixture
def container(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "memory_left", lambda: memory_left(tmp_path))
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)

    def limit(most, used, files=0):
        (group / "memory.max").write_text(f"{most}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 7\ninactive_file {files}\n")

    return limit


def test_a_container_has_less_than_its_machine(container, monkeypatch):
    whole = memory.available_memory()
    container(1000, 400)
    assert memory.available_memory() == 600
    container(1000, 400, files=100)  # what was only read is given back
    assert memory.available_memory() == 700
    container(1000, 1200)
    assert memory.available_memory() == 0
    with pytest.raises(ConfigurationError, match=r"Tea needs about 1.0 GB, but 0.0 MB is free; brew less\."):
        memory.require_memory(10**9, "Tea", "brew less")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 500}))
    container(1000, 400)
    assert memory.available_memory() == 500
    container("max", 400)
    assert memory.available_memory() == 500
    assert whole > 10**6


def test_giving_memory_back_is_harmless_where_it_cannot_be_asked_for(monkeypatch):
    memory.give_back_memory()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.give_back_memory()
