"""The exact solution of each row's system. Device side."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals._base.checks import require_integer
from jaxals._base.pytree import pytree
from jaxals.als.kernels.factorization import solve_symmetric
from jaxals.als.solver.dual_form import solve_dual_form, suits_dual_form
from jaxals.als.solver.equations import NormalEquations, Solution


@pytree
class Cholesky:
    """The exact solution, by factorising each row's matrix (Hu, Koren and Volinsky 2008, section 4).

    Rows with fewer entries than factors are solved in their dual form, a system as large as their entries (the
    Woodbury identity); the others form and factorise A_r. O(entries · factors² + rows · factors³) at most.

    Example:
        >>> import jaxals
        >>> jaxals.ALS(factors=32, solver=jaxals.Cholesky()) == jaxals.ALS(factors=32)
        True
    """

    is_exact: ClassVar[bool] = True
    in_eigenbasis: ClassVar[bool] = True

    def gram_size(self, factors: int) -> int:
        """Return `factors`."""
        require_integer("factors", factors, 1)
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row; a system that is not positive definite gives NaN.

        On an accelerator, rows of fewer entries than factors do so where an odd number of eigenvalues is below 0.
        """
        is_dual = suits_dual_form(equations, equations.vectors.shape[2])
        solve = solve_dual_form if is_dual else _solve_primal
        rows = solve(equations)
        return rows, jnp.zeros(len(rows), bool)

    def solve_gram(
        self,
        gram: Float[Array, "rows factors factors"],
        shared: Float[Array, "rows factors"],
        target: Float[Array, "rows factors"],
    ) -> Solution:
        """Return x_r for every row from Σ g y yᵀ, of which the lower triangle is read, and Σ b y."""
        return solve_symmetric(gram, shared, target), jnp.zeros(len(gram), bool)

    def adjoint(self, dtype: Any) -> "Cholesky":
        """Return itself: derivatives are solved exactly, too."""
        return self


def _solve_primal(equations: NormalEquations) -> Float[Array, "rows factors"]:
    with jax.named_scope("gram"):
        gram, target = equations.grams()
        target = target if equations.target is None else equations.target
    with jax.named_scope("solve"):
        return solve_symmetric(gram, equations.shared, target, method=equations.machine.factorization)
