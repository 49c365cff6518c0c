import numpy as np
import pandas as pd
import pytest

from jaxals import Catalog
from jaxals.recommend.asked import listed_ids
from jaxals.recommend.ids import Ids

# As columns and their `unique()` are, and what holds ids beside them.
SEVERAL = {
    "text": (["a", "b", "c"], lambda ids: pd.array(ids[1:], dtype="string")),
    "unique": (["a", "b", "c"], lambda ids: pd.Series(ids[1:] * 2).unique()),
    "nullable": ([7, 8, 9], lambda ids: pd.Series(ids[1:], dtype="Int64").unique()),
    "categories": (["a", "b", "c"], lambda ids: pd.Categorical(ids[1:])),
    "keys": ([7, 8, 9], lambda ids: dict.fromkeys(ids[1:]).keys()),
    "mask": ([7, 8, 9], lambda ids: np.array(ids) > ids[0]),
    "mask in a column": ([7, 8, 9], lambda ids: pd.Series(ids) > ids[0]),
    "nullable mask": ([7, 8, 9], lambda ids: pd.array(ids, dtype="Int64") > ids[0]),
}


@pytest.mark.parametrize(("ids", "asked"), SEVERAL.values(), ids=SEVERAL)
def test_what_holds_several_ids_is_read_as_a_list(ids, asked):
    assert listed_ids("users", asked(ids), Ids.of(Catalog(ids, [1]), "user")) == ids[1:]
