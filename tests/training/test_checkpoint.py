import dataclasses
import inspect
import shutil
from typing import Any

import jax
import numpy as np
import optax
import pytest

import jaxals
from jaxals import ALS, Checkpoint, ConjugateGradient, EarlyStopping, Gradient, Objective, Subspace, fit
from jaxals.errors import CheckpointError, ConfigurationError
from jaxals.evaluation import random_holdout
from jaxals.gradient.descent import Alternating, SampledNegatives, UserBatches
from jaxals.training import checkpoint as checkpoints
from tests.training.runs import (
    DATA,
    FORWARDED,
    OBJECTIVE,
    PLAIN,
    Cut,
    assert_same,
    cut_after,
    train,
    train_cut_and_resumed,
)

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


FAST_TRAINERS = {"cg", "user batches"}


@pytest.mark.parametrize(
    "name", [name if name in FAST_TRAINERS else pytest.param(name, marks=pytest.mark.slow) for name in TRAINERS]
)
def test_a_run_that_was_cut_goes_on_bit_by_bit(name, tmp_path):
    whole = train(trainer=TRAINERS[name], seed=3)
    resumed = train_cut_and_resumed(tmp_path, rows=5, trainer=TRAINERS[name], seed=3)
    assert len(whole.history) == 7
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    "name", ["cg", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cholesky", "user batches"))]
)
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


def test_stopping_and_what_it_watches_may_be_added_on_resume(tmp_path):
    split = random_holdout(DATA, 0.2, seed=0)
    train(interactions=split.train, trainer=dataclasses.replace(PLAIN, sweeps=2), checkpoint=Checkpoint(tmp_path))
    watched = {"validation": split.test, "metrics": "ndcg@5", "early_stopping": EarlyStopping("ndcg@5", patience=9)}
    run = train(interactions=split.train, checkpoint=Checkpoint(tmp_path), resume=True, **watched)
    assert run.history["ndcg@5"].isna().tolist() == [True, True, *[False] * 5]
    assert run.best_step == run.history.set_index("step")["ndcg@5"].idxmax()
    assert run.best["ndcg@5"] == run.history["ndcg@5"].max()


def test_stopping_that_is_added_counts_the_step_that_it_goes_on_from(tmp_path):
    train(checkpoint=Checkpoint(tmp_path))
    worse = EarlyStopping("loss", min_improvement=10.0)
    run = train(
        trainer=dataclasses.replace(PLAIN, sweeps=9), checkpoint=Checkpoint(tmp_path), resume=True, early_stopping=worse
    )
    assert run.stopped_early == "loss stopped improving"
    assert run.history["step"].tolist() == list(range(1, 9))


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
