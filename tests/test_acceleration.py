import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import ALS, Factors, Interactions, Objective, datasets, fit, initial_factors
from jaxals.acceleration import best_step, loss_along
from tests import oracles

DATA = datasets.synthetic(n_users=300, n_items=200, n_interactions=6000, seed=0)


@pytest.mark.parametrize("preset", oracles.PRESETS)
def test_the_polynomial_is_the_loss_along_the_line(preset):
    r = oracles.random_values(1, 9, 14)
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    objective, parameters = oracles.PRESETS[preset]
    keys = jax.random.split(jax.random.key(0))
    at, move = (initial_factors(key, 9, 14, 4, scale=1.0, dtype=jnp.float64) for key in keys)
    coefficients = np.asarray(loss_along(objective, at, move, data.to_coo(jnp.float64)))
    for t in (0.0, 0.5, 1.0, 3.0):
        there = Factors(at.user + t * move.user, at.item + t * move.item)
        expected = oracles.loss(preset, r, np.asarray(there.user), np.asarray(there.item), parameters)
        assert np.polyval(coefficients[::-1], t) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("roots", "expected"),
    # Derivatives with these roots: one minimum; the deeper of two minima; none above zero.
    [((2.5,), 2.5), ((1.0, 2.0, 6.0), 6.0), ((1.0, 4.0, 6.0), 1.0), ((-2.0,), 0.0)],
)
def test_best_step_finds_the_lowest_minimum(roots, expected):
    quartic = np.polyint(np.poly(roots))
    coefficients = np.zeros(5)
    coefficients[: len(quartic)] = quartic[::-1]
    assert float(best_step(jnp.asarray(coefficients))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("acceleration", ["conjugate", "linesearch"])
def test_the_loss_falls_faster_and_never_rises(acceleration):
    objective = Objective.hkv(alpha=5.0, regularization=1.0)
    run = lambda kind: fit(DATA, objective, ALS(factors=8, sweeps=12, acceleration=kind), progress=False)
    plain, faster = run(None).history["loss"], run(acceleration).history["loss"]
    # The first sweep is taken as it is; float32 sums of the polynomial cancel from the larger loss before it.
    assert faster[0] == pytest.approx(plain[0], rel=1e-4)
    assert (np.diff(faster) < 1e-6 * faster[0]).all()
    sweeps_needed = int(np.argmax(faster <= plain.iloc[-1])) + 1
    assert faster.min() <= plain.iloc[-1]
    assert sweeps_needed <= 9


def test_the_loss_in_the_history_is_the_loss():
    objective = Objective.hkv(alpha=5.0, regularization=1.0)
    run = fit(DATA, objective, ALS(factors=8, sweeps=5, acceleration="conjugate", dtype="float64"), progress=False)
    assert run.history["loss"].iloc[-1] == pytest.approx(float(objective.loss(run.factors, DATA)), rel=1e-9)


def test_accelerated_training_is_deterministic():
    trainer = ALS(factors=4, sweeps=4, acceleration="conjugate")
    first, second = (fit(DATA, Objective.ials(), trainer, seed=3, progress=False).factors for _ in range(2))
    np.testing.assert_array_equal(first.user, second.user)
    np.testing.assert_array_equal(first.item, second.item)
