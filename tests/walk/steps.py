"""One call of the walk: right values but for one argument, and what is wrong with what comes of it."""

import contextlib
import dataclasses
import io
import os
import re
import warnings
from typing import Any

from jaxals._base.arguments import told
from jaxals.errors import JaxalsError, MissingDependencyError
from tests.walk.callables import Target
from tests.walk.valid import World
from tests.walk.zoo import ZOO

# Legal, and without an end: so many steps, trials or resamples are asked for.
ENDLESS = ("trials", "resamples", "steps", "sweeps", "validation")
MANY = ("huge", "2**31", "2**63", "endless digits")
# Given though they have defaults, so that calls are quick and quiet.
ALWAYS = ("progress", "mesh", "trials", "trainer", "resamples")
_MOST_CHARACTERS = 500
# What a message may name in the place of an argument, whose value does not fit that.
ALSO_CALLED = {
    "catalog": ("interactions",),
    "data": ("positive entries",),
    "exclude": ("item",),
    "n_groups": ("interactions",),
    "frame": ("The data", "The map", "The metrics", "The buckets", "held_out_users"),
    "factors": ("user_count",),
    "ids": ("user", "item"),
    "min_items": ("held_out_users",),
    "min_users": ("held_out_users",),
    "interactions": ("positive entries",),
    "n_items": ("n_interactions", "interactions"),
    "n_users": ("n_interactions", "interactions"),
    "names": ("columns", "fields"),
    "parameters": ("regularization",),
    "scores": ("number of items",),
    "train": ("interactions",),
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What came of a call that should not have."""

    target: str
    parameter: str
    value: str
    what: str
    is_foreign: bool

    def __str__(self) -> str:
        return f"{self.target}({self.parameter}=<{self.value}>): {self.what}"


def call(target: Target, world: World, changed: dict[str, Any]) -> None:
    """Call with right values, but for what is changed."""

    def is_given(parameter: str) -> bool:
        own = f"{target.name}.{parameter}" in world.values
        return parameter in target.required or own or (parameter in ALWAYS and world.knows(target.name, parameter))

    given = {name: world.value(target.name, name) for name in target.parameters if is_given(name)}
    instance = world.instances[target.owner.__name__] if target.owner else None
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        target.bound(instance)(**given | changed)


def fault_of(target: Target, world: World, parameter: str, value: str) -> Fault | None:
    """Give one argument one value of the zoo; None where the call succeeds or is refused as it should be."""
    try:
        call(target, world, {parameter: ZOO[value]()})
    except MissingDependencyError:
        return None  # the value was taken, as far as can be told here
    except JaxalsError as error:
        what = _wrong_with(str(error), parameter, ZOO[value]())
        return Fault(target.name, parameter, value, f"{what}: {error}", is_foreign=False) if what else None
    except Exception as error:  # whatever it is, it is not ours
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:_MOST_CHARACTERS]}"
        return Fault(target.name, parameter, value, what, is_foreign=True)
    return None


def values_for(target: Target, parameter: str) -> list[str]:
    """Return the names of the values that an argument is given."""
    if target.name in ("load", "locate") and parameter == "path":
        return [name for name in ZOO if name != "None"]  # which downloads
    return [name for name in ZOO if not (parameter in ENDLESS and name in MANY)]


def _wrong_with(message: str, parameter: str, value: Any) -> str | None:
    """Say what keeps a message from being one sentence about the argument."""
    if "\n" in message:
        return "several lines"
    if len(message) > _MOST_CHARACTERS:
        return "too long"
    if re.search(r" at 0x[0-9a-f]+", message):
        return "an address"
    if not message.endswith((".", "?", ")")):
        return "no sentence"
    names = (parameter.rstrip("s"), *ALSO_CALLED.get(parameter, ()), told(value))
    if isinstance(value, (str, os.PathLike)):
        names += (os.fspath(value),)
    if not any(name in message for name in names):
        return "the argument is not named"
    return None
