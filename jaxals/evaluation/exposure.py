"""Metrics of what lists show, whether or not it is relevant: novelty, coverage, Gini. Host side.

They see the lists of all users as item indices [users, k], best first, with -1 where a list is short.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from jaxals.data.interactions import Interactions

Lists = Int[np.ndarray, "users ranks"]


def self_information(data: Interactions) -> Float[np.ndarray, " items"]:
    """Compute how many bits it tells of a user to have each item: -log2 of the share of users who like it.

    The share is of the users with a value above zero for anything; an item that nobody has counts as one user's.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation.exposure import self_information
        >>> self_information(jaxals.Interactions.from_arrays([0, 1, 2, 3, 3], [0, 0, 0, 0, 1], shape=(9, 3)))
        array([0., 2., 2.])
    """
    liked = data.value > 0
    n_users = len(np.unique(data.user[liked]))
    counts = np.bincount(data.item[liked], minlength=data.n_items)
    return np.log2(max(n_users, 1)) - np.log2(np.maximum(counts, 1))


def novelty(lists: Lists, information: Float[np.ndarray, " items"]) -> Float[np.ndarray, " users"]:
    """Compute the mean self-information of each user's list, in bits; 0 for an empty one.

    Zhou et al. 2010 (their "surprisal"); the "mean inverse user frequency" of Vargas and Castells 2011.

    Args:
        lists: Item indices; -1 pads.
        information: From `self_information`.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import novelty
        >>> novelty(np.array([[0, 1], [2, -1]]), np.array([0.0, 2.0, 3.0]))
        array([1., 3.])
    """
    listed = lists >= 0
    return np.where(listed, information[lists], 0.0).sum(axis=1) / np.maximum(listed.sum(axis=1), 1)


def coverage(lists: Lists, n_items: int) -> float:
    """Compute the share of the catalog that is on anybody's list (Herlocker et al. 2004, section 4.2).

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import coverage
        >>> coverage(np.array([[0, 1], [1, -1]]), n_items=8)
        0.25
    """
    return float(np.count_nonzero(_times_listed(lists, n_items)) / n_items)


def gini(lists: Lists, n_items: int) -> float:
    """Compute the Gini index of how often each item is listed: 0 where all are alike, 1 where all lists are one item.

    Σ_j (2j - n - 1) p_j / (n - 1) over the n items of the catalog in ascending order of p_j, their share of the places
    in lists (Shani and Gunawardana 2011, section 8.3.7). Lower is fairer.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import gini
        >>> gini(np.array([[0, 1], [0, -1]]), n_items=3)
        0.6667
    """
    times = np.sort(_times_listed(lists, n_items))
    order = np.arange(1, n_items + 1)
    return float(np.sum((2 * order - n_items - 1) * times) / max((n_items - 1) * times.sum(), 1))


def _times_listed(lists: Lists, n_items: int) -> Int[np.ndarray, " items"]:
    return np.bincount(lists[lists >= 0], minlength=n_items)


CATALOG_METRICS: Mapping[str, Callable[[Lists, int], float]] = MappingProxyType({"coverage": coverage, "gini": gini})
"""One number for all lists together: there is none for each user, and no standard error."""


def is_lower_better(name: str) -> bool:
    """Tell whether a metric such as "gini@10" gets better by getting smaller."""
    return name.partition("@")[0] == "gini"
