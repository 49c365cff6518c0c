"""The command `tune`: its ranges, and what it says. Host side."""

import dataclasses
import inspect
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import pandas as pd
from cyclopts import Parameter

from jaxals.cli.options import (
    COLUMNS,
    SOLVERS,
    Bar,
    ColumnOptions,
    Count,
    Data,
    Json,
    Metrics,
    Seed,
    SolverName,
    flag,
    flat,
    read,
)
from jaxals.cli.output import INTERRUPTED, complain, draws_bars, print_json, print_table, say
from jaxals.errors import ConfigurationError
from jaxals.hyper import search
from jaxals.hyper.samplers import Sampler
from jaxals.hyper.space import DEFAULT_RANGES, Choice, LogUniform, Range, SearchSpace, Uniform
from jaxals.objective.default import DEFAULT_PRESET
from jaxals.objective.objective import Objective
from jaxals.training.trainers import ALS

DEFAULT_PATH = Path("jaxals-trials.jsonl")
_SHOWN = 5
_OF_TRAINER = ("factors", "initial_scale")


def _range_options() -> type:
    """Make a frozen dataclass of the name of a preset, and a range for all that any preset takes."""
    by_name: dict[str, list[str]] = {}
    for preset, ranges in DEFAULT_RANGES.items():
        for name in inspect.signature(getattr(Objective, preset)).parameters:
            kind = ranges.get(name)
            searched = f" (default {kind.low:g}..{kind.high:g})" if isinstance(kind, LogUniform) else ""
            by_name.setdefault(name, []).append(preset + searched)
    fields: list[tuple[str, Any, Any]] = [
        ("objective", Annotated[Literal[tuple(DEFAULT_RANGES)], Parameter(help="What to minimise.")], DEFAULT_PRESET)
    ]
    for name, presets in by_name.items():
        fields.append(
            (name, Annotated[str | None, Parameter(help=f"For {', '.join(presets)}.", allow_leading_hyphen=True)], None)
        )
    for name, what in zip(_OF_TRAINER, ("Length of the vectors", "σ of the initial factors"), strict=True):
        default = getattr(ALS(), name)
        fields.append(
            (
                name,
                Annotated[str | None, Parameter(help=f"{what} (default {default:g}).", allow_leading_hyphen=True)],
                None,
            )
        )
    return dataclasses.make_dataclass("Ranges", fields, frozen=True, namespace={"__module__": __name__})


if TYPE_CHECKING:
    Ranges: TypeAlias = Any
else:
    Ranges = _range_options()

RangeOptions = Annotated[Ranges, flat("What to search: 0.01..1 for a range, 32,64 for a choice, 0.1 to keep", 4)]
RANGES = Ranges()


def tune(
    data: Data,
    /,
    *,
    trials: Count = 60,
    path: Path = DEFAULT_PATH,
    sampler: Sampler = "random",
    metrics: Metrics = ("ndcg@10",),
    validation: Count = 1,
    patience: Count = 3,
    seed: Seed = 0,
    json: Json = False,
    progress: Bar = True,
    columns: ColumnOptions = COLUMNS,
    ranges: RangeOptions = RANGES,
    sweeps: Count = 30,
    solver: SolverName = "exact",
) -> int:
    """Search settings by how well models of a part of the data rank the rest.

    Args:
        data: Data.
        trials: How many to have in the end, those in the file included.
        path: File to keep the trials in; the same command goes on from it.
        sampler: Where to look: at random, or by Optuna's TPE.
        metrics: What is measured; the first one chooses.
        validation: How many times to hold out one item of every user; more of them choose with less noise.
        patience: How many sweeps in a row may pass without a new best before a training ends.
        sweeps: The most sweeps of a training.
    """
    space = build_space(ranges, ALS(sweeps=sweeps, solver=SOLVERS[solver]))
    interactions = read(data, columns)
    if not json:
        say(f"{data}: {interactions!r}, trials in {path}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Interrupted")  # said below, with the file
        found = search.tune(
            interactions,
            space,
            trials=trials,
            metrics=metrics,
            validation=validation,
            seed=seed,
            sampler=sampler,
            patience=patience,
            path=path,
            refit=False,
            progress=draws_bars(progress),
        )
    command = _command(data, columns, ranges.objective, found, solver)
    metric = metrics[0]
    if json:
        print_json(
            {"data": data, **found.settings, metric: found.best[metric], "command": command, "trials": found.table}
        )
    else:
        ranked = found.table[found.table["state"] == "done"].sort_values(metric, ascending=False).head(_SHOWN)
        shown = ranked.drop(columns=["state", "message", "standard_error", "seconds"])
        print_table(shown, f"The best of {_counts(found.table)}")
        say("To train with the first of them:")
        say(command)
    if len(found.table) < trials:
        complain(f"interrupted; the same command goes on from the {len(found.table)} trials in {path}")
        return INTERRUPTED
    return 0


def build_space(ranges: Any, trainer: ALS) -> SearchSpace:
    """Build the space from the ranges that were given, refusing those that the preset does not take."""
    accepted = [*inspect.signature(getattr(Objective, ranges.objective)).parameters, *_OF_TRAINER]
    given = {k: v for k, v in dataclasses.asdict(ranges).items() if k != "objective" and v is not None}
    for name in given:
        if name not in accepted:
            takes = ", ".join(map(flag, accepted))
            raise ConfigurationError(f"The objective {ranges.objective} takes {takes}, but no {flag(name)}.")
    return SearchSpace.preset(ranges.objective, trainer, **{k: parse_range(k, v) for k, v in given.items()})


def parse_range(name: str, text: str) -> Range:
    """Read a range such as 0.01..1 (by logarithm where it is above 0, but for ν), a choice such as 32,64, or a number.

    Raises:
        ConfigurationError: It is none of these.

    Example:
        >>> from jaxals.cli.tuning import parse_range
        >>> parse_range("alpha", "0.1..10"), parse_range("factors", "32,64")
        (LogUniform(low=0.1, high=10.0), Choice(options=(32, 64)))
    """
    try:
        if ".." in text and name != "factors":
            low, high = map(float, text.split(".."))
            return Uniform(low, high) if low <= 0 or name == "frequency_exponent" else LogUniform(low, high)
        number = int if name == "factors" else float
        return Choice(tuple(number(part) for part in text.split(",")))
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise ConfigurationError(f"{flag(name)}: {error}") from None
        example = "32 or 32,64,128" if name == "factors" else "0.01..1, 0.1,0.3,1 or 0.1"
        raise ConfigurationError(f"{flag(name)} must be such as {example}; got {text!r}.") from None


def _counts(trials: pd.DataFrame) -> str:
    states = trials["state"].value_counts()
    return f"{len(trials)} trials ({', '.join(f'{count} {state}' for state, count in states.items())})"


def _command(data: str, columns: Any, preset: str, found: search.SearchResult, solver: str) -> str:
    """Write the command that trains with what was found."""
    # λ in the objective is that of the ν that was drawn.
    best = found.settings | {"regularization": float(found.objective.regularization)}
    options: dict[str, Any] = {"objective": preset, **best, "sweeps": getattr(found.trainer, "sweeps", None)}
    words = ["jaxals", "fit", data, "--output", "model"]
    if solver != "exact":
        options["solver"] = solver
    for name, value in dataclasses.asdict(columns).items():
        if value is None and getattr(COLUMNS, name) is not None:
            words.append(f"--no-{name}")
        elif value != getattr(COLUMNS, name):
            words += [flag(name), *([value] if isinstance(value, str) else value)]
    for name, value in options.items():
        words += [flag(name), f"{value:.6g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
