import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals.als.kernels import gram
from jaxals.als.kernels.gather import Table, TablePart, pack
from jaxals.als.kernels.gram import read_scores, sum_grams
from tests.combinations import combinations

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 6))


def tiles(n_tiles: int, width: int, n_rows: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    column = jnp.asarray(RNG.integers(0, len(TABLE), (n_tiles, width)), jnp.int32)
    gram_weight, target_weight = jnp.asarray(RNG.normal(size=(2, n_tiles, width)))
    # The last row has no tiles.
    return column, gram_weight, target_weight, jnp.asarray(np.sort(RNG.integers(0, n_rows - 1, n_tiles)), jnp.int32)


@pytest.mark.parametrize(
    ("least_halved", "block_bytes", "shape", "in_cache"),
    combinations([6, 7], [1, 4000, 2**19], [(1, 4), (13, 4), (64, 3), (7, 128), (5, 384), (1, 4096)], [True, False]),
)
def test_agrees_with_numpy(least_halved, block_bytes, shape, in_cache, monkeypatch):
    monkeypatch.setattr(gram, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(gram, "_LEAST_HALVED", least_halved)
    table = pack(jnp.asarray(TABLE), in_pieces=in_cache)
    n_tiles, width = shape
    arrays = tiles(n_tiles, width, n_rows=4)
    matrices, vectors = sum_grams(table, *arrays, n_rows=4, in_cache=in_cache)
    column, gram_weight, target_weight, segment = map(np.asarray, arrays)
    expected_matrices, expected_vectors = np.zeros((4, 6, 6)), np.zeros((4, 6))
    for tile, row in enumerate(segment):
        found = TABLE[column[tile]]
        expected_matrices[row] += found.T @ (gram_weight[tile][:, None] * found)
        expected_vectors[row] += target_weight[tile] @ found
    np.testing.assert_allclose(np.tril(matrices), np.tril(expected_matrices), atol=1e-11)
    is_halved = in_cache and least_halved == 6
    assert np.any(matrices[:, :3, 3:]) != is_halved
    np.testing.assert_allclose(vectors, expected_vectors, atol=1e-11)


def test_few_tiles_are_read_at_a_time_on_a_cpu(monkeypatch):
    read = []

    def reading(table: Table, column: jax.Array) -> jax.Array:
        read.append(column.shape)
        return table.rows[column]

    monkeypatch.setattr(Table, "__getitem__", reading)
    sum_grams(pack(jnp.asarray(TABLE)), *tiles(1000, 256, n_rows=3), n_rows=3)
    # Tiles of 256 are cut in two; 2000 halves of some 13 kB, 512 kB of them at a time.
    assert set(read) == {(40, 128)}
    read.clear()
    column, *_ = tiles(1000, 256, n_rows=3)
    read_scores(pack(jnp.asarray(TABLE)), column, jnp.ones((1000, 6)))
    assert set(read) == {(40, 256)}


@pytest.mark.parametrize(
    ("part", "block_bytes", "in_cache"), combinations([slice(0, 6), slice(2, 5)], [1, 1000, 2**19], [True, False])
)
def test_scores_agree_with_numpy(part, block_bytes, in_cache, monkeypatch):
    monkeypatch.setattr(gram, "_BLOCK_BYTES", block_bytes)
    table, factors = pack(jnp.asarray(TABLE), in_pieces=in_cache), part.stop - part.start
    column, *_ = tiles(13, 4, n_rows=4)
    rows = jnp.asarray(RNG.normal(size=(13, factors)))
    scores = read_scores(TablePart(table, part.start, factors), column, rows, in_cache=in_cache)
    expected = np.einsum("twf,tf->tw", TABLE[np.asarray(column), part], rows)
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_blocks_hold_all_tiles_and_are_filled_up_little():
    for n_tiles in range(1, 200):
        for most in range(1, 40):
            n_blocks, size = gram._blocks(n_tiles, most)
            assert min(most, n_tiles) / 2 <= size <= most
            assert 0 <= n_blocks * size - n_tiles < size
    assert gram._blocks(65, 8) == (13, 5)
    assert gram._blocks(67, 8) == (17, 4)
