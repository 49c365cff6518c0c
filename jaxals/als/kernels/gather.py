"""Reading many rows of a table by index, as half steps do. Device side.

On a CPU, XLA turns a gather of 4- or 8-byte numbers into the processor's gather instructions, one number at a time; a
gather of 2-byte numbers, for which there are no such instructions, into plain copies of whole rows. So a table is
viewed as 2-byte integers there; the bits are the same. Measurements: `docs/why/layout.md`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int, UInt16

from jaxals._base.pytree import pytree, static


@pytree
class Table:
    """Rows to be gathered many times over.

    Attributes:
        rows: The rows themselves; where there are pieces, only derivatives are taken from them.
        pieces: The 2-byte pieces of the rows' numbers, or None.
        stored_dtype: Type of the numbers as they are stored, static.
    """

    rows: Float[Array, "rows factors"]
    pieces: UInt16[Array, "rows pieces"] | None
    stored_dtype: Any = static()

    @property
    def dtype(self) -> Any:
        """Type of what is read."""
        return self.rows.dtype

    @property
    def factors(self) -> int:
        """How many numbers a row has."""
        return self.rows.shape[1]

    def __getitem__(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape factors"]:
        """Read rows; every index must be within bounds."""
        if self.pieces is None:
            return self.rows.astype(self.stored_dtype)[index].astype(self.dtype)
        return _read.bind(self.rows, self.pieces, index, stored_dtype=self.stored_dtype)


@pytree
class TablePart:
    """Some neighbouring factors of a table, without a copy; for reading, not for derivatives.

    Attributes:
        table: The table.
        start: The first of these factors.
        factors: How many there are, static.
    """

    table: Table
    start: Int[Array, ""] | int
    factors: int = static()

    @property
    def dtype(self) -> Any:
        """Type of what is read."""
        return self.table.dtype

    def __getitem__(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape factors"]:
        """Read these factors of rows; every index must be within bounds."""
        table = self.table
        array = table.rows.astype(table.stored_dtype) if table.pieces is None else table.pieces
        size = array.shape[1] // table.factors
        start = jnp.asarray(self.start * size, index.dtype)
        cut = lambda row: jax.lax.dynamic_slice(array, (row, start), (1, self.factors * size))
        found = jax.vmap(cut)(index.reshape(-1)).reshape(*index.shape, -1)
        return (found if table.pieces is None else _from_pieces(found, table.stored_dtype)).astype(self.dtype)


def pack(table: Float[Array, "rows factors"], stored_dtype: Any = None, in_pieces: bool = True) -> Table:
    """Prepare a table for being read.

    Args:
        table: Rows in the type that they are to be read in.
        stored_dtype: Type to round them to, such as float16; by default they are kept as they are.
        in_pieces: Whether in pieces of 2 bytes, as a CPU reads fastest; right anywhere.

    Returns:
        The same rows, for `table[index]`.
    """
    stored = jnp.dtype(table.dtype if stored_dtype is None else stored_dtype)
    if not in_pieces:
        return Table(table, None, stored)
    pieces = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(table).astype(stored), jnp.uint16)
    return Table(table, pieces.reshape(len(table), -1), stored)


def pack_without_copy(table: Float[Array, "rows factors"], stored_dtype: Any = None) -> Table:
    """Prepare a table on a CPU for being read, outside of compiled programs.

    The pieces are the table's own memory, but where it is rounded.
    """
    stored = jnp.dtype(table.dtype if stored_dtype is None else stored_dtype)
    pieces = np.asarray(table.astype(stored)).view(np.uint16)
    return Table(table, jax.device_put(pieces, table.device), stored)


def _read_pieces(rows: Array, pieces: Array, index: Array, stored_dtype: Any) -> Array:
    return _from_pieces(pieces[index], stored_dtype).astype(rows.dtype)


def _from_pieces(pieces: UInt16[Array, "*shape pieces"], stored_dtype: Any) -> Array:
    # The barrier keeps XLA from merging both steps, and thus from gathering whole numbers again.
    pieces = jax.lax.optimization_barrier(pieces)
    size = stored_dtype.itemsize // 2
    shape = (*pieces.shape[:-1], -1, size) if size > 1 else pieces.shape
    return jax.lax.bitcast_convert_type(pieces.reshape(shape), stored_dtype)


def _read_pieces_jvp(primals: tuple, tangents: tuple, *, stored_dtype: Any) -> tuple[Array, Any]:
    rows, pieces, index = primals
    found = _read.bind(rows, pieces, index, stored_dtype=stored_dtype)
    slope = tangents[0]
    is_zero = isinstance(slope, ad.Zero)
    return found, ad.Zero(jax.typeof(found).to_tangent_aval()) if is_zero else slope[index]


def _read_pieces_batched(arguments: tuple, axes: tuple, *, stored_dtype: Any) -> tuple[Array, int]:
    """Read from tables laid end to end, so that a batch of reads is one, with the same derivatives."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    rows, pieces, index = (
        array if axis is None else jnp.moveaxis(array, axis, 0) for array, axis in zip(arguments, axes, strict=True)
    )
    if axes[0] is None and axes[1] is None:
        return _read.bind(rows, pieces, index, stored_dtype=stored_dtype), 0
    whole = lambda array, axis: jnp.broadcast_to(array, (size, *array.shape)) if axis is None else array
    rows, pieces, index = (whole(array, axis) for array, axis in zip((rows, pieces, index), axes, strict=True))
    first = jnp.arange(size, dtype=index.dtype) * rows.shape[1]
    index = index + first.reshape(-1, *[1] * (index.ndim - 1))
    end_to_end = lambda array: array.reshape(-1, array.shape[2])
    return _read.bind(end_to_end(rows), end_to_end(pieces), index, stored_dtype=stored_dtype), 0


def _read_pieces_shape(rows: Any, pieces: Any, index: Any, *, stored_dtype: Any) -> Any:
    return jax.core.ShapedArray((*index.shape, rows.shape[1]), rows.dtype)


# A primitive, and not a function with a derivative of its own (`jax.custom_jvp`): JAX takes these apart where it
# differentiates linear solves backwards, after which the next derivative is that of the integers, zero.
_read = Primitive("read_rows_by_pieces")
_read.def_impl(jax.jit(_read_pieces, static_argnames="stored_dtype"))
_read.def_abstract_eval(_read_pieces_shape)
mlir.register_lowering(_read, mlir.lower_fun(_read_pieces, multiple_results=False))
ad.primitive_jvps[_read] = _read_pieces_jvp
batching.primitive_batchers[_read] = _read_pieces_batched
