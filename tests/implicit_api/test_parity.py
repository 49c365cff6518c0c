import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from jaxals.implicit_api import AlternatingLeastSquares, _solving
from jaxals.implicit_api._ranking import rank
from tests.implicit_api.test_model import assert_ranked_alike, checker_board, fitted, random_matrix


@pytest.fixture(scope="module")
def implicit_model():
    pytest.importorskip("implicit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads of BLAS
        from implicit.cpu.als import AlternatingLeastSquares as theirs

        theirs()
    return theirs


@pytest.fixture(scope="module")
def matrix() -> sp.csr_matrix:
    return random_matrix()


@pytest.fixture(scope="module")
def model(matrix) -> AlternatingLeastSquares:
    return fitted(matrix)


def twin(theirs, ours: AlternatingLeastSquares):
    """Implicit's model with the factors of ours."""
    model = theirs(factors=ours.factors, alpha=ours.alpha, regularization=ours.regularization, dtype=ours.dtype)
    model.user_factors, model.item_factors = ours.user_factors.copy(), ours.item_factors.copy()
    return model


def test_arguments_are_those_of_implicit(implicit_model):
    import implicit.als

    def arguments(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    ours, theirs = arguments(AlternatingLeastSquares), arguments(implicit.als.AlternatingLeastSquares)
    at = [name for name, _ in ours].index("use_gpu")  # its default is what suits the build, there as here
    assert ours.pop(at)[0] == theirs.pop(at)[0]
    assert ours == theirs
    public = [name for name, _ in inspect.getmembers(implicit_model, inspect.isfunction) if not name.startswith("_")]
    assert len(public) > 10
    for name in public:
        assert arguments(getattr(AlternatingLeastSquares, name)) == arguments(getattr(implicit_model, name)), name


@pytest.mark.parametrize(("dtype", "small"), [(np.float32, True), (np.float32, False), (np.float64, True)])
@pytest.mark.parametrize(("alpha", "dislikes"), [(1.0, False), (2.5, True), (0.3, False)])
@pytest.mark.parametrize("use_cg", [True, False])
def test_factors_and_loss_are_those_of_implicit(implicit_model, monkeypatch, dtype, alpha, dislikes, small, use_cg):
    monkeypatch.setattr(_solving, "_SMALL", 2**14 if small else 0)
    matrix = random_matrix(dislikes=dislikes)
    matrix.data[::7] = 0  # explicit zeros mean something here
    settings = {"factors": 6, "alpha": alpha, "regularization": 0.05, "dtype": dtype, "use_cg": use_cg}
    settings |= {"iterations": 4, "random_state": 3, "calculate_training_loss": True}
    ours, theirs = AlternatingLeastSquares(**settings), implicit_model(**settings)
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}
    ours.fit(matrix, show_progress=False, callback=lambda number, seconds, loss: losses["ours"].append(loss))
    theirs.fit(matrix, show_progress=False, callback=lambda number, seconds, loss: losses["theirs"].append(loss))

    # implicit takes values and loss in float32 whatever the dtype; a float32 system of condition 1e3 costs 1e-4, and
    # three steps of conjugate gradient do not converge, so that roundings grow from sweep to sweep.
    tolerance = 1e-6 if dtype == np.float64 else 1e-2 if use_cg else 1e-3
    for side in ("user_factors", "item_factors"):
        mine, yours = getattr(ours, side), getattr(theirs, side)
        assert mine.dtype == yours.dtype == dtype
        assert mine.flags.writeable
        np.testing.assert_allclose(mine, yours, rtol=tolerance, atol=tolerance * np.abs(yours).max())
    np.testing.assert_allclose(losses["ours"], losses["theirs"], rtol=1e-3 if use_cg else 1e-4)
    assert len(losses["ours"]) == 4
    np.testing.assert_allclose(ours.YtY, theirs.YtY, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.XtX, theirs.XtX, rtol=tolerance, atol=tolerance)
    assert ours.YtY.dtype == theirs.YtY.dtype


@pytest.mark.parametrize(
    "random_state", [11, np.int64(5), lambda: np.random.default_rng(5)], ids=["int", "int64", "rng"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_factors_are_those_of_implicit(implicit_model, matrix, random_state, dtype):
    seed = random_state if callable(random_state) else lambda: random_state
    ours = fitted(matrix, iterations=0, random_state=seed(), dtype=dtype)
    theirs = implicit_model(factors=6, iterations=0, random_state=seed(), dtype=dtype)
    theirs.fit(matrix, show_progress=False)
    np.testing.assert_array_equal(ours.user_factors, theirs.user_factors)
    np.testing.assert_array_equal(ours.item_factors, theirs.item_factors)


RECOMMENDATIONS = [
    {},
    {"N": 3},
    {"N": 20},
    {"N": 20, "filter_items": [1, 2]},
    {"N": 20, "filter_items": np.array([3, 19])},
    {"N": 3, "filter_items": np.arange(20) % 3 == 0},
    {"N": 3, "filter_items": []},
    {"filter_already_liked_items": False},
    {"items": [9, 3, 4, 17, 0]},
    {"items": [5, 1, 1, 8], "filter_already_liked_items": False},
    {"items": np.arange(12, dtype=np.int32), "N": 3},
    {"recalculate_user": True},
    {"recalculate_user": True, "items": [2, 3, 5], "N": 3},
]


@pytest.mark.parametrize("arguments", RECOMMENDATIONS, ids=str)
@pytest.mark.parametrize("users", [4, np.int64(29), [3, 3, 17]], ids=str)
def test_recommendations_are_those_of_implicit(implicit_model, model, matrix, users, arguments):
    rows = matrix[users]
    rows.data[:2] = 0  # an explicit zero is filtered too, except from a list of `items`
    # A copy: given `items`, implicit writes zeros into its input.
    theirs = twin(implicit_model, model).recommend(users, rows.copy(), **arguments)
    assert_ranked_alike(model.recommend(users, rows, **arguments), theirs)


def test_more_users_than_a_batch_holds(implicit_model):
    matrix = random_matrix(n_users=300)
    model = fitted(matrix)
    users = np.arange(300)
    theirs = twin(implicit_model, model).recommend(users, matrix, N=20, filter_items=[3])
    assert_ranked_alike(model.recommend(users, matrix, N=20, filter_items=[3]), theirs)


@pytest.mark.parametrize("side", ["item", "user"])
@pytest.mark.parametrize("ids", [4, [3, 3, 17]], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"N": 20}, {"filter": [1, 2], "N": 20}, {"only": [7, 1, 3], "N": 3}])
def test_similar_rows_are_those_of_implicit(implicit_model, model, side, ids, arguments):
    names = {"filter": f"filter_{side}s", "only": f"{side}s", "N": "N"}
    arguments = {names[key]: value for key, value in arguments.items()}
    with np.errstate(over="ignore"):
        theirs = getattr(twin(implicit_model, model), f"similar_{side}s")(ids, **arguments)
    assert_ranked_alike(getattr(model, f"similar_{side}s")(ids, **arguments), theirs)


@pytest.mark.parametrize("ids", [4, [0, 6, 19]], ids=str)
def test_recalculated_rows_are_those_of_implicit(implicit_model, model, matrix, ids):
    theirs, item_users = twin(implicit_model, model), matrix.T.tocsr()[ids]
    for ours, expected in (
        (model.recalculate_user(ids, matrix[ids]), theirs.recalculate_user(ids, matrix[ids])),
        (model.recalculate_item(ids, item_users), theirs.recalculate_item(ids, item_users)),
    ):
        assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)
    arguments = {"N": 5, "recalculate_item": True, "item_users": item_users}
    assert_ranked_alike(model.similar_items(ids, **arguments), theirs.similar_items(ids, **arguments))


def test_ties_fall_as_in_implicit(implicit_model):
    rng = np.random.default_rng(0)
    # Small integers: products are exact, and most scores are tied.
    table, queries = rng.integers(-1, 2, (60, 3)).astype(np.float32), rng.integers(-1, 2, (40, 3)).astype(np.float32)
    theirs = implicit_model(factors=3)
    theirs.user_factors, theirs.item_factors = queries, table
    for n in (1, 7, 41, 60):
        hidden = rng.choice(60, 20, replace=False)
        expected = theirs.recommend(np.arange(40), None, n, filter_already_liked_items=False, filter_items=hidden)
        assert_ranked_alike(rank(table, queries, n, filtered=hidden), expected)


def test_explanations_are_those_of_implicit(implicit_model):
    matrix = random_matrix(dislikes=True)
    model = fitted(matrix)
    theirs = twin(implicit_model, model)
    for n in (10, 2, 0):
        total, largest, weights = model.explain(5, matrix, 3, N=n)
        expected_total, expected_largest, expected_weights = theirs.explain(5, matrix, 3, N=n)
        assert total == pytest.approx(expected_total, rel=1e-4)
        assert [item for item, _ in largest] == [item for item, _ in expected_largest]
        assert [part for _, part in largest] == pytest.approx([part for _, part in expected_largest], rel=1e-4)
        again = model.explain(5, matrix, 8, user_weights=expected_weights)
        assert again[0] == pytest.approx(model.explain(5, matrix, 8, user_weights=weights)[0], rel=1e-4)
        assert again[0] == pytest.approx(theirs.explain(5, matrix, 8)[0], rel=1e-4)


def test_models_travel_both_ways(implicit_model, model, matrix, tmp_path):
    model.save(tmp_path / "ours")
    theirs = implicit_model.load(str(tmp_path / "ours"))
    assert (theirs.factors, theirs.alpha, theirs.random_state, theirs.dtype) == (6, 1.5, 7, np.float32)
    theirs.iterations, theirs.use_cg = 4, False
    theirs.save(tmp_path / "theirs.npz")
    back = AlternatingLeastSquares.load(tmp_path / "theirs")
    assert (back.iterations, back.use_cg, back.cg_steps, back.dtype) == (4, False, 3, np.dtype(np.float32))
    np.testing.assert_array_equal(back.item_factors, model.item_factors)
    assert_ranked_alike(back.recommend(0, matrix[0]), theirs.recommend(0, matrix[0]))


def test_evaluation_of_implicit_accepts_the_model(implicit_model):
    from implicit.evaluation import precision_at_k

    model = fitted(checker_board(50), factors=8)
    likes, withheld = checker_board(50), sp.csr_matrix(np.eye(50))
    assert precision_at_k(model, likes, withheld, K=1, show_progress=False) == 1
