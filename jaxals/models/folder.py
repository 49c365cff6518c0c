"""Folders of arrays and one JSON document whose damage shows, and which may come from strangers. Host side.

    arrays/          written by Orbax: zarr, one chunk an array, not compressed
    document.json    everything else
    checksums.json   the arrays' types and shapes, and the size and CRC-32 of every file; written last

That arrays are neither compressed nor cut makes them fast to write, and bounds what reading a folder can take by what
it holds: every length is compared with the length of a file before anything is allocated. Nothing is executed.
"""

import contextlib
import json
import logging
import math
import os
import pathlib
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxals._base.arguments import first_line
from jaxals._base.memory import require_memory
from jaxals.errors import CheckpointError, ConfigurationError, DamageError

try:
    import fcntl
except ImportError:  # Windows, which has no such locks and opens no folders
    fcntl = None  # type: ignore[assignment]

# What comes of reading a document that is well-formed JSON, and holds anything at all.
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError)

_ARRAYS, _DOCUMENT, _CHECKSUMS = "arrays", "document.json", "checksums.json"
_OF_ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "_sharding", "commit_success.txt", "orbax.checkpoint")
_TEMPORARY = ".jaxals-"
_NAME = re.compile(r"[\w-]+")
# A list of a thousand files takes 100 kB.
_MOST_CHECKSUM_BYTES = 2**24
# Python's objects take more room than their text.
_JSON_GROWTH = 16
# What can be in an array; bfloat16 is no type of NumPy's own.
_DTYPES = {
    **{name: np.dtype(name) for name in ("bool", "float16", "float32", "float64")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bfloat16": np.dtype(jnp.bfloat16),
}


def write_folder(path: pathlib.Path, arrays: Mapping[str, np.ndarray], document: dict[str, Any]) -> None:
    """Write a folder beside where it belongs, and move it there when it is whole.

    What was there before stays until then. A process that is killed leaves at most a hidden folder beside it, which the
    next write of the same folder removes; killed between the last two renames, it leaves what was there before in that
    hidden folder, `.jaxals-NAME-*/old`, from where the next write puts it back first.

    Args:
        path: Where to; a folder that is there already is replaced.
        arrays: By names of letters, digits, `_` and `-`.
        document: What JSON can hold.

    Raises:
        OSError: It cannot be written; what was there is there still.
    """
    # Not at the top: Orbax takes half a second to import, and most uses save and load nothing.
    import orbax.checkpoint as ocp

    remove_leftovers(path.parent, re.escape(path.name))
    with _workplace(path) as beside:
        new, old = beside / "new", beside / "old"
        new.mkdir()
        filled = {name: array for name, array in arrays.items() if array.size}
        if filled:
            with _without_advice(), ocp.Checkpointer(_handler()) as checkpointer:
                checkpointer.save(new / _ARRAYS, args=ocp.args.PyTreeSave(filled))
        _write(new / _DOCUMENT, document)
        index = {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}
        _write(new / _CHECKSUMS, {"arrays": index, "files": {name: _summary(new / name) for name in _files(new)}})
        for folder, _, names in os.walk(new):
            _flush(*(pathlib.Path(folder, name) for name in [*names, "."]))
        try:
            if path.exists():
                path.rename(old)
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
        _flush(path.parent)


def read_folder(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Any]:
    """Read what `write_folder` wrote.

    Raises:
        DamageError: A file is missing, is no plain file, or is not what was written.
        CheckpointError: It cannot be read, for a reason that may pass.
        ConfigurationError: There is not enough memory for it.
    """
    import orbax.checkpoint as ocp

    require_utf8(path)
    try:
        index, document = _verified_index(path), _read_json(path / _DOCUMENT)
    except ConfigurationError:  # which is a `ValueError`
        raise
    except (DamageError, *MALFORMED, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamageError(f"{path} is damaged: {first_line(error)}.") from None
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}.") from None
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in index.items() if not math.prod(shape)}
    wanted = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in index if name not in arrays}
    try:
        if wanted:
            with ocp.Checkpointer(_handler()) as checkpointer:
                arguments = ocp.args.PyTreeRestore(item=dict.fromkeys(wanted, 0), restore_args=wanted)
                arrays |= checkpointer.restore(path / _ARRAYS, args=arguments)
    # Every byte is what was written. Orbax and TensorStore report what is wrong by many types, none of them their own.
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}.") from None
    for name, (dtype, shape) in index.items():
        if (arrays[name].dtype, arrays[name].shape) != (dtype, shape):
            raise DamageError(f"{path} is damaged: array {name} is of another type or shape.")
    return arrays, document


def read_document(path: pathlib.Path) -> Any:
    """Read the document alone, unverified; None where it cannot be read."""
    try:
        _plain_size(path / _DOCUMENT)
        return _read_json(path / _DOCUMENT)
    except (OSError, ValueError, RecursionError, CheckpointError):
        return None


def is_folder(path: pathlib.Path, and_nothing_besides: bool = False) -> bool:
    """Tell whether a folder has what `write_folder` writes."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return False
    return {_DOCUMENT, _CHECKSUMS} <= names and (not and_nothing_besides or names <= {_ARRAYS, _DOCUMENT, _CHECKSUMS})


def remove_folder(path: pathlib.Path) -> None:
    """Remove a folder, first out of the way: one that is half removed is never taken for a whole one."""
    with _workplace(path) as beside:
        path.rename(beside / "gone")


def remove_leftovers(folder: pathlib.Path, names: str) -> None:
    """Remove what processes left that died while they wrote, and put back what they had not replaced yet.

    Args:
        folder: Where they wrote.
        names: Regular expression for the names of what they wrote.
    """
    pattern = re.compile(rf"{re.escape(_TEMPORARY)}(?P<name>{names})-\w{{8}}")
    for entry in folder.iterdir():
        if (match := pattern.fullmatch(entry.name)) is None:
            continue
        with _locked(entry) as nobody_writes:
            if nobody_writes:
                if (entry / "old").exists() and not (folder / match["name"]).exists():
                    (entry / "old").rename(folder / match["name"])
                shutil.rmtree(entry, ignore_errors=True)


def require_writable(path: pathlib.Path) -> None:
    """Try to write beside where a folder is to be.

    Raises:
        OSError: It is not possible.
    """
    with _workplace(path):
        pass


def require_utf8(path: pathlib.Path) -> None:
    """Refuse a folder whose name Orbax can neither write nor read.

    Raises:
        CheckpointError: It is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"A folder must have a name in UTF-8; got {str(path)!r}.") from None


def try_lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; tell whether nobody else had.

    Raises:
        OSError: The file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _workplace(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Make a folder beside another one, locked for as long as somebody works there."""
    prefix = f"{_TEMPORARY}{path.name}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent, ignore_cleanup_errors=True) as name,
        _locked(beside := pathlib.Path(name)),
    ):
        yield beside


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[bool]:
    """Lock a folder, and tell whether that worked and nobody else had."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            is_ours = try_lock(descriptor)
        except OSError:
            is_ours = False
        yield is_ours


def _handler() -> Any:
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keep Orbax from warning that arrays are not in the other of its formats."""
    logger = logging.getLogger("absl")
    is_news = lambda record: "Skipping merge of OCDBT" not in record.getMessage()
    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


def _write(path: pathlib.Path, document: Any) -> None:
    path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _read_json(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _flush(*paths: pathlib.Path) -> None:
    """Wait until files and folders are on the disk, for the machine itself may stop."""
    for path in paths if fcntl else ():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _files(path: pathlib.Path) -> Iterator[str]:
    """List the document and all files of the arrays."""
    yield _DOCUMENT
    for folder, _, names in os.walk(path / _ARRAYS):
        yield from (pathlib.Path(folder, name).relative_to(path).as_posix() for name in sorted(names))


def _summary(path: pathlib.Path) -> list[int]:
    """Return a file's size and CRC-32: 2.6 GB/s, and every error of up to 32 bits in a row shows."""
    checksum = size = 0
    block = memoryview(bytearray(2**18))  # one for all: fresh memory takes as long as the sums
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            checksum, size = zlib.crc32(block[:count], checksum), size + count
    return [size, checksum]


def _plain_size(path: pathlib.Path) -> int:
    # A link may lead anywhere, a pipe may never end.
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise DamageError(f"{path.name} is not a plain file")
    return status.st_size


def _verified_index(path: pathlib.Path) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return the types and shapes of the arrays, when each file is what was written, and as large as they say."""
    if _plain_size(path / _CHECKSUMS) > _MOST_CHECKSUM_BYTES:
        raise DamageError(f"{_CHECKSUMS} is too large")
    for folder in [path, path / _ARRAYS]:
        if folder.is_symlink():
            raise DamageError(f"{folder.name} is a link")
    checksums = _read_json(path / _CHECKSUMS)
    present, listed = set(_files(path)), checksums["files"]
    if present != set(listed):
        raise DamageError(f"{min(present ^ set(listed))} is {'not expected' if present - set(listed) else 'missing'}")
    sizes = {name: _plain_size(path / name) for name in present}
    require_memory(sum(sizes.values()) + _JSON_GROWTH * sizes[_DOCUMENT], f"Loading {path}", "free some memory")
    for name in sorted(present):
        if _summary(path / name) != listed[name]:
            raise DamageError(f"{name} is not what was written")
    index = {}
    # Other files could have Orbax read something else than what is checked here.
    known = {f"{_ARRAYS}/{name}/" for name in checksums["arrays"]} | {
        _DOCUMENT,
        *(f"{_ARRAYS}/{name}" for name in _OF_ORBAX),
    }
    if strange := [name for name in present if name not in known and name[: name.rfind("/") + 1] not in known]:
        raise DamageError(f"{min(strange)} is not expected")
    for name, (type_name, shape) in checksums["arrays"].items():
        if not _NAME.fullmatch(name):
            raise DamageError(f"{name!r} is no name of an array")
        if type_name not in _DTYPES or not all(type(size) is int and size >= 0 for size in shape):
            raise DamageError(f"array {name} has no known type or shape")
        index[name] = _DTYPES[type_name], tuple(shape)
        if math.prod(shape):
            _require_one_chunk(path / _ARRAYS / name, *index[name])
        elif max(shape, default=0) > 2**31:
            raise DamageError(f"array {name} has no known type or shape")
    return index


def _require_one_chunk(path: pathlib.Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Refuse an array that is not there byte by byte in one file."""
    layout = _read_json(path / ".zarray")
    whole = {"zarr_format": 2, "shape": list(shape), "chunks": list(shape), "compressor": None, "filters": None}
    chunk = path / (".".join("0" * len(shape)) or "0")
    if any(layout[name] != value for name, value in whole.items()) or layout["order"] != "C":
        raise DamageError(f"array {path.name} is not laid out as it is written")
    if np.dtype(_DTYPES.get(layout["dtype"], layout["dtype"])) != dtype:
        raise DamageError(f"array {path.name} is of another type")
    if chunk.stat().st_size != math.prod(shape) * dtype.itemsize:
        raise DamageError(f"array {path.name} is not as large as it says")
