import numpy as np
import pytest
from scipy.sparse import csr_matrix

from jaxals import Catalog, Interactions
from jaxals.data.catalog import Side
from jaxals.recommend.histories import Histories


@pytest.mark.parametrize("limit", [1000, 5])
def test_histories_that_grew_are_the_matrix_they_stand_for(monkeypatch, limit):
    monkeypatch.setattr("jaxals.recommend.histories._LATE_ENTRIES", limit)
    rng = np.random.default_rng(0)
    dense = np.zeros((9, 8))
    dense[:5, :6] = rng.integers(0, 3, (5, 6))
    dense[0, 0] = 2
    histories = Histories.of(Interactions.from_scipy(csr_matrix(dense)))
    sides: list[tuple[Side, list[int], int]] = [("user", [1, 5], 5), ("item", [0, 6], 6), ("user", [0, 1], 6)]
    for side, changed, n_known in [*sides, ("item", [6], 7), ("user", [6, 7, 8], 6), ("item", [2, 7], 7)]:
        new = np.zeros_like(dense)
        rows = new if side == "user" else new.T
        rows[changed] = rng.integers(0, 3, rows[changed].shape)
        new[0 if side == "item" else changed[0], changed[0] if side == "item" else 0] = 1
        (dense if side == "user" else dense.T)[changed] = rows[changed]
        histories = histories.replaced(side, np.array(changed), Interactions.from_scipy(csr_matrix(new)), n_known)
        users = np.array([8, 0, 3, 3, 1])
        count, item, value = histories.of_users(users)
        np.testing.assert_array_equal(count, (dense[users] != 0).sum(axis=1))
        np.testing.assert_array_equal(item, np.nonzero(dense[users])[1])
        np.testing.assert_array_equal(value, dense[users][dense[users] != 0])
        whole = histories.whole(Catalog(range(9), range(8)))
        np.testing.assert_array_equal(whole.to_scipy().toarray(), dense)
        assert [histories.first_entry(user) for user in range(9)] == whole.row_starts()[:-1].tolist()
