"""Rows that were not seen in training: their entries beside those that were, over one catalog of both. Host side."""

import numpy as np
from jaxtyping import Int

from jaxals.data.catalog import Catalog, Side
from jaxals.data.ids import extended
from jaxals.data.interactions import Interactions


def merge(
    known: Interactions, new: Interactions, side: Side
) -> tuple[Interactions, Interactions, Int[np.ndarray, " changed"]]:
    """Put entries of new rows beside those of a model, in the place of all that the model had of these rows.

    Args:
        known: What the model was trained on.
        new: Entries of the new rows; the other side is looked up by raw id.
        side: "user" or "item": which rows are new.

    Returns:
        All entries, and the new ones alone, both over the known and the new ids, the new ones last; and the indices of
        the rows that changed.

    Raises:
        UnknownIdError: The other side of an entry is not in the catalog.

    Example:
        >>> import jaxals
        >>> from jaxals.recommend.fold_in import merge
        >>> known = jaxals.Interactions.from_arrays([0, 1], [0, 1], shape=(2, 2))
        >>> new = jaxals.Interactions.from_arrays([0, 0], [0, 1], catalog=jaxals.Catalog(["c"], [0, 1]))
        >>> together, alone, changed = merge(known, new, "user")
        >>> together.shape, len(alone), changed.tolist()
        ((3, 2), 2, [2])
    """
    user, user_row = np.unique(new.user, return_inverse=True)
    item, item_row = np.unique(new.item, return_inverse=True)
    user_ids, item_ids = new.catalog.users[user], new.catalog.items[item]
    before = known.catalog
    ids, given = (before.users, user_ids) if side == "user" else (before.items, item_ids)
    ids = extended(ids, given)
    catalog = Catalog(ids, before.items) if side == "user" else Catalog(before.users, ids)
    user, item = catalog.user_indices(user_ids), catalog.item_indices(item_ids)
    alone = Interactions.from_arrays(user[user_row], item[item_row], new.value, catalog=catalog)
    changed = user if side == "user" else item
    keep = ~np.isin(known.user if side == "user" else known.item, changed)
    together = Interactions.from_arrays(
        np.concatenate([known.user[keep], alone.user]),
        np.concatenate([known.item[keep], alone.item]),
        np.concatenate([known.value[keep], alone.value]),
        catalog=catalog,
    )
    return together, alone, changed
