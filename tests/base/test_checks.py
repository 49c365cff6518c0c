import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals._base.checks import (
    require_at_least,
    require_finite,
    require_fraction,
    require_integer,
    require_number,
    require_one_of,
    require_positive,
    require_scalar,
    require_side,
)
from jaxals.errors import ConfigurationError


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), np.float32(-1), np.array(-1.0), np.array(np.nan)])
def test_concrete_numbers_below_the_least_are_refused(value):
    with pytest.raises(ConfigurationError, match=r"`alpha` must be >= 0; got (-|nan)"):
        require_at_least("alpha", value, 0)


@pytest.mark.parametrize("value", [0, 0.0, np.array(2), float("inf"), jnp.array(-1.0), np.array([-1.0, 1.0])])
def test_other_numbers_and_what_may_be_batched_pass(value):
    require_at_least("alpha", value, 0)


def test_tracers_pass():
    jax.jit(lambda value: require_at_least("alpha", value, 0))(-1.0)


@pytest.mark.parametrize("value", [0, 2.0, True, "3", None, np.float64(3), np.array([3])])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(ConfigurationError, match="`n` must be an integer >= 1; got "):
        require_integer("n", value, 1)


def test_integers_of_python_and_numpy_pass():
    for value in (1, np.int64(7), np.uint8(2)):
        require_integer("n", value, 1)


def test_sides():
    require_side("user")
    require_side("item")
    with pytest.raises(ConfigurationError, match='`side` must be "user" or "item"; got \'users\''):
        require_side("users")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), np.array(0.0)])
def test_what_is_not_above_zero_is_refused(value):
    with pytest.raises(ConfigurationError, match="`alpha` must be > 0; got "):
        require_positive("alpha", value)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), np.array(np.inf)])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ConfigurationError, match="`alpha` must be finite; got "):
        require_finite("alpha", value)


def test_jax_arrays_may_be_batched_and_pass():
    require_positive("alpha", jnp.array(-1.0))
    require_finite("alpha", jnp.array(jnp.inf))


@pytest.mark.parametrize("value", ["1", None, [1.0], {}, 1j, print.__class__, np.array(["a"])])
def test_what_is_no_number_is_refused_by_every_check(value):
    for check in (lambda: require_at_least("alpha", value, 0), lambda: require_finite("alpha", value)):
        with pytest.raises(ConfigurationError, match="`alpha` must be"):
            check()


def test_one_of_some_words():
    require_one_of("scale", "raw", "raw", "unit")
    require_one_of("scale", None, "raw", None)
    for value in ("Raw", None, 1, np.array(["raw", "raw"])):
        with pytest.raises(ConfigurationError, match=r'^`scale` must be "raw" or "unit"; got '):
            require_one_of("scale", value, "raw", "unit")


@pytest.mark.parametrize("value", ["1", None, [1.0], 10**400, jnp.ones(2), np.ones(2)])
def test_what_is_not_one_number_is_refused(value):
    require_number("position", np.float32(0.5))
    require_scalar("temperature", jnp.array(0.5))
    for check, said in ((require_number, "a number"), (require_scalar, "one number")):
        with pytest.raises(ConfigurationError, match=f"^`low` must be {said}; got "):
            check("low", value)


def test_a_number_that_shapes_a_search_is_no_array():
    require_scalar("low", np.array(1.0))
    with pytest.raises(ConfigurationError, match=r"^`low` must be a number; got 1\.0"):
        require_number("low", np.array(1.0))


@pytest.mark.parametrize("flag", [True, False, np.True_, np.array(True), jnp.array(True)])
def test_truth_values_are_no_numbers(flag):
    for require in (require_positive, require_finite, require_scalar, require_number, require_fraction):
        with pytest.raises(ConfigurationError, match="`alpha` must be"):
            require("alpha", flag)
    with pytest.raises(ConfigurationError, match="`alpha` must be >= -1; got"):
        require_at_least("alpha", flag, -1)
