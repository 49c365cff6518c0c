import os
import pathlib
import types

import pytest

from jaxals._base import cache
from jaxals.training import use_compilation_cache


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> dict[str, object]:
    """What JAX is told in the place of JAX, with the user's cache in a folder of the test."""
    settings: dict[str, object] = {}
    config = types.SimpleNamespace(jax_compilation_cache_dir=None, update=settings.__setitem__)
    monkeypatch.setattr(cache, "jax", types.SimpleNamespace(config=config))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("JAXALS_CACHE", raising=False)
    return settings


def test_programs_are_kept_in_the_users_cache(told):
    folder = use_compilation_cache()
    assert folder is not None
    assert folder.is_dir()
    assert folder.parent.name == "compiled"
    assert told["jax_compilation_cache_dir"] == str(folder)
    assert told["jax_persistent_cache_min_compile_time_secs"] == 0


def test_another_folder_or_none(told, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXALS_CACHE", str(tmp_path / "mine"))
    folder = use_compilation_cache()
    assert list((tmp_path / "mine").iterdir()) == [folder]
    told.clear()
    monkeypatch.setenv("JAXALS_CACHE", "off")
    assert use_compilation_cache() is None
    assert not told


def test_a_folder_that_cannot_be_made_keeps_nothing(told, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXALS_CACHE", str(tmp_path / "file"))
    assert use_compilation_cache() is None
    assert not told


def test_what_jax_was_told_stays(told, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.jax.config, "jax_compilation_cache_dir", str(tmp_path))
    assert use_compilation_cache() == tmp_path
    assert not told


def test_processors_do_not_share_programs(told, monkeypatch):
    here = use_compilation_cache()
    monkeypatch.setattr(cache, "processor_features", lambda: "another one")
    assert use_compilation_cache() != here


def test_the_older_half_goes_where_there_are_too_many(told, monkeypatch):
    folder = use_compilation_cache()
    assert folder is not None
    for age in range(5):
        (folder / f"{age}-cache").write_text("")
        os.utime(folder / f"{age}-cache", (1000 - age, 1000 - age))
    use_compilation_cache()
    assert len(list(folder.iterdir())) == 5
    monkeypatch.setattr(cache, "_MOST_PROGRAMS", 4)
    use_compilation_cache()
    assert sorted(one.name for one in folder.iterdir()) == ["0-cache", "1-cache", "2-cache"]


def test_a_folder_that_is_not_ours_to_write_to_keeps_nothing(told, monkeypatch):
    monkeypatch.setattr(cache.os, "access", lambda *_: False)
    assert use_compilation_cache() is None
    assert not told
