"""Models as .npz files, in the format that implicit reads and writes. Host side."""

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxals._base.archives import read_arrays
from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api._errors import MissingFileError, brief
from jaxals.implicit_api._settings import device_of, dtype_of, require_settings

_TABLES = ("user_factors", "item_factors")
_SETTINGS = (
    *("regularization", "factors", "num_threads", "iterations", "use_native", "use_cg", "cg_steps"),
    *("calculate_training_loss", "dtype", "random_state", "alpha", "use_gpu"),
)


def save(model: Any, file: Any) -> None:
    """Write a model; a `random_state` that is not an integer is left out, since it would be a pickle."""
    values = {name: getattr(model, name) for name in (*_TABLES, *_SETTINGS)}
    values["dtype"] = model.dtype.name
    if not isinstance(model.random_state, (int, np.integer)):
        values["random_state"] = None
    write(file, values)


def load(model: Any, file: Any) -> None:
    """Read tables and settings into a new model; whatever else is in the file is ignored.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is damaged, holds something else, or its parts do not belong together.
        ConfigurationError: It does not fit into memory.
    """
    arrays, where = read(file, (*_TABLES, *_SETTINGS), "a model of implicit")
    if "factors" not in arrays and not all(name in arrays for name in _TABLES):
        raise DataError(f"{where} is no model of implicit: it holds neither `factors` nor both tables of factors.")
    vars(model).update({name: setting(arrays, name, where) for name in _SETTINGS if name in arrays})
    vars(model).update({name: _table(arrays[name], name, where) for name in _TABLES if name in arrays})
    widths = {name: getattr(model, name).shape[1] for name in _TABLES if name in arrays}
    if len(set(widths.values())) > 1:
        raise DataError(
            f"{where} is damaged: its factors are {widths['user_factors']} and {widths['item_factors']} wide."
        )
    # What a program set by hand may be wider or narrower than the setting, which only new tables follow.
    model.factors = next(iter(widths.values()), model.factors)
    try:
        model.dtype = dtype_of("float32" if model.dtype == "float16" else model.dtype)
        require_settings(model)
    except ConfigurationError as error:
        raise DataError(f"{where} is no model of implicit that can go on: {error}") from None
    with contextlib.suppress(ConfigurationError):
        device_of(model.use_gpu)
        return
    model.use_gpu = None  # trained on a device that this machine has not


def write(file: Any, values: Mapping[str, Any]) -> None:
    """Write what is not None to an .npz file, as implicit does."""
    np.savez(file, **{name: value for name, value in values.items() if value is not None})


def read(file: Any, names: Collection[str], what: str) -> tuple[dict[str, np.ndarray], str]:
    """Read arrays of a file, whose name may lack its ending, and say where they are from."""
    if not isinstance(file, (str, os.PathLike)):
        if not hasattr(file, "read"):
            raise DataError(f"`fileobj_or_path` must be a path or an open file; got {brief(file)}.")
        return read_arrays(file, names, what), "The file"
    path = os.fsdecode(file)
    path = path if path.endswith(".npz") else f"{path}.npz"
    if not os.path.isfile(path):
        raise MissingFileError(f"There is no file {path!r}.")
    return read_arrays(path, names, what), path


def setting(arrays: Mapping[str, np.ndarray], name: str, where: str) -> Any:
    """Return one setting of a file as Python has it."""
    if arrays[name].shape != ():
        raise DataError(f"{where} is damaged: `{name}` is an array of shape {arrays[name].shape}.")
    return arrays[name].item()


def _table(table: np.ndarray, name: str, where: str) -> np.ndarray:
    if table.ndim != 2 or table.dtype.kind != "f" or table.itemsize > 8 or not np.isfinite(table).all():
        raise DataError(f"{where} is damaged: `{name}` is no table of finite numbers, but {table.dtype} {table.shape}.")
    return table.astype(np.float32) if table.dtype == np.float16 else table  # which implicit has on a GPU
