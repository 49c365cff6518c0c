"""Derivatives of a half step by its adjoint: one more solve with the same matrices. Device side.

The rows X of a half step satisfy, for every row r,

    ρ_r(X, θ) = Σ b y - Σ g (y·x) y - w0 YᵀY x - λ_r x = 0

so that Ẋ = A⁻¹ ∂ρ/∂θ θ̇, and backwards θ̄ = (∂ρ/∂θ)ᵀ V with V = A⁻¹ X̄: the gradient by θ, V and X held fixed, of

    Σ_r [ Σ b (v·y) - g (v·y) (x·y) ] - w0 tr(XᵀV YᵀY) - Σ_r λ_r v·x

No factorisation and no iteration of a solver is differentiated, and nothing of either is kept.
See `docs/why/derivatives.md`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.pytree import pytree
from jaxals._base.slopes import with_slope
from jaxals.als.kernels.gather import pack
from jaxals.als.layout.tiles import RowTiles
from jaxals.objective.factors import gramian
from jaxals.objective.objective import Objective

_WHOLE, _PARTS = PartitionSpec(), PartitionSpec("rows")


@pytree
class System:
    """All that the equations of a half step depend on, θ in the formulas.

    Attributes:
        tiles: The entries; their values can be differentiated.
        other: The other side's table Y.
        ridge: λ_r of every row.
        objective: Confidence and w0; nothing else is read.
    """

    tiles: RowTiles
    other: Float[Array, "columns factors"]
    ridge: Float[Array, " rows"]
    objective: Objective


@pytree
class _Entries:
    """One class of tiles, all alike: a step of a long row is a chunk of one tile."""

    column: Int[Array, "chunks tiles width"]
    value: Float[Array, "chunks tiles width"]
    row: Int[Array, "chunks tiles"]


Solve = Callable[[System, Any, Array], Array]


def with_derivatives(
    solve: Solve,
    rows: Float[Array, "rows factors"],
    system: System,
    transposed: RowTiles | None,
    solver: Any,
) -> Float[Array, "rows factors"]:
    """Return the rows as they are, with the derivatives that exact solutions of the system have.

    Args:
        solve: Function of a system, `solver` and a right-hand side C that returns A⁻¹ C; static.
        rows: Solutions of the system; how they came about is not differentiated.
        system: What to differentiate by.
        transposed: The same entries with columns as rows, from which the gradient by the other table can be gathered;
            None to scatter it, which on a CPU takes 0.5 µs for each entry.
        solver: Passed on to `solve`.
    """
    return with_slope(rows, (system, transposed, solver), functools.partial(_slope_of_rows, solve))


def loss_with_derivatives(
    loss: Float[Array, ""], rows: Float[Array, "rows factors"], system: System
) -> Float[Array, ""]:
    """Return the entries' part of the loss as it is, with the derivatives that it has by the rows and the system.

    Args:
        loss: Σ c (p - s)² - w0 s² over the entries; how it was added up is not differentiated.
        rows: What was solved for.
        system: What it was solved from.
    """
    return with_slope(loss, (rows, system), _slope_of_loss)


def _slope_of_rows(solve: Solve, rows: Float[Array, "rows factors"], depends: tuple, tangents: tuple) -> Array:
    system, transposed, solver = depends
    moving = _Moving(system, tangents[0])
    if not moving.leaves:
        return jnp.zeros_like(rows)

    def image(slopes: tuple) -> Array:
        """Return ∂ρ/∂θ θ̇."""
        return jax.jvp(lambda *moved: _residual(moving.put(moved), rows), moving.leaves, slopes)[1]

    # One linear system for both directions: A Ẋ - ∂ρ/∂θ θ̇ = C beside θ̇ = θ̇, block triangular. Forwards C is zero and
    # θ̇ given; backwards, the transposed system's solution is V = A⁻¹ X̄ beside θ̄ + (∂ρ/∂θ)ᵀ V.
    def product(unknown: tuple) -> tuple:
        through = lambda rows: -_residual(system, rows)  # affine in the rows, with slope A
        same = _tied(jnp.ones((), rows.dtype), rows)
        unchanged = tuple(slope * same.astype(slope.dtype) for slope in unknown[1])
        return jax.jvp(through, (rows,), (unknown[0],))[1] - image(unknown[1]), unchanged

    def forwards(_: Any, given: tuple) -> tuple:
        return solve(system, solver, given[0] + image(given[1])), given[1]

    def backwards(_: Any, given: tuple) -> tuple:
        adjoint = solve(system, solver, given[0])
        gradient = moving.pick(_pull_back(system, transposed, rows, adjoint, moving.flags))
        return adjoint, tuple(map(jnp.add, given[1], gradient))

    right = _tied((jnp.zeros_like(rows), moving.slopes), moving.slopes)
    slope, same = jax.lax.custom_linear_solve(product, right, forwards, backwards)
    return _tied(slope, same)


def _slope_of_loss(_: Array, depends: tuple, tangents: tuple) -> Array:
    moving = _Moving(depends, tangents)
    return jax.jvp(lambda *moved: _loss_on_entries(*moving.put(moved)), moving.leaves, moving.slopes)[1]


class _Moving:
    """The leaves of a pytree that have a tangent."""

    def __init__(self, tree: Any, tangents: Any):
        self._all: list
        self._kind: Any
        self._all, self._kind = jax.tree.flatten(tree)
        slopes = self._kind.flatten_up_to(tangents)
        self._is_moving = [slope is not None for slope in slopes]
        self.leaves = tuple(leaf for leaf, moves in zip(self._all, self._is_moving, strict=True) if moves)
        self.slopes = tuple(slope for slope in slopes if slope is not None)

    @property
    def flags(self) -> Any:
        """A pytree that says of each leaf whether it moves."""
        return self._kind.unflatten(self._is_moving)

    def put(self, moved: Iterable[Array]) -> Any:
        """Return the pytree with other arrays in the place of those leaves."""
        chosen = iter(moved)
        leaves = (next(chosen) if moves else leaf for leaf, moves in zip(self._all, self._is_moving, strict=True))
        return self._kind.unflatten(leaves)

    def pick(self, tree: Any) -> tuple:
        """Return what another pytree has in the places of those leaves."""
        found = self._kind.flatten_up_to(tree)
        return tuple(item for item, moves in zip(found, self._is_moving, strict=True) if moves)


def _tied(arrays: Any, others: Any) -> Any:
    """Return arrays as they are, but for JAX as linear functions of others, too; XLA leaves out what is added.

    JAX transposes a linear solve only where none of its right-hand sides is a constant, zeros included.
    """
    total = sum(jnp.sum(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(others))
    nothing = jnp.where(False, total, jnp.zeros((), jnp.float32))
    return jax.tree.map(lambda array: array + nothing.astype(array.dtype), arrays)


def _residual(system: System, rows: Float[Array, "rows factors"]) -> Float[Array, "rows factors"]:
    """Compute ρ of every row in one pass over the entries."""

    def part(entries: tuple[_Entries, ...], other: Array, objective: Objective, rows: Array) -> Array:
        table, own = pack(other, in_pieces=in_cache), _with_zero_row(rows)

        def step(sums: Array, chunk: _Entries) -> tuple[Array, None]:
            vectors = table[chunk.column]  # [tiles, width] -> [tiles, width, factors]
            gram_weight, target_weight = objective.weights(chunk.value.astype(rows.dtype))
            left = target_weight - gram_weight * _einsum("twf,tf->tw", vectors, own[chunk.row])
            return sums.at[chunk.row].add(_einsum("tw,twf->tf", left, vectors)), None

        sums = jnp.zeros_like(own)
        for group in entries:
            sums = jax.lax.scan(step, sums, group)[0]
        return sums if mesh is None else jax.lax.psum(sums, "rows")

    mesh, in_cache = system.tiles.mesh, system.tiles.machine.in_cache
    over_mesh = _over_mesh(part, mesh, n_whole=3)
    on_entries = over_mesh(_entries(system.tiles), system.other, system.objective, rows)[:-1]
    shared = system.objective.unobserved_weight * _matmul(rows, gramian(system.other))
    return on_entries - shared - system.ridge[:, None] * rows


def _loss_on_entries(rows: Float[Array, "rows factors"], system: System) -> Float[Array, ""]:
    """Compute Σ c (p - s)² - w0 s² in one pass over the entries."""

    def part(entries: tuple[_Entries, ...], other: Array, objective: Objective, rows: Array) -> Array:
        table, own = pack(other, in_pieces=in_cache), _with_zero_row(rows)

        @jax.checkpoint  # or the vectors of all entries would be kept
        def step(total: Array, chunk: _Entries) -> tuple[Array, None]:
            score = _einsum("twf,tf->tw", table[chunk.column], own[chunk.row])
            return total + objective.loss_on_entries(chunk.value.astype(rows.dtype), score), None

        total = jnp.zeros((), rows.dtype)
        for group in entries:
            total = jax.lax.scan(step, total, group)[0]
        return total if mesh is None else jax.lax.psum(total, "rows")

    mesh, in_cache = system.tiles.mesh, system.tiles.machine.in_cache
    return _over_mesh(part, mesh, n_whole=3)(_entries(system.tiles), system.other, system.objective, rows)


def _pull_back(system: System, transposed: RowTiles | None, rows: Array, adjoint: Array, wanted: System) -> System:
    """Return (∂ρ/∂θ)ᵀ V in the places of the leaves that are wanted."""
    wants_values = any(jax.tree.leaves(_values(wanted.tiles)))
    wants_confidence = any(jax.tree.leaves(wanted.objective.confidence))
    gathers, scatters = bool(wanted.other) and transposed is not None, bool(wanted.other) and transposed is None
    everywhere = _matmul(rows.T, adjoint)  # [factors, factors]
    tiles, other, objective = system.tiles, system.other, system.objective
    of_other, of_objective = None, objective
    if wants_values or scatters or (wants_confidence and not gathers):
        of_other, of_objective, of_values = _by_entries(system, rows, adjoint, scatters, wants_values)
        if wants_values:
            tiles = _with_values(tiles, of_values)
    if transposed is not None and wanted.other:  # and the confidence's in the same pass
        of_other, of_objective = _by_columns(transposed, system, rows, adjoint)
    if of_other is not None:
        of_other -= objective.unobserved_weight * _matmul(other, everywhere + everywhere.T)
    of_weight = -jnp.sum(everywhere * gramian(other)).astype(jnp.result_type(objective.unobserved_weight))
    of_objective = dataclasses.replace(of_objective, unobserved_weight=of_weight)
    return System(tiles, other if of_other is None else of_other, -jnp.sum(adjoint * rows, axis=1), of_objective)


def _by_entries(
    system: System, rows: Array, adjoint: Array, scatters: bool, wants_values: bool
) -> tuple[Array | None, Objective, tuple[Array | None, ...]]:
    """Return the gradients by the other table, if it is to be scattered, by the confidence, and by the values."""

    def part(
        entries: tuple[_Entries, ...], other: Array, objective: Objective, rows: Array, adjoint: Array
    ) -> tuple[Any, tuple[Array | None, ...]]:
        table = pack(other, in_pieces=in_cache)
        own, own_adjoint = _with_zero_row(rows), _with_zero_row(adjoint)

        def step(sums: tuple, chunk: _Entries) -> tuple[tuple, Array | None]:
            vectors = table[chunk.column]  # [tiles, width] -> [tiles, width, factors]
            row, row_adjoint = own[chunk.row], own_adjoint[chunk.row]  # [tiles, factors]
            score = _einsum("twf,tf->tw", vectors, row)
            adjoint_score = _einsum("twf,tf->tw", vectors, row_adjoint)
            by_both = jax.grad(_term, argnums=(0, 1), allow_int=True)
            of_objective, of_value = by_both(objective, chunk.value, score, adjoint_score)
            of_other = sums[0]
            if of_other is not None:
                gram_weight, target_weight = objective.weights(chunk.value.astype(rows.dtype))
                along = target_weight - gram_weight * score
                across = gram_weight * adjoint_score
                by_entry = along[:, :, None] * row_adjoint[:, None, :] - across[:, :, None] * row[:, None, :]
                of_other = of_other.at[chunk.column].add(by_entry)
            return (of_other, jax.tree.map(_add, sums[1], of_objective)), of_value if wants_values else None

        sums = (jnp.zeros_like(other) if scatters else None, jax.tree.map(_zero, objective))
        of_values = []
        for group in entries:
            sums, of_value = jax.lax.scan(step, sums, group)
            of_values.append(of_value)
        return (sums if mesh is None else jax.lax.psum(sums, "rows")), tuple(of_values)

    mesh, in_cache = system.tiles.mesh, system.tiles.machine.in_cache
    over_mesh = _over_mesh(part, mesh, n_whole=4, out_specs=(_WHOLE, _PARTS))
    sums, of_values = over_mesh(_entries(system.tiles), system.other, system.objective, rows, adjoint)
    return *sums, of_values


def _by_columns(
    transposed: RowTiles, system: System, rows: Array, adjoint: Array
) -> tuple[Float[Array, "columns factors"], Objective]:
    """Return the gradients by the other table and by the confidence, gathered from tiles that have its rows as rows.

    ȳ = Σ (b - g (x·y)) v - g (v·y) x over the entries of a column.
    """

    def part(
        entries: tuple[_Entries, ...], other: Array, objective: Objective, rows: Array, adjoint: Array
    ) -> tuple[Array, Objective]:
        # Two tables, for laying both side by side in one would hold them once more.
        table, adjoint_table = pack(rows, in_pieces=in_cache), pack(adjoint, in_pieces=in_cache)
        own = _with_zero_row(other)

        def step(sums: tuple, chunk: _Entries) -> tuple[tuple, None]:
            # [tiles, width] -> [tiles, width, factors]
            vectors, adjoint_vectors = table[chunk.column], adjoint_table[chunk.column]
            score = _einsum("twf,tf->tw", vectors, own[chunk.row])
            adjoint_score = _einsum("twf,tf->tw", adjoint_vectors, own[chunk.row])
            gram_weight, target_weight = objective.weights(chunk.value.astype(other.dtype))
            of_chunk = _einsum("tw,twf->tf", target_weight - gram_weight * score, adjoint_vectors)
            of_chunk -= _einsum("tw,twf->tf", gram_weight * adjoint_score, vectors)
            of_objective = jax.grad(_term, allow_int=True)(objective, chunk.value, score, adjoint_score)
            return (sums[0].at[chunk.row].add(of_chunk), jax.tree.map(_add, sums[1], of_objective)), None

        sums = jnp.zeros_like(own), jax.tree.map(_zero, objective)
        for group in entries:
            sums = jax.lax.scan(step, sums, group)[0]
        return sums if mesh is None else jax.lax.psum(sums, "rows")

    mesh, in_cache = transposed.mesh, transposed.machine.in_cache
    over_mesh = _over_mesh(part, mesh, n_whole=4)
    of_other, of_objective = over_mesh(_entries(transposed), system.other, system.objective, rows, adjoint)
    return of_other[:-1], of_objective


def _term(objective: Objective, value: Array, score: Array, adjoint_score: Array) -> Float[Array, ""]:
    """Compute Σ b (v·y) - g (v·y) (x·y), whose gradients by the confidence and by the values are wanted."""
    gram_weight, target_weight = objective.weights(value.astype(score.dtype))
    return jnp.sum(target_weight * adjoint_score - gram_weight * adjoint_score * score)


def _entries(tiles: RowTiles) -> tuple[_Entries, ...]:
    found = [_Entries(g.column, g.value, jnp.take_along_axis(g.row, g.segment, axis=1)) for g in tiles.groups]
    if tiles.long is not None:
        # [lanes, steps, width] -> [lanes · steps, 1, width]
        as_chunks = lambda array: array.reshape(-1, 1, *array.shape[2:])
        found.append(_Entries(*map(as_chunks, (tiles.long.column, tiles.long.value, tiles.long.row))))
    return tuple(found)


def _values(tiles: RowTiles) -> list:
    return [group.value for group in tiles.groups] + ([tiles.long.value] if tiles.long is not None else [])


def _with_values(tiles: RowTiles, values: tuple[Any, ...]) -> RowTiles:
    """Put values that are laid out as those of `_entries` in the place of those of the tiles."""
    n_groups = len(tiles.groups)
    groups = tuple(dataclasses.replace(g, value=v) for g, v in zip(tiles.groups, values[:n_groups], strict=True))
    long = tiles.long
    if long is not None:
        long = dataclasses.replace(long, value=values[-1].reshape(long.value.shape))
    return dataclasses.replace(tiles, groups=groups, long=long)


def _over_mesh(part: Callable, mesh: Any, n_whole: int, out_specs: Any = _WHOLE) -> Callable:
    """Run `part` on each device's share of its first argument, and on copies of the others."""
    if mesh is None:
        return part
    specs = (_PARTS, *(_WHOLE for _ in range(n_whole)))
    return jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=out_specs, check_vma=False)


def _with_zero_row(table: Float[Array, "rows factors"]) -> Float[Array, "rows_and_one factors"]:
    """Append the row that unused tiles read and add to."""
    return jnp.concatenate([table, jnp.zeros_like(table[:1])])


def _zero(leaf: Any) -> Array:
    # The gradient by an integer has a type of its own, without numbers.
    return jnp.zeros_like(leaf) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else jnp.zeros(())


def _add(total: Array, term: Array) -> Array:
    return total if term.dtype == jax.dtypes.float0 else total + term.astype(total.dtype)


_einsum = functools.partial(jnp.einsum, precision="highest")
_matmul = functools.partial(jnp.matmul, precision="highest")
