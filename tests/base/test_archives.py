import io
import zipfile

import numpy as np
import pytest

from jaxals._base import archives, memory
from jaxals.errors import ConfigurationError, DataError


def written(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_what_was_not_asked_for_is_not_read():
    content = written(a=np.arange(3), pickled=np.array([None]))
    np.testing.assert_array_equal(archives.read_arrays(io.BytesIO(content), ["a", "b"], "numbers")["a"], [0, 1, 2])
    with pytest.raises(DataError, match="cannot be read as numbers: Object arrays"):
        archives.read_arrays(io.BytesIO(content), ["pickled"], "numbers")


@pytest.mark.parametrize("content", [b"", b"abc", written(a=np.arange(99))[:-40], written(a=np.arange(99)) + b"x" * 99])
def test_damage(content):
    with pytest.raises(DataError, match="cannot be read as numbers"):
        archives.read_arrays(io.BytesIO(content[: len(content) // 2]), ["a"], "numbers")


def test_every_byte_that_flips_ends_in_a_sentence_or_in_numbers():
    content = written(a=np.arange(9.0))
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 0x40
        try:
            archives.read_arrays(io.BytesIO(bytes(flipped)), ["a"], "numbers")
        except (DataError, ConfigurationError):
            continue


def test_bombs_are_not_unpacked(monkeypatch):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * 10**6)
    monkeypatch.setattr(memory, "available_memory", lambda *_: 10**5)
    with pytest.raises(ConfigurationError, match="needs about"):
        archives.read_arrays(file, ["a"], "numbers")
