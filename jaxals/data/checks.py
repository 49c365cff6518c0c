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


def require_held(value: np.ndarray, dtype: Any) -> None:
    """Refuse values that are 0 or infinite in the type that a device has them in: 0 is no entry, but padding.

    Devices take what lies below the smallest normal number of a type for 0, too.

    Args:
        value: Values of entries, none of them 0.
        dtype: A floating-point type; what is none holds no values.

    Raises:
        DataError: There is such a value.

    Example:
        >>> import numpy as np
        >>> from jaxals.data.checks import require_held
        >>> require_held(np.array([1e-50, 2.0]), np.float64)
    """
    if not value.size or not np.issubdtype(dtype, np.floating):
        return
    least, most = np.float64(np.finfo(dtype).tiny), np.float64(np.finfo(dtype).max)
    if least <= value.min() and value.max() <= most:  # most data have no dislikes
        return
    size = np.abs(value)
    for is_beyond, what, way in ((size < least, "small", "up"), (size > most, "large", "down")):
        if is_beyond.any():
            becomes = "0, which is no entry" if what == "small" else "infinite"
            wider = ', or compute in "float64"' if np.dtype(dtype) != np.float64 else ""
            raise DataError(
                f"A value of {value[np.argmax(is_beyond)]:.6g} is too {what} for {np.dtype(dtype)}, where it becomes "
                f"{becomes}; scale the values {way}, leave such entries out{wider}."
            )
