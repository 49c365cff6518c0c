"""The walk: `python -m tests.walk 10` gives each argument every tenth value, `1` all of them.

A process of its own: the tests' runtime checks of annotations would refuse wrong arguments before jaxals does.
"""

import os
import pathlib
import sys
import tempfile
import zlib

os.environ.pop("JAXALS_DATA", None)  # what is there is not to be searched

import jax

# As the tests have it, where it is least forgiving.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

from jaxals.errors import MissingDependencyError
from tests.walk.callables import LEFT_OUT, Target, targets
from tests.walk.steps import Fault, call, fault_of, values_for
from tests.walk.valid import World, make_world


def main(share: int) -> int:
    """Walk, print what came of it, and return how many faults there were."""
    world = make_world(pathlib.Path(tempfile.mkdtemp()))
    os.environ["JAXALS_DATA"] = str(world.folder)
    os.chdir(tempfile.mkdtemp())
    faults: list[Fault | str] = []
    n_callables = n_arguments = n_values = 0
    for target in targets():
        lacking = [name for name in target.parameters if name in target.required and not world.knows(target.name, name)]
        if target.owner is not None and target.owner.__name__ not in world.instances:
            lacking.append("an instance")
        if lacking:
            faults.append(f"{target.name} is not in tests/walk/valid.py: add {', '.join(lacking)}.")
            continue
        if (
            share == 1 and (wrong := _wrong_with_the_table(target, world)) is not None
        ):  # it compiles, so that not each walk does it
            faults.append(wrong)
            continue
        n_callables += 1
        for parameter in target.parameters:
            n_arguments += 1
            for value in values_for(target, parameter):
                if zlib.crc32(f"{target.name} {parameter} {value}".encode()) % share == 0:
                    n_values += 1
                    if (found := fault_of(target, world, parameter, value)) is not None:
                        faults.append(found)
    foreign = sum(isinstance(fault, Fault) and fault.is_foreign for fault in faults)
    for fault in faults:
        print(fault)
    for name, why in LEFT_OUT.items():
        print(f"left out: {name}: {why}")
    print(
        f"{n_callables} callables, {n_arguments} arguments, {n_values:,} values: {foreign} foreign errors, "
        f"{len(faults) - foreign} other faults"
    )
    return len(faults)


def _wrong_with_the_table(target: Target, world: World) -> str | None:
    try:
        call(target, world, {})
    except MissingDependencyError:
        return None
    except Exception as error:
        return f"The right arguments of {target.name} are wrong: {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]))))
