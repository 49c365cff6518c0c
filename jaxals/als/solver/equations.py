"""Solvers of the normal equations of a chunk of rows. Device side.

A solver is a small frozen pytree whose fields are its settings. It gets the equations before anything is formed, and
so decides itself what to form. All vectors are in the eigenbasis of w0 YᵀY, where the part of the matrix that rows
share is diagonal: each row's own shared part, ridge included, is then inverted by a division.
"""

from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._checks import require_at_least, require_integer, require_one_of
from jaxals._pytree import pytree, static
from jaxals.factorization import solve_symmetric
from jaxals.gather import Table, TablePart
from jaxals.gram import Precision, read_scores, sum_grams
from jaxals.row_classes import most_dual_entries

# Steps of conjugate gradient where none are stated: without a tolerance, as in Takács, Pilászy and Tikk 2011; with one,
# more than the heaviest weights need (`docs/solvers.md`).
_FEW_STEPS = 3
_MOST_STEPS = 1000


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


@pytree
class Cholesky:
    """The exact solution, by factorising each row's matrix (Hu, Koren and Volinsky 2008, section 4).

    Rows with fewer entries than factors are solved in their dual form, a system as large as their entries (the
    Woodbury identity); the others form and factorise A_r. O(entries · factors² + rows · factors³) at most.
    """

    def gram_size(self, factors: int) -> int:
        """Return `factors`."""
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row; a system that is not positive definite gives NaN."""
        solve = _solve_dual if _suits_dual_form(equations, equations.shared.shape[1]) else _solve_primal
        rows = solve(equations)
        return rows, jnp.zeros(len(rows), bool)


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
    """

    steps: int | None = static(default=None)
    tolerance: float = static(default=0.0)
    preconditioner: Literal["gramian", "jacobi"] | None = static(default="gramian")

    def __post_init__(self) -> None:
        if self.steps is not None:
            require_integer("steps", self.steps, 1)
        require_at_least("tolerance", self.tolerance, 0)
        require_one_of("preconditioner", self.preconditioner, "gramian", "jacobi", None)

    def gram_size(self, factors: int) -> int:
        """Return 0."""
        return 0

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row, and which rows the tolerance was not reached for."""
        steps = self.steps or (_MOST_STEPS if self.tolerance else _FEW_STEPS)
        scale = self._inverse_preconditioner(equations)
        precondition = lambda residual: residual if scale is None else scale * residual
        target = equations.combine(equations.target_weight) if equations.target is None else equations.target
        bound = self.tolerance**2 * _dot(target, precondition(target))

        # b - A x in one pass over the entries: Σ (b - g y·x) y - shared x.
        # A row of dislikes alone has nothing to be relative to; its solution is zero.
        rows = jnp.where((bound > 0)[:, None], equations.start, 0) if self.tolerance else equations.start
        left = -equations.gram_weight * equations.scores(rows)
        if equations.target is None:
            residual = equations.combine(left + equations.target_weight) - equations.shared * rows
        else:
            residual = equations.combine(left) + equations.target - equations.shared * rows
        direction = precondition(residual)
        size = _dot(residual, direction)

        def step(state: tuple) -> tuple:
            number, rows, residual, direction, size = state
            image = (
                equations.combine(equations.gram_weight * equations.scores(direction)) + equations.shared * direction
            )
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

    def _inverse_preconditioner(self, equations: NormalEquations) -> Float[Array, "rows factors"] | None:
        if self.preconditioner is None:
            return None
        diagonal = equations.shared
        if self.preconditioner == "jacobi":
            squares = equations.vectors**2
            by_tile = jnp.einsum("tw,twf->tf", equations.gram_weight, squares, precision=equations.precision)
            diagonal = diagonal + equations.sum_by_row(by_tile)
        return 1 / diagonal


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
    """

    block: int = static(default=64)

    def __post_init__(self) -> None:
        require_integer("block", self.block, 1)

    def gram_size(self, factors: int) -> int:
        """Return the size of a block."""
        return min(self.block, factors)

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row: exact for short ones, after one pass over the blocks for the others."""
        n_rows, factors = equations.shared.shape
        width, precision = self.gram_size(factors), equations.precision
        if width == factors or _suits_dual_form(equations, width):
            return Cholesky().solve(equations)
        table, column = equations.table, equations.column

        def step(number: Int[Array, ""] | int, state: tuple[Array, Array]) -> tuple[Array, Array]:
            rows, scores = state
            # A last block that is not full begins sooner, and solves some factors again.
            start = jnp.minimum(number * width, factors - width)
            cut = lambda array: jax.lax.dynamic_slice_in_dim(array, start, width, axis=1)
            part, shared, before = TablePart(table, start, width), cut(equations.shared), cut(rows)
            # What the block's equations lack, Σ (b - g y·x) y - S x, is its matrix times what x is to gain.
            left = -equations.gram_weight * scores
            left = left + equations.target_weight if equations.target is None else left
            weights = equations.gram_weight, left
            gram, lack = sum_grams(part, column, *weights, equations.segment, n_rows, precision)
            lack = lack if equations.target is None else lack + cut(equations.target)
            change = solve_symmetric(gram, shared, lack - shared * before)
            rows = jax.lax.dynamic_update_slice_in_dim(rows, before + change, start, axis=1)
            return rows, scores + read_scores(part, column, equations.by_tile(change), precision)

        scores = read_scores(table, column, equations.by_tile(equations.start), precision)
        rows, _ = jax.lax.fori_loop(0, -(-factors // width), step, (equations.start, scores))
        return rows, jnp.zeros(n_rows, bool)


def _suits_dual_form(equations: NormalEquations, gram_size: int) -> bool:
    """Tell whether every row lies in one tile, narrow enough for a system of its entries."""
    width, factors = equations.vectors.shape[1:]
    return equations.one_tile_per_row and width <= most_dual_entries(factors, gram_size)


def _solve_primal(equations: NormalEquations) -> Float[Array, "rows factors"]:
    with jax.named_scope("gram"):
        gram, target = equations.matrices()
        target = target if equations.target is None else equations.target
    with jax.named_scope("solve"):
        return solve_symmetric(gram, equations.shared, target)


def _solve_dual(equations: NormalEquations) -> Float[Array, "rows factors"]:
    """Solve (S + Yᵀ G Y) x = Yᵀ b in the space of the row's entries.

    x = S⁻¹ Yᵀ u, where (G⁻¹ + K) u = G⁻¹ b, with K = Y S⁻¹ Yᵀ: Woodbury's identity. The convention of the implicit
    library has Gram weights below zero, and of zero where the target weight is not: |G| is kept above what rounding
    makes of K, which changes nothing else. With g >= -w0 no part of S + Yᵀ G Y with fewer entries is indefinite, so
    that the pivots, ratios of such parts' determinants, have the signs of G.

    For a right-hand side c, x = S⁻¹ c + what the above gives for b = -G Y S⁻¹ c.
    """
    gram_weight, target_weight, dtype = equations.gram_weight, equations.target_weight, equations.vectors.dtype
    first = None if equations.target is None else equations.target / equations.shared
    if first is not None:
        target_weight = -gram_weight * equations.scores(first)
    with jax.named_scope("gram"):
        is_entry = (gram_weight != 0) | (target_weight != 0)
        root = jax.lax.rsqrt(equations.shared)
        # One array on both sides of the product; padding is zero.
        scaled = jnp.where(is_entry[:, :, None], equations.vectors * root[:, None, :], 0)
        kernel = jnp.einsum("twf,tvf->twv", scaled, scaled, precision=equations.precision)
        rounding = jnp.finfo(dtype).eps / jnp.maximum(jnp.diagonal(kernel, axis1=1, axis2=2), 1)
    with jax.named_scope("solve"):
        sign = jnp.where(gram_weight < 0, -1, 1).astype(dtype)
        inverse = jnp.where(is_entry, sign / jnp.maximum(jnp.abs(gram_weight), rounding), 1)
        left = solve_symmetric(kernel, inverse, inverse * target_weight, sign)
    rows = root * jnp.einsum("tw,twf->tf", left, scaled, precision="highest")
    return rows if first is None else first + rows


def _dot(a: Float[Array, "rows factors"], b: Float[Array, "rows factors"]) -> Float[Array, " rows"]:
    return jnp.sum(a * b, axis=1)


def _ratio(numerator: Float[Array, " rows"], denominator: Float[Array, " rows"]) -> Float[Array, " rows"]:
    # A row that is already solved exactly has nowhere to go: 0 / 0 is 0.
    safe = jnp.where(denominator == 0, jnp.ones_like(denominator), denominator)
    return jnp.where(denominator == 0, jnp.zeros_like(numerator), numerator / safe)
