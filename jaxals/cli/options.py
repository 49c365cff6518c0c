"""What the commands are asked with, and what it means: options, data, objectives, splits, ids. Host side.

Options of the trainer, early stopping, the presets and tables are made from the library's own signatures and
docstrings, so that their defaults and their help are written once.
"""

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import pandas as pd
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from jaxals import datasets
from jaxals._base.environment import require_devices
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.conjugate_gradient import ConjugateGradient
from jaxals.als.solver.equations import Solver
from jaxals.als.solver.non_negative import NonNegative
from jaxals.als.solver.subspace import Subspace
from jaxals.cli.output import complain
from jaxals.cli.values import read_metrics, read_source, require_some
from jaxals.data.interactions import Duplicates, Interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import Split, leave_k_out, plan_evaluation, random_holdout
from jaxals.objective.default import DEFAULT_PRESET, default_numbers
from jaxals.objective.objective import Objective
from jaxals.training.state import EarlyStopping
from jaxals.training.trainers import ALS

DEFAULT_METRICS: tuple[str, ...] = inspect.signature(plan_evaluation).parameters["metrics"].default

_PRESETS = {
    name: inspect.signature(getattr(Objective, name))
    for name, member in vars(Objective).items()
    if isinstance(member, classmethod)
}


def _options(name: str, source: Callable, annotations: dict[str, Any]) -> type:
    """Make a frozen dataclass of some arguments of a function, with its defaults and its docstring."""
    parameters = inspect.signature(source).parameters
    fields = [(key, kind, dataclasses.field(default=parameters[key].default)) for key, kind in annotations.items()]
    made = dataclasses.make_dataclass(name, fields, frozen=True, namespace={"__module__": __name__})
    made.__doc__ = inspect.getdoc(source)
    return made


def _preset_options() -> type:
    """Make a frozen dataclass of the name of a preset and all that any preset takes."""
    first_lines = {name: (inspect.getdoc(getattr(Objective, name)) or "").splitlines()[0] for name in _PRESETS}
    presets = "\n\n".join(f"{name}: {line}" for name, line in first_lines.items())
    defaults: dict[str, dict[str, float]] = {}
    for preset, signature in _PRESETS.items():
        for parameter in signature.parameters.values():
            defaults.setdefault(parameter.name, {})[preset] = parameter.default
    fields: list[tuple[str, Any, Any]] = [
        (
            "objective",
            Annotated[
                Literal[tuple(_PRESETS)] | None,
                Parameter(
                    help=f"What to minimise; by default {DEFAULT_PRESET}, with a weight and a ridge that suit the "
                    f"data, unless they are given.\n\n{presets}"
                ),
            ],
            None,
        )
    ]
    for name, by_preset in defaults.items():
        listed = ", ".join(f"{preset} (default {value:g})" for preset, value in by_preset.items())
        fields.append((name, Annotated[float | None, Parameter(help=f"For {listed}.")], None))
    return dataclasses.make_dataclass("Preset", fields, frozen=True, namespace={"__module__": __name__})


if TYPE_CHECKING:
    Columns: TypeAlias = Any
    Preset: TypeAlias = Any
else:
    Columns = _options(
        "Columns",
        Interactions.from_file,
        {
            "user": str,
            "item": str,
            "value": Annotated[str | None, Parameter(negative_none="no-")],
            "names": Annotated[Sequence[str] | None, Parameter(validator=require_some)],
            "duplicates": Duplicates,
        },
    )
    Preset = _preset_options()

COLUMNS, PRESET, TRAINER = Columns(), Preset(), ALS()


def flat(title: str, order: int, **settings: Any) -> Parameter:
    """Show the fields of a dataclass as options of their own, in a group."""
    return Parameter(name="*", group=Group(title, sort_key=order), **settings)


Data = Annotated[
    str,
    Parameter(
        converter=read_source, help="A data set that `jaxals datasets` lists, its files, or a table of your own."
    ),
]
ColumnOptions = Annotated[Columns, flat("Table of your own (TSV, CSV or Parquet)", 3)]
PresetOptions = Annotated[Preset, flat("Objective", 4)]
# Solvers are no plain values: they are chosen by name.
TrainerOptions = Annotated[ALS, flat("Trainer", 5, parse=re.compile(r"^(?!solver$)"))]
SOLVERS: dict[str, Solver] = {
    "exact": Cholesky(),
    "cholesky": Cholesky(),
    "conjugate-gradient": ConjugateGradient(),
    "subspace": Subspace(),
    "non-negative": NonNegative(),
}
if TYPE_CHECKING:
    SolverName: TypeAlias = str
else:
    SolverName = Annotated[
        Literal[tuple(SOLVERS)],
        Parameter(
            help="How a row is solved: exact, or faster steps towards that (conjugate-gradient; subspace for 256 "
            "factors and more); or without factors below 0 (non-negative). Another name for exact is cholesky.",
            group=Group("Trainer", sort_key=5),
        ),
    ]
StoppingOptions = Annotated[EarlyStopping | None, flat("Early stopping (any of these turns it on)", 6)]
_CHECKPOINTS = Group("Checkpoints", sort_key=7)
CheckpointPath = Annotated[
    Path | None,
    Parameter(
        help="Folder to write down from time to time where training stands; Ctrl-C and SIGTERM then finish the sweep.",
        group=_CHECKPOINTS,
    ),
]
Every = Annotated[
    int, Parameter(validator=Number(gte=1), help="Sweeps from one checkpoint to the next.", group=_CHECKPOINTS)
]
Keep = Annotated[int, Parameter(validator=Number(gte=1), help="How many to keep.", group=_CHECKPOINTS)]
Resume = Annotated[
    bool, Parameter(negative=(), help="Go on from the newest checkpoint, where there is one.", group=_CHECKPOINTS)
]
Anyway = Annotated[
    bool,
    Parameter(negative=(), help="Resume though objective, trainer or data have changed.", group=_CHECKPOINTS),
]
_METRICS = Parameter(
    converter=read_metrics, validator=require_some, help="Metrics such as recall@10, ndcg@10, map@10 or auc."
)
Metrics = Annotated[tuple[str, ...], _METRICS]
MetricsIfAny = Annotated[tuple[str, ...] | None, _METRICS]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**32), help="Seed of all that is random.")]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Json = Annotated[bool, Parameter(negative=(), help="Print one JSON document instead of tables.")]
Bar = Annotated[bool, Parameter(negative="--no-progress", show_default=False, help="Draw a progress bar on stderr.")]


def read(data: str, columns: Any) -> Interactions:
    """Read a known data set by name or by its files, or else a table."""
    require_devices()
    path = Path(data)
    if not path.exists() and data.lower() in datasets.names():
        data = data.lower()
    if columns == COLUMNS:
        if data in datasets.names():
            return datasets.load(data)
        folder = path if path.is_dir() else path.parent
        for name in datasets.names():
            found = datasets.find(name, folder)
            if found and (path.is_dir() or found.name == path.name):
                if path.is_dir():
                    complain(
                        f"{data} holds {found.name}, which is read as the data set {name}; name a file to read that"
                    )
                return datasets.load(name, path)
    elif data in datasets.names():
        raise ConfigurationError(f"{data} is a known data set; options for columns are for tables of your own.")
    if not path.is_file():
        raise DataError(f"There is no file {data!r}; data sets known by name are {', '.join(datasets.names())}.")
    return Interactions.from_file(path, **dataclasses.asdict(columns))


def build_objective(preset: Any, interactions: Interactions | None = None) -> Objective:
    """Build the preset from the options that were given, refusing those that it does not take.

    Args:
        preset: What was given.
        interactions: What is trained on, which numbers that were not given are to suit where no preset was named.
    """
    name, numbers = _numbers(preset, interactions)
    return getattr(Objective, name)(**numbers)


def describe(preset: Any, interactions: Interactions) -> str:
    """Name the preset and all of its settings."""
    name, numbers = _numbers(preset, interactions)
    return f"{name} ({', '.join(f'{setting} {value:g}' for setting, value in numbers.items())})"


def _numbers(preset: Any, interactions: Interactions | None) -> tuple[str, dict[str, float]]:
    chosen = preset.objective or DEFAULT_PRESET
    numbers = {p.name: p.default for p in _PRESETS[chosen].parameters.values()}
    if preset.objective is None and interactions is not None:
        numbers |= default_numbers(interactions)
    for name, value in dataclasses.asdict(preset).items():
        if name != "objective" and value is not None:
            if name not in numbers:
                takes = " and ".join(map(flag, numbers))
                raise ConfigurationError(f"The objective {chosen} takes {takes}, but no {flag(name)}.")
            numbers[name] = value
    return chosen, numbers


def flag(name: str) -> str:
    """Write an argument's name as the command line takes it."""
    return f"--{name.replace('_', '-')}"


def split_up(interactions: Interactions, holdout: int | None, fraction: float | None, seed: int) -> Split:
    """Hold out some items of each user, or a share of all interactions."""
    if holdout and fraction is not None:
        raise ConfigurationError("Take `--holdout` or `--fraction`, not both.")
    if holdout:
        return leave_k_out(interactions, holdout, seed)
    return random_holdout(interactions, **({} if fraction is None else {"fraction": fraction}), seed=seed)


def raw_ids(known: pd.Index, given: list[str]) -> list[Hashable]:
    """Turn strings from the shell into the type of the catalog's ids, repeated ones once."""
    kind: Callable[[str], Hashable] = str
    if pd.api.types.is_integer_dtype(known):
        kind = int
    elif pd.api.types.is_float_dtype(known):
        kind = float
    ids: list[Hashable] = list(given)
    for place, text in enumerate(given):
        with contextlib.suppress(ValueError, OverflowError):  # the catalog says it better
            ids[place] = kind(text)
    return list(dict.fromkeys(ids))
