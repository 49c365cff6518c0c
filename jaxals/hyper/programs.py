"""Training many models in one compiled program: each device trains models of its own, one after another. Device side.

Nothing is exchanged between devices and no step is dispatched by the host. Other forms, such as models side by side in
one wide table, were slower on a CPU: `docs/why/many-models.md`.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxals._base.pytree import pytree, static
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.momentum import look_ahead, no_momentum, remember
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver
from jaxals.als.stages import Arithmetic, StepInfo
from jaxals.als.sweeps import initial_factors, sweep
from jaxals.data.interactions import COO
from jaxals.gradient.descent import Batch, DescentState, Problem, descend
from jaxals.gradient.losses import ObservedLoss, Penalty, Terms, exact_loss
from jaxals.gradient.user_batches import UserBatch
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

State = TypeVar("State")


@pytree
class Trained:
    """Models at the end of their training; all arrays have a leading axis of one per model.

    Attributes:
        factors: Both tables.
        info: How the last step went, the loss among it.
    """

    factors: Factors
    info: StepInfo


@pytree
class ALSProgram:
    """What models trained by `ALS` share.

    Attributes:
        user_tiles: Tiles with users as rows, cut for one device.
        item_tiles: Tiles with items as rows, likewise.
        entries: The same entries in turn, for the loss.
        solver: How each row is solved.
        n_sweeps: How many sweeps to make.
        factors: Length of the vectors, static.
        initial_scale: As in `ALS`, static; and so below.
        is_accelerated: Whether sweeps have momentum, static.
        dtype: Type of the tables, static.
        arithmetic: How half steps round, static.
    """

    user_tiles: RowTiles
    item_tiles: RowTiles
    entries: COO
    solver: Solver
    n_sweeps: Int[Array, ""]
    factors: int = static()
    initial_scale: float = static()
    is_accelerated: bool = static()
    dtype: Any = static()
    arithmetic: Arithmetic = static()

    @property
    def working_bytes(self) -> int:
        """Return the bytes of some tables, as `ALS.begin` counts them, and of the largest chunk."""
        tables = (7 if self.is_accelerated else 5) * _size(self._first)
        chunks = [group.column.size // len(group.column) for group in self.user_tiles.groups + self.item_tiles.groups]
        itemsize = jnp.dtype(self.dtype).itemsize
        # Gathered rows, and Gram matrices of about as much again.
        return tables + 4 * max(chunks, default=0) * self.factors * itemsize + 8 * self.factors**2 * itemsize

    def _first(self, key: Array) -> Factors:
        shape = (self.entries.n_users, self.entries.n_items)
        return initial_factors(key, *shape, self.factors, self.initial_scale, self.dtype)

    def train(self, objective: Objective, key: Array) -> Trained:
        """Make the sweeps that `ALS` makes."""
        first = self._first(key)

        def step(state: tuple) -> tuple:
            factors, momentum, _ = state
            ahead = look_ahead(factors, momentum) if self.is_accelerated else factors
            swept, info = sweep(self.user_tiles, self.item_tiles, ahead, objective, self.solver, self.arithmetic)
            if self.is_accelerated:
                momentum = remember(factors, swept, momentum)
            return swept, momentum, info

        memory = no_momentum(first, isinstance(self.solver, Cholesky)) if self.is_accelerated else None
        factors, _, info = _repeat(self.n_sweeps, step, (first, memory, _no_info()))
        return Trained(factors, _with_loss(info, objective.loss(factors, self.entries)))


@pytree
class GradientProgram:
    """What models trained by `Gradient` share.

    Attributes:
        batches: All users in one batch, or dealt into several; stacked.
        everyone: All users in one batch.
        user_count: Entries of each user.
        item_count: Entries of each item.
        n_steps: How many steps the optimiser takes.
        factors: Length of the vectors, static.
        initial_scale: As in `Gradient`, static; and so below.
        batch: What a step sees, static.
        optimizer: What takes it, static.
        observed_loss: What takes the place of c (p - s)², static.
        penalty: What is added to the loss, static.
        dtype: Type of the tables, static.
    """

    batches: UserBatch
    everyone: UserBatch
    user_count: Int[Array, " users"]
    item_count: Int[Array, " items"]
    n_steps: Int[Array, ""]
    factors: int = static()
    initial_scale: float = static()
    batch: Batch = static()
    optimizer: optax.GradientTransformation = static()
    observed_loss: ObservedLoss | None = static()
    penalty: Penalty | None = static()
    dtype: Any = static()

    @property
    def working_bytes(self) -> int:
        """Return the bytes of tables, gradients and what the optimiser remembers, twice as `Gradient.begin` does."""
        return 4 * _size(self._first) + 2 * _size(self._memory)

    def _first(self, key: Array) -> Factors:
        shape = (len(self.user_count), len(self.item_count))
        drawn = initial_factors(key, *shape, self.factors, self.initial_scale, self.dtype)
        # The loss keeps rows without entries at zero.
        active = lambda table, count: jnp.where((count > 0)[:, None], table, jnp.zeros_like(table))
        return Factors(active(drawn.user, self.user_count), active(drawn.item, self.item_count))

    def _memory(self, key: Array) -> Any:
        # Weak types would change in the loop.
        strong = lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype)
        return jax.tree.map(strong, self.batch.init(self._first(key), self._optimizer))

    @property
    def _optimizer(self) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(self.optimizer)

    def train(self, objective: Objective, key: Array) -> Trained:
        """Take the steps that `Gradient` takes."""
        first = self._first(key)
        terms = Terms(objective, self.observed_loss, self.penalty)
        # The initial factors were drawn from the key itself, as in `Gradient.begin`.
        problem = Problem(self.batches, self.item_count, terms, jax.random.fold_in(key, 1))
        state = DescentState(first, self._memory(key), jnp.zeros((), jnp.int32))
        factors = descend(state, self.n_steps, problem, batch=self.batch, optimizer=self._optimizer).factors
        everyone = jax.tree.map(lambda stacked: stacked[0], self.everyone)
        return Trained(factors, _with_loss(_no_info(), exact_loss(factors, everyone, self.item_count, terms)))


Program = ALSProgram | GradientProgram


@functools.partial(jax.jit, static_argnames="mesh")
def train_many(program: Program, objectives: Objective, keys: Array, mesh: Mesh | None) -> Trained:
    """Train as many models as there are keys.

    Args:
        program: What they share; on every device of the mesh.
        objectives: Theirs, stacked: every leaf has a leading axis of one per model.
        keys: Of their initial factors, as many as there are models, a multiple of the devices.
        mesh: Devices, its one axis "models"; None for one device.

    Returns:
        The trained models, stacked likewise.
    """

    def on_one_device(program: Program, objectives: Objective, keys: Array) -> Trained:
        return jax.lax.map(lambda model: program.train(*model), (objectives, keys))

    if mesh is None:
        return on_one_device(program, objectives, keys)
    whole, parts = PartitionSpec(), PartitionSpec("models")
    # No collective in it: there is nothing for the checker of replication to see.
    spread = jax.shard_map(on_one_device, mesh=mesh, in_specs=(whole, parts, parts), out_specs=parts, check_vma=False)
    return spread(program, objectives, keys)


def _repeat(times: Int[Array, ""], step: Callable[[State], State], state: State) -> State:
    return jax.lax.fori_loop(jnp.zeros_like(times), times, lambda _, state: step(state), state)


def _no_info() -> StepInfo:
    nothing = jnp.zeros((), jnp.int32)
    return StepInfo(nothing, nothing)


def _with_loss(info: StepInfo, loss: Float[Array, ""]) -> StepInfo:
    return StepInfo(info.non_finite_rows, info.unconverged_rows, loss)


def _size(make: Callable[[Array], Any]) -> int:
    """Return the bytes of what is made from a key, without making it."""
    shapes = jax.eval_shape(lambda: make(jax.random.key(0)))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
