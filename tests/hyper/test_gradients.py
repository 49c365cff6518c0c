import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import (
    ALS,
    Cholesky,
    ConjugateGradient,
    Factors,
    Interactions,
    Objective,
    datasets,
    half_step,
    initial_factors,
    sweep,
)
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import leave_k_out
from jaxals.hyper import (
    FoldIn,
    Implicit,
    Truncated,
    hold_out,
    hypergradient,
    number_entries,
    smooth_ndcg,
    with_values,
)
from jaxals.hyper.gradients import require_problem

SPLIT = leave_k_out(datasets.synthetic(n_users=40, n_items=25, n_interactions=300, seed=0), 1, seed=0)
AT = {"w0": jnp.asarray(0.5), "ridge": jnp.asarray(0.3), "exponent": jnp.asarray(0.4)}


def objective(p):
    return Objective.ials(p["w0"], p["ridge"], p["exponent"])


HELD_OUT = hold_out(SPLIT.train, SPLIT.test)
TILES = ALS(factors=3, dtype="float64").cut(SPLIT.train, None)


def loss(factors: Factors, _):
    return smooth_ndcg(factors, HELD_OUT, temperature=0.2)


@functools.cache
def settled() -> Factors:
    factors = initial_factors(jax.random.key(0), *SPLIT.train.shape, 3, scale=1.0, dtype=jnp.float64)
    step = lambda factors, _: (sweep(*TILES, factors, objective(AT), Cholesky())[0], None)
    return jax.lax.scan(step, factors, length=600)[0]


def assert_close(got, expected, rtol):
    size = np.linalg.norm(list(expected.values()))
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=rtol, atol=rtol * size, err_msg=name)


def test_the_implicit_gradient_is_that_of_everything_unrolled():
    implicit = hypergradient(
        loss, AT, settled(), objective=objective, tiles=TILES, method=Implicit(sweeps=600, tolerance=1e-9)
    )
    assert implicit.residual < 1e-8
    assert implicit.last_term < 1e-8
    assert 0 < implicit.adjoint_sweeps < 600
    start = initial_factors(jax.random.key(0), *SPLIT.train.shape, 3, scale=1.0, dtype=jnp.float64)
    unrolled = hypergradient(loss, AT, start, objective=objective, tiles=TILES, method=Truncated(600))
    assert float(unrolled.value) == pytest.approx(float(implicit.value), rel=1e-8)
    assert_close(implicit.gradient, unrolled.gradient, rtol=1e-4)


def test_a_gradient_far_from_a_fixed_point_is_warned_of():
    start = initial_factors(jax.random.key(0), *SPLIT.train.shape, 3, scale=3.0, dtype=jnp.float64)
    method = Implicit(sweeps=5, tolerance=1e-9)
    with pytest.warns(UserWarning, match="the last of 5 adjoint sweeps added .* take `Truncated`"):
        found = hypergradient(loss, AT, start, objective=objective, tiles=TILES, method=method)
    assert float(found.last_term) > 0.1


@pytest.mark.slow
def test_a_rotation_of_the_tables_changes_no_gradient():
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (3, 3), jnp.float64))[0]
    turned = Factors(settled().user @ rotation, settled().item @ rotation)
    found = [
        hypergradient(loss, AT, factors, objective=objective, tiles=TILES, method=Implicit(50, 1e-6)).gradient
        for factors in (settled(), turned)
    ]
    assert_close(found[1], found[0], rtol=1e-6)


@pytest.mark.slow
def test_the_implicit_gradient_by_conjugate_gradient_is_that_of_the_exact_solver():
    found = [
        hypergradient(loss, AT, settled(), objective=objective, tiles=TILES, solver=solver, method=Implicit(50, 1e-6))
        for solver in (Cholesky(), ConjugateGradient())
    ]
    assert_close(found[1].gradient, found[0].gradient, rtol=1e-6)


def test_fold_in_takes_other_users_than_the_model_has():
    some = SPLIT.train.user < 12
    train = Interactions.from_arrays(SPLIT.train.user[some], SPLIT.train.item[some], shape=(12, SPLIT.train.n_items))
    test = SPLIT.test.select(SPLIT.test.user < 12)
    test = Interactions.from_arrays(test.user, test.item, shape=train.shape)
    held_out, tiles = hold_out(train, test), ALS(factors=3, dtype="float64").cut(train, None)
    found = hypergradient(
        lambda factors, _: smooth_ndcg(factors, held_out, temperature=0.2),
        AT,
        settled(),
        objective=objective,
        tiles=tiles,
        solver=ConjugateGradient(tolerance=1e-12),
        method=FoldIn(),
    )
    assert found.factors.user.shape == (12, 3)
    np.testing.assert_allclose(found.factors.user, settled().user[:12], rtol=1e-6, atol=1e-8)


def test_fold_in_differentiates_one_solve():
    found = hypergradient(loss, AT, settled(), objective=objective, tiles=TILES, method=FoldIn())
    item = settled().item

    def value(p):
        user = half_step(TILES[0], item, objective(p), Cholesky())[0]
        return loss(Factors(user, item), p)

    assert float(found.value) == pytest.approx(float(value(AT)), rel=1e-12)
    jitted, slopes = jax.jit(value), {}
    for name in AT:
        moved = lambda steps, name=name: jitted({**AT, name: AT[name] + 1e-4 * steps})
        slopes[name] = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12e-4
    assert_close(found.gradient, slopes, rtol=1e-6)


def test_weights_of_single_interactions_can_be_tuned():
    data = SPLIT.train
    numbered = [number_entries(data, side, factors=3) for side in ("user", "item")]
    confidence = jax.tree_util.Partial(lambda value: (value, value))
    weighted, start = Objective(confidence, 0.5, 0.3), settled()

    def value(weights):
        user_tiles, item_tiles = (with_values(tiles, weights) for tiles in numbered)
        swept = sweep(user_tiles, item_tiles, start, weighted, Cholesky())[0]
        return loss(swept, None)

    weights = jnp.linspace(0.5, 2.0, len(data))
    gradient, way = jax.jit(jax.grad(value))(weights), jnp.cos(jnp.arange(len(data), dtype=jnp.float64))
    moved = jax.jit(lambda steps: value(weights + 1e-4 * steps * way))
    expected = (8 * (moved(1.0) - moved(-1.0)) - (moved(2.0) - moved(-2.0))) / 12e-4
    assert float(jnp.vdot(gradient, way)) == pytest.approx(float(expected), rel=1e-6)


def test_settings_that_cannot_work_are_refused():
    call = functools.partial(hypergradient, objective=objective, tiles=TILES)
    with pytest.raises(ConfigurationError, match="must hold floating-point numbers; got 3"):
        call(loss, {"w0": 3}, settled())
    with pytest.raises(ConfigurationError, match=r"must hold something to differentiate by; got \{\}"):
        call(loss, {}, settled())
    with pytest.raises(ConfigurationError, match="`sweeps` must be an integer >= 1; got 0"):
        Truncated(0)


@pytest.mark.parametrize(
    ("tiles", "n_items", "folds_in", "message"),
    [
        (TILES[:1], 25, False, "`tiles` must be a pair, with users and with items as rows; got "),
        (TILES[::-1], 25, False, r"factors are for \(40, 25\) users and items, the interactions for \(25, 40\)"),
        (TILES[:1] * 2, 25, False, "`tiles` must be of the same interactions; got 40 x 25 and 25 x 40"),
        (TILES, 24, True, "`factors` are of 24 items, `tiles` of 25"),
    ],
)
def test_what_does_not_belong_together_is_refused(tiles, n_items, folds_in, message):
    factors = Factors(jnp.ones((40, 3)), jnp.ones((n_items, 3)))
    with pytest.raises(DataError, match=message):
        require_problem(loss, factors, objective, tiles, Cholesky(), folds_in)


def test_there_is_a_value_for_each_entry():
    numbered = number_entries(SPLIT.train, factors=3)
    with pytest.raises(DataError, match=f"as many as there are entries in `numbered`, {len(SPLIT.train)}; got 3"):
        with_values(numbered, jnp.ones(3))


@pytest.mark.parametrize("by", [jax.jacfwd, jax.jacrev])
def test_an_implicit_gradient_refuses_to_be_differentiated_again(by):
    found = lambda p: hypergradient(loss, p, settled(), objective=objective, tiles=TILES).gradient
    with pytest.raises(ConfigurationError, match=r"use `Truncated\(sweeps=...\)` for second derivatives"):
        by(found)(AT)


@pytest.mark.slow
def test_small_losses_take_as_many_adjoint_sweeps_as_large_ones():
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)
    tiles, at, factors = ALS(factors=3).cut(SPLIT.train, None), single(AT), single(settled())

    def found(scale):
        small = lambda factors, _: jnp.float32(scale) * smooth_ndcg(factors, HELD_OUT, temperature=0.2)
        return hypergradient(small, at, factors, objective=objective, tiles=tiles, method=Implicit(tolerance=1e-3))

    large, small = found(1.0), found(1e-25)
    assert abs(int(large.adjoint_sweeps) - int(small.adjoint_sweeps)) <= 1
    assert_close(jax.tree.map(lambda leaf: leaf / jnp.float32(1e-25), small.gradient), large.gradient, rtol=1e-2)
