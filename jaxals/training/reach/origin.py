"""Whose code something is: the user's, or installed with Python, JAX and other packages. Host side."""

import os
import sys
import sysconfig
import types
from typing import Any

# Installed wherever they lie: a developer's checkout of these is none of a user's code.
_OURS = ("jaxals", "jax", "jaxlib", "numpy")
_OF_PYTHON = tuple({sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib")})
_PACKAGES = {"site-packages", "dist-packages"}
_HEAP_TYPE = 1 << 9


def is_users(value: Any) -> bool:
    """Tell whether a function, class or module is the user's.

    Example:
        >>> import jaxals
        >>> from jaxals.training.reach.origin import is_users
        >>> is_users(eval("lambda r: r", {})), is_users(jaxals.exports.os.path.join), is_users(jaxals.exports.os)
        (True, False, False)
    """
    if isinstance(value, type) and value.__module__ == "builtins":
        # So say classes that `exec` makes, too.
        return bool(value.__flags__ & _HEAP_TYPE)
    return not is_installed(*home(value))


def is_of_python(value: Any) -> bool:
    """Tell whether something comes with Python."""
    name, file = home(value)
    return name.partition(".")[0] in sys.stdlib_module_names and is_installed(name, file)


def is_installed(module: str, file: str | None) -> bool:
    """Tell whether a module of a name, at a place, is none of the user's."""
    top = module.partition(".")[0]
    if top in _OURS:
        return True
    if file is None or top == "__main__":
        return top in sys.stdlib_module_names
    return file.startswith(_OF_PYTHON) or not _PACKAGES.isdisjoint(file.split(os.sep))


def home(value: Any) -> tuple[str, str | None]:
    """Return the name of the module where something is from, and its file; what wraps a function may say another."""
    if isinstance(value, types.FunctionType):
        name, file = (value.__globals__.get(about) for about in ("__name__", "__file__"))
        # What writes and runs code, as checks of types do, often gives it no module but by this.
        return name or (value.__module__ if value.__module__ in sys.modules else ""), file
    if isinstance(value, types.ModuleType):
        return value.__name__, _file(value)
    owner = getattr(value, "__objclass__", value)
    named = [getattr(one, "__module__", None) for one in (owner, type(owner))]
    name = next(one for one in [*named, ""] if isinstance(one, str))
    return name, _file(sys.modules.get(name))


def _file(module: types.ModuleType | None) -> str | None:
    if file := getattr(module, "__file__", None):
        return str(file)
    return next(iter(getattr(module, "__path__", ())), None)  # a folder without `__init__.py`
