import dataclasses
from typing import Any

import numpy as np
import pytest

from jaxals.als.layout import row_classes
from jaxals.als.layout.machine import CPU, GPU, TPU
from jaxals.als.layout.row_classes import RowClass, choose_classes, most_dual_entries

SETTINGS: dict[str, Any] = {"factors": 64, "item_bytes": 4, "most_tiles": 1024}


def power_law(n_rows: int) -> np.ndarray:
    return np.clip(np.random.default_rng(0).lognormal(3.5, 1.0, n_rows), 1, 3000).astype(np.int64)


@pytest.mark.parametrize("gram_size", [0, 64])
def test_classes_ascend_and_hold_all_rows_but_the_longest(gram_size):
    classes = choose_classes(power_law(100_000), gram_size=gram_size, **SETTINGS)
    longest = [kind.longest for kind in classes]
    assert longest == sorted(set(longest))
    assert longest[-1] >= 3000


@pytest.mark.parametrize("gram_size", [0, 64])
def test_small_data_get_one_class_and_large_data_more(gram_size):
    few = choose_classes(power_law(1000), gram_size=gram_size, **SETTINGS)
    many = choose_classes(power_law(3_000_000), gram_size=gram_size, **SETTINGS)
    assert len(few) == 1
    assert len(many) > 1


def test_classes_that_cost_nothing_to_compile_are_many():
    counts = power_law(1000)
    dear = choose_classes(counts, gram_size=64, **SETTINGS)
    free = dataclasses.replace(CPU, compile=0, compile_unknown=0)
    assert len(choose_classes(counts, gram_size=64, machine=free, **SETTINGS)) > len(dear)


def test_many_fits_pay_for_more_classes():
    counts = power_law(100_000)
    assert len(choose_classes(counts, gram_size=64, sweeps=1000, **SETTINGS)) > len(
        choose_classes(counts, gram_size=64, **SETTINGS)
    )


def test_rows_of_one_entry_and_no_rows():
    assert [kind.longest >= 1 for kind in choose_classes(np.ones(5, np.int64), gram_size=64, **SETTINGS)] == [True]
    assert choose_classes(np.zeros(5, np.int64), gram_size=64, **SETTINGS) == []


@pytest.mark.parametrize("most_tiles", [1, 30])
def test_partial_sums_stay_below_their_bound_unless_one_row_has_more(most_tiles):
    for kind in choose_classes(power_law(100_000), 64, 64, 4, most_tiles):
        assert kind.tiles_per_chunk <= max(most_tiles, -(-3000 // 128))


@pytest.mark.parametrize(("factors", "tiles_of_width"), [(64, {16: 128, 32: 64}), (128, {16: 64, 32: 32, 96: 32})])
def test_the_dual_form_gets_less_than_a_cache_of_vectors_but_many_systems(factors, tiles_of_width):
    for width, tiles in tiles_of_width.items():
        settings = {"factors": factors, "item_bytes": 4, "most_tiles": 1024}
        (kind,) = choose_classes(np.full(1000, width), gram_size=factors, **settings)
        assert (kind.longest, kind.width, kind.tiles_per_chunk) == (width, width, tiles)
        # Conjugate gradient solves no systems.
        (kind,) = choose_classes(np.full(1000, width), gram_size=0, **settings)
        assert kind.tiles_per_chunk == 2**21 // (factors * 4) // kind.width


def blocks(counts: np.ndarray, factors: int = 512, gram_size: int = 64, **settings) -> list[RowClass]:
    return choose_classes(counts, factors=factors, gram_size=gram_size, item_bytes=4, most_tiles=1024, **settings)


def test_with_blocks_of_factors_rows_of_up_to_two_blocks_have_the_dual_form():
    assert blocks(np.full(1000, 96)) == [RowClass(96, 96, 21)]
    assert blocks(np.full(1000, 96), gram_size=32)[0].longest > 96


@pytest.mark.parametrize("gram_size", [2, 16, 50, 64])
@pytest.mark.parametrize("sweeps", [1, 15, 10**6])
@pytest.mark.parametrize("n_rows", [30, 100_000])
def test_what_is_solved_in_blocks_depends_on_the_row_alone(n_rows, sweeps, gram_size):
    border = {2: 4, 16: 32, 50: 96, 64: 128}[gram_size]
    longest = [kind.longest for kind in blocks(power_law(n_rows), gram_size=gram_size, sweeps=sweeps)]
    assert border in longest


@pytest.mark.parametrize("machine", [GPU, TPU], ids=lambda machine: machine.platform)
@pytest.mark.parametrize(("factors", "gram_size"), [(8, 4), (512, 16), (512, 50), (512, 64), (512, 128)])
@pytest.mark.parametrize("most", [3, 6, 40, 97, 130, 200, 3000])
def test_so_it_does_on_an_accelerator(most, factors, gram_size, machine):
    border = {4: 4, 16: 32, 50: 96, 64: 128, 128: 128}[gram_size]
    counts = np.minimum(power_law(10_000), most)
    classes = choose_classes(counts, factors, gram_size, 4, 1024, machine)
    begin = 0
    for kind in classes:
        is_dual = kind.longest <= kind.width <= most_dual_entries(factors, gram_size)
        assert is_dual == (kind.longest <= border)
        assert is_dual or begin >= border
        begin = kind.longest if kind.longest != most else begin


def test_rows_of_several_tiles_are_read_a_block_of_factors_at_a_time():
    counts = np.full(1000, 500)
    entries = {
        gram_size: kind.width * kind.tiles_per_chunk
        for gram_size in (8, 64, 512)
        for kind in blocks(counts, gram_size=gram_size)
    }
    assert entries == {512: 2048, 64: 2**21 // (64 * 4), 8: 4 * 2048}


def test_rows_of_as_many_entries_as_factors_are_no_case_for_the_dual_form():
    (kind,) = row_classes._kinds(64, longest=64, entries=8192, most_dual=63, gram_size=64, most_tiles=1024, border=63)
    assert kind == RowClass(64, 64, 128)
