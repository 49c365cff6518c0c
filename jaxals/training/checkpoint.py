"""Checkpoints of a training: one folder a step, written beside the training, of which a whole one always stands.

A folder of checkpoints holds `step-0000000012` and so on, each as `models.folder` writes it, and a file `lock` that
whoever writes here has locked. Host side.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import jax.numpy as jnp
import pandas as pd

from jaxals._base.arguments import checked_path, first_line, require_text
from jaxals._base.checks import require_integer
from jaxals.errors import CheckpointError, ConfigurationError, DamageError
from jaxals.evaluation.plans import require_metric
from jaxals.models.folder import (
    MALFORMED,
    read_document,
    read_folder,
    remove_folder,
    remove_leftovers,
    require_utf8,
    try_lock,
    write_folder,
)
from jaxals.models.model import versions
from jaxals.objective.factors import Factors
from jaxals.training.encoding import Arrays, Document, decode, encode, require_document, score, tables
from jaxals.training.fingerprint import Description, differences, untold
from jaxals.training.state import Position, history_frame, is_lower_better

_FORMAT = 1
_STEP = re.compile(r"step-(\d{10})")
_DAMAGED = "damaged-"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often `fit` writes down where it stands.

    Attributes:
        directory: Folder for the checkpoints; made with its parents.
        every: Rows of the history (sweeps, of ALS) from one checkpoint to the next: the most that can be lost. The last
            step always has one.
        keep: How many of the newest to keep.
        best: "loss" or a metric, such as "ndcg@10": the checkpoint with the best one is kept besides.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import tempfile
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> folder = tempfile.mkdtemp()
        >>> half, whole = (jaxals.ALS(factors=4, sweeps=sweeps) for sweeps in (2, 4))
        >>> settings = {"checkpoint": jaxals.Checkpoint(folder, every=1), "progress": False}
        >>> _ = jaxals.fit(data, jaxals.Objective.hkv(), half, **settings)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), whole, **settings, resume=True)
        >>> run.history["step"].tolist()
        [1, 2, 3, 4]
    """

    directory: str | os.PathLike
    every: int = 5
    keep: int = 2
    best: str | None = None

    def __post_init__(self) -> None:
        checked_path("directory", self.directory, ConfigurationError)
        if self.best is not None:
            require_text("best", self.best, '"loss", the name of a metric, or None')
            if self.best != "loss":
                require_metric("best", self.best, also=["loss"])
        require_integer("every", self.every, 1)
        require_integer("keep", self.keep, 1)


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint says to whoever does not go on from it.

    Attributes:
        factors: Both tables after the step (not the best so far, which early stopping remembers).
        history: As of `Run`, up to there.
        step: Steps done.
        description: Objective, trainer, data and the rest of what the run is, by dotted names.
    """

    factors: Factors
    history: pd.DataFrame
    step: int
    description: Description


def load_checkpoint(directory: str | os.PathLike, step: int | None = None) -> Saved:
    """Read a checkpoint without going on from it.

    Args:
        directory: Folder that `fit` wrote checkpoints to.
        step: Which one; by default the newest.

    Returns:
        Its `factors`, its `history`, how many steps were done (`step`), and the `description` of the run by dotted
        names.

    Raises:
        CheckpointError: There is none, or it cannot be read.
        ConfigurationError: There is not enough memory for it.

    Example:
        >>> import tempfile
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> folder = tempfile.mkdtemp()
        >>> settings = {"checkpoint": jaxals.Checkpoint(folder), "progress": False}
        >>> _ = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), **settings)
        >>> jaxals.load_checkpoint(folder).factors.item.shape
        (30, 4)
    """
    path = checked_path("directory", directory, CheckpointError).absolute()
    if step is not None:
        require_integer("step", step, 0)
    steps = _steps(path)
    if not steps or step not in (None, *steps):
        which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise CheckpointError(f"There is {which} in {directory}; there are {steps}.")
    arrays, document = _read(path, steps[-1] if step is None else step)
    factors = Factors(*map(jnp.asarray, tables(arrays, document)))
    return Saved(
        factors, history_frame(document["records"], document["columns"]), document["step"], document["description"]
    )


class CheckpointFolder:
    """The folder of one training's checkpoints, locked for as long as it is open.

    Args:
        settings: Where and how often.
        description: What the run is.
        columns: Of the history, the first one what a step is called.
        devices: What trains.

    Raises:
        CheckpointError: The folder cannot be written, or another run writes to it.
        ConfigurationError: `best` is not measured.
    """

    def __init__(self, settings: Checkpoint, description: Description, columns: Sequence[str], devices: str):
        if settings.best is not None and settings.best not in columns[3:]:
            raise ConfigurationError(f"`best` is {settings.best!r}, which is not among {list(columns[3:])}.")
        self.path = pathlib.Path(settings.directory).absolute()
        require_utf8(self.path)
        self._settings, self._description, self._columns = settings, description, list(columns)
        self._surroundings = {"versions": versions(), "devices": devices}
        self._scores: dict[int, float] = {}
        self._writing: threading.Thread | None = None
        self._failure: Exception | None = None
        self._last: int | None = None
        self._lock: BinaryIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator["CheckpointFolder"]:
        """Lock the folder, and in the end wait for what is being written."""
        with self._locked():
            try:
                yield self
            except Exception:
                with contextlib.suppress(CheckpointError):
                    self.wait()
                raise
            self.wait()

    def restore(self, start: Position, go_on: bool, despite_changes: bool) -> Position:
        """Return where the newest whole checkpoint stands; damaged ones are put aside, with a warning.

        Args:
            start: Where the training stands before its first step; without checkpoints it stays there.
            go_on: Whether there may be checkpoints.
            despite_changes: Whether they may be of another run.

        Raises:
            CheckpointError: There are checkpoints and they are not to be gone on from, or are of another run, or none
                of them is whole.
        """
        steps = _steps(self.path)
        if steps and not go_on:
            raise CheckpointError(
                f"{self.path} holds checkpoints up to {self._columns[0]} {steps[-1]}; go on from them with "
                "`resume=True`, or name another folder."
            )
        damaged: dict[int, DamageError] = {}
        for step in reversed(steps):
            try:
                arrays, document = _read(self.path, step)
                break
            except DamageError as error:
                damaged[step] = error
        else:
            if steps:
                raise CheckpointError(
                    f"None of the {len(steps)} checkpoints in {self.path} is whole "
                    f"({first_line(damaged[steps[-1]])}); name another folder."
                )
            return start
        changed = _changed(document["description"], self._description)
        if changed and not despite_changes:
            raise CheckpointError(
                f"The checkpoints in {self.path} are of another run: {'; '.join(changed.values())}; to go on all the "
                'same, pass `resume="anyway"`.'
            )
        position = decode(arrays, document, start, changed)
        # Only now: in the wrong folder, or where no checkpoint is whole, nothing is touched.
        for step, damage in damaged.items():
            self._put_aside(step)
            warnings.warn(f"The checkpoint of {self._columns[0]} {step} was put aside: {damage}", stacklevel=3)
        if doubt := untold(document["description"], self._description):
            warnings.warn(doubt, stacklevel=3)
        self._tell_of_surroundings(document)
        self._last = position.step
        for whole in _steps(self.path):
            if best := self._settings.best:
                self._scores[whole] = score(read_document(self.path / _name(whole)), best)
        return position

    def is_due(self, position: Position) -> bool:
        """Tell whether it is time for a checkpoint."""
        return len(position.records) % self._settings.every == 0

    def write(self, position: Position) -> None:
        """Begin to write a checkpoint, when the last one is written; nothing of `position` may change meanwhile.

        Raises:
            CheckpointError: The last one could not be written.
        """
        self.wait()
        if position.step == self._last:  # a step left behind brings nothing new
            return
        self._last = position.step
        arrays, document = encode(position)
        document |= {
            "format": _FORMAT,
            "columns": self._columns,
            "description": self._description,
            **self._surroundings,
        }
        assert self._lock is not None
        # The thread holds the lock by a descriptor of its own: a `KeyboardInterrupt` does not wait for it.
        held = os.dup(self._lock.fileno())
        self._writing = threading.Thread(
            target=self._write, args=(position.step, arrays, document, held), name="jaxals-checkpoint", daemon=True
        )
        self._writing.start()

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is on disk.

        Raises:
            CheckpointError: It could not be written; those before it are untouched.
        """
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise self._not_writable(failure) from None

    def _write(self, step: int, arrays: Arrays, document: Document, held: int) -> None:
        try:
            write_folder(self.path / _name(step), arrays, document)
            if best := self._settings.best:
                self._scores[step] = score(document, best)
            self._remove_old()
        except Exception as error:
            self._failure = error
        finally:
            os.close(held)

    def _remove_old(self) -> None:
        """Keep the newest ones and the best one."""
        kept = _steps(self.path)[-self._settings.keep :]
        if (best := self._settings.best) and self._scores:
            sign = -1 if is_lower_better(best) else 1
            kept.append(max(self._scores, key=lambda step: (sign * self._scores[step], -step)))
        for step in set(_steps(self.path)) - set(kept):
            remove_folder(self.path / _name(step))
            self._scores.pop(step, None)

    def _put_aside(self, step: int) -> None:
        aside = self.path / f"{_DAMAGED}{_name(step)}"
        try:
            if aside.exists():
                remove_folder(aside)
            (self.path / _name(step)).rename(aside)
        except OSError as error:
            raise self._not_writable(error) from None

    def _tell_of_surroundings(self, document: Document) -> None:
        flat = lambda of: {**of["versions"], "devices": of.get("devices")}
        if changed := differences(flat(document), flat(self._surroundings)):
            warnings.warn(
                f"What follows may be rounded in another way than what came before the checkpoint: "
                f"{'; '.join(changed.values())}.",
                stacklevel=4,
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                # Without a buffer, which closing would try to write once more where the disk is full.
                self._lock = stack.enter_context((self.path / "lock").open("a+b", buffering=0))
                if not try_lock(self._lock.fileno()):
                    self._lock.seek(0)
                    raise CheckpointError(
                        f"Another run ({self._lock.read().decode(errors='replace').strip()}) writes to {self.path}; "
                        "wait for it, or name another folder."
                    )
                self._lock.truncate(0)
                self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                remove_leftovers(self.path, _STEP.pattern)
            except OSError as error:
                raise self._not_writable(error) from None
            yield

    def _not_writable(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"Checkpoints cannot be written to {self.path}: {first_line(error)}.")


def _changed(there: Description, here: Description) -> dict[str, str]:
    """Return what differs, but for what only watches a training, and was added."""
    added = [name for name in ("early_stopping", "validation") if there.get(name, "") is None]
    found = differences(there, here)
    return {name: how for name, how in found.items() if name.partition(".")[0] not in added}


def _name(step: int) -> str:
    return f"step-{step:010}"


def _steps(path: pathlib.Path) -> list[int]:
    """List the steps that have checkpoints, ascending."""
    try:
        matches = [_STEP.fullmatch(entry.name) for entry in path.iterdir()] if path.is_dir() else []
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}.") from None
    return sorted(int(match[1]) for match in matches if match)


def _read(path: pathlib.Path, step: int) -> tuple[Arrays, Document]:
    """Read a checkpoint.

    Raises:
        DamageError: It is not what was written.
        CheckpointError: It cannot be read, or is of a format that this version does not read.
        ConfigurationError: There is not enough memory for it.
    """
    folder = path / _name(step)
    arrays, document = read_folder(folder)
    if isinstance(document, dict) and document.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has checkpoints of format {document.get('format')}; this version reads {_FORMAT}."
        )
    try:
        if document["step"] != step:
            raise DamageError(f"it is no checkpoint of step {step}")
        require_document(document)
        tables(arrays, document)
    except (DamageError, *MALFORMED) as error:
        raise DamageError(f"{folder} is damaged: {first_line(error)}.") from None
    return arrays, document
