import jax.numpy as jnp
import numpy as np

from jaxals import Factors, Interactions, Objective, Recommender
from jaxals.als import contributions


def test_parts_are_those_of_dense_algebra_and_of_a_recommender():
    item = np.random.default_rng(0).normal(size=(6, 3))
    column, value = np.array([0, 2, 5]), np.array([2.0, -1.0, 3.0])
    objective = Objective.hkv(2.0, 0.5)
    gram_weight, target_weight = 2 * np.abs(value), np.array([5.0, 0.0, 7.0])
    matrix = item.T @ item + (item[column].T * gram_weight) @ item[column] + 0.5 * np.eye(3)
    expected = target_weight * (item[column] @ np.linalg.solve(matrix, item[4]))

    padded = jnp.append(jnp.asarray(column), 3), jnp.append(jnp.asarray(value), 0.0)
    parts = contributions(jnp.asarray(item), *padded, jnp.array(4), objective)
    np.testing.assert_allclose(parts, [*expected, 0.0], rtol=1e-10, atol=1e-15)

    history = Interactions.from_arrays(np.zeros(3, int), column, value, shape=(1, 6))
    model = Recommender(Factors(jnp.ones((1, 3)), jnp.asarray(item)), history, objective)
    np.testing.assert_allclose(model.contributions(0, 4)[1], expected, rtol=1e-10)
