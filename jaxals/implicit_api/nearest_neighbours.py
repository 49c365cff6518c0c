"""Neighbours of items by what users have of both: `implicit.nearest_neighbours`, by sparse products. Host side.

The recommenders and weightings of implicit 0.7.3, with their arguments, arrays and files; implicit is not needed. What
differs, since it misleads there:

- Items that a user has are left out, where implicit gives them the score 0, which may be among the best.
- `N` is the most that comes back, also with `filter_items` or `items` for a single user.
- A matrix of more than one row is refused for a single user, where implicit takes the first; so are columns and ids
  beyond the model, where implicit reads past the end of its arrays or answers nothing.
- Similarities of zero are no neighbours, and item 0 is none of items that have fewer than K.
- A file keeps `K1` and `B`. An explicit zero is no occurrence in the weightings, and cells that a matrix holds twice
  are added up first. Counts below zero are refused, where implicit gives NaN.
"""

from typing import Any

import numpy as np
import scipy.sparse

from jaxals._base.checks import require_integer
from jaxals.errors import DataError
from jaxals.implicit_api._errors import NotOfferedError, UnfittedModelError
from jaxals.implicit_api._files import read, setting, write
from jaxals.implicit_api._ids import growing_rows, is_one, rows_named
from jaxals.implicit_api._matrices import as_csr, require_columns, rows_as_csr
from jaxals.implicit_api._neighbours import Ranked, nearest_columns, ranked
from jaxals.implicit_api._settings import flag_of
from jaxals.implicit_api._weightings import bm25_weight as bm25_weight
from jaxals.implicit_api._weightings import normalize as normalize
from jaxals.implicit_api._weightings import require_bm25
from jaxals.implicit_api._weightings import tfidf_weight as tfidf_weight

_SIMILARITY = ("shape", "data", "indptr", "indices")


class ItemItemRecommender:
    """Recommends what is near to the items of a user, by the products of their columns.

    Args:
        K: Neighbours that each item keeps, itself among them.
        num_threads: Stored only.

    Attributes:
        similarity: CSR matrix of items x items with K entries a row, None before `fit`.

    Example:
        >>> import scipy
        >>> from jaxals.implicit_api.nearest_neighbours import CosineRecommender
        >>> counts = scipy.sparse.csr_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
        >>> model = CosineRecommender(K=3)
        >>> model.fit(counts, show_progress=False)
        >>> ids, scores = model.recommend(3, counts[3], N=1)
        >>> ids, scores.round(2)
        (array([1], dtype=int32), array([0.67]))
    """

    def __init__(self, K: int = 20, num_threads: int = 0):
        self.similarity: Any = None
        self.K = K
        self.num_threads = num_threads

    def fit(self, weighted: Any, show_progress: bool = True, callback: Any = None) -> None:
        """Find each item's neighbours.

        Args:
            weighted: Matrix of users x items.
            show_progress: Whether to draw a progress bar.
            callback: None; there are no epochs.

        Raises:
            DataError: It is no such matrix.
            ConfigurationError: `K` is no integer >= 1.
            NotOfferedError: There is a callback.
        """
        self._fit(_users_items(weighted), show_progress, callback)

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
        """Rank items by their nearness to what users have: the sum over it of value x similarity.

        Args:
            userid: One id, or a sequence of them; only how many counts.
            user_items: CSR matrix with one row for each user in `userid`.
            N: How many items each.
            filter_already_liked_items: Leave out what is in the user's row.
            filter_items: Ids to leave out for all.
            recalculate_user: Nothing: what is in the row is what counts.
            items: Ids of the only items to rank; those near to nothing come last, with the lowest float.

        Returns:
            Ids and scores, best first: 1-D for a single id, as many as there are; otherwise one row for each user,
            filled up with -1 and the lowest float32.

        Raises:
            DataError: The matrix is not CSR, has not one row per user, or `items` and `filter_items` are both given.
            IndexError: An id is not in the model.
        """
        similarity = self._fitted()
        n_items = similarity.shape[0]
        ids = growing_rows("userid", userid, np.zeros((0, 0)))
        rows = rows_as_csr("user_items", user_items, len(ids), "user")
        require_columns("user_items", rows, n_items, n_items, "item")
        rows = scipy.sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=(len(ids), n_items))
        liked = rows if flag_of("filter_already_liked_items", filter_already_liked_items) else None
        return ranked(rows @ similarity, N, is_one(userid), liked, filter_items, items)

    def similar_items(
        self,
        itemid: Any,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: Any = None,
        filter_items: Any = None,
        items: Any = None,
    ) -> Ranked:
        """Return the neighbours of one item or many, itself included; arguments and errors as in `recommend`."""
        if flag_of("recalculate_item", recalculate_item):
            raise NotOfferedError("`recalculate_item` is not there for item-item recommenders; call `fit` anew.")
        similarity = self._fitted()
        ids, is_single = rows_named("itemid", itemid, similarity.shape[0], "item")
        return ranked(similarity[ids], N, is_single, None, filter_items, items)

    def similar_users(self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None) -> Ranked:
        """Raise `NotOfferedError`: nothing is known of users."""
        raise NotOfferedError("`similar_users` is not there for item-item recommenders, which know nothing of users.")

    def save(self, fileobj_or_path: Any) -> None:
        """Write the model to an .npz file that implicit reads too."""
        matrix, values = self.similarity, {name: value for name, value in vars(self).items() if name != "similarity"}
        if matrix is not None:
            values |= {"shape": matrix.shape, "data": matrix.data, "indptr": matrix.indptr, "indices": matrix.indices}
        write(fileobj_or_path, values)

    @classmethod
    def load(cls, fileobj_or_path: Any) -> "ItemItemRecommender":
        """Read a model that `save`, here or in implicit, has written.

        Raises:
            MissingFileError: There is no such file.
            DataError: It is damaged, or holds something else.
            ConfigurationError: It does not fit into memory.
        """
        model = cls()
        arrays, where = read(fileobj_or_path, (*vars(model), *_SIMILARITY), "a model of neighbours")
        if "K" not in arrays:
            raise DataError(f"{where} is no model of neighbours: it holds no `K`.")
        vars(model).update({name: setting(arrays, name, where) for name in vars(model) if name in arrays})
        if any(name in arrays for name in _SIMILARITY):
            model.similarity = _similarity(arrays, where)
        return model

    def _fit(self, matrix: scipy.sparse.csr_matrix, show_progress: bool, callback: Any) -> None:
        require_integer("K", self.K, 1)
        if callback is not None:
            raise NotOfferedError("`callback` is not there for item-item recommenders, which have no epochs.")
        show_progress = flag_of("show_progress", show_progress)
        self.similarity = nearest_columns(matrix, int(self.K), show_progress)

    def _fitted(self) -> Any:
        if self.similarity is None:
            raise UnfittedModelError("This model has no `similarity` yet; call `fit` or `load` first.")
        return self.similarity


class CosineRecommender(ItemItemRecommender):
    """Neighbours by the cosine of columns; see `ItemItemRecommender`."""

    def fit(self, counts: Any, show_progress: bool = True, callback: Any = None) -> None:
        """Find each item's neighbours; see `ItemItemRecommender.fit`."""
        self._fit(normalize(_users_items(counts).T).T.tocsr(), show_progress, callback)


class TFIDFRecommender(ItemItemRecommender):
    """Neighbours by the cosine of columns that are weighted by TF-IDF; see `ItemItemRecommender`."""

    def fit(self, counts: Any, show_progress: bool = True, callback: Any = None) -> None:
        """Find each item's neighbours; see `ItemItemRecommender.fit`."""
        self._fit(normalize(tfidf_weight(_users_items(counts).T)).T.tocsr(), show_progress, callback)


class BM25Recommender(ItemItemRecommender):
    """Neighbours by the product of columns that are weighted by BM25; see `ItemItemRecommender` and `bm25_weight`."""

    def __init__(self, K: int = 20, K1: float = 1.2, B: float = 0.75, num_threads: int = 0):
        self.similarity: Any = None
        self.K = K
        self.num_threads = num_threads
        self.K1 = K1
        self.B = B

    def fit(self, counts: Any, show_progress: bool = True, callback: Any = None) -> None:
        """Find each item's neighbours; see `ItemItemRecommender.fit`."""
        require_bm25(self.K1, self.B)
        self._fit(bm25_weight(_users_items(counts).T, self.K1, self.B).T.tocsr(), show_progress, callback)


def all_pairs_knn(
    users: Any, K: int = 100, num_threads: int = 0, show_progress: bool = True
) -> scipy.sparse.coo_matrix:
    """Return the K largest products of each column with the columns of a matrix of users x items.

    Raises:
        DataError: It is no such matrix.
        ConfigurationError: `K` is no integer >= 1.

    Example:
        >>> import scipy
        >>> from jaxals.implicit_api.nearest_neighbours import all_pairs_knn
        >>> all_pairs_knn(scipy.sparse.csr_matrix([[1.0, 2.0], [0.0, 1.0]]), K=1, show_progress=False).toarray()
        array([[0., 2.],
               [0., 5.]])
    """
    model = ItemItemRecommender(K=K)
    model.fit(users, show_progress)
    return model.similarity.tocoo()


def _users_items(matrix: Any) -> scipy.sparse.csr_matrix:
    read_matrix = scipy.sparse.csr_matrix(as_csr("user_items", matrix), dtype=np.float64)
    if not np.isfinite(read_matrix.data).all():
        raise DataError("`user_items` must hold finite numbers; it has NaN or inf.")
    return read_matrix


def _similarity(arrays: dict[str, np.ndarray], where: str) -> scipy.sparse.csr_matrix:
    try:
        parts = arrays["data"].astype(np.float64), arrays["indices"], arrays["indptr"]
        similarity = scipy.sparse.csr_matrix(parts, shape=tuple(arrays["shape"].tolist()))
        similarity.check_format(full_check=True)
        if similarity.shape[0] != similarity.shape[1] or not np.isfinite(similarity.data).all():
            raise ValueError(f"a matrix of shape {similarity.shape} or not of finite numbers")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(f"{where} is damaged: its similarity is no square matrix ({error}).") from None
    return similarity
