import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxals.errors import ConfigurationError
from jaxals.recommend.topk import blank_excluded, exclude_pairs, top_k

# One narrow row, and wide ones whose length a block divides (1280 = 80 blocks of 16), leaves over, and nearly fills.
SHAPES = [((4, 9), 3), ((3, 1280), 5), ((3, 1301), 5), ((2, 2999), 3), ((5000,), 1), ((2, 2, 1300), 4)]

jitted = jax.jit(top_k, static_argnums=1)


def by_sorting(scores, k):
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(scores, order, axis=-1), order


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([1, 2, 3, 20, 10**6]),
    excluded=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
)
def test_equals_a_stable_sort_and_lax_with_ties_and_exclusions(case, seed, levels, excluded):
    shape, k = case
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, shape) - levels // 2).astype(np.float32)
    scores[rng.random(shape) < excluded] = -np.inf
    values, indices = jitted(jnp.asarray(scores), k)
    for expected_values, expected_indices in (by_sorting(scores, k), lax.top_k(jnp.asarray(scores), k)):
        np.testing.assert_array_equal(values, expected_values)
        np.testing.assert_array_equal(indices, expected_indices)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_keeps_the_dtype_and_gives_int32(dtype):
    scores = jax.random.normal(jax.random.key(0), (3, 1301), dtype)
    values, indices = jitted(scores, 5)
    assert values.dtype == dtype
    assert indices.dtype == jnp.int32
    expected_values, expected_indices = lax.top_k(scores, 5)
    np.testing.assert_array_equal(np.asarray(values, np.float64), np.asarray(expected_values, np.float64))
    np.testing.assert_array_equal(indices, expected_indices)


@pytest.mark.parametrize("n_items", [6, 3000])
def test_zeros_of_either_sign_are_ties(n_items):
    scores = np.full(n_items, -1.0)
    scores[[1, 2, n_items - 3, n_items - 1]] = [-0.0, 0.0, -0.0, 0.0]
    np.testing.assert_array_equal(top_k(jnp.asarray(scores), 3)[1], [1, 2, n_items - 3])


def test_takes_every_item_when_k_is_their_number():
    np.testing.assert_array_equal(top_k(jnp.array([[2.0, 2.0, 5.0]]), 3)[1], [[2, 0, 1]])


@pytest.mark.parametrize("k", [0, -1, 4])
def test_refuses_a_k_outside_its_range(k):
    with pytest.raises(ConfigurationError, match=f"1 to the number of items, 3; got {k}"):
        top_k(jnp.zeros((2, 3)), k)


def test_excluded_pairs_are_never_listed_and_pad_the_end():
    scores = jnp.ones((3, 4), jnp.float32)
    row, item = jnp.array([0, 0, 0, 1, 1, 1, 1, 3]), jnp.array([0, 1, 3, 0, 1, 2, 3, 0])
    values, indices = top_k(exclude_pairs(scores, row, item), 2)
    indices = blank_excluded(values, indices)
    np.testing.assert_array_equal(indices, [[2, -1], [-1, -1], [0, 1]])
    np.testing.assert_array_equal(values, [[1, -np.inf], [-np.inf, -np.inf], [1, 1]])
