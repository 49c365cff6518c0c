"""Numbers gone bad: found before the first step where they can be, and explained after one. Host side."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxals.als.stages import StepInfo
from jaxals.data.catalog import Side
from jaxals.data.checks import require_held
from jaxals.data.interactions import Interactions
from jaxals.errors import ConfigurationError, DataError, NumericalError
from jaxals.objective.confidence import Weights
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective

_NAMED = 3


def require_finite_start(
    interactions: Interactions, objective: Objective, dtype: jnp.dtype, initial: Factors | None
) -> None:
    """Refuse what would make every step NaN.

    Raises:
        DataError: `initial` is not finite, or a value is 0 or infinite in the type of the factors.
        ConfigurationError: The weights of a value overflow in the type of the factors.
    """
    for name in ("user", "item") if initial is not None else ():
        if bad := int(np.sum(~np.isfinite(getattr(initial, name)).all(axis=1))):
            raise DataError(f"`initial` has {bad:,} {name} rows that are not finite.")
    require_held(interactions.value, dtype)
    size = np.abs(interactions.value)
    extremes = interactions.value[[np.argmin(size), np.argmax(size)]]
    weights = _weights(objective, extremes.astype(dtype))
    is_finite = np.isfinite(np.stack(weights)).all(axis=0)
    if not is_finite.all():
        value = extremes[np.argmin(is_finite)]
        raise ConfigurationError(
            f"The weights of a value of {value:.6g} are not finite in {dtype}; lower alpha or scale the values down."
        )


@jax.jit
def _weights(objective: Objective, value: Float[Array, " values"]) -> Weights:
    return objective.weights(value)


def require_finite_step(
    info: StepInfo,
    factors: Factors,
    when: str,
    objective: Objective,
    interactions: Interactions | None = None,
    is_solved: bool = True,
    why: Callable[[], str | None] | None = None,
) -> None:
    """Refuse what came out of a step with numbers that are not finite, and say why that is likely.

    Args:
        info: Of the step.
        factors: Both tables after it.
        when: Such as "sweep 3".
        objective: What is minimised.
        interactions: What is trained on; with them the message names rows and looks for the cause.
        is_solved: Whether the step solves systems, or else follows a gradient.
        why: What else may know the cause.

    Raises:
        NumericalError: Some rows, or the loss, are not finite.
    """
    if count := int(info.non_finite_rows):
        known = why() if why is not None else None
        named, cause = _rows_and_cause(factors, objective, interactions, is_solved)
        raise NumericalError(f"After {when}, {count:,} rows are not finite{named}: {known or cause}.")
    if info.loss is not None and not np.isfinite(info.loss) and why is not None and (known := why()):
        raise NumericalError(f"After {when}, the loss is {float(info.loss)}: {known}.")
    if info.loss is not None and not np.isfinite(info.loss):
        what = "not a number" if np.isnan(info.loss) else "infinite"
        raise NumericalError(
            f"After {when}, the loss is {what}, though all rows are finite: its sums overflow in {factors.user.dtype}; "
            "lower alpha or scale the values down."
        )


def _rows_and_cause(
    factors: Factors, objective: Objective, interactions: Interactions | None, is_solved: bool
) -> tuple[str, str]:
    if not is_solved:
        named = "" if interactions is None else _named(factors, interactions)[0]
        return named, "the steps are too long and training has diverged; lower the learning rate"
    broken = f"their systems are singular or overflow in {factors.user.dtype}"
    if interactions is None:
        return "", f"{broken}; raise `regularization`, or lower alpha"
    named, side, row = _named(factors, interactions)
    objective = objective.of(side, row)
    ridge = f"raise `regularization` (it is {float(objective.regularization):.6g})"
    general = f"{broken}; {ridge}, or lower alpha"
    index, columns = (
        (interactions.user, interactions.n_items) if side == "user" else (interactions.item, interactions.n_users)
    )
    values = interactions.value[index == row].astype(factors.user.dtype)
    if not len(values):
        return named, general
    gram_weight, target_weight = (np.asarray(weight) for weight in objective.weights(jnp.asarray(values)))
    if (gram_weight < 0).any() and float(gram_weight.min() + objective.unobserved_weight) < 0:
        return named, (
            f"the confidence of a value of {values[np.argmin(gram_weight)]:.6g} lies below zero, so that systems are "
            "not positive definite; take one that does not"
        )
    if not np.isfinite([gram_weight.sum(), target_weight.sum()]).all():
        return (
            named,
            f"their weights add up to more than {factors.user.dtype} holds; lower alpha or scale the values down",
        )
    ridge_of_row = float(objective.ridge(jnp.asarray(len(values)), columns, factors.user.dtype))
    largest = float(gram_weight.max())
    if ridge_of_row < largest * float(jnp.finfo(factors.user.dtype).eps):
        return named, (
            f"beside weights of up to {largest:.3g} a ridge of {ridge_of_row:.3g} is lost in {factors.user.dtype}, and "
            f'their systems are singular; {ridge}, or take `dtype="float64"`'
        )
    return named, general


def _named(factors: Factors, interactions: Interactions) -> tuple[str, Side, int]:
    """Name some of the rows that are not finite, and return the first of them."""
    bad = {side: np.flatnonzero(~np.isfinite(getattr(factors, side)).all(axis=1)) for side in ("user", "item")}
    ids = {"user": interactions.catalog.users, "item": interactions.catalog.items}
    texts = []
    for side, rows in bad.items():
        if len(rows):
            some = ", ".join(map(repr, ids[side][rows[:_NAMED]].tolist()))
            texts.append(f"{len(rows):,} {side}s ({some}{', ...' if len(rows) > _NAMED else ''})")
    first: Side = "user" if len(bad["user"]) else "item"
    row = int(bad[first][0]) if len(bad[first]) else 0
    return (", " + " and ".join(texts) if texts else ""), first, row
