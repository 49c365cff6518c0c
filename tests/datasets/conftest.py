import os
from pathlib import Path

import pooch
import pytest

REAL = os.environ.get("JAXALS_DATA")


@pytest.fixture
def no_real_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAXALS_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)


@pytest.fixture
def real_data(no_real_data: None, monkeypatch: pytest.MonkeyPatch) -> str:
    if not REAL or not os.path.isdir(REAL):
        pytest.skip("JAXALS_DATA names no folder with real data")
    monkeypatch.setenv("JAXALS_DATA", REAL)
    return REAL
