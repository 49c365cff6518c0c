"""The loss and its gradient, in float64, against dense NumPy, finite differences and the normal equations."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import (
    ALS,
    Cholesky,
    Factors,
    Interactions,
    LogConfidence,
    Objective,
    Sides,
    build_tiles,
    datasets,
    fit,
    half_step,
    make_mesh,
)
from jaxals.errors import ConfigurationError
from jaxals.gradient.descent import Problem, batch_gradient
from jaxals.gradient.losses import Terms, batch_loss, sampled_loss
from jaxals.gradient.returned import losses_of
from jaxals.gradient.user_batches import build_batches
from tests import oracles
from tests.combinations import combinations, fast_first

VALUES = oracles.random_values(4, 15, 12)
DATA = Interactions.from_scipy(scipy.sparse.csr_matrix(VALUES))
LARGER = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)


def problem(data: Interactions, terms: Terms, size: int | None = None, mesh: Any = None) -> Problem:
    batches = build_batches(data, size, factors=4, dtype=np.float64, mesh=mesh)
    return Problem(batches, jnp.asarray(data.counts("item"), jnp.int32), terms, jax.random.key(5))


def tables(data: Interactions, seed: int = 0, factors: int = 4) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(*(jnp.asarray(rng.normal(0, 0.5, (n, factors))) for n in data.shape))


def assert_slope(loss: Callable[[Factors], Any], at: Factors, rtol: float = 1e-7) -> None:
    """Compare the gradient along random directions with central differences."""
    loss = jax.jit(loss)
    gradient = jax.jit(jax.grad(loss))(at)
    for seed in range(3):
        way = jax.tree.map(lambda table: table / jnp.linalg.norm(table), tables_like(at, seed))
        # The error of central differences is step² f''' / 6 + eps f / step: 1e-5 balances them for f near 1e3.
        step = 1e-5
        moved = [jax.tree.map(lambda a, b, s=s: a + s * b, at, way) for s in (step, -step)]
        slope = (loss(moved[0]) - loss(moved[1])) / (2 * step)
        along = jnp.vdot(gradient.user, way.user) + jnp.vdot(gradient.item, way.item)
        np.testing.assert_allclose(along, slope, rtol=rtol, atol=1e-7 * float(jnp.linalg.norm(gradient.user)))


def tables_like(factors: Factors, seed: int) -> Factors:
    rng = np.random.default_rng(100 + seed)
    return jax.tree.map(lambda table: jnp.asarray(rng.normal(size=table.shape)), factors)


@pytest.mark.parametrize("on_mesh", [False, True])
@pytest.mark.parametrize("name", oracles.PRESETS)
def test_loss_and_gradient_are_those_of_the_dense_oracle(name, on_mesh):
    assert len(jax.devices()) == 8
    objective, parameters = oracles.PRESETS[name]
    factors = tables(DATA)
    whole = problem(DATA, Terms(objective), mesh=make_mesh() if on_mesh else None)
    loss, gradient = jax.jit(jax.value_and_grad(whole.loss))(factors)
    x, y = np.asarray(factors.user), np.asarray(factors.item)
    # The iALS convention leaves out a constant: its cells are (1 - s)² + w0 s², not (1 + w0)(p - s)².
    np.testing.assert_allclose(loss, oracles.loss(name, VALUES, x, y, parameters), rtol=1e-12)
    weight, target, of_users = oracles.cells(name, VALUES, parameters)
    slope = -2 * weight * (target - x @ y.T)
    np.testing.assert_allclose(gradient.user, slope @ y + 2 * of_users[:, None] * x, rtol=1e-9, atol=1e-9)
    of_items = oracles.ridge(name, VALUES.T, parameters)
    np.testing.assert_allclose(gradient.item, slope.T @ x + 2 * of_items[:, None] * y, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("on_mesh", [False, True])
def test_derivatives_of_first_and_second_order_by_everything(on_mesh):
    values, factors = jnp.asarray(VALUES), tables(DATA)
    whole = problem(DATA, Terms(Objective.hkv()), mesh=make_mesh() if on_mesh else None)
    at = {"alpha": 2.0, "weight": 0.3, "ridge": jnp.linspace(0.1, 0.5, 15), "scale": 1.1}
    at = {"item": factors.item, **jax.tree.map(jnp.asarray, at)}

    def ours(p):
        objective = Objective(LogConfidence(p["alpha"], 0.5), p["weight"], Sides(p["ridge"], 0.2))
        scaled = lambda tiles: dataclasses.replace(tiles, value=p["scale"] * tiles.value)
        batches = dataclasses.replace(
            whole.batches, by_user=scaled(whole.batches.by_user), by_item=scaled(whole.batches.by_item)
        )
        here = dataclasses.replace(whole, batches=batches, terms=Terms(objective))
        return jnp.log(here.loss(Factors(factors.user, p["item"])))

    def dense(p):
        confidence, seen = LogConfidence(p["alpha"], 0.5), values != 0
        gram_weight, target_weight = confidence(p["scale"] * jnp.where(seen, values, 1.0))
        full = jnp.where(seen, gram_weight, 0.0) + p["weight"]
        target = jnp.where(seen, target_weight, 0.0) / full
        ridge = jnp.sum(p["ridge"] * jnp.sum(factors.user**2, axis=1)) + 0.2 * jnp.sum(p["item"] ** 2)
        return jnp.log(jnp.sum(full * (target - factors.user @ p["item"].T) ** 2) + ridge)

    assert float(ours(at)) == pytest.approx(float(dense(at)), rel=1e-12)
    forwards, backwards = jax.jacfwd, jax.jacrev
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)
    expected = jax.jit(forwards(dense))(at)
    for by in (forwards, backwards):
        jax.tree.map(close, jax.jit(by(ours))(at), expected)
    expected = jax.jit(forwards(forwards(dense)))(at)
    for outer, inner in ((forwards, backwards), (backwards, forwards)):
        jax.tree.map(close, jax.jit(outer(inner(ours)))(at), expected)


def test_users_and_items_have_ridges_of_their_own():
    of_users, of_items = np.linspace(0.1, 3.0, 15), np.linspace(2.0, 0.5, 12)
    sides, none = Sides(jnp.asarray(of_users), jnp.asarray(of_items)), Sides(0.0, 0.0)
    factors = tables(DATA)
    found = [jax.jit(problem(DATA, Terms(Objective.hkv(2.0, ridge))).loss)(factors) for ridge in (sides, none)]
    expected = of_users @ np.sum(factors.user**2, axis=1) + of_items @ np.sum(factors.item**2, axis=1)
    np.testing.assert_allclose(found[0] - found[1], expected, rtol=1e-10)


@pytest.mark.parametrize("name", fast_first(2, oracles.PRESETS))
def test_gradient_against_finite_differences(name):
    assert_slope(problem(DATA, Terms(oracles.PRESETS[name][0])).loss, tables(DATA))


@pytest.mark.slow
def test_one_side_alone_has_the_same_gradient():
    whole = problem(LARGER, Terms(Objective.hkv(alpha=2.0)))
    factors = tables(LARGER)
    both = jax.grad(whole.loss)(factors)
    user = jax.grad(lambda user: whole.loss(Factors(user, factors.item)))(factors.user)
    item = jax.grad(lambda item: whole.loss(Factors(factors.user, item)))(factors.item)
    np.testing.assert_array_equal(user, both.user)
    np.testing.assert_array_equal(item, both.item)


def test_gradient_of_a_penalty_and_of_another_link():
    logistic = lambda value, score: jnp.log(value) * jnp.logaddexp(0.0, -score)
    penalty = lambda factors: 3.0 * jnp.sum(jnp.abs(factors.item)) + jnp.sum(factors.user[0] * factors.user[3])
    terms = Terms(Objective.hkv(alpha=2.0), logistic, penalty)
    factors = tables(LARGER)
    assert_slope(problem(LARGER, terms).loss, factors)
    score = np.asarray(factors.user @ factors.item.T)
    values = LARGER.to_scipy().toarray().astype(np.float64)
    seen, value = values > 0, np.where(values > 0, values, 1.0)
    expected = (np.where(seen, np.log(value) * np.log1p(np.exp(-score)), score**2)).sum()
    ridge = 0.1 * (np.square(factors.user).sum() + np.square(factors.item).sum())
    np.testing.assert_allclose(
        problem(LARGER, terms).loss(factors), expected + ridge + float(penalty(factors)), rtol=1e-12
    )


def test_gradient_by_a_side_is_zero_where_its_normal_equations_are_solved():
    objective, factors = Objective.hkv(alpha=2.0), tables(LARGER)
    tiles = build_tiles(LARGER, "user", factors=4, dtype=jnp.float64)
    solved, _ = half_step(tiles, factors.item, objective, Cholesky())
    gradient = jax.jit(jax.grad(problem(LARGER, Terms(objective)).loss))
    before = gradient(Factors(jnp.zeros_like(solved), factors.item))
    after = gradient(Factors(solved, factors.item))
    # Conditioned no worse than 1e3 here: three digits lost of sixteen.
    assert jnp.linalg.norm(after.user) < 1e-12 * jnp.linalg.norm(before.user)
    assert jnp.linalg.norm(after.item) > 1e-3 * jnp.linalg.norm(before.item)


@pytest.mark.slow
def test_gradient_is_zero_at_the_fixed_point_of_alternating_least_squares():
    objective = Objective.hkv(alpha=2.0, regularization=2.0)
    run = fit(LARGER, objective, ALS(factors=4, sweeps=600, dtype="float64"), loss_every=0, progress=False)
    gradient = jax.jit(jax.grad(problem(LARGER, Terms(objective)).loss))
    start, end = gradient(tables(LARGER)), gradient(run.factors)
    assert jnp.linalg.norm(end.user) < 1e-8 * jnp.linalg.norm(start.user)
    assert jnp.linalg.norm(end.item) < 1e-8 * jnp.linalg.norm(start.item)


def quartic(factors: Factors) -> jax.Array:
    return jnp.sum(factors.user**4) + jnp.sum(factors.item**4)


@pytest.mark.parametrize(("penalty", "on_mesh"), combinations([None, quartic], [False, True], strength=1))
def test_gradients_of_batches_average_to_that_of_the_whole(penalty, on_mesh):
    mesh = make_mesh() if on_mesh else None
    terms = Terms(Objective.ials(unobserved_weight=0.3, regularization=0.05), None, penalty)
    factors = tables(LARGER)
    dealt = problem(LARGER, terms, 7, mesh)
    assert dealt.n_batches == 9
    user, item = np.zeros(factors.user.shape), np.zeros(factors.item.shape)
    estimate = jax.jit(lambda number: batch_gradient(factors, dealt, number, batch_loss))
    for number in range(dealt.n_batches):
        gradient = estimate(number)
        chosen = np.asarray(dealt.batch(number).user)
        user[chosen[chosen < LARGER.n_users]] += np.asarray(gradient.user)[chosen < LARGER.n_users] / dealt.n_batches
        item += np.asarray(gradient.item) / dealt.n_batches
    whole = jax.jit(jax.grad(problem(LARGER, terms).loss))(factors)
    np.testing.assert_allclose(user, whole.user, rtol=1e-12, atol=1e-12 * float(jnp.abs(whole.user).max()))
    np.testing.assert_allclose(item, whole.item, rtol=1e-12, atol=1e-12 * float(jnp.abs(whole.item).max()))


@pytest.mark.parametrize("on_mesh", [False, True])
def test_sampled_loss_counts_a_user_by_its_entries(on_mesh):
    mesh = make_mesh() if on_mesh else None
    objective, factors = Objective.hkv(alpha=2.0, regularization=0.0), tables(LARGER)
    everyone = problem(LARGER, Terms(objective), None, mesh).batch(0)
    sampled = jax.jit(sampled_loss, static_argnames="n_drawn")
    draws = [
        sampled(factors.user, factors.item, everyone, Terms(objective), jax.random.key(seed), n_drawn=50, weight=0.02)
        for seed in range(40)
    ]
    values, score = LARGER.to_scipy().toarray(), np.asarray(factors.user @ factors.item.T)
    observed = np.where(values > 0, (1 + 2.0 * values) * (1 - score) ** 2, 0.0).sum()
    expected = observed + (LARGER.counts() * np.square(score).mean(axis=1)).sum()
    error = np.std(draws) / np.sqrt(len(draws) - 1)
    assert 0 < error < 3e-3 * (expected - observed)
    assert abs(np.mean(draws) - expected) < 4 * error


def test_every_entry_draws_items_of_its_own():
    data = Interactions.from_arrays(np.zeros(256, int), np.arange(256))
    batch = jax.tree.map(lambda stacked: stacked[0], build_batches(data, factors=2**15, dtype=np.float64))
    n_chunks = len(batch.by_user.row)
    assert n_chunks == 4

    def drawn(item: Any) -> Any:
        rows, key = jnp.ones((1, 1)), jax.random.key(0)
        loss = lambda weight: sampled_loss(rows, item, batch, Terms(Objective.hkv()), key, 1, weight)
        return loss(1.0) - loss(0.0)

    # An item drawn n times adds n s², whose derivative where x and y are 1 is 2 n.
    times = np.asarray(jax.jit(jax.grad(drawn))(jnp.ones((256, 1)))) / 2
    np.testing.assert_allclose(times, times.round(), atol=1e-12)
    assert times.sum().round() == len(data)
    assert (times.round() % n_chunks).any()  # where chunks drew the same ones, all are multiples


@pytest.mark.parametrize("on_mesh", [False, True])
def test_gradient_of_the_sampled_loss(on_mesh):
    mesh = make_mesh() if on_mesh else None
    dealt = problem(LARGER, Terms(Objective.hkv(alpha=2.0)), 7, mesh)
    batch, key = dealt.batch(2), jax.random.key(1)

    @jax.jit
    def loss(factors: Factors) -> Any:
        return sampled_loss(factors.user, factors.item, batch, dealt.terms, key, 3, 0.5)

    factors = tables(LARGER)
    assert_slope(loss, Factors(factors.user[:7], factors.item))


def test_what_is_closed_over_is_differentiated_or_refused():
    def loss(alpha: Any, observed_loss: Any = None) -> Any:
        confidence = jax.tree_util.Partial(lambda r: (alpha * r, 1 + alpha * r))
        return problem(DATA, Terms(Objective(confidence), observed_loss)).loss(tables(DATA))

    values, factors = VALUES[VALUES != 0], tables(DATA)
    scores = np.asarray(factors.user @ factors.item.T)[VALUES != 0]
    # c = 1 + α r and p = 1, so that each entry's loss grows by r (1 - s)².
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(2.0), (values * (1 - scores) ** 2).sum(), rtol=1e-10)
    with pytest.raises(ConfigurationError, match="`observed_loss` must read no traced array"):
        jax.grad(lambda weight: loss(2.0, lambda value, score: weight * (value - score) ** 2))(2.0)


def test_a_loss_of_observed_pairs_returns_a_number_for_each():
    cells = jnp.ones((2, 3))
    assert losses_of(cells, (2, 3)) is cells
    with pytest.raises(ConfigurationError, match=r"one number for each value, of shape \(6,\)"):
        losses_of(cells, (6,))
