"""Models in folders: factors, interactions with their raw ids, and the objective. Host side."""

import dataclasses
import importlib.metadata
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxals._base.arguments import checked_path, first_line, require_flag
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import CheckpointError, ConfigurationError, DataError
from jaxals.models.folder import (
    MALFORMED,
    is_folder,
    read_document,
    read_folder,
    require_utf8,
    require_writable,
    write_folder,
)
from jaxals.objective import confidence as confidences
from jaxals.objective.factors import Factors, require_shape
from jaxals.objective.objective import Objective, Sides, require_objective

_FORMAT = 2
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
    folder: str | os.PathLike,
    factors: Factors,
    interactions: Interactions,
    objective: Objective | None = None,
    is_non_negative: bool = False,
) -> None:
    """Write a model to a folder that does not exist yet, or holds a model to be replaced.

    The model that is replaced stays where it is until the new one is whole.

    Args:
        folder: Where to; made with its parents.
        factors: Both tables.
        interactions: What they were trained on, with the catalog of raw ids.
        objective: What they minimise. One with a user-written confidence is left out: the loader cannot rebuild it.
        is_non_negative: Whether rows that are solved for shall have no factor below 0.

    Raises:
        CheckpointError: The folder holds something else or cannot be written, or an id cannot be stored.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.models import load_model, save_model
        >>> data = jaxals.Interactions.from_arrays([0, 1], [0, 0])
        >>> folder = tempfile.mkdtemp() + "/model"
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> save_model(folder, factors, data, jaxals.Objective.hkv(alpha=15.0))
        >>> factors, interactions, objective = load_model(folder)
        >>> objective == jaxals.Objective.hkv(alpha=15.0)
        True
    """
    require_interactions("interactions", interactions)
    require_shape(factors, interactions.shape)
    if objective is not None:
        require_objective("objective", objective)
    require_flag("is_non_negative", is_non_negative)
    path = require_model_place(folder)
    arrays = {
        "user_factors": np.asarray(factors.user),
        "item_factors": np.asarray(factors.item),
        "user": interactions.user,
        "item": interactions.item,
        "value": interactions.value,
    }
    document = {
        "kind": "model",
        "format": _FORMAT,
        "versions": versions(),
        "users": _encode_ids(interactions.catalog.users),
        "items": _encode_ids(interactions.catalog.items),
        "objective": None if objective is None else _encode_objective(objective),
        "is_non_negative": bool(is_non_negative),
    }
    try:
        write_folder(path, arrays, document)
    # TensorStore reports a full disk by a type that is not its own.
    except (OSError, ValueError) as error:
        raise _not_writable(folder, error) from None


def versions() -> dict[str, str]:
    """Return the versions that a folder is written by."""
    return {name: importlib.metadata.version(name) for name in ("jaxals", "jax", "orbax-checkpoint")}


def require_model_place(folder: str | os.PathLike) -> pathlib.Path:
    """Return the absolute path of a folder that a model may be written to, its parents made.

    Raises:
        CheckpointError: The folder holds something else, or cannot be written.
    """
    given = checked_path("folder", folder, CheckpointError)
    require_utf8(given.absolute())
    path = given.resolve()
    try:
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]) and not _is_replaceable(path):
            raise CheckpointError(f"{folder} holds something other than a jaxals model; name a new folder.")
        if path.is_mount():
            raise CheckpointError(f"{folder} is a mount point, which cannot be replaced; name a folder in it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        require_writable(path)
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

    Args:
        folder: That `save_model`, `Recommender.save` or `jaxals fit` wrote.

    Returns:
        Both tables, the interactions with their catalog, and the objective; None where it was not kept. (That rows may
        have no factor below 0 is kept by `Recommender.load` alone.)

    Raises:
        CheckpointError: The folder is missing, is not a model, or is damaged.
        ConfigurationError: There is not enough memory for it.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.models import load_model, save_model
        >>> data = jaxals.Interactions.from_arrays([0, 1], [0, 0])
        >>> folder = tempfile.mkdtemp() + "/model"
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> save_model(folder, factors, data, jaxals.Objective.hkv(alpha=15.0))
        >>> factors, interactions, objective = load_model(folder)
        >>> factors.user.shape, len(interactions), objective.confidence.alpha
        ((2, 3), 2, 15.0)
    """
    return load_parts(folder)[:3]


def load_parts(folder: str | os.PathLike) -> tuple[Factors, Interactions, Objective | None, bool]:
    """Read a model as `load_model` does, and whether rows that are solved for shall have no factor below 0.

    Raises:
        CheckpointError: The folder is missing, is not a model, or is damaged.
        ConfigurationError: There is not enough memory for it.
    """
    path = checked_path("folder", folder, CheckpointError).absolute()
    if not path.is_dir():
        raise CheckpointError(f"There is no model folder {folder}.")
    if not is_folder(path):
        raise CheckpointError(f"{folder} is not a jaxals model: name a folder that `save` or `jaxals fit` wrote.")
    arrays, document = read_folder(path)
    if not isinstance(document, dict) or document.get("kind") != "model":
        raise CheckpointError(f"{folder} is not a jaxals model: name a folder that `save` or `jaxals fit` wrote.")
    if document.get("format") != _FORMAT:
        raise CheckpointError(f"{folder} has model format {document.get('format')}; this version reads {_FORMAT}.")
    try:
        return _decode(arrays, document)
    except (CheckpointError, ConfigurationError, DataError, *MALFORMED) as error:
        raise CheckpointError(f"The model in {folder} is damaged: {first_line(error)}.") from None


def _is_replaceable(path: pathlib.Path) -> bool:
    """Tell whether a folder is a whole model that `save_model` wrote, and nothing besides."""
    document = read_document(path)
    return is_folder(path, and_nothing_besides=True) and isinstance(document, dict) and document.get("kind") == "model"


def _not_writable(folder: str | os.PathLike, error: Exception) -> CheckpointError:
    return CheckpointError(f"The model cannot be written to {folder}: {first_line(error)}.")


def _decode(
    arrays: dict[str, np.ndarray], document: dict[str, Any]
) -> tuple[Factors, Interactions, Objective | None, bool]:
    catalog = Catalog(_decode_ids(document["users"]), _decode_ids(document["items"]))
    user, item = arrays["user_factors"], arrays["item_factors"]
    if user.ndim != 2 or item.ndim != 2 or user.dtype.kind != "f" or item.dtype.kind != "f":
        raise CheckpointError("its factors are no tables of numbers")
    if (len(user), len(item)) != catalog.shape or user.shape[1] != item.shape[1]:
        raise CheckpointError("its factors and ids do not match")
    if not (np.isfinite(user).all() and np.isfinite(item).all()):
        raise CheckpointError("a factor is not finite")
    interactions = Interactions.from_arrays(arrays["user"], arrays["item"], arrays["value"], catalog=catalog)
    objective, is_non_negative = document["objective"], document.get("is_non_negative", False)
    if not isinstance(is_non_negative, bool):
        raise CheckpointError("it does not say whether factors may be below 0")
    factors = Factors(jnp.asarray(user), jnp.asarray(item))
    return factors, interactions, None if objective is None else _decode_objective(objective), is_non_negative


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
    if not isinstance(ids, list):
        raise CheckpointError("its ids are no list")
    return [_decode_id(raw) for raw in ids]


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
    kind = _CONFIDENCES[settings.pop("kind")]
    rest = {name: value for name, value in document.items() if name not in ("confidence", "regularization")}
    if not all(_is_number(value) for value in (*settings.values(), *rest.values())):
        raise CheckpointError("its objective has settings that are not numbers")
    ridge = document["regularization"]
    if isinstance(ridge, dict):
        ridge = Sides(**{side: _decode_ridge(of) for side, of in ridge.items()})
    else:
        ridge = _decode_ridge(ridge)
    return Objective(kind(**settings), regularization=ridge, **rest)


def _decode_ridge(ridge: Any) -> Any:
    """Return λ of one side or both: a number, or one number per row."""
    if isinstance(ridge, list) and all(map(_is_number, ridge)):
        return np.asarray(ridge, float)
    if not _is_number(ridge):
        raise CheckpointError("its objective has settings that are not numbers")
    return ridge


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
