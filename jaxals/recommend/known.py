"""What a scorer knows anything of: nothing else is put on a list. Device side."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@runtime_checkable
class Knowing(Protocol):
    """A scorer that tells which users and items it has learned anything of.

    The score of another pair is a number, too, mostly 0, but says nothing, and may lie above that of a pair that the
    scorer knows. Scorers without these methods are taken to know everything; they may rule out items by scores of -inf.
    """

    def known_users(self, users: Int[Array, " batch"], /) -> Bool[Array, " batch"]:
        """Tell which of some users, by index, anything is known of."""

    def known_items(self) -> Bool[Array, " items"]:
        """Tell which of all items anything is known of."""


def known_users(scorer: Any, users: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """Tell which users can get a list; all of them where the scorer does not say."""
    return scorer.known_users(users) if isinstance(scorer, Knowing) else jnp.ones(users.shape[0], bool)


def known_items(scorer: Any, n_items: int) -> Bool[Array, " items"]:
    """Tell which items can be on a list; all of them where the scorer does not say."""
    return _known_items(scorer) if isinstance(scorer, Knowing) else jnp.ones(n_items, bool)


@jax.jit
def _known_items(scorer: Knowing) -> Bool[Array, " items"]:
    return scorer.known_items()
