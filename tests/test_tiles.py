import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxals import Cholesky, Interactions, build_tiles, half_step
from jaxals import tiles as tiles_module
from jaxals.errors import ConfigurationError
from jaxals.tiles import RowTiles, padding
from tests import oracles


def entries_of(tiles: RowTiles) -> list[tuple[int, int, float]]:
    """Read every entry back from the tiles: (row, column, value)."""
    found: list[tuple] = []
    for group in tiles.groups:
        here = np.asarray(group.value) != 0
        row = np.take_along_axis(np.asarray(group.row), np.asarray(group.segment), axis=1)[:, :, None]
        row = np.broadcast_to(row, here.shape)[here]
        found += zip(row, np.asarray(group.column)[here], np.asarray(group.value)[here], strict=True)
    if tiles.long is not None:
        here = np.asarray(tiles.long.value) != 0
        row = np.broadcast_to(np.asarray(tiles.long.row)[:, None], here.shape)[here]
        found += zip(row, np.asarray(tiles.long.column)[here], np.asarray(tiles.long.value)[here], strict=True)
    return sorted((int(r), int(c), float(v)) for r, c, v in found)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    n_rows, n_columns = draw(st.integers(1, 12)), draw(st.integers(1, 70))
    # Row lengths differ wildly: empty rows, rows of one entry and full rows stand side by side.
    lengths = draw(st.lists(st.integers(0, n_columns), min_size=n_rows, max_size=n_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    r = np.zeros((n_rows, n_columns))
    for row, length in enumerate(lengths):
        columns = rng.choice(n_columns, length, replace=False)
        r[row, columns] = rng.choice([1.0, 2.0, 1e-3, 1e5, -4.0], length)
    if not r.any():
        r[0, 0] = 1.0
    return r


@given(
    r=matrices(),
    widths=st.sampled_from([(1,), (3,), (4, 8), (2, 16), tiles_module._WIDTHS]),
    entries_per_chunk=st.sampled_from([1, 16, 64, 4096]),
    side=st.sampled_from(["user", "item"]),
)
@settings(max_examples=25, deadline=None)
@example(r=np.ones((1, 1)), widths=(4, 8), entries_per_chunk=16, side="user")
def test_any_layout_gives_the_half_step_of_the_dense_oracle(r, widths, entries_per_chunk, side):
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    rows = r if side == "user" else r.T
    other = np.random.default_rng(0).normal(size=(rows.shape[1], 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles_module, "_WIDTHS", widths)
        patch.setattr(tiles_module, "_ENTRIES_PER_CHUNK", entries_per_chunk)
        tiles = build_tiles(data, side, factors=3, dtype=jnp.float64)
    expected_entries = [(int(a), int(b), float(rows[a, b])) for a, b in zip(*np.nonzero(rows), strict=True)]
    assert entries_of(tiles) == expected_entries
    objective, parameters = oracles.PRESETS["hkv"]
    solved, _ = half_step(tiles, jnp.asarray(other), objective, Cholesky())
    expected = oracles.half_step("hkv", rows, other, parameters)
    # Values from 1e-3 to 1e5 in one row: condition numbers reach 1e6.
    np.testing.assert_allclose(solved, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max(initial=1))


def test_all_three_kinds_of_rows_are_used_and_agree_with_the_oracle():
    rng = np.random.default_rng(0)
    r = np.zeros((300, 6000))
    lengths = np.concatenate([[5900, 3000], rng.integers(100, 300, 40), rng.integers(1, 6, 258)])
    for row, length in enumerate(lengths):
        r[row, rng.choice(6000, length, replace=False)] = rng.integers(1, 9, length)
    tiles = build_tiles(Interactions.from_scipy(scipy.sparse.csr_matrix(r)), factors=4, dtype=jnp.float64)
    assert [group.one_tile_per_row for group in tiles.groups] == [True, False]
    assert tiles.long is not None
    other = rng.normal(size=(6000, 4))
    objective, parameters = oracles.PRESETS["ials"]
    solved, _ = half_step(tiles, jnp.asarray(other), objective, Cholesky())
    np.testing.assert_allclose(solved, oracles.half_step("ials", r, other, parameters), rtol=1e-9)


def test_little_padding_on_power_law_rows():
    rng = np.random.default_rng(0)
    lengths = np.minimum((10 / rng.power(0.8, 3000)).astype(int), 2000)
    users = np.repeat(np.arange(3000), lengths)
    items = np.concatenate([rng.choice(5000, n, replace=False) for n in lengths])
    data = Interactions.from_arrays(users, items, shape=(3000, 5000))
    assert padding(build_tiles(data, "user", factors=16)) < 1.25
    assert padding(build_tiles(data, "item", factors=16)) < 1.4


def test_chunks_shrink_as_factors_grow():
    r = oracles.random_values(0, 400, 60)
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    for factors in (8, 512):
        for group in build_tiles(data, factors=factors, chunk_bytes=2**22).groups:
            assert group.row.shape[1] * factors**2 * 4 <= 2**22


@pytest.mark.parametrize("arguments", [{"factors": 0}, {"factors": 4, "chunk_bytes": 0}])
def test_sizes_below_one_are_refused(arguments):
    data = Interactions.from_arrays([0], [0])
    with pytest.raises(ConfigurationError, match="must be >= 1; got 0"):
        build_tiles(data, **arguments)
