"""Steps of gradient descent on the weighted loss, many to a call. Device side.

What an optimiser is, its moments and its line search, comes from optax; here is what it is given: the exact gradient,
that of one side after the other, or an estimate from a batch of users. Whoever adds another kind writes a class with
the three members of `Batch`.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxals._base.checks import require_at_least, require_integer
from jaxals._base.pytree import pytree
from jaxals._base.tracing import calling
from jaxals.gradient.losses import Terms, batch_loss, exact_loss, sampled_loss
from jaxals.gradient.user_batches import UserBatch
from jaxals.objective.factors import Factors

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs


@pytree
class DescentState:
    """What the next step needs.

    Attributes:
        factors: Both tables.
        optimizer: What the optimiser remembers.
        n_done: Steps done.
    """

    factors: Factors
    optimizer: Any
    n_done: Int[Array, ""]


@pytree
class Problem:
    """What is minimised.

    Attributes:
        batches: All users in one batch, or dealt into several; stacked.
        item_count: Entries of each item.
        terms: What the loss is made of.
        key: Of everything that is drawn.
    """

    batches: UserBatch
    item_count: Int[Array, " items"]
    terms: Terms
    key: Array

    @property
    def n_batches(self) -> int:
        """How many batches there are."""
        return len(self.batches.user)

    def batch(self, number: Int[Array, ""] | int) -> UserBatch:
        """Return one batch."""
        return jax.tree.map(lambda stacked: stacked[number], self.batches)

    def loss(self, factors: Factors) -> Float[Array, ""]:
        """Compute the whole loss, where all users are in one batch."""
        return exact_loss(factors, self.batch(0), self.item_count, self.terms)


@runtime_checkable
class Batch(Protocol):
    """What a step of descent sees; frozen and hashable, for it is static.

    Example:
        >>> import dataclasses
        >>> import jax
        >>> import optax
        >>> import jaxals
        >>> @dataclasses.dataclass(frozen=True)
        ... class ItemsOnly:  # users stay as they were drawn
        ...     size = None
        ...     def init(self, factors, optimizer):
        ...         return optimizer.init(factors.item)
        ...     def step(self, state, problem, optimizer):
        ...         user, item = state.factors.user, state.factors.item
        ...         gradient = jax.grad(lambda item: problem.loss(jaxals.Factors(user, item)))(item)
        ...         change, memory = optimizer.update(gradient, state.optimizer, item)
        ...         return jaxals.Factors(user, item + change), memory
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.Gradient(factors=4, steps=40, batch=ItemsOnly(), optimizer=optax.sgd(1e-4))
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    @property
    def size(self) -> int | None:
        """Most users that a step sees, None for all."""
        ...

    def init(self, factors: Factors, optimizer: Optimizer) -> Any:
        """Return what the optimiser remembers before the first step.

        Args:
            factors: Both tables as they were drawn.
            optimizer: One of optax.

        Returns:
            A pytree, which `step` gets back as `state.optimizer`.
        """
        ...

    def step(self, state: DescentState, problem: Problem, optimizer: Optimizer) -> tuple[Factors, Any]:
        """Return both tables after a step, and what the optimiser then remembers.

        Args:
            state: Both tables as `state.factors`, what the optimiser remembers as `state.optimizer`, and
                `state.n_done`.
            problem: `problem.loss(factors)` is the whole loss where `size` is None; else `problem.batch(number)` is one
                of `problem.n_batches` batches of users.
            optimizer: One of optax.

        Returns:
            Both tables, of the same shapes and dtype, and the memory, of the same structure.
        """
        ...


class BothSides(NamedTuple):
    """An optimiser's memory of the two tables where they take turns or differ in kind."""

    user: Any
    item: Any


@dataclasses.dataclass(frozen=True)
class FullBatch:
    """The exact gradient of the whole loss by both tables at once; any optimiser, with a line search or without.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.Gradient(factors=4, steps=40, batch=jaxals.FullBatch())
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    size = None

    def init(self, factors: Factors, optimizer: Optimizer) -> Any:
        """Return one memory of both tables."""
        return optimizer.init(factors)

    def step(self, state: DescentState, problem: Problem, optimizer: Optimizer) -> tuple[Factors, Any]:
        """Take one step of the optimiser; a line search may compute the loss and its gradient several times."""
        find = jax.value_and_grad(problem.loss)
        if optax.tree.get(state.optimizer, "grad") is not None:  # where its line search ended
            find = functools.partial(optax.value_and_grad_from_state(problem.loss), state=state.optimizer)
        value, gradient = find(state.factors)
        known = {"value": value, "grad": gradient, "value_fn": problem.loss}
        return _updated(gradient, state.optimizer, state.factors, optimizer, **known)


@dataclasses.dataclass(frozen=True)
class Alternating:
    """Users and then items in each step, the other side held fixed: the blocks of alternating least squares.

    Each side has an exact gradient and an optimiser of its own, so that what differs from `ALS` is the solver alone.

    Attributes:
        inner_steps: Steps that each side takes in its turn.

    Raises:
        ConfigurationError: There is less than one.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.Gradient(factors=4, steps=40, batch=jaxals.Alternating())
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    inner_steps: int = 1
    size = None

    def __post_init__(self) -> None:
        require_integer("inner_steps", self.inner_steps, 1)

    def init(self, factors: Factors, optimizer: Optimizer) -> BothSides:
        """Return a memory of each side."""
        return BothSides(optimizer.init(factors.user), optimizer.init(factors.item))

    def step(self, state: DescentState, problem: Problem, optimizer: Optimizer) -> tuple[Factors, BothSides]:
        """Update the users, then the items for the users that there are now."""

        def turn(table: Array, memory: Any, place: Any) -> tuple[Array, Any]:
            def inner(_: Any, state: tuple[Array, Any]) -> tuple[Array, Any]:
                gradient = jax.grad(lambda table: problem.loss(place(table)))(state[0])
                return _updated(gradient, state[1], state[0], optimizer)

            return jax.lax.fori_loop(0, self.inner_steps, inner, (table, memory))

        before = state.factors
        user, of_user = turn(before.user, state.optimizer.user, lambda user: Factors(user, before.item))
        item, of_item = turn(before.item, state.optimizer.item, lambda item: Factors(user, item))
        return Factors(user, item), BothSides(of_user, of_item)


@dataclasses.dataclass(frozen=True)
class UserBatches:
    """An estimate of the gradient from some users and all of their pairs: over all batches its mean is exact.

    Users are dealt into batches once, by their numbers of entries, and every pass takes the batches in another order.
    Of the users' table, and of the optimiser's memory of it, only the batch's rows are touched; the items' table moves
    as a whole, for every pair of a user pulls at it.

    Attributes:
        size: Most users a batch.

    Raises:
        ConfigurationError: There is less than one.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.Gradient(factors=4, steps=40, batch=jaxals.UserBatches(size=16))
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    size: int = 512

    def __post_init__(self) -> None:
        require_integer("size", self.size, 1)

    def init(self, factors: Factors, optimizer: Optimizer) -> BothSides:
        """Return a memory of each side."""
        return BothSides(optimizer.init(factors.user), optimizer.init(factors.item))

    def step(self, state: DescentState, problem: Problem, optimizer: Optimizer) -> tuple[Factors, BothSides]:
        """Update a batch's users, and all items."""
        number = _turn(state.n_done, problem)
        gradient = batch_gradient(state.factors, problem, number, batch_loss)
        return _update_batch(state, gradient, problem.batch(number).user, optimizer)


@dataclasses.dataclass(frozen=True)
class SampledNegatives:
    """An estimate from some users, their entries, and items drawn at random in the place of all of their pairs.

    It is what most of the literature on neural recommenders trains on, and biased: see
    `jaxals.gradient.losses.sampled_loss`.

    Attributes:
        size: Most users a batch.
        per_entry: Items drawn uniformly for every entry, anew in every step.
        weight: What the square of each one's score counts. By default as much as makes all of them together count
            what all pairs do, w0 · users · items / (entries · per_entry).

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.Gradient(factors=4, steps=40, batch=jaxals.SampledNegatives(size=16, per_entry=2))
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    size: int = 512
    per_entry: int = 4
    weight: float | None = None

    def __post_init__(self) -> None:
        require_integer("size", self.size, 1)
        require_integer("per_entry", self.per_entry, 1)
        if self.weight is not None:
            require_at_least("weight", self.weight, 0)

    def init(self, factors: Factors, optimizer: Optimizer) -> BothSides:
        """Return a memory of each side."""
        return BothSides(optimizer.init(factors.user), optimizer.init(factors.item))

    def step(self, state: DescentState, problem: Problem, optimizer: Optimizer) -> tuple[Factors, BothSides]:
        """Update a batch's users, and all items."""
        number = _turn(state.n_done, problem)
        dtype = state.factors.user.dtype
        n_pairs = float(len(state.factors.user) * len(state.factors.item))
        n_entries = jnp.sum(problem.item_count.astype(dtype))
        balanced = problem.terms.objective.unobserved_weight * n_pairs / (n_entries * self.per_entry)
        estimate = functools.partial(
            sampled_loss,
            key=jax.random.fold_in(jax.random.split(problem.key)[1], state.n_done),
            n_drawn=self.per_entry,
            weight=balanced if self.weight is None else self.weight,
        )
        gradient = batch_gradient(state.factors, problem, number, estimate)
        return _update_batch(state, gradient, problem.batch(number).user, optimizer)


@functools.partial(jax.jit, static_argnames=("batch", "optimizer"))
def descend(
    state: DescentState, n_steps: Int[Array, ""], problem: Problem, *, batch: Batch, optimizer: Optimizer
) -> DescentState:
    """Take some steps.

    Args:
        state: Where to start.
        n_steps: How many to take.
        problem: What is minimised.
        batch: What a step sees.
        optimizer: What is done with it.

    Returns:
        The state after the last step.
    """

    def step(_: Any, state: DescentState) -> DescentState:
        return DescentState(*batch.step(state, problem, optimizer), state.n_done + 1)

    return jax.lax.fori_loop(jnp.zeros_like(n_steps), n_steps, step, state)


def batch_gradient(factors: Factors, problem: Problem, number: Int[Array, ""] | int, estimate: Any) -> Factors:
    """Estimate the gradient of the whole loss from one batch: its users' rows, and all items.

    Args:
        factors: Both tables.
        problem: What is minimised, with several batches.
        number: Which of them.
        estimate: `batch_loss`, or what else is to take its place.

    Returns:
        The gradient by the rows of the batch's slots, and by the items' table. Other users' rows have none, and for it
        to be right on average, these count once for each batch there is.
    """
    batch, terms, n_batches = problem.batch(number), problem.terms, problem.n_batches

    def loss(rows: Array, item: Array) -> Array:
        of_items = terms.ridge("item", item, problem.item_count, len(factors.user))
        return n_batches * estimate(rows, item, batch, terms) + of_items

    rows, item = jax.grad(loss, argnums=(0, 1))(_read(factors.user, batch.user), factors.item)
    if terms.penalty is not None:
        extra = jax.grad(terms.extra)(factors)
        rows, item = rows + n_batches * _read(extra.user, batch.user), item + extra.item
    return Factors(rows, item)


def has_line_search(memory: Any) -> bool:
    """Tell whether an optimiser keeps the loss that its line search ended at."""
    return optax.tree.get(memory, "value") is not None


def _turn(n_done: Int[Array, ""], problem: Problem) -> Int[Array, ""]:
    """Return which batch is next: every pass takes all of them, in an order of its own."""
    n_batches = jnp.full_like(n_done, problem.n_batches)
    key = jax.random.fold_in(jax.random.split(problem.key)[0], n_done // n_batches)
    order = jax.random.permutation(key, problem.n_batches)
    return order[n_done % n_batches]


def _update_batch(
    state: DescentState, gradient: Factors, user: Int[Array, " slots"], optimizer: Optimizer
) -> tuple[Factors, BothSides]:
    before, memory = state.factors, state.optimizer
    has_rows = optax.tree_utils.tree_map_params(
        optimizer, lambda _: True, memory.user, transform_non_params=lambda _: False
    )
    # What is not a table, such as a count of steps, is of all users.
    read = lambda is_table, whole: _read(whole, user) if is_table else whole
    write = lambda is_table, rows, whole: whole.at[user].set(rows, mode="drop") if is_table else rows
    of_rows = jax.tree.map(read, has_rows, memory.user)
    rows, of_rows = _updated(gradient.user, of_rows, read(True, before.user), optimizer)
    of_user = jax.tree.map(write, has_rows, of_rows, memory.user)
    item, of_item = _updated(gradient.item, memory.item, before.item, optimizer)
    return Factors(write(True, rows, before.user), item), BothSides(of_user, of_item)


def _updated(gradient: Any, memory: Any, tables: Any, optimizer: Optimizer, **known: Any) -> tuple[Any, Any]:
    # Optimisers count on JAX's usual promotion of types and ranks, which users may have made strict.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), calling("optimizer"):
        updates, memory = optimizer.update(gradient, memory, tables, **known)
    return optax.apply_updates(tables, updates), memory


def _read(table: Float[Array, "rows factors"], index: Int[Array, " slots"]) -> Float[Array, "slots factors"]:
    """Read rows; an index past the end, of an unused slot, reads zeros."""
    return table.at[index].get(mode="fill", fill_value=0)
