import builtins
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxals
from jaxals import ALS, Catalog, Factors, Objective, datasets, fit
from jaxals.errors import DataError, MissingDependencyError
from jaxals.models import exports

RNG = np.random.default_rng(0)


def factors(users=2, items=3, width=4) -> Factors:
    user, item = RNG.normal(size=(users, width)), RNG.normal(size=(items, width))
    return Factors(jnp.asarray(user, jnp.float32), jnp.asarray(item, jnp.float32))


FORMATS = [(exports.save_npz, exports.load_npz), (exports.save_parquet, exports.load_parquet)]


@pytest.mark.parametrize(("save", "load"), FORMATS)
@pytest.mark.parametrize(
    ("users", "items"), [(["ann", "bøb"], [7, 2**40, -1]), ([0.5, 2.0], ["", " a", "b\tc"]), (range(2), range(1, 4))]
)
def test_factors_and_ids_come_back(save, load, users, items, tmp_path):
    before, catalog = factors(), Catalog(users, items)
    save(tmp_path / "factors", before, catalog)
    after, ids = load(tmp_path / "factors")
    for table, other in ((before.user, after.user), (before.item, after.item)):
        assert table.dtype == other.dtype
        np.testing.assert_array_equal(table, other)
    for index, other in ((catalog.users, ids.users), (catalog.items, ids.items)):
        assert [(type(a), a) for a in index.tolist()] == [(type(a), a) for a in other.tolist()]


@pytest.mark.parametrize(("save", "load"), FORMATS)
def test_ids_that_a_file_cannot_hold_are_refused(save, load, tmp_path):
    for users in ([("a", 1), ("a", 2)], ["a", 1], ["a", "b\0"]):
        with pytest.raises(DataError, match="user ids must be all strings, all integers or all floats"):
            save(tmp_path / "factors", factors(), Catalog(users, range(3)))
    with pytest.raises(DataError, match="The factors are for"):
        save(tmp_path / "factors", factors(), Catalog(["ann"], range(3)))


def test_pickles_are_not_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    trap = np.empty(1, object)
    trap[0] = Trap()
    np.savez(tmp_path / "trap.npz", user_factors=trap, item_factors=trap, user_ids=trap, item_ids=trap)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npz", "pickle.npz"):
        for load in (exports.load_npz, exports.load_implicit):
            with pytest.raises(DataError, match="cannot be read as factors"):
                load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"user_ids": np.asarray([["a", "b"]])},
        {"user_ids": np.asarray(["a"])},
        {"user_ids": np.asarray(["a", "a"])},
        {"user_factors": np.zeros((2, 5), np.float32)},
        {"user_factors": np.zeros(2, np.float32)},
        {"item_factors": np.zeros((3, 4), np.int32)},
        {"item_factors": np.full((3, 4), np.nan, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, tmp_path):
    tables = factors()
    whole: dict[str, Any] = {"user_factors": np.asarray(tables.user), "item_factors": np.asarray(tables.item)}
    whole |= {"user_ids": np.asarray(["a", "b"]), "item_ids": np.arange(3)}
    np.savez(tmp_path / "whole.npz", **whole)
    exports.load_npz(tmp_path / "whole.npz")
    np.savez(tmp_path / "changed.npz", **{**whole, **change})
    with pytest.raises(DataError):
        exports.load_npz(tmp_path / "changed.npz")


def test_what_is_missing_or_damaged_is_refused(tmp_path):
    exports.save_npz(tmp_path / "factors.npz", factors(), Catalog(range(2), range(3)))
    content = (tmp_path / "factors.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    for name in ("half.npz", "nowhere.npz"):
        with pytest.raises(DataError, match="cannot be read as factors"):
            exports.load_npz(tmp_path / name)
    exports.save_parquet(tmp_path / "folder", factors(), Catalog(range(2), range(3)))
    (tmp_path / "folder" / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"items\.parquet cannot be read as factors"):
        exports.load_parquet(tmp_path / "folder")


def test_parquet_says_what_is_not_installed(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="pyarrow"):
        exports.load_parquet(tmp_path)


@pytest.mark.filterwarnings("ignore:OpenBLAS is configured")
def test_a_model_goes_to_implicit_and_back(tmp_path):
    als = pytest.importorskip("implicit.cpu.als")
    data = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    objective = Objective.implicit(alpha=3.0, regularization=0.5)
    run = fit(data, objective, ALS(factors=4, sweeps=3), progress=False)
    exports.save_implicit(tmp_path / "model.npz", run.factors, objective)
    theirs = als.AlternatingLeastSquares.load(str(tmp_path / "model.npz"))
    assert (theirs.factors, theirs.alpha, theirs.regularization) == (4, 3.0, 0.5)
    ids, _ = theirs.recommend(np.arange(60), data.to_scipy(), N=5)
    ours, _ = jaxals.Recommender(run.factors, data).top_items(np.arange(60), 5)
    assert (ids == ours).mean() > 0.99  # they multiply in another order, which may turn a near tie
    theirs.save(str(tmp_path / "theirs.npz"))
    back = exports.load_implicit(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(back.user, run.factors.user)
    np.testing.assert_array_equal(back.item, run.factors.item)


def test_the_drop_in_reads_what_is_exported_for_implicit(tmp_path):
    from jaxals.implicit_api import AlternatingLeastSquares

    exports.save_implicit(tmp_path / "model.npz", tables := factors())
    model = AlternatingLeastSquares.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(model.user_factors, tables.user)


def test_places_that_cannot_be_written_and_names_that_are_missing_are_told(tmp_path):
    catalog, file = Catalog(range(2), range(3)), tmp_path / "file"
    file.write_text("")
    with pytest.raises(DataError, match=rf"^{file}/npz cannot be written: Not a directory\.$"):
        exports.save_npz(file / "npz", factors(), catalog)
    with pytest.raises(DataError, match=rf"^{file}/folder cannot be written: Not a directory\.$"):
        exports.save_parquet(file / "folder", factors(), catalog)
    np.savez(tmp_path / "few.npz", user_factors=np.ones((2, 4), np.float32))
    with pytest.raises(DataError, match=r"it holds no user_ids and no item_factors and no item_ids\.$"):
        exports.load_npz(tmp_path / "few.npz")


def test_implicits_file_keeps_the_ridge_where_it_is_one_number(tmp_path):
    for regularization, is_kept in ((0.5, True), (jaxals.Sides(user=0.1, item=0.2), False)):
        objective = Objective(jaxals.objective.ImplicitConfidence(alpha=3.0), regularization=regularization)
        exports.save_implicit(tmp_path / "model.npz", factors(), objective)
        with np.load(tmp_path / "model.npz") as saved:
            assert saved["alpha"] == 3.0
            assert ("regularization" in saved) == is_kept
