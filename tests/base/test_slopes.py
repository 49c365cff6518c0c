import jax
import jax.numpy as jnp
import pytest

from jaxals._base.slopes import with_slope
from tests.combinations import combinations

MODES = [jax.jacfwd, jax.jacrev]


def sine(x):
    """Compute sin x with a slope of our own, by plain derivatives of which it would be constant."""
    slope = lambda value, depends, tangents: jnp.cos(depends["x"]) * tangents["x"]
    return with_slope(jax.lax.stop_gradient(jnp.sin(x)), {"x": x, "count": 3}, slope)


def three_times(function):
    return lambda a: jax.lax.scan(lambda x, _: (function(a * x), None), jnp.full((2,), 0.3), length=3)[0].sum()


@pytest.mark.parametrize(("first", "second"), combinations(MODES, MODES, strength=1))
def test_it_outlives_all_that_jax_does_to_a_scan(first, second):
    expected = second(first(three_times(jnp.sin)))(1.2)
    assert float(second(first(three_times(sine)))(1.2)) == pytest.approx(float(expected), rel=1e-12)
    kept = jax.checkpoint(three_times(jax.jit(sine)))
    assert float(second(first(kept))(1.2)) == pytest.approx(float(expected), rel=1e-12)


def test_the_value_of_a_pull_back_can_be_differentiated():
    value = lambda a: jax.vjp(three_times(sine), a)[0]
    assert float(jax.grad(value)(1.2)) == pytest.approx(float(jax.grad(three_times(jnp.sin))(1.2)), rel=1e-12)


def test_it_is_batched_before_and_after_it_is_differentiated():
    at = jnp.asarray([0.1, 0.5, 2.0])
    expected = -jnp.sin(at)
    assert jnp.allclose(jax.vmap(jax.grad(jax.grad(sine)))(at), expected)
    assert jnp.allclose(jax.grad(lambda x: jax.grad(lambda x: jax.vmap(sine)(x).sum())(x).sum())(at), expected)
    # A value that is alike in all of the batch.
    shared = lambda x: with_slope(jnp.ones(()), x, lambda value, x, tangent: x * tangent)
    assert jnp.allclose(jax.jacfwd(jax.vmap(shared, in_axes=0))(at), jnp.diag(at))
    assert jnp.allclose(jax.vmap(shared)(at), 1.0)


def test_what_does_not_move_has_no_slope():
    assert float(jax.grad(lambda y: sine(jnp.asarray(0.3)) * y)(2.0)) == pytest.approx(float(jnp.sin(0.3)))


def test_how_the_value_came_about_is_not_differentiated():
    constant = lambda x: with_slope(x**2, jnp.ones(()), lambda value, depends, tangent: tangent)
    assert float(jax.grad(lambda x: constant(x) + 3 * x)(2.0)) == 3.0
