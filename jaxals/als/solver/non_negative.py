"""Rows without negative factors, by coordinate descent. Device side."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxals._base.checks import require_integer
from jaxals._base.pytree import pytree, static
from jaxals.als.solver.equations import NormalEquations, Solution


@pytree
class NonNegative:
    """The rows x >= 0 of least loss: factors that only add up, as parts of what a user likes.

    Each row minimises ½ xᵀA x - xᵀΣ b y over x >= 0, one factor after another, x_j ← max(0, x_j + r_j / A_jj) with
    r = Σ b y - A x (Franc, Hlaváč and Navara 2005, "Sequential coordinate-wise algorithm for the non-negative least
    squares problem"; in the order of factors, as hierarchical ALS goes: Cichocki and Phan 2009). It begins at the row
    of the last sweep, so that plain sweeps never raise the loss. A_r is formed, so that a pass takes
    O(rows · factors²) more.

    Derivatives are refused: they depend on which factors are 0.

    Attributes:
        passes: Passes over the factors in a half step, static.

    Raises:
        ConfigurationError: `passes` is below 1.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.ALS(factors=4, sweeps=3, solver=jaxals.NonNegative())
        >>> run = jaxals.fit(data, jaxals.Objective.log(1.0), trainer, progress=False)
        >>> float(run.factors.item.min()), float(run.factors.user.min())
        (0.0, 0.0)
    """

    is_non_negative: ClassVar[bool] = True

    passes: int = static(default=4)

    def __post_init__(self) -> None:
        require_integer("passes", self.passes, 1)

    def gram_size(self, factors: int) -> int:
        """Return `factors`."""
        require_integer("factors", factors, 1)
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row, none of it below 0; NaN where a diagonal entry of A_r is below 0."""
        matrix, target = equations.matrices()
        factors = target.shape[1]
        diagonal = jnp.diagonal(matrix, axis1=1, axis2=2)
        # A factor that nothing depends on is 0; along one of negative curvature there is no minimum.
        is_there = diagonal != 0
        inverse = jnp.where(is_there, 1 / jnp.where(is_there, diagonal, 1), 0)
        inverse = jnp.where(diagonal < 0, jnp.nan, inverse)

        def step(number: Int[Array, ""], rows: Float[Array, "rows factors"]) -> Float[Array, "rows factors"]:
            one = number % factors
            across = jax.lax.dynamic_index_in_dim(matrix, one, axis=1, keepdims=False)  # [rows, factors]
            residual = target[:, one] - jnp.sum(across * rows, axis=1)
            return rows.at[:, one].set(jnp.maximum(rows[:, one] + residual * inverse[:, one], 0))

        start = jnp.where(is_there, jnp.maximum(equations.start, 0), 0)
        rows = jax.lax.fori_loop(0, self.passes * factors, step, start)
        return rows, jnp.zeros(len(rows), bool)
