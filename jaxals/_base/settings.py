"""Settings as values: equal where they say the same, hashable, and short when printed. Host side."""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import cloudpickle
import jax
import numpy as np

T = TypeVar("T")

# An array of no more elements is printed whole.
_FEW = 4


@typing.dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass that compares and hashes by value, pickles, and prints on a line or two.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.settings import settings
        >>> @settings
        ... class Trainer:
        ...     scale: float = 0.1
        ...     penalty: object = None
        >>> Trainer() == Trainer(0.1), hash(Trainer()) == hash(Trainer()), Trainer(penalty=np.zeros(9))
        (True, True, Trainer(scale=0.1, penalty=float64[9]))
    """
    cls = by_value(dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls))
    # Optimisers are functions within functions, and penalties often are: more than pickle takes.
    cls.__reduce__ = _reduce  # type: ignore[assignment]
    return cls


def _reduce(one: Any) -> tuple:
    return _restored, (type(one), cloudpickle.dumps({name: getattr(one, name) for name in _names(one)}))


def _restored(cls: type[T], fields: bytes) -> T:
    return cls(**cloudpickle.loads(fields))


def by_value(cls: type[T]) -> type[T]:
    """Give a dataclass equality, hash and text by value, but for those that it has itself."""
    for name, method in (("__eq__", equal), ("__hash__", value_hash), ("__repr__", shown_fields)):
        if name not in vars(cls) or vars(cls)[name] is None:
            setattr(cls, name, method)
    return cls


def equal(one: Any, other: Any) -> Any:
    """Tell whether two dataclasses are of one class, with fields that are the same."""
    if type(one) is not type(other):
        return NotImplemented
    return all(same(getattr(one, name), getattr(other, name)) for name in _names(one))


def value_hash(one: Any) -> int:
    """Return the hash of a dataclass, equal for equal ones."""
    return hash((type(one), *(_digest(getattr(one, name)) for name in _names(one))))


def shown_fields(one: Any) -> str:
    """Print a dataclass with its fields as `shown` has them."""
    return f"{type(one).__qualname__}({', '.join(f'{name}={shown(getattr(one, name))}' for name in _names(one))})"


def same(one: Any, other: Any, met: set[tuple[int, int]] | None = None) -> bool:
    """Tell whether two values say the same: arrays by their numbers, functions by their code and what they closed over.

    Args:
        one: Anything; what JAX traces is the same as itself alone.
        other: Anything.
        met: Pairs of functions that have been met, which may refer to themselves: any difference shows elsewhere.

    Returns:
        Whether they say the same.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.settings import same
        >>> scaled = lambda factor: lambda value: factor * value
        >>> scaled = [scaled(factor) for factor in (2, 2, 3)]
        >>> same(scaled[0], scaled[1]), same(scaled[0], scaled[2]), same(np.arange(3), np.arange(3))
        (True, False, True)
    """
    met = set() if met is None else met
    if one is other or (id(one), id(other)) in met:
        return True
    inner = functools.partial(same, met=met)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return bool(one == other)
    if type(one) is not type(other) or isinstance(one, jax.core.Tracer):
        return False
    if isinstance(one, (np.ndarray, np.generic, jax.Array)):
        return one.dtype == other.dtype and np.array_equal(_numbers(one), _numbers(other))
    if isinstance(one, types.FunctionType):
        met.add((id(one), id(other)))
        return one.__code__ == other.__code__ and inner(_closed_over(one), _closed_over(other))
    if isinstance(one, functools.partial):
        return inner([one.func, one.args, one.keywords], [other.func, other.args, other.keywords])
    if isinstance(one, Mapping):
        return list(one) == list(other) and inner(list(one.values()), list(other.values()))
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(inner, one, other))
    return bool(one == other)


def shown(value: Any) -> str:
    """Print a value shortly: large arrays by type and shape, functions by name.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.settings import shown
        >>> shown(np.zeros((3, 4), np.float32)), shown(shown), shown({"a": [1.5, None]})
        ('float32[3,4]', 'shown', "{'a': [1.5, None]}")
    """
    if isinstance(value, (np.ndarray, jax.Array)):
        if isinstance(value, jax.core.Tracer) or value.size > _FEW:
            return f"{value.dtype}[{','.join(map(str, value.shape))}]"
        return str(_numbers(value).tolist())
    if isinstance(value, (types.FunctionType, type)):
        return value.__name__
    if isinstance(value, tuple) and hasattr(value, "_fields") and any(map(callable, value)):
        return type(value).__name__  # such as an optimiser of optax: a pair of functions
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(one)}" for key, one in value.items()) + "}"
    if type(value) is list:
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = zip(value._fields, value, strict=True)
        return f"{type(value).__name__}({', '.join(f'{name}={shown(one)}' for name, one in fields)})"
    if type(value) is tuple:
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    parameters = getattr(type(value), "__dataclass_params__", None)
    if parameters is not None and parameters.repr:
        return shown_fields(value)  # what dataclasses would print, but for arrays
    return repr(value)


def _digest(value: Any) -> Any:
    """Return what is equal wherever `same` holds, and can be hashed."""
    if isinstance(value, (int, float)):
        return hash(value)  # of NumPy's numbers, too, which are equal to Python's
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return str(value.dtype), value.shape
    if isinstance(value, types.FunctionType):
        return value.__code__
    if isinstance(value, functools.partial):
        return _digest(value.func)
    if isinstance(value, Mapping):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        return tuple(map(_digest, value))
    try:
        return hash(value)
    except TypeError:
        return type(value)


def _names(one: Any) -> Iterable[str]:
    return [field.name for field in dataclasses.fields(one)]


def _numbers(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def _closed_over(function: types.FunctionType) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            contents.append(None)
    return [function.__module__, function.__defaults__, function.__kwdefaults__, *contents]
