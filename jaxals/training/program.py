"""Models of one trainer as one function of objective and key, to be compiled once for all of them. Device side."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.pytree import pytree, static
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.momentum import look_ahead, no_momentum, remember
from jaxals.als.solver.equations import Solver, first_factors, is_exact
from jaxals.als.spectral import Start, is_random_better, spectral_factors
from jaxals.als.stages import Arithmetic, StepInfo
from jaxals.als.sweeps import initial_factors, sweep
from jaxals.data.interactions import COO
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

State = TypeVar("State")


@pytree
class Trained:
    """A model at the end of its training; of several models, all arrays have a leading axis of one per model.

    Attributes:
        factors: Both tables.
        info: How the last step went, the loss among it.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> program = jaxals.ALS(factors=4, sweeps=3).program(data)
        >>> trained = program.train(jaxals.Objective.hkv(1.0), jax.random.key(0))
        >>> trained.factors.item.shape, bool(jnp.isfinite(trained.info.loss))
        ((30, 4), True)
    """

    factors: Factors
    info: StepInfo


@runtime_checkable
class Program(Protocol):
    """What models of one trainer share when they are trained by one compiled program: a `jaxals.pytree`.

    A trainer makes it by its method `program(interactions)`. `dtype` is that of the tables. Where the program also has
    `working_bytes`, what a model in training takes besides, no more devices train than memory holds models.

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.training import Program
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> program = jaxals.ALS(factors=4, sweeps=3).program(data)
        >>> trained = program.train(jaxals.Objective.hkv(1.0), jax.random.key(0))
        >>> trained.factors.item.shape, isinstance(program, Program)
        ((30, 4), True)
    """

    dtype: Any

    def train(self, objective: Objective, key: Array) -> Trained:
        """Train one model; traced, with leaves of the objective and the key as tracers.

        Args:
            objective: What to minimise.
            key: Of the initial factors, and of all else that is random.

        Returns:
            The model, and how its last step went.
        """


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
        start: As in `ALS`, static.
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
    start: Start = static()
    is_accelerated: bool = static()
    dtype: Any = static()
    arithmetic: Arithmetic = static()

    @property
    def working_bytes(self) -> int:
        """Return the bytes of some tables, as `ALS.begin` counts them, and of the largest chunk."""
        tables = (7 if self.is_accelerated else 5) * size_of(self._first)
        chunks = [group.column.size // len(group.column) for group in self.user_tiles.groups + self.item_tiles.groups]
        itemsize = jnp.dtype(self.dtype).itemsize
        # Gathered rows, and Gram matrices of about as much again.
        return tables + 4 * max(chunks, default=0) * self.factors * itemsize + 8 * self.factors**2 * itemsize

    def _first(self, key: Array) -> Factors:
        shape = (self.entries.n_users, self.entries.n_items)
        return initial_factors(key, *shape, self.factors, self.initial_scale, self.dtype)

    def _begin(self, objective: Objective, key: Array) -> tuple[Factors, Bool[Array, ""] | bool]:
        """Return the first factors, and whether they are random."""
        at_random = lambda: self._first(key)
        near = lambda: spectral_factors(
            self.user_tiles, self.item_tiles, objective, key, self.factors, self.initial_scale, self.dtype
        )
        if self.start != "auto":
            return (at_random(), True) if self.start == "random" else (near(), False)
        is_random = is_random_better(objective, self.entries.value)
        return jax.lax.cond(is_random, at_random, near), is_random

    def train(self, objective: Objective, key: Array) -> Trained:
        """Make the sweeps that `ALS` makes."""
        first, is_random = self._begin(objective, key)
        first = first_factors(self.solver, first)

        def step(state: tuple) -> tuple:
            factors, momentum, _ = state
            ahead = look_ahead(factors, momentum) if self.is_accelerated else factors
            swept, info = sweep(self.user_tiles, self.item_tiles, ahead, objective, self.solver, self.arithmetic)
            if self.is_accelerated:
                momentum = remember(factors, swept, momentum)
            return swept, momentum, info

        memory = no_momentum(first, is_exact(self.solver), is_random) if self.is_accelerated else None
        factors, _, info = _repeat(self.n_sweeps, step, (first, memory, no_info()))
        return Trained(factors, with_loss(info, objective.loss(factors, self.entries)))


def _repeat(times: Int[Array, ""], step: Callable[[State], State], state: State) -> State:
    return jax.lax.fori_loop(jnp.zeros_like(times), times, lambda _, state: step(state), state)


def no_info() -> StepInfo:
    """Say that nothing went wrong."""
    nothing = jnp.zeros((), jnp.int32)
    return StepInfo(nothing, nothing)


def with_loss(info: StepInfo, loss: Float[Array, ""]) -> StepInfo:
    """Put the loss beside what else there is to say of a step."""
    return StepInfo(info.non_finite_rows, info.unconverged_rows, loss)


def size_of(make: Callable[[Array], Any]) -> int:
    """Return the bytes of what is made from a key, without making it."""
    shapes = jax.eval_shape(lambda: make(jax.random.key(0)))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
