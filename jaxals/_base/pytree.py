"""The one decorator that turns a class into a frozen dataclass which JAX can trace. Device side."""

import dataclasses
import inspect
import typing
from collections.abc import Iterable

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from jaxals._base.arguments import require_function, told
from jaxals._base.settings import by_value
from jaxals.errors import ConfigurationError

# Of CPython: a class that cannot be written to, such as `int`.
_IS_IMMUTABLE = 1 << 8


def static(**kwargs: typing.Any) -> typing.Any:
    """Declare a field of a `pytree` that shapes the compiled program instead of flowing through it.

    Args:
        kwargs: As `dataclasses.field` takes them, such as `default`.

    Raises:
        ConfigurationError: A keyword is none of them.

    Returns:
        The field; another value of it is another program to compile.

    Example:
        >>> import jax
        >>> import jaxals
        >>> @jaxals.pytree
        ... class Blocks:
        ...     size: int = jaxals.static(default=64)
        >>> jax.tree.leaves(Blocks(32))
        []
    """
    known = set(inspect.signature(dataclasses.field).parameters) - {"metadata"}
    if unknown := sorted(set(kwargs) - known):
        raise ConfigurationError(
            f"`{unknown[0]}` must be one of {', '.join(sorted(known))}, as `dataclasses.field` has them."
        )
    if "default_factory" in kwargs:
        require_function("default_factory", kwargs["default_factory"], of=[])
    if {"default", "default_factory"} <= set(kwargs):
        raise ConfigurationError("`default` and `default_factory` must not both be given.")
    return dataclasses.field(metadata={"static": True}, **kwargs)


T = typing.TypeVar("T")


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and a pytree: fields are leaves unless declared with `static()`.

    Instances compare and hash by value, and print arrays by type and shape.

    Args:
        cls: A class with annotated fields. Its constructor may check them: JAX rebuilds instances without it.

    Returns:
        The same class, known to JAX.

    Raises:
        ConfigurationError: It is no class of one's own, or has a field without an annotation, which would be none.

    Example:
        >>> import jax
        >>> import jaxals
        >>> @jaxals.pytree
        ... class SquareRoot:
        ...     alpha: float = 1.0
        ...     power: float = jaxals.static(default=0.5)
        ...     def __call__(self, value):
        ...         return self.alpha * value**self.power, 1 + self.alpha * value**self.power
        >>> SquareRoot(2.0) == SquareRoot(2.0), jax.tree.leaves(SquareRoot(2.0))
        (True, [2.0])
    """
    _require_annotations(cls)
    cls = by_value(dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls))
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    static_names = [f.name for f in fields if f.metadata.get("static")]
    leaf_names = [f.name for f in fields if f.name not in static_names]

    def flatten(node: T) -> tuple[list[tuple[GetAttrKey, typing.Any]], tuple]:
        leaves = [(GetAttrKey(name), getattr(node, name)) for name in leaf_names]
        return leaves, tuple(getattr(node, name) for name in static_names)

    def unflatten(aux: tuple, children: Iterable) -> T:
        # Rebuilding skips `__init__`: JAX also puts tracers, shardings and placeholders where arrays were,
        # and a constructor that validates or is shape-checked would refuse them.
        node = object.__new__(cls)
        for name, value in zip(leaf_names + static_names, (*children, *aux), strict=True):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


def _require_annotations(cls: typing.Any) -> None:
    if not isinstance(cls, type) or cls.__flags__ & _IS_IMMUTABLE:
        raise ConfigurationError(f"`cls` must be a class of your own; got {told(cls)}.")
    if dataclasses.is_dataclass(cls) and "__dataclass_fields__" in vars(cls):
        raise ConfigurationError(f"`cls` must be a plain class; {cls.__name__} is a dataclass already.")
    for name, value in vars(cls).items():
        # A constant of the class has `typing.ClassVar`; a number that only looks like a field is never a leaf.
        is_like_a_field = isinstance(value, (dataclasses.Field, float, complex, np.ndarray, np.number, jax.Array))
        is_like_a_field |= isinstance(value, int) and not isinstance(value, bool)
        if is_like_a_field and not name.startswith("__") and name not in vars(cls).get("__annotations__", {}):
            raise ConfigurationError(
                f"`{name}` of the class {cls.__name__} must be annotated, as in `{name}: float = 1.0` if a field, "
                "by `typing.ClassVar` if it is none."
            )
