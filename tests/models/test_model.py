import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Catalog, Factors, Interactions, LogConfidence, Objective, Sides
from jaxals.errors import CheckpointError
from jaxals.models import folder as storage
from jaxals.models import model as models
from jaxals.models.model import load_model, require_model_place, require_storable_ids, save_model


def model(users=("ann", "bob"), items=(1, 2, 3)) -> tuple[Factors, Interactions]:
    rng = np.random.default_rng(0)
    data = Interactions.from_arrays([0, 0, 1], [0, 2, 1], [1.5, -2.0, 1e9], catalog=Catalog(users, items))
    user, item = rng.normal(size=(len(users), 4)), rng.normal(size=(len(items), 4))
    return Factors(jnp.asarray(user), jnp.asarray(item, jnp.float32)), data


@pytest.mark.parametrize(
    ("users", "items"),
    [
        (["ann", "bøb"], [1, 2, 3]),
        (range(2), range(3)),
        ([("a", 1), ("a", 2)], ["x", 2, 2.5]),
        (["1", "01"], [True, "True", "a\tb"]),
    ],
)
def test_everything_comes_back(users, items, tmp_path):
    factors, data = model(users, items)
    objective = Objective(LogConfidence(3.0, 0.5), 0.7, 0.2, 0.5, 0.1)
    save_model(tmp_path / "new" / "model", factors, data, objective)
    loaded, interactions, loaded_objective = load_model(tmp_path / "new" / "model")
    pairs: list = [(factors.user, loaded.user), (factors.item, loaded.item), (data.value, interactions.value)]
    for before, after in pairs:
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    for side in ("users", "items"):
        before, after = getattr(data.catalog, side), getattr(interactions.catalog, side)
        assert [(type(a), a) for a in before.tolist()] == [(type(a), a) for a in after.tolist()]
    assert loaded_objective is not None
    assert isinstance(loaded_objective.confidence, LogConfidence)
    assert loaded_objective.confidence.epsilon == 0.5
    assert loaded_objective.frequency_exponent == 0.5


def test_regularization_of_sides_and_rows_comes_back(tmp_path):
    factors, data = model()
    ridge = Sides(user=0.25, item=jnp.asarray([0.1, 0.2, 0.3]))
    save_model(tmp_path / "model", factors, data, Objective.hkv(regularization=ridge))
    _, _, objective = load_model(tmp_path / "model")
    assert objective is not None
    assert objective.regularization.user == 0.25
    np.testing.assert_array_equal(objective.regularization.item, ridge.item)


def test_a_model_replaces_a_model_and_nothing_else(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data)
    save_model(tmp_path / "model", Factors(factors.user * 2, factors.item), data)
    np.testing.assert_array_equal(load_model(tmp_path / "model")[0].user, factors.user * 2)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="something other than a jaxals model"):
        save_model(tmp_path / "thesis", factors, data)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def foreign_file(folder):
    (folder / "notes.txt").write_text("mine")


def no_checksums(folder):
    (folder / "checksums.json").unlink()


def no_kind(folder):
    (folder / "document.json").write_text(json.dumps({"pages": 3}))


def no_document(folder):
    (folder / "document.json").write_text("{")


@pytest.mark.parametrize("change", [foreign_file, no_checksums, no_kind, no_document])
def test_what_only_resembles_a_model_is_not_replaced(change, tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data)
    change(tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="something other than a jaxals model"):
        save_model(tmp_path / "model", factors, data)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("broken", ["save", "rename"])
def test_the_old_model_stays_until_the_new_one_is_whole(broken, monkeypatch, tmp_path):
    import orbax.checkpoint as ocp

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    factors, data = model()
    save_model(tmp_path / "model", factors, data)
    if broken == "save":
        monkeypatch.setattr(ocp.Checkpointer, "save", fail)
    else:
        rename = pathlib.Path.rename
        moved = lambda path, target: (fail if path.name == "new" else rename)(path, target)
        monkeypatch.setattr(pathlib.Path, "rename", moved)
    with pytest.raises(CheckpointError, match=r"cannot be written to .*: No space left on device\.$"):
        save_model(tmp_path / "model", Factors(factors.user * 2, factors.item), data)
    np.testing.assert_array_equal(load_model(tmp_path / "model")[0].user, factors.user)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_link_to_a_model_stays_a_link(tmp_path):
    factors, data = model()
    save_model(tmp_path / "first", factors, data)
    (tmp_path / "link").symlink_to(tmp_path / "first")
    save_model(tmp_path / "link", Factors(factors.user * 2, factors.item), data)
    assert (tmp_path / "link").is_symlink()
    np.testing.assert_array_equal(load_model(tmp_path / "first")[0].user, factors.user * 2)


def test_a_place_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written to"):
        require_model_place(tmp_path / "file" / "model")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    assert require_model_place(tmp_path / "new" / "model") == tmp_path / "new" / "model"
    assert [entry.name for entry in tmp_path.rglob("*")] == ["file", "new"]
    monkeypatch.setattr(storage.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be written to .*: Permission denied\.$"):
        require_model_place(tmp_path / "model")
    monkeypatch.setattr(pathlib.Path, "is_mount", lambda _: True)
    with pytest.raises(CheckpointError, match="name a folder in it"):
        require_model_place(tmp_path / "model")


def test_a_user_written_confidence_is_left_out(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data, Objective(jax.tree_util.Partial(lambda r: (r, r))))
    assert load_model(tmp_path / "model")[2] is None


def test_what_is_not_a_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is not a jaxals model"):
        load_model(tmp_path)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
def test_a_folder_whose_name_orbax_cannot_read_is_named(tmp_path):
    save_model(tmp_path / "model", *model())
    with pytest.raises(CheckpointError, match="must have a name in UTF-8"):
        load_model((tmp_path / "model").rename(tmp_path / "m\udcff"))


def test_a_damaged_model_is_named(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data)
    (tmp_path / "model" / "document.json").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(("text", "reason"), [("", "ValueError"), ("Out of\ncheese", "Out of"), ("Ends.", "Ends")])
def test_damage_is_told_in_one_sentence(text, reason, monkeypatch, tmp_path):
    def fail(*_):
        raise ValueError(text)

    save_model(tmp_path / "model", *model())
    monkeypatch.setattr(models, "_decode", fail)
    with pytest.raises(CheckpointError, match=rf"is damaged: {reason}\.$"):
        load_model(tmp_path / "model")


def test_ids_that_cannot_be_stored_are_named(tmp_path):
    factors, data = model(users=[frozenset("a"), frozenset("b")])
    with pytest.raises(CheckpointError, match="strings, numbers or tuples"):
        save_model(tmp_path / "model", factors, data)
    with pytest.raises(CheckpointError, match="strings, numbers or tuples"):
        require_storable_ids(data.catalog)
    assert not list(tmp_path.iterdir())


def forged(path: pathlib.Path, change) -> None:
    """Write a model that says what `change` makes of its document and arrays, its checksums all in order."""
    factors, data = model()
    save_model(path, factors, data, Objective.hkv())
    arrays, document = storage.read_folder(path)
    change(arrays, document)
    storage.write_folder(path, arrays, document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, document: document.update(format=3), "has model format 3; this version reads 2"),
        (lambda arrays, document: document.update(kind="poem"), "is not a jaxals model"),
        (lambda arrays, document: document.update(users=["ann"]), "its factors and ids do not match"),
        (lambda arrays, document: document.update(users=["ann", "ann"]), "must be unique"),
        (lambda arrays, document: document.update(users={"start": 0, "stop": 10**30, "step": 1}), "is damaged"),
        (lambda arrays, document: document.update(users={"start": 0, "stop": 2, "step": 0}), "is damaged"),
        (lambda arrays, document: document.update(users=7), "its ids are no list"),
        (lambda arrays, document: document["objective"].update(regularization="0.1"), "settings that are not numbers"),
        (lambda arrays, document: document["objective"]["confidence"].update(kind="exec"), "is damaged: 'exec'"),
        (lambda arrays, document: document["objective"].update(regularization=-1.0), "must be >= 0"),
        (lambda arrays, document: arrays.update(user=arrays["user"] + np.int32(9)), "A user index is 10"),
        (lambda arrays, document: arrays.pop("value"), "is damaged: 'value'"),
        (lambda arrays, document: arrays.update(user_factors=arrays["user_factors"][0]), "no tables of numbers"),
        (lambda arrays, document: arrays.update(item_factors=arrays["item_factors"] * np.nan), "is not finite"),
    ],
)
def test_a_model_that_only_looks_whole_is_named(change, message, tmp_path):
    forged(tmp_path / "model", change)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "model")


def test_another_file_beside_a_model_does_not_keep_it_from_loading(tmp_path):
    save_model(tmp_path / "model", *model())
    (tmp_path / "model" / ".DS_Store").write_bytes(b"")
    assert load_model(tmp_path / "model")[1].shape == (2, 3)
