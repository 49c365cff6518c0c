"""Models trained by `Gradient` as one function of objective and key. Device side."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxals._base.pytree import pytree, static
from jaxals.als.sweeps import initial_factors
from jaxals.gradient.descent import Batch, DescentState, Problem, descend
from jaxals.gradient.losses import ObservedLoss, Penalty, Terms, exact_loss
from jaxals.gradient.user_batches import UserBatch
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.program import Trained, no_info, size_of, with_loss


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
        return 4 * size_of(self._first) + 2 * size_of(self._memory)

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
        return Trained(factors, with_loss(no_info(), exact_loss(factors, everyone, self.item_count, terms)))
