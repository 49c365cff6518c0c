"""How likely an item is on a list of k where ties leave that open, and how often all lists show it. Host side."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Outside:
    """What items have of lists of one length that are not on them, but tie with the last place.

    Attributes:
        times: For each item, how many lists it is expected to be on.
        missed: For each item, the logarithm of the probability that it is on none of them.
        places: For each user, how many places of the list such items are expected to take.
        information: For each user, the self-information that they are expected to bring with them.
    """

    times: Float[np.ndarray, " items"]
    missed: Float[np.ndarray, " items"]
    places: Float[np.ndarray, " users"]
    information: Float[np.ndarray, " users"]


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """What ties leave open in lists: every order of tied items is as likely.

    Attributes:
        first: For each place of each list, how many items are ahead of all that tie with the one there.
        tied: How many tie with it, itself included, on the list or not.
        is_level: Of each relevant item, user by user, whether it ties with the last place of a list that is open there.
        outside: By length of the lists, what items off them have of them, where a metric needed that.

    Example:
        >>> import numpy as np
        >>> from jaxals.evaluation.places import Places
        >>> places = Places(np.array([[0, 1, 1]]), np.array([[1, 4, 4]]), np.array([True]))
        >>> places.chance(1), places.chance(3)
        (array([[1., 0., 0.]]), array([[1. , 0.5, 0.5]]))
    """

    first: Int[np.ndarray, "users ranks"]
    tied: Int[np.ndarray, "users ranks"]
    is_level: Bool[np.ndarray, " relevant"]
    outside: Mapping[int, Outside] = dataclasses.field(default_factory=dict)

    def chance(self, k: int) -> Float[np.ndarray, "users ranks"]:
        """Return how likely the item at each place is among the best k."""
        k = min(k, np.iinfo(np.int32).max)  # there are no more items, and NumPy's integers overflow
        return np.clip((k - self.first) / self.tied, 0.0, 1.0)

    def is_open(self, k: int) -> Bool[np.ndarray, " users"]:
        """Tell whose lists of k may have items that are off the lists that were kept."""
        if not self.first.shape[1]:
            return np.zeros(len(self.first), bool)
        ends = self.first[:, -1] + self.tied[:, -1]
        return (ends > self.first.shape[1]) & (k > self.first[:, -1])

    def found(
        self,
        lists: Int[np.ndarray, "users ranks"],
        row: Int[np.ndarray, " relevant"],
        item: Int[np.ndarray, " relevant"],
        n_items: int,
        k: int,
    ) -> Float[np.ndarray, " relevant"]:
        """Return how likely each relevant item, of the user in a row of the lists, is among the best k."""
        if not lists.size:
            return np.zeros(len(item))
        chance = self.chance(k)
        found = np.where(self.is_level, chance[row, -1], 0.0)
        wanted = row * np.int64(n_items) + item  # ascends
        user, place = np.nonzero(lists >= 0)
        listed = user * np.int64(n_items) + lists[user, place]
        at = np.minimum(np.searchsorted(wanted, listed), len(wanted) - 1)
        is_wanted = wanted[at] == listed
        found[at[is_wanted]] = chance[user[is_wanted], place[is_wanted]]
        return found


class OutsideCount:
    """Adds up what items off the lists have of them, batch by batch.

    Args:
        lengths: Of the lists.
        n_items: Number of items.
        information: Self-information of each item, or None.
    """

    def __init__(self, lengths: Sequence[int], n_items: int, information: Float[np.ndarray, " items"] | None):
        self._lengths, self._information = lengths, information
        self._times = {k: np.zeros(n_items) for k in lengths}
        self._missed = {k: np.zeros(n_items) for k in lengths}
        self._of_users: dict[int, list[np.ndarray]] = {k: [] for k in lengths}

    def add(
        self,
        first: Int[np.ndarray, "batch ranks"],
        tied: Int[np.ndarray, "batch ranks"],
        outside: Bool[Array, "filled_up items"],
    ) -> None:
        """Add users by the last places of their lists, and the items off them that tie with these; reads no others."""
        here = Places(first, tied, np.zeros(0, bool))
        for k in self._lengths:
            of_users = np.zeros((2, len(first)))
            is_open = np.flatnonzero(here.is_open(k))
            if len(is_open):
                cells = np.asarray(outside)[is_open].astype(np.float64)  # a transfer that few batches need
                chance = here.chance(k)[is_open, -1]
                self._times[k] += chance @ cells
                self._missed[k] += np.log1p(-chance) @ cells
                of_users[0, is_open] = chance * cells.sum(axis=1)
                if self._information is not None:
                    of_users[1, is_open] = chance * (cells @ self._information)
            self._of_users[k].append(of_users)

    def result(self) -> dict[int, Outside]:
        """Return the sums, by length of the lists."""
        return {
            k: Outside(self._times[k], self._missed[k], *np.concatenate(self._of_users[k], axis=1))
            for k in self._lengths
        }
