import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxals
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import evaluate, leave_k_out
from jaxals.recommend.ensemble import Ensemble

GENERATOR = np.random.default_rng(0)
MODELS = [
    jaxals.Factors(jnp.asarray(GENERATOR.normal(size=(70, 3))), jnp.asarray(GENERATOR.normal(size=(11, 3))))
    for _ in range(4)
]
SCORES = np.stack([np.asarray(model.user) @ np.asarray(model.item).T for model in MODELS])
USERS = jnp.array([3, 69, 3])


def test_scores_are_the_mean_of_the_models_scores():
    ensemble = Ensemble.of(MODELS)
    np.testing.assert_allclose(ensemble.scores(USERS), SCORES.mean(axis=0)[np.asarray(USERS)], rtol=1e-12)
    np.testing.assert_allclose(ensemble.factors.scores(USERS), ensemble.scores(USERS), rtol=1e-9, atol=1e-12)


def test_variance_is_that_between_the_models():
    ensemble = Ensemble.of(MODELS)
    np.testing.assert_allclose(ensemble.variance(USERS), SCORES.var(axis=0)[np.asarray(USERS)], rtol=1e-12)
    np.testing.assert_allclose(ensemble.user_variance(), SCORES.var(axis=0).mean(axis=1), rtol=1e-12)


def test_one_model_agrees_with_itself():
    ensemble = Ensemble.of(MODELS[:1])
    np.testing.assert_array_equal(ensemble.factors.user, MODELS[0].user)
    np.testing.assert_array_equal(ensemble.user_variance(), np.zeros(70))


def test_an_ensemble_is_evaluated_and_served_like_a_model():
    data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    split = leave_k_out(data, 1, seed=0)
    found = jaxals.hyper.fit_many(
        split.train, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), seed=range(3), progress=False
    )
    ensemble = Ensemble.of([found.run(number).factors for number in found.table.index])
    wide, mean = (evaluate(s, split.train, split.test, ["ndcg@10"]) for s in (ensemble.factors, ensemble))
    assert wide["ndcg@10"] == pytest.approx(mean["ndcg@10"], rel=1e-6)
    top = jaxals.Recommender(ensemble.factors, split.train).recommend(7, n=3)
    scores = np.array(ensemble.scores(jnp.array([7]))[0])
    scores[split.train.item[split.train.user == 7]] = -np.inf
    np.testing.assert_array_equal(top["item"], np.argsort(-scores)[:3])


def test_models_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigurationError, match="at least one model"):
        Ensemble.of([])
    with pytest.raises(ConfigurationError, match=r"one number of factors; got \[2, 3\]"):
        Ensemble.of([MODELS[0], jax.tree.map(lambda table: table[:, :2], MODELS[1])])
    with pytest.raises(DataError, match="for \\(70, 11\\)"):
        Ensemble.of([jaxals.Factors(MODELS[0].user, MODELS[0].item[:5]), MODELS[1]])
