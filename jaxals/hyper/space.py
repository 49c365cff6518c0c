"""Search spaces: what settings are drawn from, and the objective and trainer that a draw stands for. Host side."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxals._base.arguments import listed, require_function, require_kind, require_text, told
from jaxals._base.checks import require_number
from jaxals._base.settings import settings, shown
from jaxals.data.catalog import Side
from jaxals.data.interactions import Interactions
from jaxals.errors import ConfigurationError
from jaxals.objective.default import DEFAULT_PRESET
from jaxals.objective.objective import Objective
from jaxals.training.fingerprint import describe_values
from jaxals.training.trainers import ALS, Trainer

Settings = Mapping[str, Any]

_ARRAYS = (np.ndarray, np.generic, jax.Array)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, each as likely as the others.

    Attributes:
        options: The values: numbers, strings, booleans or None.

    Raises:
        ConfigurationError: There are none, or one is something else.

    Example:
        >>> import jaxals
        >>> jaxals.Choice((16, 32)).at(0.0), jaxals.Choice((16, 32)).at(0.99)
        (16, 32)
    """

    options: tuple

    def __post_init__(self) -> None:
        options = tuple(map(_as_python, listed("options", self.options, "a list of values", is_ordered=True)))
        object.__setattr__(self, "options", options)
        if not self.options:
            raise ConfigurationError("`options` must hold at least one value.")
        for option in self.options:  # which a file of trials must be able to hold
            if not isinstance(option, (int, float, str, type(None))):
                raise ConfigurationError(f"`options` must be numbers, strings, booleans or None; got {told(option)}.")

    def at(self, position: float) -> Any:
        """Return the value that lies at a position from 0 to below 1."""
        _require_position(position)
        return self.options[int(position * len(self.options))]


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number between two others, every one as likely.

    Attributes:
        low: The lowest.
        high: The highest.

    Raises:
        ConfigurationError: `low` is not below `high`, or one of them or their difference is not finite.

    Example:
        >>> import jaxals
        >>> jaxals.Uniform(0.0, 2.0).at(0.25)
        0.5
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _require_numbers(self.low, self.high)
        if not self.low < self.high or not math.isfinite(float(self.high) - float(self.low)):
            raise ConfigurationError(
                "`low` must be below `high`, both and their difference finite; got "
                f"{told(self.low)} and {told(self.high)}."
            )

    def at(self, position: float) -> float:
        """Return the value that lies at a position from 0 to below 1."""
        _require_position(position)
        return self.low + position * (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform: 0.01 to 0.1 is as likely as 0.1 to 1.

    Attributes:
        low: The lowest, above 0.
        high: The highest.

    Raises:
        ConfigurationError: `low` is not above 0 or not below `high`, or `high` is not finite.

    Example:
        >>> import jaxals
        >>> jaxals.LogUniform(0.01, 1.0).at(0.5)
        0.1
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _require_numbers(self.low, self.high)
        if not 0 < self.low < self.high < math.inf:
            raise ConfigurationError(
                f"`low` must be above 0 and below `high`, `high` finite; got {told(self.low)} and {told(self.high)}."
            )

    def at(self, position: float) -> float:
        """Return the value that lies at a position from 0 to below 1."""
        _require_position(position)
        return math.exp(math.log(self.low) + position * (math.log(self.high) - math.log(self.low)))


def _require_numbers(low: Any, high: Any) -> None:
    require_number("low", low)
    require_number("high", high)


def _require_position(position: Any) -> None:
    require_number("position", position)
    if not 0 <= position < 1:
        raise ConfigurationError(f"`position` must be at least 0 and below 1; got {told(position)}.")


def _as_python(option: Any) -> Any:
    """Return NumPy's numbers, and arrays of one, as Python's: a file of trials has no others."""
    is_one = isinstance(option, _ARRAYS) and not option.shape
    return option.item() if is_one and getattr(option.dtype, "kind", "") in ("b", "i", "u", "f", "U") else option


Range = Choice | Uniform | LogUniform
BuildModel = Callable[[Settings, Interactions], tuple[Objective, Trainer]]


@settings
class SearchSpace:
    """Settings to search, and what to train with them.

    Attributes:
        ranges: What each setting is drawn from, by name.
        build: Called with drawn settings and the interactions to train on, for an objective and a trainer.
        description: What `build` keeps fixed, in words: trials kept in a file are refused by a search with another one.

    Raises:
        ConfigurationError: A range is none of `Choice`, `Uniform` and `LogUniform`.

    Example:
        >>> import numpy as np
        >>> import jaxals
        >>> def build(settings, interactions):
        ...     return jaxals.Objective.hkv(settings["alpha"]), jaxals.ALS(factors=settings["factors"])
        >>> space = jaxals.SearchSpace({"alpha": jaxals.LogUniform(1, 100), "factors": jaxals.Choice((16, 32))}, build)
        >>> space.draw(np.random.default_rng(0))
        {'alpha': 18.7, 'factors': 16}
    """

    ranges: Mapping[str, Range]
    build: BuildModel
    description: str = ""

    def __repr__(self) -> str:
        ranges = ", ".join(f"{name}={kind!r}" for name, kind in self.ranges.items())
        return f"SearchSpace({ranges}; {shown(self.build)})"

    def __post_init__(self) -> None:
        require_kind("ranges", self.ranges, Mapping, "ranges by the names of settings")
        for name, kind in self.ranges.items():
            require_text("ranges", name, "ranges by the names of settings")
            if not isinstance(kind, (Choice, Uniform, LogUniform)):
                raise ConfigurationError(
                    f"The range of `{name}`, in `ranges`, must be a `Choice`, `Uniform` or `LogUniform`; got "
                    f"{told(kind)}."
                )
        require_function("build", self.build, of=["settings", "interactions"])
        require_text("description", self.description)
        # By name: the order they were written in is to change no draw.
        object.__setattr__(self, "ranges", dict(sorted(self.ranges.items())))

    @classmethod
    def preset(cls, preset: str = DEFAULT_PRESET, trainer: ALS | None = None, **values: Any) -> "SearchSpace":
        """Search settings of a preset of `Objective` and of `ALS`.

        Where ν (`frequency_exponent`) is searched as well, `regularization` means its value at ν = 1, and is moved to
        the ν that is drawn by `rescale_regularization`: one range of λ then fits every ν.

        Args:
            preset: Name of a preset, such as "ials".
            trainer: What is not searched of the trainer; `ALS()` by default.
            values: A range, or one value to keep, for arguments of the preset and attributes of `ALS`. The ridge, and
                w0 or α, have ranges by default; all else is kept at its default.

        Returns:
            A space whose `build` makes the objective of the preset and the trainer.

        Raises:
            ConfigurationError: There is no such preset or setting.

        Example:
            >>> import jaxals
            >>> trainer, sizes = jaxals.ALS(sweeps=20), jaxals.Choice((32, 64))
            >>> space = jaxals.SearchSpace.preset("ials", trainer, factors=sizes, regularization=0.01)
            >>> space.ranges
            {'factors': Choice(options=(32, 64)), 'regularization': Choice(options=(0.01,)),
             'unobserved_weight': LogUniform(low=0.01, high=1.0)}
        """
        require_text("preset", preset, f"one of {', '.join(DEFAULT_RANGES)}")
        if preset not in DEFAULT_RANGES:
            raise ConfigurationError(f"There is no preset {told(preset)}; known are {', '.join(DEFAULT_RANGES)}.")
        trainer = ALS() if trainer is None else trainer
        if not isinstance(trainer, Trainer) or not dataclasses.is_dataclass(trainer) or isinstance(trainer, type):
            raise ConfigurationError(f"`trainer` must be a trainer, such as `ALS()`; got {told(trainer)}.")
        of_objective = list(inspect.signature(getattr(Objective, preset)).parameters)
        of_trainer = [field.name for field in dataclasses.fields(trainer)]
        for name in values:
            if name not in of_objective + of_trainer:
                raise ConfigurationError(
                    f"There is no setting {name!r} of {preset} or `ALS`; known are "
                    f"{', '.join(of_objective + of_trainer)}."
                )
        ranges = {name: _as_range(name, kind) for name, kind in (DEFAULT_RANGES[preset] | values).items()}
        for name, kind in ranges.items():
            for value in _extremes(kind):  # refused now, not in the first trial
                if name in of_trainer:
                    dataclasses.replace(trainer, **{name: value})
                else:
                    require_number(name, value)
                    getattr(Objective, preset)(**{name: float(value)})
        rescales = not _is_fixed(ranges.get("frequency_exponent", Choice((1.0,))))
        build = _OfPreset(preset, trainer, tuple(of_objective), tuple(of_trainer), rescales)
        return cls(ranges, build, f"{preset}, {json.dumps(describe_values(trainer=trainer))}")

    def draw(self, generator: np.random.Generator) -> dict[str, Any]:
        """Draw every setting independently.

        Args:
            generator: From `numpy.random.default_rng`; it moves on.

        Returns:
            A value of each setting by name.
        """
        require_kind("generator", generator, np.random.Generator, "a generator, from `np.random.default_rng`")
        positions = generator.random(len(self.ranges)).tolist()
        return {name: kind.at(position) for (name, kind), position in zip(self.ranges.items(), positions, strict=True)}


@settings
class _OfPreset:
    """What `SearchSpace.preset` builds, as a value: it can be compared and pickled."""

    preset: str
    trainer: ALS
    of_objective: tuple[str, ...]
    of_trainer: tuple[str, ...]
    rescales: bool

    def __repr__(self) -> str:
        return f"{self.preset}, {self.trainer!r}"

    def __call__(self, drawn: Settings, interactions: Interactions) -> tuple[Objective, Trainer]:
        objective = getattr(Objective, self.preset)(
            # Floats throughout: a whole number would be another type to compile for.
            **{k: float(v) for k, v in drawn.items() if k in self.of_objective}
        )
        if self.rescales:
            objective = rescale_regularization(objective, interactions)
        trainer = dataclasses.replace(self.trainer, **{k: v for k, v in drawn.items() if k in self.of_trainer})
        return objective, trainer


# Wide enough for public data sets of plays, ratings and purchases. λ of `ials` and `spark` is multiplied by a row's
# count of entries, that of the others is not.
DEFAULT_RANGES: dict[str, dict[str, Range]] = {
    "hkv": {"alpha": LogUniform(0.1, 100.0), "regularization": LogUniform(0.01, 1000.0)},
    "implicit": {"alpha": LogUniform(1.0, 100.0), "regularization": LogUniform(0.01, 1000.0)},
    "log": {"alpha": LogUniform(0.1, 100.0), "regularization": LogUniform(0.01, 1000.0)},
    "ials": {"unobserved_weight": LogUniform(0.01, 1.0), "regularization": LogUniform(0.001, 0.3)},
    "spark": {"alpha": LogUniform(0.1, 100.0), "regularization": LogUniform(0.001, 1.0)},
}


def rescale_regularization(
    objective: Objective, interactions: Interactions, reference_exponent: float = 1.0
) -> Objective:
    """Move λ* that was chosen for ν* to the objective's own ν, keeping the sum of all rows' ridges.

        λ = λ* · Σ_r (n_r + κ columns_r)^ν* / Σ_r (n_r + κ columns_r)^ν,   r over all users and items with entries

    Good values of λ lie orders of magnitude apart for different ν, good values of λ* do not (Rendle, Krichene, Zhang
    and Koren 2021, figure 1).

    Args:
        objective: With λ* as its `regularization`.
        interactions: What it is to be minimised on.
        reference_exponent: ν*.

    Returns:
        The objective with λ.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper.space import rescale_regularization
        >>> data = jaxals.Interactions.from_arrays([0, 0, 1], [0, 1, 1])
        >>> objective = jaxals.Objective.spark(regularization=0.1)
        >>> rescale_regularization(objective, data, reference_exponent=0.0).regularization
        0.067
    """
    offset, exponent = float(objective.frequency_offset), float(objective.frequency_exponent)

    def frequency(side: Side, n_columns: int) -> Float[np.ndarray, " rows"]:
        counts = interactions.counts(side)
        return counts[counts > 0] + offset * n_columns  # rows without entries have nothing to regularise

    rows = np.concatenate([frequency("user", interactions.n_items), frequency("item", interactions.n_users)])
    scale = np.sum(rows**reference_exponent) / np.sum(rows**exponent)
    return dataclasses.replace(objective, regularization=float(objective.regularization * scale))


def _as_range(name: str, kind: Any) -> Range:
    if isinstance(kind, (Choice, Uniform, LogUniform)):
        return kind
    if not isinstance(_as_python(kind), (int, float, str, type(None))):
        raise ConfigurationError(
            f"`{name}` must be a `Choice`, `Uniform`, `LogUniform` or one value to keep, a number, string or None; got "
            f"{told(kind)}."
        )
    return Choice((kind,))


def _extremes(kind: Range) -> tuple:
    return kind.options if isinstance(kind, Choice) else (kind.low, kind.high)


def _is_fixed(kind: Range) -> bool:
    return isinstance(kind, Choice) and len(kind.options) == 1
