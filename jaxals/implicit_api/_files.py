"""Models as .npz files, in the format that implicit reads and writes. Host side."""

import os
from typing import Any

import numpy as np

_NAMES = (
    *("user_factors", "item_factors", "regularization", "factors", "num_threads", "iterations", "use_native"),
    *("use_cg", "cg_steps", "calculate_training_loss", "dtype", "random_state", "alpha"),
)


def save(model: Any, file: Any) -> None:
    """Write a model; a `random_state` that is not an integer is left out, since it would be a pickle."""
    values = {name: getattr(model, name) for name in _NAMES}
    values["dtype"] = model.dtype.name
    if not isinstance(model.random_state, (int, np.integer)):
        values["random_state"] = None
    np.savez(file, **{name: value for name, value in values.items() if value is not None})


def load(file: Any) -> dict[str, Any]:
    """Read a model's attributes; whatever else is in the file is ignored."""
    if isinstance(file, (str, os.PathLike)):
        file = os.fspath(file)
        file = file if file.endswith(".npz") else f"{file}.npz"
    with np.load(file, allow_pickle=False) as data:
        values = {name: data[name] for name in _NAMES if name in data}
    values = {name: value if value.shape else value.item() for name, value in values.items()}
    return values | {"dtype": np.dtype(values.get("dtype", "float32"))}
