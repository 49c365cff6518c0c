"""Trainings ended early because earlier ones had more by then. Host side."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxals._base.arguments import listed, told
from jaxals._base.checks import require_integer, require_number
from jaxals.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class MedianPruning:
    """End a training whose best so far is below the median of what earlier trials had by the same step.

    The median stopping rule of Golovin, Solnik, Moitra, Kochanski, Karro and Sculley 2017 (Vizier, section 3.2.2), with
    the best instead of the mean of a trial's values.

    Attributes:
        startup_trials: Earlier trials that there must be.
        warmup_steps: Steps that every training may take.

    Raises:
        ConfigurationError: A setting lies outside its range.

    Example:
        >>> from jaxals.hyper import MedianPruning
        >>> rule = MedianPruning(startup_trials=2, warmup_steps=1)
        >>> rule.is_hopeless([0.1, 0.2], earlier=[[0.3, 0.4], [0.2, 0.5]])
        True
    """

    startup_trials: int = 5
    warmup_steps: int = 3

    def __post_init__(self) -> None:
        require_integer("startup_trials", self.startup_trials, 1)
        require_integer("warmup_steps", self.warmup_steps, 1)

    def is_hopeless(self, curve: Sequence[float], earlier: Sequence[Sequence[float]]) -> bool:
        """Judge the values after each step so far by those of earlier trials.

        Args:
            curve: The first metric after each step of this trial, up to now.
            earlier: The curves of the trials before it.

        Returns:
            Whether to give the trial up.
        """
        curve = _checked_curve("curve", curve)
        earlier = [_checked_curve("earlier", other) for other in listed("earlier", earlier, "a list of curves")]
        if len(earlier) < self.startup_trials or len(curve) <= self.warmup_steps:
            return False
        return max(curve) < float(np.median([max(other[: len(curve)]) for other in earlier]))


def _checked_curve(name: str, curve: Any) -> list[float]:
    values = listed(name, curve, "a list of numbers", is_ordered=True)
    for value in values:
        require_number(name, value, "a list of numbers")
    if not values:
        raise ConfigurationError(f"`{name}` must hold at least one number; got {told(curve)}.")
    return values
