"""Folders of checkpoints: what is kept, damaged, locked, full."""

import dataclasses
import errno
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals import ALS, Checkpoint, Gradient, Objective
from jaxals.errors import CheckpointError, ConfigurationError, NumericalError
from jaxals.evaluation import random_holdout
from jaxals.models import folder as storage
from jaxals.training import checkpoint as checkpoints
from jaxals.training.checkpoint import load_checkpoint
from jaxals.training.encoding import score
from jaxals.training.interruption import Interruption
from tests.combinations import fast_first
from tests.models.test_folder import delete, empty, flip, halve
from tests.training.runs import (
    DATA,
    Cut,
    assert_same,
    cut_after,
    train,
    train_cut_and_resumed,
)


def steps(folder: pathlib.Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def test_the_last_and_the_best_are_kept(tmp_path):
    split = random_holdout(DATA, 0.3, seed=0)
    settings = {
        "interactions": split.train,
        "objective": Objective.hkv(alpha=2.0, regularization=1e-3),
        "trainer": ALS(factors=16, sweeps=8, start="random"),
        "validation": split.test,
        "metrics": ["ndcg@10"],
    }
    whole = train(**settings)
    best = int(whole.history["ndcg@10"].argmax()) + 1
    assert best < 6
    train_cut_and_resumed(tmp_path / "plain", rows=best + 1, every=1, **settings)
    assert steps(tmp_path / "plain") == [7, 8]
    checkpoint = Checkpoint(tmp_path / "best", every=1, best="ndcg@10")
    with pytest.raises(Cut):
        train(checkpoint=checkpoint, callbacks=[cut_after(best + 1)], **settings)
    train(checkpoint=checkpoint, resume=True, **settings)
    assert steps(tmp_path / "best") == [best, 7, 8]
    saved = load_checkpoint(tmp_path / "best", step=best)
    measured = jaxals.evaluation.evaluate(saved.factors, split.train, split.test, ["ndcg@10"])["ndcg@10"]
    assert measured == pytest.approx(whole.history["ndcg@10"].max(), rel=1e-6)
    train(checkpoint=Checkpoint(tmp_path / "loss", every=1, keep=1, best="loss"), **settings)
    assert steps(tmp_path / "loss") == [8]
    with pytest.raises(ConfigurationError, match=r"`best` is 'map@3', which is not among \['loss', 'ndcg@10'\]"):
        train(checkpoint=Checkpoint(tmp_path / "map", best="map@3"), **settings)
    for loss_every in (0, 2):
        with pytest.raises(ConfigurationError, match='`best="loss"` of a checkpoint needs `loss_every=1`'):
            train(checkpoint=Checkpoint(tmp_path / "unmeasured", best="loss"), loss_every=loss_every)


def test_a_checkpoint_can_be_read_by_itself(tmp_path):
    run = train(checkpoint=Checkpoint(tmp_path, every=3, keep=5))
    saved = load_checkpoint(tmp_path)
    np.testing.assert_array_equal(saved.factors.user, run.factors.user)
    assert saved.history.equals(run.history)
    assert (saved.step, saved.description["objective.confidence.alpha"]) == (7, 2.0)
    assert len(load_checkpoint(tmp_path, step=3).history) == 3
    with pytest.raises(CheckpointError, match=r"There is no checkpoint of step 4 .* there are \[3, 6, 7\]"):
        load_checkpoint(tmp_path, step=4)
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "damage",
    fast_first(1, [halve, delete, empty, flip(0.0), flip(0.7)]),
)
def test_damage_to_any_file_leads_to_the_checkpoint_before(damage, tmp_path):
    whole = train(checkpoint=Checkpoint(tmp_path / "whole", every=5))
    assert steps(tmp_path / "whole") == [5, 7]
    newest = tmp_path / "whole" / "step-0000000007"
    files = [file.relative_to(newest) for file in newest.rglob("*") if file.is_file()]
    assert len(files) > 12
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / newest.name / file)
        seen: list[int] = []
        with pytest.warns(UserWarning, match="The checkpoint of step 7 was put aside: .* is damaged"):
            run = train(
                checkpoint=Checkpoint(folder), resume=True, callbacks=[lambda step, seen=seen: seen.append(step.step)]
            )
        assert_same(run, whole)
        assert seen == [6, 7]
        assert (folder / "damaged-step-0000000007").is_dir()
        assert steps(folder) == [5, 7]


def test_where_none_is_whole_nothing_is_begun(tmp_path):
    train(checkpoint=Checkpoint(tmp_path, every=5))
    for file in tmp_path.glob("step-*/document.json"):
        file.write_bytes(b"")
    for _ in range(2):  # the second call finds what the first one did
        with pytest.raises(CheckpointError, match=r"None of the 2 checkpoints .* is whole \(.*7 is damaged: document"):
            train(checkpoint=Checkpoint(tmp_path), resume=True)
        assert steps(tmp_path) == [5, 7]


def forge(folder: pathlib.Path, change) -> None:
    """Change the arrays and the document of a checkpoint, its checksums all in order."""
    arrays, document = storage.read_folder(folder)
    change(arrays, document)
    storage.write_folder(folder, arrays, document)


def test_checkpoints_of_another_format_stay_where_they_are(tmp_path):
    train(checkpoint=Checkpoint(tmp_path, every=5))
    for folder in tmp_path.glob("step-*"):
        forge(folder, lambda arrays, document: document.update(format=2))
    with pytest.raises(CheckpointError, match="has checkpoints of format 2; this version reads 1"):
        train(checkpoint=Checkpoint(tmp_path), resume=True)
    assert steps(tmp_path) == [5, 7]


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_what_may_pass_is_no_damage(fault, tmp_path, monkeypatch):
    def fail(_):
        raise fault

    whole = train(checkpoint=Checkpoint(tmp_path, every=5))
    with monkeypatch.context() as patched:
        patched.setattr(storage, "_summary", fail)
        with pytest.raises(CheckpointError, match=r"0007 cannot be read: (Too many open files|MemoryError)\.$"):
            train(checkpoint=Checkpoint(tmp_path), resume=True)
    assert steps(tmp_path) == [5, 7]
    assert_same(train(checkpoint=Checkpoint(tmp_path), resume=True), whole)


def test_damaged_checkpoints_of_another_run_stay_where_they_are(tmp_path):
    train(checkpoint=Checkpoint(tmp_path, every=5))
    empty(tmp_path / "step-0000000007" / "document.json")
    with pytest.raises(CheckpointError, match="are of another run"):
        train(checkpoint=Checkpoint(tmp_path), resume=True, seed=1)
    assert steps(tmp_path) == [5, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, document: document.pop("tables"), "is damaged: 'tables'"),
        (lambda arrays, document: document.update(tables=3), "is damaged: "),
        (lambda arrays, document: document.update(step=8), "is damaged: it is no checkpoint of step 7"),
        (lambda arrays, document: document.update(records=[{"loss": "x"}]), "is damaged: its document"),
        (lambda arrays, document: document.update(seconds=None), "is damaged: its document"),
        (lambda arrays, document: document.update(watch={"top": 1.0, "settings": 2.0}), "is damaged: its document"),
        (lambda arrays, document: arrays.update({"state-0": arrays["state-0"][0]}), "no tables of finite numbers"),
        (lambda arrays, document: arrays.update({"state-0": arrays["state-0"] * np.nan}), "no tables of finite"),
        (lambda arrays, document: arrays.update({"state-0": arrays["state-0"][:, :2]}), "different numbers of factors"),
        (lambda arrays, document: arrays.pop("state-0"), "is damaged: 'state-0'"),
    ],
)
def test_a_checkpoint_that_only_looks_whole_is_refused(change, message, tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    forge(tmp_path / "step-0000000007", change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "step-0000000005")
    with pytest.raises(CheckpointError, match=message):
        train(checkpoint=Checkpoint(tmp_path), resume=True)


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    train(trainer=ALS(factors=4, sweeps=5), checkpoint=Checkpoint(tmp_path))
    unfinished = tmp_path / ".jaxals-step-0000000007-abcd_123"
    shutil.copytree(tmp_path / "step-0000000005", unfinished / "new")
    (unfinished / "new" / "checksums.json").unlink()
    model = tmp_path / ".jaxals-model-abcd_123"  # which somebody else may be writing
    model.mkdir()
    assert_same(train(checkpoint=Checkpoint(tmp_path), resume=True), train())
    assert list(tmp_path.glob(".jaxals-*")) == [model]


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    def begin_another(progress: jaxals.training.Progress) -> None:
        with pytest.raises(CheckpointError, match=rf"Another run \(process {os.getpid()} on .*\) writes to "):
            train(checkpoint=Checkpoint(tmp_path), resume=True)

    assert len(train(checkpoint=Checkpoint(tmp_path), callbacks=[begin_another]).history) == 7


def test_the_folder_stays_locked_while_it_is_written_to(tmp_path, monkeypatch):
    # A second Ctrl-C leaves training while the thread still writes.
    let_go, write = threading.Event(), storage.write_folder
    monkeypatch.setattr(checkpoints, "write_folder", lambda *arguments: (let_go.wait(20), write(*arguments)))
    done: list[int] = []

    def quit_at_once(self, step):
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return step()

    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "run", quit_at_once)
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint=Checkpoint(tmp_path, every=1))
    with pytest.raises(CheckpointError, match="Another run"):
        train(checkpoint=Checkpoint(tmp_path), resume=True)
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "jaxals-checkpoint":
            thread.join()
    assert steps(tmp_path) == [1]
    assert_same(train(checkpoint=Checkpoint(tmp_path), resume=True), train())


@pytest.mark.slow
def test_a_full_disk_ends_training_and_leaves_what_was_there(tmp_path):
    # A bound on the size of files stands for the disk: the users' table is 512 kB.
    code = f"""
import resource, jaxals
from jaxals import ALS, Checkpoint, Objective, fit
data = jaxals.datasets.synthetic(n_users=2000, n_items=100, n_interactions=4000, seed=0)
train = lambda sweeps: fit(data, Objective.hkv(), ALS(factors=64, sweeps=sweeps, solver=jaxals.ConjugateGradient()),
                           checkpoint=Checkpoint({str(tmp_path)!r}, every=1), resume=True, progress=False)
train(2)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    train(4)
except jaxals.errors.CheckpointError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert re.fullmatch(r"Checkpoints cannot be written to .*: .*\.\n", done.stdout), done.stdout + done.stderr
    assert steps(tmp_path) == [1, 2]
    assert not list(tmp_path.glob(".jaxals-*"))
    assert load_checkpoint(tmp_path).step == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Checkpoints cannot be written to .*file/run: "):
        train(checkpoint=Checkpoint(tmp_path / "file" / "run"))

    def refuse(path, *arguments, **settings):
        if path.name == "lock":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **settings)

    # The tests may run as a user who may write anywhere.
    opened = pathlib.Path.open
    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"Checkpoints cannot be written to .*: Permission denied\.$"):
        train(checkpoint=Checkpoint(tmp_path / "run"))


def test_numbers_gone_bad_are_never_saved(tmp_path):
    # A learning rate that a schedule raises beyond all measure after 30 steps.
    rate = lambda count: jnp.where(count < 30, jnp.asarray(1e-4, jnp.float32), jnp.asarray(1e38, jnp.float32))
    trainer = Gradient(factors=4, steps=60, report_every=10, optimizer=optax.sgd(rate))
    with pytest.raises(NumericalError, match=r"After step 40, \d+ rows are not finite"):
        train(trainer=trainer, checkpoint=Checkpoint(tmp_path, every=1))
    assert steps(tmp_path) == [20, 30]
    assert np.isfinite(load_checkpoint(tmp_path).factors.user).all()


@pytest.mark.parametrize(
    ("patched", "fault"),
    [
        ("fcntl.flock", OSError(errno.ENOLCK, "No locks available")),
        ("fcntl.flock", OSError(errno.ENOSYS, "Function not implemented")),
        ("remove_leftovers", OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_what_keeps_a_folder_from_being_locked_is_said(patched, fault, tmp_path, monkeypatch):
    def fail(*_):
        raise fault

    train(checkpoint=Checkpoint(tmp_path))
    monkeypatch.setattr(f"jaxals.{'models.folder' if '.' in patched else 'training.checkpoint'}.{patched}", fail)
    with pytest.raises(CheckpointError, match=rf"^Checkpoints cannot be written to .*: {fault.strerror}\.$"):
        train(checkpoint=Checkpoint(tmp_path), resume=True)


class FullDisk(io.FileIO):
    """A file that can be opened and not written."""

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_too_full_for_the_lock_is_one_error(tmp_path, monkeypatch):
    def open_lock(path, mode="r", buffering=-1, **settings):
        if path.name != "lock":
            return opened(path, mode, buffering, **settings)
        return io.BufferedRandom(FullDisk(path, mode)) if buffering else FullDisk(path, mode)

    opened = pathlib.Path.open
    monkeypatch.setattr(pathlib.Path, "open", open_lock)
    with pytest.raises(CheckpointError, match=r"Checkpoints cannot be written to .*: No space left on device\.$"):
        train(checkpoint=Checkpoint(tmp_path))


def test_a_damaged_checkpoint_that_cannot_be_put_aside_is_said(tmp_path, monkeypatch):
    train(checkpoint=Checkpoint(tmp_path, every=5))
    empty(tmp_path / "step-0000000007" / "document.json")

    def fail(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(CheckpointError, match=r"Checkpoints cannot be written to .*: Read-only file system\.$"):
        train(checkpoint=Checkpoint(tmp_path), resume=True)


def test_what_could_not_be_written_ends_training_and_leaves_what_was_there(tmp_path, monkeypatch):
    def fail(path, *_):
        if path.name == "step-0000000005":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *_)

    write = checkpoints.write_folder
    monkeypatch.setattr(checkpoints, "write_folder", fail)
    with pytest.raises(CheckpointError, match=rf"^Checkpoints cannot be written to {tmp_path}: No space left on dev"):
        train(checkpoint=Checkpoint(tmp_path, every=1))
    assert steps(tmp_path) == [3, 4]


def test_a_checkpoint_that_is_damaged_again_takes_the_place_of_the_one_before(tmp_path):
    train(checkpoint=Checkpoint(tmp_path, every=5))
    for _ in range(2):
        empty(tmp_path / "step-0000000007" / "document.json")
        with pytest.warns(UserWarning, match="damaged"):
            run = train(checkpoint=Checkpoint(tmp_path, every=5), resume=True)
        assert_same(run, train())
        assert steps(tmp_path) == [5, 7]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "iterdir", fail)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path} cannot be read: Permission denied\.$"):
        load_checkpoint(tmp_path)


def test_a_score_that_cannot_be_read_is_the_worst():
    unreadable: list[Any] = [None, {}, {"records": []}, {"records": [{"loss": None}]}]
    for document in [*unreadable, {"records": [{"loss": np.nan, "ndcg@10": np.nan}]}]:
        assert score(document, "loss") == float("inf")
        assert score(document, "ndcg@10") == -float("inf")
    assert score({"records": [{"loss": 2.0}, {"loss": 1.0}]}, "loss") == 1.0


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("keep", 0)])
def test_settings_out_of_range_are_refused(name, value, tmp_path):
    with pytest.raises(ConfigurationError, match=f"`{name}` must be an integer >= 1"):
        dataclasses.replace(Checkpoint(tmp_path), **{name: value})
