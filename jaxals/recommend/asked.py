"""Raw ids as people write them: one, or whatever holds several. Host side."""

from collections.abc import Hashable, Iterator, MappingView, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from pandas.api.types import is_bool_dtype

from jaxals._base.arguments import told
from jaxals.errors import DataError
from jaxals.recommend.ids import Ids as KnownIds

Several = Sequence[Hashable] | Set[Hashable] | MappingView | Iterator[Hashable]
Ids = Hashable | Several | np.ndarray | jax.Array | pd.Series | pd.Index | ExtensionArray


def listed_ids(name: str, ids: Any, known: KnownIds) -> list:
    """Return raw ids as a list: one, several, or those that a mask over all ids keeps.

    Args:
        name: Of the argument.
        ids: What was asked for.
        known: The ids of that side.

    Raises:
        DataError: A mask is of another length.

    Example:
        >>> import jaxals
        >>> from jaxals.recommend.asked import listed_ids
        >>> from jaxals.recommend.ids import Ids
        >>> known = Ids.of(jaxals.Catalog([7, 8, 9], [1]), "user")
        >>> [listed_ids("users", asked, known) for asked in (7, (7, 9), known.whole() > 8)]
        [[7], [7, 9], [9]]
    """
    if isinstance(ids, jax.Array) and not jnp.issubdtype(ids.dtype, jax.dtypes.prng_key):
        ids = np.asarray(ids)
    if isinstance(ids, (pd.Series, pd.Index, ExtensionArray)) and is_bool_dtype(ids.dtype) and not ids.isna().any():
        ids = np.asarray(ids, bool)
    if isinstance(ids, np.ndarray) and ids.dtype == bool and (whole := known.whole()).dtype != bool:
        if ids.shape != whole.shape:
            raise DataError(f"`{name}` must be a mask of {len(known)} flags, one for each id; got {told(ids)}.")
        return whole[ids].tolist()
    if isinstance(ids, np.ndarray):
        return list(np.atleast_1d(ids))
    # A tuple may be one id, where the catalog has such ones.
    is_id = isinstance(ids, (tuple, frozenset)) and bool(ids) and _holds(known, type(ids))
    is_list = isinstance(ids, (list, range, tuple, Set, MappingView, Iterator, pd.Series, pd.Index, ExtensionArray))
    return list(ids) if is_list and not is_id else [ids]


def _holds(known: KnownIds, kind: type) -> bool:
    return len(known) > 0 and isinstance(known.take(np.zeros(1, np.int64))[0], kind)
