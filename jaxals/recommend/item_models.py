"""Baselines that score an item by what else the user has: EASE and nearest neighbours, both closed form.

The host counts pairs of items (SciPy), the device solves and scores.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import checked_dtype, require_indices, told
from jaxals._base.checks import (
    require_at_least,
    require_finite,
    require_integer,
    require_number,
    require_one_of,
    require_positive,
    require_scalar,
)
from jaxals._base.devices import default_device
from jaxals._base.memory import require_memory
from jaxals._base.pytree import pytree, static
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.recommend.topk import top_k

# Columns of the pair counts that the host has as a sparse matrix at a time: that takes up to three times their memory.
_COLUMNS_AT_ONCE = 1024


@pytree
class History:
    """What each user has, as rows that can be looked up on the device.

    Attributes:
        starts: Where each user's entries begin, and the end.
        item: Item of each entry.
        value: Weight of each entry.
        longest: Most entries that a user has, static.
    """

    starts: Int[Array, " users_plus_1"]
    item: Int[Array, " entries"]
    value: Float[Array, " entries"]
    longest: int = static()

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.csr_array, dtype: Any) -> "History":
        """Copy a CSR matrix of users x items to the device."""
        if matrix.nnz >= 2**31:
            raise DataError(f"The history has {matrix.nnz:,} entries; item models hold less than 2^31.")
        starts = jnp.asarray(matrix.indptr, jnp.int32)
        item, value = jnp.asarray(matrix.indices, jnp.int32), jnp.asarray(matrix.data, dtype)
        return cls(starts, item, value, int(np.diff(matrix.indptr).max(initial=0)))

    def dense(self, users: Int[Array, " batch"], n_items: int) -> Float[Array, "batch items"]:
        """Write out the rows of a batch of users, zeros included."""
        position = self.starts[users][:, None] + jnp.arange(self.longest, dtype=jnp.int32)[None, :]
        is_entry = position < self.starts[users + 1][:, None]
        items = self.item.at[position].get(mode="clip")
        items = jnp.where(is_entry, items, jnp.full_like(items, n_items))  # past the row: dropped
        row = jnp.broadcast_to(jnp.arange(users.shape[0], dtype=jnp.int32)[:, None], items.shape)
        rows = jnp.zeros((users.shape[0], n_items), self.value.dtype)
        return rows.at[row, items].set(self.value.at[position].get(mode="clip"), mode="drop")


@pytree
class ItemModel:
    """A scorer of the form X W: weights between items, and what the users to score have.

    Attributes:
        weights: From the items that a user has (rows) to those to score; the diagonal is zero.
        history: The rows of X.
        is_binary: Whether X has 1 for every value above zero, or the values themselves; static.
    """

    weights: Float[Array, "items items"]
    history: History
    is_binary: bool = static()

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        require_indices(users)
        rows = self.history.dense(users, self.weights.shape[0])
        return jnp.matmul(rows, self.weights, precision="highest")

    def known_users(self, users: Int[Array, " batch"]) -> Bool[Array, " batch"]:
        """Tell which users anything is known of: those who have something."""
        require_indices(users)
        return self.history.starts[users + 1] > self.history.starts[users]

    def known_items(self) -> Bool[Array, " items"]:
        """Tell which items can get a score but 0: those that were seen together with others."""
        return jnp.any(self.weights != 0, axis=0)

    def with_history(self, interactions: Interactions) -> "ItemModel":
        """Score other users (or the same ones with more entries) by the same weights.

        Raises:
            DataError: The interactions are over another number of items.
        """
        require_interactions("interactions", interactions)
        if interactions.n_items != self.weights.shape[0]:
            raise DataError(
                f"`interactions` have {interactions.n_items:,} items, the model {self.weights.shape[0]:,}; "
                "use one catalog for both."
            )
        history = History.from_scipy(_liked(interactions, self.is_binary), self.weights.dtype)
        return ItemModel(self.weights, history, self.is_binary)


@pytree
class EASE:
    """The linear autoencoder with a zero diagonal, in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders").

    W = argmin |X - X W|² + λ |W|² with W_jj = 0 is, with P = (XᵀX + λ I)⁻¹, W_ij = -P_ij / P_jj (eq. 8), where X has 1
    for every positive value. The matrix of items x items is dense, and its inverse takes time cubic in the items.

    Attributes:
        regularization: λ, above 0; hundreds, for data of millions of entries.
        dtype: Type to compute in, static.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import evaluate, leave_k_out
        >>> data = jaxals.datasets.synthetic(n_users=200, n_items=50, n_interactions=2000, seed=0)
        >>> split = leave_k_out(data, k=1, seed=0)
        >>> model = jaxals.EASE(regularization=20.0).fit(split.train)
        >>> evaluate(model, split.train, split.test, ["hit_rate@10"]).n_users > 100
        True
    """

    regularization: Any = 500.0
    dtype: Any = static(default=jnp.float32)

    def __post_init__(self) -> None:
        require_scalar("regularization", self.regularization)
        require_positive("regularization", self.regularization)
        require_finite("regularization", self.regularization)
        checked_dtype("dtype", self.dtype)

    def fit(self, train: Interactions) -> ItemModel:
        """Solve for the weights.

        Args:
            train: What to learn from; entries below zero are left out.

        Returns:
            A model that `evaluate` and `recommend_with` take.

        Raises:
            ConfigurationError: The matrix of items x items does not fit into memory.
        """
        require_interactions("train", train)
        matrix = _liked(train, is_binary=True)
        pairs = _pair_sums(matrix, self.dtype, "EASE")
        weights = _zero_diagonal_regression(pairs, jnp.asarray(self.regularization, self.dtype))
        return ItemModel(weights, History.from_scipy(matrix, self.dtype), is_binary=True)


@pytree
class ItemKNN:
    """Item-based nearest neighbours: an item's score is the sum of its similarity to what the user has.

    s_ui = Σ_j x_uj w_ji over the items j of the user, where each item j passes on its similarity to its k most similar
    items alone, and to those that are as similar as the last of them (Deshpande and Karypis 2004, section 3). The
    similarity is the cosine of columns, or after weighting

        bm25: x_uj -> idf_u x_uj (k1 + 1) / (x_uj + k1 (1 - b + b |x_j| / mean |x|)),  idf_u = log(items) - log(1 + n_u)

    their dot product, as the implicit library has it (an item is a document, its users are the terms).

    Attributes:
        neighbours: k, at least 1; static.
        weighting: "cosine" or "bm25", static.
        shrinkage: Added to the product of the two lengths below the cosine: what few users say counts less.
        k1: How soon a value's weight saturates, in BM25.
        b: How much an item's popularity takes off, 0 to 1, in BM25.
        dtype: Type to compute in, static.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 0, 1, 2])
        >>> model = jaxals.ItemKNN(neighbours=1).fit(train)
        >>> model.scores(jnp.array([0, 2])).round(2).tolist()
        [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    neighbours: int = static(default=100)
    weighting: str = static(default="cosine")
    shrinkage: float = 0.0
    k1: float = 1.2
    b: float = 0.75
    dtype: Any = static(default=jnp.float32)

    def __post_init__(self) -> None:
        require_integer("neighbours", self.neighbours, 1)
        require_one_of("weighting", self.weighting, "cosine", "bm25")
        for name in ("shrinkage", "k1"):
            require_number(name, getattr(self, name))
            require_at_least(name, getattr(self, name), 0)
            require_finite(name, getattr(self, name))
        require_number("b", self.b, "a number from 0 to 1")
        if not 0 <= self.b <= 1:
            raise ConfigurationError(f"`b` must be 0 to 1; got {told(self.b)}.")
        checked_dtype("dtype", self.dtype)

    def fit(self, train: Interactions) -> ItemModel:
        """Find each item's neighbours.

        Args:
            train: What to learn from; entries below zero are left out.

        Returns:
            A model that `evaluate` and `recommend_with` take.

        Raises:
            ConfigurationError: The matrix of items x items does not fit into memory.
        """
        require_interactions("train", train)
        matrix = _liked(train, is_binary=False)
        weighted = _bm25(matrix, self.k1, self.b) if self.weighting == "bm25" else matrix
        similarity = _pair_sums(weighted, self.dtype, "ItemKNN")
        if self.weighting == "cosine":
            similarity = _cosines(similarity, jnp.asarray(self.shrinkage, self.dtype))
        weights = _keep_nearest(similarity, min(self.neighbours, train.n_items))
        return ItemModel(weights, History.from_scipy(matrix, self.dtype), is_binary=False)


def _liked(interactions: Interactions, is_binary: bool) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.csr_array(interactions.select(interactions.value > 0).to_scipy())
    if is_binary:
        matrix.data = np.ones_like(matrix.data)
    return matrix


def _pair_sums(matrix: scipy.sparse.csr_array, dtype: Any, name: str) -> Float[Array, "items items"]:
    """Compute XᵀX on the host, where sparse products are fast, and hand it to the device."""
    n_items = matrix.shape[1]
    # Measured at 10,000 items on a CPU: EASE took 4.2 such matrices at its peak, neighbours 3.2.
    require_memory(
        5 * n_items**2 * jnp.dtype(dtype).itemsize,
        f"{name} for {n_items:,} items",
        "keep the most popular items only, or train factors",
        [default_device()],
    )
    columns, rows = scipy.sparse.csc_array(matrix), scipy.sparse.csr_array(matrix.T)
    pairs = np.empty((n_items, n_items), dtype)
    for first in range(0, n_items, _COLUMNS_AT_ONCE):
        last = min(first + _COLUMNS_AT_ONCE, n_items)
        pairs[:, first:last] = (rows @ columns[:, first:last]).toarray()
    return jnp.asarray(pairs)


def _bm25(matrix: scipy.sparse.csr_array, k1: float, b: float) -> scipy.sparse.csr_array:
    weighted = scipy.sparse.coo_array(matrix, dtype=np.float64)
    lengths = matrix.sum(axis=0)
    idf = np.log(matrix.shape[1]) - np.log1p(np.diff(matrix.indptr))
    norm = 1 - b + b * lengths / lengths.mean()
    user, item = weighted.coords
    weighted.data = weighted.data * (k1 + 1) / (k1 * norm[item] + weighted.data) * idf[user]
    return scipy.sparse.csr_array(weighted)


@functools.partial(jax.jit, donate_argnums=0)
def _zero_diagonal_regression(
    pairs: Float[Array, "items items"], regularization: Float[Array, ""]
) -> Float[Array, "items items"]:
    diagonal = jnp.diag_indices(pairs.shape[0])
    identity = jnp.eye(pairs.shape[0], dtype=pairs.dtype)
    inverse = cho_solve(cho_factor(pairs.at[diagonal].add(regularization)), identity)
    return (inverse / -jnp.diagonal(inverse)[None, :]).at[diagonal].set(0)


@functools.partial(jax.jit, donate_argnums=0)
def _cosines(pairs: Float[Array, "items items"], shrinkage: Float[Array, ""]) -> Float[Array, "items items"]:
    length = jnp.sqrt(jnp.diagonal(pairs))
    product = length[:, None] * length[None, :] + shrinkage
    return pairs / jnp.where(product > 0, product, jnp.ones_like(product))


@functools.partial(jax.jit, static_argnames="k", donate_argnums=0)
def _keep_nearest(similarity: Float[Array, "items items"], k: int) -> Float[Array, "items items"]:
    similarity = jnp.fill_diagonal(similarity, 0, inplace=False)
    value, _ = top_k(similarity, k)
    # All that tie with the last one stay: which of them is numbered first must not matter.
    return jnp.where(similarity >= value[:, -1:], similarity, jnp.zeros_like(similarity))
