"""Runs that are cut short and gone on with."""

import pathlib

import jax
import numpy as np
import pytest

import jaxals
from jaxals import ALS, Checkpoint, Objective, fit

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
    without_times = [history.drop(columns=["seconds", "compile_seconds"]) for history in (run.history, other.history)]
    assert list(run.history.columns) == list(other.history.columns)
    assert without_times[0].equals(without_times[1])
