"""What a function reads: defaults, what it closed over, globals, and what it asks modules for. Host side."""

import importlib
import importlib.util
import types
from collections.abc import Iterator, Mapping
from typing import Any

from jaxals.training.reach import bytecode
from jaxals.training.reach.origin import is_installed, is_users


def reads(function: types.FunctionType) -> dict[str, Any]:
    """Return what a function of the user's may read, by name; of the user's modules what it names, by dotted name.

    What it writes itself is left out.

    Example:
        >>> from jaxals.training.reach.reads import reads
        >>> reads(eval("lambda r, power=2: WEIGHT * r**power", {"WEIGHT": 3.0, "other": 1}))
        {'power': 2, 'WEIGHT': 3.0}
    """
    found = {**made_with(function), **_globals(function)}
    # State of its own begins anew in another process, and says nothing of what is computed.
    found = {name: one for name, one in found.items() if name not in bytecode.written(function.__code__)}
    return found | _of_modules(function, found)


def made_with(function: types.FunctionType) -> dict[str, Any]:
    """Return what a function was made with: defaults, what was set on it, and what it closed over."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    found = dict(zip(names, defaults, strict=True)) | (function.__kwdefaults__ or {}) | vars(function)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _globals(function: types.FunctionType) -> dict[str, Any]:
    names = bytecode.globals_read(function.__code__)
    return {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}


def _of_modules(function: types.FunctionType, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function asks modules of the user's for, which lie among what it reads or are imported in it."""
    names = sorted(bytecode.mentioned(function.__code__))
    modules = {name: one for name, one in found.items() if isinstance(one, types.ModuleType)}
    modules |= dict(_imported(function))
    asked: dict[str, Any] = {}
    while modules:
        name, module = modules.popitem()
        if not is_users(module):
            continue
        for attribute in names:
            dotted = f"{name}.{attribute}"
            if attribute in vars(module) and not attribute.startswith("__"):
                asked[dotted] = vars(module)[attribute]
                # A package that knows itself by a longer name is not followed round and round.
                if isinstance(asked[dotted], types.ModuleType) and dotted.count(".") < len(names) + 1:
                    modules[dotted] = asked[dotted]
    return dict(sorted(asked.items()))


def _imported(function: types.FunctionType) -> Iterator[tuple[str, types.ModuleType]]:
    package = function.__globals__.get("__package__") or ""
    for one in bytecode.imports(function.__code__):
        try:
            module = importlib.util.resolve_name(one.module, package)
            if _comes_from_installed(module):
                continue
            # It has not run yet in this process, or it has: what is compared is to be the same.
            yield module, importlib.import_module(module)
            for name in one.names:
                if not hasattr(importlib.import_module(module), name):
                    importlib.import_module(f"{module}.{name}")
        except Exception:  # the function says it better, where it comes to that
            continue


def _comes_from_installed(module: str) -> bool:
    top = module.partition(".")[0]
    if (spec := importlib.util.find_spec(top)) is None:
        return False
    places = list(spec.submodule_search_locations or ())
    return is_installed(top, spec.origin if spec.has_location else next(iter(places), None))
