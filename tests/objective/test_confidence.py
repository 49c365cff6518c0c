import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import BinaryConfidence, ImplicitConfidence, LinearConfidence, LogConfidence, Objective
from jaxals.errors import ConfigurationError
from jaxals.objective.confidence import opened

VALUES = np.array([1.0, 0.25, 352698.0, -2.0])


@pytest.mark.parametrize(
    ("confidence", "gram_weight", "target_weight"),
    [
        (LinearConfidence(40.0), 40 * np.abs(VALUES), np.where(VALUES > 0, 1 + 40 * VALUES, 0)),
        (ImplicitConfidence(2.0), 2 * np.abs(VALUES) - 1, np.where(VALUES > 0, 2 * VALUES, 0)),
        (
            LogConfidence(10.0, 0.5),
            10 * np.log(1 + np.abs(VALUES) / 0.5),
            np.where(VALUES > 0, 1 + 10 * np.log(1 + np.abs(VALUES) / 0.5), 0),
        ),
        (BinaryConfidence(), np.ones(4), np.array([1.0, 1, 1, 0])),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_weights_follow_the_table_of_conventions(confidence, gram_weight, target_weight, dtype):
    g, b = confidence(jnp.asarray(VALUES, dtype))
    assert g.dtype == b.dtype == dtype
    np.testing.assert_allclose(g, gram_weight, rtol=1e-6)
    np.testing.assert_allclose(b, target_weight, rtol=1e-6)


def test_parameters_are_leaves():
    assert jax.tree.leaves(LogConfidence(3.0, 2.0)) == [3.0, 2.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearConfidence(0.0), "`alpha` must be > 0; got 0.0"),
        (lambda: ImplicitConfidence(-1.0), "`alpha` must be > 0; got -1.0"),
        (lambda: LogConfidence(float("nan")), "`alpha` must be > 0; got nan"),
        (lambda: LogConfidence(1.0, float("inf")), "`epsilon` must be finite; got inf"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_settings_may_be_traced_and_batched():
    slope = jax.grad(lambda alpha: LinearConfidence(alpha)(jnp.array([2.0]))[0].sum())(0.0)
    assert float(slope) == 2.0
    batch = jax.vmap(LinearConfidence)(jnp.array([0.0, 1.0]))
    assert jax.tree.leaves(batch)[0].shape == (2,)


def test_what_a_function_closes_over_becomes_a_leaf_where_it_is_traced():
    def gram_weight(alpha):
        confidence = opened(jax.tree_util.Partial(lambda r: (alpha * r, 1 + alpha * r)), jnp.float64)
        assert len(jax.tree.leaves(confidence)) == 1
        return confidence(jnp.ones((2, 3)))[0].sum()

    assert float(jax.grad(gram_weight)(4.0)) == 6.0
    known = jax.tree_util.Partial(lambda r: (jnp.full((), 2.0) * r, r))
    assert opened(known, jnp.float64) is known


@pytest.mark.parametrize(("function", "error"), [(lambda: 1, "TypeError"), (lambda r: 1 / 0, "ZeroDivisionError")])
def test_a_function_that_fails_is_named(function, error):
    objective = Objective(jax.tree_util.Partial(function))
    with pytest.raises(ConfigurationError, match=rf"`confidence` must take an array.*; a Partial fails: {error}"):
        jax.eval_shape(objective.weights, jax.ShapeDtypeStruct((3,), jnp.float64))
