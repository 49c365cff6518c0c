"""The normal equations of a chunk of rows, and what solves them. Device side.

A solver is a small frozen pytree whose fields are its settings. It gets the equations before anything is formed, and
so decides itself what to form. A solver that asks for it (`in_eigenbasis`) has all vectors in the eigenbasis of w0 YᵀY,
where the part of the matrix that rows share is diagonal: each row's own shared part, ridge included, is then inverted
by a division. Any other has them in the coordinates of the factors.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import is_leaf, require_protocol
from jaxals._base.pytree import pytree, static
from jaxals._base.tracing import calling
from jaxals.als.kernels.factorization import eigendecompose
from jaxals.als.kernels.gather import Table, pack
from jaxals.als.kernels.gram import Precision, sum_grams
from jaxals.als.layout.machine import CPU, Machine
from jaxals.als.solver.coordinates import Coordinates
from jaxals.errors import ConfigurationError
from jaxals.objective.factors import Factors


@pytree
class NormalEquations:
    """The equations of one chunk: A_r x_r = Σ b y over the row's entries, A_r = w0 YᵀY + λ_r I + Σ g y yᵀ.

    Or A_r x_r = c_r for any c_r, as derivatives ask for: then b is not read.

    Vectors are in the coordinates of the factors, or, for a solver whose class says `in_eigenbasis = True`, in the
    eigenbasis of w0 YᵀY, where the part of A_r without entries is the diagonal `shared`.

    Attributes:
        table: The other table, whose rows are the vectors y.
        column: Which of them each cell reads.
        vectors: y, gathered for every cell of every tile, for solvers that pass over them more than once.
        gram_weight: g, zero in padding.
        target_weight: b, zero in padding.
        segment: Which row a tile belongs to, ascending.
        ridge: λ_r of each row.
        start: Where an iterative solver begins.
        one_tile_per_row: Whether tile i is all of row i, static.
        precision: Of products with the vectors, static.
        target: c in the place of Σ b y, or None.
        machine: What the tiles were cut for, static.
        gramian: w0 YᵀY, or None in its eigenbasis.
        eigenvalues: Of w0 YᵀY in its eigenbasis, or None.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> @jaxals.pytree
        ... class OneStep:  # down the slope Σ b y - A x, divided by the part of A that rows share
        ...     in_eigenbasis = True  # where that is a diagonal
        ...     def gram_size(self, factors):
        ...         return 0
        ...     def solve(self, equations):
        ...         slope = equations.combine(equations.target_weight) - equations.multiply(equations.start)
        ...         return equations.start + slope / equations.shared, jnp.zeros(len(slope), bool)
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> tiles = jaxals.build_tiles(data, "user", factors=4, gram_size=0)
        >>> factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 4)
        >>> user, _ = jaxals.half_step(tiles, factors.item, jaxals.Objective.hkv(), OneStep(), factors.user)
        >>> user.shape
        (50, 4)
    """

    table: Table
    column: Int[Array, "tiles width"]
    vectors: Float[Array, "tiles width factors"]
    gram_weight: Float[Array, "tiles width"]
    target_weight: Float[Array, "tiles width"]
    segment: Int[Array, " tiles"]
    ridge: Float[Array, " rows"]
    start: Float[Array, "rows factors"]
    one_tile_per_row: bool = static()
    precision: Precision = static(default="highest")
    target: Float[Array, "rows factors"] | None = None
    machine: Machine = static(default=CPU)
    gramian: Float[Array, "factors factors"] | None = None
    eigenvalues: Float[Array, " factors"] | None = None

    @property
    def shared(self) -> Float[Array, "rows factors"]:
        """The diagonal part of each A_r that has no entries in it, eigenvalues of w0 YᵀY plus λ_r.

        Raises:
            ConfigurationError: The solver has not asked for the eigenbasis.
        """
        if self.eigenvalues is None:
            raise ConfigurationError(
                "`equations.shared` is a diagonal in the eigenbasis of w0 YᵀY alone: take `equations.matrices()`, or "
                "`gramian` and `ridge`; or give the solver's class `in_eigenbasis = True` if no coordinate of a row is "
                "looked at by itself, as `Cholesky` does."
            )
        return self.eigenvalues[None, :] + self.ridge[:, None]

    def multiply(self, rows: Float[Array, "rows factors"]) -> Float[Array, "rows factors"]:
        """Return A_r x_r for every row, in a pass over its entries."""
        if self.gramian is None:
            everywhere = self.shared * rows
        else:
            everywhere = jnp.matmul(rows, self.gramian, precision="highest") + self.ridge[:, None] * rows
        return self.combine(self.gram_weight * self.scores(rows)) + everywhere

    def matrices(self) -> tuple[Float[Array, "rows factors factors"], Float[Array, "rows factors"]]:
        """Return A_r, whole, and the right-hand side of every row: all of its equations."""
        gram, target = self.grams()
        whole = jnp.tril(gram) + jnp.tril(gram, -1).mT
        if self.gramian is None:
            whole += jax.vmap(jnp.diag)(self.shared)
        else:
            whole += (
                self.gramian[None] + self.ridge[:, None, None] * jnp.eye(len(self.gramian), dtype=whole.dtype)[None]
            )
        return whole, target if self.target is None else self.target

    def grams(self) -> tuple[Float[Array, "rows factors factors"], Float[Array, "rows factors"]]:
        """Return the lower triangle of Σ g y yᵀ, and Σ b y, for every row; what else lies in it has no meaning."""
        cells = self.column, self.gram_weight, self.target_weight
        how = self.precision, self.machine.in_cache, self.one_tile_per_row
        return sum_grams(self.table, *cells, self.segment, len(self.ridge), *how)

    def sum_by_row(self, by_tile: Float[Array, "tiles ..."]) -> Float[Array, "rows ..."]:
        """Add up what the tiles of each row hold."""
        if self.one_tile_per_row:
            return by_tile
        return jax.ops.segment_sum(by_tile, self.segment, len(self.ridge), indices_are_sorted=True)

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
    """Anything that solves a chunk's normal equations: a `jaxals.pytree` with `gram_size` and `solve`.

    What a solver has besides is asked for, and has a default:

    - `in_eigenbasis`, whether its equations come in the eigenbasis of w0 YᵀY: False. There `equations.shared` is the
      diagonal part of A_r; but a coordinate of a row is no factor of the model.
    - `is_exact`, whether its rows are the exact solution, wherever it begins: False. Momentum then moves the
      users on as well.
    - `is_non_negative`, whether its rows have no factor below 0: False. Rows that are folded in then have none either.
    - `adjoint(dtype)`, a solver of A v = c for derivatives, such as `Cholesky()`. Without it, half steps cannot be
      differentiated: only the solver knows whether its rows solve A x = Σ b y at all.
    - `solve_gram(gram, shared, target)`, for rows of too many entries to be held at a time: the lower triangle of
      Σ g y yᵀ of each row, shape (rows, factors, factors), what is to be added to its diagonal, and its Σ b y, for what
      `solve` returns. Out of the eigenbasis, w0 YᵀY is among the matrices. By default `solve` gets a row of as many
      entries as factors, which has the same equations.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> @jaxals.pytree
        ... class Direct:
        ...     def gram_size(self, factors):
        ...         return factors
        ...     def solve(self, equations):
        ...         matrix, target = equations.matrices()
        ...         rows = jaxals.als.solve_symmetric(matrix, jnp.zeros_like(target), target)
        ...         return rows, jnp.zeros(len(rows), bool)
        ...     def adjoint(self, dtype):
        ...         return self  # `matrices` has the right-hand side of either
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> own, exact = (
        ...     jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3, solver=solver), progress=False)
        ...     for solver in (Direct(), jaxals.Cholesky())
        ... )
        >>> bool(jnp.allclose(own.factors.item, exact.factors.item, atol=1e-4))
        True
    """

    def gram_size(self, factors: int) -> int:
        """Return the size of the Gram matrices that are formed, 0 for none; tiles are cut accordingly.

        Below `factors`, it is the size of blocks of factors that are solved for one after another.

        Args:
            factors: Length of the vectors.

        Returns:
            0, `factors`, or a size of blocks between them.
        """

    def solve(self, equations: NormalEquations) -> Solution:
        """Return x_r for every row, and which rows have not reached the tolerance that was asked for.

        Args:
            equations: Of one chunk of rows; traced, once for each shape of chunk.

        Returns:
            Rows [rows, factors], in the order of `equations.ridge`, and a Boolean for each of them.
        """


def require_solver(name: str, solver: Any) -> None:
    """Refuse what is no solver, and one that JAX cannot pass to compiled functions.

    Raises:
        ConfigurationError: It is something else.
    """
    require_protocol(name, solver, Solver, "a solver such as `Cholesky()`", ConfigurationError)
    if is_leaf(solver):
        kind = type(solver).__name__
        raise ConfigurationError(f"`{name}` must be a pytree; decorate the class {kind} with `jaxals.pytree`.")
    fields = dataclasses.fields(solver) if dataclasses.is_dataclass(solver) else ()
    leaves = {field.name for field in fields if not field.metadata.get("static")}
    for flag in ("in_eigenbasis", "is_exact", "is_non_negative"):
        if flag in leaves or not isinstance(getattr(solver, flag, False), bool):
            raise ConfigurationError(
                f"`{flag}` of the solver {type(solver).__name__} must be True or False for the class, as in "
                f"`{flag}: ClassVar[bool] = True`, or a `static()` field."
            )


def in_eigenbasis(solver: Solver) -> bool:
    """Tell whether a solver asks for equations in the eigenbasis of w0 YᵀY."""
    return getattr(solver, "in_eigenbasis", False)


def is_exact(solver: Solver) -> bool:
    """Tell whether a solver's rows are the exact solution, wherever it begins."""
    return getattr(solver, "is_exact", False)


def is_non_negative(solver: Any) -> bool:
    """Tell whether a solver's rows have no factor below 0."""
    return getattr(solver, "is_non_negative", False)


def first_factors(solver: Solver, factors: Factors) -> Factors:
    """Return what a solver begins at: where it makes no factor below 0, how large the given ones are.

    A column below 0 would be 0 after a half step, and stay so: nothing would depend on it.
    """
    return jax.tree.map(jnp.abs, factors) if is_non_negative(solver) else factors


def adjoint_of(solver: Solver, dtype: Any) -> Solver:
    """Return the solver of A v = c that derivatives of a solver's rows take.

    Raises:
        ConfigurationError: It has none.
    """
    adjoint = getattr(solver, "adjoint", None)
    if adjoint is None:
        raise ConfigurationError(
            f"Rows of {solver!r} cannot be differentiated: if they solve A x = Σ b y, give it a method "
            "`adjoint(dtype)` that returns a solver of A v = c, such as `Cholesky()`."
        )
    return adjoint(dtype)


def solve_from_gram(
    solver: Solver,
    gram: Float[Array, "factors factors"],
    coordinates: Coordinates,
    ridge: Float[Array, ""],
    target: Float[Array, " factors"],
    start: Float[Array, " factors"],
    precision: Precision,
    is_derivative: bool,
    machine: Machine,
) -> tuple[Float[Array, " factors"], Bool[Array, ""]]:
    """Solve one row of which no more than its sums are there.

    Args:
        solver: How.
        gram: Σ g y yᵀ, of which the lower triangle is read.
        coordinates: What the solver works in.
        ridge: λ_r.
        target: Σ b y, or c where derivatives ask for A⁻¹ c.
        start: Where an iterative solver begins.
        precision: Of products with vectors.
        is_derivative: Whether `target` is c.
        machine: What the tiles were cut for.

    Returns:
        The row, and whether it has not reached the tolerance that was asked for.
    """
    solve_gram = getattr(solver, "solve_gram", None)
    if solve_gram is not None:
        with calling("solver"):
            matrix, shared = coordinates.share(gram, ridge)
            rows, is_unconverged = solve_gram(matrix[None], shared[None], target[None])
        return rows[0], is_unconverged[0]
    # Eigenvectors as entries, weighed by the eigenvalues, have the same Gram matrix, and as a basis give any target.
    eigenvalues, vectors = eigendecompose(jnp.tril(gram) + jnp.tril(gram, -1).T)
    equations = NormalEquations(
        table=pack(vectors.T, in_pieces=machine.in_cache),
        column=jnp.arange(len(eigenvalues), dtype=jnp.int32)[None],
        vectors=vectors.T[None],
        gram_weight=eigenvalues[None],
        target_weight=jnp.matmul(target, vectors, precision="highest")[None],
        segment=jnp.zeros(1, jnp.int32),
        ridge=ridge[None],
        start=start[None],
        one_tile_per_row=True,
        precision=precision,
        target=target[None] if is_derivative else None,
        machine=machine,
        gramian=coordinates.gramian,
        eigenvalues=coordinates.eigenvalues,
    )
    with calling("solver"):
        rows, is_unconverged = solver.solve(equations)
    return rows[0], is_unconverged[0]
