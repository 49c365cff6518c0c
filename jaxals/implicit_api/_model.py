"""The model: a shell around sweeps, fold-ins and rankings. Host side."""

import copy
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from tqdm.auto import tqdm

from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient
from jaxals.als.solver.equations import Solver
from jaxals.data.catalog import Side
from jaxals.errors import DataError
from jaxals.implicit_api._errors import UnfittedModelError
from jaxals.implicit_api._files import load, save
from jaxals.implicit_api._inputs import (
    as_csr,
    chosen_rows,
    confidences_of,
    count_of,
    device_of,
    norms_of,
    restrict,
    with_rows,
)
from jaxals.implicit_api._ranking import rank, similar
from jaxals.implicit_api._solving import computing, fold_in, initial_tables, sweeps, tables_of, user_matrix
from jaxals.objective.factors import gramian
from jaxals.objective.objective import Objective

_log = logging.getLogger(__name__)

Ranked = tuple[np.ndarray, np.ndarray]


class AlternatingLeastSquares:
    """Alternating least squares with the interface of implicit 0.7.3.

    Args:
        factors: Length of the vectors that are learned.
        regularization: λ >= 0, a plain ridge.
        alpha: What every value of the matrix is multiplied with to give its confidence.
        dtype: float32 or float64; the latter needs no global JAX setting.
        use_native: Stored only, and so is `num_threads`: there is one implementation, and JAX has its own threads.
        use_cg: Whether `fit` takes `cg_steps` of conjugate gradient a row, instead of solving exactly.
        use_gpu: True for a GPU, False for the CPU, None for the device that JAX prefers.
        iterations: Sweeps over users and items.
        calculate_training_loss: Whether to compute the loss after each sweep and log it.
        random_state: Seed, `numpy.random.Generator`, `numpy.random.RandomState` or None.

    Attributes:
        user_factors: NumPy array of users x factors, None before `fit`.
        item_factors: Likewise of items.
        fit_callback: As the argument `callback` of `fit`, for all calls.
        cg_steps: Steps of conjugate gradient, 3 at first.

    Raises:
        ConfigurationError: A GPU was asked for and there is none.

    Example:
        >>> import scipy
        >>> from jaxals.implicit_api import AlternatingLeastSquares
        >>> likes = scipy.sparse.csr_matrix([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1]])
        >>> model = AlternatingLeastSquares(factors=2, alpha=2.0, random_state=0)
        >>> model.fit(likes, show_progress=False)
        >>> ids, scores = model.recommend(0, likes[0], N=2)
        >>> ids
        array([2, 3], dtype=int32)
    """

    def __init__(
        self,
        factors: int = 100,
        regularization: float = 0.01,
        alpha: float = 1.0,
        dtype: Any = np.float32,
        use_native: bool = True,
        use_cg: bool = True,
        use_gpu: bool | None = None,
        iterations: int = 15,
        calculate_training_loss: bool = False,
        num_threads: int = 0,
        random_state: Any = None,
    ):
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.dtype = np.dtype(dtype)
        self.use_native = use_native
        self.use_cg = use_cg
        self.use_gpu = use_gpu
        self.iterations = iterations
        self.calculate_training_loss = calculate_training_loss
        self.num_threads = num_threads
        self.random_state = random_state
        self.cg_steps = 3
        self.fit_callback: Callable | None = None
        self.user_factors: Any = None
        self.item_factors: Any = None
        device_of(use_gpu)

    # Training

    def fit(self, user_items: Any, show_progress: bool = True, callback: Callable | None = None) -> None:
        """Learn `user_factors` and `item_factors`; a model that has them already continues from there.

        Args:
            user_items: Sparse matrix of users x items. Values times alpha are confidences; below zero means dislike.
            show_progress: Whether to draw a progress bar.
            callback: Called after each iteration with its number from 0, its seconds, and the loss or None.

        Raises:
            ModelFitError: A system was singular or a value not finite.
            DataError: The factors there are do not fit the matrix.
            ConfigurationError: A setting lies outside its range.
        """
        confidences = confidences_of(as_csr(user_items), self.alpha)
        user, item = initial_tables(
            confidences.shape, self.factors, self.dtype, self.random_state, self.user_factors, self.item_factors
        )
        steps = sweeps(
            confidences, user, item, self._objective(), self._solver(), self.use_gpu, self.calculate_training_loss
        )
        self.user_factors, self.item_factors, factors, loss = user, item, None, None
        with tqdm(total=self.iterations, disable=not show_progress) as progress:
            try:
                for iteration in range(self.iterations):
                    start = time.time()
                    factors, loss = next(steps)
                    progress.update()
                    if loss is not None:
                        progress.set_postfix(loss=loss)
                        _log.info("loss %.4f", loss)
                    if report := callback or self.fit_callback:
                        self.user_factors, self.item_factors = tables_of(factors, user, item)
                        report(iteration, time.time() - start, loss)
            finally:
                # Also when a callback raises or Ctrl-C stops the loop: what was learned so far stays.
                if factors is not None:
                    self.user_factors, self.item_factors = tables_of(factors, user, item)
        if loss is not None:
            _log.info("Final training loss %.4f", loss)

    def recalculate_user(self, userid: Any, user_items: Any) -> np.ndarray:
        """Solve users exactly against the items, without storing what comes out.

        Args:
            userid: One id, or a sequence of them.
            user_items: Sparse matrix with one row for each user in `userid`.

        Returns:
            One vector for a single id, otherwise an array with one row for each.

        Raises:
            DataError: The matrix does not have one row per user, or more columns than there are items.
        """
        user_items = as_csr(user_items)
        n_rows = count_of(userid)
        if user_items.shape[0] != n_rows:
            raise DataError("user_items should have one row for every item in user")
        rows = self._fold_in(user_items, self._table("item"))
        return rows[0] if np.isscalar(userid) else rows

    def recalculate_item(self, itemid: Any, item_users: Any) -> np.ndarray:
        """Solve items exactly against the users, without storing what comes out; see `recalculate_user`."""
        item_users = as_csr(item_users)
        n_rows = count_of(itemid)
        if item_users.shape[0] < n_rows:
            raise DataError(f"item_users should have one row for every item; got {item_users.shape[0]} for {n_rows}")
        rows = self._fold_in(item_users[:n_rows], self._table("user"))
        return rows[0] if np.isscalar(itemid) else rows

    def partial_fit_users(self, userids: Any, user_items: Any) -> None:
        """Recalculate users and store them; the table grows where an id lies past its end.

        Args:
            userids: Sequence of ids.
            user_items: Sparse matrix with one row for each of them.

        Raises:
            DataError: The matrix does not have one row per user.
        """
        if len(userids) != user_items.shape[0]:
            raise DataError("user_items must contain 1 row for every user in userids")
        self.user_factors = with_rows(self._table("user"), userids, self.recalculate_user(userids, user_items))

    def partial_fit_items(self, itemids: Any, item_users: Any) -> None:
        """Recalculate items and store them; see `partial_fit_users`."""
        if len(itemids) != item_users.shape[0]:
            raise DataError("item_users must contain 1 row for every user in itemids")
        self.item_factors = with_rows(self._table("item"), itemids, self.recalculate_item(itemids, item_users))

    # Answers

    def recommend(
        self,
        userid: Any,
        user_items: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        recalculate_user: bool = False,
        items: Any = None,
    ) -> Ranked:
        """Rank items for one user or many.

        Args:
            userid: One id, or a sequence of them.
            user_items: CSR matrix with one row for each user in `userid`; needed to filter or to recalculate.
            N: How many items each.
            filter_already_liked_items: Put items of the user's row last, with the lowest float as score.
            filter_items: Ids to treat likewise for all users.
            recalculate_user: Solve the users from their rows first, instead of reading `user_factors`.
            items: Ids of the only items to rank; not together with `filter_items`.

        Returns:
            Ids and scores, best first: 1-D for a single id, otherwise one row for each user.

        Raises:
            DataError: The matrix is not CSR, has not one row per user, or `items` and `filter_items` are both given.
            IndexError: An id is not in the model.
        """
        if filter_already_liked_items or recalculate_user:
            if not isinstance(user_items, scipy.sparse.csr_matrix):
                raise DataError("user_items needs to be a CSR sparse matrix")
            if user_items.shape[0] != count_of(userid):
                raise DataError("user_items must contain 1 row for every user in userids")
        users = self.recalculate_user(userid, user_items) if recalculate_user else self._table("user")[userid]
        table, liked = self._table("item"), user_items if filter_already_liked_items else None
        if items is not None:
            N = min(N, len(items))
            items = np.sort(items)
            table = chosen_rows(table, items, filter_items, "recommend")
            liked = None if liked is None else restrict(liked, items)
        with computing(users.dtype, self.use_gpu):
            ids, scores = rank(table, np.atleast_2d(users), N, liked=liked, filtered=filter_items)
        if np.isscalar(userid):
            ids, scores = ids[0], scores[0]
        return (ids if items is None else items[ids]), scores

    def similar_items(
        self,
        itemid: Any,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: Any = None,
        filter_items: Any = None,
        items: Any = None,
    ) -> Ranked:
        """Rank items by the cosine of their vectors with those of one item or many, itself included.

        Args:
            itemid: One id, or a sequence of them.
            N: How many each.
            recalculate_item: Solve the items from `item_users` first, instead of reading `item_factors`.
            item_users: Sparse matrix with one row for each item in `itemid`.
            filter_items: Ids to put last, with a score of about the lowest float.
            items: Ids of the only items to rank; not together with `filter_items`.

        Returns:
            Ids and cosines, best first, shaped as in `recommend`.

        Raises:
            DataError: `items` and `filter_items` are both given.
            IndexError: An id is not in the model.
        """
        table = self._table("item")
        vectors = self.recalculate_item(itemid, item_users) if recalculate_item else table[itemid]
        with computing(vectors.dtype, self.use_gpu):
            return similar(table, vectors, N, filter_items, items, "similar_items")

    def similar_users(self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None) -> Ranked:
        """Rank users by the cosine of their vectors with those of one user or many; see `similar_items`."""
        table = self._table("user")
        with computing(table.dtype, self.use_gpu):
            return similar(table, table[userid], N, filter_users, users, "similar_users")

    def explain(
        self, userid: int, user_items: Any, itemid: int, user_weights: Any = None, N: int = 10
    ) -> tuple[float, list, Any]:
        """Split a score into what each liked item adds (Hu, Koren and Volinsky 2008, section 5).

        Args:
            userid: Row of `user_items`.
            user_items: Sparse matrix of all users x items.
            itemid: The item whose score to explain.
            user_weights: The third value that an earlier call for the same user returned: saves the factorisation.
            N: How many contributions to list.

        Returns:
            The score, the largest contributions as pairs (item, contribution), and the Cholesky factor of the user's
            matrix as `scipy.linalg.cho_factor` gives it.
        """
        row, table = confidences_of(as_csr(user_items)[[userid]], self.alpha), self._table("item")
        if user_weights is None:
            user_weights = user_matrix(row, table, self.YtY, self.regularization)
        liked, confidence = row.indices[row.data >= 0], row.data[row.data >= 0]
        parts = confidence * (table[liked] @ scipy.linalg.cho_solve(user_weights, table[itemid]))
        largest = sorted(zip(parts, liked, strict=True), reverse=True)[: max(N, 0)]
        return parts.sum(), [(item, part) for part, item in largest], user_weights

    def recommend_all(
        self,
        user_items: Any,
        N: int = 10,
        recalculate_user: bool = False,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        users_items_offset: int = 0,
    ) -> np.ndarray:
        """Return the ids that `recommend` finds for every row of `user_items`; deprecated in implicit."""
        advice = "Use recommend with an array of userids instead"
        warnings.warn(f"recommend_all is deprecated. {advice}", DeprecationWarning, stacklevel=2)
        userids = np.arange(user_items.shape[0]) + users_items_offset
        return self.recommend(userids, user_items, N, filter_already_liked_items, filter_items, recalculate_user)[0]

    def rank_items(self, userid: Any, user_items: Any, selected_items: Any, recalculate_user: bool = False) -> Ranked:
        """Return `recommend` with `items=selected_items` and no filter; deprecated in implicit."""
        message = "rank_items is deprecated. Use recommend with the 'items' parameter instead"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.recommend(userid, user_items, 10, False, None, recalculate_user, selected_items)

    @property
    def YtY(self) -> np.ndarray:
        """Gramian of `item_factors`."""
        return self._gramian("item")

    @property
    def XtX(self) -> np.ndarray:
        """Gramian of `user_factors`."""
        return self._gramian("user")

    @property
    def user_norms(self) -> np.ndarray:
        """Lengths of the users' vectors, 1e-10 for those that are zero."""
        return norms_of(self._table("user"))

    @property
    def item_norms(self) -> np.ndarray:
        """Lengths of the items' vectors, 1e-10 for those that are zero."""
        return norms_of(self._table("item"))

    # Files and devices

    def save(self, fileobj_or_path: Any) -> None:
        """Write the model to an .npz file that implicit reads too; only an integer `random_state` is kept."""
        save(self, fileobj_or_path)

    @classmethod
    def load(cls, fileobj_or_path: Any) -> "AlternatingLeastSquares":
        """Read a model that `save`, here or in implicit, has written; nothing is unpickled."""
        model = cls()
        vars(model).update(load(fileobj_or_path))
        return model

    def to_gpu(self) -> "AlternatingLeastSquares":
        """Return a copy that computes on a GPU."""
        return self._moved(use_gpu=True)

    def to_cpu(self) -> "AlternatingLeastSquares":
        """Return a copy that computes on the CPU."""
        return self._moved(use_gpu=False)

    def _moved(self, use_gpu: bool) -> "AlternatingLeastSquares":
        device_of(use_gpu)
        twin = copy.copy(self)
        twin.use_gpu = use_gpu
        twin.user_factors, twin.item_factors = copy.copy(self.user_factors), copy.copy(self.item_factors)
        return twin

    def _solver(self) -> Solver:
        # Without the preconditioner that jaxals would take, its steps are those of implicit.
        return ConjugateGradient(steps=self.cg_steps, preconditioner=None) if self.use_cg else Cholesky()

    def _objective(self) -> Objective:
        # Alpha is in the confidences already, multiplied in float32 as implicit does.
        return Objective.implicit(alpha=1.0, regularization=float(self.regularization))

    def _fold_in(self, matrix: Any, other: np.ndarray) -> np.ndarray:
        with computing(other.dtype, self.use_gpu):
            return fold_in(confidences_of(matrix, self.alpha), other, self._objective()).astype(self.dtype, copy=False)

    def _gramian(self, side: Side) -> np.ndarray:
        table = self._table(side)
        with computing(table.dtype, self.use_gpu):
            return np.array(gramian(jnp.asarray(table)))

    def _table(self, side: Side) -> np.ndarray:
        table = self.user_factors if side == "user" else self.item_factors
        if table is None:
            raise UnfittedModelError(f"This model has no `{side}_factors` yet; call `fit` or `load` first.")
        return table
