import numpy as np
import pytest

from jaxals.errors import DataError
from jaxals.recommend.ranking import batches, checked_indices, listed_cells, power_of_two, rows_per_batch


def test_batches_cover_the_rows_in_one_size():
    rows = np.array([4, 9, 1, 7, 3])
    assert [batch.tolist() for batch in batches(rows, 2)] == [[4, 9], [1, 7], [3, 3]]
    assert [batch.tolist() for batch in batches(rows, 99)] == [[4, 9, 1, 7, 3]]
    assert not list(batches(rows[:0], 2))


def test_rows_per_batch_is_at_least_one():
    assert rows_per_batch(2**24, 4) == 1
    assert rows_per_batch(2**20, 4) == 4
    assert rows_per_batch(2**40, 4) == 1


def test_cells_past_the_entries_change_nothing():
    row, column = listed_cells(np.array([2, 0, 1]), np.array([4, 0, 2]), np.array([5, 6, 7, 8]), 5)
    assert row[:3].tolist() == [0, 0, 2]
    assert column[:3].tolist() == [7, 8, 6]
    assert (row[3:] >= 3).all()
    assert row.dtype == column.dtype == np.int32


@pytest.mark.parametrize(("number", "rounded"), [(0, 1), (1, 1), (2, 2), (3, 4), (1024, 1024), (1025, 2048)])
def test_powers_of_two(number, rounded):
    assert power_of_two(number) == rounded


@pytest.mark.parametrize("bad", [[1.0], [[1]], ["a"], [True]])
def test_what_is_no_index_is_named(bad):
    with pytest.raises(DataError, match="`rows` must be 1-D integer indices"):
        checked_indices("rows", bad, 3)
    assert checked_indices("rows", [], 3).shape == (0,)
