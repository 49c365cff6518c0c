import errno
import json
import os
import pathlib
import shutil
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals.errors import CheckpointError, ConfigurationError, DamageError
from jaxals.models import folder as storage
from jaxals.models.folder import read_document, read_folder, remove_leftovers, write_folder

ARRAYS: dict[str, np.ndarray] = {
    "table": np.arange(12, dtype=np.float32).reshape(4, 3),
    "wide": np.linspace(0, 1, 7),
    "count": np.asarray(3, np.int32),
    "key": np.asarray([1, 2**32 - 1], np.uint32),
    "flags": np.asarray([True, False]),
    "rounded": np.asarray(jnp.asarray([1.5, -2.0], jnp.bfloat16)),
    "nothing": np.zeros((0, 5), np.float64),
}
DOCUMENT = {"step": 3, "values": [0.1, float("nan"), None], "name": "bøb"}


def written(path: pathlib.Path) -> pathlib.Path:
    write_folder(path, ARRAYS, DOCUMENT)
    return path


def test_everything_comes_back_bit_by_bit(tmp_path):
    arrays, document = read_folder(written(tmp_path / "folder"))
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].tobytes() == array.tobytes()
    assert json.dumps(document) == json.dumps(DOCUMENT)
    assert json.dumps(read_document(tmp_path / "folder")) == json.dumps(DOCUMENT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def delete(file):
    file.unlink()


def empty(file):
    file.write_bytes(b"")


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lengthen(file):
    file.write_bytes(file.read_bytes() + b"\0")


def flip(place: float):
    def change(file):
        content = bytearray(file.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1 << 4
        file.write_bytes(content)

    return change


def test_checksums_are_of_whole_files_however_long(tmp_path):
    # Read in several blocks, the last of which is not full.
    long = np.random.default_rng(0).integers(0, 256, 1_000_001, np.uint8)
    write_folder(tmp_path / "folder", {"long": long}, DOCUMENT)
    checksums = json.loads((tmp_path / "folder" / "checksums.json").read_text())
    for name, summary in checksums["files"].items():
        content = (tmp_path / "folder" / name).read_bytes()
        assert summary == [len(content), zlib.crc32(content)]
    assert max(size for size, _ in checksums["files"].values()) == len(long)


@pytest.mark.parametrize("damage", [delete, empty, halve, lengthen, flip(0.0), flip(0.5), flip(1.0)])
def test_damage_to_any_single_file_shows(damage, tmp_path):
    whole = written(tmp_path / "whole")
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    assert len(files) > 12
    for file in files:
        shutil.copytree(whole, tmp_path / "damaged")
        damage(tmp_path / "damaged" / file)
        with pytest.raises(CheckpointError, match="is damaged: "):
            read_folder(tmp_path / "damaged")
        shutil.rmtree(tmp_path / "damaged")


def test_a_link_or_a_pipe_in_the_place_of_a_file_is_not_read(tmp_path):
    for replace in (lambda file: file.symlink_to("/dev/zero"), os.mkfifo):
        folder = written(tmp_path / "folder")
        for name in ("arrays/table/0.0", "document.json", "checksums.json"):
            (folder / name).unlink()
            replace(folder / name)
            with pytest.raises(CheckpointError, match="is not a plain file"):
                read_folder(folder)
            if name == "document.json":
                assert read_document(folder) is None
        shutil.rmtree(folder)
    written(tmp_path / "other")
    folder = written(tmp_path / "folder")
    shutil.rmtree(folder / "arrays")
    (folder / "arrays").symlink_to(tmp_path / "other" / "arrays")
    with pytest.raises(CheckpointError, match="arrays is a link"):
        read_folder(folder)


def with_checksums_in_order(folder: pathlib.Path) -> None:
    """Do what a stranger would who wants a changed folder to pass."""
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums["files"] = {name: storage._summary(folder / name) for name in storage._files(folder)}
    (folder / "checksums.json").write_text(json.dumps(checksums))


def larger_than_it_is(folder):
    layout = json.loads((folder / "arrays/table/.zarray").read_text())
    layout["shape"] = layout["chunks"] = [2**40, 3]
    (folder / "arrays/table/.zarray").write_text(json.dumps(layout))
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums["arrays"]["table"] = ["float32", [2**40, 3]]
    (folder / "checksums.json").write_text(json.dumps(checksums))


def more_chunks(folder):
    layout = json.loads((folder / "arrays/table/.zarray").read_text())
    layout["chunks"] = [2, 3]
    (folder / "arrays/table/.zarray").write_text(json.dumps(layout))


def compressed(folder):
    layout = json.loads((folder / "arrays/table/.zarray").read_text())
    layout["compressor"] = {"id": "zstd", "level": 1}
    (folder / "arrays/table/.zarray").write_text(json.dumps(layout))


def another_type(folder):
    text = (folder / "arrays/table/.zarray").read_text()
    (folder / "arrays/table/.zarray").write_text(text.replace("<f4", "<i4"))


def objects(folder):
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums["arrays"]["table"][0] = "object"
    (folder / "checksums.json").write_text(json.dumps(checksums))


def empty_but_long(folder):
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums["arrays"]["nothing"][1] = [0, 2**60]
    (folder / "checksums.json").write_text(json.dumps(checksums))


def the_other_format(folder):
    (folder / "arrays" / "manifest.ocdbt").write_bytes(b"")


def another_folder(folder):
    (folder / "arrays" / "more").mkdir()
    (folder / "arrays" / "more" / "0").write_bytes(b"")


def a_name_that_leads_elsewhere(folder):
    (folder / "arrays" / "table").rename(folder.parent / "table")
    text = (folder / "checksums.json").read_text()
    (folder / "checksums.json").write_text(text.replace('"table"', '"../../table"'))


def no_tree(folder):
    (folder / "arrays" / "_METADATA").write_text('{"tree_metadata": {}}')


@pytest.mark.parametrize(
    "change",
    [
        *(larger_than_it_is, more_chunks, compressed, another_type, objects, empty_but_long),
        *(the_other_format, another_folder, no_tree, a_name_that_leads_elsewhere),
    ],
)
def test_what_a_stranger_changed_with_care_is_refused(change, tmp_path):
    folder = written(tmp_path / "folder")
    change(folder)
    with_checksums_in_order(folder)
    # What Orbax refuses is what was written.
    with pytest.raises(CheckpointError, match="cannot be read: " if change is no_tree else "is damaged: "):
        read_folder(folder)


def test_a_document_nested_beyond_reason_is_refused(tmp_path):
    folder = written(tmp_path / "folder")
    (folder / "document.json").write_text("[" * 100_000)
    with_checksums_in_order(folder)
    with pytest.raises(CheckpointError, match="is damaged: "):
        read_folder(folder)
    assert read_document(folder) is None


def test_more_than_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    folder = written(tmp_path / "folder")
    monkeypatch.setattr("jaxals._base.memory.available_memory", lambda *_: 1000)
    with pytest.raises(ConfigurationError, match=r"Loading .* needs about"):
        read_folder(folder)


def test_what_the_dead_left_is_removed_and_nothing_else(tmp_path):
    written(tmp_path / "folder")
    other, living = tmp_path / ".jaxals-folder-2-abcd_123", tmp_path / ".jaxals-folder-dcba_321"
    for leftover in (tmp_path / ".jaxals-folder-abcd_123", other, living):
        (leftover / "new").mkdir(parents=True)
    with storage._locked(living):
        remove_leftovers(tmp_path, "folder")
        assert sorted(tmp_path.iterdir()) == [other, living, tmp_path / "folder"]
    written(tmp_path / "folder")
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "folder"]


def test_what_a_process_that_was_killed_had_moved_away_is_put_back(tmp_path):
    folder, leftover = written(tmp_path / "folder"), tmp_path / ".jaxals-folder-abcd_123"
    leftover.mkdir()
    folder.rename(leftover / "old")
    remove_leftovers(tmp_path, "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    read_folder(folder)


def test_a_folder_is_removed_whole(tmp_path):
    storage.remove_folder(written(tmp_path / "folder"))
    assert not list(tmp_path.iterdir())


def test_the_machine_may_stop_once_a_folder_is_written(tmp_path, monkeypatch):
    flushed: list[tuple[int, bool]] = []
    folder, fsync = tmp_path / "folder", os.fsync

    def noted(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, folder.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    written(folder)
    for path in [folder, *folder.rglob("*")]:
        assert (path.stat().st_ino, False) in flushed
    assert flushed[-1] == (tmp_path.stat().st_ino, True)


def test_a_folder_is_written_without_a_word(tmp_path, caplog):
    written(tmp_path / "folder")
    assert not caplog.records


@pytest.mark.parametrize("patched", ["fcntl", "try_lock"])
def test_systems_without_locks_write_all_the_same(patched, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(storage, patched, None if patched == "fcntl" else fail)
    arrays, _ = read_folder(written(tmp_path / "folder"))
    assert sorted(arrays) == sorted(ARRAYS)
    (tmp_path / ".jaxals-folder-abcd_123").mkdir()
    remove_leftovers(tmp_path, "folder")
    # Who can lock nothing cannot tell that nobody works there.
    assert (tmp_path / ".jaxals-folder-abcd_123").exists() == (patched == "try_lock")


def test_a_list_of_checksums_beyond_all_measure_is_not_read(tmp_path, monkeypatch):
    written(tmp_path / "folder")
    monkeypatch.setattr(storage, "_MOST_CHECKSUM_BYTES", 10)
    with pytest.raises(DamageError, match=r"folder is damaged: .* is too large\.$"):
        read_folder(tmp_path / "folder")


def test_arrays_without_a_number_come_back(tmp_path):
    write_folder(tmp_path / "model", {"none": np.zeros((0, 3), np.float32)}, {"a": 1})
    arrays, document = read_folder(tmp_path / "model")
    assert (arrays["none"].shape, arrays["none"].dtype, document) == ((0, 3), np.float32, {"a": 1})
