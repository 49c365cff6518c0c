"""Interactions and their raw ids, as the host keeps them: sorted, unique COO triples in NumPy. Host side."""

import dataclasses
import os
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy.sparse
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import checked_dtype, require_kind, told
from jaxals._base.checks import require_one_of, require_side
from jaxals._base.pytree import pytree, static
from jaxals.data.catalog import Catalog, Side
from jaxals.data.checks import checked_selection, checked_shape, require_held
from jaxals.data.columns import as_frame, as_numbers, columns_by_role, require_finite_numbers
from jaxals.data.frames import Library, require_library, to_library
from jaxals.data.ids import factorize, find
from jaxals.data.nearest import unknown_message
from jaxals.data.tables import read_table
from jaxals.data.triples import Duplicates, check_bounds, check_shape, compact, index_array, sorted_unique, value_array
from jaxals.errors import DataError, UnknownIdError

Unknown = Literal["error", "drop"]

# Indices are int32, and the sort key user * n_items + item then fits into int64.
_VALUES = ("value", np.floating, "floating-point numbers")
_MOST_ROWS = 2**31 - 1


@pytree
class COO:
    """The device's view of interactions: one entry per (user, item) pair, sorted by user and then item.

    Attributes:
        user: Row index of each entry, int32.
        item: Column index of each entry, int32.
        value: Strength of each entry, never zero.
        n_users: Number of users, static.
        n_items: Number of items, static.

    Example:
        >>> import jaxals
        >>> entries = jaxals.Interactions.from_arrays([1, 0, 0], [0, 2, 1], [5.0, 1.0, 2.0]).to_coo()
        >>> entries.user.tolist(), entries.item.tolist(), entries.value.tolist(), entries.n_items
        ([0, 0, 1], [1, 2, 0], [2.0, 1.0, 5.0], 3)
    """

    user: Int[Array, " entries"]
    item: Int[Array, " entries"]
    value: Float[Array, " entries"]
    n_users: int = static()
    n_items: int = static()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Who interacted with what, and how strongly: sorted, unique (user, item, value) triples and their raw ids.

    Users are rows and items are columns, everywhere. Build one with `from_frame`, `from_file`, `from_scipy`
    or `from_arrays`; the constructor itself expects triples that are already sorted and unique.

    Attributes:
        user: Row index of each entry, int32, ascending.
        item: Column index of each entry, int32, ascending within a user.
        value: Strength of each entry, finite and never zero; below zero means dislike. float32 where that
            holds every value exactly, else float64.
        catalog: Raw ids of the rows and columns.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> plays = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": ["Air", "Moby", "Air"], "value": [3, 1, 7]})
        >>> jaxals.Interactions.from_frame(plays)
        Interactions(2 users x 2 items, 3 entries, density 0.75)
    """

    user: Int[np.ndarray, " entries"]
    item: Int[np.ndarray, " entries"]
    value: Float[np.ndarray, " entries"]
    catalog: Catalog

    def __post_init__(self) -> None:
        require_kind("catalog", self.catalog, Catalog, "a `Catalog`", DataError)
        for name, kind, what in (("user", np.integer, "integers"), ("item", np.integer, "integers"), _VALUES):
            array = getattr(self, name)
            is_right = isinstance(array, np.ndarray) and array.ndim == 1 and np.issubdtype(array.dtype, kind)
            if not is_right or len(array) != len(self.user):
                raise DataError(
                    f"`{name}` must be a 1-D NumPy array of {what}, as long as `user`; got {told(array)}; "
                    "`Interactions.from_arrays` takes others."
                )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        user: Hashable = "user",
        item: Hashable = "item",
        value: Hashable | None = "value",
        duplicates: Duplicates = "sum",
        catalog: Catalog | None = None,
        unknown: Unknown = "error",
    ) -> "Interactions":
        """Read interactions from the columns of a table; ids may be anything hashable.

        Ids are numbered in sorted order, by value: categories and dictionaries are what they stand for, nullable
        integers are integers, and nothing is converted to a float or to text.

        Args:
            frame: One row per event or per pair: a DataFrame (columns, or levels of its index, by name), a dictionary
                of columns, a list of dictionaries, a structured array, or a table of polars, Arrow,
                DuckDB or dask; of a LazyFrame or the like only these columns are computed.
            user: Column of raw user ids.
            item: Column of raw item ids.
            value: Column of values, or None to count each row as 1.
            duplicates: What several rows of one pair become: their "sum", their "max", the "last", or an "error".
            catalog: Users and items to number by, so that two tables share them; by default those of the table.
            unknown: Whether a row whose user or item `catalog` has not is an "error", or one to "drop".

        Returns:
            Interactions whose catalog holds the ids that were there, in sorted order.

        Raises:
            DataError: A column is missing, there twice or named for two roles; an id is missing, or a value is no
                finite number.
            UnknownIdError: An id is not in `catalog`.
            ConfigurationError: `unknown` is neither "error" nor "drop".

        Example:
            >>> import jaxals
            >>> train = jaxals.Interactions.from_frame({"user": ["ann", "bob"], "item": [1, 2], "value": [3, 1]})
            >>> later = {"user": ["bob", "eve"], "item": [1, 1], "value": [2, 5]}
            >>> jaxals.Interactions.from_frame(later, catalog=train.catalog, unknown="drop").to_frame().values.tolist()
            [['bob', 1, 2.0]]
        """
        require_one_of("unknown", unknown, "error", "drop")
        if catalog is not None:
            what = "a Catalog, such as that of other interactions, or None"
            require_kind("catalog", catalog, Catalog, what, DataError)
        frame = as_frame(frame, columns_by_role(user=user, item=item, value=value))
        rows, users = factorize(frame[user], f"column {user!r}")
        columns, items = factorize(frame[item], f"column {item!r}")
        numbers = np.ones(len(frame), np.float32)
        if value is not None:
            where = f"Column {value!r}"
            numbers = as_numbers(frame[value], where)
            require_finite_numbers(numbers, frame[value], where)
        if catalog is None:
            catalog = Catalog(users, items)
        else:
            rows = _places(catalog.users, users, "user", unknown)[rows]
            columns = _places(catalog.items, items, "item", unknown)[columns]
            known = (rows >= 0) & (columns >= 0)
            rows, columns, numbers = rows[known], columns[known], numbers[known]
        return cls.from_arrays(rows, columns, numbers, catalog=catalog, duplicates=duplicates)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike,
        user: str = "user",
        item: str = "item",
        value: str | None = "value",
        duplicates: Duplicates = "sum",
        names: Sequence[str] | None = None,
        catalog: Catalog | None = None,
        unknown: Unknown = "error",
    ) -> "Interactions":
        """Read a TSV, CSV or Parquet file by column names.

        Args:
            path: File ending in .tsv, .csv, .txt or .dat (also compressed, as in .tsv.gz), or .parquet.
            user: Column of raw user ids.
            item: Column of raw item ids.
            value: Column of values, or None to count each row as 1.
            duplicates: What several rows of one pair become: their "sum", their "max", the "last", or an "error".
            names: Column names of a text file that has no header line.
            catalog: As in `from_frame`.
            unknown: As in `from_frame`.

        Raises:
            DataError: The file or a column is missing, or a line is broken (the message has its number).
            UnknownIdError: An id is not in `catalog`.
        """
        frame = read_table(path, user=user, item=item, value=value, names=names)
        return cls.from_frame(frame, user, item, value, duplicates, catalog, unknown)

    @classmethod
    def from_scipy(
        cls,
        matrix: Any,
        users: Iterable[Hashable] | None = None,
        items: Iterable[Hashable] | None = None,
        duplicates: Duplicates = "sum",
    ) -> "Interactions":
        """Read a scipy sparse matrix of users x items; ids default to 0, 1, 2, ...

        Args:
            matrix: 2-D and sparse, of any format; explicit zeros are no entries.
            users: Raw ids of the rows, 0, 1, 2, ... by default.
            items: Raw ids of the columns, likewise.
            duplicates: As in `from_frame`.

        Returns:
            Interactions of the shape of the matrix.

        Raises:
            DataError: The matrix is not sparse or not 2-D, or ids and shape differ (a transposed matrix, often).
        """
        # Sparse arrays may be 1-D; sparse matrices may not.
        if not scipy.sparse.issparse(matrix) or getattr(matrix, "ndim", 0) != 2:
            kind = type(matrix).__name__
            raise DataError(f"`matrix` must be a 2-D scipy sparse matrix of users x items; got {kind}.")
        coo: Any = scipy.sparse.coo_array(matrix)  # type: ignore[call-overload]
        n_users, n_items = coo.shape
        users = range(n_users) if users is None else users
        items = range(n_items) if items is None else items
        catalog = Catalog(users, items)
        check_shape((n_users, n_items), catalog.shape)
        values = as_numbers(coo.data, "The entries of `matrix`")
        return cls.from_arrays(coo.row, coo.col, values, catalog=catalog, duplicates=duplicates)

    @classmethod
    def from_arrays(
        cls,
        user: Any,
        item: Any,
        value: Any = None,
        shape: tuple[int, int] | None = None,
        catalog: Catalog | None = None,
        duplicates: Duplicates = "sum",
    ) -> "Interactions":
        """Read index arrays of equal length; indices count from 0.

        Args:
            user: Integer indices of users.
            item: Integer indices of items.
            value: Values, or None for 1 each.
            shape: Number of users and items; by default the catalog's, else just enough for the indices.
            catalog: Raw ids; by default 0, 1, 2, ...
            duplicates: As in `from_frame`.

        Returns:
            Interactions sorted by user and item, zeros left out.

        Raises:
            DataError: Lengths differ, nothing is left, an index is past the shape or the shape past 2^31 - 1, or a
                value is not finite.

        Example:
            >>> import jaxals
            >>> jaxals.Interactions.from_arrays([0, 0, 1], [0, 0, 2], [1.0, 2.0, 5.0]).value
            array([3., 5.], dtype=float32)
        """
        if not isinstance(duplicates, str) or duplicates not in ("sum", "max", "last", "error"):
            raise DataError(f'`duplicates` must be "sum", "max", "last" or "error"; got {told(duplicates)}.')
        user, item = index_array(user, "user"), index_array(item, "item")
        value = np.ones(len(user), np.float32) if value is None else value_array(value)
        if not len(user) == len(item) == len(value):
            raise DataError(
                f"`user`, `item` and `value` must have one length; got {len(user)}, {len(item)} and {len(value)}."
            )
        if catalog is not None:
            require_kind("catalog", catalog, Catalog, "a `Catalog` or None", DataError)
        if shape is not None:
            shape = checked_shape(shape)
        if shape is None:
            shape = catalog.shape if catalog else (int(user.max(initial=-1)) + 1, int(item.max(initial=-1)) + 1)
        if max(shape) > _MOST_ROWS:
            raise DataError(
                f"The shape is {tuple(shape)}, past {_MOST_ROWS:,} users or items; indices that are raw ids belong in "
                "`from_frame`, which numbers them."
            )
        if catalog is None:
            catalog = Catalog(range(shape[0]), range(shape[1]))
        check_shape(tuple(shape), catalog.shape)
        check_bounds(user, item, shape)
        user, item, value = sorted_unique(user, item, value, catalog, duplicates)
        if not len(value):
            raise DataError("There are no interactions: every value is zero or no row was given.")
        return cls(user.astype(np.int32), item.astype(np.int32), compact(value), catalog)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""
        return self.catalog.shape

    @property
    def n_users(self) -> int:
        """Number of users, with and without interactions."""
        return self.shape[0]

    @property
    def n_items(self) -> int:
        """Number of items, with and without interactions."""
        return self.shape[1]

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        density = len(self) / (self.n_users * self.n_items)
        shape = f"{self.n_users:,} users x {self.n_items:,} items"
        return f"Interactions({shape}, {len(self):,} entries, density {density:.2g})"

    def counts(self, side: Side = "user") -> Int[np.ndarray, " rows"]:
        """Count the interactions of each user (or item), int64.

        Args:
            side: "user" or "item".

        Returns:
            One count per row of that side, 0 where there are none.

        Raises:
            ConfigurationError: `side` is neither.
        """
        require_side(side)
        index, size = (self.user, self.n_users) if side == "user" else (self.item, self.n_items)
        return np.bincount(index, minlength=size)

    def row_starts(self) -> Int[np.ndarray, " users_plus_1"]:
        """Return where each user's entries begin, and the end: CSR's `indptr`, int64."""
        return np.concatenate([[0], np.cumsum(self.counts())])

    def select(self, keep: np.ndarray) -> "Interactions":
        """Keep the entries that a boolean mask (or ascending positions) names; the catalog stays whole."""
        keep = checked_selection(keep, len(self))
        return Interactions(self.user[keep], self.item[keep], self.value[keep], self.catalog)

    def is_among(self, other: "Interactions") -> Bool[np.ndarray, " entries"]:
        """Tell which entries' pairs of user and item are in other interactions of the same catalog, too."""
        require_interactions("other", other)
        if other.shape != self.shape:
            raise DataError(f"`other` is about {other.shape} users and items, not {self.shape}.")
        ours, theirs = (data.user.astype(np.int64) * self.n_items + data.item for data in (self, other))
        return np.isin(ours, theirs, assume_unique=True)

    def to_coo(self, dtype: Any = jnp.float32) -> COO:
        """Copy the triples to the device, values in `dtype`.

        Args:
            dtype: Of the values.

        Returns:
            The entries as JAX arrays: what `Objective.loss` takes inside of `jax.jit`.

        Raises:
            DataError: A value is 0 or infinite in `dtype`.
        """
        dtype = checked_dtype("dtype", dtype)
        require_held(self.value, dtype)
        return COO(
            jnp.asarray(self.user), jnp.asarray(self.item), jnp.asarray(self.value, dtype), self.n_users, self.n_items
        )

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """Copy the triples into a scipy CSR matrix of users x items."""
        indices, starts = self.item.copy(), self.row_starts()
        return scipy.sparse.csr_matrix((self.value.copy(), indices, starts), shape=self.shape)

    def to_frame(self, frame: Library = "pandas") -> Any:
        """Copy the triples into a DataFrame of raw ids with columns user, item and value.

        Args:
            frame: "pandas", "polars" or "pyarrow": whose frame it is to be.

        Raises:
            ConfigurationError: `frame` is none of these.
            DataError: The library has no type for the ids.
            MissingDependencyError: The library is not installed.
        """
        require_library(frame)
        users, items = self.catalog.users[self.user], self.catalog.items[self.item]
        return to_library(pd.DataFrame({"user": users, "item": items, "value": self.value}), frame)


def require_interactions(name: str, value: Any) -> None:
    """Refuse anything but `Interactions`, and say how to make them of a sparse matrix.

    Raises:
        DataError: It is something else.
    """
    kind = type(value).__name__
    if scipy.sparse.issparse(value):
        raise DataError(f"`{name}` is a {kind}; pass `Interactions.from_scipy(matrix)`, with users as rows.")
    if not isinstance(value, Interactions):
        raise DataError(f"`{name}` must be `Interactions`, from a frame, file or matrix; got {kind}.")


def _places(known: pd.Index, given: pd.Index, side: Side, unknown: Unknown) -> np.ndarray:
    found = find(known, given)
    if unknown == "error" and (found < 0).any():
        raise UnknownIdError(unknown_message(known, given[found < 0].tolist()[0], side))
    return found
