"""Gradient descent as a trainer: the same loss as `ALS`, followed by any optimiser of optax. Host side."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxals._base.arguments import require_function, require_protocol, told
from jaxals._base.checks import require_at_least, require_integer, require_number, require_one_of
from jaxals._base.devices import devices_of
from jaxals._base.memory import require_memory
from jaxals._base.settings import settings
from jaxals.als.parallel.mesh import from_one_device, to_every_device
from jaxals.als.stages import StepInfo
from jaxals.als.sweeps import initial_factors
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError
from jaxals.gradient.descent import Batch, DescentState, FullBatch, Problem, descend, has_line_search
from jaxals.gradient.losses import ObservedLoss, Penalty, Terms, exact_loss
from jaxals.gradient.program import GradientProgram
from jaxals.gradient.user_batches import UserBatch, build_batches
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.beginning import require_allowed, require_beginning
from jaxals.training.trainers import Training

# Entries that are looked at for what went wrong.
_MOST_EXPLAINED = 2**16


@settings
class Gradient:
    """Minimise the objective by gradient descent with an optimiser of optax.

    The loss is exact over all pairs, as in `ALS`: where both converge, they agree. Optimisers start from where `ALS`
    starts. Users and items without interactions have zero factors, unless a penalty pulls at them.

    Attributes:
        factors: Length of the vectors that are learned.
        steps: How many steps the optimiser takes.
        optimizer: Any of optax: `optax.adam(1e-2)`, one with a schedule, `optax.lbfgs()` with its line search.
        batch: What a step sees: `FullBatch()`, `Alternating()`, `UserBatches(size)` or `SampledNegatives(size)`.
        penalty: Function from `Factors` to a number that is added to the loss.
        observed_loss: Function from values and scores of observed pairs, arrays of one shape, to what each adds to the
            loss, instead of c (p - s)²; unobserved pairs keep w0 s².
        report_every: Steps for each row of the history, which is at each multiple of it; they run in one compiled loop.
        initial_scale: σ; initial factors are normal with standard deviation σ / √factors.
        dtype: "float32" or "float64" (which JAX must have been told to allow).

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import optax
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> smooth = lambda factors: 0.1 * (factors.item[1:] - factors.item[:-1]).var()
        >>> trainer = jaxals.Gradient(factors=4, steps=60, optimizer=optax.adam(0.05), penalty=smooth)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), trainer, progress=False)
        >>> run.history["step"].tolist(), bool(run.history["loss"].is_monotonic_decreasing)
        ([20, 40, 60], True)
    """

    factors: int = 64
    steps: int = 1000
    optimizer: optax.GradientTransformation = dataclasses.field(default_factory=lambda: optax.adam(1e-2))
    batch: Batch = dataclasses.field(default_factory=FullBatch)
    penalty: Penalty | None = None
    observed_loss: ObservedLoss | None = None
    report_every: int = 20
    initial_scale: float = 0.1
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        for name, least in (("factors", 1), ("steps", 0), ("report_every", 1)):
            require_integer(name, getattr(self, name), least)
        require_number("initial_scale", self.initial_scale)
        require_at_least("initial_scale", self.initial_scale, 0)
        require_one_of("dtype", self.dtype, "float32", "float64")
        if not isinstance(self.optimizer, optax.GradientTransformation):
            raise ConfigurationError(
                f"`optimizer` must be one of optax, such as `optax.adam(1e-2)`; got {told(self.optimizer)}."
            )
        require_protocol("batch", self.batch, Batch, "such as `FullBatch()`", ConfigurationError)
        require_function("penalty", self.penalty, of=["factors"], may_be_none=True)
        require_function("observed_loss", self.observed_loss, of=["values", "scores"], may_be_none=True)

    def begin(
        self,
        interactions: Interactions,
        objective: Objective,
        key: jax.Array,
        initial: Factors | None,
        mesh: Mesh | None,
    ) -> Training:
        """Lay out the entries both ways and draw, or take over, the first factors.

        Args:
            interactions: What to train on.
            objective: What to minimise.
            key: Of the initial factors, of the batches' order and of all draws.
            initial: Tables to continue from, [users, factors] and [items, factors], instead of random ones.
            mesh: Devices to share the entries out over, None for one.

        Returns:
            What the loop takes steps of.

        Raises:
            ConfigurationError: The work does not fit in memory, the optimiser does not go with the batches, or JAX
                refuses the dtype.
            DataError: `initial` is for other users, items or factors.
        """
        require_beginning(interactions, objective, key, initial, mesh, self.factors)
        require_allowed(self.dtype)
        dtype, optimizer = jnp.dtype(self.dtype), optax.with_extra_args_support(self.optimizer)
        self._refuse_what_cannot_work(interactions, optimizer, mesh)
        counts = interactions.counts("user"), interactions.counts("item")

        lay_out = lambda size: build_batches(interactions, size, factors=self.factors, dtype=dtype, mesh=mesh)
        batches = lay_out(self.batch.size)
        everyone = batches if self.batch.size is None else lay_out(None)
        terms = Terms(objective, self.observed_loss, self.penalty)
        item_count = jnp.asarray(counts[1], jnp.int32)
        # The initial factors are drawn from the key itself.
        item_count, order = to_every_device((item_count, jax.random.fold_in(key, 1)), mesh)
        problem = Problem(batches, item_count, terms, order)

        def step(state: DescentState, with_loss: bool) -> tuple[DescentState, StepInfo]:
            done = int(state.n_done)
            n_steps = jnp.asarray(min(self.steps - done, self.report_every - done % self.report_every), jnp.int32)
            everywhere, n_steps = to_every_device((state, n_steps), mesh)
            after = descend(everywhere, n_steps, problem, batch=self.batch, optimizer=optimizer)
            info = _describe(after.factors, everyone, item_count, terms, with_loss)
            return from_one_device((after, info), mesh)

        def start() -> DescentState:
            drawn = lambda: initial_factors(key, *interactions.shape, self.factors, self.initial_scale, dtype)
            first = drawn() if initial is None else initial
            first = Factors(_active(first.user, counts[0], dtype), _active(first.item, counts[1], dtype))
            # Weak types would be strong after the first call, and the second one be compiled anew.
            strong = lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype)
            memory = jax.tree.map(strong, self.batch.init(first, optimizer))
            return DescentState(first, memory, jnp.zeros((), jnp.int32))

        explain = functools.partial(_explain, terms, interactions)
        return Training(start, step, self.steps, "step", self.report_every, explain=explain)

    def with_steps(self, n: int) -> "Gradient":
        """Return the same trainer with another number of steps.

        Args:
            n: How many steps, 0 or more.

        Returns:
            A new trainer; this one stays as it is.

        Raises:
            ConfigurationError: `n` is no integer of 0 or more.
        """
        return dataclasses.replace(self, steps=n)

    def program(self, interactions: Interactions) -> GradientProgram:
        """Lay out, for one device, what all models of this trainer share.

        Args:
            interactions: What to train on.

        Returns:
            What `hyper.fit_many` trains models of one layout by.

        Raises:
            ConfigurationError: JAX refuses the dtype.
        """
        require_interactions("interactions", interactions)
        require_allowed(self.dtype)
        dtype = jnp.dtype(self.dtype)
        lay_out = lambda size: build_batches(interactions, size, factors=self.factors, dtype=dtype)
        batches = lay_out(self.batch.size)
        user_count, item_count = (jnp.asarray(interactions.counts(side), jnp.int32) for side in ("user", "item"))
        return GradientProgram(
            batches=batches,
            everyone=batches if self.batch.size is None else lay_out(None),
            user_count=user_count,
            item_count=item_count,
            n_steps=jnp.asarray(self.steps, jnp.int32),
            factors=self.factors,
            initial_scale=self.initial_scale,
            batch=self.batch,
            optimizer=self.optimizer,
            observed_loss=self.observed_loss,
            penalty=self.penalty,
            dtype=dtype,
        )

    def _refuse_what_cannot_work(
        self, interactions: Interactions, optimizer: optax.GradientTransformationExtraArgs, mesh: Mesh | None
    ) -> None:
        zeros = lambda: Factors(*(jnp.zeros((n_rows, self.factors), self.dtype) for n_rows in interactions.shape))
        tables, memory = jax.eval_shape(zeros), jax.eval_shape(lambda: optimizer.init(zeros()))
        if has_line_search(memory) and not isinstance(self.batch, FullBatch):
            raise ConfigurationError(
                f"A line search, as in `optax.lbfgs`, compares losses of one and the same function: it needs "
                f"`FullBatch()`; got {self.batch!r}."
            )
        size = lambda arrays: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))
        # The devices of a CPU share its memory, and each has tables of its own.
        copies = mesh.size if mesh is not None and mesh.devices.flat[0].platform == "cpu" else 1
        layouts = 2 if self.batch.size is None else 4
        entries = layouts * len(interactions) * 2 * (4 + np.dtype(self.dtype).itemsize)
        require_memory(
            copies * 2 * (2 * size(tables) + size(memory)) + entries,
            f"Training {self.factors} factors on {interactions!r}",
            "take fewer factors or an optimiser that remembers less",
            devices_of(mesh),
        )


def _active(table: jax.Array, count: np.ndarray, dtype: jnp.dtype) -> jax.Array:
    """Set rows without entries to zero, where the loss keeps them."""
    table = table.astype(dtype)
    return jnp.where(jnp.asarray(count > 0)[:, None], table, jnp.zeros_like(table))


@functools.partial(jax.jit, static_argnames="with_loss")
def _describe(
    factors: Factors, everyone: UserBatch, item_count: Int[Array, " items"], terms: Terms, with_loss: bool
) -> StepInfo:
    """Say how a step went; device side."""
    is_bad = [jnp.sum(~jnp.all(jnp.isfinite(table), axis=1), dtype=jnp.int32) for table in jax.tree.leaves(factors)]
    everyone = jax.tree.map(lambda stacked: stacked[0], everyone)
    loss = exact_loss(factors, everyone, item_count, terms) if with_loss else None
    return StepInfo(is_bad[0] + is_bad[1], jnp.zeros((), jnp.int32), loss)


def _explain(terms: Terms, interactions: Interactions, state: DescentState) -> str | None:
    """Say which function of one's own is, or has a slope, that is not finite where a step began."""
    factors = state.factors
    if terms.penalty is not None and (what := _not_finite(terms.extra, factors)):
        return f"{what} of `penalty` is not finite at the factors before"
    if terms.observed_loss is None:
        return None
    some = slice(_MOST_EXPLAINED)
    value = jnp.asarray(interactions.value[some], factors.user.dtype)
    user, item = factors.user[interactions.user[some]], factors.item[interactions.item[some]]
    of_scores = lambda score: terms.on_entries(value, score, False)
    what = _not_finite(of_scores, jnp.sum(user * item, axis=1))
    return f"{what} of `observed_loss` is not finite at the scores before" if what else None


def _not_finite(function: Callable[[Any], jax.Array], argument: Any) -> str | None:
    value, slope = jax.value_and_grad(function)(argument)
    if not jnp.isfinite(value):
        return "the value"
    return None if all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope)) else "the gradient"
