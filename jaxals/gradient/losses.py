"""The weighted loss as a function of both tables that any optimiser can follow. Device side.

The sum over all pairs is exact through the Gramians, as in `jaxals.objective`. The sum over the entries has a
derivative of its own, one pass over the tiles for each side that is differentiated:

    ∇x_u = Σ_{i in S_u} ℓ'(s_ui) y_i + 2 w0 YᵀY x_u + 2 λ_u x_u,   ℓ(s) = c (p - s)² - w0 s²,   ℓ'(s) = 2 (g s - b)

which is twice the residual of the normal equations that alternating least squares solves (Hu, Koren and Volinsky 2008,
eq. 4). Differentiating the gathers instead takes six times as long (`docs/why/gradient.md`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import told
from jaxals._base.pytree import pytree, static
from jaxals._base.tracing import calling
from jaxals.als.kernels.gather import pack
from jaxals.data.catalog import Side
from jaxals.errors import ConfigurationError
from jaxals.gradient.returned import losses_of, penalty_of
from jaxals.gradient.user_batches import EntryTiles, UserBatch
from jaxals.objective.confidence import opened
from jaxals.objective.factors import Factors, gramian
from jaxals.objective.objective import Objective

Penalty = Callable[[Factors], Any]
ObservedLoss = Callable[[Array, Array], Array]


@pytree
class Terms:
    """What the loss is made of.

    Attributes:
        objective: Weights of the cells, w0 and ridge.
        observed_loss: Replaces c (p - s)² of observed cells, from values and scores; None keeps it. Static.
        penalty: Added to the loss, from both tables; None adds nothing. Static.
    """

    objective: Objective
    observed_loss: ObservedLoss | None = static(default=None)
    penalty: Penalty | None = static(default=None)

    def on_entries(
        self, value: Float[Array, "*shape"], score: Float[Array, "*shape"], is_in_gramian: bool
    ) -> Float[Array, ""]:
        """Compute the sum over cells with these values and scores; padding, of value 0, counts nothing.

        Args:
            value: Values of the cells.
            score: Their scores.
            is_in_gramian: Whether w0 s² is to be taken off, because a sum over all pairs has it already.
        """
        is_entry = value != 0
        if self.observed_loss is None:
            full_weight, target = self.objective.cells(value)
            cell = full_weight * (target - score) ** 2
        else:
            # Padding is evaluated as an entry of value 1: a loss that is not finite at 0 has a derivative of NaN.
            with calling("observed_loss"):
                cell = self.observed_loss(jnp.where(is_entry, value, jnp.ones_like(value)), score)
            cell = losses_of(cell, value.shape)
        if is_in_gramian:
            cell = cell - self.objective.unobserved_weight * score**2
        return jnp.sum(jnp.where(is_entry, cell, jnp.zeros_like(cell)))

    def everywhere(self, user: Float[Array, "rows factors"], item: Float[Array, "items factors"]) -> Float[Array, ""]:
        """Compute w0 Σ s² over all pairs of these users and items."""
        return self.objective.unobserved_weight * jnp.sum(gramian(user) * gramian(item))

    def ridge(
        self,
        side: Side,
        table: Float[Array, "rows factors"],
        count: Int[Array, " rows"],
        n_columns: int,
        rows: Int[Array, " rows"] | None = None,
    ) -> Float[Array, ""]:
        """Compute Σ λ_r |z_r|² over the rows of one side, or over those whose indices are given."""
        ridge = self.objective.of(side, rows).ridge(count, n_columns, table.dtype)
        return jnp.sum(ridge * jnp.sum(table**2, axis=1))

    def extra(self, factors: Factors) -> Float[Array, ""]:
        """Compute the penalty."""
        zero = jnp.zeros((), factors.user.dtype)
        if self.penalty is None:
            return zero
        with calling("penalty"):
            penalty = self.penalty(factors)
        return zero + penalty_of(penalty, zero.dtype)


def exact_loss(factors: Factors, batch: UserBatch, item_count: Int[Array, " items"], terms: Terms) -> Float[Array, ""]:
    """Compute the whole loss in O(entries · factors + (users + items) · factors²); its gradient costs twice that.

    Args:
        factors: Both tables.
        batch: All users, as `build_batches` lays them out without a size, its leading axis taken off.
        item_count: Entries of each item.
        terms: What the loss is made of.

    Returns:
        A scalar in the dtype of the tables.
    """
    loss = entries_loss(factors.user, factors.item, batch, terms) + terms.extra(factors)
    loss += terms.everywhere(factors.user, factors.item) + terms.ridge(
        "user", factors.user, batch.count, len(factors.item)
    )
    return loss + terms.ridge("item", factors.item, item_count, len(factors.user))


def batch_loss(
    rows: Float[Array, "slots factors"], item: Float[Array, "items factors"], batch: UserBatch, terms: Terms
) -> Float[Array, ""]:
    """Compute the terms of some users exactly: their entries, their pairs with all items, their ridge.

    Their sum over all batches, and the items' ridge, are the whole loss.

    Args:
        rows: The users' rows, zero where a slot is unused.
        item: The items' table.
        batch: Who they are and what they did.
        terms: What the loss is made of; the penalty is left out.

    Returns:
        A scalar in the dtype of the tables.
    """
    return (
        entries_loss(rows, item, batch, terms)
        + terms.everywhere(rows, item)
        + terms.ridge("user", rows, batch.count, len(item), batch.user)
    )


def sampled_loss(
    rows: Float[Array, "slots factors"],
    item: Float[Array, "items factors"],
    batch: UserBatch,
    terms: Terms,
    key: Array,
    n_drawn: int,
    weight: float | Float[Array, ""],
) -> Float[Array, ""]:
    """Compute the terms of some users as `batch_loss` does, but from items drawn in the place of all pairs.

    For each entry of a user, items are drawn uniformly, those with an entry too, and weight · s² is added for each. The
    more entries a user has, the more its pairs count, where the exact loss counts all pairs alike: what is estimated is
    another loss.

    Args:
        rows: As in `batch_loss`.
        item: As in `batch_loss`.
        batch: As in `batch_loss`.
        terms: As in `batch_loss`.
        key: Of the draw.
        n_drawn: How many items are drawn for an entry.
        weight: What each counts.

    Returns:
        A scalar in the dtype of the tables.
    """
    observed = entries_loss(rows, item, batch, terms, is_in_gramian=False)
    drawn = _drawn_squares(rows, item, batch.by_user, key, n_drawn)
    return observed + weight * drawn + terms.ridge("user", rows, batch.count, len(item), batch.user)


def entries_loss(
    user: Float[Array, "slots factors"],
    item: Float[Array, "items factors"],
    batch: UserBatch,
    terms: Terms,
    is_in_gramian: bool = True,
) -> Float[Array, ""]:
    """Add up the entries' terms.

    Args:
        user: Rows of the batch's slots.
        item: The items' table.
        batch: Entries of some or all users.
        terms: What the loss is made of.
        is_in_gramian: As in `Terms.on_entries`.

    Returns:
        A scalar in the dtype of the tables.
    """
    # What the ridge is made of, which may be a number for each row, plays no part here.
    objective = dataclasses.replace(
        terms.objective,
        confidence=opened(terms.objective.confidence, user.dtype),
        regularization=0.0,
        frequency_exponent=0.0,
        frequency_offset=0.0,
    )
    terms = dataclasses.replace(terms, objective=objective)
    _require_nothing_traced_around(terms.observed_loss, user.dtype)
    return _entries_loss(user, item, _Entries(batch.by_user, batch.by_item, terms, is_in_gramian))


def _require_nothing_traced_around(observed_loss: ObservedLoss | None, dtype: Any) -> None:
    if observed_loss is None:
        return
    example = jax.ShapeDtypeStruct((1, 1), dtype)
    with calling("observed_loss"):
        around = jax.closure_convert(observed_loss, example, example)[1]
    if around:
        raise ConfigurationError(
            "`observed_loss` must read no traced array but its arguments, for it is not differentiated by others; "
            f"{told(observed_loss)} does."
        )


@pytree
class _Entries:
    by_user: EntryTiles
    by_item: EntryTiles
    terms: Terms
    is_in_gramian: bool = static()


@jax.custom_jvp
def _entries_loss(user: Array, item: Array, entries: _Entries) -> Array:
    return _walk(entries.by_user, user, item, _Sum(entries.terms, entries.is_in_gramian))[0]


def _entries_loss_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    user, item, entries = primals
    moves = lambda slope: not isinstance(slope, SymbolicZero)
    kind: Any = jax.tree.structure(entries.terms)
    setting_slopes = kind.flatten_up_to(tangents[2].terms)
    chosen = tuple(number for number, slope in enumerate(setting_slopes) if moves(slope))
    # What is held fixed, such as a side in alternating descent, takes no pass.
    add_up = _Sum(entries.terms, entries.is_in_gramian, chosen)
    by = _By(moves(tangents[0]), moves(tangents[2].by_user.value), bool(chosen))
    loss, of_user, of_values, of_settings = _walk(entries.by_user, user, item, add_up, by)
    of_item = _walk(entries.by_item, item, user, add_up, _By(rows=True))[1] if moves(tangents[1]) else None
    slopes = [tangents[0], tangents[1], tangents[2].by_user.value, *(setting_slopes[number] for number in chosen)]
    along = [
        jnp.vdot(gradient, slope, precision="highest").astype(loss.dtype)
        for gradient, slope in zip((of_user, of_item, of_values, *of_settings), slopes, strict=True)
        if gradient is not None
    ]
    return loss, sum(along, start=jnp.zeros_like(loss))


# Not `jax.custom_vjp`, which has no derivatives forwards, nor second ones.
_entries_loss.defjvp(_entries_loss_jvp, symbolic_zeros=True)


@pytree
class _Sum:
    """What is added up over cells, as a function of some of the settings.

    Attributes:
        terms: What the loss is made of.
        is_in_gramian: As in `Terms.on_entries`, static.
        chosen: Which leaves of the terms to differentiate by, static.
    """

    terms: Terms
    is_in_gramian: bool = static()
    chosen: tuple[int, ...] = static(default=())

    @property
    def settings(self) -> tuple[Array, ...]:
        """Those leaves."""
        leaves = jax.tree.leaves(self.terms)
        return tuple(jnp.asarray(leaves[number]) for number in self.chosen)

    def __call__(self, scores: Array, value: Array, settings: tuple[Array, ...]) -> Array:
        kind: Any
        leaves, kind = jax.tree.flatten(self.terms)
        for number, setting in zip(self.chosen, settings, strict=True):
            leaves[number] = setting
        return kind.unflatten(leaves).on_entries(value, scores, self.is_in_gramian)


class _By(NamedTuple):
    """What a walk over entries is to differentiate by."""

    rows: bool = False
    values: bool = False
    settings: bool = False


_NOTHING = _By()


def _walk(
    tiles: EntryTiles, rows: Array, other: Array, add_up: _Sum, by: _By = _NOTHING
) -> tuple[Array, Array | None, Array | None, tuple[Array, ...]]:
    """Add up the loss in one pass over tiles, and its gradients by their rows, their values and some settings."""

    def part(tiles: tuple[Array, Array, Array], rows: Array, other: Array, add_up: _Sum) -> tuple[Any, Array | None]:
        table, own = pack(other, in_pieces=in_cache), pack(rows, in_pieces=in_cache)

        def step(sums: tuple, chunk: tuple) -> tuple[tuple, Array | None]:
            loss, of_rows, of_settings = sums
            column, value, row = chunk
            vectors = table[column]  # [tiles, width] -> [tiles, width, factors]
            scores = jnp.einsum("twf,tf->tw", vectors, own[row], precision="highest")
            arguments = scores, value, add_up.settings
            wanted = tuple(number for number, is_wanted in enumerate(by) if is_wanted)
            if not wanted:
                return (loss + add_up(*arguments), of_rows, of_settings), None
            here, found = jax.value_and_grad(add_up, wanted)(*arguments)
            slope = dict(zip(wanted, found, strict=True))
            if by.rows:
                of_tiles = jnp.einsum("tw,twf->tf", slope[0], vectors, precision="highest")
                of_rows = of_rows.at[row].add(of_tiles, indices_are_sorted=True)
            if by.settings:
                of_settings = jax.tree.map(jnp.add, of_settings, slope[2])
            return (loss + here, of_rows, of_settings), slope.get(1)

        zeros = jax.tree.map(jnp.zeros_like, add_up.settings) if by.settings else ()
        start = jnp.zeros((), rows.dtype), jnp.zeros_like(rows) if by.rows else None, zeros
        sums, of_values = jax.lax.scan(step, start, tiles)
        return (sums if mesh is None else jax.lax.psum(sums, "rows")), of_values

    mesh, in_cache, arrays = tiles.mesh, tiles.machine.in_cache, (tiles.column, tiles.value, tiles.row)
    if mesh is not None:
        specs = (PartitionSpec("rows"), PartitionSpec(), PartitionSpec(), PartitionSpec())
        out_specs = PartitionSpec(), PartitionSpec("rows")
        part = jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=out_specs, check_vma=False)
    (loss, of_rows, of_settings), of_values = part(arrays, rows, other, add_up)
    return loss, of_rows, of_values, of_settings


def _drawn_squares(rows: Array, item: Array, by_user: EntryTiles, key: Array, n_drawn: int) -> Array:
    """Draw items for every entry, and add up their squared scores."""

    def part(tiles: tuple[Array, Array, Array], rows: Array, item: Array, key: Array) -> Array:
        table, own = pack(item, in_pieces=in_cache), pack(rows, in_pieces=in_cache)

        @jax.checkpoint  # the vectors that were drawn would be kept for all entries
        def squares(chunk: tuple[Array, Array, Array]) -> Array:
            number, value, row = chunk
            shape = (*value.shape, n_drawn)
            drawn = jax.random.randint(jax.random.fold_in(key, number), shape, 0, len(item), jnp.int32)
            scores = jnp.einsum("twdf,tf->twd", table[drawn], own[row], precision="highest")
            return jnp.sum(jnp.where((value != 0)[:, :, None], scores**2, jnp.zeros_like(scores)))

        return jnp.sum(jax.lax.map(squares, tiles), keepdims=True)

    in_cache = by_user.machine.in_cache
    # Chunks are numbered over all devices: draws agree wherever chunks have one shape.
    arrays = (jnp.arange(len(by_user.row)), by_user.value, by_user.row)
    if by_user.mesh is not None:
        specs = (PartitionSpec("rows"), PartitionSpec(), PartitionSpec(), PartitionSpec())
        part = jax.shard_map(part, mesh=by_user.mesh, in_specs=specs, out_specs=PartitionSpec("rows"), check_vma=False)
    return jnp.sum(part(arrays, rows, item, key))
