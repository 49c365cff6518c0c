from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import jaxals
from jaxals import (
    ALS,
    Alternating,
    EarlyStopping,
    Factors,
    FullBatch,
    Gradient,
    Interactions,
    Objective,
    SampledNegatives,
    UserBatches,
    datasets,
    fit,
)
from jaxals.errors import ConfigurationError, DataError, NumericalError
from jaxals.gradient.descent import Batch
from tests.combinations import fast_first

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
OBJECTIVE = Objective.hkv(alpha=2.0, regularization=2.0)
BATCHES: list[Batch] = [FullBatch(), Alternating(), UserBatches(16), SampledNegatives(16)]


def train(**settings: Any) -> jaxals.Run:
    of_fit = {name: settings.pop(name) for name in ("seed", "mesh", "initial", "early_stopping") if name in settings}
    defaults: dict[str, Any] = {"factors": 4, "steps": 50, "optimizer": optax.adam(0.02), "dtype": "float64"}
    return fit(DATA, OBJECTIVE, Gradient(**{**defaults, **settings}), progress=False, **of_fit)


@pytest.mark.parametrize("batch", fast_first(2, reversed(BATCHES)))
def test_the_loss_falls_and_the_same_seed_gives_the_same_numbers(batch):
    run, again, other = train(batch=batch, seed=1), train(batch=batch, seed=1), train(batch=batch, seed=2)
    assert list(run.history.columns) == ["step", "seconds", "compile_seconds", "loss"]
    assert run.history["step"].tolist() == [20, 40, 50]
    assert (np.diff(run.history["loss"]) < 0).all()
    np.testing.assert_allclose(run.history["loss"].iloc[-1], OBJECTIVE.loss(run.factors, DATA), rtol=1e-12)
    np.testing.assert_array_equal(run.factors.user, again.factors.user)
    assert not np.array_equal(run.factors.user, other.factors.user)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_devices_change_nothing_but_rounding(batch, all_devices):
    assert len(jax.devices()) == 8
    alone, together = train(batch=batch, mesh=None), train(batch=batch)
    if isinstance(batch, SampledNegatives):  # chunks differ, and so do draws
        np.testing.assert_allclose(together.history["loss"], alone.history["loss"], rtol=0.05)
    else:
        np.testing.assert_allclose(together.factors.item, alone.factors.item, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(together.history["loss"], alone.history["loss"], rtol=1e-12)


def norm(factors: Factors) -> float:
    return float(optax.tree.norm(factors))


@pytest.mark.slow
def test_lbfgs_has_nothing_to_do_where_als_ends():
    als = fit(DATA, OBJECTIVE, ALS(factors=4, sweeps=1500, dtype="float64"), loss_every=0, progress=False).factors
    entries = DATA.to_coo(jnp.float64)
    gradient = jax.grad(lambda factors: OBJECTIVE.loss(factors, entries))
    start = jaxals.initial_factors(jax.random.key(0), *DATA.shape, 4, dtype=jnp.float64)
    relative = norm(gradient(als)) / norm(gradient(start))
    after = train(optimizer=optax.lbfgs(), steps=30, initial=als).factors
    loss = [float(OBJECTIVE.loss(factors, entries)) for factors in (als, after)]
    decrease = 1 - loss[1] / loss[0]
    print(
        f"\nGradient where ALS ends, of that at the start: {relative:.1e}; 30 steps of L-BFGS lower the loss by "
        f"{decrease:.1e} of it ({loss[0]:.12f} to {loss[1]:.12f})."
    )  # shown by pytest -s
    assert relative <= 1e-8
    assert -1e-12 <= decrease <= 1e-9


@pytest.mark.slow
def test_lbfgs_and_als_agree_where_both_converge():
    objective = Objective.hkv(alpha=2.0, regularization=10.0)
    trainer = Gradient(factors=4, steps=600, optimizer=optax.lbfgs(), dtype="float64")
    run = fit(DATA, objective, trainer, progress=False)
    # From the same random factors: there are other minima, and the default start leads to one of them.
    als = fit(DATA, objective, ALS(factors=4, sweeps=400, start="random", dtype="float64"), progress=False)
    np.testing.assert_allclose(run.history["loss"].iloc[-1], als.history["loss"].iloc[-1], rtol=1e-9)
    scores = [np.asarray(factors.user @ factors.item.T) for factors in (run.factors, als.factors)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_alternating_with_many_inner_steps_is_a_sweep():
    start = jaxals.initial_factors(jax.random.key(3), *DATA.shape, 4, dtype=jnp.float64)
    sweep = ALS(factors=4, sweeps=1, acceleration=None, dtype="float64")
    als = fit(DATA, OBJECTIVE, sweep, initial=start, progress=False).factors
    # Factors up to 8.6 are within reach of 3,000 steps of 0.2 at first, which shrink to 2e-6.
    optimizer = optax.adam(optax.exponential_decay(0.2, 3000, 1e-5))
    run = train(optimizer=optimizer, batch=Alternating(inner_steps=3000), steps=1, initial=start)
    np.testing.assert_allclose(run.factors.user, als.user, atol=1e-9)
    np.testing.assert_allclose(run.factors.item, als.item, atol=1e-9)


def test_only_the_rows_of_a_batch_are_touched_and_their_moments():
    batch, optimizer = UserBatches(16), optax.with_extra_args_support(optax.adam(0.02))
    trainer = Gradient(factors=4, steps=3, optimizer=optimizer, batch=batch, report_every=1, dtype="float64")
    training = trainer.begin(DATA, OBJECTIVE, jax.random.key(0), None, None)
    before = training.start()
    after, _ = training.step(before, False)
    moved = np.flatnonzero((np.asarray(after.factors.user) != np.asarray(before.factors.user)).any(axis=1))
    assert len(moved) == 15  # 60 users in 4 batches
    first_moment = np.asarray(optax.tree.get(after.optimizer.user, "mu"))
    np.testing.assert_array_equal(np.flatnonzero(first_moment.any(axis=1)), moved)
    # The first step of Adam is one learning rate in the direction of each number's sign.
    steps = np.abs(np.asarray(after.factors.user - before.factors.user))[moved]
    np.testing.assert_allclose(steps, 0.02, rtol=1e-4)
    touched = set(moved)
    for _ in range(3):
        then, _ = training.step(after, False)
        touched |= set(np.flatnonzero((np.asarray(then.factors.user) != np.asarray(after.factors.user)).any(axis=1)))
        after = then
        if int(after.n_done) == 3:
            break
    assert len(touched) == 45  # no batch comes twice in a pass


def test_rows_without_entries_stay_zero():
    data = Interactions.from_arrays([0, 0, 3], [1, 2, 2], shape=(5, 4))
    for batch in BATCHES:
        trainer = Gradient(factors=2, steps=30, optimizer=optax.adam(0.1), batch=batch)
        factors = fit(data, OBJECTIVE, trainer, progress=False).factors
        np.testing.assert_array_equal(np.asarray(factors.user).any(axis=1), [True, False, False, True, False])
        np.testing.assert_array_equal(np.asarray(factors.item).any(axis=1), [False, True, True, False])


def test_penalties_and_links_shape_the_factors():
    plain = train(steps=300)
    sparse = train(steps=300, penalty=lambda factors: 30.0 * jnp.sum(jnp.abs(factors.item)))
    assert np.abs(sparse.factors.item).sum() < 0.5 * np.abs(plain.factors.item).sum()
    linked = train(steps=300, observed_loss=lambda value, score: value * jnp.logaddexp(0.0, -score))
    # Without a target of 1 to stop at, the logistic loss takes the scores of what was played past it.
    assert np.asarray(linked.factors.user @ linked.factors.item.T)[DATA.user, DATA.item].max() > 1.5


def test_reports_stay_at_multiples_after_a_step_that_is_none():
    training = Gradient(factors=4, steps=50).begin(DATA, OBJECTIVE, jax.random.key(0), None, None)
    shorter = Gradient(factors=4, steps=7).begin(DATA, OBJECTIVE, jax.random.key(0), None, None)
    state, _ = shorter.step(shorter.start(), False)
    reported = [int(state.n_done)]
    for _ in range(3):
        state, _ = training.step(state, False)
        reported.append(int(state.n_done))
    assert reported == [7, 20, 40, 50]


def test_continuing_early_stopping_and_float32():
    run = train(steps=60)
    longer = train(steps=60, initial=run.factors)
    assert longer.history["loss"].iloc[-1] < run.history["loss"].iloc[-1]
    stopped = train(steps=5000, early_stopping=EarlyStopping(min_improvement=1e-3))
    assert stopped.stopped_early == "loss stopped improving"
    assert len(stopped.history) < 100
    assert train(dtype="float32").factors.user.dtype == jnp.float32


def test_what_cannot_work_is_said(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    backtracking = optax.chain(optax.sgd(1e-3), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15))
    assert train(optimizer=backtracking).history["loss"].is_monotonic_decreasing
    for batch in BATCHES[1:]:
        for optimizer in (optax.lbfgs(), backtracking):
            with pytest.raises(ConfigurationError, match="line search"):
                train(optimizer=optimizer, batch=batch)
    with pytest.raises(NumericalError, match="learning rate"):
        train(optimizer=optax.sgd(10.0))
    with pytest.raises(DataError, match="has 4 factors, but the trainer 5"):
        train(factors=5, initial=train(steps=1).factors)
    for settings, message in [
        ({"optimizer": optax.adam}, "`optimizer` must be"),
        ({"batch": UserBatches}, "`batch` must be"),
        ({"penalty": 3.0}, "`penalty` must be"),
        ({"report_every": 0}, "`report_every` must be"),
        ({"dtype": "int8"}, "`dtype` must be"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            Gradient(**settings)
    for bad in (lambda: UserBatches(0), lambda: SampledNegatives(per_entry=0), lambda: Alternating(0)):
        with pytest.raises(ConfigurationError):
            bad()
    with pytest.raises(ConfigurationError, match="needs about"):
        Gradient(factors=10**9).begin(DATA, OBJECTIVE, jax.random.key(0), None, None)
