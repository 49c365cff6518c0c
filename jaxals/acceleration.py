"""Fewer sweeps to the same loss: move along a direction by the exact minimiser of the loss. Device side.

Along a line the scores are quadratic in the step and the loss is a quartic, whose five coefficients cost one pass over
the entries. The direction is a sweep's displacement, made conjugate to the last direction (Polak and Ribière 1969, with
the sweep as a nonlinear preconditioner: De Sterck and Winlaw 2015, "A nonlinearly preconditioned conjugate gradient
algorithm for rank-R canonical tensor approximation"). Measurements: `docs/acceleration.md`.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals._pytree import pytree
from jaxals.interactions import COO
from jaxals.objective import Factors, Objective, gramian, sum_over_entries

# The best step of sweep displacements lay between 0.9 and 5 on every data set tried.
_LONGEST_STEP = 16.0


@pytree
class Momentum:
    """What an accelerated sweep remembers of the one before.

    Attributes:
        displacement: Where the sweep alone would have moved both tables.
        direction: Where they moved, before the step's length.
    """

    displacement: Factors
    direction: Factors


def no_momentum(factors: Factors) -> Momentum:
    """Return the memory of a run that has not moved yet."""
    zero = jax.tree.map(jnp.zeros_like, factors)
    return Momentum(zero, zero)


@functools.partial(jax.jit, static_argnames="is_conjugate")
def accelerate(
    before: Factors, swept: Factors, momentum: Momentum, objective: Objective, entries: COO, is_conjugate: bool = True
) -> tuple[Factors, Momentum, Float[Array, ""]]:
    """Move both tables further along a sweep's displacement, or a conjugate of it.

    Args:
        before: Both tables before the sweep.
        swept: Both tables after it.
        momentum: Memory of the sweep before, or `no_momentum`: then the sweep is taken as it is.
        objective: What the sweep minimises.
        entries: The interactions it is about.
        is_conjugate: Whether to make the direction conjugate to the last one, static.

    Returns:
        Both tables, the memory for the next sweep, and the loss.
    """
    displacement = jax.tree.map(jnp.subtract, swept, before)
    last_size = _dot(momentum.displacement, momentum.displacement)
    is_first = last_size == 0
    change = jax.tree.map(jnp.subtract, displacement, momentum.displacement)
    safe_size = jnp.where(is_first, jnp.ones_like(last_size), last_size)
    # Below zero the direction is forgotten (Powell's restart).
    share = jnp.maximum(_dot(displacement, change) / safe_size, 0)
    share = jnp.where(is_first | (not is_conjugate), jnp.zeros_like(share), share)
    direction = jax.tree.map(lambda now, last: now + share * last, displacement, momentum.direction)

    coefficients = loss_along(objective, before, direction, entries)
    length = jnp.where(is_first, jnp.ones_like(last_size), best_step(coefficients))
    after = jax.tree.map(lambda table, move: table + length * move, before, direction)
    return after, Momentum(displacement, direction), jnp.polyval(coefficients[::-1], length)


def loss_along(objective: Objective, factors: Factors, direction: Factors, entries: COO) -> Float[Array, " 5"]:
    """Compute the loss of `factors + t · direction` as a polynomial in t.

    Args:
        objective: The loss.
        factors: Both tables, where t = 0.
        direction: What is added to them for t = 1.
        entries: The interactions the loss is about.

    Returns:
        Coefficients of 1, t, t², t³ and t⁴; the first is the loss at `factors`.
    """

    def observed(value: Float[Array, " step"], user: tuple, item: tuple) -> Float[Array, " 5"]:
        (x, dx), (y, dy) = user, item
        score = jnp.sum(x * y, axis=1)
        slope = jnp.sum(x * dy + dx * y, axis=1)
        bend = jnp.sum(dx * dy, axis=1)
        full_weight, target = objective.cells(value)
        missing = target - score
        outside = jnp.where(value != 0, objective.unobserved_weight * jnp.ones_like(value), jnp.zeros_like(value))
        # c (missing - t slope - t² bend)² - w0 (score + t slope + t² bend)², by powers of t.
        net = full_weight - outside
        powers = (
            full_weight * missing**2 - outside * score**2,
            -2 * slope * (full_weight * missing + outside * score),
            net * slope**2 - 2 * bend * (full_weight * missing + outside * score),
            2 * net * slope * bend,
            net * bend**2,
        )
        return jnp.stack([jnp.sum(power) for power in powers])

    tables = ((factors.user, direction.user), (factors.item, direction.item))
    coefficients = sum_over_entries(observed, entries, *tables)
    user_grams, item_grams = (_gramians_along(*table) for table in tables)
    everywhere = [jnp.zeros((), coefficients.dtype) for _ in range(5)]
    for i, user_gram in enumerate(user_grams):
        for j, item_gram in enumerate(item_grams):
            everywhere[i + j] += objective.unobserved_weight * jnp.sum(user_gram * item_gram)
    ridge = [objective.ridge_inner(a, b, entries) for a, b in ((factors, factors), (factors, direction))]
    ridge[1] = 2 * ridge[1]
    ridge += [objective.ridge_inner(direction, direction, entries)]
    return coefficients + jnp.stack(everywhere) + jnp.pad(jnp.stack(ridge), (0, 2))


def best_step(coefficients: Float[Array, " 5"]) -> Float[Array, ""]:
    """Find the t between 0 and 16 that minimises a quartic: the best of a grid, polished by Newton steps.

    Example:
        >>> float(best_step(jnp.array([1.0, -4.0, 1.0, 0.0, 0.0])))
        2.0
    """
    # Without the constant: in float32 the loss would swallow the differences between steps.
    quartic = coefficients[::-1].at[-1].set(0)
    slope, bend = jnp.polyder(quartic), jnp.polyder(quartic, 2)
    grid = jnp.linspace(0, _LONGEST_STEP, 513, dtype=coefficients.dtype)
    t = grid[jnp.argmin(jnp.polyval(quartic, grid))]
    for _ in range(4):
        curvature = jnp.polyval(bend, t)
        newton = t - jnp.polyval(slope, t) / jnp.where(curvature > 0, curvature, jnp.ones_like(curvature))
        t = jnp.where((curvature > 0) & (newton > 0) & (newton < _LONGEST_STEP), newton, t)
    return t


def _gramians_along(
    table: Float[Array, "rows factors"], move: Float[Array, "rows factors"]
) -> tuple[Float[Array, "factors factors"], ...]:
    mixed = jnp.matmul(table.T, move, precision="highest")
    return gramian(table), mixed + mixed.T, gramian(move)


def _dot(a: Factors, b: Factors) -> Float[Array, ""]:
    return jnp.sum(a.user * b.user) + jnp.sum(a.item * b.item)
