"""Solvers of the normal equations of a chunk of rows. Device side.

A solver is a small frozen pytree whose fields are its settings. It gets the equations before anything is formed, and
so decides itself what to form. All vectors are in the eigenbasis of w0 YᵀY, where the part of the matrix that rows
share is diagonal: each row's own shared part, ridge included, is then inverted by a division.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.pytree import pytree, static
from jaxals.als.kernels.gather import Table
from jaxals.als.kernels.gram import Precision, sum_grams


@pytree
class NormalEquations:
    """The equations of one chunk: A_r x_r = Σ b y over the row's entries, A_r = diag(shared_r) + Σ g y yᵀ.

    Or A_r x_r = c_r for any c_r, as derivatives ask for: then b is not read.

    Attributes:
        table: The other table, whose rows are the vectors y.
        column: Which of them each cell reads.
        vectors: y, gathered for every cell of every tile, for solvers that pass over them more than once.
        gram_weight: g, zero in padding.
        target_weight: b, zero in padding.
        segment: Which row a tile belongs to, ascending.
        shared: Eigenvalues of w0 YᵀY plus λ_r, for each row.
        start: Where an iterative solver begins.
        one_tile_per_row: Whether tile i is all of row i, static.
        precision: Of products with the vectors, static.
        target: c in the place of Σ b y, or None.
    """

    table: Table
    column: Int[Array, "tiles width"]
    vectors: Float[Array, "tiles width factors"]
    gram_weight: Float[Array, "tiles width"]
    target_weight: Float[Array, "tiles width"]
    segment: Int[Array, " tiles"]
    shared: Float[Array, "rows factors"]
    start: Float[Array, "rows factors"]
    one_tile_per_row: bool = static()
    precision: Precision = static(default="highest")
    target: Float[Array, "rows factors"] | None = None

    def matrices(self) -> tuple[Float[Array, "rows factors factors"], Float[Array, "rows factors"]]:
        """Return the lower triangle of Σ g y yᵀ, and Σ b y, for every row."""
        cells = self.column, self.gram_weight, self.target_weight
        return sum_grams(self.table, *cells, self.segment, len(self.shared), self.precision)

    def sum_by_row(self, by_tile: Float[Array, "tiles ..."]) -> Float[Array, "rows ..."]:
        """Add up what the tiles of each row hold."""
        if self.one_tile_per_row:
            return by_tile
        return jax.ops.segment_sum(by_tile, self.segment, self.shared.shape[0], indices_are_sorted=True)

    def by_tile(self, by_row: Float[Array, "rows ..."]) -> Float[Array, "tiles ..."]:
        """Give each tile what belongs to its row."""
        return by_row if self.one_tile_per_row else by_row[self.segment]

    def scores(self, rows: Float[Array, "rows factors"]) -> Float[Array, "tiles width"]:
        """Return y·x for every cell."""
        return jnp.einsum("twf,tf->tw", self.vectors, self.by_tile(rows), precision=self.precision)

    def combine(self, weight: Float[Array, "tiles width"]) -> Float[Array, "rows factors"]:
        """Return Σ weight · y for every row."""
        return self.sum_by_row(jnp.einsum("tw,twf->tf", weight, self.vectors, precision=self.precision))


Solution = tuple[Float[Array, "rows factors"], Bool[Array, " rows"]]


@runtime_checkable
class Solver(Protocol):
    """Anything that solves a chunk's normal equations."""

    def gram_size(self, factors: int) -> int:
        """Return the size of the Gram matrices that are formed, 0 for none; tiles are cut accordingly.

        Below `factors`, it is the size of blocks of factors that are solved for one after another.
        """
        ...

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row, and which rows have not reached the tolerance that was asked for."""
        ...
