"""Checks of what interactions are made of, and selected by. Host side."""

from typing import Any

import numpy as np

from jaxals._base.arguments import told
from jaxals.errors import DataError


def checked_shape(shape: Any) -> tuple[int, int]:
    """Return the numbers of users and of items that a shape names."""
    is_pair = isinstance(shape, (tuple, list)) and len(shape) == 2
    if not is_pair or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise DataError(f"`shape` must be a pair of counts, of users and of items; got {told(shape)}.")
    return int(shape[0]), int(shape[1])


def checked_selection(keep: Any, n_entries: int) -> np.ndarray:
    """Return what selects entries: a mask of one flag for each, or ascending positions."""
    given = keep
    try:
        keep = np.asarray(given)
    except (TypeError, ValueError, OverflowError):  # lists in lists, of several lengths
        keep = np.array(None)
    is_mask = keep.dtype == bool and keep.shape == (n_entries,)
    if not is_mask:
        is_list = keep.ndim == 1 and (np.issubdtype(keep.dtype, np.integer) or not keep.size)
        keep = keep.astype(np.int64) if is_list else keep
        is_inside = is_list and not ((keep < 0) | (keep >= n_entries)).any()
        if not is_inside or not (keep[1:] > keep[:-1]).all():
            raise DataError(
                f"`keep` must be a mask of {n_entries:,} flags, or ascending positions below {n_entries:,}; got "
                f"{told(given)}."
            )
    return keep
