"""What a run is, in plain words and numbers, so that two runs can be compared. Host side.

Numbers and names stand for themselves, arrays and ids for a checksum, and so do functions and classes for what they
do: their own code and all that it reaches of the user's, `jaxals.training.reach`.
"""

import dataclasses
import enum
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxals.training.reach.bytecode import COMPILER
from jaxals.training.reach.origin import is_users
from jaxals.training.reach.values import ARRAYS, PLAIN, array_text, attributes, ids_text
from jaxals.training.reach.walk import UNTOLD, Reach

Description = dict[str, Any]

# What compiled the code that is described; each function and class has an entry below it.
_CODE = "code"
_FEW = 5


def describe(**parts: Any) -> Description:
    """Describe settings and data by dotted names, and the code that they reach.

    Args:
        parts: Dataclasses, containers, arrays, functions, plain values.

    Returns:
        What JSON can hold.

    Example:
        >>> import jaxals
        >>> from jaxals.training.fingerprint import describe
        >>> describe(objective=jaxals.Objective.hkv(alpha=2.0))["objective.confidence.alpha"]
        2.0
    """
    reach = Reach()
    told = {name: value for part, whole in parts.items() for name, value in _named(part, whole, reach, ())}
    return {**told, _CODE: COMPILER, **{f"{_CODE}.{name}": digest for name, digest in reach.code.items()}}


def describe_values(**parts: Any) -> Description:
    """Describe settings and data as `describe` does, and no code.

    Example:
        >>> from jaxals.training.fingerprint import describe_values
        >>> describe_values(scale=2.0)
        {'scale': 2.0}
    """
    return {name: told for name, told in describe(**parts).items() if not _is_code(name)}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Say by name what differs between two descriptions, such as "`objective.regularization` was 0.1, is 0.2".

    What only one of them can tell is no difference: `untold` names it.
    """
    changed = {}
    unknown = _unknown(there, here)
    for name in {**there, **here}:
        was, now = (json.dumps(side[name]) if name in side else "not there" for side in (there, here))
        if was == now or name == _CODE or name in unknown:
            continue
        if not _is_code(name):
            changed[name] = f"`{name}` was {was}, is {now}"
            continue
        function, _, constant = name.removeprefix(f"{_CODE}.").partition(":")
        if constant:
            changed[name] = f"`{constant}` of `{function}` was {was}, is {now}"
        elif name in there and name in here:
            changed[name] = f"the code of `{function}` has changed"
        else:
            changed[name] = f"the code of `{function}` is {'new' if name in here else 'gone'}"
    return changed


def untold(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Say of which code it cannot be told whether it is the same, and why; None where all can be compared."""
    names = [name.removeprefix(f"{_CODE}.") for name in _unknown(there, here) if not name.startswith("jax_")]
    unknown = list(dict.fromkeys(name.partition(":")[0] for name in names))
    if not unknown:
        return None
    if _CODE not in there:
        why = "an earlier version of jaxals noted it in another way"
    elif there[_CODE] != here[_CODE]:
        why = f"it was compiled by {there[_CODE]}, and is by {here[_CODE]}"
    else:
        why = "it is not written in Python"
    which = ", ".join(f"`{name}`" for name in unknown[:_FEW])
    which += f" and {len(unknown) - _FEW} more" if len(unknown) > _FEW else ""
    return f"Whether {which} still compute the same cannot be told: {why}."


def _named(name: str, value: Any, reach: Reach, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PLAIN):
        yield name, value
    elif isinstance(value, ARRAYS):
        yield name, array_text(value)
    elif isinstance(value, pd.Index):
        yield name, ids_text(value)
    elif isinstance(value, tuple) and all(isinstance(part, PLAIN) for part in value):
        yield name, list(value)
    elif _has_attributes(value) and id(value) not in above:
        reach.place = name
        reach.structure(type(value))
        yield name, type(value).__name__
        for attribute, part in attributes(value).items():
            yield from _named(f"{name}.{attribute}", part, reach, (*above, id(value)))
    else:
        reach.place = name
        yield name, reach.compact(value)


def _has_attributes(value: Any) -> bool:
    if isinstance(value, (type, types.FunctionType, types.ModuleType, Mapping, tuple, list, set, frozenset)):
        return False
    return dataclasses.is_dataclass(value) or (is_users(type(value)) and not isinstance(value, enum.Enum))


def _is_code(name: str) -> bool:
    return name == _CODE or name.startswith(f"{_CODE}.")


def _unknown(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """List what one of two descriptions cannot tell, for another reason than that it is not there."""
    names = [name for name in {**there, **here} if _is_code(name) and name != _CODE]
    if (
        _CODE not in there
    ):  # before 0.2 functions were described by some of what they say, and JAX's settings not at all
        settings = [name for name in here if name.startswith("jax_") and name not in there]
        return names + settings + [name for name in here if name in there and _is_older(there[name], here[name])]
    if there[_CODE] != here.get(_CODE):
        return [name for name in names if ":" not in name or not (name in there and name in here)]
    return [name for name in names if there.get(name) == here.get(name) == UNTOLD]


def _is_older(was: Any, now: Any) -> bool:
    if not (isinstance(was, str) and isinstance(now, str)) or ", checksum " in now:
        return False
    label, _, rest = was.partition(", checksum ")
    return rest != "" and label.endswith(now.partition(", digest ")[0])
