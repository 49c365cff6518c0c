import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import BinaryConfidence, ImplicitConfidence, LinearConfidence, LogConfidence

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
