import io
import pickle

import jax
import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.errors import ConfigurationError, DataError, NotFittedError
from jaxals.implicit_api import AlternatingLeastSquares, ModelFitError, ParameterWarning
from jaxals.implicit_api._inputs import tiles_of
from jaxals.implicit_api._ranking import rank

LOWEST = np.finfo(np.float32).min


def random_matrix(n_users: int = 30, n_items: int = 20, seed: int = 0, dislikes: bool = False) -> sp.csr_matrix:
    # The same cells with dislikes or without: one shape, compiled once.
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 5, (n_users, n_items)) * (rng.random((n_users, n_items)) < 0.3)
    return sp.csr_matrix(values * np.where(dislikes & (rng.random(values.shape) < 0.2), -1.0, 1.0))


def checker_board(n: int) -> sp.csr_matrix:
    """Even users like even items and odd ones odd ones, but nobody the item of their own number."""
    alike = np.subtract.outer(np.arange(n), np.arange(n)) % 2 == 0
    return sp.csr_matrix(alike * 1.0 - np.eye(n))


@pytest.fixture(scope="module")
def matrix() -> sp.csr_matrix:
    return random_matrix()


@pytest.fixture(scope="module")
def model(matrix) -> AlternatingLeastSquares:
    return fitted(matrix)


def fitted(matrix, **settings) -> AlternatingLeastSquares:
    model = AlternatingLeastSquares(**({"factors": 6, "alpha": 1.5, "iterations": 3, "random_state": 7} | settings))
    model.fit(matrix, show_progress=False)
    return model


def assert_ranked_alike(ours, theirs):
    for mine, yours in zip(ours, theirs, strict=True):
        assert (mine.shape, mine.dtype) == (yours.shape, yours.dtype)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4, atol=1e-5)  # float32, recalculated ones solved twice


# What implicit's own tests ask of a model


@pytest.fixture(scope="module")
def board_model() -> AlternatingLeastSquares:
    model = AlternatingLeastSquares(factors=32, regularization=0, random_state=23)
    model.fit(checker_board(50), show_progress=False)
    return model


def test_the_withheld_item_comes_first(board_model):
    likes, users = checker_board(50), np.arange(50)
    ids, scores = board_model.recommend(users, likes, N=1)
    np.testing.assert_array_equal(ids[:, 0], users)
    again, recalculated = board_model.recommend(users, likes, N=1, recalculate_user=True)
    np.testing.assert_array_equal(again, ids)
    np.testing.assert_allclose(recalculated, scores, atol=1e-3)
    assert 0 not in board_model.recommend([2, 3], likes[[2, 3]], N=1, filter_items=[0])[0]


@pytest.mark.parametrize("filtered", [True, False])
def test_a_batch_answers_as_single_calls(board_model, filtered):
    likes, users = checker_board(50), np.arange(50)
    ids, scores = board_model.recommend(users, likes, N=5, filter_already_liked_items=filtered)
    for user in users:
        single = board_model.recommend(user, likes[int(user)], N=5, filter_already_liked_items=filtered)
        np.testing.assert_array_equal(single[0], ids[user])
        np.testing.assert_array_equal(single[1], scores[user])


def test_scores_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    table, queries = rng.normal(size=(50, 64)).astype(np.float32), rng.normal(size=(7, 64)).astype(np.float32)
    _, scores = rank(table, queries, 50)
    for query, together in zip(queries, scores, strict=True):
        np.testing.assert_array_equal(rank(table, query[None], 50)[1][0], together)


def test_alike_rows_are_found():
    model, rows = fitted(checker_board(256), factors=32, regularization=0, alpha=1.0, random_state=23), np.arange(50)
    for find in (model.similar_items, model.similar_users):
        ids, scores = find(rows, N=10)
        np.testing.assert_array_equal(ids[:, 0], rows)
        np.testing.assert_allclose(scores[:, 0], 1, atol=1e-4)
        assert (ids % 2 == rows[:, None] % 2).all()


def test_rows_without_entries_are_like_nothing():
    likes = checker_board(50).toarray()
    likes[[42, 49]] = 0
    likes[:, [42, 49]] = 0
    model = fitted(sp.csr_matrix(likes), factors=8)
    assert not model.user_factors[[42, 49]].any()
    ids, scores = model.similar_items(np.arange(40), 10)
    assert 42 not in ids
    assert np.isfinite(scores).all()


def test_the_model_grows(board_model):
    likes = checker_board(50)
    model = AlternatingLeastSquares(factors=2, regularization=0, random_state=23)
    model.fit(likes, show_progress=False)
    model.partial_fit_users([0], likes[1])
    assert model.recommend(0, likes[1])[0][0] == 1
    model.partial_fit_users([100], likes[1])
    assert model.user_factors.shape == (101, 2)
    assert not model.user_factors[50:100].any()
    assert model.recommend(100, likes[1])[0][0] == 1
    with pytest.warns(ParameterWarning, match="one for each item of the model, where its 101 users are expected"):
        model.partial_fit_items([100], likes[1])
    assert set(model.recommend(1, likes[1], N=2)[0]) == {1, 100}
    model.partial_fit_items([101], likes[1])
    assert set(model.recommend(100, likes[1], N=3)[0]) == {1, 100, 101}


@pytest.mark.parametrize("use_cg", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_rank_without_a_ridge_reconstructs(use_cg, dtype):
    rows = ["110100", "011100", "101000", "110000", "001101", "010001", "000011"]
    likes = np.array([[float(cell) for cell in row] for row in rows])
    settings = {"factors": 6, "regularization": 0, "alpha": 1.0, "iterations": 15, "random_state": 42}
    model = fitted(sp.csr_matrix(likes * 2), use_cg=use_cg, dtype=dtype, **settings)
    np.testing.assert_allclose(model.user_factors @ model.item_factors.T, likes, atol=1e-4)


def test_more_factors_than_rows():
    model = fitted(sp.csr_matrix(np.eye(10)), factors=15, alpha=1.0)
    ids, scores = model.recommend(0, sp.csr_matrix(np.eye(10))[0], filter_already_liked_items=False)
    assert ids[0] == 0
    assert np.isfinite(scores).all()


def test_the_loss_is_that_of_implicit_per_unit_of_confidence():
    matrix, losses = random_matrix(dislikes=True), []
    model = AlternatingLeastSquares(factors=6, alpha=1.5, iterations=2, random_state=7, calculate_training_loss=True)
    model.fit(matrix, show_progress=False, callback=lambda *seen: losses.append(seen[2]))
    c = 1.5 * matrix.toarray()
    weight, target = np.where(c == 0, 1, np.abs(c)), (c > 0) * 1.0
    x, y = model.user_factors.astype(float), model.item_factors.astype(float)
    squares = (weight * (target - x @ y.T) ** 2).sum() + model.regularization * ((x**2).sum() + (y**2).sum())
    assert losses[1] == pytest.approx((squares + np.abs(c[c < 0]).sum()) / weight.sum(), rel=1e-5)
    assert losses[1] < losses[0]


def test_no_iterations_with_a_loss():
    model = AlternatingLeastSquares(factors=128, iterations=0, calculate_training_loss=True)
    model.fit(sp.csr_matrix(np.ones((10, 10))), show_progress=False)
    assert model.user_factors.shape == (10, 128)


def test_models_can_be_pickled(model, matrix):
    assert_ranked_alike(pickle.loads(pickle.dumps(model)).recommend(0, matrix[0]), model.recommend(0, matrix[0]))


# The rest of the contract


def test_padding_and_filtered_items(model, matrix):
    ids, scores = model.recommend(0, matrix[0], N=25)
    n_liked = matrix[0].nnz
    assert (scores[20 - n_liked : 20] == LOWEST).all()
    assert set(ids[20 - n_liked : 20]) == set(matrix[0].indices)
    assert (ids[20:] == -1).all()
    assert (scores[20:] == LOWEST).all()
    assert [a.shape for a in model.recommend([0, 1], matrix[:2], N=0)] == [(2, 0), (2, 0)]
    assert [a.shape for a in model.recommend([], matrix[:0])] == [(0, 10), (0, 10)]


ERRORS = [
    (lambda m, x: m.recommend(0, x), ValueError, "must contain 1 row for every user"),
    (lambda m, x: m.recommend(0, x[0].tocoo()), ValueError, "needs to be a CSR"),
    (lambda m, x: m.recommend(0, None), ValueError, "needs to be a CSR"),
    (lambda m, x: m.recommend(99, x[0]), IndexError, "out of bounds"),
    (lambda m, x: m.recommend(0, x[0], N=-1), ValueError, "`N` must be an integer >= 0"),
    (lambda m, x: m.recommend(0, x[0], filter_items=[99]), IndexError, "out of bounds"),
    (lambda m, x: m.recommend(0, x[0], items=[1, 99]), IndexError, "out of bounds"),
    (lambda m, x: m.recommend(0, x[0], items=[1, -1]), IndexError, "Some itemids"),
    (lambda m, x: m.recommend(0, x[0], items=[1], filter_items=[2]), ValueError, "Can't set both items"),
    (
        lambda m, x: m.recommend(0, sp.csr_matrix(np.ones((1, 30)))),
        IndexError,
        "30 columns, but the model only 20 items",
    ),
    (lambda m, x: m.similar_items(0, items=[1], filter_items=[2]), ValueError, "Can't set both items"),
    (lambda m, x: m.similar_users(0, users=[1], filter_users=[2]), ValueError, "Can't set both users"),
    (lambda m, x: m.similar_items(0, items=[-1]), IndexError, "Some itemids"),
    (lambda m, x: m.similar_users(0, users=[-1]), IndexError, "Some userids"),
    (lambda m, x: m.similar_users(99), IndexError, "out of bounds"),
    (lambda m, x: m.recalculate_user(0, x[:2]), ValueError, "1 row for every user in userids; got 2 for 1"),
    (lambda m, x: m.recalculate_user(0, sp.csr_matrix(np.ones((1, 30)))), DataError, "30 columns"),
    (
        lambda m, x: m.recalculate_item([0, 1], x.T.tocsr()[:1]),
        DataError,
        "1 row for every item in itemids; got 1 for 2",
    ),
    (lambda m, x: m.partial_fit_users([0], x[:2]), ValueError, "1 row for every user in userids"),
    (lambda m, x: m.partial_fit_items([0], x.T.tocsr()[:2]), ValueError, "1 row for every item in itemids"),
    (lambda m, x: m.explain(99, x, 1), IndexError, "99 is out of bounds for its 30 users"),
    (lambda m, x: m.explain(0, x, 99), IndexError, "out of bounds"),
    (lambda m, x: fitted(x, regularization=-1.0), ConfigurationError, "`regularization` must be >= 0"),
    (lambda m, x: fitted(x, factors=0), ConfigurationError, "`factors` must be an integer >= 1"),
    (lambda m, x: fitted(x, dtype=np.float16), ConfigurationError, "`dtype` must be float32 or float64"),
    (lambda m, x: m.fit(x[:5], show_progress=False), DataError, "(30, 20)"),
    (lambda m, x: AlternatingLeastSquares(use_gpu=True), ValueError, "does not have"),
    (lambda m, x: AlternatingLeastSquares().similar_items(0), NotFittedError, "call `fit`"),
    (lambda m, x: AlternatingLeastSquares().recommend(0, x[0]), TypeError, "call `fit`"),
    (
        lambda m, x: fitted(x, factors=40, regularization=0, use_cg=False),
        ModelFitError,
        "increasing the regularization",
    ),
    (lambda m, x: fitted(x, factors=40, regularization=0, use_cg=False), ValueError, "increasing the regularization"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(model, matrix, call, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        call(model, matrix)


def test_other_formats_are_converted_with_a_warning(matrix):
    expected = fitted(matrix)
    for other in (matrix.tocoo(), matrix.tocsc(), matrix.toarray()):
        with pytest.warns(ParameterWarning, match=f"was passed {type(other).__name__} instead"):
            model = fitted(other)
        np.testing.assert_array_equal(model.user_factors, expected.user_factors)
    for same in (matrix.astype(np.int64), matrix.astype(np.float32), sp.csr_array(matrix)):
        np.testing.assert_array_equal(fitted(same).user_factors, expected.user_factors)


def test_input_is_left_as_it_was(model, matrix):
    likes = matrix.copy()
    likes.indices[:2] = likes.indices[:2][::-1].copy()
    likes.has_sorted_indices = False
    before = [a.copy() for a in (likes.data, likes.indices)]
    fitted(likes)
    model.recommend(0, likes[0], items=[1, 2])
    model.recalculate_user(np.arange(30), likes)
    np.testing.assert_array_equal(likes.data, before[0])
    np.testing.assert_array_equal(likes.indices, before[1])


def test_no_entries_at_all():
    for use_cg in (True, False):
        model = fitted(sp.csr_matrix((4, 5)), use_cg=use_cg)
        assert not model.user_factors.any()
        assert not model.item_factors.any()
    model.regularization = 0  # now every system is singular, but rows without entries need none
    assert not model.recalculate_user([0, 1], sp.csr_matrix((2, 5))).any()


def test_fit_goes_on_from_the_factors_there_are(matrix):
    whole, parts = fitted(matrix, iterations=4), fitted(matrix, iterations=2)
    parts.fit(matrix, show_progress=False)
    np.testing.assert_allclose(parts.user_factors, whole.user_factors, rtol=1e-4, atol=1e-5)


def test_random_states(matrix):
    state = lambda seed: fitted(matrix, random_state=np.random.RandomState(seed), iterations=0).user_factors
    np.testing.assert_array_equal(state(1), state(1))
    assert (state(1) != state(2)).any()
    assert (fitted(matrix, random_state=None, iterations=0).user_factors != state(1)).any()
    assert state(1).min() >= 0
    assert state(1).max() < 0.01


def test_callbacks_see_the_factors_and_may_stop(matrix):
    model, seen = AlternatingLeastSquares(factors=4, random_state=0), []

    class Enough(Exception):
        pass

    def callback(iteration, seconds, loss):
        seen.append((iteration, loss, model.user_factors.copy()))
        assert seconds > 0
        if iteration == 1:
            raise Enough

    model.fit_callback = callback
    with pytest.raises(Enough):
        model.fit(matrix, show_progress=False)
    assert [(number, loss) for number, loss, _ in seen] == [(0, None), (1, None)]
    assert (seen[0][2] != seen[1][2]).any()
    np.testing.assert_array_equal(model.user_factors, seen[1][2])


def test_jax_is_left_as_it_was(matrix):
    with jax.enable_x64(False):
        model = fitted(matrix, dtype=np.float64)
        assert model.user_factors.dtype == model.recommend(0, matrix[0])[1].dtype == np.float64
        assert jax.numpy.ones(()).dtype == np.float32
        dtypes = []
        fitted(matrix, dtype=np.float64, iterations=1, random_state=0).fit(
            matrix, False, lambda *_: dtypes.append(jax.numpy.ones(()).dtype)
        )
        assert dtypes == [np.float32]


def test_factors_changed_in_place_count_at_once(matrix):
    model = fitted(matrix)
    model.similar_items(3), model.recommend(0, matrix[0]), model.YtY
    model.item_factors[3] = 0
    assert model.similar_items(3, N=5)[1].max() == 0
    assert model.item_norms[3] == np.float32(1e-10)
    np.testing.assert_allclose(model.YtY, model.item_factors.T @ model.item_factors, rtol=1e-4, atol=1e-5)


def test_fold_in_as_one_tile_a_row_or_laid_out(monkeypatch, matrix, model):
    rows = sp.vstack([matrix, sp.csr_matrix((1, 20))]).tocsr()
    few = model.recalculate_user(np.arange(31), rows)
    assert tiles_of(rows.astype(np.float32), 20, 6, np.float32).n_rows == 32
    monkeypatch.setattr("jaxals.implicit_api._inputs._ROWS_AS_TILES", 1)
    assert tiles_of(rows.astype(np.float32), 20, 6, np.float32).n_rows == 31
    np.testing.assert_allclose(model.recalculate_user(np.arange(31), rows), few, rtol=1e-3, atol=1e-5)
    assert not few[30].any()


def test_files_hold_no_pickles(model, tmp_path):
    odd = fitted(random_matrix(), random_state=np.random.default_rng(0))
    file = io.BytesIO()
    odd.save(file)
    file.seek(0)
    loaded = AlternatingLeastSquares.load(file)
    assert loaded.random_state is None
    np.testing.assert_array_equal(loaded.user_factors, odd.user_factors)
    AlternatingLeastSquares(factors=3).save(str(tmp_path / "empty"))
    assert AlternatingLeastSquares.load(str(tmp_path / "empty")).user_factors is None


def test_deprecated_names_still_answer(model, matrix):
    with pytest.warns(DeprecationWarning, match="rank_items is deprecated"):
        ids, _ = model.rank_items(0, matrix[0], [4, 2, 9])
    assert set(ids) == {2, 4, 9}
    with pytest.warns(DeprecationWarning, match="recommend_all is deprecated"):
        everyone = model.recommend_all(matrix, N=2)
    np.testing.assert_array_equal(everyone, model.recommend(np.arange(30), matrix, N=2)[0])
    with pytest.warns(DeprecationWarning, match="recommend_all is deprecated"):
        np.testing.assert_array_equal(model.recommend_all(matrix[5:], N=2, users_items_offset=5), everyone[5:])


def test_copies_on_a_device(model, matrix):
    copy = model.to_cpu()
    assert copy.use_gpu is False
    copy.item_factors[:] = 0
    assert model.item_factors.any()
    assert_ranked_alike(model.to_cpu().recommend(0, matrix[0]), model.recommend(0, matrix[0]))
    with pytest.raises(ConfigurationError):
        model.to_gpu()
