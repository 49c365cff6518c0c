"""Checkpoints of a training: one folder a step, written beside the training, of which a whole one always stands.

A folder of checkpoints holds `step-0000000012` and so on, each as `jaxals.storage` writes it, and a file `lock` that
whoever writes here has locked. Host side.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxals._checks import require_integer
from jaxals.description import Description, differences
from jaxals.errors import CheckpointError, ConfigurationError
from jaxals.interruption import REASONS
from jaxals.models import versions
from jaxals.objective import Factors
from jaxals.position import Position, Watch, history_frame, is_lower_better
from jaxals.storage import first_line, read_document, read_folder, remove_leftovers, write_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
    """

    directory: str | os.PathLike
    every: int = 5
    keep: int = 2
    best: str | None = None

    def __post_init__(self) -> None:
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

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    path = pathlib.Path(directory)
    steps = _steps(path)
    if not steps or step not in (None, *steps):
        which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise CheckpointError(f"There is {which} in {directory}; there are {steps}.")
    arrays, document = _read(path, steps[-1] if step is None else step)
    user, item = (jnp.asarray(arrays[name]) for name in document["tables"])
    history = history_frame(document["records"], document["columns"])
    return Saved(Factors(user, item), history, document["step"], document["description"])


class CheckpointFolder:
    """The folder of one training's checkpoints, locked for as long as it is open.

    Args:
        settings: Where and how often.
        description: What the run is.
        columns: Of the history, the first one what a step is called.

    Raises:
        CheckpointError: The folder cannot be written, or another run writes to it.
        ConfigurationError: `best` is not measured.
    """

    def __init__(self, settings: Checkpoint, description: Description, columns: Sequence[str]):
        if settings.best is not None and settings.best not in columns[2:]:
            raise ConfigurationError(f"`best` is {settings.best!r}, which is not among {list(columns[2:])}.")
        self.path = pathlib.Path(settings.directory).absolute()
        self._settings, self._description, self._columns = settings, description, list(columns)
        self._scores: dict[int, float] = {}
        self._writing: threading.Thread | None = None
        self._failure: Exception | None = None
        self._last: int | None = None
        self._lock: TextIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator["CheckpointFolder"]:
        """Lock the folder, and in the end wait for what is being written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise self._not_writable(error) from None
        with self._lock:
            self._take_lock()
            remove_leftovers(self.path)
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
        for step in reversed(steps):
            try:
                arrays, document = _read(self.path, step)
            except CheckpointError as error:
                self._put_aside(step)
                warnings.warn(f"The checkpoint of {self._columns[0]} {step} was put aside: {error}", stacklevel=4)
                continue
            changed = differences(document["description"], self._description)
            if changed and not despite_changes:
                raise CheckpointError(
                    f"The checkpoints in {self.path} are of another run: {'; '.join(changed)}; to go on all the same, "
                    'pass `resume="anyway"`.'
                )
            position = _unpack(arrays, document, start)
            self._last = position.step
            for whole in _steps(self.path):
                if best := self._settings.best:
                    self._scores[whole] = _score(read_document(self.path / _name(whole)), best)
            return position
        if steps:
            raise CheckpointError(f"None of the {len(steps)} checkpoints in {self.path} is whole; name another folder.")
        return start

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
        arrays, document = _pack(position)
        document |= {
            "format": _FORMAT,
            "columns": self._columns,
            "versions": versions(),
            "description": self._description,
        }
        document["devices"] = [device.device_kind for device in jax.devices()]
        self._writing = threading.Thread(target=self._write, args=(position.step, arrays, document), daemon=True)
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

    def _write(self, step: int, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> None:
        try:
            write_folder(self.path / _name(step), arrays, document)
            if best := self._settings.best:
                self._scores[step] = _score(document, best)
            self._remove_old()
        except Exception as error:
            self._failure = error

    def _remove_old(self) -> None:
        """Keep the newest ones and the best one."""
        kept = _steps(self.path)[-self._settings.keep :]
        if (best := self._settings.best) and self._scores:
            sign = -1 if is_lower_better(best) else 1
            kept.append(max(self._scores, key=lambda step: (sign * self._scores[step], -step)))
        for step in set(_steps(self.path)) - set(kept):
            # First out of the way, so that one that is half removed is never taken for a checkpoint.
            gone = self.path / f".jaxals-{_name(step)}"
            (self.path / _name(step)).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
            self._scores.pop(step, None)

    def _put_aside(self, step: int) -> None:
        aside = self.path / f"{_DAMAGED}{_name(step)}"
        shutil.rmtree(aside, ignore_errors=True)
        (self.path / _name(step)).rename(aside)

    def _take_lock(self) -> None:
        assert self._lock is not None
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            raise CheckpointError(
                f"Another run ({self._lock.read().strip()}) writes to {self.path}; wait for it, or name another folder."
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._lock.flush()

    def _not_writable(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"Checkpoints cannot be written to {self.path}: {first_line(error)}.")


def _name(step: int) -> str:
    return f"step-{step:010}"


def _steps(path: pathlib.Path) -> list[int]:
    """List the steps that have checkpoints, ascending."""
    matches = [_STEP.fullmatch(entry.name) for entry in path.iterdir()] if path.is_dir() else []
    return sorted(int(match[1]) for match in matches if match)


def _score(document: Any, best: str) -> float:
    """Return what was measured at a checkpoint; where that cannot be read it is the worst."""
    worst = float("inf") if is_lower_better(best) else float("-inf")
    try:
        value = document["records"][-1][best]
        return worst if np.isnan(value) else value
    except (TypeError, KeyError, IndexError):
        return worst


def _read(path: pathlib.Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint.

    Raises:
        CheckpointError: It is damaged, or of a format that this version does not read.
    """
    arrays, document = read_folder(path / _name(step))
    if not isinstance(document, dict) or document.get("step") != step:
        raise CheckpointError(f"{path / _name(step)} is no checkpoint of step {step}.")
    if document.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has checkpoints of format {document.get('format')}; this version reads {_FORMAT}."
        )
    return arrays, document


def _leaves(state: Any) -> tuple[list[str], list[Any], Any]:
    """Return the names and values of a state's leaves, and how they hang together."""
    named, tree = jax.tree_util.tree_flatten_with_path(state)
    return [jax.tree_util.keystr(path) for path, _ in named], [leaf for _, leaf in named], tree


def _to_host(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pack(position: Position) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    names, leaves, _ = _leaves(position.state)
    arrays = {f"state-{number}": _to_host(leaf) for number, leaf in enumerate(leaves)}
    tables = [
        next(k for k, leaf in enumerate(leaves) if leaf is table) for table in jax.tree.leaves(position.state.factors)
    ]
    document = {
        "step": position.step,
        "seconds": position.seconds,
        "records": position.records,
        "stopped": None if position.stopped in REASONS else position.stopped,
        "leaves": names,
        "tables": [f"state-{number}" for number in tables],
    }
    if watch := position.watch:
        arrays |= {"best-user": _to_host(watch.factors.user), "best-item": _to_host(watch.factors.item)}
        document["watch"] = {name: getattr(watch, name) for name in ("top", "best", "since_best")}
    return arrays, document


def _unpack(arrays: dict[str, np.ndarray], document: dict[str, Any], start: Position) -> Position:
    names, leaves, tree = _leaves(start.state)
    if names != document["leaves"]:
        raise CheckpointError(f"The checkpoint's state has {document['leaves']}, but the trainer's {names}.")
    state = tree.unflatten(
        [_like(leaf, arrays[f"state-{k}"], name) for k, (leaf, name) in enumerate(zip(leaves, names, strict=True))]
    )
    watch = start.watch
    if watch and "watch" in document:
        best = Factors(
            *(_like(getattr(watch.factors, side), arrays[f"best-{side}"], side) for side in ("user", "item"))
        )
        watch = Watch(watch.settings, best, **document["watch"])
    return Position(
        state, watch, document["step"], document["seconds"], tuple(document["records"]), document["stopped"]
    )


def _like(leaf: Any, array: np.ndarray, name: str) -> Any:
    """Put an array where a leaf of the first state is."""
    if not isinstance(leaf, jax.Array):
        return array if isinstance(leaf, np.ndarray) else array.item()
    expected = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    if (expected.shape, expected.dtype) != (array.shape, array.dtype):
        was, now = (f"{one.dtype}{list(one.shape)}" for one in (array, expected))
        raise CheckpointError(f"The checkpoint's `state{name}` is {was}, but the trainer's {now}.")
    placed = jax.device_put(array, leaf.sharding) if leaf.committed else jnp.asarray(array)
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else placed
