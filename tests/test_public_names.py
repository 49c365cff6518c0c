import inspect
import subprocess
import sys

import pytest

import jaxals

ROOMS = (
    *("als", "data", "datasets", "errors", "evaluation", "exports", "gradient", "hyper", "implicit_api", "models"),
    *("objective", "plots", "recommend", "training"),
)


def public() -> dict[str, object]:
    found = {f"jaxals.{name}": getattr(jaxals, name) for name in jaxals.__all__}
    for room in ROOMS:
        module = getattr(jaxals, room)
        here = [name for name in vars(module) if not name.startswith("_")]
        found |= {f"jaxals.{room}.{name}": getattr(module, name) for name in here}
    ours = lambda one: getattr(one, "__module__", "").startswith("jaxals") and not inspect.ismodule(one)
    return {name: one for name, one in found.items() if ours(one)}


def test_what_a_person_sees_after_the_dot():
    assert dir(jaxals) == sorted([*jaxals.__all__, "__version__", "__doc__"])
    assert len(jaxals.__all__) == len(set(jaxals.__all__)) < 50


def test_no_name_means_two_things():
    meanings: dict[str, set[int]] = {}
    for name, one in public().items():
        meanings.setdefault(name.rsplit(".", 1)[1], set()).add(id(one))
    assert {name for name, ids in meanings.items() if len(ids) > 1} == set()


@pytest.mark.parametrize("name", [name for name in jaxals.__all__ if callable(getattr(jaxals, name))])
def test_every_public_name_has_an_example(name):
    documentation = inspect.getdoc(getattr(jaxals, name))
    assert documentation
    assert ">>> " in documentation


@pytest.mark.parametrize("name", ["Confidence", "als.Solver", "training.Trainer", "evaluation.Scorer"])
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
