"""Single steps of descent: what each kind of batch sees, and what it leaves alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxals import Factors, FullBatch, Gradient, Objective, SampledNegatives, UserBatches, datasets, fit
from jaxals.gradient.descent import Batch, DescentState, Problem, descend, has_line_search
from jaxals.gradient.losses import Terms
from jaxals.gradient.user_batches import build_batches

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
OBJECTIVE = Objective.ials(unobserved_weight=0.3, regularization=0.05)
# The tables after a step are the tables before it less the gradient.
PLAIN = optax.with_extra_args_support(optax.sgd(1.0))


def problem(size: int) -> Problem:
    batches = build_batches(DATA, size, factors=4, dtype=np.float64)
    return Problem(batches, jnp.asarray(DATA.counts("item"), jnp.int32), Terms(OBJECTIVE), jax.random.key(5))


def start(batch: Batch, n_done: int = 0) -> DescentState:
    rng = np.random.default_rng(0)
    factors = Factors(*(jnp.asarray(rng.normal(0, 0.5, (n, 4))) for n in DATA.shape))
    return DescentState(factors, batch.init(factors, PLAIN), jnp.asarray(n_done, jnp.int32))


def step(batch: Batch, problem: Problem, n_done: int = 0) -> DescentState:
    return descend(start(batch, n_done), jnp.asarray(1, jnp.int32), problem, batch=batch, optimizer=PLAIN)


def moved(batch: Batch, problem: Problem, n_done: int) -> tuple[int, ...]:
    before, after = start(batch).factors.user, step(batch, problem, n_done).factors.user
    return tuple(np.flatnonzero((np.asarray(before) != np.asarray(after)).any(axis=1)).tolist())


@pytest.mark.parametrize("batch", [UserBatches(7), SampledNegatives(7)])
def test_every_pass_takes_all_users_once_in_an_order_of_its_own(batch):
    dealt = problem(7)
    assert dealt.n_batches == 9
    assert (np.asarray(dealt.batches.user) == DATA.n_users).any()  # unused slots, which must not touch the last user
    passes = [[moved(batch, dealt, n_done) for n_done in range(9 * turn, 9 * turn + 9)] for turn in range(3)]
    for order in passes:
        assert sorted(user for users in order for user in users) == list(range(60))
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_sampled_items_together_count_what_all_pairs_do():
    balanced = 0.3 * 60 * 40 / (len(DATA) * 5)
    default, stated = (SampledNegatives(60, per_entry=5, weight=weight) for weight in (None, balanced))
    by_default, by_hand = (step(batch, problem(60)).factors for batch in (default, stated))
    np.testing.assert_allclose(by_default.user, by_hand.user, rtol=1e-12)
    np.testing.assert_allclose(by_default.item, by_hand.item, rtol=1e-12)


def test_items_are_drawn_anew_in_every_step():
    batch = SampledNegatives(60)
    first, again, then = (step(batch, problem(60), n_done).factors.item for n_done in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, then)


def test_several_steps_in_one_call_are_those_steps_one_by_one():
    batch, dealt = UserBatches(7), problem(7)
    small = optax.with_extra_args_support(optax.sgd(1e-3, momentum=0.9))
    state = dataclasses.replace(start(batch), optimizer=batch.init(start(batch).factors, small))
    take = lambda state, n: descend(state, jnp.asarray(n, jnp.int32), dealt, batch=batch, optimizer=small)
    together, single = take(state, 11), state
    for _ in range(11):
        single = take(single, 1)
    assert int(together.n_done) == int(single.n_done) == 11
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), together, single)


def test_line_searches_are_known_by_what_they_remember():
    factors = start(UserBatches(7)).factors
    assert has_line_search(optax.lbfgs().init(factors))
    assert not has_line_search(optax.adam(0.1).init(factors))
    assert not has_line_search(optax.lbfgs(linesearch=None).init(factors))


def test_a_line_search_goes_on_from_the_gradient_that_it_ended_with():
    run = fit(
        DATA,
        Objective.hkv(1.0),
        Gradient(factors=4, steps=15, batch=FullBatch(), optimizer=optax.lbfgs()),
        progress=False,
    )
    assert run.history["loss"].is_monotonic_decreasing
