"""Everything public that can be called, found by introspection, and what is left out."""

import ast
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import jaxals
from jaxals.recommend.item_models import ItemModel

ROOMS = (
    *("als", "data", "datasets", "evaluation", "exports", "gradient", "hyper", "models", "objective", "plots"),
    *("recommend", "sklearn", "training"),
)
# Dunder methods that people call by their syntax.
BY_SYNTAX = ("__call__", "__getitem__")
# What `**keywords` stands for where there are some.
KEYWORDS = {
    "SearchSpace.preset": ("regularization", "factors", "solver", "alpha"),
    "static": ("default", "default_factory", "unknown"),
}
# Called by compiled programs alone, with what jaxals has made itself.
BY_PROGRAMS = {
    **dict.fromkeys(("Cholesky", "ConjugateGradient", "Subspace"), ("solve", "solve_gram")),
    "NonNegative": ("solve",),
    **dict.fromkeys(("Alternating", "FullBatch", "SampledNegatives", "UserBatches"), ("init", "step")),
    "NormalEquations": ("matrices", "grams", "sum_by_row", "by_tile", "scores", "combine", "multiply"),
}
LEFT_OUT = {
    "errors": "types of errors, which take a message, those of jaxals.sklearn too",
    "implicit_api": "it has a walk of its own",
    "Solver, Confidence, Scorer, Batch, Program, Trainer": "protocols: nothing to call",
    **{f"{name}.{'/'.join(methods)}": "called by compiled programs alone" for name, methods in BY_PROGRAMS.items()},
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Something public to call: its name, such as "Recommender.recommend", and the names of its parameters."""

    name: str
    owner: type | None
    attribute: str | None
    function: Any
    parameters: tuple[str, ...]
    required: tuple[str, ...]

    def bound(self, instance: Any) -> Callable[..., Any]:
        """Return what is called: a method of an instance, or the thing itself."""
        return self.function if self.attribute is None else getattr(instance, self.attribute)


def public_objects() -> dict[str, Any]:
    """Return what `jaxals.__all__` and the folders' `__init__` hand on, by name."""
    found = {name: getattr(jaxals, name) for name in jaxals.__all__ if name not in ("implicit_api", "errors")}
    for module in [*(getattr(jaxals, room) for room in ROOMS), jaxals.datasets.published]:
        found |= {name: getattr(module, name) for name in _handed_on(module)}
    found["ItemModel"] = ItemModel  # what `EASE().fit` returns
    ours = {name: one for name, one in found.items() if getattr(one, "__module__", "").startswith("jaxals")}
    return {name: one for name, one in sorted(ours.items()) if callable(one) and not _is_error(one)}


def _is_error(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, Exception)


def targets() -> list[Target]:
    """Return all that is walked."""
    return [target for name, one in public_objects().items() for target in _of(name, one) if target.parameters]


def _of(name: str, one: Any) -> Iterator[Target]:
    if getattr(one, "_is_protocol", False):
        return
    yield _target(name, one)
    if not isinstance(one, type):
        return
    for attribute, member in vars(one).items():
        if (attribute.startswith("_") and attribute not in BY_SYNTAX) or attribute in BY_PROGRAMS.get(name, ()):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            yield _target(f"{name}.{attribute}", getattr(one, attribute))
        elif isinstance(member, types.FunctionType):
            yield _target(f"{name}.{attribute}", member, one, attribute)


def _target(name: str, function: Any, owner: type | None = None, attribute: str | None = None) -> Target:
    parameters = list(inspect.signature(function).parameters.values())
    if attribute is not None:
        parameters = parameters[1:]
    plain = [one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
    names = [one.name for one in plain]
    if len(plain) < len(parameters):
        names += KEYWORDS[name]
    required = tuple(one.name for one in plain if one.default is inspect.Parameter.empty)
    return Target(name, owner, attribute, function, tuple(names), required)


def _handed_on(module: types.ModuleType) -> list[str]:
    """Return the names that a module defines, or imports by `X as X`; none that begins with an underscore."""
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom):
            names += [one.name for one in node.names if one.asname == one.name]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
    return [name for name in names if not name.startswith("_")]
