import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import jaxals

FOLDERS = (
    *("als", "data", "datasets", "evaluation", "gradient", "hyper", "implicit_api", "models", "objective"),
    *("recommend", "training"),
)
FILES = ("errors", "sklearn", "models.exports", "models.plots", "datasets.published")


def public() -> dict[str, Any]:
    """Return functions and classes: all that the package and its folders hand on, and what single files define."""
    found = {f"jaxals.{name}": getattr(jaxals, name) for name in jaxals.__all__}
    for room in (*FOLDERS, *FILES):
        module = importlib.import_module(f"jaxals.{room}")
        home = "jaxals" if room in FOLDERS else module.__name__
        here = {name: one for name, one in vars(module).items() if getattr(one, "__module__", "").startswith(home)}
        found |= {f"jaxals.{room}.{name}": one for name, one in here.items() if not name.startswith("_")}
    return {name: one for name, one in found.items() if hasattr(one, "__qualname__")}


def test_what_a_person_sees_after_the_dot():
    assert dir(jaxals) == sorted([*jaxals.__all__, "__version__", "__doc__"])
    assert len(jaxals.__all__) == len(set(jaxals.__all__)) <= 50


def test_no_name_means_two_things():
    meanings: dict[str, set[int]] = {}
    for name, one in public().items():
        meanings.setdefault(name.rsplit(".", 1)[1], set()).add(id(one))
    assert {name for name, ids in meanings.items() if len(ids) > 1} == set()


def test_every_room_is_looked_through():
    rooms = {info.name for info in pkgutil.iter_modules(jaxals.__path__) if not info.name.startswith("_")}
    assert rooms - {"cli"} == {room for room in (*FOLDERS, *FILES) if "." not in room}


def test_every_public_name_has_an_example_that_runs():
    """The doctests of the package run what is found here, with no names but those that an example makes."""
    modules = {importlib.import_module(one.__module__) for one in public().values()}
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    is_run = lambda test: test.examples and not any(doctest.SKIP in example.options for example in test.examples)
    run = {test.name for test in found if is_run(test)}
    assert {name for name, one in public().items() if f"{one.__module__}.{one.__qualname__}" not in run} == set()


PROTOCOLS = ("Confidence", "als.Solver", "evaluation.Scorer", "gradient.Batch", "training.Program", "training.Trainer")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_say_what_to_write(name):
    documentation = inspect.getdoc(public()[f"jaxals.{name}"])
    assert documentation
    assert ">>> " in documentation
    assert "Base class for protocol classes" not in documentation


def test_importing_takes_no_extras():
    program = (  # pandas itself imports pyarrow where it is there
        "import sys, jaxals; jaxals.plots.plot_loss, jaxals.exports.save_npz, "
        "jaxals.implicit_api.AlternatingLeastSquares; "
        "print([name for name in ('matplotlib', 'optuna', 'sklearn', 'implicit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_rooms_that_are_imported_when_they_are_asked_for():
    assert jaxals.__getattr__("hyper") is importlib.import_module("jaxals.hyper")
