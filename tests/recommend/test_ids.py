import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog
from jaxals.data.ids import as_index
from jaxals.errors import DataError, UnknownIdError
from jaxals.recommend.ids import Ids


@pytest.mark.parametrize("limit", [100, 1])
def test_ids_that_grew_are_those_of_one_catalog(monkeypatch, limit):
    monkeypatch.setattr("jaxals.recommend.sizes._LATE_ROWS", limit)
    ids = Ids.of(Catalog([1], ["b", "a"]), "item")
    for given, expected in ((["c", "a"], [2, 1]), (["a"], [1]), (["d", "c", "e"], [3, 2, 4])):
        ids, indices = ids.extended(pd.Index(given))
        assert indices.tolist() == expected
    assert ids.whole().tolist() == ["b", "a", "c", "d", "e"]
    assert ids.take(np.array([4, 0, 4, 2])).tolist() == ["e", "b", "e", "c"]
    assert ids.indices(["e", "a"]).tolist() == [4, 1]
    assert ids.indices([]).shape == (0,)
    with pytest.raises(UnknownIdError, match="no item 'f' in the catalog of 5 items"):
        ids.indices(["a", "f"])


@pytest.mark.parametrize(("known", "new"), [([1, 2], True), ([2**53], float(2**53)), (["a", 0], False), ([True], 1.0)])
@pytest.mark.parametrize("is_late", [False, True])
def test_ids_that_equal_known_ones_to_python_are_refused(known, new, is_late):
    ids = Ids.of(Catalog(["b"] if is_late else known, [1]), "user")
    ids = ids.extended(as_index(known, "ids"))[0] if is_late else ids
    with pytest.raises(DataError, match=rf"The user ids must differ to Python, but the new {new!r} equals"):
        ids.extended(as_index([new, "c"], "ids"))
