"""A few steps of conjugate gradient for each row's system. Device side."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals._base.arguments import checked_dtype
from jaxals._base.checks import require_at_least, require_integer, require_number, require_one_of
from jaxals._base.pytree import pytree, static
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import NormalEquations, Solution

# Steps of conjugate gradient where none are stated: without a tolerance, as in Takács, Pilászy and Tikk 2011; with one,
# more than the heaviest weights need (`docs/why/solvers.md`).
_FEW_STEPS = 3


_MOST_STEPS = 1000


@pytree
class ConjugateGradient:
    """Conjugate gradient from the previous sweep's solution (Takács, Pilászy and Tikk 2011).

    Differs from the well-known code in that the preconditioner is the whole shared matrix w0 YᵀY + λ_r I, which the
    eigenbasis makes diagonal, so that fewer steps do; and that a tolerance can be asked for.

    Attributes:
        steps: Most steps to take, by default 3, or 1000 with a tolerance; static.
        tolerance: Stop a chunk once the residual of all of its rows, relative to the right-hand side and in the
            preconditioner's norm, is below; 0 takes all steps. Static.
        preconditioner: "gramian" for the shared matrix, "jacobi" for the diagonal of A_r, or None, static.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer = jaxals.ALS(factors=4, sweeps=5, solver=jaxals.ConjugateGradient())
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), trainer, progress=False)
        >>> bool(run.history["loss"].iloc[-1] < run.history["loss"].iloc[0])
        True
    """

    in_eigenbasis: ClassVar[bool] = True

    steps: int | None = static(default=None)
    tolerance: float = static(default=0.0)
    preconditioner: Literal["gramian", "jacobi"] | None = static(default="gramian")

    def __post_init__(self) -> None:
        if self.steps is not None:
            require_integer("steps", self.steps, 1)
        require_number("tolerance", self.tolerance)
        require_at_least("tolerance", self.tolerance, 0)
        require_one_of("preconditioner", self.preconditioner, "gramian", "jacobi", None)

    def gram_size(self, factors: int) -> int:
        """Return 0."""
        require_integer("factors", factors, 1)
        return 0

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row, and which rows the tolerance was not reached for."""
        if not self.tolerance:
            return self._iterate(equations)
        # Rows of any size, and cotangents above all, may have squares that are zero or infinite in their type.
        target = equations.combine(equations.target_weight) if equations.target is None else equations.target
        scale = _power_of_two(jnp.max(jnp.abs(target), axis=1, keepdims=True))
        scaled = dataclasses.replace(equations, target=target / scale, start=equations.start / scale)
        rows, is_unconverged = self._iterate(scaled)
        return scale * rows, is_unconverged

    def _iterate(self, equations: NormalEquations) -> Solution:
        steps = self.steps or (_MOST_STEPS if self.tolerance else _FEW_STEPS)
        shared, scale = equations.shared, self._inverse_preconditioner(equations)
        precondition = lambda residual: residual if scale is None else scale * residual
        target = equations.combine(equations.target_weight) if equations.target is None else equations.target
        bound = self.tolerance**2 * _dot(target, precondition(target))

        # b - A x in one pass over the entries: Σ (b - g y·x) y - shared x.
        # A row of dislikes alone has nothing to be relative to; its solution is zero.
        rows = jnp.where((bound > 0)[:, None], equations.start, 0) if self.tolerance else equations.start
        left = -equations.gram_weight * equations.scores(rows)
        if equations.target is None:
            residual = equations.combine(left + equations.target_weight) - shared * rows
        else:
            residual = equations.combine(left) + equations.target - shared * rows
        direction = precondition(residual)
        size = _dot(residual, direction)

        def step(state: tuple) -> tuple:
            number, rows, residual, direction, size = state
            image = equations.combine(equations.gram_weight * equations.scores(direction)) + shared * direction
            length = _ratio(size, _dot(direction, image))
            rows = rows + length[:, None] * direction
            residual = residual - length[:, None] * image
            preconditioned = precondition(residual)
            new_size = _dot(residual, preconditioned)
            direction = preconditioned + _ratio(new_size, size)[:, None] * direction
            return number + 1, rows, residual, direction, new_size

        state = (0, rows, residual, direction, size)
        if self.tolerance:
            unfinished = lambda state: (state[0] < steps) & jnp.any(state[4] > bound)
            state = jax.lax.while_loop(unfinished, step, state)
        else:
            # Unrolled: XLA fuses across the few steps there are.
            for _ in range(steps):
                state = step(state)
        return state[1], (state[4] > bound) & (self.tolerance > 0)

    def solve_gram(
        self,
        gram: Float[Array, "rows factors factors"],
        shared: Float[Array, "rows factors"],
        target: Float[Array, "rows factors"],
    ) -> Solution:
        """Return the exact x_r, as `Cholesky` does: no entry is gathered again for it."""
        return Cholesky().solve_gram(gram, shared, target)

    def adjoint(self, dtype: Any) -> "ConjugateGradient":
        """Return conjugate gradient to nearly the precision of a type: derivatives are those of exact rows."""
        return ConjugateGradient(tolerance=float(jnp.finfo(checked_dtype("dtype", dtype)).eps) ** 0.75)

    def _inverse_preconditioner(self, equations: NormalEquations) -> Float[Array, "rows factors"] | None:
        if self.preconditioner is None:
            return None
        diagonal = equations.shared
        if self.preconditioner == "jacobi":
            squares = equations.vectors**2
            by_tile = jnp.einsum("tw,twf->tf", equations.gram_weight, squares, precision=equations.precision)
            diagonal = diagonal + equations.sum_by_row(by_tile)
        return 1 / diagonal


def _power_of_two(size: Float[Array, "rows 1"]) -> Float[Array, "rows 1"]:
    """Return the power of two just below each size, by which dividing is exact; 1 for a size of zero."""
    exponent = jnp.frexp(size)[1]
    return jnp.where(size > 0, jnp.ldexp(jnp.ones_like(size), exponent - 1), jnp.ones_like(size))


def _dot(a: Float[Array, "rows factors"], b: Float[Array, "rows factors"]) -> Float[Array, " rows"]:
    return jnp.sum(a * b, axis=1)


def _ratio(numerator: Float[Array, " rows"], denominator: Float[Array, " rows"]) -> Float[Array, " rows"]:
    # A row that is already solved exactly has nowhere to go: 0 / 0 is 0.
    safe = jnp.where(denominator == 0, jnp.ones_like(denominator), denominator)
    return jnp.where(denominator == 0, jnp.zeros_like(numerator), numerator / safe)
