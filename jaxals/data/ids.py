"""Raw ids as an index: looking them up, and adding to them. Host side."""

from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd
from jaxtyping import Int

from jaxals.errors import DataError


def as_index(ids: Iterable[Hashable], where: str) -> pd.Index:
    """Hold ids in an index.

    Raises:
        DataError: An id cannot be hashed or is no Unicode.
    """
    if isinstance(ids, range):
        return pd.RangeIndex(ids.start, ids.stop, ids.step)
    try:
        index = ids if isinstance(ids, pd.Index) else pd.Index(list(ids), tupleize_cols=False)
        if index.dtype == object:
            list(map(hash, index))  # pandas takes a single id for unique without hashing it
    except TypeError as error:
        raise DataError(f"The {where} must be hashable: {error}.") from None
    except (ValueError, OverflowError) as error:  # text that is not Unicode
        raise DataError(f"The {where} cannot be used: {error}.") from None
    return index


def find(index: pd.Index, wanted: pd.Index) -> Int[np.ndarray, " wanted"]:
    """Return where each wanted id stands in an index, -1 where it does not."""
    return index.get_indexer(wanted)


def extended(index: pd.Index, given: pd.Index) -> pd.Index:
    """Append the ids that an index has not, and change none of those that it has."""
    fresh = given[find(index, given) < 0]
    return index.append(fresh) if len(fresh) else index
