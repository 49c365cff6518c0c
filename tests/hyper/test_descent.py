import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.tree_util import Partial

from jaxals import ALS, Objective, datasets, initial_factors
from jaxals.errors import ConfigurationError, NumericalError
from jaxals.evaluation import leave_k_out
from jaxals.hyper import FoldIn, Implicit, Truncated, gradients, hold_out, smooth_ndcg, tune_by_gradient
from tests.combinations import fast_first

SPLIT = leave_k_out(datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0), 1, seed=0)


def tuned(start: float = 0.001, **settings):
    held_out = hold_out(SPLIT.train, SPLIT.test)
    return tune_by_gradient(
        lambda factors, p: smooth_ndcg(factors, held_out, temperature=0.1),
        {"w0": 0.3, "ridge": jnp.asarray(start)},
        initial_factors(jax.random.key(0), *SPLIT.train.shape, 4),
        objective=lambda p: Objective.ials(p["w0"], p["ridge"]),
        tiles=ALS(factors=4).cut(SPLIT.train, None),
        progress=False,
        **settings,
    )


def scores_until_ctrl_c(*scores: float):
    left = iter(scores)

    def measure(factors):
        if (score := next(left, None)) is None:
            raise KeyboardInterrupt
        return {"score": score}

    return measure


def test_the_step_with_the_best_metric_is_kept():
    found = tuned(steps=5, sweeps=1, method=FoldIn(), measure=scores_until_ctrl_c(0.1, 0.4, 0.2))
    assert found.best_step == 2
    assert found.history["score"].tolist() == [0.1, 0.4, 0.2]
    assert found.parameters["ridge"] != pytest.approx(0.001)


@pytest.mark.parametrize("method", fast_first(1, [FoldIn(), Implicit(sweeps=5), Truncated(1)]))
def test_the_loss_falls_with_every_method(method):
    loss = tuned(steps=6, method=method).history["loss"]
    assert loss.iloc[-1] < loss.iloc[0]


@pytest.mark.slow
def test_a_second_call_compiles_nothing():
    held_out = hold_out(SPLIT.train, SPLIT.test)
    compiled: Any = gradients.differentiate
    loss = lambda held_out, factors, p: smooth_ndcg(factors, held_out, temperature=0.1)
    start, tiles = initial_factors(jax.random.key(0), *SPLIT.train.shape, 3), ALS(factors=3).cut(SPLIT.train, None)
    build = lambda p: Objective.ials(p["w0"], p["ridge"])

    def call(batches):
        at = {"w0": 0.3, "ridge": 0.01}
        settings: Any = {"tiles": tiles, "method": FoldIn(), "steps": 2, "sweeps": 1, "progress": False}
        found = tune_by_gradient(Partial(loss, batches), at, start, objective=build, **settings)
        return found.history["loss"].iloc[-1], compiled._cache_size()

    value, programs = call(held_out)
    one_user = dataclasses.replace(held_out, is_user=held_out.is_user.at[:, 1:].set(0))
    other, still = call(one_user)
    assert still == programs
    assert other != value


def test_a_step_that_cannot_be_measured_is_not_the_best():
    scores = iter([float("nan"), 0.4])
    assert tuned(steps=2, sweeps=1, method=FoldIn(), measure=lambda factors: {"score": next(scores)}).best_step == 2
    with pytest.raises(NumericalError, match="The validation metric was never a number"):
        tuned(steps=2, sweeps=1, method=FoldIn(), measure=lambda factors: {"score": float("nan")})


def test_nothing_is_returned_of_what_was_interrupted_before_a_first_step():
    with pytest.raises(KeyboardInterrupt):
        tuned(steps=2, sweeps=1, method=FoldIn(), measure=scores_until_ctrl_c())


def test_parameters_must_be_above_zero():
    with pytest.raises(ConfigurationError, match="must all be above zero"):
        tuned(start=0.0)


def test_an_optimizer_of_ones_own_is_used():
    still, moved = (tuned(optimizer=optax.sgd(rate), steps=2).history["loss"] for rate in (0.0, 1e-6))
    assert still.tolist() != moved.tolist()
