import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jaxals import datasets
from jaxals.datasets import registry
from tests.datasets.files import FILES


class TestRegistry:
    def test_every_data_set_is_described(self) -> None:
        assert datasets.names() == list(registry.DATASETS)
        for name in datasets.names():
            info = datasets.info(name)
            assert info.name == name
            assert info.url.startswith("https://")
            assert info.licence
            assert info.citation
            assert set(FILES.get(name, {})) <= {Path(file).name for file in info.files}
            digits = {"md5": 32, "sha256": 64}
            assert info.checksum is not None
            kind, digest = info.checksum.split(":")
            assert re.fullmatch(f"[0-9a-f]{{{digits[kind]}}}", digest)

    def test_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            datasets.info("lastfm-2k").url = "elsewhere"  # type: ignore[misc]

    def test_import_is_light(self) -> None:
        code = "import sys, jaxals.datasets; sys.exit(bool({'pooch', 'requests', 'openpyxl'} & set(sys.modules)))"
        subprocess.run([sys.executable, "-c", code], check=True)
