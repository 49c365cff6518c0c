"""Raw ids as people write them: one, or whatever holds several. Host side."""

from collections.abc import Hashable, Iterable, Iterator, MappingView, Sequence, Set
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxals._base.arguments import told
from jaxals.data.ids import as_index
from jaxals.errors import DataError
from jaxals.recommend.ids import Ids as KnownIds


@runtime_checkable
class OfArrow(Protocol):
    """A column, or a table of one, of a library that hands it over as Arrow does."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return a capsule of a stream."""


Ids = np.ndarray | jax.Array | Hashable | Iterable[Hashable] | OfArrow

# What an array, column or the like has, of whatever library.
_OF_ARRAYS = ("__array__", "__arrow_c_array__", "__arrow_c_stream__")


def listed_ids(name: str, ids: Any, known: KnownIds) -> list | pd.Index:
    """Return raw ids as a list or an index: one, several, or those that a mask over all ids keeps.

    Args:
        name: Of the argument.
        ids: What was asked for.
        known: The ids of that side.

    Raises:
        DataError: A mask is of another length or order, or what was asked for holds no ids.

    Example:
        >>> import jaxals
        >>> from jaxals.recommend.asked import listed_ids
        >>> from jaxals.recommend.ids import Ids
        >>> known = Ids.of(jaxals.Catalog([7, 8, 9], [1]), "user")
        >>> [list(listed_ids("users", asked, known)) for asked in (7, (7, 9), known.whole() > 8)]
        [[7], [7, 9], [9]]
    """
    if hasattr(ids, "as_py"):  # what a loop over an array of Arrow gives
        ids = ids.as_py()
    if _is_one(ids, known):
        return [ids]
    several: Any = list(ids) if isinstance(ids, (list, tuple, Set, Iterator)) else _index_of(ids, known)
    is_mask = not isinstance(ids, Set) and len(several) > 0 and _are_flags(several) and not _has_flags(known)
    return _kept(name, ids, several, known) if is_mask else several


def _is_one(ids: Any, known: KnownIds) -> bool:
    if isinstance(ids, np.generic) or _is_key(ids):
        return True
    if any(hasattr(ids, name) for name in _OF_ARRAYS):
        return False
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        return True
    if isinstance(ids, (range, Iterator, MappingView)) or not isinstance(ids, Hashable):
        return False
    # A tuple may be one id, where the catalog has such ones; other things that can be hashed are.
    if not isinstance(ids, (Sequence, Set)):
        return True
    return len(ids) > 0 and len(known) > 0 and isinstance(known.take(np.zeros(1, np.int64))[0], type(ids))


def _index_of(ids: Any, known: KnownIds) -> pd.Index:
    if isinstance(ids, (np.ndarray, jax.Array)):
        ids = np.atleast_1d(np.asarray(ids))
    return as_index(ids, f"{known.side} ids")


def _is_key(ids: Any) -> bool:
    return isinstance(ids, jax.Array) and jnp.issubdtype(ids.dtype, jax.dtypes.prng_key)


def _are_flags(several: list | pd.Index) -> bool:
    if isinstance(several, pd.Index):
        return several.dtype == bool
    return all(isinstance(one, (bool, np.bool_)) for one in several)


def _has_flags(known: KnownIds) -> bool:
    """Tell whether a truth value may be an id."""
    whole = known.whole()
    return whole.dtype == bool or (whole.dtype == object and any(isinstance(one, bool) for one in whole))


def _kept(name: str, ids: Any, flags: list | pd.Index, known: KnownIds) -> pd.Index:
    whole = known.whole()
    if len(flags) != len(known):
        raise DataError(f"`{name}` must be a mask of {len(known)} flags, one for each id; got {told(ids)}.")
    # pandas takes such a mask by its index, which may be in another order than the catalog.
    if isinstance(ids, pd.Series) and not (_counts_up(ids.index) or ids.index.equals(whole)):
        raise DataError(
            f"`{name}` is a mask whose index is neither 0, 1, 2, ... nor the ids of the catalog in their order; pass "
            "`mask.index[mask]`."
        )
    return whole[np.asarray(flags, bool)]


def _counts_up(index: pd.Index) -> bool:
    return index.equals(pd.RangeIndex(len(index)))
