"""What a model of two tables of factors answers, with the interface of implicit. Host side."""

import abc
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxals.errors import DataError
from jaxals.implicit_api._answers import Ranked, recommend, similar
from jaxals.implicit_api._errors import UnfittedModelError
from jaxals.implicit_api._ids import Noun, growing_rows, is_one, rows_named
from jaxals.implicit_api._inputs import norms_of, table_of
from jaxals.implicit_api._matrices import as_csr, require_columns, rows_as_csr
from jaxals.implicit_api._settings import flag_of
from jaxals.implicit_api._solving import computing
from jaxals.objective.factors import gramian


class FactorModel(abc.ABC):
    """The answers of a model; how its tables come about is for who inherits to say."""

    use_gpu: bool | None
    user_factors: Any
    item_factors: Any

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
            filter_items: Ids, or a mask of all items, to treat likewise for all users.
            recalculate_user: Solve the users from their rows first, instead of reading `user_factors`.
            items: Ids, or a mask, of the only items to rank; not together with `filter_items`.

        Returns:
            Ids and scores, best first: 1-D for a single id, otherwise one row for each user.

        Raises:
            DataError: The matrix is not CSR, has not one row per user, or `items` and `filter_items` are both given.
            IndexError: An id is not in the model.
        """
        recalculate_user = flag_of("recalculate_user", recalculate_user)
        filter_already_liked_items = flag_of("filter_already_liked_items", filter_already_liked_items)
        table, n_users = self._table("item"), len(self._table("user"))
        if recalculate_user:
            ids, is_single = growing_rows("userid", userid, table[:0]), is_one(userid)
        else:
            ids, is_single = rows_named("userid", userid, n_users, "user")
        if filter_already_liked_items or recalculate_user:
            user_items = rows_as_csr("user_items", user_items, len(ids), "user")
            require_columns("user_items", user_items, len(table), n_users, "item")
        users = self._fold_in("user", ids, user_items) if recalculate_user else self._table("user")[ids]
        with computing(users.dtype, self.use_gpu):
            liked = user_items if filter_already_liked_items else None
            best, scores = recommend(table, users, N, liked, filter_items, items)
        return (best[0], scores[0]) if is_single else (best, scores)

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
        if flag_of("recalculate_item", recalculate_item):
            vectors, is_single = self._fold_in("item", itemid, item_users), is_one(itemid)
        else:
            ids, is_single = rows_named("itemid", itemid, len(table), "item")
            vectors = table[ids]
        return self._similar("item", vectors, is_single, N, filter_items, items)

    def similar_users(self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None) -> Ranked:
        """Rank users by the cosine of their vectors with those of one user or many; see `similar_items`."""
        table = self._table("user")
        ids, is_single = rows_named("userid", userid, len(table), "user")
        return self._similar("user", table[ids], is_single, N, filter_users, users)

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
        user_items = as_csr("user_items", user_items)
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

    @abc.abstractmethod
    def _fold_in(self, side: Noun, ids: Any, matrix: Any) -> np.ndarray:
        """Solve rows of one side against the other's table."""

    def _similar(self, side: Noun, vectors: np.ndarray, is_single: bool, n: int, filtered: Any, chosen: Any) -> Ranked:
        with computing(vectors.dtype, self.use_gpu):
            ids, scores = similar(self._table(side), vectors, n, filtered, chosen, side)
        return (ids[0], scores[0]) if is_single else (ids, scores)

    def _gramian(self, side: Noun) -> np.ndarray:
        table = self._table(side)
        with computing(table.dtype, self.use_gpu):
            return np.array(gramian(jnp.asarray(table)))

    def _table(self, side: Noun) -> np.ndarray:
        table = self.user_factors if side == "user" else self.item_factors
        if table is None:
            raise UnfittedModelError(f"This model has no `{side}_factors` yet; call `fit` or `load` first.")
        table, other = table_of(f"{side}_factors", table), self.item_factors if side == "user" else self.user_factors
        width = getattr(other, "shape", table.shape)[-1:]
        if width != table.shape[1:]:
            raise DataError(f"The model's factors are {table.shape[1:]} and {width} wide; both must be alike.")
        return table
