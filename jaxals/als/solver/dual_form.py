"""Systems in the space of a row's entries, for rows with fewer of them than factors. Device side."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals.als.kernels.factorization import solve_symmetric
from jaxals.als.layout.row_classes import most_dual_entries
from jaxals.als.solver.equations import NormalEquations


def suits_dual_form(equations: NormalEquations, gram_size: int) -> bool:
    """Tell whether every row lies in one tile, narrow enough for a system of its entries."""
    width, factors = equations.vectors.shape[1:]
    return equations.one_tile_per_row and width <= most_dual_entries(factors, gram_size)


def solve_dual_form(equations: NormalEquations) -> Float[Array, "rows factors"]:
    """Solve (S + Yᵀ G Y) x = Yᵀ b in the space of the row's entries.

    x = S⁻¹ Yᵀ u, where (G⁻¹ + K) u = G⁻¹ b, with K = Y S⁻¹ Yᵀ: Woodbury's identity. The convention of the implicit
    library has Gram weights below zero, and of zero where the target weight is not: |G| is kept above what rounding
    makes of K, which changes nothing else. With g >= -w0 no part of S + Yᵀ G Y with fewer entries is indefinite, so
    that the pivots, ratios of such parts' determinants, have the signs of G.

    For a right-hand side c, x = S⁻¹ c + what the above gives for b = -G Y S⁻¹ c.
    """
    gram_weight, target_weight, dtype = equations.gram_weight, equations.target_weight, equations.vectors.dtype
    shared = equations.shared
    first = None if equations.target is None else equations.target / shared
    if first is not None:
        target_weight = -gram_weight * equations.scores(first)
    with jax.named_scope("gram"):
        is_entry = (gram_weight != 0) | (target_weight != 0)
        root = jax.lax.rsqrt(shared)
        # One array on both sides of the product; padding is zero.
        scaled = jnp.where(is_entry[:, :, None], equations.vectors * root[:, None, :], 0)
        kernel = jnp.einsum("twf,tvf->twv", scaled, scaled, precision=equations.precision)
        rounding = jnp.finfo(dtype).eps / jnp.maximum(jnp.diagonal(kernel, axis1=1, axis2=2), 1)
    with jax.named_scope("solve"):
        sign = jnp.where(gram_weight < 0, -1, 1).astype(dtype)
        inverse = jnp.where(is_entry, sign / jnp.maximum(jnp.abs(gram_weight), rounding), 1)
        left = solve_symmetric(kernel, inverse, inverse * target_weight, sign, equations.machine.factorization)
    rows = root * jnp.einsum("tw,twf->tf", left, scaled, precision="highest")
    return rows if first is None else first + rows
