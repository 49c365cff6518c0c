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
        dtype: Type of what is read, static.
    """

    stored: Float[Array, "rows factors"] | UInt16[Array, "rows pieces"]
    dtype: Any = static()

    def __getitem__(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape factors"]:
        """Read rows; every index must be within bounds."""
        if self.stored.dtype != jnp.uint16:
            return self.stored[index]
        # The barrier keeps XLA from merging both steps, and thus from gathering whole numbers again.
        pieces = jax.lax.optimization_barrier(self.stored[index])
        size = self.dtype.itemsize // 2
        return jax.lax.bitcast_convert_type(pieces.reshape(*index.shape, -1, size), self.dtype)


def pack(table: Float[Array, "rows factors"]) -> Table:
    """Prepare a table for being read, on the default backend: it stays right on any other."""
    if jax.default_backend() != "cpu":
        return Table(table, table.dtype)
    pieces = jax.lax.bitcast_convert_type(table, jnp.uint16)  # [rows, factors] -> [rows, factors, pieces a number]
    return Table(pieces.reshape(len(table), -1), table.dtype)
