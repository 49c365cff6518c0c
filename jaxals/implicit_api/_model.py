"""The model: a shell around sweeps and fold-ins, its files and devices. Host side."""

import copy
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient
from jaxals.als.solver.equations import Solver
from jaxals.implicit_api._answers import explain, require_weights_of_user
from jaxals.implicit_api._factor_model import FactorModel
from jaxals.implicit_api._files import load, save
from jaxals.implicit_api._ids import Noun, growing_rows, is_one, rows_named
from jaxals.implicit_api._inputs import with_rows
from jaxals.implicit_api._matrices import as_csr, confidences_of, require_columns, require_rows
from jaxals.implicit_api._settings import (
    device_of,
    dtype_of,
    flag_of,
    require_callable,
    require_settings,
    require_weights,
)
from jaxals.implicit_api._solving import computing, fold_in, initial_tables, sweeps, tables_of, user_matrix
from jaxals.objective.objective import Objective

_log = logging.getLogger(__name__)


class AlternatingLeastSquares(FactorModel):
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
        ConfigurationError: A GPU was asked for and there is none, or `dtype` is something else. Other settings are
            checked when they are used, for a program may change them.

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
        self.dtype = dtype_of(dtype)
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
            ModelFitError: A system was singular.
            DataError: A value is not finite, or the factors there are do not fit the matrix.
            ConfigurationError: A setting lies outside its range.
        """
        require_settings(self)
        show_progress = flag_of("show_progress", show_progress)
        require_callable("callback", callback)
        require_callable("fit_callback", self.fit_callback)
        confidences = confidences_of("user_items", as_csr("user_items", user_items), self.alpha)
        user, item = initial_tables(
            confidences.shape, int(self.factors), self.dtype, self.random_state, self.user_factors, self.item_factors
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
            userid: One id, or a sequence of them; they need not be in the model.
            user_items: Sparse matrix with one row for each user in `userid`.

        Returns:
            One vector for a single id, otherwise an array with one row for each.

        Raises:
            DataError: The matrix does not have one row per user, or more columns than there are items.
        """
        rows = self._fold_in("user", userid, user_items)
        return rows[0] if is_one(userid) else rows

    def recalculate_item(self, itemid: Any, item_users: Any) -> np.ndarray:
        """Solve items exactly against the users, without storing what comes out; see `recalculate_user`."""
        rows = self._fold_in("item", itemid, item_users)
        return rows[0] if is_one(itemid) else rows

    def partial_fit_users(self, userids: Any, user_items: Any) -> None:
        """Recalculate users and store them; the table grows where an id lies past its end.

        Args:
            userids: Sequence of ids.
            user_items: Sparse matrix with one row for each of them.

        Raises:
            DataError: The matrix does not have one row per user.
        """
        table = self._table("user")
        ids = growing_rows("userids", userids, table)
        self.user_factors = with_rows(table, ids, self._fold_in("user", ids, user_items))

    def partial_fit_items(self, itemids: Any, item_users: Any) -> None:
        """Recalculate items and store them; see `partial_fit_users`."""
        table = self._table("item")
        ids = growing_rows("itemids", itemids, table)
        self.item_factors = with_rows(table, ids, self._fold_in("item", ids, item_users))

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
        table, matrix = self._table("item"), as_csr("user_items", user_items)
        require_weights(self)
        require_columns("user_items", matrix, len(table), matrix.shape[0], "item")
        user = rows_named("userid", [userid], matrix.shape[0], "user")[0]
        item = int(rows_named("itemid", [itemid], len(table), "item")[0][0])
        row = confidences_of("user_items", matrix[user], self.alpha)
        if user_weights is None:
            user_weights = user_matrix(row, table, self.YtY, self.regularization)
        require_weights_of_user(user_weights, table.shape[1])
        return *explain(row, table, item, user_weights, N), user_weights

    # Files and devices

    def save(self, fileobj_or_path: Any) -> None:
        """Write the model to an .npz file that implicit reads too; only an integer `random_state` is kept."""
        save(self, fileobj_or_path)

    @classmethod
    def load(cls, fileobj_or_path: Any) -> "AlternatingLeastSquares":
        """Read a model that `save`, here or in implicit, has written; nothing is unpickled.

        A device that was chosen and is not there counts as none chosen.

        Raises:
            MissingFileError: There is no such file.
            DataError: It is damaged, or holds something else.
            ConfigurationError: It does not fit into memory.
        """
        model = cls()
        load(model, fileobj_or_path)
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
        return ConjugateGradient(steps=int(self.cg_steps), preconditioner=None) if self.use_cg else Cholesky()

    def _objective(self) -> Objective:
        # Alpha is in the confidences already, multiplied in float32 as implicit does.
        return Objective.implicit(alpha=1.0, regularization=float(self.regularization))

    def _fold_in(self, side: Noun, ids: Any, matrix: Any) -> np.ndarray:
        other_side: Noun = "item" if side == "user" else "user"
        other, table = self._table(other_side), getattr(self, f"{side}_factors")
        name = f"{side}_{other_side}s"
        require_weights(self)
        matrix = as_csr(name, matrix)
        require_rows(name, matrix, len(growing_rows(f"{side}id", ids, other[:0])), side)
        require_columns(name, matrix, len(other), 0 if table is None else len(table), other_side)
        confidences = confidences_of(name, matrix, self.alpha)
        with computing(other.dtype, self.use_gpu):
            return fold_in(confidences, other, self._objective()).astype(self.dtype, copy=False)
