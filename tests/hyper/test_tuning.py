import jax
import jax.numpy as jnp
import pytest

from jaxals import ALS, Objective, datasets, initial_factors
from jaxals.errors import ConfigurationError
from jaxals.evaluation import leave_k_out
from jaxals.hyper import FoldIn, hold_out, smooth_ndcg, tune

SPLIT = leave_k_out(datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0), 1, seed=0)


def tuned(start: float = 0.001, **settings):
    held_out = hold_out(SPLIT.train, SPLIT.test)
    return tune(
        lambda factors, p: smooth_ndcg(factors, held_out, temperature=0.1),
        {"w0": 0.3, "ridge": jnp.asarray(start)},
        initial_factors(jax.random.key(0), *SPLIT.train.shape, 4),
        objective=lambda p: Objective.ials(p["w0"], p["ridge"]),
        tiles=ALS(factors=4).cut(SPLIT.train, None),
        progress=False,
        **settings,
    )


def test_the_step_with_the_best_metric_is_kept():
    scores = iter([0.1, 0.4, 0.2])
    found = tuned(steps=3, sweeps=1, method=FoldIn(), measure=lambda factors: {"score": next(scores)})
    assert found.step == 2
    assert found.history["score"].tolist() == [0.1, 0.4, 0.2]
    assert found.parameters["ridge"] != pytest.approx(0.001)


def test_parameters_must_be_above_zero():
    with pytest.raises(ConfigurationError, match="must all be above zero"):
        tuned(start=0.0)
