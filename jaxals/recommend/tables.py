"""A table of factors that grows: what was trained stays as it is, rows solved since lie beside it. Host side.

Nothing is copied when a row is added, and no compiled program sees another shape (`docs/why/serving.md`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxals.objective.factors import gramian
from jaxals.recommend.sizes import late_limit, power_of_two, roomy

Rows = Int[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """Rows that stay as they are, and what is computed of all of them, once, however many tables share them.

    Attributes:
        given: The rows, on whatever devices they lie.
    """

    given: Any

    def __len__(self) -> int:
        return self.given.shape[0]

    @functools.cached_property
    def rows(self) -> Float[Array, "rows factors"]:
        """The rows; of copies on several devices, one."""
        table = jnp.asarray(self.given)
        is_copied = len(table.devices()) > 1 and table.is_fully_replicated and table.is_fully_addressable
        return table.addressable_data(0) if is_copied else table

    @functools.cached_property
    def lengths(self) -> Float[np.ndarray, " rows"]:
        """Each row's Euclidean length."""
        return np.asarray(_lengths(self.rows))

    @functools.cached_property
    def gram(self) -> Float[np.ndarray, "factors factors"]:
        """YᵀY, float64."""
        return np.asarray(_gramian(self.rows), np.float64)

    @functools.cached_property
    def ones(self) -> Float[Array, " rows"]:
        """A one for each row, on the device."""
        return jnp.asarray(np.ones(len(self), self.rows.dtype))

    @functools.cached_property
    def inverse_lengths(self) -> Float[Array, " rows"]:
        """One over each row's length, 0 where that is 0, on the device."""
        return jnp.asarray(inverse(self.lengths))

    def read(self, index: Int[np.ndarray, " wanted"]) -> Float[np.ndarray, "wanted factors"]:
        """Copy some rows to the host."""
        if all(device.platform == "cpu" for device in self.rows.devices()):
            return np.asarray(self.rows)[index]  # the array that JAX holds, not a copy of it
        padded = np.pad(index, (0, power_of_two(len(index)) - len(index)))
        return np.array(_gather(self.rows, padded))[: len(index)]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Trained rows, and late ones: those that were solved since, in the place of trained rows or after them.

    Attributes:
        trained: Shared with the tables that this one grew from.
        place: Index of each late row, ascending.
        late: The late rows.
        n_rows: How many rows there are; trained ones past it are padding, and zero.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from jaxals.recommend.tables import Table
        >>> table = Table.of(jnp.zeros((3, 2)))
        >>> grown = table.replaced(np.array([1, 3]), np.ones((2, 2)), n_rows=4)
        >>> grown.whole().tolist(), len(table)
        ([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]], 3)
    """

    trained: Trained
    place: Int[np.ndarray, " late"]
    late: Float[np.ndarray, "late factors"]
    n_rows: int

    @classmethod
    def of(cls, table: Any) -> "Table":
        """Begin with a table as it was trained."""
        dtype = np.dtype(jax.dtypes.canonicalize_dtype(table.dtype))
        return cls(Trained(table), np.zeros(0, np.int64), np.zeros((0, table.shape[1]), dtype), table.shape[0])

    def __len__(self) -> int:
        return self.n_rows

    @property
    def factors(self) -> int:
        """Number of columns."""
        return self.late.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """The type of the rows on the device."""
        return self.late.dtype

    @functools.cached_property
    def late_lengths(self) -> Float[np.ndarray, " late"]:
        """Each late row's Euclidean length."""
        return np.linalg.norm(self.late, axis=1)

    @functools.cached_property
    def known(self) -> Bool[np.ndarray, " rows"]:
        """Which rows anything is known of: those that are not zero."""
        known = np.zeros(len(self), bool)
        n_trained = min(len(self.trained), len(self))
        known[:n_trained] = self.trained.lengths[:n_trained] > 0
        known[self.place] = self.late_lengths > 0
        return known

    @functools.cached_property
    def gram(self) -> Float[np.ndarray, "factors factors"]:
        """YᵀY over all rows, float64: that of the trained ones, corrected for the late ones."""
        late = self.late.astype(np.float64)
        before = self.trained.read(self.place[self.place < len(self.trained)]).astype(np.float64)
        return self.trained.gram + late.T @ late - before.T @ before

    def find_late(
        self, index: Int[np.ndarray, "*shape"]
    ) -> tuple[Int[np.ndarray, "*shape"], Bool[np.ndarray, "*shape"]]:
        """Return where rows lie among the late ones, and whether they do."""
        if not len(self.place):
            return np.zeros(index.shape, np.int64), np.zeros(index.shape, bool)
        slot = np.minimum(np.searchsorted(self.place, index), len(self.place) - 1)
        return slot, self.place[slot] == index

    def read(self, index: Int[np.ndarray, " wanted"]) -> Float[np.ndarray, "wanted factors"]:
        """Copy some rows to the host."""
        rows = self.trained.read(np.minimum(index, len(self.trained) - 1))
        slot, is_late = self.find_late(index)
        rows[is_late] = self.late[slot[is_late]]
        return rows

    def replaced(self, place: Rows, rows: Float[np.ndarray, "rows factors"], n_rows: int) -> "Table":
        """Return a table with some rows in the place of others, or after the last one; this one stays as it is.

        Args:
            place: Where, ascending.
            rows: What.
            n_rows: How many rows there are then.
        """
        stay = ~np.isin(self.place, place)
        place = np.concatenate([self.place[stay], place])
        late = np.concatenate([self.late[stay], rows.astype(self.dtype)])
        order = np.argsort(place, kind="stable")
        table = Table(self.trained, place[order], late[order], n_rows)
        return table if len(place) <= late_limit(len(self.trained)) else table._settled()

    def whole(self) -> Any:
        """Return all rows as one array, on the devices of the trained ones; without late rows it is what was given."""
        if not len(self.place) and len(self.trained) == self.n_rows:
            return self.trained.given
        return self._put(self._together(self.n_rows))

    def _settled(self) -> "Table":
        """Copy the late rows among the trained ones, with room, so that tables of many lengths have one shape."""
        nothing = np.zeros(0, np.int64), self.late[:0]
        return Table(Trained(self._put(self._together(roomy(self.n_rows)))), *nothing, self.n_rows)

    def _together(self, length: int) -> Float[np.ndarray, "rows factors"]:
        table = np.zeros((length, self.factors), self.dtype)
        n_trained = min(len(self.trained), self.n_rows)
        table[:n_trained] = np.asarray(self.trained.rows)[:n_trained]
        table[self.place] = self.late
        return table

    def _put(self, table: Float[np.ndarray, "rows factors"]) -> Array:
        given = self.trained.given
        if not isinstance(given, jax.Array) or not given.committed:
            return jnp.asarray(table)
        sharding = given.sharding
        if isinstance(sharding, NamedSharding) and not sharding.is_fully_replicated:
            # Another number of rows need not divide among the devices.
            sharding = NamedSharding(sharding.mesh, PartitionSpec())
        return jax.device_put(table, sharding)


def inverse(lengths: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Return one over each length, 0 where that is 0."""
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


_gramian = jax.jit(gramian)


@jax.jit
def _lengths(table: Float[Array, "rows factors"]) -> Float[Array, " rows"]:
    return jnp.linalg.norm(table, axis=1)


@jax.jit
def _gather(table: Float[Array, "rows factors"], index: Int[Array, " wanted"]) -> Float[Array, "wanted factors"]:
    return table[index]


@jax.jit
def is_finite(table: Float[Array, "rows factors"]) -> Bool[Array, ""]:
    """Tell whether all of a table is finite."""
    return jnp.isfinite(table).all()
