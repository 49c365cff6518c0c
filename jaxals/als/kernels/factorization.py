"""Solving many small symmetric systems at once, by a square-root-free Cholesky factorisation. Device side.

Not LAPACK's: its batched calls take up to 2.7 times as long on a CPU, and hang when two of them meet in jaxlib's pool
of threads (`docs/why/solvers.md`). Every system is halved down to small diagonal blocks; what is done inside of these
has the batch as its last axis, so that one instruction serves many systems, and the rest is batched matrix products.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_array
from jaxals._base.checks import require_one_of
from jaxals.errors import DataError

Method = Literal["halving", "library"]

# Halving ends at blocks of less than twice this size: 23 instead of 35 µs for a system of size 128 among 16, on one
# core, where blocks of 16 were eliminated.
_BLOCK = 8
# Every block is compiled by itself.
_MOST_BLOCKS = 16

_einsum = functools.partial(jnp.einsum, precision="highest")


def solve_symmetric(
    matrix: Float[Array, "batch size size"],
    diagonal: Float[Array, "batch size"],
    target: Float[Array, "batch size"],
    sign: Float[Array, "batch size"] | None = None,
    method: Method = "halving",
) -> Float[Array, "batch size"]:
    """Solve A x = b, A = M + diag(d), whose leading principal minors have known signs: all positive if A is definite.

    Factorises A = L D Lᵀ with unit lower triangular L, without pivoting (Golub and Van Loan 2013, section 4.1), which
    is stable for positive definite A however its rows are scaled.

    Args:
        matrix: M, of which only the lower triangle is read.
        diagonal: d, added on the way, without a pass over the matrices.
        target: Right-hand sides b.
        sign: 1 or -1, the sign of each pivot; all 1 by default.
        method: "halving" for our own factorisation; "library" for XLA's by Cholesky and its triangular solves: a few
            kernels on a GPU, in the place of some hundred. Where signs are given, that is one with pivoting.

    Returns:
        Solutions; NaN where a pivot has another sign, or is 0. By the library, and with signs given, only where an odd
        number of them have: the sign of the determinant tells.

    Raises:
        ConfigurationError: There is no such method.
        DataError: An array is none, or their shapes do not belong together.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxals.als import solve_symmetric
        >>> matrix, diagonal = jnp.full((1, 2, 2), 2.0), jnp.array([[2.0, 1.0]])
        >>> solve_symmetric(matrix, diagonal, jnp.array([[8.0, 8.0]])).tolist()
        [[1.0, 2.0]]
    """
    for name, array in (("diagonal", diagonal), ("target", target), ("sign", sign)):
        if name != "sign" or sign is not None:
            require_array(name, array, 2, jnp.floating, "a 2-D array of floating-point numbers", DataError)
    require_array("matrix", matrix, 3, jnp.floating, "a 3-D array of floating-point numbers", DataError)
    shapes = {array.shape for array in (diagonal, target, sign) if array is not None}
    if shapes != {matrix.shape[:2]} or matrix.shape[1] != matrix.shape[2]:
        raise DataError(
            "`matrix` must be of shape [batch, size, size], and `diagonal`, `target` and `sign` of [batch, size]; got "
            f"{matrix.shape} and {sorted(shapes)}."
        )
    require_one_of("method", method, "halving", "library")
    if method == "library":
        return _solve_by_library(matrix, diagonal, target, sign)
    size = target.shape[1]
    n_blocks = min(2 ** max((size // _BLOCK).bit_length() - 1, 0), _MOST_BLOCKS)
    short = -size % n_blocks
    if short:
        # Up to whole blocks with rows of the identity, which change nothing.
        matrix = jnp.pad(matrix, ((0, 0), (0, short), (0, short)))
        diagonal = jnp.pad(diagonal, ((0, 0), (0, short)), constant_values=1)
        target = jnp.pad(target, ((0, 0), (0, short)))
        sign = None if sign is None else jnp.pad(sign, ((0, 0), (0, short)), constant_values=1)
    solution, pivot = _solve(matrix, diagonal, target, n_blocks)
    pivot = pivot if sign is None else sign * pivot
    is_good = jnp.all((pivot > 0) & jnp.isfinite(pivot), axis=1, keepdims=True)
    return jnp.where(is_good, solution, jnp.nan)[:, :size]


def _solve_by_library(
    matrix: Float[Array, "batch size size"],
    diagonal: Float[Array, "batch size"],
    target: Float[Array, "batch size"],
    sign: Float[Array, "batch size"] | None,
) -> Float[Array, "batch size"]:
    whole = matrix + diagonal[:, :, None] * jnp.eye(target.shape[1], dtype=matrix.dtype)[None]
    if sign is not None:
        lu, pivots, permutation = jax.lax.linalg.lu(jnp.tril(whole) + jnp.tril(whole, -1).mT)
        pivot = jnp.diagonal(lu, axis1=1, axis2=2)
        is_swap = pivots != jnp.arange(pivots.shape[1], dtype=pivots.dtype)[None]
        determinant = jnp.prod(jnp.sign(pivot) * sign * jnp.where(is_swap, -1, 1), axis=1, keepdims=True)
        permuted = jnp.take_along_axis(target, permutation, axis=1)[:, :, None]
        solve = functools.partial(jax.lax.linalg.triangular_solve, lu, left_side=True)
        solution = solve(solve(permuted, lower=True, unit_diagonal=True))[:, :, 0]
        return jnp.where(determinant > 0, solution, jnp.nan)
    # Of the sum the lower triangle is read, too: JAX gives NaN where a pivot is not positive.
    lower = jax.lax.linalg.cholesky(whole, symmetrize_input=False)
    solve = functools.partial(jax.lax.linalg.triangular_solve, lower, left_side=True, lower=True)
    return solve(solve(target[:, :, None]), transpose_a=True)[:, :, 0]


def _solve(
    matrix: Float[Array, "batch size size"],
    diagonal: Float[Array, "batch size"],
    target: Float[Array, "batch size"],
    n_blocks: int,
) -> tuple[Float[Array, "batch size"], Float[Array, "batch size"]]:
    """Return A⁻¹ b and D: the first half of the unknowns is eliminated, the second is solved for likewise."""
    if n_blocks == 1:
        inverse, pivot = _factorise_block(matrix, diagonal)
        return _einsum("bji,bj->bi", inverse, _einsum("bij,bj->bi", inverse, target) / pivot), pivot
    half = target.shape[1] // 2
    inverse, pivot, lower, complement = _eliminate_half(matrix, diagonal, n_blocks)
    head = _einsum("bij,bj->bi", inverse, target[:, :half])
    target = target[:, half:] - _einsum("bmi,bi->bm", lower, head)
    second, second_pivot = _solve(complement, diagonal[:, half:], target, n_blocks // 2)
    left = head / pivot - _einsum("bmi,bm->bi", lower, second)
    first = _einsum("bji,bj->bi", inverse, left)
    return jnp.concatenate([first, second], axis=1), jnp.concatenate([pivot, second_pivot], axis=1)


def _invert_factor(
    matrix: Float[Array, "batch size size"], diagonal: Float[Array, "batch size"], n_blocks: int
) -> tuple[Float[Array, "batch size size"], Float[Array, "batch size"]]:
    """Return L⁻¹ and D of A = L D Lᵀ, half by half."""
    if n_blocks == 1:
        return _factorise_block(matrix, diagonal)
    first, first_pivot, lower, complement = _eliminate_half(matrix, diagonal, n_blocks)
    second, second_pivot = _invert_factor(complement, diagonal[:, first.shape[1] :], n_blocks // 2)
    corner = -_einsum("bmi,bij->bmj", _einsum("bmn,bni->bmi", second, lower), first)
    upper_rows = jnp.concatenate([first, jnp.zeros_like(first)], axis=2)
    lower_rows = jnp.concatenate([corner, second], axis=2)
    return jnp.concatenate([upper_rows, lower_rows], axis=1), jnp.concatenate([first_pivot, second_pivot], axis=1)


def _eliminate_half(
    matrix: Float[Array, "batch size size"], diagonal: Float[Array, "batch size"], n_blocks: int
) -> tuple[Array, Array, Array, Array]:
    """Return L₁₁⁻¹, D₁, L₂₁ and the Schur complement M₂₂ - L₂₁ D₁ L₂₁ᵀ, to which the diagonal is still to be added."""
    half = matrix.shape[1] // 2
    inverse, pivot = _invert_factor(matrix[:, :half, :half], diagonal[:, :half], n_blocks // 2)
    scaled = _einsum("bmi,bji->bmj", matrix[:, half:, :half], inverse)  # L₂₁ D₁
    lower = scaled / pivot[:, None, :]
    return inverse, pivot, lower, matrix[:, half:, half:] - _einsum("bmi,bni->bmn", scaled, lower)


def _factorise_block(
    matrix: Float[Array, "batch block block"], diagonal: Float[Array, "batch block"]
) -> tuple[Float[Array, "batch block block"], Float[Array, "batch block"]]:
    """Return L⁻¹ and D of M + diag(d) = L D Lᵀ; L⁻¹ grows in the places that elimination clears."""
    block = matrix.shape[1]
    index = jnp.arange(block)
    entries = jnp.moveaxis(matrix, 0, -1)  # [block, block, batch]
    is_diagonal, is_above = index[:, None] == index[None], index[:, None] < index[None]
    # Once, and not where elimination reads a row: that takes 1.15 times as long.
    rows = jnp.where(is_above[:, :, None], jnp.swapaxes(entries, 0, 1), entries)
    rows = rows + jnp.where(is_diagonal[:, :, None], diagonal.T[None], 0)

    def eliminate(j: Int[Array, ""] | int, rows: Float[Array, "block block batch"]) -> Array:
        is_here, is_below = index == j, index > j
        factor = jnp.where(is_below[:, None], rows[:, j] / rows[j, j][None], 0)
        # Row j as elimination takes it to the rows below: the 1 is that of L⁻¹, whose column j begins here.
        pivot_row = jnp.where(is_here[:, None], 1, rows[j])
        cleared = jnp.where((is_below[:, None] & is_here[None, :])[:, :, None], 0, rows)
        return cleared - factor[:, None] * pivot_row[None]

    # A loop, not unrolled: that compiles three times as fast and runs no slower.
    rows = jax.lax.fori_loop(0, block, eliminate, rows)
    pivot = jnp.diagonal(rows)  # [batch, block]
    inverse = jnp.tril(jnp.moveaxis(rows, -1, 0), -1) + jnp.eye(block, dtype=rows.dtype)[None]
    return inverse, pivot


@jax.custom_batching.sequential_vmap
def eigendecompose(
    matrix: Float[Array, "size size"],
) -> tuple[Float[Array, " size"], Float[Array, "size size"]]:
    """Return eigenvalues, ascending, and eigenvectors of a symmetric matrix, as columns.

    One matrix after another where there are many: batches of them can hang (`docs/why/solvers.md`).
    """
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    return eigenvalues, vectors
