"""The coordinates that a solver works in: those of the factors, or the eigenbasis of w0 YᵀY. Device side.

In the eigenbasis the matrix that all rows share is diagonal, whatever each row's ridge: see `docs/why/solvers.md`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxals._base.pytree import pytree
from jaxals.als.kernels.factorization import eigendecompose
from jaxals.objective.factors import gramian


@pytree
class Coordinates:
    """What all rows share, w0 YᵀY, and how to come into the coordinates that it is given in.

    Attributes:
        eigenvalues: Of w0 YᵀY, or None in the coordinates of the factors.
        vectors: Its eigenvectors, or None there.
        gramian: w0 YᵀY, or None in its eigenbasis.
    """

    eigenvalues: Float[Array, " factors"] | None
    vectors: Float[Array, "factors factors"] | None
    gramian: Float[Array, "factors factors"] | None

    def enter(self, rows: Float[Array, "*rows factors"]) -> Float[Array, "*rows factors"]:
        """Bring vectors of factors into these coordinates."""
        return rows if self.vectors is None else jnp.matmul(rows, self.vectors, precision="highest")

    def leave(self, rows: Float[Array, "*rows factors"]) -> Float[Array, "*rows factors"]:
        """Bring vectors in these coordinates back to those of the factors."""
        return rows if self.vectors is None else jnp.matmul(rows, self.vectors.T, precision="highest")

    def share(
        self, gram: Float[Array, "factors factors"], ridge: Float[Array, ""]
    ) -> tuple[Float[Array, "factors factors"], Float[Array, " factors"]]:
        """Return a row's matrix without what is added to its diagonal, and that."""
        matrix = gram if self.gramian is None else gram + self.gramian
        diagonal = jnp.zeros(len(gram), gram.dtype) if self.eigenvalues is None else self.eigenvalues
        return matrix, diagonal + ridge


def coordinates_of(
    other: Float[Array, "columns factors"], unobserved_weight: Float[Array, ""] | float, in_eigenbasis: bool
) -> tuple[Coordinates, Float[Array, "columns factors"]]:
    """Return the coordinates that a half step is solved in, and the other table in them."""
    with jax.named_scope("gramian"):
        matrix = unobserved_weight * gramian(other)
        if not in_eigenbasis:
            return Coordinates(None, None, matrix), other
        eigenvalues, vectors = eigendecompose(matrix)
        coordinates = Coordinates(jnp.maximum(eigenvalues, 0), vectors, None)
        return coordinates, coordinates.enter(other)
