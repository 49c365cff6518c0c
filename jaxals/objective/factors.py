"""The two tables that a model learns. Device side."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import require_array, require_indices, require_kind
from jaxals._base.pytree import pytree
from jaxals.errors import DataError


@pytree
class Factors:
    """The two tables that a model learns; the score of a pair is their dot product.

    Attributes:
        user: One row per user.
        item: One row per item.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> factors = jaxals.Factors(user=jnp.ones((3, 2)), item=jnp.arange(4.0).reshape(2, 2))
        >>> factors.scores(jnp.array([0])).tolist()
        [[1.0, 5.0]]
    """

    user: Float[Array, "users factors"]
    item: Float[Array, "items factors"]

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        require_indices(users)
        return jnp.matmul(self.user[users], self.item.T, precision="highest")

    def known_users(self, users: Int[Array, " batch"]) -> Bool[Array, " batch"]:
        """Tell which users anything is known of: a row without entries in training is zero."""
        require_indices(users)
        return jnp.any(self.user[users] != 0, axis=1)

    def known_items(self) -> Bool[Array, " items"]:
        """Tell which items anything is known of: a row without entries in training is zero."""
        return jnp.any(self.item != 0, axis=1)


def gramian(table: Float[Array, "rows factors"]) -> Float[Array, "factors factors"]:
    """Compute YᵀY at full precision.

    Args:
        table: One side's factors Y, float32 or float64.

    Returns:
        A symmetric matrix in the table's dtype.
    """
    return jnp.matmul(table.T, table, precision="highest")


def require_factors(name: str, factors: Any) -> None:
    """Refuse what is no two tables of floating-point numbers, of one width.

    Args:
        name: Of the argument.
        factors: It.

    Raises:
        DataError: It is something else.
    """
    require_kind(name, factors, Factors, "`Factors`, two tables", DataError)
    for side in ("user", "item"):
        table = getattr(factors, side)
        require_array(f"{name}.{side}", table, 2, jnp.floating, "a 2-D array of floating-point numbers", DataError)
    widths = (factors.user.shape[1], factors.item.shape[1])
    if widths[0] != widths[1]:
        raise DataError(
            f"Both tables of `{name}` must have one width; got {widths[0]} factors a user and {widths[1]} an item."
        )


def require_shape(factors: Factors, shape: tuple[int, int], name: str = "factors") -> None:
    """Refuse factors of other users and items, or whose tables differ in width.

    Args:
        factors: Both tables.
        shape: Number of users and items that there must be.
        name: Of the argument that they came as.

    Raises:
        DataError: They are no tables of numbers, a table has another number of rows, or the tables have different
            numbers of columns.
    """
    require_factors(name, factors)
    got = (factors.user.shape[0], factors.item.shape[0])
    if got != shape:
        turned = " Users and items look swapped." if got == shape[::-1] else ""
        which = "" if name == "factors" else f" of `{name}`"
        raise DataError(f"The factors{which} are for {got} users and items, the interactions for {shape}.{turned}")
