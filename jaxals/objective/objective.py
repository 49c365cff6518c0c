"""The one weighted loss, its presets, and its exact value. Device side, but for the entry of `loss`.

    loss = Σ_S [ c (p - s)² - w0 s² ] + w0 tr(XᵀX YᵀY) + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i|²,   s = x·y

where c = g + w0 is the full weight of an observed cell and p = b / c its target: the sum over all user-item pairs of
Hu, Koren and Volinsky 2008 (eq. 3), with the unobserved ones collected in the Gramians.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import checked_dtype, field_names, is_leaf, require_array, require_kind, told
from jaxals._base.checks import require_at_least, require_finite, require_integer, require_scalar, require_side
from jaxals._base.pytree import pytree
from jaxals._base.tracing import calling
from jaxals.data.catalog import Side
from jaxals.data.interactions import COO, Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.objective.confidence import (
    BinaryConfidence,
    Confidence,
    ImplicitConfidence,
    LinearConfidence,
    LogConfidence,
    Scalar,
)
from jaxals.objective.factors import Factors, gramian, require_factors, require_shape

# 64K entries a step keep the two gathered blocks of a loss pass at 32 MB for 64 factors in float32.
_ENTRIES_PER_STEP = 65_536


@pytree
class Sides:
    """A setting with one value for users and another for items, or with one for each user and each item.

    Attributes:
        user: A number, or one number per user.
        item: A number, or one number per item.

    Raises:
        ConfigurationError: A concrete number is below 0 or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> objective = jaxals.Objective.hkv(regularization=jaxals.Sides(user=0.1, item=jnp.array([0.2, 0.3])))
        >>> objective.of("user").regularization, objective.of("item", rows=1).regularization.item()
        (0.1, 0.3)
    """

    user: Any
    item: Any

    def __post_init__(self) -> None:
        for name in ("user", "item"):
            require_at_least(name, getattr(self, name), 0)
            require_finite(name, getattr(self, name))


Regularization = Scalar | Sides


@pytree
class Objective:
    """What to minimise: a confidence, the weight of unobserved pairs, and the ridge.

    Row r with n_r entries is regularised by λ_r = λ (n_r + κ · columns)^ν (Rendle, Krichene, Zhang and Koren 2021,
    eq. 6): ν = 0 is a plain ridge, ν = 1 one that grows with activity. All fields are leaves.

    Attributes:
        confidence: Callable pytree from values to Gram weights g and target weights b.
        unobserved_weight: w0 >= 0, the weight of every pair, observed or not, before g is added.
        regularization: λ >= 0, or `Sides` of λ for users and λ for items, each a number or one number per row.
        frequency_exponent: ν.
        frequency_offset: κ >= 0.

    Raises:
        ConfigurationError: A concrete number lies outside its range.

    Example:
        >>> import jaxals
        >>> jaxals.Objective.hkv(alpha=15.0, regularization=0.1).confidence.alpha
        15.0
    """

    confidence: Confidence
    unobserved_weight: Scalar = 1.0
    regularization: Any = 0.1
    frequency_exponent: Scalar = 0.0
    frequency_offset: Scalar = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.confidence, type) or not callable(self.confidence) or is_leaf(self.confidence):
            raise ConfigurationError(
                "`confidence` must be a pytree that can be called, such as `LinearConfidence()` or "
                f"`jax.tree_util.Partial(function)`; got {told(self.confidence)}."
            )
        names = ["unobserved_weight", "frequency_offset", "frequency_exponent"]
        if not isinstance(self.regularization, Sides):  # which checks its own
            names.append("regularization")
        for name in names:
            if name != "frequency_exponent":
                require_at_least(name, getattr(self, name), 0)
            require_finite(name, getattr(self, name))

    @classmethod
    def hkv(cls, alpha: Scalar = 40.0, regularization: Regularization = 0.1) -> "Objective":
        """Take confidence 1 + α r on observed pairs and 1 elsewhere (Hu, Koren and Volinsky 2008).

        Args:
            alpha: α > 0, what one unit of value adds to the confidence.
            regularization: λ >= 0, the same for every row.

        Raises:
            ConfigurationError: A concrete number lies outside its range.
        """
        return cls(LinearConfidence(alpha), 1.0, regularization)

    @classmethod
    def implicit(cls, alpha: Scalar = 1.0, regularization: Regularization = 0.01) -> "Objective":
        """Take confidence α r on observed pairs and 1 elsewhere, as the implicit library does.

        Args:
            alpha: α > 0, the confidence of one unit of value.
            regularization: λ >= 0, the same for every row.

        Raises:
            ConfigurationError: A concrete number lies outside its range.
        """
        return cls(ImplicitConfidence(alpha), 1.0, regularization)

    @classmethod
    def log(cls, alpha: Scalar = 40.0, epsilon: Scalar = 1.0, regularization: Regularization = 0.1) -> "Objective":
        """Damp heavy-tailed counts: confidence 1 + α ln(1 + r/ε) (Hu, Koren and Volinsky 2008, eq. 6).

        Args:
            alpha: α > 0, the slope in ln(1 + r/ε).
            epsilon: ε > 0, the value from which on counts are damped.
            regularization: λ >= 0, the same for every row.

        Raises:
            ConfigurationError: A concrete number lies outside its range.
        """
        return cls(LogConfidence(alpha, epsilon), 1.0, regularization)

    @classmethod
    def ials(
        cls, unobserved_weight: Scalar = 0.1, regularization: Regularization = 0.003, frequency_exponent: Scalar = 1.0
    ) -> "Objective":
        """Take binary values and a frequency-scaled ridge (Rendle, Krichene, Zhang and Koren 2021, iALS revisited).

        Args:
            unobserved_weight: w0 >= 0 of every pair; the ridge's offset κ starts equal to it.
            regularization: λ >= 0, scaled per row.
            frequency_exponent: ν.

        Raises:
            ConfigurationError: A concrete number lies outside its range.
        """
        # The offset is w0 again: the two leaves start equal and can be differentiated apart.
        return cls(BinaryConfidence(), unobserved_weight, regularization, frequency_exponent, unobserved_weight)

    @classmethod
    def spark(cls, alpha: Scalar = 1.0, regularization: Regularization = 0.1) -> "Objective":
        """Take confidence 1 + α|r| and a ridge scaled by each row's count of entries, as Spark MLlib does.

        Where all values are above zero, the two agree. Spark counts those alone, so that a dislike weighs in its loss
        but not in its ridge; here every entry counts, and a row with dislikes is regularised more than by Spark.

        Args:
            alpha: α > 0, what one unit of |value| adds to the confidence.
            regularization: λ >= 0 for each entry of a row.

        Raises:
            ConfigurationError: A concrete number lies outside its range.
        """
        return cls(LinearConfidence(alpha), 1.0, regularization, 1.0, 0.0)

    def of(self, side: Side, rows: Any = None) -> "Objective":
        """Return the objective of one side, whose λ is a number or one number per row.

        Args:
            side: "user" or "item".
            rows: Index or indices of the rows that it is to be about, all of them by default.

        Returns:
            An objective equal to this one but for λ.
        """
        require_side(side)
        ridge = self.regularization
        if isinstance(ridge, Sides):
            ridge = getattr(ridge, side)
        if rows is not None and jnp.ndim(ridge):
            ridge = jnp.asarray(ridge)[rows]
        return dataclasses.replace(self, regularization=ridge)

    def weights(self, value: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Return (g, b) of the confidence; padding, which has value 0, weighs nothing.

        Args:
            value: Values of entries, 0 in padding, of any shape.

        Returns:
            g and b, each of that shape.
        """
        require_array("value", value, None, jnp.floating, "an array of floating-point numbers", DataError)
        zero, is_entry = jnp.zeros_like(value), value != 0
        # Padding is evaluated as an entry of value 1: what is not finite at 0, such as log r, has a derivative of NaN.
        gram_weight, target_weight = self._confidence_of(jnp.where(is_entry, value, jnp.ones_like(value)))
        return jnp.where(is_entry, gram_weight, zero), jnp.where(is_entry, target_weight, zero)

    def _confidence_of(self, value: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        with calling("confidence"):
            weights = self.confidence(value)
        shapes = [np.shape(weight) for weight in weights] if isinstance(weights, (tuple, list)) else None
        if shapes != [value.shape] * 2:
            what = f"{len(shapes)} of shapes {shapes}" if shapes is not None else told(weights)
            raise ConfigurationError(
                "`confidence` must return two arrays of the values' shape, Gram weights and target weights; from "
                f"values of shape {value.shape}, {told(self.confidence)} made {what}."
            )
        return weights

    def cells(self, value: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Return the full weight c = g + w0 and the target p = b / c of observed cells; both are 0 in padding.

        Args:
            value: Values of entries, 0 in padding, of any shape.

        Returns:
            c and p, each of that shape.
        """
        gram_weight, target_weight = self.weights(value)
        full_weight = jnp.where(value != 0, gram_weight + self.unobserved_weight, jnp.zeros_like(value))
        # A cell of no weight has no target; its residual counts for nothing.
        return full_weight, target_weight / jnp.where(full_weight == 0, jnp.ones_like(value), full_weight)

    def ridge(self, count: Int[Array, "*rows"], n_columns: Scalar, dtype: Any) -> Float[Array, "*rows"]:
        """Compute λ_r = λ (n_r + κ · columns)^ν (Rendle, Krichene, Zhang and Koren 2021, eq. 6).

        Where users and items have λ of their own, `of` says which are meant.

        Args:
            count: Entries n_r of each row, of any shape.
            n_columns: Number of columns: items where rows are users, and the other way round.
            dtype: Of the result, float32 or float64.

        Returns:
            One number per row.

        Raises:
            ConfigurationError: λ is different for users and items.
            DataError: λ is given for other rows than these.
        """
        if isinstance(self.regularization, Sides):
            raise ConfigurationError('`regularization` has two sides; take `objective.of("user")` or `.of("item")`.')
        require_array("count", count, None, jnp.integer, "an array of integers", DataError)
        is_traced = isinstance(n_columns, jax.Array)  # as where the columns grow, which shall compile nothing
        require_scalar("n_columns", n_columns) if is_traced else require_integer("n_columns", n_columns, 0)
        if (shape := jnp.shape(self.regularization)) not in ((), jnp.shape(count)):
            raise DataError(f"`regularization` is for {shape} rows, but there are {jnp.shape(count)}.")
        dtype = checked_dtype("dtype", dtype)
        frequency = count.astype(dtype) + self.frequency_offset * (
            jnp.asarray(n_columns, dtype) if is_traced else int(n_columns)
        )
        # 0^ν has no finite derivative in ν, so the power is taken of what is above 0 alone.
        is_empty = frequency == 0
        power = jnp.where(is_empty, jnp.ones_like(frequency), frequency) ** self.frequency_exponent
        empty_power = jnp.asarray(self.frequency_exponent == 0, frequency.dtype)
        return jnp.asarray(self.regularization, dtype) * jnp.where(is_empty, empty_power, power)

    def ridge_loss(
        self, factors: Factors, user_count: Int[Array, " users"], item_count: Int[Array, " items"]
    ) -> Float[Array, ""]:
        """Compute Σ_u λ_u |x_u|² + Σ_i λ_i |y_i|² from the entries that each user and item has.

        Args:
            factors: Both tables.
            user_count: Entries of each user.
            item_count: Entries of each item.

        Returns:
            A scalar.

        Raises:
            DataError: λ or a count is given for other rows than these.
        """
        require_factors("factors", factors)
        for name, count, table in (("user_count", user_count, factors.user), ("item_count", item_count, factors.item)):
            require_array(name, count, 1, jnp.integer, "a 1-D array of integers", DataError)
            if len(count) != len(table):
                raise DataError(f"`{name}` must have one number for each of {len(table)} rows; got {len(count)}.")

        def of(side: Side, table: Array, count: Array, n_columns: int) -> Float[Array, ""]:
            return jnp.sum(self.of(side).ridge(count, n_columns, table.dtype) * jnp.sum(table**2, axis=1))

        by_user = of("user", factors.user, user_count, len(item_count))
        return by_user + of("item", factors.item, item_count, len(user_count))

    def loss_on_entries(self, value: Float[Array, "*shape"], score: Float[Array, "*shape"]) -> Float[Array, ""]:
        """Compute Σ c (p - s)² - w0 s² over cells with these values and scores; padding, of value 0, counts nothing.

        Args:
            value: Values of entries, 0 in padding, of any shape.
            score: Their scores s, of that shape.

        Returns:
            A scalar.
        """
        full_weight, target = self.cells(value)
        require_array("score", score, None, jnp.floating, "an array of floating-point numbers", DataError)
        if score.shape != value.shape:
            raise DataError(f"`score` must be of the shape {value.shape} of the values; got {score.shape}.")
        outside = jnp.where(value != 0, self.unobserved_weight * score**2, jnp.zeros_like(score))
        return jnp.sum(full_weight * (target - score) ** 2 - outside)

    def loss(self, factors: Factors, interactions: Interactions | COO) -> Float[Array, ""]:
        """Compute the loss exactly over all user-item pairs, in O(entries · factors + (users + items) · factors²).

        Args:
            factors: Both tables, in float32 or float64; the loss comes in the same dtype.
            interactions: The entries the loss is about.

        Returns:
            A scalar.

        Raises:
            DataError: The tables do not have one row per user and per item, or differ in width.
        """
        require_factors("factors", factors)
        require_objective("objective", self)
        entries = _on_device(interactions, factors.user.dtype)
        require_shape(factors, (entries.n_users, entries.n_items))
        return _loss(self, factors, entries)


def require_objective(name: str, value: Any) -> None:
    """Refuse what is no objective, and one whose numbers are arrays where there must be one number.

    Raises:
        ConfigurationError: It is something else.
    """
    require_kind(name, value, Objective, "an `Objective`, such as `Objective.hkv()`")
    for field in ("unobserved_weight", "frequency_exponent", "frequency_offset"):
        require_scalar(field, getattr(value, field))
    if type(value.confidence) in (BinaryConfidence, ImplicitConfidence, LinearConfidence, LogConfidence):
        for setting in field_names(value.confidence):
            require_scalar(setting, getattr(value.confidence, setting))


def _on_device(interactions: Interactions | COO, dtype: Any) -> COO:
    # All of this module that runs on the host.
    if not isinstance(interactions, COO):
        require_interactions("interactions", interactions)
    return interactions.to_coo(dtype) if isinstance(interactions, Interactions) else interactions


@jax.jit
def _loss(objective: Objective, factors: Factors, entries: COO) -> Float[Array, ""]:
    """Compute the loss; the sums over entries accumulate in the dtype of the factors, step by step of entries."""

    def observed(value: Float[Array, " step"], user: Array, item: Array) -> Float[Array, ""]:
        return objective.loss_on_entries(value, jnp.sum(user * item, axis=1))

    on_entries = _sum_over_entries(observed, entries, factors)
    everywhere = jnp.sum(gramian(factors.user) * gramian(factors.item))
    count = _count(entries.user, entries.n_users), _count(entries.item, entries.n_items)
    ridge = objective.ridge_loss(factors, *count)
    return on_entries + objective.unobserved_weight * everywhere + ridge


def _sum_over_entries(term: Callable[[Array, Array, Array], Array], entries: COO, factors: Factors) -> Array:
    """Add up a term of every entry, gathering a bounded number of rows at a time.

    `term` is called with values, the users' rows and the items' rows of a step of entries, and gives their sum; padding
    has value 0, and must count for nothing.
    """
    n_entries = entries.value.shape[0]
    steps = -(-n_entries // _ENTRIES_PER_STEP)
    pad = lambda a: jnp.pad(a, (0, steps * _ENTRIES_PER_STEP - n_entries)).reshape(steps, _ENTRIES_PER_STEP)

    def step(columns: tuple) -> Array:
        user, item, value = columns
        return term(value, factors.user[user], factors.item[item])

    columns = (pad(entries.user), pad(entries.item), pad(entries.value.astype(factors.user.dtype)))
    return jnp.sum(jax.lax.map(step, columns), axis=0)


def _count(index: Int[Array, " entries"], n_rows: int) -> Int[Array, " rows"]:
    return jnp.zeros(n_rows, jnp.int32).at[index].add(1)
