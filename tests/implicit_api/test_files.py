import io

import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api import AlternatingLeastSquares, MissingFileError
from jaxals.implicit_api.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender

TABLES = {"user_factors": np.ones((3, 2), np.float32), "item_factors": np.ones((4, 2), np.float32)}
NEIGHBOURS = {"K": 2, "shape": (2, 2), "data": np.ones(2), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2])}


def file_of(**arrays) -> io.BytesIO:
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return file


def again(model):
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return type(model).load(file)


@pytest.mark.parametrize("use_gpu", [False, None])
def test_a_model_is_the_same_after_a_load(use_gpu):
    model = AlternatingLeastSquares(factors=3, use_gpu=use_gpu, iterations=4, random_state=1, dtype=np.float64)
    assert vars(again(model)) == vars(model)


def test_a_device_that_is_not_there_counts_as_none_chosen():
    assert AlternatingLeastSquares.load(file_of(factors=3, use_gpu=True)).use_gpu is None


def test_settings_follow_the_tables():
    model = AlternatingLeastSquares.load(file_of(**TABLES, factors=100))
    assert model.factors == 2
    half = {name: table.astype(np.float16) for name, table in TABLES.items()}
    model = AlternatingLeastSquares.load(file_of(**half, dtype="float16"))
    assert model.dtype == model.user_factors.dtype == np.float32


WRONG = [
    ({"users": np.ones(3)}, "neither `factors` nor both tables"),
    ({"user_factors": np.ones((3, 2))}, "neither `factors` nor both tables"),
    (TABLES | {"item_factors": np.ones((4, 3))}, "its factors are 2 and 3 wide"),
    (TABLES | {"item_factors": np.ones(4)}, "`item_factors` is no table of finite numbers, but float64 (4,)"),
    (TABLES | {"item_factors": np.ones((4, 2), int)}, "`item_factors` is no table of finite numbers, but int64"),
    (TABLES | {"item_factors": np.full((4, 2), np.nan)}, "`item_factors` is no table of finite numbers"),
    (TABLES | {"item_factors": np.array([None])}, "Object arrays cannot be loaded"),
    (TABLES | {"alpha": np.ones(2)}, "`alpha` is an array of shape (2,)"),
    (TABLES | {"alpha": "much"}, "`alpha` must be a number; got 'much'"),
    (TABLES | {"regularization": np.nan}, "`regularization` must be finite"),
    (TABLES | {"dtype": "int32"}, "`dtype` must be float32 or float64"),
    (TABLES | {"iterations": -3}, "`iterations` must be an integer >= 0"),
]


@pytest.mark.parametrize(("arrays", "message"), WRONG, ids=[message for _, message in WRONG])
def test_files_of_others_and_damaged_ones(arrays, message):
    with pytest.raises(DataError) as caught:
        AlternatingLeastSquares.load(file_of(**arrays))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    for load in (AlternatingLeastSquares.load, CosineRecommender.load):
        for error in (MissingFileError, FileNotFoundError, DataError):
            with pytest.raises(error, match=r"There is no file '.*none\.npz'"):
                load(tmp_path / "none")
        (tmp_path / "text.npz").write_bytes(b"abc")
        with pytest.raises(DataError, match="cannot be read as a model of"):
            load(tmp_path / "text")
        with pytest.raises(DataError, match="`fileobj_or_path` must be a path or an open file; got 3"):
            load(3)


def test_a_file_that_does_not_fit_is_not_read(monkeypatch):
    monkeypatch.setattr("jaxals._base.memory.available_memory", lambda *_: 10)
    with pytest.raises(ConfigurationError, match="Reading The file needs about"):
        AlternatingLeastSquares.load(file_of(**TABLES))


def test_neighbours_travel():
    counts = sp.csr_matrix(np.tri(6)[:, ::-1])
    model = BM25Recommender(K=3, K1=2.0, B=0.5)
    model.fit(counts, show_progress=False)
    loaded = again(model)
    assert (loaded.K, loaded.K1, loaded.B) == (3, 2.0, 0.5)
    np.testing.assert_array_equal(loaded.similarity.toarray(), model.similarity.toarray())
    empty = ItemItemRecommender(K=7)
    assert vars(again(empty)) == vars(empty)


NO_NEIGHBOURS = [
    ({"a": 1}, "holds no `K`"),
    ({"K": 3, "data": np.ones(2)}, "is damaged"),
    (NEIGHBOURS | {"shape": (2, 3)}, "is damaged"),
    (NEIGHBOURS | {"indices": np.array([0, 7])}, "is damaged"),
    (NEIGHBOURS | {"indptr": np.array([0, 5, 2])}, "is damaged"),
    (NEIGHBOURS | {"data": np.array([1, np.nan])}, "is damaged"),
    (NEIGHBOURS | {"shape": 2}, "is damaged"),
    (NEIGHBOURS | {"K": np.ones(2)}, "`K` is an array"),
]


@pytest.mark.parametrize(("arrays", "message"), NO_NEIGHBOURS)
def test_files_without_neighbours(arrays, message):
    assert ItemItemRecommender.load(file_of(**NEIGHBOURS)).similarity.shape == (2, 2)
    with pytest.raises(DataError, match=message):
        ItemItemRecommender.load(file_of(**arrays))
