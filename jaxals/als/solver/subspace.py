"""Exact steps in blocks of factors. Device side."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._base.checks import require_integer
from jaxals._base.pytree import pytree, static
from jaxals.als.kernels.factorization import solve_symmetric
from jaxals.als.kernels.gather import TablePart
from jaxals.als.kernels.gram import read_scores, sum_grams
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient
from jaxals.als.solver.dual_form import suits_dual_form
from jaxals.als.solver.equations import NormalEquations, Solution


@pytree
class Subspace:
    """Exact steps in one block of factors after another, the others held fixed (iALS++: Rendle et al. 2021).

    For 256 factors and more: at most O(entries · factors · block + rows · factors · block²), where `Cholesky` takes the
    squares and cubes of the factors. The scores of a row's entries are kept up to date from block to block.

    Differs from the paper in that a half step goes through all blocks of a side, in the eigenbasis of w0 YᵀY, where
    blocks are coupled by the row's own entries alone; and in that rows of few entries (up to twice as many as a block
    has factors, 128 at most) are solved exactly, in their dual form: one system in the place of one for each block.
    Tiles that were not built for the solver's `gram_size` may have it solve other rows exactly.

    Attributes:
        block: Factors to a block, static.

    Raises:
        ConfigurationError: `block` is below 1.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.ALS(factors=8, sweeps=5, solver=jaxals.Subspace(block=4))
        >>> run = jaxals.fit(data, jaxals.Objective.ials(), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    in_eigenbasis: ClassVar[bool] = True

    block: int = static(default=64)

    def __post_init__(self) -> None:
        require_integer("block", self.block, 1)

    def gram_size(self, factors: int) -> int:
        """Return the size of a block."""
        require_integer("factors", factors, 1)
        return min(self.block, factors)

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row: exact for short ones, after one pass over the blocks for the others."""
        whole_shared = equations.shared
        n_rows, factors = whole_shared.shape
        width, precision = self.gram_size(factors), equations.precision
        if width == factors or suits_dual_form(equations, width):
            return Cholesky().solve(equations)
        table, column = equations.table, equations.column
        machine, is_whole = equations.machine, equations.one_tile_per_row

        def step(number: Int[Array, ""] | int, state: tuple[Array, Array]) -> tuple[Array, Array]:
            rows, scores = state
            # A last block that is not full begins sooner, and solves some factors again.
            start = jnp.minimum(number * width, factors - width)
            cut = lambda array: jax.lax.dynamic_slice_in_dim(array, start, width, axis=1)
            part, shared, before = TablePart(table, start, width), cut(whole_shared), cut(rows)
            # What the block's equations lack, Σ (b - g y·x) y - S x, is its matrix times what x is to gain.
            left = -equations.gram_weight * scores
            left = left + equations.target_weight if equations.target is None else left
            weights = equations.gram_weight, left
            gram, lack = sum_grams(
                part, column, *weights, equations.segment, n_rows, precision, machine.in_cache, is_whole
            )
            lack = lack if equations.target is None else lack + cut(equations.target)
            change = solve_symmetric(gram, shared, lack - shared * before, method=machine.factorization)
            rows = jax.lax.dynamic_update_slice_in_dim(rows, before + change, start, axis=1)
            return rows, scores + read_scores(part, column, equations.by_tile(change), precision, machine.in_cache)

        scores = read_scores(table, column, equations.by_tile(equations.start), precision, machine.in_cache)
        rows, _ = jax.lax.fori_loop(0, -(-factors // width), step, (equations.start, scores))
        return rows, jnp.zeros(n_rows, bool)

    def solve_gram(
        self,
        gram: Float[Array, "rows factors factors"],
        shared: Float[Array, "rows factors"],
        target: Float[Array, "rows factors"],
    ) -> Solution:
        """Return the exact x_r, as `Cholesky` does: no entry is gathered again for it."""
        return Cholesky().solve_gram(gram, shared, target)

    def adjoint(self, dtype: Any) -> ConjugateGradient:
        """Return conjugate gradient to nearly the precision of a type: derivatives are those of exact rows."""
        return ConjugateGradient().adjoint(dtype)
