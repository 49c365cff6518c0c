"""What a run is, in plain words and numbers, so that two runs can be compared. Host side.

Numbers and names stand for themselves, arrays and ids for a checksum, functions for what they are called, the constants
and names they use, global numbers and arrays, and what they closed over. What they do with these is not compared: a + b
and a - b are the same. Optimisers of optax are such functions: their settings can be told apart, not named.
"""

import dataclasses
import functools
import json
import types
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd

Description = dict[str, Any]

_PLAIN = (str, int, float, bool, type(None))
_ARRAYS = (np.ndarray, np.generic, jax.Array)


def describe(**parts: Any) -> Description:
    """Describe settings and data by dotted names.

    Args:
        parts: Dataclasses, containers, arrays, functions, plain values.

    Returns:
        What JSON can hold.

    Example:
        >>> import jaxals
        >>> from jaxals.training.fingerprint import describe
        >>> describe(objective=jaxals.Objective.hkv(alpha=2.0))["objective.confidence.alpha"]
        2.0
    """
    return {name: value for part, whole in parts.items() for name, value in _named(part, whole)}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Say by name what differs between two descriptions, such as "`objective.regularization` was 0.1, is 0.2"."""
    changed = {}
    for name in {**there, **here}:
        was, now = (json.dumps(side[name]) if name in side else "not there" for side in (there, here))
        if was != now:
            changed[name] = f"`{name}` was {was}, is {now}"
    return changed


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        yield name, value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield name, type(value).__name__
        for field in dataclasses.fields(value):
            yield from _named(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield name, f"{jax.random.key_impl(value)} {np.asarray(jax.random.key_data(value)).tolist()}"
    elif isinstance(value, (np.ndarray, jax.Array)):
        yield name, _array(np.asarray(value))
    elif isinstance(value, pd.RangeIndex):
        yield name, f"{value.start} to {value.stop - 1} by {value.step}"
    elif isinstance(value, pd.Index):
        yield name, f"{len(value):,} ids, checksum {_checksum(map(repr, value.tolist()))}"
    elif isinstance(value, tuple) and all(isinstance(part, _PLAIN) for part in value):
        yield name, list(value)
    else:
        label = getattr(value, "__qualname__", type(value).__qualname__)
        yield name, f"{label}, checksum {_checksum([json.dumps(_structure(value, ()))])}"


def _array(array: np.ndarray) -> Any:
    if array.ndim == 0:
        return array.item() if array.dtype.kind in "biuf" else str(array)
    shape = ",".join(map(str, array.shape))
    return f"{array.dtype}[{shape}], checksum {zlib.crc32(array.tobytes())}"


def _checksum(texts: Any) -> int:
    checksum = 0
    for text in texts:
        checksum = zlib.crc32(text.encode(errors="surrogatepass") + b"\n", checksum)
    return checksum


def _structure(value: Any, above: tuple[int, ...]) -> Any:
    """Turn any value into what JSON can hold and what differs where the value does; addresses are left out."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if id(value) in above:
        return "itself"
    inner = functools.partial(_structure, above=(*above, id(value)))
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, types.MethodType):
        return [inner(value.__func__), inner(value.__self__)]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        closed_over = {name: _content(cell, inner) for name, cell in cells}
        # Global functions are left out: through those of libraries there is no end to them.
        used = {name: value.__globals__[name] for name in sorted(_names(value.__code__)) if name in value.__globals__}
        numbers = {name: inner(one) for name, one in used.items() if isinstance(one, (*_PLAIN, *_ARRAYS))}
        defaults = inner(value.__defaults__), inner(value.__kwdefaults__)
        return [value.__module__, value.__qualname__, inner(value.__code__), closed_over, numbers, defaults]
    if isinstance(value, types.CodeType):
        # Not the bytes of the code, which every version of Python writes in another way.
        return [list(value.co_names), [inner(constant) for constant in value.co_consts]]
    if isinstance(value, Mapping):
        return [[inner(key), inner(one)] for key, one in value.items()]
    if isinstance(value, (tuple, list)):
        return [type(value).__qualname__, *map(inner, value)]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(inner(one)) for one in value)
    is_dataclass = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if is_dataclass or isinstance(value, (np.ndarray, jax.Array, pd.Index)):
        return list(_named("", value))
    if wrapped := getattr(value, "__wrapped__", None):  # what `jax.jit` returns, among others
        return inner(wrapped)
    text = repr(value)
    # A default one has an address, which is another one in every process.
    told = getattr(value, "__qualname__", "") if " at 0x" in text else text
    return [type(value).__module__, type(value).__qualname__, told]


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function uses, functions inside it included; some of them are attributes."""
    inside = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inside))


def _content(cell: types.CellType, inner: Any) -> Any:
    try:
        return inner(cell.cell_contents)
    except ValueError:  # not assigned yet
        return None
