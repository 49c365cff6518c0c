import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxals
from jaxals import ALS, Checkpoint, Objective, fit
from jaxals.evaluation import random_holdout
from jaxals.training import interruption, trainers
from jaxals.training import loop as training
from jaxals.training.interruption import Interruption
from tests.training.runs import assert_same
from tests.training.test_checkpoint_folder import steps

DATA = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)


def train(folder, interactions=DATA, **settings) -> jaxals.Run:
    trainer, checkpoint = ALS(factors=4, sweeps=7), Checkpoint(folder)
    return fit(interactions, Objective.hkv(alpha=2.0), trainer, progress=False, checkpoint=checkpoint, **settings)


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_training_with_a_checkpoint_and_how_to_go_on(number, reason, tmp_path):
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def send(progress: jaxals.training.Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), number)

    with pytest.warns(UserWarning, match=rf"{reason.capitalize()}; .* after sweep 3; `resume=True` goes on from there"):
        run = train(tmp_path, callbacks=[send])
    assert (run.stopped_early, len(run.history), steps(tmp_path)) == (reason, 3, [3])
    assert {one: signal.getsignal(one) for one in handlers} == handlers
    assert_same(train(tmp_path, resume=True), train(tmp_path / "whole"))


def test_a_second_interrupt_quits_at_once(tmp_path):
    def send_twice(progress: jaxals.training.Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[send_twice])
    assert time.monotonic() - start < 60


def test_a_step_that_takes_too_long_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.0)
    let_go = threading.Event()

    class Slow:
        """ALS whose third sweep does not end."""

        factors, sweeps = 4, 7

        def begin(self, *arguments):
            training = ALS(factors=4, sweeps=7).begin(*arguments)
            done: list[int] = []

            def step(state, with_loss):
                done.append(1)
                if len(done) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                    let_go.wait(20)
                return training.step(state, with_loss)

            return trainers.Training(training.start, step, 7, "sweep")

    with pytest.warns(UserWarning, match="Terminated; returning the factors after sweep 2"):
        run = fit(DATA, Objective.hkv(), Slow(), progress=False, checkpoint=Checkpoint(tmp_path))
    let_go.set()
    assert (len(run.history), steps(tmp_path)) == (2, [2])


def test_an_evaluation_that_takes_too_long_is_left_behind_with_its_step(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.0)
    split = random_holdout(DATA, 0.3, seed=0)
    let_go, real, done = threading.Event(), training.run_plan, []

    def run_plan(*arguments):
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            let_go.wait(20)
        return real(*arguments)

    monkeypatch.setattr(training, "run_plan", run_plan)
    measured: dict[str, Any] = {"validation": split.test, "metrics": "ndcg@5", "interactions": split.train}
    with pytest.warns(UserWarning, match="Terminated; returning the factors after sweep 2"):
        run = train(tmp_path, **measured)
    let_go.set()
    assert (len(run.history), steps(tmp_path)) == (2, [2])


def test_without_a_checkpoint_no_handler_is_installed():
    seen = []
    fit(
        DATA,
        Objective.hkv(),
        ALS(factors=4, sweeps=1),
        progress=False,
        callbacks=[lambda _: seen.append(signal.getsignal(signal.SIGTERM))],
    )
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_other_threads_train_without_listening(tmp_path):
    runs: list[jaxals.Run] = []
    thread = threading.Thread(target=lambda: runs.append(train(tmp_path)))
    thread.start()
    thread.join()
    assert len(runs[0].history) == 7


def test_what_a_step_raises_comes_out_of_its_thread():
    def fail() -> None:
        raise ZeroDivisionError("by a step")

    with pytest.raises(ZeroDivisionError, match="by a step"):
        Interruption().run(fail)
    assert Interruption().run(lambda: threading.current_thread().name) == "jaxals-step"


def test_a_step_is_not_left_behind_unless_asked(monkeypatch):
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.0)
    done: list[float] = []

    def step() -> None:
        time.sleep(0.3)
        done.append(0.3)

    Interruption().run(step)
    assert done == [0.3]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_line_finishes_the_sweep_and_goes_on_the_next_time(number, code, tmp_path):
    table = tmp_path / "table.tsv"
    DATA.to_frame().to_csv(table, sep="\t", index=False)
    command = [sys.executable, "-m", "jaxals", "fit", str(table), "--factors", "4", "--every", "100", "--json"]
    command += ["--output", str(tmp_path / "model"), "--checkpoint", str(tmp_path / "run"), "--resume", "--sweeps"]
    process = subprocess.Popen([*command, "3000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "run").glob("step-*")):
        time.sleep(0.01)
    process.send_signal(number)
    start = time.monotonic()
    _, said = process.communicate(timeout=100)
    assert (process.returncode, time.monotonic() - start < 10) == (code, True)
    assert "the same command with --resume goes on from there" in said
    jaxals.Recommender.load(tmp_path / "model")
    done = max(steps(tmp_path / "run"))
    assert 100 <= done < 3000
    again = subprocess.run([*command, str(done + 1)], capture_output=True, text=True, timeout=100, check=True)
    assert f'"sweeps": {done + 1}' in again.stdout


@pytest.mark.slow
def test_the_command_line_ends_within_ten_seconds_however_long_a_sweep_takes(tmp_path):
    table = tmp_path / "table.tsv"
    DATA.to_frame().to_csv(table, sep="\t", index=False)
    code = f"""
import dataclasses, sys, time
from jaxals import ALS, cli
begin = ALS.begin
def begin_slowly(*arguments):
    training = begin(*arguments)
    done = []
    def step(*given):
        done.append(1)
        if len(done) == 3:
            print("slow", flush=True)
            time.sleep(1000)
        return training.step(*given)
    return dataclasses.replace(training, step=step)
ALS.begin = begin_slowly
sys.argv = ["jaxals", "fit", {str(table)!r}, "--output", {str(tmp_path / "model")!r}, "--factors", "4", "--json"]
sys.argv += ["--checkpoint", {str(tmp_path / "run")!r}]
sys.exit(cli.main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "slow\n"
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    _, said = process.communicate(timeout=100)
    assert (process.returncode, time.monotonic() - start < 10) == (143, True)
    assert "terminated; the model after 2 sweeps is in" in said
    jaxals.Recommender.load(tmp_path / "model")
    assert steps(tmp_path / "run") == [2]


def test_a_step_computes_as_the_thread_would_that_asks_for_it():
    config: Any = jax.config
    ask = lambda: (config.jax_default_matmul_precision, config.jax_enable_x64, jnp.zeros(()).devices())
    last = jax.devices()[-1]
    with jax.default_matmul_precision("float32"), jax.enable_x64(False), jax.default_device(last):
        assert Interruption().run(ask) == ask() == ("float32", False, {last})
    assert Interruption().run(ask) == ask() == (None, True, {jax.devices()[0]})
