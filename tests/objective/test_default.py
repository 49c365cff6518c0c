import dataclasses
import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxals import ALS, Catalog, Interactions, Objective, SearchSpace, datasets, fit
from jaxals.errors import DataError
from jaxals.hyper import search
from jaxals.objective import default_objective
from jaxals.objective.default import DEFAULT_PRESET

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)


def leaves(objective: Objective) -> list[float]:
    return jax.tree.leaves(objective)


def test_it_is_a_preset_with_plain_numbers():
    objective = default_objective(DATA)
    numbers = {"unobserved_weight": objective.unobserved_weight, "regularization": objective.regularization}
    assert leaves(objective) == leaves(getattr(Objective, DEFAULT_PRESET)(**numbers))
    assert all(type(number) is float for number in numbers.values())


@pytest.mark.parametrize("change", [lambda r: r * 1e6, lambda r: np.ones_like(r), lambda r: np.minimum(r, 5)])
def test_counts_ratings_and_likes_are_one_to_it(change):
    other = dataclasses.replace(DATA, value=change(DATA.value))
    assert leaves(default_objective(other)) == leaves(default_objective(DATA))
    ours, theirs = (default_objective(data).weights(jnp.asarray(data.value)) for data in (DATA, other))
    np.testing.assert_array_equal(ours, theirs)


def test_unobserved_pairs_weigh_as_much_together_however_sparse_the_data_are():
    for n_users, n_items, n_interactions in ((600, 400, 4000), (3000, 2000, 20_000)):
        data = datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_interactions, seed=0)
        weight = default_objective(data).unobserved_weight
        rows = [np.count_nonzero(data.counts(side)) for side in ("user", "item")]
        assert weight * rows[0] * rows[1] / len(data) == pytest.approx(40, rel=0.05)  # two digits
    assert default_objective(DATA).unobserved_weight == 1  # though a third of all pairs are there


def test_rows_without_entries_change_nothing():
    sparse = datasets.synthetic(n_users=600, n_items=400, n_interactions=4000, seed=0)
    catalog = Catalog(range(700), range(4000))
    padded = Interactions.from_arrays(sparse.user, sparse.item, sparse.value, catalog=catalog)
    assert leaves(default_objective(padded)) == leaves(default_objective(sparse))


def test_fit_takes_it():
    trainer = ALS(factors=4, sweeps=3)
    run = fit(DATA, trainer=trainer, progress=False)
    assert leaves(run.objective) == leaves(default_objective(DATA))
    same = fit(DATA, default_objective(DATA), trainer, progress=False)
    np.testing.assert_array_equal(run.factors.item, same.factors.item)


def test_what_cannot_be_trained_on_is_refused_as_before(monkeypatch):
    with pytest.raises(DataError, match="nothing to train on"):
        fit(DATA.select(np.zeros(len(DATA), bool)), progress=False)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(DataError, match="`interactions` is a csr_matrix"):
        fit(DATA.to_scipy(), progress=False)  # type: ignore[arg-type]


def test_a_search_needs_no_space(monkeypatch):
    spaces = []

    class Stop(Exception):
        pass

    def look(space, *_):
        spaces.append(space)
        raise Stop

    monkeypatch.setattr(search, "_Search", look)
    with pytest.raises(Stop):
        search.tune(DATA, progress=False)
    assert repr(spaces[0]) == repr(SearchSpace.preset())
    assert inspect.signature(SearchSpace.preset).parameters["preset"].default == DEFAULT_PRESET
