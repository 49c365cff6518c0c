"""Where a training stands as arrays and a document, and back again. Host side."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxals.errors import CheckpointError, DamageError
from jaxals.objective.factors import Factors
from jaxals.training.interruption import REASONS
from jaxals.training.state import Position, is_lower_better

Arrays = dict[str, np.ndarray]
Document = dict[str, Any]

# Where one of these has changed, what early stopping remembers cannot be compared with what it will see.
# Code that has changed may be of any of them.
_WATCHED = ("early_stopping.monitor", "objective", "interactions", "validation", "code.")


def encode(position: Position) -> tuple[Arrays, Document]:
    """Turn where a training stands into what can be stored."""
    names, leaves, _ = _leaves(position.state)
    arrays = {f"state-{number}": _to_host(leaf) for number, leaf in enumerate(leaves)}
    tables = [
        next(k for k, leaf in enumerate(leaves) if leaf is table) for table in jax.tree.leaves(position.state.factors)
    ]
    document = {
        "step": position.step,
        "seconds": position.seconds,
        "compile_seconds": position.compile_seconds,
        "records": position.records,
        "stopped": None if position.stopped in REASONS else position.stopped,
        "leaves": names,
        "tables": [f"state-{number}" for number in tables],
    }
    if watch := position.watch:
        arrays |= {"best-user": _to_host(watch.factors.user), "best-item": _to_host(watch.factors.item)}
        document["watch"] = {name: getattr(watch, name) for name in ("top", "best", "since_best")}
    return arrays, document


def decode(arrays: Arrays, document: Document, start: Position, changed: Iterable[str] = ()) -> Position:
    """Return where a training stood.

    Args:
        arrays: What `encode` returned.
        document: Likewise.
        start: Where the training that goes on stands before its first step.
        changed: Names of what it has other than the training that was encoded. Then it goes on even where that had come
            to its end, and where what early stopping watches means something else, its memory begins anew.

    Raises:
        CheckpointError: The state is not one of this training.
    """
    names, leaves, tree = _leaves(start.state)
    if names != document["leaves"]:
        raise CheckpointError(f"The checkpoint's state has {document['leaves']}, but the trainer's {names}.")
    state = tree.unflatten(
        [_like(leaf, arrays[f"state-{k}"], name) for k, (leaf, name) in enumerate(zip(leaves, names, strict=True))]
    )
    watch, changed = start.watch, list(changed)
    if watch and "watch" in document and not any(name.startswith(_WATCHED) for name in changed):
        factors = watch.factors
        best = Factors(*(_like(getattr(factors, side), arrays[f"best-{side}"], side) for side in ("user", "item")))
        watch = dataclasses.replace(watch, factors=best, **document["watch"])
    elif watch:
        watch = dataclasses.replace(watch, factors=state.factors)
        # Stopping that was added: of the steps until here, the factors of the last one alone are there.
        last = document["records"][-1] if document["records"] else {}
        if watch.settings.monitor in last and not changed:
            watch = watch.after(last, state.factors)
    stopped = None if changed else document["stopped"]
    # Older checkpoints count what compiling took among the seconds of training.
    spent = document["seconds"], document.get("compile_seconds", 0.0)
    return Position(state, watch, document["step"], *spent, tuple(document["records"]), stopped)


def tables(arrays: Arrays, document: Document) -> tuple[np.ndarray, np.ndarray]:
    """Return both tables of factors after the step.

    Raises:
        DamageError: They are no two tables of finite numbers that go together.
    """
    user, item = (arrays[name] for name in document["tables"])
    for table in (user, item):
        if table.ndim != 2 or not jnp.issubdtype(table.dtype, jnp.floating) or not np.isfinite(table).all():
            raise DamageError("its factors are no tables of finite numbers")
    if user.shape[1] != item.shape[1]:
        raise DamageError("its tables have different numbers of factors")
    return user, item


def require_document(document: Document) -> None:
    """Refuse what `encode` and the folder of checkpoints do not write; what is missing is a `KeyError`.

    Raises:
        DamageError: Something in it is of another kind.
    """
    watch = document.get("watch", {})
    spent = document["seconds"], document.get("compile_seconds", 0.0)
    numbers = [*spent, *watch.values(), *(one for row in document["records"] for one in row.values())]
    names = [*document["leaves"], *document["tables"], *document["columns"]]
    whole = [document["records"], document["leaves"], document["tables"], document["columns"]]
    if not (
        type(document["step"]) is int
        and all(isinstance(part, list) for part in whole)
        and all(type(number) in (int, float) for number in numbers)
        and all(isinstance(name, str) for name in names)
        and set(watch) in (set(), {"top", "best", "since_best"})
        and isinstance(document["stopped"], (str, type(None)))
        and all(isinstance(document[part], dict) for part in ("description", "versions"))
    ):
        raise DamageError("its document is not of a checkpoint")


def score(document: Any, best: str) -> float:
    """Return what was measured at a checkpoint; where that cannot be read it is the worst."""
    worst = float("inf") if is_lower_better(best) else float("-inf")
    try:
        value = document["records"][-1][best]
        return worst if np.isnan(value) else value
    except (TypeError, KeyError, IndexError):
        return worst


def _leaves(state: Any) -> tuple[list[str], list[Any], Any]:
    """Return the names and values of a state's leaves, and how they hang together."""
    named, tree = jax.tree_util.tree_flatten_with_path(state)
    return [jax.tree_util.keystr(path) for path, _ in named], [leaf for _, leaf in named], tree


def _to_host(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _like(leaf: Any, array: np.ndarray, name: str) -> Any:
    """Put an array where a leaf of the first state is."""
    expected = _to_host(leaf)
    if (expected.shape, expected.dtype) != (array.shape, array.dtype):
        was, now = (f"{one.dtype}{list(one.shape)}" for one in (array, expected))
        raise CheckpointError(f"The checkpoint's `state{name}` is {was}, but the trainer's {now}.")
    if not isinstance(leaf, jax.Array):
        return array if isinstance(leaf, np.ndarray) else array.item()
    placed = jax.device_put(array, leaf.sharding) if leaf.committed else jnp.asarray(array)
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else placed
