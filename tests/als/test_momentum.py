import jax
import numpy as np
import pytest

from jaxals import ALS, ConjugateGradient, Factors, Objective, datasets, fit, initial_factors
from jaxals.als.momentum import look_ahead, no_momentum, remember

DATA = datasets.synthetic(n_users=300, n_items=200, n_interactions=6000, seed=0)
OBJECTIVE = Objective.hkv(alpha=5.0, regularization=1.0)


def tables(seed: int) -> Factors:
    return initial_factors(jax.random.key(seed), 6, 5, 3, scale=1.0)


@pytest.mark.parametrize("is_exact", [False, True])
def test_momentum_grows_along_a_streak_and_a_turn_ends_it(is_exact):
    here, step = tables(0), tables(1)
    move = lambda times: Factors(here.user + times * step.user, here.item + times * step.item)
    momentum, factors, shares = no_momentum(here, is_exact), here, []
    for n in range(1, 6):  # sweeps that all go the same way
        ahead = look_ahead(factors, momentum)
        gap = np.asarray(factors.item - momentum.item)
        shares.append(float(np.sum(np.asarray(ahead.item - factors.item) * gap) / max(np.sum(gap**2), 1e-30)))
        assert (momentum.user is None) == is_exact
        if momentum.user is None:
            np.testing.assert_array_equal(ahead.user, factors.user)
        else:
            expected = shares[-1] * (factors.user - momentum.user)
            np.testing.assert_allclose(ahead.user - factors.user, expected, atol=1e-5)
        swept = move(float(n) + 10.0)
        momentum, factors = remember(factors, swept, momentum), swept
    assert shares == pytest.approx([0, 0, 2 / 4, 3 / 5, 4 / 6], abs=1e-5)
    ahead = look_ahead(factors, momentum)
    turned = Factors(ahead.user - 0.1 * step.user, ahead.item - 0.1 * step.item)  # still ahead of `factors`
    momentum = remember(factors, turned, momentum)
    assert int(momentum.streak) == 0
    np.testing.assert_array_equal(look_ahead(turned, momentum).item, turned.item)


@pytest.mark.parametrize("solver", [ConjugateGradient(steps=2), None])
def test_the_loss_of_many_sweeps_is_reached_in_fewer(solver):
    settings = {"start": "random"} | ({"solver": solver} if solver else {})
    run = lambda kind: fit(DATA, OBJECTIVE, ALS(factors=8, sweeps=20, acceleration=kind, **settings), progress=False)
    plain, faster = run(None).history["loss"], run("momentum").history["loss"]
    # Nothing to go by before the third sweep.
    np.testing.assert_array_equal(plain[:2], faster[:2])
    assert (faster[2:] < plain[2:]).all()
    sweeps_needed = int(np.argmax(faster <= plain.iloc[-1])) + 1
    assert sweeps_needed <= 13


@pytest.mark.slow
def test_a_long_run_ends_where_plain_sweeps_stay():
    trainer = ALS(factors=4, sweeps=150, dtype="float64")
    run = fit(DATA, OBJECTIVE, trainer, progress=False, loss_every=150)
    plain = ALS(factors=4, sweeps=5, acceleration=None, dtype="float64")
    after = fit(DATA, OBJECTIVE, plain, initial=run.factors, progress=False)
    assert after.history["loss"].iloc[-1] == pytest.approx(run.history["loss"].iloc[-1], rel=1e-7)


def test_accelerated_training_is_deterministic():
    trainer = ALS(factors=4, sweeps=5)
    first, second = (fit(DATA, Objective.ials(), trainer, seed=3, progress=False).factors for _ in range(2))
    np.testing.assert_array_equal(first.user, second.user)
    np.testing.assert_array_equal(first.item, second.item)
