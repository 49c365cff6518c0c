"""Values whose derivatives are given, not found by differentiating how they were computed. Device side.

`jax.custom_jvp` says the same, but JAX drops such a rule where it differentiates a `scan` or a linear solve backwards,
and the next derivative is then silently zero. Rules of primitives are never dropped.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

Slope = Callable[[Any, Any, Any], Array]


def with_slope(value: Array, depends: Any, slope: Slope) -> Array:
    """Return a value as it is, with a derivative by what it depends on, which can be differentiated again.

    Args:
        value: Any array; how it came about is not differentiated.
        depends: Pytree of arrays.
        slope: Function of the value, of `depends`, and of the tangents, laid out alike with None where there is none,
            that returns the value's tangent: linear in the tangents. All arrays that it reads must come from its
            arguments.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxals._base.slopes import with_slope
        >>> root = lambda x: with_slope(jnp.sqrt(x), x, lambda value, x, tangent: tangent / (2 * value))
        >>> float(jax.grad(root)(4.0)), float(jax.grad(jax.grad(root))(4.0))
        (0.25, -0.03125)
    """
    leaves, kind = jax.tree.flatten(depends)
    return _with_slope.bind(value, *leaves, slope=functools.partial(_by_leaves, slope, kind))


def _by_leaves(slope: Slope, kind: Any, value: Array, leaves: Sequence, tangents: Sequence) -> Array:
    return slope(value, kind.unflatten(leaves), kind.unflatten(tangents))


def _jvp(primals: Sequence, tangents: Sequence, *, slope: Callable) -> tuple[Array, Any]:
    value = _with_slope.bind(*primals, slope=slope)  # with its slope, for derivatives of higher order
    moves = [not isinstance(tangent, ad.Zero) and tangent.dtype != jax.dtypes.float0 for tangent in tangents[1:]]
    if not any(moves):
        return value, ad.Zero(jax.typeof(value).to_tangent_aval())
    moving = [tangent if is_moving else None for tangent, is_moving in zip(tangents[1:], moves, strict=True)]
    return value, slope(value, primals[1:], moving)


def _batched(arguments: Sequence, axes: Sequence, *, slope: Callable) -> tuple[Array, int]:
    size = next(array.shape[axis] for array, axis in zip(arguments, axes, strict=True) if axis is not None)
    value, axis = arguments[0], axes[0]
    value = jnp.broadcast_to(value, (size, *jnp.shape(value))) if axis is None else jnp.moveaxis(value, axis, 0)

    def of_all(value: Array, leaves: Sequence, tangents: Sequence) -> Array:
        of_leaves = tuple(axes[1:])
        of_tangents = tuple(
            None if tangent is None else axis for tangent, axis in zip(tangents, of_leaves, strict=True)
        )
        return jax.vmap(slope, (0, of_leaves, of_tangents))(value, tuple(leaves), tuple(tangents))

    return _with_slope.bind(value, *arguments[1:], slope=of_all), 0


_with_slope = Primitive("with_slope")
_with_slope.def_impl(lambda value, *leaves, slope: value)
_with_slope.def_abstract_eval(lambda value, *leaves, slope: value)
mlir.register_lowering(_with_slope, lambda context, value, *leaves, slope: [value])
ad.primitive_jvps[_with_slope] = _jvp
batching.primitive_batchers[_with_slope] = _batched
