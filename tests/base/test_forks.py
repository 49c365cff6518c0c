import os
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxals
from jaxals._base import forks
from jaxals.errors import ConfigurationError
from jaxals.evaluation import evaluate
from jaxals.implicit_api import AlternatingLeastSquares


def test_a_forked_process_is_told_so():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX and of Python, about this very thing
        child = os.fork()
    if child == 0:
        try:
            forks.refuse_forked_process()
        except ConfigurationError as error:
            os._exit(0 if "spawn" in str(error) else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    forks.refuse_forked_process()  # not here


def test_whatever_computes_asks(monkeypatch):
    data = jaxals.datasets.synthetic(n_users=6, n_items=5, n_interactions=12, seed=0)
    factors = jaxals.Factors(jnp.ones((6, 2), np.float32), jnp.ones((5, 2), np.float32))
    recommender = jaxals.Recommender(factors, data, jaxals.Objective.implicit())
    model, late = AlternatingLeastSquares(factors=2), np.arange(len(data)) % 2
    model.user_factors, model.item_factors = np.ones((6, 2)), np.ones((5, 2))
    monkeypatch.setattr(forks, "_forked_after_start", True)
    for compute in (
        lambda: jaxals.fit(data, jaxals.Objective.implicit()),
        lambda: recommender.recommend(0),
        lambda: recommender.similar_items(0),
        lambda: recommender.solve(data),
        lambda: evaluate(factors, data.select(late == 0), data.select(late == 1), ["recall@1"]),
        lambda: model.fit(sp.csr_matrix(np.eye(6, 5)), show_progress=False),
        lambda: model.recommend(0, sp.csr_matrix((1, 5))),
        lambda: model.similar_users(0),
        lambda: model.YtY,
    ):
        with pytest.raises(ConfigurationError, match="was forked after JAX had begun"):
            compute()
