"""Solving many small symmetric systems at once, by a square-root-free Cholesky factorisation. Device side.

Not LAPACK's: its batched calls take 2 to 3 times as long on a CPU, and hang when two of them meet in jaxlib's pool of
threads (`docs/solvers.md`). Every system is cut into blocks of 16; what is done inside a diagonal block has the batch
as its last axis, so that one instruction serves many systems, and the rest is batched matrix products.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_BLOCK = 16
# Above this size, larger blocks: every block is compiled by itself.
_MOST_BLOCKS = 16

_einsum = functools.partial(jnp.einsum, precision="highest")


def solve_symmetric(
    matrix: Float[Array, "batch size size"],
    target: Float[Array, "batch size"],
    sign: Float[Array, "batch size"] | None = None,
) -> Float[Array, "batch size"]:
    """Solve systems whose leading principal minors have known signs, as those of positive definite ones have.

    Factorises A = L D Lᵀ with unit lower triangular L, without pivoting (Golub and Van Loan 2013, section 4.1), which
    is stable for positive definite A however its rows are scaled.

    Args:
        matrix: A, symmetric.
        target: Right-hand sides.
        sign: 1 or -1, the sign of each pivot; all 1 by default.

    Returns:
        Solutions; NaN where a pivot has another sign, or is 0.

    Example:
        >>> solve_symmetric(jnp.array([[[4.0, 2.0], [2.0, 3.0]]]), jnp.array([[8.0, 8.0]])).tolist()
        [[1.0, 2.0]]
    """
    size = target.shape[1]
    block = min(max(_BLOCK, -(-size // _MOST_BLOCKS)), size)
    short = -size % block
    if short:
        # Up to whole blocks with rows of the identity, which change nothing.
        ones = jnp.pad(jnp.zeros(size, matrix.dtype), (0, short), constant_values=1)
        matrix = jnp.pad(matrix, ((0, 0), (0, short), (0, short))) + jnp.diag(ones)[None]
        target = jnp.pad(target, ((0, 0), (0, short)))
        sign = None if sign is None else jnp.pad(sign, ((0, 0), (0, short)), constant_values=1)

    eliminated = []
    while target.shape[1]:
        inverse, pivot = _factorise_block(matrix[:, :block, :block])
        head = _einsum("bij,bj->bi", inverse, target[:, :block])
        scaled = _einsum("bmi,bji->bmj", matrix[:, block:, :block], inverse)  # L D
        lower = scaled / pivot[:, None, :]
        matrix = matrix[:, block:, block:] - _einsum("bmi,bni->bmn", scaled, lower)
        target = target[:, block:] - _einsum("bmi,bi->bm", lower, head)
        eliminated.append((inverse, pivot, lower, head))

    solution = target  # empty
    for inverse, pivot, lower, head in reversed(eliminated):
        left = head / pivot - _einsum("bmi,bm->bi", lower, solution)
        solution = jnp.concatenate([_einsum("bji,bj->bi", inverse, left), solution], axis=1)
    pivot = jnp.concatenate([pivot for _, pivot, _, _ in eliminated], axis=1)
    pivot = pivot if sign is None else sign * pivot
    is_good = jnp.all((pivot > 0) & jnp.isfinite(pivot), axis=1, keepdims=True)
    return jnp.where(is_good, solution, jnp.nan)[:, :size]


def _factorise_block(
    matrix: Float[Array, "batch block block"],
) -> tuple[Float[Array, "batch block block"], Float[Array, "batch block"]]:
    """Return L⁻¹ and D of A = L D Lᵀ, by eliminating A and the identity beside it alike."""
    batch, block, _ = matrix.shape
    identity = jnp.broadcast_to(jnp.eye(block, dtype=matrix.dtype)[:, :, None], (block, block, batch))
    rows = jnp.concatenate([jnp.moveaxis(matrix, 0, -1), identity], axis=1)  # [block, 2 block, batch]

    def eliminate(j: Int[Array, ""] | int, rows: Float[Array, "block columns batch"]) -> Array:
        is_below = (jnp.arange(block) > j)[:, None]
        factor = jnp.where(is_below, rows[:, j] / rows[j, j][None], 0)
        return rows - factor[:, None] * rows[j][None]

    # A loop, not unrolled: that compiles three times as fast and runs no slower.
    rows = jax.lax.fori_loop(0, block, eliminate, rows)
    pivot = jnp.diagonal(rows[:, :block])  # [batch, block]
    return jnp.moveaxis(rows[:, block:], -1, 0), pivot
