"""Sweeps over the devices of a CPU, which share one memory: what all of them read is there once. Host side.

The stages of `jaxals.als.stages` as programs of their own. Compiled together, every device would turn the other table
for itself, and hold the solutions of all of them as they come and once more in the order of rows. The numbers are the
same but for rounding; they cannot be differentiated. What it saves: `docs/performance.md`.
"""

import dataclasses
import functools
import gc
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.pytree import pytree
from jaxals.als.kernels.gather import Table, pack, pack_without_copy
from jaxals.als.kernels.gram import Precision
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.parallel.mesh import everywhere, from_one_device, to_every_device
from jaxals.als.solver.coordinates import Coordinates, coordinates_of
from jaxals.als.solver.equations import Solver, in_eigenbasis
from jaxals.als.stages import EXACT, Arithmetic, StepInfo, Task, arrange, combine_part, solve_part
from jaxals.als.sweeps import whole_loss
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

T = TypeVar("T")

# Each device has a core: matrix products that are shared out over the threads of all devices wait for one another.
_ON_ITS_CORE = {"xla_cpu_multi_thread_eigen": False}


def share_memory(mesh: Mesh | None) -> bool:
    """Tell whether a mesh is of devices that share one memory: those of a CPU, in one process."""
    here = jax.process_index()
    return mesh is not None and all(
        device.platform == "cpu" and device.process_index == here for device in mesh.devices.flat
    )


def sweep(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    factors: Factors,
    objective: Objective,
    solver: Solver,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
) -> tuple[Factors, StepInfo]:
    """Update all users and then all items, as `jaxals.als.half_steps.sweep` does.

    Args:
        user_tiles: Tiles with users as rows, for a mesh whose devices share one memory.
        item_tiles: Tiles with items as rows, likewise.
        factors: Both tables before the sweep, on the first device.
        objective: What is minimised.
        solver: How each row is solved.
        arithmetic: How half steps round.
        with_loss: Whether to compute the loss on the way.

    Returns:
        Both tables after the sweep, on the first device, and what there is to say about it.
    """
    user, item = factors.user, factors.item
    solve = functools.partial(_solve, solver=solver, arithmetic=arithmetic)
    # What is not needed any more goes, where the caller has not kept it: tables are most of what a fit holds.
    del factors
    parts = _finish(solve(user_tiles, item, objective.of("user"), user, with_loss=False))
    del user
    user, user_info = _finish(_finished(user_tiles, parts))
    del parts
    parts = _finish(solve(item_tiles, user, objective.of("item"), item, with_loss=with_loss))
    del item
    item, item_info = _finish(_finished(item_tiles, parts))
    swept, info = Factors(user, item), jax.tree.map(jnp.add, user_info, item_info)
    if with_loss:
        rest = parts.loss, user_tiles.count, item_tiles.count
        on_entries, *counts = from_one_device(rest, item_tiles.mesh)
        info = dataclasses.replace(info, loss=whole_loss(on_entries, objective, swept, *counts))
    return swept, info


def multiply(
    tiles: RowTiles, other: Float[Array, "columns factors"], objective: Objective, arithmetic: Arithmetic
) -> Float[Array, "rows factors"]:
    """Multiply the matrix of targets and a table, as `jaxals.als.spectral.multiply` does.

    Args:
        tiles: For a mesh whose devices share one memory.
        other: The other side's table, on the first device.
        objective: Whose targets to take.
        arithmetic: How to round.

    Returns:
        One row for each of the tiles, on the first device.
    """
    table = to_every_device(pack_without_copy(other, arithmetic.table_dtype), tiles.mesh)
    parts = _finish(_combine_parts(tiles, objective, table, arithmetic.precision))
    return _finish(_in_order(tiles, parts))[0]


def programs(
    user_tiles: RowTiles,
    item_tiles: RowTiles,
    shapes: tuple[Any, Any],
    objective: Objective,
    solver: Solver,
    arithmetic: Arithmetic = EXACT,
    with_loss: bool = False,
) -> list[Callable[[], Any]]:
    """Return what compiles the programs of a sweep that take long to compile, as `jaxals.als.sweeps.programs` does."""

    def compile_side(
        tiles: RowTiles, other: Any, objective: Objective, start: Any, with_loss: bool = False
    ) -> Callable[[], Any]:
        def inputs(other: Array, start: Array) -> tuple[Coordinates, Table, Array]:
            coordinates, turned = coordinates_of(other, objective.unobserved_weight, in_eigenbasis(solver))
            return coordinates, pack(turned, arithmetic.table_dtype), start

        def compile_it() -> Any:
            place = lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=everywhere(tiles.mesh))
            placed = jax.tree.map(place, jax.eval_shape(inputs, other, start))
            how = {"arithmetic": arithmetic, "with_loss": with_loss}
            return _solve_parts.lower(tiles, objective, solver, *placed, **how).compile()

        return compile_it

    return [
        compile_side(user_tiles, shapes[1], objective.of("user"), shapes[0]),
        compile_side(item_tiles, shapes[0], objective.of("item"), shapes[1], with_loss),
    ]


@pytree
class _Parts:
    """What a half step has solved, as it lies on the devices.

    Attributes:
        rows: Solutions in the order of the tiles, each device's on that device.
        unconverged: How many have not reached the tolerance.
        loss: The entries' part of the loss, 0 where it was not asked for.
    """

    rows: Float[Array, "places factors"]
    unconverged: Int[Array, ""]
    loss: Float[Array, ""]


def _solve(
    tiles: RowTiles,
    other: Float[Array, "columns factors"],
    objective: Objective,
    start: Float[Array, "rows factors"],
    *,
    solver: Solver,
    arithmetic: Arithmetic,
    with_loss: bool,
) -> _Parts:
    coordinates, turned = _coordinates_of(other, objective.unobserved_weight, in_eigenbasis(solver))
    table = pack_without_copy(turned, arithmetic.table_dtype)
    shared = to_every_device((coordinates, table, start), tiles.mesh)
    return _solve_parts(tiles, objective, solver, *shared, arithmetic=arithmetic, with_loss=with_loss)


def _finished(tiles: RowTiles, parts: _Parts) -> tuple[Float[Array, "rows factors"], StepInfo]:
    rows, non_finite = _in_order(tiles, parts.rows)
    return rows, StepInfo(non_finite, from_one_device(parts.unconverged, tiles.mesh))


def _in_order(
    tiles: RowTiles, rows: Float[Array, "places factors"]
) -> tuple[Float[Array, "rows factors"], Int[Array, ""]]:
    """Bring each device's rows to the first one, in the order of the table, and count those that are not finite."""
    position = from_one_device(tiles.position, tiles.mesh)
    shards = sorted(rows.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    # Views: one device reads the memory of all.
    return _arrange([jax.device_put(np.asarray(shard.data), position.device) for shard in shards], position)


def _finish(arrays: T) -> T:
    """Wait for arrays, so that what they were made from can go."""
    arrays = jax.block_until_ready(arrays)
    # JAX gives up memory that devices share through NumPy when Python collects garbage, be it the youngest.
    gc.collect(0)
    return arrays


_coordinates_of = jax.jit(coordinates_of, static_argnums=2)
_arrange = jax.jit(arrange)


@functools.partial(jax.jit, static_argnames=("arithmetic", "with_loss"), compiler_options=_ON_ITS_CORE)
def _solve_parts(
    tiles: RowTiles,
    objective: Objective,
    solver: Solver,
    coordinates: Coordinates,
    table: Table,
    start: Float[Array, "rows factors"],
    arithmetic: Arithmetic,
    with_loss: bool,
) -> _Parts:
    parts, whole = PartitionSpec("rows"), PartitionSpec()

    def solve_mine(mine: tuple, everywhere: tuple) -> tuple:
        solved, *sums = solve_part(*mine, *everywhere)
        return solved, *jax.lax.psum(sums, "rows")

    ridge = objective.ridge(tiles.count, tiles.n_columns, start.dtype)
    task = Task(ridge, objective, solver, start, arithmetic=arithmetic, with_loss=with_loss, machine=tiles.machine)
    on_mesh = jax.shard_map(
        solve_mine,
        mesh=tiles.mesh,
        in_specs=(parts, whole),
        out_specs=(parts, whole, whole),
        check_vma=False,
    )
    return _Parts(*on_mesh((tiles.groups, tiles.long), (coordinates, table, task)))


@functools.partial(jax.jit, static_argnames="precision", compiler_options=_ON_ITS_CORE)
def _combine_parts(
    tiles: RowTiles, objective: Objective, table: Table, precision: Precision
) -> Float[Array, "places factors"]:
    parts, whole = PartitionSpec("rows"), PartitionSpec()
    combine = functools.partial(combine_part, precision=precision)
    on_mesh = jax.shard_map(
        lambda mine, everywhere: combine(*mine, *everywhere),
        mesh=tiles.mesh,
        in_specs=(parts, whole),
        out_specs=parts,
        check_vma=False,
    )
    return on_mesh((tiles.groups, tiles.long), (table, objective))
