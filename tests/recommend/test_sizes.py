import pytest

from jaxals.recommend.sizes import cut, list_length, roomy


@pytest.mark.parametrize("most", [1, 4, 16, 100, 5000])
def test_batches_cover_the_rows_in_three_sizes(most):
    for n_rows in (0, 1, 7, 8, 40, 517, 2049):
        batches = list(cut(n_rows, most))
        assert {size for _, _, size in batches} <= {1, min(16, most), min(1024, most)}
        assert [row for start, stop, _ in batches for row in range(start, stop)] == list(range(n_rows))
        assert all(size / 2 <= stop - start <= size for start, stop, size in batches)


def test_lists_have_few_lengths():
    for n_rows, most in ((1, 3), (16, 4), (64, 9)):
        lengths = {list_length(n, n_rows, 3000) for n in range(1, 3000)}
        assert len(lengths) <= most
        assert all(n <= list_length(n, n_rows, 3000) <= 3000 for n in range(1, 3000))


def test_growing_tables_have_few_lengths():
    assert len({roomy(n_rows) for n_rows in range(1, 10**6, 1000)}) < 32
    assert all(n_rows <= roomy(n_rows) < 1.26 * n_rows for n_rows in range(2**18 + 1, 10**6, 1000))
