"""The one weighted loss, its presets, and its exact value. Device side.

    loss = Σ_S [ c (p - s)² - w0 s² ] + w0 tr(XᵀX YᵀY) + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i|²,   s = x·y

where c = g + w0 is the full weight of an observed cell and p = b / c its target: the sum over all user-item pairs of
Hu, Koren and Volinsky 2008 (eq. 3), with the unobserved ones collected in the Gramians.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._pytree import pytree
from jaxals.confidence import (
    BinaryConfidence,
    Confidence,
    ImplicitConfidence,
    LinearConfidence,
    LogConfidence,
    Scalar,
)
from jaxals.errors import ConfigurationError, DataError
from jaxals.interactions import COO, Interactions

# 64K entries a step keep the two gathered blocks of a loss pass at 32 MB for 64 factors in float32.
_ENTRIES_PER_STEP = 65_536


@pytree
class Factors:
    """The two tables that a model learns; the score of a pair is their dot product.

    Attributes:
        user: One row per user.
        item: One row per item.
    """

    user: Float[Array, "users factors"]
    item: Float[Array, "items factors"]

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        return jnp.matmul(self.user[users], self.item.T, precision="highest")


@pytree
class Objective:
    """What to minimise: a confidence, the weight of unobserved pairs, and the ridge.

    Row r with n_r entries is regularised by λ_r = λ (n_r + κ · columns)^ν (Rendle, Krichene, Zhang and Koren 2021,
    eq. 6): ν = 0 is a plain ridge, ν = 1 one that grows with activity. All fields are leaves.

    Attributes:
        confidence: Callable pytree from values to Gram weights g and target weights b.
        unobserved_weight: w0 >= 0, the weight of every pair, observed or not, before g is added.
        regularization: λ >= 0.
        frequency_exponent: ν.
        frequency_offset: κ >= 0.

    Raises:
        ConfigurationError: A concrete number lies outside its range.

    Example:
        >>> Objective.hkv(alpha=15.0, regularization=0.1).confidence.alpha
        15.0
    """

    confidence: Confidence
    unobserved_weight: Scalar = 1.0
    regularization: Scalar = 0.1
    frequency_exponent: Scalar = 0.0
    frequency_offset: Scalar = 0.0

    def __post_init__(self) -> None:
        for name in ("unobserved_weight", "regularization", "frequency_offset"):
            require_at_least(name, getattr(self, name), 0)

    @classmethod
    def hkv(cls, alpha: Scalar = 40.0, regularization: Scalar = 0.1) -> "Objective":
        """Take confidence 1 + α r on observed pairs and 1 elsewhere (Hu, Koren and Volinsky 2008)."""
        return cls(LinearConfidence(_positive("alpha", alpha)), 1.0, regularization)

    @classmethod
    def implicit(cls, alpha: Scalar = 1.0, regularization: Scalar = 0.01) -> "Objective":
        """Take confidence α r on observed pairs and 1 elsewhere, as the implicit library does."""
        return cls(ImplicitConfidence(_positive("alpha", alpha)), 1.0, regularization)

    @classmethod
    def log(cls, alpha: Scalar = 40.0, epsilon: Scalar = 1.0, regularization: Scalar = 0.1) -> "Objective":
        """Damp heavy-tailed counts: confidence 1 + α ln(1 + r/ε) (Hu, Koren and Volinsky 2008, eq. 6)."""
        return cls(LogConfidence(_positive("alpha", alpha), _positive("epsilon", epsilon)), 1.0, regularization)

    @classmethod
    def ials(
        cls, unobserved_weight: Scalar = 0.1, regularization: Scalar = 0.003, frequency_exponent: Scalar = 1.0
    ) -> "Objective":
        """Take binary values and a frequency-scaled ridge (Rendle, Krichene, Zhang and Koren 2021, iALS revisited)."""
        # The offset is w0 again: the two leaves start equal and can be differentiated apart.
        return cls(BinaryConfidence(), unobserved_weight, regularization, frequency_exponent, unobserved_weight)

    @classmethod
    def spark(cls, alpha: Scalar = 1.0, regularization: Scalar = 0.1) -> "Objective":
        """Take confidence 1 + α|r| and a ridge scaled by each row's count of entries, as Spark MLlib does."""
        return cls(LinearConfidence(_positive("alpha", alpha)), 1.0, regularization, 1.0, 0.0)

    def weights(self, value: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Return (g, b) of the confidence; padding, which has value 0, weighs nothing."""
        gram_weight, target_weight = self.confidence(value)
        zero = jnp.zeros_like(value)
        is_entry = value != 0
        return jnp.where(is_entry, gram_weight, zero), jnp.where(is_entry, target_weight, zero)

    def ridge(self, count: Int[Array, "*rows"], n_columns: int, dtype: Any) -> Float[Array, "*rows"]:
        """Return λ_r for rows with `count` entries out of `n_columns` columns."""
        frequency = count.astype(dtype) + self.frequency_offset * n_columns
        # 0^ν has no finite derivative in ν, so the power is taken of what is above 0 alone.
        is_empty = frequency == 0
        power = jnp.where(is_empty, jnp.ones_like(frequency), frequency) ** self.frequency_exponent
        empty_power = jnp.asarray(self.frequency_exponent == 0, frequency.dtype)
        return self.regularization * jnp.where(is_empty, empty_power, power)

    def loss(self, factors: Factors, interactions: Interactions | COO) -> Float[Array, ""]:
        """Compute the loss exactly over all user-item pairs, in O(entries · factors + (users + items) · factors²).

        Args:
            factors: Both tables, in float32 or float64; the loss comes in the same dtype.
            interactions: The entries the loss is about.

        Returns:
            A scalar.

        Raises:
            DataError: The tables do not have one row per user and per item.
        """
        if isinstance(interactions, Interactions):
            interactions = interactions.to_coo(factors.user.dtype)
        shape = (factors.user.shape[0], factors.item.shape[0])
        if shape != (interactions.n_users, interactions.n_items):
            turned = " Users and items look swapped." if shape == (interactions.n_items, interactions.n_users) else ""
            raise DataError(
                f"The factors are for {shape} users and items, the interactions for "
                f"{(interactions.n_users, interactions.n_items)}.{turned}"
            )
        return _loss(self, factors, interactions)


def gramian(table: Float[Array, "rows factors"]) -> Float[Array, "factors factors"]:
    """Return YᵀY at full precision."""
    return jnp.matmul(table.T, table, precision="highest")


def require_at_least(name: str, value: Any, least: float) -> None:
    """Refuse a concrete number below `least`; arrays and tracers pass, since they may be traced or batched."""
    if isinstance(value, (int, float, np.number)) and not value >= least:
        raise ConfigurationError(f"`{name}` must be >= {least}; got {value}.")


def _positive(name: str, value: Any) -> Any:
    if isinstance(value, (int, float, np.number)) and not value > 0:
        raise ConfigurationError(f"`{name}` must be > 0; got {value}.")
    return value


@jax.jit
def _loss(objective: Objective, factors: Factors, interactions: COO) -> Float[Array, ""]:
    dtype = factors.user.dtype
    entries = interactions.value.shape[0]
    steps = -(-entries // _ENTRIES_PER_STEP)
    pad = lambda a: jnp.pad(a, (0, steps * _ENTRIES_PER_STEP - entries)).reshape(steps, _ENTRIES_PER_STEP)

    def observed(step: tuple) -> Float[Array, ""]:
        user, item, value = step
        gram_weight, target_weight = objective.weights(value)
        score = jnp.sum(factors.user[user] * factors.item[item], axis=-1)
        full_weight = gram_weight + objective.unobserved_weight
        # A cell of no weight has no target; its residual counts for nothing.
        target = target_weight / jnp.where(full_weight == 0, jnp.ones_like(full_weight), full_weight)
        term = full_weight * (target - score) ** 2 - objective.unobserved_weight * score**2
        return jnp.sum(jnp.where(value != 0, term, jnp.zeros_like(term)))

    columns = (pad(interactions.user), pad(interactions.item), pad(interactions.value.astype(dtype)))
    on_entries = jnp.sum(jax.lax.map(observed, columns))
    everywhere = jnp.sum(gramian(factors.user) * gramian(factors.item))
    ridges = _ridge_loss(objective, factors.user, interactions.user, interactions.n_items) + _ridge_loss(
        objective, factors.item, interactions.item, interactions.n_users
    )
    return on_entries + objective.unobserved_weight * everywhere + ridges


def _ridge_loss(
    objective: Objective, table: Float[Array, "rows factors"], row: Int[Array, " entries"], n_columns: int
) -> Float[Array, ""]:
    count = jnp.zeros(table.shape[0], jnp.int32).at[row].add(1)
    return jnp.sum(objective.ridge(count, n_columns, table.dtype) * jnp.sum(table**2, axis=-1))
