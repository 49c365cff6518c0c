import dataclasses

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest

from jaxals import ALS, Catalog, Factors, Interactions, Objective, Recommender, Sides, datasets, fit
from jaxals.als.layout.machine import CPU
from jaxals.errors import ConfigurationError, DataError, NumericalError, UnknownIdError
from jaxals.evaluation import user_holdout
from jaxals.recommend.fold_in import solve_side


@pytest.fixture(scope="module")
def model() -> Recommender:
    # Users "u0".. and items "i0".., the last user without interactions.
    plain = datasets.synthetic(n_users=30, n_items=25, n_interactions=300, seed=1)
    catalog = Catalog([f"u{i}" for i in range(31)], [f"i{i}" for i in range(25)])
    data = Interactions.from_arrays(plain.user, plain.item, plain.value, catalog=catalog)
    run = fit(data, Objective.hkv(alpha=1.0), ALS(factors=4, sweeps=8, dtype="float64"), progress=False)
    return Recommender(run.factors, data, run.objective)


def dense_scores(model: Recommender) -> np.ndarray:
    return np.asarray(model.factors.user) @ np.asarray(model.factors.item).T


def seen(model: Recommender, user: int) -> set[int]:
    return set(model.interactions.item[model.interactions.user == user].tolist())


def test_recommends_the_best_unseen_items(model):
    frame = model.recommend(["u3", "u5"], n=6)
    for user, group in frame.groupby("user"):
        row = int(user[1:])
        scores = dense_scores(model)[row]
        order = [i for i in np.argsort(-scores, kind="stable") if i not in seen(model, row)][:6]
        assert group["item"].tolist() == [f"i{i}" for i in order]
        assert group["rank"].tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_allclose(group["score"], scores[order], rtol=1e-12)
    assert len(frame) == 12


def test_one_user_is_a_list_of_one(model):
    pd.testing.assert_frame_equal(model.recommend("u3", n=4), model.recommend(["u3"], n=4))
    pd.testing.assert_frame_equal(model.recommend(np.array(["u3"]), n=4), model.recommend(pd.Series(["u3"]), n=4))
    pd.testing.assert_frame_equal(model.recommend(np.array("u3"), n=4), model.recommend("u3", n=4))


def test_a_range_is_many_users():
    data = Interactions.from_arrays([0, 1, 2], [0, 1, 1])
    model = Recommender(Factors(jnp.eye(3, 2), jnp.eye(2)), data)
    pd.testing.assert_frame_equal(model.recommend(range(2)), model.recommend([0, 1]))


def test_seen_items_candidates_and_exclusions(model):
    everything = model.recommend("u3", n=25, exclude_seen=False)
    assert len(everything) == 25
    unseen = model.recommend("u3", n=25)
    assert len(unseen) == 25 - len(seen(model, 3))
    some = unseen["item"].tolist()[:3]
    assert set(model.recommend("u3", n=25, items=some)["item"]) == set(some)
    assert not set(model.recommend("u3", n=25, exclude=some)["item"]) & set(some)
    assert model.recommend("u3", items=some, exclude=some).empty


def test_unit_scores_span_the_candidates(model):
    frame = model.recommend("u3", n=25, scale="unit")
    assert frame["score"].iloc[0] == 1.0
    assert frame["score"].iloc[-1] == 0.0
    assert frame["item"].tolist() == model.recommend("u3", n=25)["item"].tolist()
    assert model.recommend("u3", n=2, items=frame["item"].tolist()[:1], scale="unit")["score"].tolist() == [1.0]
    assert len(model.recommend("u3", n=40, scale="unit")) == len(frame)


def test_a_user_without_interactions_gets_nothing_and_never_nan(model):
    assert model.recommend("u30").empty
    assert model.similar_users("u30").empty
    index, score = model.top_items(np.array([30]), 3)
    assert index.tolist() == [[-1, -1, -1]]
    assert np.isneginf(score).all()


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_similar_items(model, measure):
    frame = model.similar_items("i4", n=5, measure=measure)
    table = np.asarray(model.factors.item)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True) if measure == "cosine" else table
    scores = unit @ unit[4]
    if measure == "cosine":
        counts = model.interactions.counts("item")
        scores = scores * counts / (counts + 2)
    order = [i for i in np.argsort(-scores, kind="stable") if i != 4][:5]
    assert frame["similar_item"].tolist() == [f"i{i}" for i in order]
    np.testing.assert_allclose(frame["score"], scores[order], rtol=1e-10)
    assert (frame["item"] == "i4").all()


def test_similar_users_are_found_alike(model):
    frame = model.similar_users(["u1", "u2"], n=3)
    assert frame["user"].tolist() == ["u1"] * 3 + ["u2"] * 3
    assert not (frame["user"] == frame["similar_user"]).any()
    assert frame["score"].max() <= 1 + 1e-12


def test_batches_do_not_change_the_answer(model, monkeypatch):
    users = np.arange(31)
    whole = model.top_items(users, 5)
    monkeypatch.setattr(
        "jaxals.recommend.ranking.machine_of", lambda _: dataclasses.replace(CPU, batch_bytes=25 * 8 * 4)
    )
    in_parts = model.top_items(users, 5)
    np.testing.assert_array_equal(whole[0], in_parts[0])
    np.testing.assert_allclose(whole[1], in_parts[1], rtol=1e-12)


def test_explanations_sum_to_the_score(model):
    user, item = "u3", model.recommend("u3", n=1)["item"][0]
    frame = model.settled().explain(user, item)
    assert set(frame["item"]) == {f"i{i}" for i in seen(model, 3)}
    score = model.settled().recommend(user, n=1, items=[item])["score"][0]
    assert frame["contribution"].sum() == pytest.approx(score, rel=1e-9)
    assert frame.attrs["score"] == pytest.approx(score, rel=1e-9)
    assert frame.attrs["unsettled"] == pytest.approx(0, abs=1e-9)
    assert frame["contribution"].is_monotonic_decreasing

    before = model.explain(user, item)
    reported = model.recommend(user, n=1, items=[item])["score"][0]
    assert before.attrs["score"] + before.attrs["unsettled"] == pytest.approx(reported, rel=1e-9)


def test_explain_agrees_with_leaving_an_item_out_of_the_right_hand_side(model):
    entries, parts = model.contributions(3, 7)
    data, y = model.interactions, np.asarray(model.factors.item)
    value, columns = data.value[entries].astype(float), data.item[entries]
    matrix = y.T @ y + (y[columns] * value[:, None]).T @ y[columns] + 0.1 * np.eye(4)
    expected = (1 + value) * (y[columns] @ np.linalg.solve(matrix, y[7]))
    np.testing.assert_allclose(parts, expected, rtol=1e-9)


def test_folding_in_a_known_history_gives_the_settled_user(model):
    mine = model.interactions.user == 3
    history = pd.DataFrame(
        {
            "user": "newcomer",
            "item": model.catalog.items[model.interactions.item[mine]],
            "value": model.interactions.value[mine],
        }
    )
    more = pd.concat([history, pd.DataFrame({"user": ["second"], "item": ["i1"], "value": [2.0]})])
    grown = model.fold_in(Interactions.from_frame(more))
    assert grown.catalog.users[-2:].tolist() == ["newcomer", "second"]
    np.testing.assert_allclose(grown.factors.user[31], model.settled().factors.user[3], rtol=1e-8)
    np.testing.assert_array_equal(grown.factors.user[:31], model.factors.user)
    assert not set(grown.recommend("newcomer", n=25)["item"]) & set(history["item"])
    assert len(grown.recommend("second")) == 10


def test_each_side_is_solved_and_explained_with_its_own_ridge(model):
    def settled(user, item) -> Recommender:
        objective = Objective.hkv(1.0, Sides(user, item))
        return Recommender(model.factors, model.interactions, objective).settled()

    ridges = jnp.full(31, 0.5).at[3].set(40.0)
    plain, strong = settled(0.5, 9.0), settled(ridges, 0.5)
    np.testing.assert_allclose(np.delete(strong.factors.user, 3, 0), np.delete(plain.factors.user, 3, 0), rtol=1e-8)
    assert np.linalg.norm(strong.factors.user[3]) < 0.8 * np.linalg.norm(plain.factors.user[3])
    expected = np.asarray(strong.factors.user)[3] @ np.asarray(strong.factors.item)[4]
    assert strong.explain("u3", "i4")["contribution"].sum() == pytest.approx(expected, rel=1e-6)


def test_folding_in_a_known_user_replaces_their_history(model):
    change = Interactions.from_frame(pd.DataFrame({"user": ["u3"], "item": ["i1"], "value": [2.0]}))
    grown = model.fold_in(change)
    assert grown.catalog.shape == model.catalog.shape
    assert seen(grown, 3) == {1}
    assert seen(grown, 4) == seen(model, 4)


def test_folding_in_leaves_users_without_entries_alone(model):
    # `given` shares the whole catalog, with entries of the held-out users alone.
    split = user_holdout(model.interactions, fraction=0.2, seed=0)
    given = np.unique(split.given.user)
    blank = np.where(np.isin(np.arange(31), given)[:, None], 0.0, model.factors.user)
    before = Recommender(Factors(jnp.asarray(blank), model.factors.item), split.train, model.objective)
    grown = before.fold_in(split.given)
    others = np.setdiff1d(np.arange(31), given)
    assert len(given) == 6
    assert grown.catalog.shape == model.catalog.shape
    assert len(grown.interactions) == len(split.train) + len(split.given)
    np.testing.assert_array_equal(grown.factors.user[others], model.factors.user[others])
    np.testing.assert_allclose(grown.factors.user[given], grown.settled().factors.user[given], rtol=1e-9)


def test_folding_in_looks_up_only_what_occurs(model):
    catalog = Catalog(["u3", "stranger"], ["i1", "nowhere"])
    grown = model.fold_in(Interactions.from_arrays([0], [0], [2.0], catalog=catalog))
    assert grown.catalog.shape == model.catalog.shape
    assert seen(grown, 3) == {1}


def test_folding_in_an_item(model):
    new = pd.DataFrame({"user": ["u1", "u2", "u3"], "item": "fresh", "value": [1.0, 4.0, 2.0]})
    grown = model.fold_in(Interactions.from_frame(new), side="item")
    assert grown.factors.item.shape == (26, 4)
    x = np.asarray(model.factors.user)
    rows, value = [1, 2, 3], np.array([1.0, 4.0, 2.0])
    matrix = x.T @ x + (x[rows] * value[:, None]).T @ x[rows] + 0.1 * np.eye(4)
    expected = np.linalg.solve(matrix, x[rows].T @ (1 + value))
    np.testing.assert_allclose(grown.factors.item[25], expected, rtol=1e-8)
    assert "fresh" in set(grown.recommend("u9", n=26)["item"])


def test_save_and_load_keep_everything(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.recommend(["u3", "u5"]), model.recommend(["u3", "u5"]))
    pd.testing.assert_frame_equal(loaded.explain("u3", "i4"), model.explain("u3", "i4"))


def test_mistakes_are_named(model):
    with pytest.raises(UnknownIdError, match=r"no user 'U33' .* nearest known are 'u"):
        model.recommend("U33")
    with pytest.raises(UnknownIdError, match="no item 'x'"):
        model.recommend("u3", exclude=["x"])
    with pytest.raises(ConfigurationError, match="`n` must be an integer >= 1; got 0"):
        model.recommend("u3", n=0)
    with pytest.raises(ConfigurationError, match="pass `Recommender"):
        Recommender(model.factors, model.interactions).explain("u3", "i1")
    with pytest.raises(DataError, match=r"\(25, 31\).*swapped"):
        Recommender(Factors(model.factors.item, model.factors.user), model.interactions)
    with pytest.raises(UnknownIdError, match="no item 'nowhere'"):
        model.fold_in(Interactions.from_frame(pd.DataFrame({"user": ["a"], "item": ["nowhere"], "value": [1.0]})))


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, bad: model.top_items(bad),
        lambda model, bad: model.top_items(np.array([0]), items=bad),
        lambda model, bad: model.top_items(np.array([0]), exclude=bad),
        lambda model, bad: model.nearest(bad),
        lambda model, bad: model.nearest(bad, side="user"),
        lambda model, bad: model.contributions(int(bad[0]), 0),
        lambda model, bad: model.contributions(0, int(bad[0])),
    ],
)
@pytest.mark.parametrize("bad", [-1, 31])
def test_indices_outside_are_refused(model, ask, bad):
    with pytest.raises(DataError, match=rf"indices from 0 to (24|30); got {bad}"):
        ask(model, np.array([bad]))


def test_sides_are_checked(model, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    for ask in (
        lambda: model.nearest(np.array([0]), side="items"),
        lambda: model.solve(model.interactions, "items"),
        lambda: model.fold_in(model.interactions, "items"),
    ):
        with pytest.raises(ConfigurationError, match='`side` must be "user" or "item"'):
            ask()


def test_a_singular_system_is_named(model):
    factors = Factors(jnp.zeros_like(model.factors.user), jnp.zeros_like(model.factors.item))
    singular = Recommender(factors, model.interactions, Objective.hkv(alpha=1.0, regularization=0.0))
    for ask in (
        singular.settled,
        lambda: singular.solve(model.interactions),
        lambda: singular.fold_in(model.interactions),
        lambda: singular.contributions(0, 0),
    ):
        with pytest.raises(NumericalError, match=r"singular in this precision; raise `regularization` \(it is 0.0\)"):
            ask()


def test_factors_that_are_not_finite_are_refused(model):
    bad = Factors(model.factors.user, model.factors.item.at[3, 1].set(jnp.nan))
    with pytest.raises(DataError, match="not finite"):
        Recommender(bad, model.interactions)


def test_requests_beyond_memory_are_refused(model):
    for ask in (model.top_items, model.nearest):
        with pytest.raises(ConfigurationError, match=r"Ranking 1,000,000,000,000 for each of 2 rows needs about"):
            ask(np.array([0, 1]), 10**12)


def test_zero_rows_are_like_nothing():
    table = jnp.asarray([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    model = Recommender(Factors(jnp.ones((1, 2)), table), Interactions.from_arrays([0], [0], shape=(1, 3)))
    index, score = model.nearest(np.array([0, 1]), 5)
    assert index.tolist() == [[2, -1, -1, -1, -1], [-1, -1, -1, -1, -1]]
    assert not np.isnan(score).any()


def test_rows_are_solved_against_as_many_columns_as_the_model_has(model):
    other = Interactions.from_arrays([0], [0], shape=(2, 3))
    with pytest.raises(DataError, match="3 columns of the other side, the model"):
        solve_side(other, "user", model.factors, Objective.hkv())
