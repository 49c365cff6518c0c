"""Values of interactions, put into tiles as arrays that can be differentiated. Host and device, one function each."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxals._base.arguments import require_array
from jaxals.als.layout.tiles import RowTiles, build_tiles, require_tiles
from jaxals.data.catalog import Side
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import DataError


def number_entries(
    interactions: Interactions,
    side: Side = "user",
    *,
    factors: int,
    gram_size: int | None = None,
    mesh: Mesh | None = None,
) -> RowTiles:
    """Lay out the interactions as `build_tiles` does, each entry's number from 1 on in the place of its value.

    Args:
        interactions: What to lay out.
        side: Whose rows to solve for: "user" or "item".
        factors: As in `build_tiles`, and so below.
        gram_size: Of the solver.
        mesh: Devices to share the tiles out over.

    Returns:
        Tiles of int32 numbers; `with_values` makes of them tiles that can be trained on.

    Raises:
        ConfigurationError: `factors` is below 1, or `mesh` has other axes than "rows".

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import number_entries, with_values
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1])
        >>> numbered = number_entries(data, "user", factors=4)
        >>> tiles = with_values(numbered, jnp.array([3.0, 1.0, 2.0]))
        >>> sorted(tiles.groups[0].value.reshape(-1).tolist())[-3:]
        [1.0, 2.0, 3.0]
    """
    require_interactions("interactions", interactions)
    numbers = dataclasses.replace(interactions, value=np.arange(1, len(interactions) + 1, dtype=np.float64))
    return build_tiles(numbers, side, factors=factors, dtype=jnp.int32, gram_size=gram_size, mesh=mesh)


def with_values(numbered: RowTiles, values: Float[Array, " entries"]) -> RowTiles:
    """Put a value for each interaction, in their order, into tiles from `number_entries`.

    Entries of value 0 count as padding.

    Args:
        numbered: From `number_entries`.
        values: One for each entry, in the order of the interactions; they may be traced.

    Returns:
        Tiles of these values, in their dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.hyper import number_entries, with_values
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1])
        >>> tiles = with_values(number_entries(data, "user", factors=4), jnp.array([3.0, 1.0, 2.0]))
        >>> float(tiles.groups[0].value.sum())
        6.0
    """
    require_tiles("numbered", numbered)
    require_array("values", values, 1, jnp.floating, "a 1-D array of floating-point numbers", DataError)
    if not isinstance(numbered.count, jax.core.Tracer) and len(values) != (
        entries := int(np.asarray(numbered.count).sum())
    ):
        raise DataError(
            f"`values` must be as many as there are entries in `numbered`, {entries:,}; got {len(values):,}."
        )
    padded = jnp.concatenate([jnp.zeros_like(values[:1]), values])
    fill = lambda part: dataclasses.replace(part, value=padded[part.value])
    long: Any = numbered.long
    return dataclasses.replace(
        numbered, groups=tuple(map(fill, numbered.groups)), long=None if long is None else fill(long)
    )
