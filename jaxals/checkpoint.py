"""Saving models to folders and loading them, with Orbax. Host side.

A model folder holds arrays (factors, interactions) and one JSON document (ids, objective, versions); loading one
executes nothing.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import tempfile
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxals import confidence as confidences
from jaxals.catalog import Catalog
from jaxals.errors import CheckpointError
from jaxals.interactions import Interactions
from jaxals.objective import Factors, Objective, Sides

_FORMAT = 1
# What Orbax writes into the folder of a model.
_ENTRIES = {"_CHECKPOINT_METADATA", "commit_success.txt", "arrays", "document"}
_CONFIDENCES = {
    kind.__name__: kind
    for kind in (
        confidences.LinearConfidence,
        confidences.ImplicitConfidence,
        confidences.LogConfidence,
        confidences.BinaryConfidence,
    )
}


def save_model(
    folder: str | os.PathLike, factors: Factors, interactions: Interactions, objective: Objective | None = None
) -> None:
    """Write a model to a folder that does not exist yet, or holds a model to be replaced.

    The model that is replaced stays where it is until the new one is whole.

    Args:
        folder: Where to; made with its parents.
        factors: Both tables.
        interactions: What they were trained on, with the catalog of raw ids.
        objective: What they minimise. One with a user-written confidence is left out: the loader cannot rebuild it.

    Raises:
        CheckpointError: The folder holds something else or cannot be written, or an id cannot be stored.
    """
    # Not at the top, here and below: Orbax takes half a second to import, and most uses save and load nothing.
    import orbax.checkpoint as ocp

    path = require_model_place(folder)
    arrays = {
        "user_factors": np.asarray(factors.user),
        "item_factors": np.asarray(factors.item),
        "user": interactions.user,
        "item": interactions.item,
        "value": interactions.value,
    }
    document = {
        "format": _FORMAT,
        "versions": {name: importlib.metadata.version(name) for name in ("jaxals", "jax", "orbax-checkpoint")},
        "users": _encode_ids(interactions.catalog.users),
        "items": _encode_ids(interactions.catalog.items),
        "objective": None if objective is None else _encode_objective(objective),
    }
    items = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), document=ocp.args.JsonSave(document))
    try:
        with tempfile.TemporaryDirectory(prefix=".jaxals-", dir=path.parent) as beside:
            new, old = pathlib.Path(beside, "new"), pathlib.Path(beside, "old")
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                checkpointer.save(new, args=items)
            try:
                if path.exists():
                    path.rename(old)
                new.rename(path)
            except BaseException:
                if old.exists():
                    old.rename(path)
                raise
    except OSError as error:
        raise _not_writable(folder, error) from None


def require_model_place(folder: str | os.PathLike) -> pathlib.Path:
    """Return the absolute path of a folder that a model may be written to, its parents made.

    Raises:
        CheckpointError: The folder holds something else, or cannot be written.
    """
    path = pathlib.Path(folder).resolve()
    try:
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]) and not _is_replaceable(path):
            raise CheckpointError(f"{folder} holds something other than a jaxals model; name a new folder.")
        if path.is_mount():
            raise CheckpointError(f"{folder} is a mount point, which cannot be replaced; name a folder in it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".jaxals-", dir=path.parent):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from None
    return path


def require_storable_ids(catalog: Catalog) -> None:
    """Refuse raw ids that a model's document cannot hold.

    Raises:
        CheckpointError: An id is something else than a string, a number or a tuple of them.
    """
    _encode_ids(catalog.users)
    _encode_ids(catalog.items)


def load_model(folder: str | os.PathLike) -> tuple[Factors, Interactions, Objective | None]:
    """Read what `save_model` wrote; float64 factors come as float32 where JAX does not allow float64.

    Raises:
        CheckpointError: The folder is missing, is not a model, or is damaged.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(folder).absolute()
    if not path.is_dir():
        raise CheckpointError(f"There is no model folder {folder}.")
    if not _is_model(path):
        raise CheckpointError(f"{folder} is not a jaxals model: name a folder that `save` or `jaxals fit` wrote.")
    items = ocp.args.Composite(arrays=ocp.args.StandardRestore(), document=ocp.args.JsonRestore())
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            restored = checkpointer.restore(path, args=items)
        return _decode(restored.arrays, restored.document, folder)
    except CheckpointError:
        raise
    # Orbax and TensorStore report damage by many types, none of them their own.
    except Exception as error:
        raise CheckpointError(f"The model in {folder} is damaged: {_first_line(error)}.") from None


def _is_model(path: pathlib.Path) -> bool:
    return (path / "arrays").is_dir() and (path / "document").is_dir()


def _is_replaceable(path: pathlib.Path) -> bool:
    """Tell whether a folder is a whole model that `save_model` wrote, and nothing besides."""
    try:
        document = json.loads((path / "document" / "metadata").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    names = {entry.name for entry in path.iterdir()}
    is_ours = isinstance(document, dict) and "format" in document
    return is_ours and _is_model(path) and "_CHECKPOINT_METADATA" in names <= _ENTRIES


def _not_writable(folder: str | os.PathLike, error: OSError) -> CheckpointError:
    return CheckpointError(f"The model cannot be written to {folder}: {error.strerror or _first_line(error)}.")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _decode(
    arrays: dict[str, np.ndarray], document: dict[str, Any], folder: str | os.PathLike
) -> tuple[Factors, Interactions, Objective | None]:
    if document["format"] != _FORMAT:
        raise CheckpointError(f"{folder} has model format {document['format']}; this version reads {_FORMAT}.")
    catalog = Catalog(_decode_ids(document["users"]), _decode_ids(document["items"]))
    factors = Factors(jnp.asarray(arrays["user_factors"]), jnp.asarray(arrays["item_factors"]))
    if (len(factors.user), len(factors.item)) != catalog.shape or factors.user.shape[1] != factors.item.shape[1]:
        raise CheckpointError(f"The model in {folder} is damaged: its factors and ids do not match.")
    interactions = Interactions.from_arrays(arrays["user"], arrays["item"], arrays["value"], catalog=catalog)
    objective = document["objective"]
    return factors, interactions, None if objective is None else _decode_objective(objective)


def _encode_ids(ids: pd.Index) -> Any:
    if isinstance(ids, pd.RangeIndex):
        return {"start": ids.start, "stop": ids.stop, "step": ids.step}
    return [_encode_id(raw) for raw in ids.tolist()]


def _encode_id(raw: Any) -> Any:
    # JSON has no tuples: a list in the file is a tuple in the catalog.
    if isinstance(raw, tuple):
        return [_encode_id(part) for part in raw]
    if isinstance(raw, (str, int, float)):
        return raw
    raise CheckpointError(f"Ids must be strings, numbers or tuples of them to be saved; got {raw!r}.")


def _decode_ids(ids: Any) -> Any:
    if isinstance(ids, dict):
        return range(ids["start"], ids["stop"], ids["step"])
    return pd.Index([_decode_id(raw) for raw in ids], tupleize_cols=False)


def _decode_id(raw: Any) -> Any:
    return tuple(_decode_id(part) for part in raw) if isinstance(raw, list) else raw


def _encode_objective(objective: Objective) -> dict[str, Any] | None:
    kind = type(objective.confidence).__name__
    if _CONFIDENCES.get(kind) is not type(objective.confidence):
        return None
    document = {field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)}
    document["confidence"] = {
        "kind": kind,
        **{field.name: getattr(objective.confidence, field.name) for field in dataclasses.fields(objective.confidence)},
    }
    return _as_json(document)


def _as_json(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _as_json(value) for name, value in node.items()}
    if isinstance(node, Sides):
        return {"user": _as_json(node.user), "item": _as_json(node.item)}
    return node if isinstance(node, str) else np.asarray(node).tolist()


def _decode_objective(document: dict[str, Any]) -> Objective:
    settings = dict(document["confidence"])
    confidence = _CONFIDENCES[settings.pop("kind")](**settings)
    ridge = document["regularization"]
    if isinstance(ridge, dict):
        ridge = Sides(**{side: np.asarray(of) if isinstance(of, list) else of for side, of in ridge.items()})
    return Objective(**{**document, "confidence": confidence, "regularization": ridge})
