"""The one decorator that turns a class into a frozen dataclass which JAX can trace. Device side."""

import dataclasses
import typing
from collections.abc import Iterable

import jax
from jax.tree_util import GetAttrKey

from jaxals._base.settings import by_value


def static(**kwargs: typing.Any) -> typing.Any:
    """Declare a field of a `pytree` that shapes the compiled program instead of flowing through it.

    Args:
        kwargs: As `dataclasses.field` takes them, such as `default`.

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
