"""Scorers that any model must beat. Device side, but for their constructors."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxals._base.arguments import require_indices
from jaxals._base.checks import require_integer
from jaxals._base.pytree import pytree, static
from jaxals.data.interactions import Interactions, require_interactions


@pytree
class Popularity:
    """Score every item by how many users like it, the same for everyone.

    Attributes:
        counts: Users with a positive value for each item, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1], [0, 2, 2])
        >>> Popularity.from_interactions(train).scores(jnp.array([1]))
        Array([[1., 0., 2.]], dtype=float32)
    """

    counts: Float[Array, " items"]

    @classmethod
    def from_interactions(cls, train: Interactions) -> "Popularity":
        """Count the users of each item; a dislike (a value below zero) counts for nothing."""
        require_interactions("train", train)
        counts = np.bincount(train.item[train.value > 0], minlength=train.n_items)
        return cls(jnp.asarray(counts, jnp.float32))

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        require_indices(users)
        return jnp.broadcast_to(self.counts, (users.shape[0], self.counts.shape[0]))

    def known_users(self, users: Int[Array, " batch"]) -> Bool[Array, " batch"]:
        """Tell which users anything is known of: what is popular needs no user, so all of them."""
        require_indices(users)
        return jnp.ones(users.shape[0], bool)

    def known_items(self) -> Bool[Array, " items"]:
        """Tell which items anything is known of: those that anybody likes."""
        return self.counts > 0


@pytree
class Random:
    """Score items at random: uniform on [0, 1), drawn anew for each user and the same at every call.

    Attributes:
        key: From `jax.random.key`.
        n_items: Number of items, static.

    Raises:
        ConfigurationError: `n_items` is below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxals.evaluation import Random
        >>> Random(jax.random.key(0), n_items=3).scores(jnp.array([5, 1])).shape
        (2, 3)
    """

    key: Key[Array, ""]
    n_items: int = static()

    def __post_init__(self) -> None:
        require_integer("n_items", self.n_items, 1)

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        require_indices(users)
        one_user = lambda user: jax.random.uniform(jax.random.fold_in(self.key, user), (self.n_items,), jnp.float32)
        return jax.vmap(one_user)(users)
