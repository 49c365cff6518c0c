"""Sweeps: all users and then all items, as the papers write them; where both tables begin. Device side."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import checked_dtype, require_flag, require_key, require_kind
from jaxals._base.checks import require_at_least, require_finite, require_integer, require_scalar
from jaxals._base.memory import require_memory
from jaxals.als.half_steps import half_step_with_loss
from jaxals.als.layout.tiles import RowTiles, require_tiles
from jaxals.als.solver.equations import Solver, require_solver
from jaxals.als.stages import EXACT, Arithmetic, StepInfo
from jaxals.errors import DataError
from jaxals.objective.factors import Factors, gramian, require_shape
from jaxals.objective.objective import Objective, require_objective


def sweep(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    factors: Factors,
    objective: Objective,
    solver: Solver,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
) -> tuple[Factors, StepInfo]:
    """Update all users and then all items.

    Args:
        user_tiles: Tiles with users as rows.
        item_tiles: Tiles with items as rows.
        factors: Both tables before the sweep.
        objective: What is minimised; no sweep with an exact solver increases it.
        solver: How each row is solved.
        arithmetic: As in `half_step`.
        with_loss: Whether to compute the loss on the way, which takes one more pass over the gathered rows; with a
            `table_dtype` the entries' part of it is of the rounded users. It can be differentiated, as both tables can.

    Returns:
        Both tables after the sweep, and what there is to say about it.

    Raises:
        DataError: Tiles or factors are something else, or do not belong together.
        ConfigurationError: The objective, the solver or a setting is something else.

    Example:
        >>> import jax
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> tiles = [jaxals.build_tiles(data, side, factors=4) for side in ("user", "item")]
        >>> factors, losses = jaxals.initial_factors(jax.random.key(0), *data.shape, 4), []
        >>> for _ in range(3):
        ...     factors, info = jaxals.sweep(*tiles, factors, jaxals.Objective.hkv(), jaxals.Cholesky(), with_loss=True)
        ...     losses.append(float(info.loss))
        >>> losses == sorted(losses, reverse=True)
        True
    """
    require_tiles("user_tiles", user_tiles)
    require_tiles("item_tiles", item_tiles)
    require_shape(factors, (user_tiles.n_rows, item_tiles.n_rows))
    require_objective("objective", objective)
    require_solver("solver", solver)
    require_kind("arithmetic", arithmetic, Arithmetic, "an `Arithmetic`")
    require_flag("with_loss", with_loss)
    if (user_tiles.n_columns, item_tiles.n_columns) != (item_tiles.n_rows, user_tiles.n_rows):
        raise DataError(
            f"`user_tiles` and `item_tiles` must be of the same interactions; got {user_tiles.n_rows} x "
            f"{user_tiles.n_columns} and {item_tiles.n_rows} x {item_tiles.n_columns}."
        )
    user, user_info, _ = half_step_with_loss(
        user_tiles, factors.item, objective.of("user"), solver, factors.user, arithmetic, transposed=item_tiles
    )
    item, item_info, on_entries = half_step_with_loss(
        item_tiles, user, objective.of("item"), solver, factors.item, arithmetic, with_loss, transposed=user_tiles
    )
    factors, info = Factors(user, item), jax.tree.map(jnp.add, user_info, item_info)
    if with_loss:
        loss = whole_loss(on_entries, objective, factors, user_tiles.count, item_tiles.count)
        info = dataclasses.replace(info, loss=loss)
    return factors, info


def programs(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    shapes: tuple[Any, Any],
    objective: Objective,
    solver: Solver,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
) -> list[Callable[[], Any]]:
    """Return what compiles the programs of a sweep that take long to compile, each by itself.

    Args:
        user_tiles: As in `sweep`.
        item_tiles: Likewise.
        shapes: Of users and of items (`jax.ShapeDtypeStruct`), placed as both tables will be.
        objective: As in `sweep`, and so below.
        solver: How each row is solved.
        arithmetic: How half steps round.
        with_loss: Whether the sweep is to compute the loss.

    Returns:
        One function for each.
    """
    user = user_tiles, shapes[1], objective.of("user"), solver, shapes[0], arithmetic
    item = item_tiles, shapes[0], objective.of("item"), solver, shapes[1], arithmetic, with_loss
    return [
        lambda: half_step_with_loss.lower(*user, transposed=item_tiles).compile(),
        lambda: half_step_with_loss.lower(*item, transposed=user_tiles).compile(),
    ]


@jax.jit
def whole_loss(
    on_entries: Float[Array, ""],
    objective: Objective,
    factors: Factors,
    user_count: Int[Array, " users"],
    item_count: Int[Array, " items"],
) -> Float[Array, ""]:
    """Add to the entries' part of the loss, as a half step returns it, what all pairs and the ridge add."""
    everywhere = jnp.sum(gramian(factors.user) * gramian(factors.item))
    ridge = objective.ridge_loss(factors, user_count, item_count)
    return on_entries + objective.unobserved_weight * everywhere + ridge


def initial_factors(
    key: Array, n_users: int, n_items: int, factors: int, scale: float = 0.1, dtype: Any = jnp.float32
) -> Factors:
    """Draw both tables from a normal distribution of standard deviation scale / √factors.

    The score of any pair then starts near scale² / √factors (Rendle, Krichene, Zhang and Koren 2021, section 4).

    Args:
        key: Of the draw; equal keys give equal tables.
        n_users: Rows of the users' table.
        n_items: Rows of the items' table.
        factors: Length of the vectors.
        scale: σ; the standard deviation is σ / √factors.
        dtype: Of both tables, float32 or float64.

    Returns:
        Both tables, [users, factors] and [items, factors].

    Raises:
        ConfigurationError: An argument lies outside its range, or the tables do not fit into memory.

    Example:
        >>> import jax
        >>> import jaxals
        >>> factors = jaxals.initial_factors(jax.random.key(0), n_users=3, n_items=5, factors=2)
        >>> factors.user.shape, factors.item.shape
        ((3, 2), (5, 2))
    """
    require_key("key", key)
    for name, number in (("n_users", n_users), ("n_items", n_items), ("factors", factors)):
        require_integer(name, number, 0 if name != "factors" else 1, 2**31 - 1)
    require_scalar("scale", scale)
    require_at_least("scale", scale, 0)
    require_finite("scale", scale)
    dtype, scale = checked_dtype("dtype", dtype), _as_python(scale)
    n_users, n_items, factors = int(n_users), int(n_items), int(factors)
    require_memory((n_users + n_items) * factors * dtype.itemsize, "The first factors", "take fewer of them")
    user_key, item_key = jax.random.split(key)
    deviation = scale / factors**0.5
    return Factors(
        deviation * jax.random.normal(user_key, (n_users, factors), dtype),
        deviation * jax.random.normal(item_key, (n_items, factors), dtype),
    )


def _as_python(number: Any) -> Any:
    # NumPy's numbers have a type that JAX may refuse to mix with the tables'.
    return number.item() if isinstance(number, (np.generic, np.ndarray)) else number
