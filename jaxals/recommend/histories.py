"""What each user did: the interactions of training, and those that were folded in since. Host side."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int

from jaxals.data.catalog import Catalog, Side
from jaxals.data.interactions import Interactions

# Up to so many late entries are kept beside those of training, or a 64th of them where that is more.
_LATE_ENTRIES = 2**17


@dataclasses.dataclass(frozen=True, eq=False)
class Counted:
    """Entries of training, and how many each user and item has, counted once, however many histories share them."""

    trained: Interactions

    @functools.cached_property
    def user(self) -> Int[np.ndarray, " users"]:
        """Entries of each user."""
        return self.trained.counts("user")

    @functools.cached_property
    def item(self) -> Int[np.ndarray, " items"]:
        """Entries of each item."""
        return self.trained.counts("item")


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """Entries by user: those of training, and late ones, all that users have who changed since.

    Attributes:
        counted: The entries of training, shared with the histories that these grew from.
        user: Users who changed, ascending.
        start: Where each one's late entries begin, and the end.
        item: Items of the late entries, ascending within a user.
        value: Their values.

    Example:
        >>> import numpy as np
        >>> import jaxals
        >>> from jaxals.recommend.histories import Histories
        >>> known = jaxals.Interactions.from_arrays([0, 1], [0, 1], shape=(2, 2))
        >>> new = jaxals.Interactions.from_arrays([1, 1], [0, 1])
        >>> grown = Histories.of(known).replaced("user", np.array([1]), new, 2)
        >>> [array.tolist() for array in grown.of_users(np.array([0, 1]))]
        [[1, 2], [0, 0, 1], [1.0, 1.0, 1.0]]
    """

    counted: Counted
    user: Int[np.ndarray, " changed"]
    start: Int[np.ndarray, " changed_plus_1"]
    item: Int[np.ndarray, " entries"]
    value: Float[np.ndarray, " entries"]

    @classmethod
    def of(cls, trained: Interactions) -> "Histories":
        """Begin with the interactions of training."""
        nothing = np.zeros(0, np.int64), np.zeros(1, np.int64), trained.item[:0], trained.value[:0]
        return cls(Counted(trained), *nothing)

    @property
    def trained(self) -> Interactions:
        """The entries of training."""
        return self.counted.trained

    def counts(self, side: Side, n_rows: int) -> Int[np.ndarray, " rows"]:
        """Return how many entries each user, or each item, has."""
        known = self.counted.user if side == "user" else self.counted.item
        counts = np.pad(known, (0, n_rows - len(known)))
        if side == "user":
            counts[self.user] = np.diff(self.start)
        elif len(self.user):
            first, last = self._trained_range(self.user)
            counts -= np.bincount(self.trained.item[_listed(first, last - first)], minlength=n_rows)
            counts += np.bincount(self.item, minlength=n_rows)
        return counts

    def of_users(
        self, users: Int[np.ndarray, " users"]
    ) -> tuple[Int[np.ndarray, " users"], Int[np.ndarray, " entries"], Float[np.ndarray, " entries"]]:
        """Return how many entries users have, and the items and values of all of them, end to end."""
        first, last = self._trained_range(users)
        if not len(self.user):
            entries = _listed(first, last - first)
            return last - first, self.trained.item[entries], self.trained.value[entries]
        slot = np.minimum(np.searchsorted(self.user, users), len(self.user) - 1)
        is_late = self.user[slot] == users
        first = np.where(is_late, self.start[slot], first)
        count = np.where(is_late, self.start[slot + 1], last) - first
        entries, from_late = _listed(first, count), np.repeat(is_late, count)
        item, value = np.empty(len(entries), np.int32), np.empty(len(entries), self._value_dtype())
        for source, chosen in ((self.trained, ~from_late), (self, from_late)):
            item[chosen], value[chosen] = source.item[entries[chosen]], source.value[entries[chosen]]
        return count, item, value

    def first_entry(self, user: int) -> int:
        """Return where a user's entries begin in `whole`."""
        first, last = self._trained_range(self.user[self.user < user])
        late = self.start[len(first)]
        return int(self._trained_range(np.array([user]))[0][0] + late - (last - first).sum())

    def replaced(
        self, side: Side, changed: Int[np.ndarray, " changed"], new: Interactions, n_known: int
    ) -> "Histories":
        """Return histories in which all entries of some users, or of some items, are others; these stay as they are.

        Args:
            side: Whose: "user" or "item".
            changed: Which of them, ascending.
            new: Their entries, by the same indices.
            n_known: How many there were of that side; those from there on have no entries yet.
        """
        users, user, item, value = changed, new.user, new.item, new.value
        if side == "item":
            users = np.union1d(user, self._users_of(changed[changed < n_known]))
            count, kept_item, kept_value = self.of_users(users)
            keep = ~np.isin(kept_item, changed)
            user = np.concatenate([np.repeat(users, count)[keep], user])
            item, value = np.concatenate([kept_item[keep], item]), np.concatenate([kept_value[keep], value])
            order = np.lexsort((item, user))
            user, item, value = user[order], item[order], value[order]
        stay = ~np.isin(self.user, users)
        keep = np.repeat(stay, np.diff(self.start))
        user = np.concatenate([self._late_users()[keep], user])
        order = np.argsort(user, kind="stable")  # items ascend within each user already
        users = np.sort(np.concatenate([self.user[stay], users]))
        start = np.append(np.searchsorted(user[order], users), len(user))
        item, value = np.concatenate([self.item[keep], item])[order], np.concatenate([self.value[keep], value])[order]
        grown = Histories(self.counted, users, start, item.astype(np.int32), value)
        return grown if len(item) <= max(_LATE_ENTRIES, len(self.trained) // 64) else grown._settled()

    def whole(self, catalog: Catalog) -> Interactions:
        """Return all entries, over a catalog of all users and items."""
        if not len(self.user):
            known = self.trained
            return known if known.catalog is catalog else Interactions(known.user, known.item, known.value, catalog)
        user, item, value = self._together()
        return Interactions.from_arrays(user, item, value, catalog=catalog)

    def _settled(self) -> "Histories":
        user, item, value = self._together()
        return Histories.of(Interactions(user.astype(np.int32), item, value, self.trained.catalog))

    def _together(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        keep = ~np.isin(self.trained.user, self.user)
        user = np.concatenate([self.trained.user[keep], self._late_users()])
        order = np.argsort(user, kind="stable")
        item = np.concatenate([self.trained.item[keep], self.item])
        return user[order], item[order], np.concatenate([self.trained.value[keep], self.value])[order]

    def _users_of(self, items: Int[np.ndarray, " items"]) -> Int[np.ndarray, " users"]:
        if not len(items):  # new ones: the entries of training need no look
            return self.user[:0]
        late = self._late_users()[np.isin(self.item, items)]
        return np.concatenate([self.trained.user[np.isin(self.trained.item, items)], late])

    def _late_users(self) -> Int[np.ndarray, " entries"]:
        return np.repeat(self.user, np.diff(self.start))

    def _trained_range(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # In their type: NumPy would convert all of the entries to another one.
        users = users.astype(self.trained.user.dtype)
        return np.searchsorted(self.trained.user, users), np.searchsorted(self.trained.user, users, side="right")

    def _value_dtype(self) -> np.dtype:
        return np.result_type(self.trained.value, self.value)


def _listed(first: np.ndarray, count: np.ndarray) -> Int[np.ndarray, " entries"]:
    """Concatenate first, first + 1, ... for each count."""
    before = np.cumsum(count) - count
    return np.arange(int(count.sum())) + np.repeat(first - before, count)
