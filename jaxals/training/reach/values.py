"""What instances, arrays and frames hold. Host side."""

import dataclasses
import functools
import types
import zlib
from typing import Any

import jax
import numpy as np
import pandas as pd

PLAIN = (str, int, float, bool, type(None))
ARRAYS = (np.ndarray, np.generic, jax.Array)


def attributes(value: Any) -> dict[str, Any]:
    """Return the fields of an instance and all that was set on it, but not what it computed from these and kept.

    Example:
        >>> import fractions
        >>> from jaxals.training.reach.values import attributes
        >>> attributes(fractions.Fraction(1, 2))
        {'_denominator': 2, '_numerator': 1}
    """
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    for cls in reversed(type(value).__mro__):
        names += [name for name, one in vars(cls).items() if isinstance(one, types.MemberDescriptorType)]
    own = getattr(value, "__dict__", {})
    names += [name for name in own if not isinstance(getattr(type(value), name, None), functools.cached_property)]
    return {name: getattr(value, name) for name in dict.fromkeys(names) if hasattr(value, name)}


def array_text(value: Any) -> Any:
    """Return an array's type, shape and checksum, a scalar's number, and of a random key all there is.

    Example:
        >>> import numpy as np
        >>> from jaxals.training.reach.values import array_text
        >>> array_text(np.zeros(3)), array_text(np.float64(3.0))
        ('float64[3], checksum 2747386400', 3.0)
    """
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"{jax.random.key_impl(value)} {np.asarray(jax.random.key_data(value)).tolist()}"
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item() if array.dtype.kind in "biuf" else str(array)
    # Objects lie elsewhere in every process.
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    if isinstance(value, np.ma.MaskedArray):
        content += np.ma.getmaskarray(value).tobytes()
    return f"{array.dtype}[{','.join(map(str, array.shape))}], checksum {zlib.crc32(content)}"


def ids_text(index: pd.Index) -> str:
    """Return how many ids there are, and their checksum."""
    if isinstance(index, pd.RangeIndex):
        return f"{index.start} to {index.stop - 1} by {index.step}"
    checksum = 0
    for one in index.tolist():
        checksum = zlib.crc32(repr(one).encode(errors="surrogatepass") + b"\n", checksum)
    return f"{len(index):,} ids, checksum {checksum}"


def frame_texts(frame: pd.Series | pd.DataFrame) -> list[Any]:
    """Return what tells a frame from others."""
    columns = frame.to_frame() if isinstance(frame, pd.Series) else frame
    parts = [array_text(columns.iloc[:, k].to_numpy()) for k in range(columns.shape[1])]
    return [ids_text(columns.index), ids_text(columns.columns), *parts]
