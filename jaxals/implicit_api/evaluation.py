"""Splits and metrics of `implicit.evaluation`, by its own definitions, for models with its interface. Host side.

`jaxals.evaluation` has the definitions that papers use; these are here for programs that compare with figures of
implicit 0.7.3. What it calls precision is hits over Σ min(K, positives of the user), its AUC counts what a user had in
training among the negatives, and both take users without a positive for none. What differs, since it misleads there:

- What fills a list up past the number of items, or is filtered out of it, counts neither as a hit nor as a miss.
- Values of zero and below are no positives; users who like every item are left out of the AUC.
- `leave_k_out_split` follows `random_state` alone, where implicit takes NumPy's global one too, and keeps each value,
  where implicit adds a test value up as often as users with too few entries lie between.
"""

from typing import Any

import numpy as np
import scipy.sparse
from tqdm.auto import tqdm

from jaxals._base.checks import require_integer
from jaxals.errors import ConfigurationError, DataError
from jaxals.implicit_api._errors import brief
from jaxals.implicit_api._matrices import as_csr
from jaxals.implicit_api._settings import flag_of, generator_of

_USERS_AT_ONCE = 1000

Split = tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]


def train_test_split(ratings: Any, train_percentage: float = 0.8, random_state: Any = None) -> Split:
    """Put each entry into train with a probability, else into test; the same as implicit does for the same seed.

    Test entries of zero and below are in neither.

    Args:
        ratings: Sparse matrix of users x items.
        train_percentage: The probability, 0 to 1.
        random_state: Seed, `numpy.random.Generator`, `numpy.random.RandomState` or None.

    Returns:
        Train and test.

    Raises:
        DataError: It is no matrix.
        ConfigurationError: An argument lies outside its range.

    Example:
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api.evaluation import train_test_split
        >>> train, test = train_test_split(scipy.sparse.csr_matrix(np.ones((20, 20))), random_state=0)
        >>> train.nnz, test.nnz
        (301, 99)
    """
    _require_share("train_percentage", train_percentage, 1)
    matrix = _coo(ratings)
    is_train = generator_of(random_state).random(matrix.nnz) < train_percentage
    return _part(matrix, is_train), _part(matrix, ~is_train & (matrix.data > 0))


def leave_k_out_split(ratings: Any, K: int = 1, train_only_size: float = 0.0, random_state: Any = None) -> Split:
    """Put K random entries of each user with more than K + 1 into test, all others into train.

    Args:
        ratings: Sparse matrix of users x items.
        K: How many.
        train_only_size: Share of users who stay in train as a whole, 0 or more and below 1.
        random_state: Seed, `numpy.random.Generator`, `numpy.random.RandomState` or None.

    Returns:
        Train and test.

    Raises:
        DataError: It is no matrix.
        ConfigurationError: An argument lies outside its range.

    Example:
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api.evaluation import leave_k_out_split
        >>> train, test = leave_k_out_split(scipy.sparse.csr_matrix(np.ones((20, 20))), K=2, random_state=0)
        >>> train.nnz, test.nnz
        (360, 40)
    """
    require_integer("K", K, 1)
    K = int(K)  # whatever its width
    _require_share("train_only_size", train_only_size, np.nextafter(1, 0))
    matrix, generator = _coo(ratings), generator_of(random_state)
    users, user, count = np.unique(matrix.row, return_inverse=True, return_counts=True)
    is_split = count > K + 1
    if train_only_size > 0 and len(users):
        size = max(1, int(len(users) * train_only_size))
        is_split[generator.choice(len(users), size=size, replace=False)] = False
    order = np.lexsort((generator.random(matrix.nnz), user))
    place = np.empty(matrix.nnz, np.int64)
    place[order] = np.arange(matrix.nnz) - (count.cumsum() - count)[user[order]]
    is_test = is_split[user] & (place < K)
    return _part(matrix, ~is_test), _part(matrix, is_test)


def ranking_metrics_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    show_progress: bool = True,
    num_threads: int = 1,
) -> dict[str, float]:
    """Measure a model's lists of K by what users have in test.

    Args:
        model: Any with the method `recommend` of implicit's.
        train_user_items: Sparse matrix of users x items, what the model was trained on.
        test_user_items: Likewise, what it should find.
        K: Length of the lists.
        show_progress: Whether to draw a progress bar.
        num_threads: Nothing.

    Returns:
        Under "precision" all hits over Σ min(K, positives); under "map" the mean over users of Σ precision at each hit
        over min(K, positives); under "ndcg" the mean of Σ 1 / log2(1 + rank) over what an ideal list has; under "auc"
        the mean of the share of pairs of a positive and another item in the right order, those not in the list half.

    Raises:
        DataError: These are no such matrices, or there is no user with a positive in test.
        ConfigurationError: `K` is no integer >= 1, or the model has no `recommend`.

    Example:
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api.evaluation import ranking_metrics_at_k, train_test_split
        >>> from jaxals.implicit_api.nearest_neighbours import CosineRecommender
        >>> ratings = scipy.sparse.csr_matrix(np.tri(12))
        >>> train, test = train_test_split(ratings, random_state=0)
        >>> model = CosineRecommender()
        >>> model.fit(train, show_progress=False)
        >>> sorted(ranking_metrics_at_k(model, train, test, K=3, show_progress=False))
        ['auc', 'map', 'ndcg', 'precision']
    """
    require_integer("K", K, 1)
    K = int(K)  # whatever its width
    if not callable(getattr(model, "recommend", None)):
        raise ConfigurationError(f"`model` must have a method `recommend`; got {type(model).__name__}.")
    train, test = as_csr("train_user_items", train_user_items), as_csr("test_user_items", test_user_items)
    if train.shape != test.shape:
        raise DataError(
            f"`train_user_items` and `test_user_items` must be of one shape; got {train.shape} and {test.shape}."
        )
    test = _part(test.tocoo(), test.tocoo().data > 0)
    users = np.flatnonzero(np.diff(test.indptr)).astype(np.int32)
    if not len(users):
        raise DataError("`test_user_items` holds no value above zero, so that there is nothing to find.")
    parts = []
    with tqdm(total=len(users), disable=not flag_of("show_progress", show_progress)) as progress:
        for start in range(0, len(users), _USERS_AT_ONCE):
            batch = users[start : start + _USERS_AT_ONCE]
            ids, scores = model.recommend(batch, train[batch], N=K)
            parts.append(_measured(np.asarray(ids), np.asarray(scores), test[batch], K))
            progress.update(len(batch))
    hits, possible, precision, gain, auc = (np.concatenate(part) for part in zip(*parts, strict=True))
    auc = auc[~np.isnan(auc)]
    return {
        "precision": float(hits.sum()) / float(possible.sum()),
        "map": float(precision.mean()),
        "ndcg": float(gain.mean()),
        "auc": float(auc.mean()) if len(auc) else float("nan"),
    }


def precision_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    show_progress: bool = True,
    num_threads: int = 1,
) -> float:
    """Return "precision" of `ranking_metrics_at_k`."""
    return ranking_metrics_at_k(model, train_user_items, test_user_items, K, show_progress, num_threads)["precision"]


def mean_average_precision_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    show_progress: bool = True,
    num_threads: int = 1,
) -> float:
    """Return "map" of `ranking_metrics_at_k`."""
    return ranking_metrics_at_k(model, train_user_items, test_user_items, K, show_progress, num_threads)["map"]


def ndcg_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    show_progress: bool = True,
    num_threads: int = 1,
) -> float:
    """Return "ndcg" of `ranking_metrics_at_k`."""
    return ranking_metrics_at_k(model, train_user_items, test_user_items, K, show_progress, num_threads)["ndcg"]


def AUC_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    show_progress: bool = True,
    num_threads: int = 1,
) -> float:
    """Return "auc" of `ranking_metrics_at_k`."""
    return ranking_metrics_at_k(model, train_user_items, test_user_items, K, show_progress, num_threads)["auc"]


def _measured(ids: np.ndarray, scores: np.ndarray, test: Any, k: int) -> tuple[np.ndarray, ...]:
    """Return hits, most possible hits, average precision, gain and AUC of each user of a batch."""
    n_users, n_items = test.shape
    ids, scores = ids[:, : min(k, n_items)], scores[:, : min(k, n_items)]
    # Filtered out, or filled up: implicit marks either by the lowest float of a width.
    is_answer = (ids >= 0) & (scores > -np.finfo(np.float32).max)
    key = np.arange(n_users)[:, None] * np.int64(n_items) + ids
    liked = np.repeat(np.arange(n_users), np.diff(test.indptr)) * np.int64(n_items) + test.indices
    is_hit = is_answer & np.isin(key, liked)
    n_liked = np.diff(test.indptr)
    possible = np.minimum(k, n_liked)
    rank = np.arange(1, ids.shape[1] + 1)
    hits = is_hit.cumsum(axis=1)
    precision = (is_hit * hits / rank).sum(axis=1) / possible
    ideal = np.cumsum(1 / np.log2(np.arange(2, possible.max() + 2)))[possible - 1]
    gain = (is_hit / np.log2(1 + rank)).sum(axis=1) / ideal
    is_miss = is_answer & ~is_hit
    n_hits, n_other = is_hit.sum(axis=1), n_items - n_liked
    in_order = (is_miss * hits).sum(axis=1) + (n_hits + n_liked) / 2 * (n_other - is_miss.sum(axis=1))
    pairs = n_liked * n_other
    auc = np.where(pairs > 0, in_order / np.maximum(pairs, 1), np.nan)
    return n_hits, possible, precision, gain, auc


def _coo(ratings: Any) -> Any:
    # In the order of the format, as implicit draws a number for each entry.
    if isinstance(ratings, (scipy.sparse.coo_matrix, scipy.sparse.coo_array)) and ratings.ndim == 2:
        as_csr("ratings", ratings.tocsr())
        return ratings
    return as_csr("ratings", ratings).tocoo()


def _part(matrix: Any, keep: np.ndarray) -> scipy.sparse.csr_matrix:
    entries = matrix.data[keep], (matrix.row[keep], matrix.col[keep])
    return scipy.sparse.csr_matrix(entries, shape=matrix.shape, dtype=matrix.dtype)


def _require_share(name: str, value: Any, most: float) -> None:
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 <= value <= most:
        end = "<= 1" if most == 1 else "< 1"
        raise ConfigurationError(f"`{name}` must be a number >= 0 and {end}; got {brief(value)}.")
