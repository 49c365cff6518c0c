"""Fewer sweeps to the same loss: start each sweep further along the way that the last ones went. Device side.

Nesterov's momentum with a sweep in the place of a gradient step, restarted when it points against the sweep (Mitchell,
Ye and De Sterck 2020, "Nesterov acceleration of alternating least squares for canonical tensor decomposition";
O'Donoghue and Candès 2015 for the restart). It costs no pass over the entries. What else was tried:
`docs/why/momentum.md`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.pytree import pytree
from jaxals.objective.factors import Factors


@pytree
class Momentum:
    """What an accelerated sweep remembers.

    Attributes:
        user: Users after the sweep before the last one; None where nothing depends on where users start.
        item: Items after the sweep before the last one.
        streak: Sweeps since the momentum was last given up, -1 before the first one from random factors.
    """

    user: Float[Array, "users factors"] | None
    item: Float[Array, "items factors"]
    streak: Int[Array, ""]


def no_momentum(factors: Factors, is_exact: bool, is_random: Bool[Array, ""] | bool = True) -> Momentum:
    """Return the memory of a run that has not made a sweep yet.

    Args:
        factors: Where it begins.
        is_random: Whether these are random, so that the first sweep says nothing of the way to go.
        is_exact: Whether the solver is. A sweep then depends on no users before it, so that items alone are
            moved on and remembered.
    """
    # Of a bool no program is made.
    streak = np.int32(-is_random) if isinstance(is_random, bool) else -is_random.astype(jnp.int32)
    streak = jnp.asarray(streak)
    return Momentum(None if is_exact else factors.user, factors.item, streak)


def look_ahead(factors: Factors, momentum: Momentum) -> Factors:
    """Move the tables on along the last sweep's change: z + (k + 1) / (k + 3) (z - z_last) in a streak of k sweeps.

    After the first sweep from random factors there is no change to go by; nor after a restart.
    """
    user = factors.user if momentum.user is None else _move_on(factors.user, momentum.user, momentum.streak)
    return Factors(user, _move_on(factors.item, momentum.item, momentum.streak))


def remember(factors: Factors, swept: Factors, momentum: Momentum) -> Momentum:
    """Update the memory after a sweep from where `look_ahead` led from `factors`.

    The streak ends when the sweep moved the items against the change that it is part of.
    """
    # Not within a compiled function, which would return copies of the tables.
    user = None if momentum.user is None else factors.user
    streak = _next_streak(factors.item, swept.item, momentum.item, momentum.streak)
    return Momentum(user, factors.item, streak)


@jax.jit
def _move_on(
    now: Float[Array, "rows factors"], last: Float[Array, "rows factors"], streak: Int[Array, ""]
) -> Float[Array, "rows factors"]:
    streak = streak.astype(now.dtype)
    share = jnp.where(streak < 1, jnp.zeros_like(streak), (streak + 1) / (streak + 3))
    return now + share * (now - last)


@jax.jit
def _next_streak(
    now: Float[Array, "rows factors"],
    swept: Float[Array, "rows factors"],
    last: Float[Array, "rows factors"],
    streak: Int[Array, ""],
) -> Int[Array, ""]:
    """Return the streak after a sweep: 0 where it went against the change that it is part of."""
    # Where it started is computed again, so that nobody has to keep it until here.
    along = jnp.sum((swept - _move_on(now, last, streak)) * (swept - now))
    return jnp.where(along < 0, jnp.zeros_like(streak), streak + 1)
