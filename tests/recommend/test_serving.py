"""Many calls of many sizes: what they compile, and that models which grew answer as if they had been made anew."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxals import Factors, Interactions, Objective, Recommender, Sides, datasets, make_mesh
from jaxals.errors import DataError
from jaxals.evaluation import recommend_with
from tests.combinations import fast_first

OBJECTIVE = Objective.ials(0.5, Sides(0.2, 0.3), 0.7)
COMPILED: list[str] = []


def count_programs(event: str, duration_secs: float, **_: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(count_programs)


def model(n_users: int = 40, n_items: int = 30, factors: int = 4) -> Recommender:
    data = datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=5 * n_users, seed=0)
    rng = np.random.default_rng(0)
    tables = (jnp.asarray(rng.normal(size=(size, factors))) for size in data.shape)
    return Recommender(Factors(*tables), data, OBJECTIVE)


def history(users: list, items: list, n_entries: int, rng: np.random.Generator) -> Interactions:
    frame = pd.DataFrame({"user": rng.choice(users, n_entries), "item": rng.choice(items, n_entries)})
    return Interactions.from_frame(frame.assign(value=rng.integers(1, 5, n_entries)))


def grow(start: Recommender, times: int, rng: np.random.Generator) -> Recommender:
    """Fold in new and known users and items, several at a time."""
    n_users, n_items = start.interactions.shape
    users, items = list(range(n_users)), list(range(n_items))
    for _ in range(times):
        new = [1000 + len(users), int(rng.integers(len(users)))]
        start = start.fold_in(history(new, items[:n_items], 9, rng))
        users += new[:1] if new[0] in start.catalog.users else []
        new = [1000 + len(items), int(rng.integers(n_items))]
        start = start.fold_in(history(users, new, 9, rng), side="item")
        items += new[:1] if new[0] in start.catalog.items else []
    return start


def answers(recommender: Recommender) -> list[pd.DataFrame]:
    users, items = recommender.catalog.users, recommender.catalog.items
    return [
        recommender.recommend(users, n=7),
        recommender.recommend(users[:3], n=99, scale="unit", exclude=items[1:4]),
        recommender.recommend(users[-2:], n=3, items=items[-3:], exclude_seen=False),
        recommender.similar_items(items[-4:], n=5),
        recommender.similar_users(users[::7], n=50, measure="dot"),
        recommender.explain(users[-1], items[-1]),
        recommender.explain(users[3], items[0]),
    ]


def assert_same(got: list[pd.DataFrame], expected: list[pd.DataFrame]) -> None:
    for one, other in zip(got, expected, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-9, check_dtype=False)


def test_a_mix_of_calls_compiles_few_programs():
    recommender, rng = model(300, 200), np.random.default_rng(1)
    before = len(COMPILED)
    for number in range(40):
        users, items = rng.integers(300, size=rng.integers(1, 90)), rng.integers(200, size=rng.integers(1, 30))
        n = int(rng.integers(1, 120))
        filters = {"exclude": items} if number % 2 else {"items": items, "scale": "unit"}
        recommender.recommend(users, n, bool(number % 3), **filters)
        recommender.similar_items(items, n, "dot" if number % 2 else "cosine")
        recommender.similar_users(users, n)
        recommender.explain(int(users[0]), int(items[0]))
        new = [int(users[0]), *range(1000 + 5 * number, 1000 + 5 * number + number % 5 + 1)]
        recommender = recommender.fold_in(history(new, list(range(200)), int(rng.integers(1, 300)), rng))
        if number % 5 == 0:
            recommender = recommender.fold_in(history(list(range(300)), [9000 + number], 9, rng), side="item")
    assert len(COMPILED) - before <= 30


def test_recommending_by_a_scorer_compiles_few_programs():
    recommender, rng, before = model(300, 200), np.random.default_rng(1), len(COMPILED)
    for _ in range(20):
        users = rng.integers(300, size=rng.integers(1, 90))
        recommend_with(recommender.factors, recommender.interactions, users, int(rng.integers(1, 120)))
    assert len(COMPILED) - before <= 12


def test_folding_in_copies_nothing_of_what_was_trained():
    before = model()
    grown = before.fold_in(history([77], [1, 2], 3, np.random.default_rng(0)))
    assert "factors" not in vars(grown)
    assert "interactions" not in vars(grown)
    assert grown._model.item is before._model.item
    assert grown._model.user.trained is before._model.user.trained
    assert grown._model.histories.trained is before.interactions
    assert grown._model.user_ids.catalog is before.catalog


# Rows beside the trained ones, before they are put among them.
@pytest.mark.parametrize("limit", fast_first(1, [3, 1000]))
def test_a_model_that_grew_answers_as_one_made_anew(monkeypatch, limit):
    monkeypatch.setattr("jaxals.recommend.sizes._LATE_ROWS", limit)
    monkeypatch.setattr("jaxals.recommend.histories._LATE_ENTRIES", 20 * limit)
    before = model()
    first = answers(before)
    grown = grow(before, 6, np.random.default_rng(2))
    got = answers(grown)
    anew = Recommender(grown.factors, grown.interactions, OBJECTIVE)
    assert_same(got, answers(anew))
    assert grown.catalog.shape == grown.interactions.shape == (46, 36)
    assert_same(answers(before), first)
    for user in range(46):
        np.testing.assert_array_equal(grown.contributions(user, 2)[0], anew.contributions(user, 2)[0])


@pytest.mark.parametrize("side", ["user", "item"])
def test_few_rows_are_solved_as_many_are(monkeypatch, side):
    before, rng = model(), np.random.default_rng(3)
    users, items = ([1, 2, 50], [4, 5, 6]) if side == "user" else ([1, 2, 3], [4, 50, 60])
    new = history(users, items, 40, rng)
    few = before.fold_in(new, side)
    monkeypatch.setattr("jaxals.recommend.rows._MOST_ROWS", 0)
    many = before.fold_in(new, side)
    for got, expected in zip(jax.tree.leaves(few.factors), jax.tree.leaves(many.factors), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_rows_with_a_ridge_of_their_own_are_folded_in_with_it():
    ridge = np.linspace(0.1, 9.0, 40)
    before = dataclasses.replace(model(), objective=Objective.hkv(1.0, Sides(ridge, 0.1)))
    rng = np.random.default_rng(0)
    grown = before.fold_in(history([3, 30], [1, 2], 9, rng))
    for user in (3, 30):
        one = dataclasses.replace(before, objective=Objective.hkv(1.0, Sides(ridge[user], 0.1)))
        alone = one.fold_in(grown.interactions.select(grown.interactions.user == user))
        np.testing.assert_allclose(alone.factors.user[user], grown.factors.user[user], rtol=1e-9)
    with pytest.raises(DataError, match=r"`regularization` is for \(40,\) rows, but there are \(41,\)"):
        before.fold_in(history([77], [1, 2], 9, rng))


@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec("rows")])
def test_tables_over_a_mesh_answer_as_on_one_device_and_stay_there(spec):
    one, mesh = model(), make_mesh()
    assert mesh is not None
    assert mesh.size == 8
    # 40 users divide among 8 devices, 30 items do not.
    user = jax.device_put(one.factors.user, NamedSharding(mesh, spec))
    item = jax.device_put(one.factors.item, NamedSharding(mesh, PartitionSpec()))
    over = Recommender(Factors(user, item), one.interactions, OBJECTIVE)
    grown = [grow(recommender, 2, np.random.default_rng(4)) for recommender in (one, over)]
    assert_same(answers(over), answers(one))
    assert_same(answers(grown[1]), answers(grown[0]))
    assert len(grown[1].factors.user.devices()) == 8


def test_what_grew_can_be_replaced_in_copied_and_saved(tmp_path):
    grown = grow(model(), 2, np.random.default_rng(5))
    other = dataclasses.replace(grown, objective=Objective.hkv())
    pd.testing.assert_frame_equal(other.recommend(0), grown.recommend(0))
    assert_same(answers(copy.deepcopy(grow(model(), 2, np.random.default_rng(5)))), answers(grown))
    grown.save(tmp_path / "model")
    assert_same(answers(Recommender.load(tmp_path / "model"))[:5], answers(grown)[:5])
    with pytest.raises(AttributeError, match="no attribute 'factor'"):
        grown.factor  # noqa: B018
