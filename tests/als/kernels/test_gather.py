import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals.als.kernels.gather import TablePart, pack, pack_without_copy
from tests.combinations import fast_first


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("factors", [1, 5, 16])
def test_the_bits_of_every_row_come_back(dtype, factors):
    table = jax.random.normal(jax.random.key(0), (11, factors), dtype)
    table = table.at[3, 0].set(jnp.nan).at[4, 0].set(-jnp.inf).at[5, 0].set(1e-40)
    index = jnp.asarray([[0, 10, 3], [4, 5, 5]])
    rows = jax.jit(lambda table, index: pack(table)[index])(table, index)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, np.asarray(table)[np.asarray(index)])


def test_on_a_cpu_rows_are_stored_in_pieces_of_two_bytes():
    pieces = pack(jnp.ones((3, 4), jnp.float32)).pieces
    assert pieces is not None
    assert pieces.dtype == jnp.uint16


def test_reading_has_the_derivative_of_indexing():
    table = jax.random.normal(jax.random.key(0), (5, 3), jnp.float64)
    index = jnp.asarray([4, 1, 4])
    read = lambda table: jnp.sum(jnp.sin(pack(table)[index]))
    expected = jax.grad(lambda table: jnp.sum(jnp.sin(table[index])))(table)
    np.testing.assert_allclose(jax.grad(read)(table), expected)
    np.testing.assert_allclose(jax.jacfwd(read)(table), expected)


@pytest.mark.parametrize("stored", [jnp.float16, jnp.bfloat16])
def test_rows_may_be_stored_rounded(stored):
    table = jax.random.normal(jax.random.key(0), (11, 6), jnp.float32)
    rows = pack(table, stored)[jnp.asarray([2, 2, 9])]
    assert rows.dtype == jnp.float32
    np.testing.assert_array_equal(rows, table.astype(stored).astype(jnp.float32)[np.asarray([2, 2, 9])])


@pytest.mark.parametrize("in_pieces", [True, False])
@pytest.mark.parametrize("stored", [None, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_some_factors_are_read_as_of_whole_rows(dtype, stored, in_pieces):
    table = pack(jax.random.normal(jax.random.key(0), (11, 7), dtype), stored, in_pieces)
    index = jnp.asarray([[2, 2, 9], [0, 10, 1]])
    for start in (0, 3):
        part = jax.jit(lambda table, start: TablePart(table, start, 4)[index])(table, start)
        assert part.dtype == dtype
        np.testing.assert_array_equal(part, table[index][..., start : start + 4])


@pytest.mark.parametrize("stored", [None, jnp.float16, jnp.bfloat16])
def test_outside_of_programs_the_same_is_read_from_the_same_memory(stored):
    table, index = jax.random.normal(jax.random.key(0), (64, 64), jnp.float32), jnp.asarray([2, 2, 9])
    packed = pack_without_copy(table, stored)
    np.testing.assert_array_equal(packed[index], pack(table, stored)[index])
    assert packed.pieces is not None
    if stored is None:
        assert packed.pieces.unsafe_buffer_pointer() == table.unsafe_buffer_pointer()


@pytest.mark.parametrize("axes", fast_first(1, [(0, 1), (None, 0), (0, None)]))
def test_reads_are_batched_with_their_derivatives(axes):
    tables = jax.random.normal(jax.random.key(0), (4, 4, 4), jnp.float64)
    index = jax.random.randint(jax.random.key(1), (4, 4, 3), 0, 4)
    tables, index = (array if axis is not None else array[0] for array, axis in zip((tables, index), axes, strict=True))
    read = lambda table, index: pack(table)[index]
    plain = lambda table, index: table[index]
    np.testing.assert_array_equal(jax.vmap(read, axes)(tables, index), jax.vmap(plain, axes)(tables, index))
    second = lambda read: jax.jacfwd(jax.grad(lambda tables: jnp.sum(jax.vmap(read, axes)(tables, index) ** 3)))(tables)
    np.testing.assert_allclose(second(read), second(plain))


def test_second_derivatives_of_reads_within_a_scan():
    # Where JAX drops rules of `jax.custom_jvp`.
    table, index = jax.random.normal(jax.random.key(0), (3, 2), jnp.float64), jnp.asarray([2, 1, 2])

    def thrice(table, read):
        return jnp.sum(jax.lax.scan(lambda table, _: (jnp.sin(2 * read(table)), None), table, length=3)[0])

    expected = jax.hessian(lambda table: thrice(table, lambda table: table[index]))(table)
    got = jax.hessian(lambda table: thrice(table, lambda table: pack(table)[index]))(table)
    np.testing.assert_allclose(got, expected, atol=1e-12)
