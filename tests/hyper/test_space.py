import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import ALS, Interactions, Objective, datasets
from jaxals.errors import ConfigurationError
from jaxals.hyper.space import DEFAULT_RANGES, Choice, LogUniform, Range, SearchSpace, Uniform, rescale_regularization

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)


def test_draws_fill_their_ranges():
    ranges: dict[str, Range] = {"a": Choice((1, "x", None)), "b": Uniform(-1.0, 3.0), "c": LogUniform(0.01, 100.0)}
    space = SearchSpace(ranges, lambda *_: (Objective.hkv(), ALS()))
    generator = np.random.default_rng(0)
    drawn = [space.draw(generator) for _ in range(2000)]
    assert {one["a"] for one in drawn} == {1, "x", None}
    b, c = (np.array([one[name] for one in drawn]) for name in "bc")
    assert -1 <= b.min() < -0.99
    assert 2.99 < b.max() <= 3
    assert 0.01 <= c.min() < 0.0102
    assert 98 < c.max() <= 100
    # A quarter of a log-uniform range lies in each of its four decades; 2000 draws leave a deviation of 0.01.
    np.testing.assert_allclose(np.histogram(c, [0.01, 0.1, 1, 10, 100])[0] / 2000, 0.25, atol=0.04)
    assert space.draw(np.random.default_rng(0)) == drawn[0]


def test_a_preset_builds_what_was_drawn():
    space = SearchSpace.preset("log", ALS(sweeps=7), epsilon=2.0, factors=Choice((4, 8)), alpha=Uniform(1.0, 2.0))
    drawn = space.draw(np.random.default_rng(1))
    assert set(drawn) == {"alpha", "regularization", "epsilon", "factors"}
    objective, trainer = space.build(drawn, DATA)
    expected = Objective.log(drawn["alpha"], 2.0, drawn["regularization"])
    assert jax.tree.leaves(objective) == jax.tree.leaves(expected)
    assert repr(trainer) == repr(ALS(factors=drawn["factors"], sweeps=7))


@pytest.mark.parametrize("preset", list(DEFAULT_RANGES))
def test_every_preset_has_ranges_that_build(preset):
    space = SearchSpace.preset(preset)
    objective, _ = space.build(space.draw(np.random.default_rng(0)), DATA)
    assert type(objective.confidence) is type(getattr(Objective, preset)().confidence)
    assert "regularization" in space.ranges


def test_rescaled_ridges_have_the_same_sum_whatever_the_exponent():
    # An item without entries has no vector, so its ridge is none of the sum.
    data = Interactions.from_arrays(DATA.user, DATA.item, shape=(60, 41))
    at_one = Objective.ials(unobserved_weight=0.3, regularization=0.02)

    def total(objective: Objective) -> float:
        users = objective.ridge(jnp.asarray(data.counts("user")), 41, np.float64)
        items = objective.ridge(jnp.asarray(data.counts("item")), 60, np.float64)
        return float(np.sum(users) + np.sum(items[data.counts("item") > 0]))

    for exponent in (0.0, 0.5, 1.5):
        objective = dataclasses.replace(at_one, frequency_exponent=exponent)
        assert total(rescale_regularization(objective, data)) == pytest.approx(total(at_one))
    assert total(dataclasses.replace(at_one, frequency_exponent=0.5)) < 0.5 * total(at_one)
    assert rescale_regularization(at_one, data).regularization == pytest.approx(0.02)


def test_the_ridge_is_rescaled_where_its_exponent_is_searched_and_only_there():
    settings = {"unobserved_weight": 0.1, "regularization": 0.02, "frequency_exponent": 0.5}
    searched, _ = SearchSpace.preset("ials", frequency_exponent=Choice((0.5, 1))).build(settings, DATA)
    assert searched.regularization == rescale_regularization(Objective.ials(0.1, 0.02, 0.5), DATA).regularization
    assert searched.regularization > 0.05
    kept, _ = SearchSpace.preset("ials", frequency_exponent=0.5).build(settings, DATA)
    assert kept.regularization == 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice(()), "at least one value"),
        (lambda: Uniform(1.0, 1.0), "`low` must be below `high`, both and their difference finite; got 1.0 and 1.0"),
        (lambda: Uniform(0.0, float("nan")), "finite; got 0.0 and nan"),
        (lambda: LogUniform(0.0, 1.0), "`low` must be above 0 and below `high`, `high` finite; got 0.0 and 1.0"),
        (lambda: Choice((1, [2])), r"`options` must be numbers, strings, booleans or None; got \[2\]"),
        (lambda: Uniform(0, 10**309), "`high` must be a number; got an integer of 1027 bits"),
        (lambda: Uniform(-1e308, 1e308), "difference finite; got -1e"),
        (lambda: LogUniform(1.0, float("inf")), "`high` finite; got 1.0 and inf"),
        (lambda: Uniform(-(10**308), 10**308), "difference finite; got an integer of 1024 bits and"),
        (lambda: Uniform(0.0, 1.0).at(1.0), "`position` must be at least 0 and below 1; got 1.0"),
        (lambda: Choice((1, 2)).at(-0.1), "`position` must be at least 0 and below 1; got -0.1"),
        (lambda: SearchSpace.preset("ials", factors=[8, 16]), r"`factors` must be a `Choice`, .*; got \[8, 16\]"),
        (lambda: SearchSpace.preset("bpr"), "no preset 'bpr'; known are hkv, implicit, log, ials, spark"),
        (lambda: SearchSpace.preset("ials", alpha=2.0), "no setting 'alpha' of ials or `ALS`; known are unobserved_w"),
    ],
)
def test_what_is_no_range_is_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
