"""The trials of a search, kept in a file of JSON lines that an interrupted search goes on from. Host side.

The first line says what search it is, each other line is one trial. Lines are only ever added, by one search at a time.
"""

import contextlib
import json
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from jaxals._base.arguments import first_line
from jaxals.errors import CheckpointError
from jaxals.models.folder import try_lock
from jaxals.training.fingerprint import differences, untold

_FORMAT = 2
_BEGINNING = b'{"search": {"format": '


@contextlib.contextmanager
def locked(path: str | os.PathLike | None) -> Iterator[None]:
    """Let nobody else add trials to a file for as long as this lasts; a process that is killed holds nothing.

    Args:
        path: The file, made with its parents; None locks nothing.

    Raises:
        CheckpointError: Another search adds to it, or it cannot be written.
    """
    if path is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(pathlib.Path(path).open("ab"))
            is_free = try_lock(file.fileno())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written or read: {first_line(error)}.") from None
        if not is_free:
            raise CheckpointError(f"Another search writes to {path}; wait for it, or name another file.")
        yield


class TrialLog:
    """Trials that are done, in memory and, given a path, in a file.

    Attributes:
        trials: One JSON object each, oldest first.

    Args:
        path: File to go on from, or to begin; None keeps nothing.
        search: All that trials depend on, as a flat JSON object: trials of another search are refused.

    Raises:
        CheckpointError: The file holds something else or trials of another search, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike | None, search: Mapping[str, Any]):
        self.trials: list[dict[str, Any]] = []
        self._path = None if path is None else pathlib.Path(path)
        if self._path is None:
            return
        header = {"search": {"format": _FORMAT, **search}}
        try:
            lines = _whole_lines(self._path)
            if lines:
                there, *self.trials = [_parse(self._path, number, line) for number, line in enumerate(lines, 1)]
                _require_same(self._path, there["search"], json.loads(json.dumps(header["search"])))
                _require_in_turn(self._path, self.trials)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._write(header)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written or read: {first_line(error)}.") from None

    def append(self, trial: dict[str, Any]) -> None:
        """Add a finished trial; with a file, it is on disk when this returns."""
        self.trials.append(trial)
        if self._path is not None:
            self._write(trial)

    def _write(self, document: dict[str, Any]) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _whole_lines(path: pathlib.Path) -> list[bytes]:
    """Read the file, and cut off a last line that whoever wrote it did not finish."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.startswith(_BEGINNING):
        raise CheckpointError(f"{path} holds something other than the trials of a search; name a new file.")
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return whole.splitlines()


def _parse(path: pathlib.Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        raise CheckpointError(f"Line {number} of {path} is damaged; take it out, or name a new file.") from None


def _require_same(path: pathlib.Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    for name, told in differences(there, here).items():
        differs = told if name.startswith("code.") else f"`{name}` is {there.get(name)} there and {here.get(name)} here"
        raise CheckpointError(f"{path} holds trials of another search: {differs}; name another file.")
    if doubt := untold(there, here):
        warnings.warn(doubt, stacklevel=4)


def _require_in_turn(path: pathlib.Path, trials: list[dict[str, Any]]) -> None:
    """Refuse what two searches at once have written, which no lock kept apart."""
    for number, trial in enumerate(trials):
        if trial.get("trial") != number:
            raise CheckpointError(
                f"Line {number + 2} of {path} is not trial {number}, as where two searches wrote to it; take it out, "
                "or name a new file."
            )
