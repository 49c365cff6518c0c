"""Reading rows of a table by index: the one place where the other side's factors are read. Device side.

On a CPU, XLA turns a gather of 4- or 8-byte numbers into the processor's gather instructions, one number at a time; a
gather of 2-byte numbers, for which there are no such instructions, into plain copies of whole rows. So a table is
viewed as 2-byte integers there; the bits are the same. Measurements: `docs/layout.md`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt16

from jaxals._pytree import pytree, static


@pytree
class Table:
    """Rows to be gathered many times over.

    Attributes:
        stored: The rows themselves, or the 2-byte pieces of their numbers.
        stored_dtype: Type of the numbers as they are stored, static.
        dtype: Type of what is read, static.
    """

    stored: Float[Array, "rows factors"] | UInt16[Array, "rows pieces"]
    stored_dtype: Any = static()
    dtype: Any = static()

    def __getitem__(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape factors"]:
        """Read rows; every index must be within bounds."""
        rows = self.stored[index]
        if rows.dtype != self.stored_dtype:
            # The barrier keeps XLA from merging both steps, and thus from gathering whole numbers again.
            pieces = jax.lax.optimization_barrier(rows)
            size = self.stored_dtype.itemsize // 2
            shape = (*index.shape, -1, size) if size > 1 else (*index.shape, -1)
            rows = jax.lax.bitcast_convert_type(pieces.reshape(shape), self.stored_dtype)
        return rows.astype(self.dtype)


def pack(table: Float[Array, "rows factors"], stored_dtype: Any = None) -> Table:
    """Prepare a table for being read, on the default backend: it stays right on any other.

    Args:
        table: Rows in the type that they are to be read in.
        stored_dtype: Type to round them to, such as float16; by default they are kept as they are.

    Returns:
        The same rows, for `table[index]`.
    """
    dtype = table.dtype
    table = table if stored_dtype is None else table.astype(stored_dtype)
    if jax.default_backend() != "cpu":
        return Table(table, table.dtype, dtype)
    pieces = jax.lax.bitcast_convert_type(table, jnp.uint16)  # [rows, factors] -> [rows, factors, pieces a number]
    return Table(pieces.reshape(len(table), -1), table.dtype, dtype)
