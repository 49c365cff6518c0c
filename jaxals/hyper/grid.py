"""Grids of settings: the models of a grid. Host side."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxals._base.arguments import field_names, listed, require_kind, told
from jaxals.errors import ConfigurationError
from jaxals.objective.objective import Objective
from jaxals.training.trainers import Trainer

BuildObjective = Callable[..., Objective]
Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A model to be trained.

    Attributes:
        settings: What tells it from the others, but for the seed.
        seed: Of its initial factors.
        objective: What it minimises.
        trainer: What minimises it.
    """

    settings: Mapping[str, Any]
    seed: Any
    objective: Objective
    trainer: Trainer


def expand(
    objective: Objective | BuildObjective, trainer: Trainer, space: Grid, seeds: Iterable[Any]
) -> list[Candidate]:
    """List the models of a grid, or of settings one by one: each of them with every seed.

    Args:
        objective: What all have in common, or a function from settings, by name, such as `Objective.ials`.
        trainer: What all have in common.
        space: Values of each setting, whose combinations are all meant; or a list of settings.
        seeds: Of the initial factors.

    Raises:
        ConfigurationError: There is no such setting, nothing to train, or settings that are refused by what they are
            for.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper.grid import expand
        >>> grid = {"alpha": [1.0, 2.0], "factors": [8, 16]}
        >>> models = expand(jaxals.Objective.hkv, jaxals.ALS(), grid, seeds=range(2))
        >>> len(models), models[-1].settings, models[-1].seed, models[-1].trainer.factors
        (8, {'alpha': 2.0, 'factors': 16}, 1, 16)
    """
    listed, seeds = _listed(space), list(seeds)
    if not listed or not seeds:
        raise ConfigurationError("There is nothing to train: `space` and `seed` must hold at least one value each.")
    models = []
    for settings in listed:
        made = _make(objective, trainer, settings)
        models += [Candidate(settings, seed, *made) for seed in seeds]
    return models


def by_program(models: Sequence[Candidate]) -> list[list[int]]:
    """Group models by what shapes their compiled program: the trainer and the kinds of confidence; by number."""
    groups: list[tuple[Any, list[int]]] = []
    for number, model in enumerate(models):
        kind = (model.trainer, jax.tree.structure(model.objective))
        group = next((numbers for other, numbers in groups if other == kind), None)
        if group is None:
            groups.append((kind, group := []))
        group.append(number)
    return [numbers for _, numbers in groups]


def stack(objectives: Sequence[Objective], dtype: Any) -> Objective:
    """Stack the leaves of objectives of one kind, plain numbers as `dtype`.

    Raises:
        ConfigurationError: Leaves of one place differ in shape.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper.grid import stack
        >>> stack([jaxals.Objective.hkv(alpha=1.0), jaxals.Objective.hkv(alpha=2.0)], "float32").confidence.alpha
        Array([1., 2.], dtype=float32)
    """

    def stacked(*leaves: Any) -> jax.Array:
        if len({np.shape(leaf) for leaf in leaves}) > 1:
            raise ConfigurationError(
                f"Settings of all models must be of one shape; got {sorted({np.shape(leaf) for leaf in leaves})}."
            )
        if all(isinstance(leaf, (int, float, np.number)) for leaf in leaves):
            return jnp.asarray(leaves, dtype)
        return jnp.stack([jnp.asarray(leaf) for leaf in leaves])

    return jax.tree.map(stacked, *objectives)


def _listed(space: Grid) -> list[dict[str, Any]]:
    if not isinstance(space, Mapping):
        what = "lists of values by the names of settings, or a list of settings"
        for settings in (found := listed("space", space, what, is_ordered=True)):
            require_kind("space", settings, Mapping, what)
        return [dict(settings) for settings in found]
    space = {
        name: listed(f"space[{name!r}]", values, "a list of values", is_ordered=True) for name, values in space.items()
    }
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _make(
    objective: Objective | BuildObjective, trainer: Trainer, settings: Mapping[str, Any]
) -> tuple[Objective, Trainer]:
    of_trainer = field_names(trainer)
    if isinstance(objective, Objective):
        of_objective, of_confidence = field_names(objective), field_names(objective.confidence)
    else:
        of_objective, of_confidence = _parameters(objective), []
    known = list(dict.fromkeys([*of_objective, *of_confidence, *of_trainer]))
    chosen: dict[str, dict[str, Any]] = {"objective": {}, "confidence": {}, "trainer": {}}
    for name, value in settings.items():
        if name not in known:
            raise ConfigurationError(f"`space` has no setting {told(name)} to vary; known are {', '.join(known)}.")
        owner = "objective" if name in of_objective else "confidence" if name in of_confidence else "trainer"
        # NumPy's numbers have a type that would be another one to compile for in `fit`.
        chosen[owner][name] = value.item() if isinstance(value, np.generic) else value
    if not isinstance(objective, Objective):
        made = objective(**_bound(objective, chosen["objective"]))
    else:
        _refuse_untied(objective, chosen["objective"])
        made = dataclasses.replace(objective, **chosen["objective"])
        if chosen["confidence"]:
            confidence: Any = made.confidence
            made = dataclasses.replace(made, confidence=dataclasses.replace(confidence, **chosen["confidence"]))
    return made, dataclasses.replace(trainer, **chosen["trainer"]) if chosen["trainer"] else trainer  # type: ignore[type-var]


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # of C, some of which do not say what they take
        raise ConfigurationError(
            f"`objective` must be an `Objective` or a function of settings by name; got {told(function)}."
        ) from None


def _bound(function: Any, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        inspect.signature(function).bind(**chosen)
    except TypeError as error:
        raise ConfigurationError(
            f"`objective` must be a function of what `space` names; {told(function)} cannot be called with it: {error}."
        ) from None
    return chosen


def _refuse_untied(objective: Objective, chosen: Mapping[str, Any]) -> None:
    """Refuse to move w0 away from an offset κ that a preset made equal to it."""
    offset = objective.frequency_offset
    tied = isinstance(offset, float) and offset > 0 and offset == objective.unobserved_weight
    if tied and ("unobserved_weight" in chosen) != ("frequency_offset" in chosen):
        raise ConfigurationError(
            "`unobserved_weight` and `frequency_offset` are equal in this objective; to vary both as one, pass the "
            "preset itself, such as `Objective.ials`, and to vary them apart, name both."
        )
