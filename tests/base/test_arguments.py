import collections
import os
import types
from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from jaxals import Catalog, Choice, Interactions, Recommender, make_mesh
from jaxals._base.arguments import require_order
from jaxals.errors import JaxalsError
from jaxals.hyper.grid import expand
from jaxals.objective.objective import Objective
from jaxals.plots import plot_loss
from jaxals.training.trainers import ALS

NAMES: Any = {"ann", "bob", "eve"}
PLAYS = {"user": [*NAMES], "item": [1, 2, 3], "value": [1.0, 2.0, 3.0]}
MATRIX = scipy.sparse.csr_array(np.eye(3))


@pytest.mark.parametrize(
    "give",
    [
        lambda: Interactions.from_frame(PLAYS | {"user": NAMES}),
        lambda: Interactions.from_frame(PLAYS | {"item": frozenset(NAMES)}),
        lambda: Interactions.from_frame(PLAYS | {"value": {1.0, 2.0, 3.0}}),
        lambda: Interactions.from_scipy(MATRIX, users=NAMES),
        lambda: Interactions.from_file("plays.csv", names=NAMES),
        lambda: Catalog(NAMES, [1]),
        lambda: Catalog([1], NAMES),
        lambda: Catalog([*NAMES], [1]).user_indices(NAMES),
        lambda: make_mesh(NAMES),
        lambda: Choice(NAMES),
        lambda: expand(Objective.hkv, ALS(), {"alpha": {1.0, 2.0}}, [0]),
    ],
)
def test_sets_are_refused_where_order_means_something(give, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(JaxalsError, match=r"must have an order, which a (frozen)?set has not; pass a list"):
        give()


def test_views_of_dictionaries_have_an_order():
    for ordered in ({"a": 1}.keys(), {"a": 1}.items(), os.environ.keys(), collections.OrderedDict(a=1).keys()):
        require_order("`names`", ordered)


@pytest.mark.parametrize("ask", [Interactions.from_file, Recommender.load])
def test_addresses_are_no_paths(ask):
    with pytest.raises(JaxalsError, match=r"on this machine; got the address 'https://example\.com"):
        ask("https://example.com/plays.csv")


def test_a_picture_of_a_run_is_one_of_its_history(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    run: Any = types.SimpleNamespace(history=pd.DataFrame({"sweep": [1], "loss": [1.0]}))
    with pytest.raises(JaxalsError, match=r"`history` must be a DataFrame \(of a run, its `history`\); got a Simple"):
        plot_loss(run)
