import importlib
import pickle
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

import jaxals
from jaxals.errors import ConfigurationError, DataError, JaxalsError, MissingDependencyError
from jaxals.evaluation import evaluate, user_holdout
from jaxals.objective import default_objective
from jaxals.sklearn import ALSRecommender, UnfittedEstimatorError

DATA = jaxals.datasets.synthetic(n_users=60, n_items=30, n_interactions=600, n_groups=2, seed=0)
X = DATA.to_scipy()
MODEL = ALSRecommender("hkv", alpha=2.0, regularization=0.5, factors=3, sweeps=3, random_state=1)
FITTED = clone(MODEL).fit(X)
# Those that refuse, or fit no more than one small matrix: each shape compiles programs of its own.
QUICK = (
    *("check_estimator_cloneable", "check_estimator_repr", "check_no_attributes_set_in_init", "check_do_not_raise"),
    *("check_parameters_default_constructible", "check_estimator_tags_renamed", "check_mixin_order"),
    *("check_estimators_empty_data_messages", "check_fit1d", "check_complex_data", "check_valid_tag_types"),
    *("check_estimators_unfitted", "check_set_params"),
)


def test_it_learns_what_fit_does_and_says_what_a_recommender_says():
    run = jaxals.fit(DATA, jaxals.Objective.hkv(2.0, 0.5), jaxals.ALS(factors=3, sweeps=3), seed=1, progress=False)
    np.testing.assert_array_equal(FITTED.components_.T, run.factors.item)
    assert FITTED.history_["loss"].tolist() == run.history["loss"].tolist()
    recommender = jaxals.Recommender.from_run(run, DATA).settled()
    np.testing.assert_allclose(FITTED.transform(X), recommender.factors.user, rtol=2e-5, atol=2e-6)
    items, scores = FITTED.recommend(X[:7], n=4)
    wanted, wanted_scores = recommender.top_items(np.arange(7), n=4)
    np.testing.assert_array_equal(items, wanted)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5)


def test_rows_are_solved_exactly_whoever_they_are():
    new = scipy.sparse.csr_array(np.where(np.arange(30) % 7 == 0, 3.0, 0.0)[None])
    item = FITTED.components_.T.astype(np.float64)
    weight = 2.0 * new.toarray()[0]
    matrix = item.T @ item + (item.T * weight) @ item + 0.5 * np.eye(3)
    row = np.linalg.solve(matrix, item.T @ ((1 + weight) * (weight > 0)))
    np.testing.assert_allclose(FITTED.transform(new)[0], row, rtol=1e-5)


def test_a_row_without_entries_is_zero_and_gets_no_items():
    empty = np.zeros((2, 30))
    np.testing.assert_array_equal(FITTED.transform(empty), np.zeros((2, 3)))
    items, scores = FITTED.recommend(empty, n=2)
    assert items.tolist() == [[-1, -1]] * 2
    assert np.isneginf(scores).all()
    assert (FITTED.recommend(X[:1].toarray(), n=30, exclude_seen=False)[0] >= 0).all()


def test_score_folds_rows_in_from_most_of_their_items_and_finds_the_rest():
    # All users but one are held out by `user_holdout`, with the same draws where their numbers are the same.
    split = user_holdout(DATA, fraction=0.5, given=0.8, seed=3)
    rows = np.unique(split.given.user)
    whole = (split.given.to_scipy() + split.test.to_scipy())[rows]
    score = clone(MODEL).set_params(metric="recall@5", random_state=3).fit(X).score(whole)
    assert 0.2 < score < 0.9
    recommender = jaxals.Recommender(jaxals.Factors(*_tables()), DATA, FITTED.objective_)
    folded = recommender.fold_in(split.given)
    measured = evaluate(folded.factors, split.given, split.test, ["recall@5"])["recall@5"]
    assert score == pytest.approx(measured, abs=0.1)  # other items are hidden
    assert FITTED.score(X) == FITTED.score(X)


def _tables() -> Any:
    return jnp.asarray(FITTED.transform(X)), jnp.asarray(FITTED.components_.T)


def test_settings_are_searched_and_copied():
    assert clone(MODEL).get_params() == MODEL.get_params()
    one_fold = [(np.arange(40), np.arange(40, 60))]  # each fold is another shape, and compiles
    search = GridSearchCV(MODEL, {"alpha": [2.0], "regularization": [0.5, 1e6]}, cv=one_fold).fit(X)
    assert search.best_params_ == {"alpha": 2.0, "regularization": 0.5}
    assert search.transform(X).shape == (60, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    objective = jaxals.Objective.hkv(2.0, 0.5)
    by_object = clone(ALSRecommender(objective, factors=3, sweeps=3, random_state=1)).fit(X)
    np.testing.assert_array_equal(by_object.components_, FITTED.components_)


def test_it_stands_in_a_pipeline_and_names_what_comes_out():
    pipeline = make_pipeline(FunctionTransformer(np.log1p), clone(MODEL).set_output(transform="pandas"))
    frame = pipeline.fit_transform(X)
    assert list(frame.columns) == ["alsrecommender0", "alsrecommender1", "alsrecommender2"]
    assert not np.allclose(frame.to_numpy(), FITTED.transform(X))
    again = pickle.loads(pickle.dumps(FITTED))
    np.testing.assert_array_equal(again.recommend(X)[0], FITTED.recommend(X)[0])


def test_names_of_items_are_kept_of_frames_of_either_library():
    polars = pytest.importorskip("polars")
    dense = X.toarray()
    names = [f"item {place}" for place in range(30)]
    model = clone(MODEL).fit(polars.DataFrame(dict(zip(names, dense.T, strict=True))))
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(model.components_, FITTED.components_)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "als"}, '`objective` must be "hkv", "implicit", "log", "ials" or "spark"; got \'als\''),
        ({"epsilon": 2.0}, r"`epsilon` must be None, for `Objective.hkv` has alpha, regularization alone; got 2.0"),
        ({"objective": jaxals.Objective.hkv()}, "`alpha` must be None beside an `Objective`; got 2.0"),
        ({"random_state": "x"}, "`random_state` must be an integer, a `numpy.random.RandomState` or None; got 'x'"),
        ({"random_state": -1}, "`random_state` must be an integer >= 0; got -1"),
        ({"factors": 0}, "`factors` must be an integer >= 1; got 0"),
    ],
)
def test_wrong_settings_are_named_when_it_is_fitted(settings, message):
    model = clone(MODEL).set_params(**settings)
    with pytest.raises(ConfigurationError, match=message):
        model.fit(X)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (DATA, "`X` must be a matrix of users x items; of `Interactions` pass `X.to_scipy\\(\\)`"),
        (np.ones(3), r"`X` must be 2-D, users x items; got float64\[3\]; Reshape your data, .*\.$"),
        (np.ones((2, 4)), "`X` cannot be used: X has 4 features, but ALSRecommender is expecting 30 features as input"),
        (np.full((1, 30), np.nan), "`X` cannot be used: Input X contains NaN"),
        ("users", "`X` "),
        (None, "`X` "),
    ],
)
def test_what_is_no_matrix_is_refused_in_one_sentence(given, message):
    for ask in (FITTED.transform, FITTED.recommend, FITTED.score):
        with pytest.raises(DataError, match=message) as caught:
            ask(given)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_learnt_or_measured_is_refused():
    with pytest.raises(DataError, match="`X` must have entries to train on; all of it is zero"):
        clone(MODEL).fit(np.zeros((2, 2)))
    with pytest.raises(DataError, match="No row of `X` has two or more entries above zero"):
        FITTED.score(np.eye(2, 30))
    for ask in (MODEL.transform, MODEL.recommend, MODEL.score):
        with pytest.raises(UnfittedEstimatorError, match="call `fit` first"):
            ask(X)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "jaxals.sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[sklearn\]'"):
        importlib.import_module("jaxals.sklearn")


def _checks() -> dict[str, Any]:
    model = ALSRecommender(factors=2, sweeps=1)
    return {check.func.__name__: (one, check) for one, check in estimator_checks_generator(model)}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.startswith(QUICK) else pytest.mark.slow) for name in _checks()],
)
@pytest.mark.filterwarnings("ignore")
def test_checks_of_estimators_pass(name):
    model, check = _checks()[name]
    try:
        check(model)
    except JaxalsError as error:
        pytest.fail(f"{name}: {error}")


def test_without_an_objective_numbers_suit_the_data():
    by_default = ALSRecommender(factors=3, sweeps=1).fit(X).objective_
    assert jax.tree.leaves(by_default) == jax.tree.leaves(default_objective(DATA))
    given = ALSRecommender(regularization=0.5, factors=3, sweeps=1).fit(X).objective_
    assert (given.unobserved_weight, given.regularization) == (by_default.unobserved_weight, 0.5)


def test_interactions_are_refused_with_the_way_to_pass_them():
    with pytest.raises(DataError, match=r"of `Interactions` pass `X.to_scipy\(\)`"):
        clone(MODEL).fit(DATA)
