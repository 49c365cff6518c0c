"""Fewer sweeps to the same loss: start each sweep further along the way that the last ones went. Device side.

Nesterov's momentum with a sweep in the place of a gradient step, restarted when it points against the sweep (Mitchell,
Ye and De Sterck 2020, "Nesterov acceleration of alternating least squares for canonical tensor decomposition";
O'Donoghue and Candès 2015 for the restart). It costs no pass over the entries. What else was tried:
`docs/acceleration.md`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._pytree import pytree
from jaxals.objective import Factors


@pytree
class Momentum:
    """What an accelerated sweep remembers.

    Attributes:
        last: Both tables after the sweep before the last one.
        streak: Sweeps since the momentum was last given up, -1 before the first.
    """

    last: Factors
    streak: Int[Array, ""]


def no_momentum(factors: Factors) -> Momentum:
    """Return the memory of a run that has not made a sweep yet."""
    return Momentum(factors, jnp.full((), -1, jnp.int32))


@jax.jit
def look_ahead(factors: Factors, momentum: Momentum) -> Factors:
    """Move both tables on along the last sweep's change: z + (k + 1) / (k + 3) (z - z_last) in a streak of k sweeps.

    After the first sweep there is no change to go by, since it may have started from random factors; nor
    after a restart.
    """
    streak = momentum.streak.astype(factors.user.dtype)
    share = jnp.where(streak < 1, jnp.zeros_like(streak), (streak + 1) / (streak + 3))
    return jax.tree.map(lambda now, last: now + share * (now - last), factors, momentum.last)


@jax.jit
def remember(factors: Factors, ahead: Factors, swept: Factors, momentum: Momentum) -> Momentum:
    """Update the memory after a sweep from `ahead`, which `look_ahead` made of `factors`.

    The streak ends when the sweep moved against the change that it is part of.
    """
    move = jax.tree.map(jnp.subtract, swept, ahead)
    change = jax.tree.map(jnp.subtract, swept, factors)
    is_against = _dot(move, change) < 0
    return Momentum(factors, jnp.where(is_against, jnp.zeros_like(momentum.streak), momentum.streak + 1))


def _dot(a: Factors, b: Factors) -> Float[Array, ""]:
    return jnp.sum(a.user * b.user) + jnp.sum(a.item * b.item)
