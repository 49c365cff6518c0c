import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import ALS, Factors, Interactions, Objective, Sides, fit
from jaxals.evaluation import Popularity, evaluate, leave_k_out
from jaxals.training.advice import below_popularity, judged, warn_of_far_numbers

# As sparse as real data, and counts with as long a tail; nothing of it is trained on.
RNG = np.random.default_rng(0)
CELLS = RNG.choice(2000 * 3000, 12_000, replace=False)
PLAYS = Interactions.from_arrays(
    CELLS // 3000, CELLS % 3000, np.ceil(RNG.pareto(1.0, len(CELLS)) * 50), shape=(2000, 3000)
)


def said(objective: Objective, data: Interactions = PLAYS) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_far_numbers(data, objective, stacklevel=1)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "objective",
    [
        Objective.ials(0.1, 0.003),
        Objective.ials(0.03, 0.01),
        Objective.log(1.0, 1.0, 30.0),
        Objective.hkv(0.01, 10.0),
        Objective.hkv(0.01, 0.0),  # a ridge of none is meant
        Objective.implicit(0.01, Sides(1.0, np.full(3000, 2.0))),
        Objective.ials(0.1, Sides(np.full(7, 1e9), 0.1)),  # refused later, for its shape
        Objective.ials(0.1, 0.3, -0.5),
    ],
)
def test_nothing_is_said_of_numbers_that_suit(objective):
    assert said(objective) == []


@pytest.mark.parametrize(
    ("objective", "what"),
    [
        (Objective.hkv(40.0, 0.1), r"weighs \S+ times as much as all pairs that were not, its largest .*lower `alpha`"),
        (Objective.hkv(40.0, 1e6), r"weighs \S+ times as much"),
        (Objective.implicit(15.0, 0.1), r"weighs \S+ times as much"),
        (Objective.ials(1e-5, 0.1), r"raise `unobserved_weight`"),
        (Objective.log(1.0, 1.0, 1e-4), r"the ridge is \S+ of what was seen weighs, and holds nothing; raise `regul"),
        (Objective.hkv(0.01, Sides(1e-5, np.full(3000, 1e-5))), r"the ridge is \S+ of what was seen"),
        (Objective.log(1.0, 1.0, 1e4), r"the ridge is \S+ times what was seen weighs; lower `regularization`"),
        (Objective.spark(1e-4, 30.0), r"the ridge is \S+ times what was seen weighs"),
    ],
)
def test_numbers_far_from_the_data_are_named_once_with_what_to_try(objective, what):
    with pytest.warns(UserWarning, match=what) as caught:
        warn_of_far_numbers(PLAYS, objective, stacklevel=2)
    assert len(caught) == 1
    assert str(caught[0].message).endswith(
        "leave `objective` out for one that suits most data, or search for numbers by `jaxals.tune`."
    )
    assert said(objective, PLAYS.select(np.arange(5000))) == []  # a toy


def test_fit_says_it():
    with pytest.warns(UserWarning, match="far from these data") as caught:
        fit(PLAYS, Objective.hkv(40.0, 0.1), ALS(factors=1, sweeps=0), progress=False)
    assert len(caught) == 1


@pytest.fixture(scope="module")
def split():
    # Some items are far more popular than others.
    rng = np.random.default_rng(1)
    cells = np.unique(rng.integers(60, size=900) * 40 + np.minimum(rng.geometric(0.15, 900) - 1, 39))
    return leave_k_out(Interactions.from_arrays(cells // 40, cells % 40, shape=(60, 40)), k=1, seed=0)


def test_a_model_below_popularity_is_named(split):
    known = {"validation": split.test, "metrics": ["coverage@5", "ndcg@5"], "progress": False}
    bad = Factors(*(jnp.asarray(np.random.default_rng(0).normal(size=(n, 4)), jnp.float32) for n in (60, 40)))
    expected = evaluate(Popularity.from_interactions(split.train), split.train, split.test, ["ndcg@5"])["ndcg@5"]
    with pytest.warns(
        UserWarning, match=f"ndcg@5 is 0.*, by popularity {expected:.4f}; leave `objective` out"
    ) as caught:
        fit(split.train, Objective.hkv(1.0, 1e-6), ALS(factors=4, sweeps=1), initial=bad, **known)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(split.train, Objective.log(1.0, 1.0, 300.0), ALS(factors=4, sweeps=3), **known)  # as good as popularity
        only = {**known, "metrics": "novelty@5"}
        fit(split.train, Objective.hkv(1.0, 1e-6), ALS(factors=4, sweeps=1), initial=bad, **only)


def test_what_chance_explains_is_not_below(split):
    popularity = evaluate(Popularity.from_interactions(split.train), split.train, split.test, ["novelty@5", "recall@5"])
    assert judged(popularity) == ["recall@5"]
    mean, error = popularity["recall@5"], popularity.standard_errors["recall@5"]
    assert below_popularity({"novelty@5": 0.0, "recall@5": mean - 1.9 * error}, popularity) is None
    assert "recall@5" in (below_popularity({"novelty@5": 9.0, "recall@5": mean - 2.1 * error}, popularity) or "")
    assert below_popularity({"novelty@5": 9.0, "recall@5": float("nan")}, popularity) is None
