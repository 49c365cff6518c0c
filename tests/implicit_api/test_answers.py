"""Answers of models whose factors are set by hand: nothing is trained here."""

import types
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api import AlternatingLeastSquares, MissingRowError, ModelFitError, ParameterWarning

N_USERS, N_ITEMS = 30, 20
RNG = np.random.default_rng(0)
LIKES = sp.csr_matrix((RNG.random((N_USERS, N_ITEMS)) < 0.3) * 1.0)


def model() -> AlternatingLeastSquares:
    made, rng = AlternatingLeastSquares(factors=6), np.random.default_rng(1)
    made.user_factors, made.item_factors = (
        rng.normal(size=(rows, 6)).astype(np.float32) for rows in (N_USERS, N_ITEMS)
    )
    return made


def cosines(table: np.ndarray, row: int) -> np.ndarray:
    return table @ table[row] / np.linalg.norm(table, axis=1) / np.linalg.norm(table[row])


@pytest.mark.parametrize("n", [2, 5])
def test_no_more_alike_than_were_chosen_and_nothing_above_a_real_answer(n):
    for find, table, noun in (
        (model().similar_items, model().item_factors, "items"),
        (model().similar_users, model().user_factors, "users"),
    ):
        chosen = np.argsort(cosines(table, 4))[:3]  # all below zero, above which 0 would stand
        only: dict[str, Any] = {noun: chosen}
        ids, scores = find(4, N=n, **only)
        assert (scores < 0).all()
        np.testing.assert_array_equal(ids, chosen[::-1][:n])
        ids, scores = find([4, 5], N=n, **only)
        assert ids.shape == scores.shape == (2, min(n, 3))
    assert model().recommend(0, LIKES[0], items=[], N=3)[0].shape == (0,)


def test_what_fills_up_stands_below_every_answer():
    ids, scores = model().recommend([0, 1], LIKES[:2], N=25, filter_already_liked_items=False)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (ids[:, N_ITEMS:] == -1).all()
    assert scores[:, :N_ITEMS].min() < 0
    assert (ids[:, :N_ITEMS] >= 0).all()


def test_what_each_liked_item_adds_makes_the_score_of_the_user_solved_anew():
    made, row = model(), 3 * LIKES[4]
    row.data[0] = -2.0  # a dislike adds nothing
    row.data[1:3] = 5.0
    table, c = made.item_factors.astype(float), row.toarray()[0]
    matrix = table.T @ table + made.regularization * np.eye(6) + (table.T * (np.abs(c) - 1) * (c != 0)) @ table
    solved = np.linalg.solve(matrix, table.T @ np.maximum(c, 0))
    total, largest, _ = made.explain(0, row, 7, N=3)
    parts = {item: c[item] * table[item] @ np.linalg.solve(matrix, table[7]) for item in np.flatnonzero(c > 0)}
    assert total == pytest.approx(solved @ table[7], rel=1e-5)
    assert [item for item, _ in largest] == sorted(parts, key=lambda item: -parts[item])[:3]
    np.testing.assert_allclose([part for _, part in largest], sorted(parts.values(), reverse=True)[:3], rtol=1e-5)


def test_products_and_lengths_of_both_tables():
    made = model()
    for gram, norms, table in (
        (made.XtX, made.user_norms, made.user_factors),
        (made.YtY, made.item_norms, made.item_factors),
    ):
        np.testing.assert_allclose(gram, table.T @ table, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(norms, np.linalg.norm(table, axis=1), rtol=1e-6)


def test_items_solved_anew_are_compared_with_those_that_are_stored():
    made, rows = model(), LIKES.T.tocsr()[[4, 7]]
    vectors = made.recalculate_item([4, 7], rows)
    cosine = vectors @ made.item_factors.T / np.linalg.norm(vectors, axis=1)[:, None] / made.item_norms
    ids, scores = made.similar_items([4, 7], N=5, recalculate_item=True, item_users=rows)
    np.testing.assert_allclose(scores, -np.sort(-cosine)[:, :5], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ids, np.argsort(-cosine)[:, :5])


def test_a_transposed_row_is_refused_or_warned_of():
    transposed = LIKES.T.tocsr()
    with pytest.raises(MissingRowError, match="30 columns, but the model only 20 items for them; pass"):
        model().recommend(0, transposed[0])
    with pytest.raises(MissingRowError, match="30 columns, but the model only 20 items"):
        model().recalculate_user(0, transposed[0])
    with pytest.raises(MissingRowError, match="30 columns, but the model only 20 items"):
        model().explain(0, transposed, 1)
    with pytest.warns(ParameterWarning, match="`item_users` has 20 columns, one for each item of the model"):
        model().recalculate_item(0, LIKES[0])
    small = model()
    small.user_factors = small.user_factors[:8]
    with pytest.warns(ParameterWarning, match="`user_items` has 8 columns, one for each user"):
        small.recommend(0, LIKES[0, :8])


def test_arrays_masks_and_sets():
    expected = model().recommend([1, 4], LIKES[[1, 4]], items=[2, 5, 9])
    mask, users = np.isin(np.arange(N_ITEMS), [2, 5, 9]), np.isin(np.arange(N_USERS), [1, 4])
    for ids, rows, items in (
        ([1, 4], LIKES[[1, 4]], {2, 5, 9}),
        (users, sp.csr_array(LIKES)[users], mask),
        (range(1, 5, 3), LIKES[[1, 4]].astype(bool), (one for one in (2, 5, 9))),
    ):
        for mine, yours in zip(model().recommend(ids, rows, items=items), expected, strict=True):
            np.testing.assert_array_equal(mine, yours)
    hidden = [model().recommend(0, LIKES[0], filter_items=items, N=20) for items in ([2, 5, 9], {2, 5, 9}, mask)]
    for ids, scores in hidden[1:]:
        np.testing.assert_array_equal(ids, hidden[0][0])
        np.testing.assert_array_equal(scores, hidden[0][1])
    row = sp.csr_array(LIKES)[3]
    if isinstance(row, sp.csr_array):  # of one axis
        np.testing.assert_array_equal(model().recommend(3, row)[0], model().recommend(3, LIKES[3])[0])
    single = model().recommend(np.array(3), LIKES[3], N=4)
    np.testing.assert_array_equal(single[0], model().recommend(3, LIKES[3], N=4)[0])


def with_factors(**tables) -> AlternatingLeastSquares:
    made = model()
    vars(made).update(tables)
    return made


def nan_at(row: int) -> sp.csr_matrix:
    likes = LIKES.copy()
    likes.data[likes.indptr[row]] = np.nan
    return likes


ERRORS = [
    (lambda: model().recommend(-1, LIKES[0]), MissingRowError, "-1 is out of bounds for its 30 users, 0 to 29"),
    (lambda: model().recommend([0, -1], LIKES[:2]), MissingRowError, "`userid` parameter are not in the model"),
    (lambda: model().recommend(0, LIKES[0], filter_items=[-1]), MissingRowError, "`filter_items` parameter"),
    (lambda: model().recommend(0.5, LIKES[0]), DataError, "`userid` must be integer ids; got 0.5"),
    (lambda: model().recommend({0, 1}, LIKES[:2]), DataError, "`userid` must have an order"),
    (lambda: model().recommend(0, LIKES[0].toarray()), DataError, "needs to be a CSR sparse matrix"),
    (lambda: model().recommend(0, LIKES[0], items=np.ones(3, bool)), DataError, "`items` is a mask of shape (3,)"),
    (lambda: model().recommend(0, LIKES[0], N=10**15), ConfigurationError, "ask for a smaller `N`"),
    (lambda: model().partial_fit_users([-1], LIKES[:1]), MissingRowError, "`userids` must be ids >= 0; got -1"),
    (lambda: model().partial_fit_users([1.5], LIKES[:1]), DataError, "`userids` must be integer ids"),
    (lambda: model().partial_fit_users([10**14], LIKES[:1]), ConfigurationError, "A table up to the id"),
    (lambda: model().recalculate_user(0, nan_at(0)[0]), DataError, "`user_items` holds nan in row 0"),
    (lambda: model().explain(3, nan_at(3), 0), DataError, "`user_items` holds nan in row 0"),
    (
        lambda: with_factors(alpha=None).recalculate_user(0, LIKES[0]),
        ConfigurationError,
        "`alpha` must be a number; got None",
    ),
    (lambda: with_factors(alpha=np.nan).explain(0, LIKES, 0), ConfigurationError, "`alpha` must be finite"),
    (lambda: model().explain(0, LIKES, 0, user_weights=np.eye(6)), DataError, "`user_weights` must be the third value"),
    (lambda: model().explain(0, LIKES, 0, N=-1), ConfigurationError, "`N` must be an integer >= 0"),
    (
        lambda: with_factors(item_factors=np.zeros((20, 6), np.float32), regularization=0).explain(0, LIKES, 0),
        ModelFitError,
        "The user's matrix is singular",
    ),
    (lambda: with_factors(item_factors=np.ones((20, 5))).recommend(0, LIKES[0]), DataError, "wide; both must be alike"),
    (
        lambda: with_factors(item_factors=np.ones(20)).similar_items(0),
        DataError,
        "`item_factors` must be an array of rows",
    ),
    (lambda: with_factors(item_factors=[["a"]]).similar_items(0), DataError, "`item_factors` must be an array of rows"),
    (
        lambda: with_factors(item_factors=np.full((20, 6), np.nan, np.float32)).recommend(0, LIKES[0]),
        DataError,
        "factors hold NaN",
    ),
    (
        lambda: with_factors(item_factors=np.full((20, 6), np.nan, np.float32)).fit(LIKES, False),
        DataError,
        "`item_factors` must be finite to go on from",
    ),
    (lambda: with_factors(item_factors=np.ones((20, 5))).fit(LIKES, False), DataError, "6 and 5 wide"),
    (lambda: model().fit(LIKES.T.tocsr(), False), DataError, "pass `.T.tocsr()`, or set"),
    (lambda: model().fit(nan_at(2), False), DataError, "`user_items` holds nan in row 2"),
    (lambda: model().fit(LIKES * np.inf, False), DataError, "which is not finite"),
    (lambda: AlternatingLeastSquares().fit(sp.csr_matrix((0, 5)), False), DataError, "0 users and 5 items"),
    (lambda: AlternatingLeastSquares().fit(sp.csr_matrix((4, 0)), False), DataError, "4 users and 0 items"),
    (lambda: with_factors(iterations=-1).fit(LIKES, False), ConfigurationError, "`iterations` must be an integer >= 0"),
    (lambda: with_factors(cg_steps=0).fit(LIKES, False), ConfigurationError, "`cg_steps` must be an integer >= 1"),
    (
        lambda: with_factors(fit_callback=3).fit(LIKES, False),
        ConfigurationError,
        "`fit_callback` must be None or a function",
    ),
    (lambda: model().fit(types.SimpleNamespace(), False), DataError, "`user_items` must be a sparse matrix"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
