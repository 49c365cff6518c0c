"""Solvers of the normal equations of a chunk of rows. Device side.

A solver is a small frozen pytree whose fields are its settings. It gets the equations before anything is formed, and
so decides itself what to form.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._pytree import pytree, static


@pytree
class NormalEquations:
    """The equations of one chunk: A_r x_r = Σ b y over the row's entries, A_r = shared + Σ g y yᵀ + λ_r I.

    Attributes:
        vectors: The other table's rows y, gathered for every cell of every tile.
        gram_weight: g, zero in padding.
        target_weight: b, zero in padding.
        segment: Which row a tile belongs to, ascending.
        shared: w0 YᵀY, the same for all rows.
        ridge: λ_r of each row.
        start: Where an iterative solver begins.
        one_tile_per_row: Whether tile i is all of row i, static.
    """

    vectors: Float[Array, "tiles width factors"]
    gram_weight: Float[Array, "tiles width"]
    target_weight: Float[Array, "tiles width"]
    segment: Int[Array, " tiles"]
    shared: Float[Array, "factors factors"]
    ridge: Float[Array, " rows"]
    start: Float[Array, "rows factors"]
    one_tile_per_row: bool = static()

    def sum_by_row(self, by_tile: Float[Array, "tiles ..."]) -> Float[Array, "rows ..."]:
        """Add up what the tiles of each row hold."""
        if self.one_tile_per_row:
            return by_tile
        return jax.ops.segment_sum(by_tile, self.segment, self.ridge.shape[0], indices_are_sorted=True)


@runtime_checkable
class Solver(Protocol):
    """Anything that solves a chunk's normal equations."""

    def solve(self, equations: NormalEquations) -> Float[Array, "rows factors"]:
        """Return x_r for every row."""
        ...


@pytree
class Cholesky:
    """The exact solution: form each row's matrix, factorise it, substitute twice.

    O(entries · factors² + rows · factors³) a half step (Hu, Koren and Volinsky 2008, section 4).
    """

    def solve(self, equations: NormalEquations) -> Float[Array, "rows factors"]:
        """Return x_r for every row."""
        with jax.named_scope("gram"):
            gram, target = jax.vmap(weighted_gram)(
                equations.vectors, equations.gram_weight, equations.target_weight
            )  # [tiles, factors, factors], [tiles, factors]
            gram, target = equations.sum_by_row(gram), equations.sum_by_row(target)
        with jax.named_scope("solve"):
            return jax.vmap(solve_ridge, in_axes=(0, None, 0, 0))(gram, equations.shared, equations.ridge, target)


def weighted_gram(
    vectors: Float[Array, "width factors"], gram_weight: Float[Array, " width"], target_weight: Float[Array, " width"]
) -> tuple[Float[Array, "factors factors"], Float[Array, " factors"]]:
    """Return Σ g y yᵀ and Σ b y over one tile."""
    gram = jnp.matmul(vectors.T, gram_weight[:, None] * vectors, precision="highest")
    return gram, jnp.matmul(target_weight, vectors, precision="highest")


def solve_ridge(
    gram: Float[Array, "factors factors"],
    shared: Float[Array, "factors factors"],
    ridge: Float[Array, ""],
    target: Float[Array, " factors"],
) -> Float[Array, " factors"]:
    """Solve (gram + shared + ridge I) x = target by Cholesky; not positive definite gives NaN."""
    matrix = gram + shared + ridge * jnp.eye(gram.shape[0], dtype=gram.dtype)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix, symmetrize_input=False), True), target)
