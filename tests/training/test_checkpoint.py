import dataclasses
import errno
import inspect
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxals
from jaxals import ALS, Checkpoint, ConjugateGradient, EarlyStopping, Gradient, Objective, Subspace, fit
from jaxals.errors import CheckpointError, ConfigurationError, NumericalError
from jaxals.evaluation import random_holdout
from jaxals.gradient.descent import Alternating, SampledNegatives, UserBatches
from jaxals.models import folder as storage
from jaxals.training import checkpoint as checkpoints
from jaxals.training.checkpoint import load_checkpoint
from jaxals.training.interruption import Interruption
from tests.models.test_folder import delete, empty, flip, halve

DATA = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
OBJECTIVE = Objective.hkv(alpha=2.0)
PLAIN = ALS(factors=4, sweeps=7)


class Cut(Exception):
    pass


FORWARDED = {"begin": lambda self, *arguments: self.trainer.begin(*arguments)}


def train(**settings) -> jaxals.Run:
    given = {"trainer": PLAIN, "interactions": DATA, "objective": OBJECTIVE, "progress": False, **settings}
    return fit(**given)


def cut_after(rows: int):
    """A callback that ends training by an exception after so many rows; what is being written is finished first."""
    seen = []

    def callback(progress: jaxals.training.Progress) -> None:
        seen.append(progress.step)
        if len(seen) == rows:
            raise Cut

    return callback


def train_cut_and_resumed(folder: pathlib.Path, rows: int, every: int = 2, **settings) -> jaxals.Run:
    checkpoint = Checkpoint(folder, every=every)
    with pytest.raises(Cut):
        train(checkpoint=checkpoint, callbacks=[cut_after(rows)], **settings)
    return train(checkpoint=checkpoint, resume=True, **settings)


def assert_same(run: jaxals.Run, other: jaxals.Run) -> None:
    assert run.stopped_early == other.stopped_early
    for ours, theirs in zip(jax.tree.leaves(run.factors), jax.tree.leaves(other.factors), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    without_times = [history.drop(columns="seconds") for history in (run.history, other.history)]
    assert list(run.history.columns) == list(other.history.columns)
    assert without_times[0].equals(without_times[1])


TRAINERS: dict[str, Any] = {
    "cholesky": PLAIN,
    "no momentum": ALS(factors=4, sweeps=7, acceleration=None),
    "cg": ALS(factors=4, sweeps=7, solver=ConjugateGradient()),
    "cg with tolerance": ALS(factors=4, sweeps=7, solver=ConjugateGradient(steps=2, tolerance=1e-12)),
    "subspace": ALS(factors=4, sweeps=7, solver=Subspace(2)),
    "adam": Gradient(factors=4, steps=65, report_every=10),
    "alternating": Gradient(factors=4, steps=65, report_every=10, batch=Alternating()),
    "user batches": Gradient(factors=4, steps=65, report_every=10, batch=UserBatches(16)),
    "negatives": Gradient(factors=4, steps=65, report_every=10, batch=SampledNegatives(16)),
    "schedule": Gradient(
        factors=4, steps=65, report_every=10, optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 65))
    ),
    "lbfgs": Gradient(factors=4, steps=14, report_every=2, optimizer=optax.lbfgs()),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_run_that_was_cut_goes_on_bit_by_bit(name, tmp_path):
    whole = train(trainer=TRAINERS[name], seed=3)
    resumed = train_cut_and_resumed(tmp_path, rows=5, trainer=TRAINERS[name], seed=3)
    assert len(whole.history) == 7
    assert_same(resumed, whole)


@pytest.mark.parametrize("name", ["cholesky", "cg", "user batches"])
def test_so_does_one_on_eight_devices(name, tmp_path, all_devices):
    assert len(jax.devices()) == 8
    assert_same(train_cut_and_resumed(tmp_path, rows=3, trainer=TRAINERS[name]), train(trainer=TRAINERS[name]))


@pytest.mark.parametrize("rows", range(1, 8))
def test_wherever_it_is_cut_no_more_than_every_is_lost(rows, tmp_path):
    seen: list[int] = []
    with pytest.raises(Cut):
        train(checkpoint=Checkpoint(tmp_path, every=3), callbacks=[cut_after(rows)])
    resumed = train(
        checkpoint=Checkpoint(tmp_path, every=3), resume=True, callbacks=[lambda step: seen.append(step.step)]
    )
    assert_same(resumed, train())
    assert seen == list(range(3 * ((rows - 1) // 3) + 1, 8))


def test_early_stopping_goes_on_with_its_memory(tmp_path):
    split = random_holdout(DATA, 0.3, seed=0)
    settings = {
        "interactions": split.train,
        "objective": Objective.hkv(alpha=40.0, regularization=1e-3),
        "trainer": ALS(factors=8, sweeps=12),
        "validation": split.test,
        "metrics": ["ndcg@10", "gini@5"],
        "early_stopping": EarlyStopping("ndcg@10", min_improvement=0.0, patience=3),
    }
    whole = train(**settings)
    assert whole.stopped_early == "ndcg@10 stopped improving"
    best = int(whole.history["ndcg@10"].argmax())
    assert best < len(whole.history) - 1
    # After the best: its factors can then come from the checkpoint alone.
    resumed = train_cut_and_resumed(tmp_path, rows=best + 2, every=1, **settings)
    assert_same(resumed, whole)
    # What is finished stays as it is.
    seen: list[int] = []
    again = train(
        checkpoint=Checkpoint(tmp_path, every=1),
        resume=True,
        callbacks=[lambda step: seen.append(step.step)],
        **settings,
    )
    assert_same(again, whole)
    assert not seen


def test_more_steps_may_be_asked_for_and_not_fewer(tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    longer = dataclasses.replace(PLAIN, sweeps=11)
    assert_same(train(trainer=longer, checkpoint=Checkpoint(tmp_path), resume=True), train(trainer=longer))
    with pytest.raises(ConfigurationError, match=r"is of sweep 11, past the 7 that are asked for"):
        train(checkpoint=Checkpoint(tmp_path), resume=True)


def test_more_steps_end_rows_where_one_longer_run_does(tmp_path):
    trainer = lambda steps: Gradient(factors=4, steps=steps, report_every=10, batch=UserBatches(16))
    train(trainer=trainer(65), checkpoint=Checkpoint(tmp_path))
    longer, whole = train(trainer=trainer(95), checkpoint=Checkpoint(tmp_path), resume=True), train(trainer=trainer(95))
    assert longer.history["step"].tolist() == [10, 20, 30, 40, 50, 60, 65, 70, 80, 90, 95]
    history = longer.history[longer.history["step"] != 65].reset_index(drop=True)
    assert_same(dataclasses.replace(longer, history=history), whole)


def test_another_number_of_devices_goes_on_nearly_the_same(tmp_path, all_devices):
    checkpoint = Checkpoint(tmp_path, every=2)
    with pytest.raises(Cut):
        train(checkpoint=checkpoint, callbacks=[cut_after(5)])
    with pytest.warns(UserWarning, match='may be rounded in another way .*: `devices` was "8 cpu", is "1 cpu"'):
        resumed = train(checkpoint=checkpoint, resume=True, mesh=None)
    assert len(resumed.history) == 7
    np.testing.assert_allclose(resumed.history["loss"], train(mesh=None).history["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": Objective.hkv(alpha=3.0)}, r"`objective.confidence.alpha` was 2.0, is 3.0"),
        ({"objective": Objective.spark(alpha=2.0)}, r"`objective.frequency_exponent` was 0.0, is 1.0"),
        ({"trainer": ALS(factors=4, sweeps=7, acceleration=None)}, '`trainer.acceleration` was "momentum", is null'),
        ({"trainer": ALS(factors=5, sweeps=7)}, "`trainer.factors` was 4, is 5"),
        ({"seed": 1}, "`seed` was"),
        ({"interactions": DATA.select(np.arange(600))}, r"`interactions.user` was \"int32\[700\].*is \"int32\[600\]"),
        ({"loss_every": 2}, "`loss_every` was 1, is 2"),
    ],
)
def test_another_run_is_refused_by_what_differs(change, message, tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=rf"are of another run: .*{message}"):
        train(checkpoint=Checkpoint(tmp_path), resume=True, **change)


def test_another_precision_is_another_run(tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    message = '`jax_default_matmul_precision` was null, is "highest"'
    with jax.default_matmul_precision("highest"), pytest.raises(CheckpointError, match=message):
        train(checkpoint=Checkpoint(tmp_path), resume=True)


def test_edited_code_is_another_run_and_code_that_is_compiled_is_named(tmp_path):
    make = lambda text: Objective(jax.tree_util.Partial(eval(f"lambda r: (abs(r), 1 + {text})", {"np": np})))
    train(checkpoint=Checkpoint(tmp_path), objective=make("abs(r)"))
    with pytest.raises(
        CheckpointError, match=r"another run: the code of `objective\.confidence` has changed; to go on"
    ):
        train(checkpoint=Checkpoint(tmp_path), objective=make("r"), resume=True)
    # NumPy's is compiled, and installed; what `frompyfunc` makes is compiled, and anybody's.
    rare = dataclasses.replace(PLAIN, sweeps=3)
    compiled = dataclasses.make_dataclass("Trainer", ["trainer", "extra"], namespace=FORWARDED, frozen=True)
    settings = {"checkpoint": Checkpoint(tmp_path / "b"), "trainer": compiled(rare, np.frompyfunc(abs, 1, 1))}
    train(**settings)
    with pytest.warns(UserWarning, match=r"Whether `numpy.abs \(vectorized\)` still compute the same cannot be told"):
        train(**settings, resume=True)


def test_another_run_goes_on_when_told_to_and_if_it_fits(tmp_path):
    train(trainer=ALS(factors=4, sweeps=3), checkpoint=Checkpoint(tmp_path))
    objective = Objective.hkv(alpha=2.0, regularization=5.0)
    run = train(objective=objective, checkpoint=Checkpoint(tmp_path), resume="anyway")
    assert len(run.history) == 7
    with pytest.raises(CheckpointError, match=r"`state\.factors\.user` is float32\[60, 4\], but the trainer's .*5\]"):
        train(trainer=ALS(factors=5, sweeps=9), checkpoint=Checkpoint(tmp_path), resume="anyway")
    with pytest.raises(CheckpointError, match=r"The checkpoint's state has .*momentum"):
        train(trainer=ALS(factors=4, sweeps=9, acceleration=None), checkpoint=Checkpoint(tmp_path), resume="anyway")


def test_other_versions_are_told_of(tmp_path, monkeypatch):
    train(trainer=ALS(factors=4, sweeps=3), checkpoint=Checkpoint(tmp_path))
    newer = {**checkpoints.versions(), "jax": "99.0"}
    monkeypatch.setattr(checkpoints, "versions", lambda: newer)
    with pytest.warns(UserWarning, match=r"may be rounded in another way .*: `jax` was \"[\d.]+\", is \"99\.0\"\.$"):
        assert_same(train(checkpoint=Checkpoint(tmp_path), resume=True), train())


SPLIT = random_holdout(DATA, 0.3, seed=0)
WATCHED: dict[str, Any] = {
    "interactions": SPLIT.train,
    "validation": SPLIT.test,
    "metrics": ["ndcg@10"],
    "early_stopping": EarlyStopping("loss", patience=5),
}


def test_the_memory_of_early_stopping_begins_anew_where_something_else_is_watched(tmp_path):
    # Losses are far above any NDCG, which could then never be the best.
    train(checkpoint=Checkpoint(tmp_path), **WATCHED)
    other = {**WATCHED, "early_stopping": EarlyStopping("ndcg@10", patience=20)}
    longer = ALS(factors=4, sweeps=12)
    run = train(trainer=longer, checkpoint=Checkpoint(tmp_path), resume="anyway", **other)
    assert len(run.history) == 12
    measured = jaxals.evaluation.evaluate(run.factors, SPLIT.train, SPLIT.test, ["ndcg@10"])["ndcg@10"]
    assert measured == pytest.approx(run.history["ndcg@10"][7:].max(), rel=1e-6)


def test_early_stopping_that_was_not_there_before_begins_with_the_checkpoint(tmp_path):
    whole = train(checkpoint=Checkpoint(tmp_path), **{**WATCHED, "early_stopping": None})
    # No step is left: the random factors of the start are not what was trained.
    assert_same(train(checkpoint=Checkpoint(tmp_path), resume="anyway", **WATCHED), whole)


def test_a_run_that_early_stopping_ended_goes_on_without_it_or_with_more_patience(tmp_path):
    impatient = {**WATCHED, "early_stopping": EarlyStopping("loss", min_improvement=0.5)}
    stopped = train(checkpoint=Checkpoint(tmp_path / "none"), **impatient)
    assert stopped.stopped_early == "loss stopped improving"
    shutil.copytree(tmp_path / "none", tmp_path / "more")
    for name, instead in (("none", None), ("more", EarlyStopping("loss", min_improvement=0.0, patience=2))):
        settings = {**WATCHED, "early_stopping": instead}
        run = train(checkpoint=Checkpoint(tmp_path / name), resume="anyway", **settings)
        assert (run.stopped_early, len(run.history)) == (None, 7)


def test_optimisers_and_penalties_are_told_apart_by_their_settings(tmp_path):
    trainer = lambda rate, weight: Gradient(
        factors=4,
        steps=20,
        report_every=10,
        optimizer=optax.adam(rate),
        penalty=lambda factors: weight * factors.item.var(),
    )
    settings: dict[str, Any] = {"checkpoint": Checkpoint(tmp_path), "resume": True}
    run = train(trainer=trainer(0.01, 1.0), **settings)
    assert_same(train(trainer=trainer(0.01, 1.0), **settings), run)
    with pytest.raises(CheckpointError, match=r"`trainer\.optimizer"):
        train(trainer=trainer(0.02, 1.0), **settings)
    with pytest.raises(CheckpointError, match=r"`weight` of `trainer\.penalty` was 1\.0, is 2\.0"):
        train(trainer=trainer(0.01, 2.0), **settings)


def test_a_folder_with_checkpoints_is_not_begun_anew(tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match="holds checkpoints up to step 7; go on from them with `resume=True`"):
        train(checkpoint=Checkpoint(tmp_path))
    unchecked: Any = inspect.unwrap(fit)  # the checks of types in tests would come first
    for wrong in ({"resume": True}, {"resume": "yes", "checkpoint": Checkpoint(tmp_path)}):
        with pytest.raises(ConfigurationError, match="`resume` may be"):
            unchecked(DATA, OBJECTIVE, PLAIN, **wrong)


def steps(folder: pathlib.Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def test_the_last_and_the_best_are_kept(tmp_path):
    split = random_holdout(DATA, 0.3, seed=0)
    settings = {
        "interactions": split.train,
        "objective": Objective.hkv(alpha=2.0, regularization=1e-3),
        "trainer": ALS(factors=16, sweeps=8),
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


@pytest.mark.parametrize("damage", [delete, empty, halve, flip(0.0), flip(0.7)])
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


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("keep", 0)])
def test_settings_out_of_range_are_refused(name, value, tmp_path):
    with pytest.raises(ConfigurationError, match=f"`{name}` must be an integer >= 1"):
        dataclasses.replace(Checkpoint(tmp_path), **{name: value})
