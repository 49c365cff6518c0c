import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals.als.kernels import factorization
from tests.combinations import combinations

solve_symmetric = jax.jit(factorization.solve_symmetric, static_argnames="method")


def systems(size: int, batch: int = 7, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(size)
    vectors = rng.normal(size=(batch, 2 * size + 3, size)) * scale ** rng.random((batch, 1, size))
    return np.einsum("bwi,bwj->bij", vectors, vectors), rng.normal(size=(batch, size))


@pytest.mark.parametrize("method", ["halving", "library"])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 40, 64, pytest.param(300, marks=pytest.mark.slow)])
def test_agrees_with_numpy(size, method):
    matrix, target = systems(size)
    diagonal = np.random.default_rng(1).random(target.shape) * matrix[0, 0, 0]
    solved = solve_symmetric(jnp.asarray(matrix), jnp.asarray(diagonal), jnp.asarray(target), method=method)
    whole = matrix + diagonal[:, :, None] * np.eye(size)
    expected = np.linalg.solve(whole, target[:, :, None])[:, :, 0]
    np.testing.assert_allclose(solved, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("size", "method"),
    combinations([5, 20, 130], ["halving", "library"], strength=1),
)
def test_reads_the_lower_triangle_alone(size, method):
    matrix, target = systems(size)
    zero = jnp.zeros_like(target)
    lower = np.where(np.tri(size, dtype=bool), matrix, np.nan)
    solve = lambda matrix, sign: solve_symmetric(jnp.asarray(matrix), zero, jnp.asarray(target), sign, method=method)
    for sign in (None, jnp.ones_like(zero)):
        expected = solve(matrix, sign)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(solve(lower, sign), expected)


def test_float32_is_accurate_on_rows_of_any_scale():
    matrix, target = systems(48, scale=1e4)
    matrix32, target32 = matrix.astype(np.float32), target.astype(np.float32)
    solved = np.asarray(solve_symmetric(jnp.asarray(matrix32), jnp.zeros_like(target32), jnp.asarray(target32)))
    left = np.einsum("bij,bj->bi", matrix32.astype(float), solved.astype(float)) - target32
    size = np.einsum("bij,bj->bi", np.abs(matrix), np.abs(solved)) + np.abs(target)
    assert (np.abs(left) / size).max() < 1e-5  # backward error, component by component
    exact = np.linalg.solve(matrix32.astype(float), target32[:, :, None].astype(float))[:, :, 0]
    assert np.linalg.norm(solved - exact) < 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("method", ["halving", "library"])
def test_pivots_of_stated_signs(method):
    matrix, target = systems(20)
    sign = np.where(np.random.default_rng(0).random(20) < 0.3, -1.0, 1.0)
    sign[0] *= np.prod(sign) * -1  # an odd number of them
    # Every leading part of diag(sign) + small has the pivots' signs.
    matrix = 1e-2 * matrix / np.abs(matrix).max()
    signs = jnp.asarray(np.broadcast_to(sign, target.shape))
    solved = solve_symmetric(jnp.asarray(matrix), signs, jnp.asarray(target), signs, method)
    expected = np.linalg.solve(matrix + np.diag(sign), target[:, :, None])[:, :, 0]
    np.testing.assert_allclose(solved, expected, rtol=1e-9)
    ones = None if method == "halving" else jnp.ones_like(signs)
    assert np.isnan(solve_symmetric(jnp.asarray(matrix), signs, jnp.asarray(target), ones, method)).all()


@pytest.mark.parametrize("method", ["halving", "library"])
def test_signs_are_told_where_pivoting_swaps_rows(method):
    matrix, zero, target = jnp.array([[[0.1, 1.0], [1.0, 0.1]]]), jnp.zeros((1, 2)), jnp.array([[1.1, 2.0]])
    solve = lambda *sign: solve_symmetric(matrix, zero, target, jnp.array([sign]), method)
    np.testing.assert_allclose(solve(1.0, -1.0), np.linalg.solve(matrix[0], target[0])[None], rtol=1e-9)
    assert np.isnan(solve(1.0, 1.0)).all()


def test_an_indefinite_system_alone_comes_out_nan():
    matrix, target = systems(20)
    matrix[2] -= 1.01 * np.linalg.eigvalsh(matrix[2])[0] * np.eye(20)
    solved = np.asarray(solve_symmetric(jnp.asarray(matrix), jnp.zeros_like(target), jnp.asarray(target)))
    assert np.isnan(solved[2]).all()
    assert np.isfinite(np.delete(solved, 2, axis=0)).all()
