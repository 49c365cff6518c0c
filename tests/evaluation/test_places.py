import numpy as np

from jaxals.evaluation.places import Places


def test_lists_of_no_items_hold_nothing():
    none = np.zeros((2, 0), np.int64)
    places = Places(none, none, np.zeros(1, bool))
    assert not places.is_open(3).any()
    assert places.found(none, np.array([1]), np.array([0]), n_items=4, k=3).tolist() == [0.0]
