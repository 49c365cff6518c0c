"""What an argument may be, by its kind: checks at the entries that people call. Host side.

Each refuses in one sentence: the argument, what it may be, what it was. Whatever has a shape and a dtype passes for an
array, tracers too, since entries are called within compiled functions as well.
"""

import dataclasses
import inspect
import itertools
import os
import pathlib
import types
from collections.abc import Iterable, MappingView, Reversible, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxals.errors import ConfigurationError, DataError, JaxalsError

# Longer texts are cut in messages.
_MOST_CHARACTERS = 60
_MOST_OF_A_LABEL = 120
# How many of a list are told.
_FEW = 8
_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", dict: "{}", set: "{}", frozenset: "{}"}
# Where pandas' is meant, others are told apart.
_OF_SEVERAL_LIBRARIES = ("DataFrame", "Series", "Index")
# A file system has no longer name.
_MOST_BYTES_OF_A_NAME = 255
_ARRAYS = (np.ndarray, np.generic, jax.Array)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def told(value: Any) -> str:
    """Say what a value is, for messages: on one line, however large it is.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.arguments import told
        >>> told(2.0), told(np.zeros((3, 2))), told(print), told(dict), told({"a": 1}), told("x" * 99)[-6:]
        ('2.0', 'float64[3,2]', 'the function print', 'the class dict', "{'a': 1}", 'xxx...')
    """
    if isinstance(value, _ARRAYS):
        if isinstance(value, (np.ndarray, np.generic)) and not value.shape and value.dtype.kind in "biufcUM":
            return told(value.item()) if value.dtype.kind != "M" else str(value)
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, _FUNCTIONS):
        return f"the function {value.__name__}"
    if isinstance(value, int) and abs(value) >= 2**128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, bytes, int, float, complex, type(None), type(...), pathlib.PurePath)):
        return _cut(repr(value))
    if type(value) in _BRACKETS:
        return _told_of_many(value)
    shape, kind = getattr(value, "shape", None), type(value).__name__
    of_shape = f" of shape {shape}" if isinstance(shape, tuple) else ""
    library = type(value).__module__.split(".")[0]
    if kind in _OF_SEVERAL_LIBRARIES and library != "pandas":
        return f"a {kind} of {library}{of_shape}"
    return f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}{of_shape}"


def told_label(value: Any) -> str:
    """Say which id or column: as Python writes it, whatever kind it is, unless that is long or of several lines.

    Example:
        >>> import datetime
        >>> from jaxals._base.arguments import told_label
        >>> told_label(datetime.date(2024, 2, 1)), told_label("x" * 999)[-6:]
        ('datetime.date(2024, 2, 1)', 'xxx...')
    """
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return told(value)
    is_short = len(text) <= _MOST_OF_A_LABEL and "\n" not in text and " at 0x" not in text
    return text if is_short else told(value)


def _told_of_many(value: Any) -> str:
    brackets = _BRACKETS[type(value)]
    few = itertools.islice(value, _FEW)
    parts = [f"{told(one)}: {told(value[one])}" if isinstance(value, dict) else told(one) for one in few]
    parts += ["..."] if len(value) > _FEW else [""] if isinstance(value, tuple) and len(value) == 1 else []
    return brackets[0] + ", ".join(parts).rstrip(" ") + brackets[1]


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."


def require_kind(
    name: str, value: Any, kind: type | tuple[type, ...], what: str, error: type[JaxalsError] = ConfigurationError
) -> None:
    """Refuse what is no instance of a class, or of one of several.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.arguments import require_kind
        >>> require_kind("generator", np.random.default_rng(0), np.random.Generator, "from `np.random.default_rng`")
    """
    if not isinstance(value, kind):
        raise error(f"`{name}` must be {what}; got {told(value)}.")


def require_protocol(name: str, value: Any, protocol: Any, what: str, error: type[JaxalsError]) -> None:
    """Refuse what lacks the methods of a protocol."""
    # A class has the methods of its instances, and the protocol asks for no more.
    if isinstance(value, type) or not isinstance(value, protocol):
        raise error(f"`{name}` must be {what}; got {told(value)}.")


def is_leaf(value: Any) -> bool:
    """Tell whether JAX takes a value for one leaf: what is no array then cannot be passed to compiled functions."""
    return jax.tree_util.all_leaves([value])


def require_flag(name: str, value: Any) -> None:
    """Refuse anything but True and False, of Python or of NumPy."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigurationError(f"`{name}` must be True or False; got {told(value)}.")


def require_function(name: str, value: Any, of: Sequence[str], may_be_none: bool = False) -> None:
    """Refuse what cannot be called with some arguments, whose names are for the message.

    Example:
        >>> from jaxals._base.arguments import require_function
        >>> require_function("measure", lambda factors: {}, of=["factors"])
    """
    if may_be_none and value is None:
        return
    what = f"a function of {' and '.join(of) or 'nothing'}{', or None' if may_be_none else ''}"
    # Such as `int`, which makes no sense of them; of nothing, `list` makes an empty one.
    is_type = bool(of) and isinstance(value, type) and value.__module__ == "builtins"
    if is_type or not callable(value):
        raise ConfigurationError(f"`{name}` must be {what}; got {told(value)}.")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of C, some of which do not say what they take
        return
    try:
        signature.bind(*of)
    except TypeError:
        raise ConfigurationError(f"`{name}` must be {what}; {told(value)} takes other arguments.") from None


def require_text(name: str, value: Any, what: str = "a string", error: type[JaxalsError] = ConfigurationError) -> None:
    """Refuse anything but a string."""
    if not isinstance(value, str):
        raise error(f"`{name}` must be {what}; got {told(value)}.")


def checked_path(name: str, value: Any, error: type[JaxalsError]) -> pathlib.Path:
    """Return the path that an argument names.

    Raises:
        JaxalsError: It is no string and no path, or no system could have such a path.

    Example:
        >>> from jaxals._base.arguments import checked_path
        >>> from jaxals.errors import ConfigurationError
        >>> checked_path("folder", "a/b", ConfigurationError).name
        'b'
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise error(f"`{name}` must be a path, a string or `pathlib.Path`; got {told(value)}.")
    text = os.fspath(value)
    if isinstance(value, str) and "://" in value:  # a path would lose a slash of it
        raise error(f"`{name}` must be the path of a file or folder on this machine; got the address {told(value)}.")
    try:
        names = pathlib.Path(text).parts
        is_possible = (
            bool(text) and "\0" not in text and all(len(os.fsencode(name)) <= _MOST_BYTES_OF_A_NAME for name in names)
        )
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise error(f"`{name}` must be the path of a file or folder; got {told(text)}.")
    return pathlib.Path(text)


def require_array(
    name: str,
    value: Any,
    ndim: int | None,
    kind: Any,
    what: str,
    error: type[JaxalsError] = ConfigurationError,
    is_abstract: bool = False,
) -> None:
    """Refuse what is no array of some rank and kind of numbers.

    Args:
        name: Of the argument.
        value: It.
        ndim: Its rank, None for any.
        kind: Of its dtype, such as `jnp.floating`.
        what: What it must be, in words.
        error: To raise.
        is_abstract: Whether it is what `jax.eval_shape` made.
    """
    is_array = isinstance(value, (*_ARRAYS, jax.ShapeDtypeStruct) if is_abstract else _ARRAYS) and not isinstance(
        value, np.ma.MaskedArray
    )
    if not is_array or (ndim is not None and len(value.shape) != ndim) or not jnp.issubdtype(value.dtype, kind):
        raise error(f"`{name}` must be {what}; got {told(value)}.")


def require_indices(users: Any) -> None:
    """Refuse what is no batch of user indices, as scorers take them."""
    require_array("users", users, 1, jnp.integer, "a 1-D array of user indices", DataError)


def require_key(name: str, value: Any) -> None:
    """Refuse anything but one key of `jax.random`."""
    is_key = isinstance(value, jax.Array) and not value.shape
    if not is_key or not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise ConfigurationError(f"`{name}` must be one `jax.random.key`; got {told(value)}.")


def require_mesh(mesh: Any) -> None:
    """Refuse what is no mesh of one axis "rows", and not None.

    Raises:
        ConfigurationError: It is something else.
    """
    if mesh is None:
        return
    require_kind("mesh", mesh, Mesh, "a mesh from `make_mesh`, or None for one device")
    if mesh.axis_names != ("rows",):
        raise ConfigurationError(f'`mesh` must have one axis, "rows", as `make_mesh` makes it; got {mesh.axis_names}.')


def checked_dtype(name: str, value: Any, *besides: Any) -> np.dtype:
    """Return the type that an argument names: float32 or float64, or one of some others.

    Raises:
        ConfigurationError: It names none, or one that JAX does not have.
    """
    try:
        dtype = None if value is None else jnp.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype not in (np.dtype(np.float32), np.dtype(np.float64), *map(np.dtype, besides)):
        raise ConfigurationError(f'`{name}` must be "float32" or "float64"; got {told(value)}.')
    return dtype


def listed(
    name: str, value: Any, what: str, error: type[JaxalsError] = ConfigurationError, is_ordered: bool = False
) -> list[Any]:
    """Return what an iterable holds; one that is a text, or a mapping, is none.

    Raises:
        JaxalsError: It is no iterable, or a set where `is_ordered` says that the order means something.
    """
    if is_ordered:
        require_order(f"`{name}`", value, error)
    is_other = isinstance(value, (str, bytes, dict)) or (isinstance(value, _ARRAYS) and not value.shape)
    if is_other or isinstance(value, type) or not isinstance(value, Iterable):
        raise error(f"`{name}` must be {what}; got {told(value)}.")
    try:
        return list(value)
    except (TypeError, NotImplementedError):  # such as a sparse matrix by diagonals, or by blocks
        raise error(f"`{name}` must be {what}; got {told(value)}.") from None


def listed_names(name: str, value: Any) -> list[str]:
    """Return a list of names; one name is a list of it.

    Raises:
        ConfigurationError: It is something else.
    """
    names = [value] if isinstance(value, str) else listed(name, value, "a name, or a list of names")
    for one in names:
        require_text(name, one, "a name, or a list of names")
    return names


def field_names(thing: Any) -> list[str]:
    """Return the names of a dataclass's fields, none of what is no dataclass."""
    is_instance = dataclasses.is_dataclass(thing) and not isinstance(thing, type)
    return [field.name for field in dataclasses.fields(thing)] if is_instance else []


def first_line(error: Exception) -> str:
    r"""Return what an error of others says first, without its full stop, for a sentence of ours.

    Example:
        >>> from jaxals._base.arguments import first_line
        >>> first_line(ValueError("no such column.\nlook again")), first_line(FileNotFoundError(2, "No such file", "a"))
        ('no such column', 'No such file')
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def told_error(error: Exception) -> str:
    r"""Say what came out of a function that a user has written, on one line.

    Example:
        >>> from jaxals._base.arguments import told_error
        >>> told_error(ValueError("No.\nReally."))
        'ValueError, No'
    """
    return f"{type(error).__name__}, {first_line(error)}"


def require_order(what: str, value: Any, error: type[JaxalsError] = DataError) -> None:
    """Refuse a set where the order of its members means something; the keys of a dictionary have one.

    Example:
        >>> from jaxals._base.arguments import require_order
        >>> require_order("`names`", {"b": 1, "a": 2}.keys())
    """
    if isinstance(value, Set) and not isinstance(value, (Reversible, MappingView)):
        raise error(
            f"{what} must have an order, which a {type(value).__name__} has not; pass a list, or `sorted(...)`."
        )
