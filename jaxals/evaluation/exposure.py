"""Metrics of what lists show, whether or not it is relevant: novelty, coverage, Gini. Host side.

They see the lists of all users as item indices [users, k], best first, with -1 where a list is short. Where ties leave
open what is on a list, `chance` says how likely each of its items is, and `outside` what items off the lists have of
them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from jaxals.data.interactions import Interactions
from jaxals.evaluation.places import Outside

Lists = Int[np.ndarray, "users ranks"]
Chance = Float[np.ndarray, "users ranks"] | None


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


def novelty(
    lists: Lists, information: Float[np.ndarray, " items"], chance: Chance = None, outside: Outside | None = None
) -> Float[np.ndarray, " users"]:
    """Compute the mean self-information of each user's list, in bits; 0 for an empty one.

    Zhou et al. 2010 (their "surprisal"); the "mean inverse user frequency" of Vargas and Castells 2011.

    Args:
        lists: Item indices; -1 pads.
        information: From `self_information`.
        chance: How likely each item is on the list; all are by default.
        outside: What items off the lists have of them; nothing by default.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import novelty
        >>> novelty(np.array([[0, 1], [2, -1]]), np.array([0.0, 2.0, 3.0]))
        array([1., 3.])
    """
    weight = np.where(lists >= 0, 1.0 if chance is None else chance, 0.0)
    told, places = (weight * information[lists]).sum(axis=1), weight.sum(axis=1)
    if outside is not None:
        told, places = told + outside.information, places + outside.places
    return told / np.maximum(places, 1)


def coverage(lists: Lists, n_items: int, chance: Chance = None, outside: Outside | None = None) -> float:
    """Compute the share of the catalog that is on anybody's list (Herlocker et al. 2004, section 4.2).

    Where ties leave lists open, that is the expected share.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import coverage
        >>> coverage(np.array([[0, 1], [1, -1]]), n_items=8)
        0.25
    """
    listed = lists >= 0
    likely = np.ones(listed.sum()) if chance is None else chance[listed]
    with np.errstate(divide="ignore"):  # -inf where an item is on a list for sure
        missed = np.bincount(lists[listed], np.log1p(-likely), n_items)
    return float(-np.expm1(missed if outside is None else missed + outside.missed).sum() / n_items)


def gini(lists: Lists, n_items: int, chance: Chance = None, outside: Outside | None = None) -> float:
    """Compute the Gini index of how often each item is listed: 0 where all are alike, 1 where all lists are one item.

    Σ_j (2j - n - 1) p_j / (n - 1) over the n items of the catalog in ascending order of p_j, their share of the places
    in lists (Shani and Gunawardana 2011, section 8.3.7). Lower is fairer. Where ties leave lists open, p_j is expected.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import gini
        >>> gini(np.array([[0, 1], [0, -1]]), n_items=3)
        0.6667
    """
    times = np.sort(times_listed(lists, n_items, chance, outside))
    order = np.arange(1, n_items + 1)
    return float(np.sum((2 * order - n_items - 1) * times) / max((n_items - 1) * times.sum(), 1))


def times_listed(
    lists: Lists, n_items: int, chance: Chance = None, outside: Outside | None = None
) -> Float[np.ndarray, " items"]:
    """Count for each item on how many lists it is, or is expected to be.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.exposure import times_listed
        >>> times_listed(np.array([[0, 1], [0, -1]]), 3)
        array([2., 1., 0.])
    """
    listed = lists >= 0
    times = np.bincount(lists[listed], None if chance is None else chance[listed], n_items).astype(np.float64)
    return times if outside is None else times + outside.times


CATALOG_METRICS: Mapping[str, Callable[[Lists, int, Chance, Outside | None], float]] = MappingProxyType(
    {"coverage": coverage, "gini": gini}
)
"""One number for all lists together: there is none for each user, and no standard error."""


def is_lower_better(name: str) -> bool:
    """Tell whether a metric such as "gini@10" gets better by getting smaller."""
    return name.partition("@")[0] == "gini"
