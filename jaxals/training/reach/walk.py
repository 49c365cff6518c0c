"""The walk over what a value reaches: the user's code is followed, what is installed is named. Host side.

Functions, classes, partial and wrapped functions, and the user's modules are followed, with what they read. Of JAX,
NumPy, this library and all else that is installed the versions stand for the code.
"""

import collections
import dataclasses
import enum
import functools
import hashlib
import io
import json
import logging
import threading
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from jaxals.training.reach import bytecode
from jaxals.training.reach.origin import home, is_installed, is_of_python, is_users
from jaxals.training.reach.reads import made_with, reads
from jaxals.training.reach.values import ARRAYS, PLAIN, array_text, attributes, frame_texts, ids_text

# In the place of a digest, where code is compiled and not Python's.
UNTOLD = "cannot be told"

# They hold what happened, or who waits, and no numbers.
_NO_PART = (
    logging.Logger,
    io.IOBase,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
    type(threading.Lock()),
    type(threading.RLock()),
)
_DESCRIPTORS = (staticmethod, classmethod, property, functools.cached_property, functools.partialmethod)
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
# Written anew in every process, addresses in it, around a function that is checked as it is called.
_CHECKS = "<@beartype("
# What annotates, prints and pickles computes nothing.
_OF_TOOLS = ("__annotate__", "__annotate_func__", "_abc_impl", "__repr__", "__str__", "__hash__", "__reduce__")


class Reach:
    """Turns values into what JSON can hold, and gathers the code that they reach on the way.

    Attributes:
        code: A digest by the name of each function and class, and by "name:constant" the constants that these read.

    Example:
        >>> from jaxals.training.reach.walk import Reach
        >>> reach = Reach()
        >>> reach.structure(eval("lambda r: WEIGHT * r", {"WEIGHT": 2.0})), reach.code["<lambda>:WEIGHT"]
        ({'code': '<lambda>'}, 2.0)
    """

    def __init__(self) -> None:
        self.code: dict[str, Any] = {}
        # What a function without a name is called after: the setting that leads to it.
        self.place = "<lambda>"
        # With the values: what is kept gives its identity to no other.
        self._met: dict[int, tuple[Any, Any]] = {}
        self._taken: collections.Counter[str] = collections.Counter()

    def structure(self, value: Any, above: tuple[int, ...] = ()) -> Any:
        """Say what differs where the value does; code only by name, addresses not at all.

        Args:
            value: Anything.
            above: Identities of what it lies in.
        """
        if isinstance(value, PLAIN) and not isinstance(value, enum.Enum):
            return value
        if isinstance(value, ARRAYS):
            text = array_text(value)
            return text if isinstance(text, str) else [str(value.dtype), text]
        if isinstance(value, (types.FunctionType, type, types.ModuleType)):
            return self._followed(value)
        if isinstance(value, weakref.ReferenceType):
            return self.structure(value(), above)
        if id(value) in above:
            return "itself"
        inner = functools.partial(self.structure, above=(*above, id(value)))
        kind = self._followed(type(value)) if is_users(type(value)) else type(value).__qualname__
        if isinstance(value, enum.Enum):
            return [kind, value.name]
        if (parts := _parts(value)) is not None:
            return [kind, *map(inner, parts)]
        if isinstance(value, Mapping):
            missing = [inner(value.default_factory)] if isinstance(value, collections.defaultdict) else []
            return [kind, *missing, *sorted(([inner(key), inner(one)] for key, one in value.items()), key=json.dumps)]
        if isinstance(value, (set, frozenset)):
            return [kind, *sorted(map(inner, sorted(value, key=_name_or_text)), key=json.dumps)]
        own = getattr(value, "__dict__", {})
        if "__wrapped__" in own:  # what `jax.jit` returns, among others
            # A derivative of one's own lies beside the function.
            is_rule = type(value).__module__.startswith("jax.")
            rules = {name: inner(one) for name, one in own.items() if is_rule and not name.startswith("_")}
            wrapped = inner(own["__wrapped__"])
            return [wrapped, rules] if rules else wrapped
        if is_users(type(value)) or dataclasses.is_dataclass(value) or (own and not is_of_python(type(value))):
            return [kind, *([name, inner(one)] for name, one in attributes(value).items())]
        return self._opaque(value, inner)

    def compact(self, value: Any, told: Any = None) -> Any:
        """Return a short value as it is, of code the name, and of all else what it is called and a digest."""
        told = self.structure(value) if told is None else told
        if isinstance(told, PLAIN):
            return told
        if isinstance(value, types.FunctionType):
            return _short(value.__code__.co_qualname)
        if isinstance(told, dict):
            return next(iter(told.values()))
        if isinstance(value, ARRAYS):
            return told[1]
        return f"{getattr(value, '__qualname__', type(value).__qualname__)}, digest {_digest(told)}"

    def _followed(self, value: Any) -> Any:
        """Follow a function, class or module where it is met first, and name it."""
        if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith(_CHECKS):
            return self._followed(vars(value)["__wrapped__"])
        if id(value) in self._met:
            return self._met[id(value)][1]
        name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
        if isinstance(value, types.ModuleType):
            told: Any = {"module": value.__name__}
        elif not is_users(value):
            told = {"installed": name}
        else:
            name = value.__qualname__ if isinstance(value, type) else value.__code__.co_qualname
            told = {"code": self._new_name(name)}
        self._met[id(value)] = value, told  # first: it may reach itself
        if "code" in told:
            follow = self._follow_class if isinstance(value, type) else self._follow_function
            follow(told["code"], value)
        elif isinstance(value, types.FunctionType) and (made := made_with(value)):
            # Optimisers of optax and what `jax.vmap` returns are functions within functions.
            told = [told, {name: self.structure(one) for name, one in made.items()}]
            self._met[id(value)] = value, told
        return told

    def _new_name(self, name: str) -> str:
        name = _short(name)
        name = self.place if name == "<lambda>" else name
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name} ({self._taken[name]})"

    def _follow_function(self, name: str, function: types.FunctionType) -> None:
        self._enter(name, reads(function), bytecode.program(function.__code__))

    def _follow_class(self, name: str, cls: type) -> None:
        bases = [self._followed(base) for base in (*cls.__mro__[1:], type(cls))]
        fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
        members = {key: one for key, one in sorted(vars(cls).items()) if key not in fields and _is_written(key, one)}
        if issubclass(cls, enum.Enum):
            members = {key: one for key, one in members.items() if key not in cls.__members__}
            members |= {key: member.value for key, member in cls.__members__.items()}
        self._enter(name, members, bases)

    def _enter(self, name: str, parts: Mapping[str, Any], own: Any) -> None:
        """Note what one does and uses; constants by themselves, so that a message can name them."""
        used = {}
        for key, value in parts.items():
            told = self.structure(value)
            if isinstance(told, dict) or isinstance(value, (types.FunctionType, *_DESCRIPTORS)):
                used[key] = told
            else:
                self.code[f"{name}:{key}"] = self.compact(value, told)
        self.code[name] = _digest([own, used])

    def _opaque(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        """Say what there is to say about what is not written in Python."""
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):  # such as a list's `append`
            return [value.__name__, inner(owner)]
        if type(value) is object:
            return "object"
        module, file = home(value)
        name = getattr(value, "__qualname__", getattr(value, "__name__", None)) if callable(value) else None
        if name is None:
            text = repr(value)
            if " at 0x" not in text and "..." not in text:
                return [type(value).__module__, type(value).__qualname__, text]
            name = f"{type(value).__qualname__} object"
        # So NumPy calls what it makes of a function of Python, and ctypes does not know where a function is from.
        elif is_installed(module, file) and "(vectorized)" not in name and type(value).__name__ != "_FuncPtr":
            return {"installed": f"{module}.{name}"}
        name = self._new_name(f"{module}.{name}")
        self.code[name] = UNTOLD
        return {"code": name}


def _parts(value: Any) -> list[Any] | None:
    """Return what a value consists of, in order; None where it is no such value."""
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, pd.Index):
        return [ids_text(value)]
    if isinstance(value, (pd.Series, pd.DataFrame)):
        return frame_texts(value)
    if isinstance(value, (tuple, list)):
        return list(value)
    return [] if isinstance(value, _NO_PART) else None


def _is_written(name: str, member: Any) -> bool:
    """Tell whether a member of a class is there because somebody wrote it."""
    if isinstance(member, _SLOTS) or name in _OF_TOOLS:
        return False
    if isinstance(member, types.FunctionType) and member.__code__.co_qualname.startswith("__create_fn__."):
        return False  # a dataclass's own
    if name.startswith("_") and name.endswith("_"):
        return callable(member) or isinstance(member, _DESCRIPTORS)
    return True


def _short(name: str) -> str:
    return name.rpartition("<locals>.")[2]  # an edited copy is often made elsewhere


def _name_or_text(value: Any) -> str:
    return str(getattr(value, "__qualname__", repr(value)))


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode(errors="surrogatepass")).hexdigest()[:16]
