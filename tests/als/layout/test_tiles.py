import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxals import (
    ALS,
    Cholesky,
    ConjugateGradient,
    Interactions,
    Objective,
    build_tiles,
    datasets,
    half_step,
    make_mesh,
)
from jaxals.als.kernels import gram
from jaxals.als.layout import row_classes
from jaxals.als.layout.tiles import RowTiles, padding
from jaxals.errors import ConfigurationError
from tests import oracles
from tests.combinations import fast_first
from tests.machines import cut_for


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
        row = np.broadcast_to(np.asarray(tiles.long.row)[:, :, None], here.shape)[here]
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
    widths=st.sampled_from([(1,), (3,), (4, 8), (8, 16), row_classes._WIDTHS]),
    cache_bytes=st.sampled_from([1, 24 * 16, 2**21]),
    wide_row=st.sampled_from([8, 40, 16_384]),
    compile_cost=st.sampled_from([0, 1e6]),
    platform=st.sampled_from(["cpu", "gpu", "tpu"]),
    layout=st.sampled_from([("user", 1, 9), ("item", 1, 0), ("user", 2, 0), ("item", 8, 4)]),
)
@settings(max_examples=8, deadline=None)
@example(
    r=np.ones((1, 1)), widths=(4, 8), cache_bytes=1, wide_row=8, compile_cost=0, platform="cpu", layout=("user", 8, 0)
)
def test_any_layout_gives_the_half_step_of_the_dense_oracle(
    r, widths, cache_bytes, wide_row, compile_cost, platform, layout
):
    side, n_devices, gram_size = layout
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    rows = r if side == "user" else r.T
    other = np.random.default_rng(0).normal(size=(rows.shape[1], 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_classes, "_WIDTHS", widths)
        patch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", min(wide_row // 2, 512))
        sizes = {"vector_bytes": cache_bytes, "least_chunk_entries": 1, "longest_row": wide_row, "step_entries": 7}
        cut_for(patch, compile=compile_cost, **sizes)
        mesh = make_mesh(jax.devices()[:n_devices])
        how = {"gram_size": gram_size, "mesh": mesh, "platform": platform}
        tiles = build_tiles(data, side, factors=9, dtype=jnp.float64, **how)
    assert (tiles.mesh.size if tiles.mesh else 1) == n_devices
    expected_entries = [(int(a), int(b), float(rows[a, b])) for a, b in zip(*np.nonzero(rows), strict=True)]
    assert entries_of(tiles) == expected_entries
    objective, parameters = oracles.PRESETS["hkv"]
    solved, _ = half_step(tiles, jnp.asarray(other), objective, Cholesky())
    expected = oracles.half_step("hkv", rows, other, parameters)
    # Values from 1e-3 to 1e5 in one row: condition numbers reach 1e6.
    np.testing.assert_allclose(solved, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max(initial=1))


def rows_of_every_kind() -> np.ndarray:
    rng = np.random.default_rng(0)
    r = np.zeros((120, 20_000))
    lengths = np.concatenate([[17_000, 19_000, 3000, 600], rng.integers(20, 300, 36), rng.integers(1, 8, 80)])
    for row, length in enumerate(lengths):
        r[row, rng.choice(20_000, length, replace=False)] = rng.integers(1, 9, length)
    return r


def test_rows_of_every_kind_agree_with_the_oracle(monkeypatch):
    monkeypatch.setattr(gram, "_LEAST_HALVED", 9)  # as with many factors
    r = rows_of_every_kind()
    cut_for(monkeypatch, compile=0, compile_unknown=0)  # so that every class that saves any time is there
    tiles = build_tiles(Interactions.from_scipy(scipy.sparse.csr_matrix(r)), factors=9, dtype=jnp.float64)
    assert [group.one_tile_per_row for group in tiles.groups] == [True, True, False, False]
    assert tiles.long is not None
    other = np.random.default_rng(1).normal(size=(20_000, 9))
    objective, parameters = oracles.PRESETS["ials"]
    solved, _ = half_step(tiles, jnp.asarray(other), objective, Cholesky())
    np.testing.assert_allclose(solved, oracles.half_step("ials", r, other, parameters), rtol=1e-9)


@pytest.mark.parametrize("n_devices", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_devices_share_the_work_and_agree(n_devices):
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(rows_of_every_kind()))
    assert len(jax.devices()) >= n_devices
    mesh = make_mesh(jax.devices()[:n_devices])
    alone, shared = (build_tiles(data, factors=9, dtype=jnp.float64, gram_size=0, mesh=where) for where in (None, mesh))
    assert shared.long is not None
    assert shared.long.row.shape[0] == n_devices
    assert {len(array.sharding.device_set) for array in jax.tree.leaves(shared.groups)} == {n_devices}
    other = jax.random.normal(jax.random.key(0), (20_000, 9), jnp.float64)
    objective = oracles.PRESETS["ials"][0]
    for solver in (ConjugateGradient(), Cholesky()):
        expected, _ = half_step(alone, other, objective, solver)
        solved, _ = half_step(shared, other, objective, solver)
        np.testing.assert_allclose(solved, expected, rtol=1e-9)


def test_a_mesh_of_other_axes_is_refused():
    mesh = jax.make_mesh((2, 4), ("rows", "columns"))
    with pytest.raises(ConfigurationError, match='one axis, "rows"'):
        build_tiles(Interactions.from_arrays([0], [0]), factors=2, mesh=mesh)


def test_little_padding_on_power_law_rows():
    data = datasets.synthetic(n_users=5000, n_items=3000, n_interactions=150_000, seed=0)
    # For so many sweeps that compilation does not matter; the exact solver trades padding for smaller systems.
    tiles_of = functools.partial(build_tiles, data, factors=16, sweeps=10_000)
    for side in ("user", "item"):
        assert padding(tiles_of(side, gram_size=0)) < 1.25
        assert padding(tiles_of(side, gram_size=16)) < 1.35


def test_chunks_shrink_as_factors_grow():
    r = oracles.random_values(0, 400, 60)
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    for factors in (8, 512):
        for group in build_tiles(data, factors=factors, chunk_bytes=2**22).groups:
            assert group.row.shape[1] * factors**2 * 4 <= 2**22


@pytest.mark.parametrize("arguments", [{"factors": 0}, {"factors": 4, "chunk_bytes": 0}])
def test_sizes_below_one_are_refused(arguments):
    data = Interactions.from_arrays([0], [0])
    with pytest.raises(ConfigurationError, match="must be an integer >= 1; got 0"):
        build_tiles(data, **arguments)


@pytest.mark.parametrize(
    ("values", "dtype", "held"),
    [
        ([1.0, 1.0, 1.0], "float32", np.uint8),
        ([1.0, 255.0, 3.0], "float64", np.uint8),
        ([-1.0, 1.0, 5.0], "float32", np.int8),
        ([256.0, 65535.0, 1.0], "float32", np.uint16),
        ([-300.0, 1.0, 2.0], "float32", np.int16),
        ([0.5, 1.0, 2.0], "float32", np.float32),
        ([65536.0, 1.0, 2.0], "float64", np.float64),
        ([1 + 1e-9, 2.0, 3.0], "float32", np.uint8),  # what float32 holds
        ([1 + 1e-9, 2.0, 3.0], "float64", np.float64),
    ],
)
def test_compact_tiles_hold_values_in_the_smallest_type_that_is_exact(values, dtype, held):
    data = Interactions.from_arrays(np.arange(len(values)), np.arange(len(values)), np.array(values))
    plain, compact = (
        build_tiles(data, "user", factors=2, dtype=dtype, is_compact=is_compact) for is_compact in (False, True)
    )
    assert all(group.value.dtype == held for group in compact.groups)
    for one, other in zip(plain.groups, compact.groups, strict=True):
        assert one.value.dtype == dtype
        np.testing.assert_array_equal(other.value.astype(dtype), one.value)


@pytest.mark.parametrize("n_devices", fast_first(1, [2, 1]))
def test_training_on_compact_tiles_is_the_same_to_the_last_bit(n_devices):
    data = datasets.synthetic(n_users=60, n_items=40, n_interactions=600, seed=0)
    trainer, mesh = ALS(factors=4, sweeps=2), make_mesh(jax.devices()[:n_devices])
    tiles = trainer.cut(data, mesh)
    assert tiles[0].groups[0].value.dtype == np.float32
    begin = lambda **more: trainer.begin(data, Objective.hkv(), jax.random.key(0), None, mesh, **more)
    losses = []
    for training in (begin(tiles=tiles), begin()):
        state = training.start()
        for _ in range(2):
            state, info = training.step(state, True)
        losses.append((state.factors, info.loss))
    jax.tree.map(np.testing.assert_array_equal, *losses)
