import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxals import Catalog, Factors, Interactions, LogConfidence, Objective, Sides, checkpoint
from jaxals.checkpoint import load_model, require_model_place, require_storable_ids, save_model
from jaxals.errors import CheckpointError


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


def test_ridges_of_each_side_and_row_come_back(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data, Objective.hkv(2.0, Sides(jnp.asarray([0.1, 0.7]), 3.0)))
    loaded = load_model(tmp_path / "model")[2]
    assert loaded is not None
    np.testing.assert_array_equal(loaded.of("user").regularization, [0.1, 0.7])
    assert loaded.of("item").regularization == 3.0


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


def no_orbax_metadata(folder):
    (folder / "_CHECKPOINT_METADATA").unlink()


def no_format(folder):
    (folder / "document" / "metadata").write_text(json.dumps({"pages": 3}))


def no_document(folder):
    (folder / "document" / "metadata").write_text("{")


@pytest.mark.parametrize("change", [foreign_file, no_orbax_metadata, no_format, no_document])
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
    monkeypatch.setattr(checkpoint.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be written to .*: Permission denied\.$"):
        require_model_place(tmp_path / "model")
    monkeypatch.setattr(pathlib.Path, "is_mount", lambda _: True)
    with pytest.raises(CheckpointError, match="name a folder in it"):
        require_model_place(tmp_path / "model")


def test_a_user_written_confidence_is_left_out(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data, Objective(lambda r: (r, r)))
    assert load_model(tmp_path / "model")[2] is None


def test_what_is_not_a_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is not a jaxals model"):
        load_model(tmp_path)


def test_a_damaged_model_is_named(tmp_path):
    factors, data = model()
    save_model(tmp_path / "model", factors, data)
    for file in (tmp_path / "model" / "document").iterdir():
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(("text", "reason"), [("", "ValueError"), ("Out of\ncheese", "Out of"), ("Ends.", "Ends")])
def test_damage_is_told_in_one_sentence(text, reason, monkeypatch, tmp_path):
    def fail(*_):
        raise ValueError(text)

    save_model(tmp_path / "model", *model())
    monkeypatch.setattr(checkpoint, "_decode", fail)
    with pytest.raises(CheckpointError, match=rf"is damaged: {reason}\.$"):
        load_model(tmp_path / "model")


def test_ids_that_cannot_be_stored_are_named(tmp_path):
    factors, data = model(users=[frozenset("a"), frozenset("b")])
    with pytest.raises(CheckpointError, match="strings, numbers or tuples"):
        save_model(tmp_path / "model", factors, data)
    with pytest.raises(CheckpointError, match="strings, numbers or tuples"):
        require_storable_ids(data.catalog)
    assert not list(tmp_path.iterdir())
