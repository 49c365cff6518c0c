import jax.numpy as jnp
import numpy as np
import pytest

from jaxals.recommend.evidence import Evidence
from jaxals.recommend.ranking import nearest_rows
from jaxals.recommend.tables import Table


def evidence_of(table: Table) -> Evidence:
    return Evidence.of(table, np.arange(len(table)) % 4 + 1, shrinkage=2.0)


@pytest.mark.parametrize("limit", [100, 2])
def test_a_table_that_grew_is_the_array_it_stands_for(monkeypatch, limit):
    monkeypatch.setattr("jaxals.recommend.sizes._LATE_ROWS", limit)
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(7, 3))
    table = Table.of(jnp.asarray(expected))
    for n_rows, place in ((8, [2, 7]), (8, [0]), (11, [2, 8, 9, 10]), (12, [11])):
        rows, before = rng.normal(size=(len(place), 3)), table.whole()
        kept, table = table, table.replaced(np.array(place), rows, n_rows)
        expected = np.pad(expected, ((0, n_rows - len(expected)), (0, 0)))
        expected[place] = rows
        np.testing.assert_array_equal(kept.whole(), before)
        np.testing.assert_array_equal(table.whole(), expected)
        np.testing.assert_array_equal(table.read(np.array([n_rows - 1, 0, 2])), expected[[n_rows - 1, 0, 2]])
        np.testing.assert_allclose(table.gram, expected.T @ expected, rtol=1e-12, atol=1e-12)
        for cosine in (True, False):
            got = nearest_rows(table, np.arange(n_rows), 5, evidence_of(table) if cosine else None)
            fresh = Table.of(jnp.asarray(expected))
            anew = nearest_rows(fresh, np.arange(n_rows), 5, evidence_of(fresh) if cosine else None)
            np.testing.assert_array_equal(got[0], anew[0])
            np.testing.assert_allclose(got[1], anew[1], rtol=1e-12)


def test_ties_with_late_rows_go_to_the_lower_index():
    table = Table.of(jnp.ones((5, 2))).replaced(np.array([1, 5]), np.ones((2, 2)), 6)
    assert nearest_rows(table, np.array([0, 5]), 6, None)[0].tolist() == [
        [1, 2, 3, 4, 5, -1],
        [0, 1, 2, 3, 4, -1],
    ]


def test_late_rows_of_zeros_are_like_nothing():
    table = Table.of(jnp.ones((2, 2))).replaced(np.array([0, 2]), np.zeros((2, 2)), 3)
    assert nearest_rows(table, np.array([1, 0]), 2, evidence_of(table))[0].tolist() == [[-1, -1], [-1, -1]]
