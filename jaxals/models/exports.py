"""Factors with their raw ids in files that other programs read: NumPy, Parquet, and models of implicit. Host side.

Whatever reads vectors can serve them, such as an index of nearest neighbours.
"""

import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxals._base.archives import read_arrays
from jaxals._base.arguments import checked_path, first_line, require_kind
from jaxals.data.catalog import Catalog, Side
from jaxals.errors import DataError, MissingDependencyError
from jaxals.models.indexes import augmented as augmented
from jaxals.models.indexes import faiss_index as faiss_index
from jaxals.models.indexes import hnswlib_index as hnswlib_index
from jaxals.models.indexes import normalized as normalized
from jaxals.models.indexes import usearch_index as usearch_index
from jaxals.objective.confidence import ImplicitConfidence
from jaxals.objective.factors import Factors, require_factors, require_shape
from jaxals.objective.objective import Objective, Sides, require_objective

_SIDES: tuple[Side, Side] = ("user", "item")


def save_npz(path: str | os.PathLike, factors: Factors, catalog: Catalog) -> None:
    """Write an .npz file with the arrays user_factors, item_factors, user_ids and item_ids.

    Args:
        path: The file; one that is there is replaced.
        factors: Both tables.
        catalog: Raw ids, those of a side all strings, all integers or all floating-point numbers.

    Raises:
        DataError: The ids are of other types, or not as many as there are rows.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "factors.npz"
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> jaxals.exports.save_npz(path, factors, jaxals.Catalog(["ann", "bob"], [7]))
        >>> factors, catalog = jaxals.exports.load_npz(path)
        >>> factors.user.shape, catalog.users.tolist()
        ((2, 3), ['ann', 'bob'])
    """
    path = checked_path("path", path, DataError)
    require_kind("catalog", catalog, Catalog, "a `Catalog`", DataError)
    require_shape(factors, catalog.shape)
    tables = {f"{side}_factors": np.asarray(getattr(factors, side)) for side in _SIDES}
    ids = {f"{side}_ids": _as_array(index, side) for side, index in zip(_SIDES, _indexes(catalog), strict=True)}
    _save_npz(path, **tables, **ids)


def load_npz(path: str | os.PathLike) -> tuple[Factors, Catalog]:
    """Read what `save_npz` wrote, or anything else with arrays of those names.

    Args:
        path: The file.

    Returns:
        Both tables, and the raw ids.

    Raises:
        DataError: The file is missing, is damaged, or holds something else.

    Example:
        >>> import tempfile
        >>> import jax
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> file = tempfile.mkdtemp() + "/factors.npz"
        >>> jaxals.exports.save_npz(file, factors, data.catalog)
        >>> loaded, catalog = jaxals.exports.load_npz(file)
        >>> bool(loaded == factors)
        True
    """
    arrays = _read_npz(path, [f"{side}_{what}" for side in _SIDES for what in ("factors", "ids")])
    if any(arrays[f"{side}_ids"].ndim != 1 for side in _SIDES):
        raise DataError(f"The ids in {path} are no lists.")
    catalog = Catalog(*(arrays[f"{side}_ids"] for side in _SIDES))
    return _checked(arrays["user_factors"], arrays["item_factors"], catalog, path), catalog


def save_parquet(folder: str | os.PathLike, factors: Factors, catalog: Catalog) -> None:
    """Write users.parquet and items.parquet to a folder: columns id, and factors as a list of fixed length.

    Args:
        folder: Where to; made with its parents, files that are there are replaced.
        factors: Both tables.
        catalog: Raw ids, those of a side of one type that Parquet knows.

    Raises:
        DataError: The ids are of several types, or not as many as there are rows.
        MissingDependencyError: pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> folder = tempfile.mkdtemp()
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> jaxals.exports.save_parquet(folder, factors, jaxals.Catalog(["ann", "bob"], [7]))
        >>> import pandas as pd
        >>> pd.read_parquet(folder + "/users.parquet")["id"].tolist()
        ['ann', 'bob']
    """
    pyarrow = _pyarrow()
    folder = checked_path("folder", folder, DataError)
    require_kind("catalog", catalog, Catalog, "a `Catalog`", DataError)
    require_shape(factors, catalog.shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {first_line(error)}.") from None
    for side, index in zip(_SIDES, _indexes(catalog), strict=True):
        table = np.asarray(getattr(factors, side))
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(table.ravel()), table.shape[1])
        columns = pyarrow.table({"id": _as_arrow(_as_array(index, side)), "factors": rows})
        pyarrow.parquet.write_table(columns, pathlib.Path(folder, f"{side}s.parquet"))


def load_parquet(folder: str | os.PathLike) -> tuple[Factors, Catalog]:
    """Read what `save_parquet` wrote.

    Args:
        folder: That users.parquet and items.parquet are in.

    Returns:
        Both tables, and the raw ids.

    Raises:
        DataError: A file is missing, is damaged, or holds something else.
        MissingDependencyError: pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> folder = tempfile.mkdtemp()
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> jaxals.exports.save_parquet(folder, factors, jaxals.Catalog(["ann", "bob"], [7]))
        >>> loaded, catalog = jaxals.exports.load_parquet(folder)
        >>> bool(loaded == factors), catalog.users.tolist()
        (True, ['ann', 'bob'])
    """
    pyarrow = _pyarrow()
    folder = checked_path("folder", folder, DataError)
    ids, tables = [], []
    for side in _SIDES:
        path = pathlib.Path(folder, f"{side}s.parquet")
        try:
            columns = pyarrow.parquet.read_table(path, columns=["id", "factors"])
            rows = columns["factors"].combine_chunks()
            tables.append(rows.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1))
            ids.append(columns["id"].to_pylist())
        except (OSError, pyarrow.ArrowException, AttributeError, TypeError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read as factors: {first_line(error)}.") from None
    catalog = Catalog(*ids)
    user, item = tables
    return _checked(user, item, catalog, folder), catalog


def save_implicit(path: str | os.PathLike, factors: Factors, objective: Objective | None = None) -> None:
    """Write an .npz file that `implicit.als.AlternatingLeastSquares.load` reads; it has no room for ids.

    Args:
        path: The file; one that is there is replaced.
        factors: Both tables.
        objective: What they minimise; with `Objective.implicit` its α is written, too, and λ where it is one number.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> path = tempfile.mkdtemp() + "/model.npz"
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> jaxals.exports.save_implicit(path, factors, jaxals.Objective.implicit(alpha=15.0))
        >>> jaxals.implicit_api.AlternatingLeastSquares.load(path).alpha  # and that of implicit itself
        15.0
    """
    path = checked_path("path", path, DataError)
    require_factors("factors", factors)
    if objective is not None:
        require_objective("objective", objective)
    user, item = np.asarray(factors.user), np.asarray(factors.item)
    settings: dict[str, Any] = {"factors": user.shape[1], "dtype": user.dtype.name}
    if objective is not None and isinstance(objective.confidence, ImplicitConfidence):
        settings["alpha"] = float(objective.confidence.alpha)
        if not isinstance(objective.regularization, Sides) and np.ndim(objective.regularization) == 0:
            settings["regularization"] = float(objective.regularization)
    _save_npz(path, user_factors=user, item_factors=item, **settings)


def load_implicit(path: str | os.PathLike) -> Factors:
    """Read the factors of a model that implicit saved.

    Args:
        path: The .npz file.

    Returns:
        Both tables; such a file holds no ids.

    Raises:
        DataError: The file is missing, is damaged, or holds something else.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> path = tempfile.mkdtemp() + "/model.npz"
        >>> factors = jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3)))
        >>> jaxals.exports.save_implicit(path, factors)
        >>> bool(jaxals.exports.load_implicit(path) == factors)
        True
    """
    arrays = _read_npz(path, ["user_factors", "item_factors"])
    return _checked(arrays["user_factors"], arrays["item_factors"], None, path)


def _indexes(catalog: Catalog) -> tuple[pd.Index, pd.Index]:
    return catalog.users, catalog.items


def _as_array(index: pd.Index, side: Side) -> np.ndarray:
    """Return ids as an array that holds no Python objects, which would have to be pickled."""
    # By the index's own type: NumPy makes floats of integers where some are past int64.
    if index.dtype.kind in "iuf" or index.empty:
        return index.to_numpy() if len(index) else np.zeros(0, np.int64)
    raw = index.tolist()
    if all(type(one) is str for one in raw):
        array = np.asarray(raw)
        if array.tolist() == raw:  # NumPy cuts off null characters at the end
            return array
    raise DataError(
        f"The {side} ids must be all strings, all integers or all floats to be exported; got {index[:3]!r}."
    )


def _as_arrow(ids: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.array(ids if ids.dtype.kind in "iuf" else ids.tolist())


def _save_npz(path: pathlib.Path, **arrays: Any) -> None:
    try:
        with open(path, "wb") as file:  # given a name, NumPy would append to it
            np.savez(file, **arrays)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {first_line(error)}.") from None


def _read_npz(path: str | os.PathLike, names: list[str]) -> dict[str, np.ndarray]:
    path = checked_path("path", path, DataError)
    arrays = read_arrays(path, names, "factors")
    if missing := [name for name in names if name not in arrays]:
        raise DataError(f"{path} cannot be read as factors: it holds no {' and no '.join(missing)}.")
    return arrays


def _checked(user: Any, item: Any, catalog: Catalog | None, where: str | os.PathLike) -> Factors:
    for table in (user, item):
        if table.ndim != 2 or table.dtype.kind != "f" or not np.isfinite(table).all():
            raise DataError(f"The factors in {where} must be tables of finite numbers.")
    if user.shape[1] != item.shape[1] or (catalog and catalog.shape != (len(user), len(item))):
        raise DataError(f"The factors in {where} are of shapes {user.shape} and {item.shape}, which do not fit.")
    return Factors(jnp.asarray(user), jnp.asarray(item))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'jaxals[parquet]'.") from None
    return pyarrow
