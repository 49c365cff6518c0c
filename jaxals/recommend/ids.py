"""Raw ids of one side that grow: those of the catalog, and those that were folded in since. Host side."""

import dataclasses
from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd
from jaxtyping import Int

from jaxals.data.catalog import Catalog, Side
from jaxals.data.ids import as_index, extended, find, require_apart
from jaxals.recommend.sizes import late_limit


@dataclasses.dataclass(frozen=True, eq=False)
class Ids:
    """Ids by index, and indices by id, of users or of items.

    Attributes:
        catalog: Ids of training, whose table for look-ups is shared with all that grew from them.
        side: Which of them.
        late: Ids that came since.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> from jaxals.recommend.ids import Ids
        >>> ids = Ids.of(jaxals.Catalog(["ann", "bob"], [1]), "user")
        >>> grown, indices = ids.extended(pd.Index(["cat", "ann"]))
        >>> indices.tolist(), grown.whole().tolist(), len(ids)
        ([2, 0], ['ann', 'bob', 'cat'], 2)
    """

    catalog: Catalog
    side: Side
    late: pd.Index

    @classmethod
    def of(cls, catalog: Catalog, side: Side) -> "Ids":
        """Begin with the ids of training."""
        return cls(catalog, side, (catalog.users if side == "user" else catalog.items)[:0])

    def __len__(self) -> int:
        return len(self._trained) + len(self.late)

    def indices(self, ids: Iterable[Hashable]) -> Int[np.ndarray, " ids"]:
        """Turn raw ids into indices; an unknown one raises `UnknownIdError` and names the nearest known."""
        if not len(self.late):
            return _look_up(self.catalog, self.side, ids)
        ids = ids if isinstance(ids, (pd.Index, range)) else list(ids)
        if not len(ids):
            return np.zeros(0, np.int32)
        found = self._find(as_index(ids, f"{self.side} ids"))
        if (found < 0).any():
            whole = self.whole()
            return _look_up(Catalog(whole, []) if self.side == "user" else Catalog([], whole), self.side, ids)
        return found.astype(np.int32)

    def take(self, indices: Int[np.ndarray, " wanted"]) -> pd.Index:
        """Return the ids of some indices."""
        is_late = indices >= len(self._trained)
        if not is_late.any():
            return self._trained.take(indices)
        late = self.late.take(indices[is_late] - len(self._trained))
        if is_late.all():
            return late
        both = self._trained.take(indices[~is_late]).append(late)
        place = np.empty(len(indices), np.int64)
        place[np.concatenate([np.flatnonzero(~is_late), np.flatnonzero(is_late)])] = np.arange(len(indices))
        return both.take(place)

    def extended(self, given: pd.Index) -> tuple["Ids", Int[np.ndarray, " given"]]:
        """Add the ids among `given` that are new, and return the indices of all of them."""
        found = self._find(given)
        if (found >= 0).all():
            return self, found
        fresh = given[found < 0]
        for known in (self._trained, self.late):
            require_apart(known, fresh, f"{self.side} ids")
        grown = Ids(self.catalog, self.side, extended(self.late, fresh))
        if len(grown.late) > late_limit(len(self._trained)):
            whole = grown.whole()
            grown = Ids.of(Catalog(whole, []) if self.side == "user" else Catalog([], whole), self.side)
        return grown, grown._find(given)

    def whole(self) -> pd.Index:
        """Return all ids as one index."""
        return extended(self._trained, self.late) if len(self.late) else self._trained

    @property
    def _trained(self) -> pd.Index:
        return self.catalog.users if self.side == "user" else self.catalog.items

    def _find(self, wanted: pd.Index) -> Int[np.ndarray, " wanted"]:
        found = find(self._trained, wanted)
        missing = np.flatnonzero(found < 0)
        if len(missing) and len(self.late):
            late = find(self.late, wanted[missing])
            found[missing] = np.where(late >= 0, late + len(self._trained), -1)
        return found


def _look_up(catalog: Catalog, side: Side, ids: Iterable[Hashable]) -> Int[np.ndarray, " ids"]:
    return catalog.user_indices(ids) if side == "user" else catalog.item_indices(ids)
