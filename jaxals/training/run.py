"""What a training gives back, and what it tells on the way. Host side."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxals._base.settings import shown
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.trainers import Trainer


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Progress:
    """What a callback sees after each step.

    Attributes:
        step: Steps done, from 1.
        seconds: Time spent in training so far, the start included; neither compilation nor evaluations are.
        loss: Loss after the step, NaN where it was not asked for.
        metrics: Validation metrics after the step.
        factors: Both tables after the step.
        compile_seconds: Time spent on compiling so far.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> seen = []
        >>> callback = lambda progress: seen.append(progress.step)
        >>> trainer = jaxals.ALS(factors=4, sweeps=3)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), trainer, callbacks=[callback], progress=False)
        >>> seen
        [1, 2, 3]
    """

    step: int
    seconds: float
    loss: float
    metrics: dict[str, float]
    factors: Factors
    compile_seconds: float = 0.0

    def __repr__(self) -> str:
        rest = ", ".join(f"{name} {value:.5g}" for name, value in {"loss": self.loss, **self.metrics}.items())
        return f"Progress(step {self.step}, {self.seconds:.4g} s, {rest})"


Callback = Callable[[Progress], bool | None]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What `fit` returns.

    Attributes:
        factors: Both tables: after the last step, or the best step under early stopping.
        history: One row per step, or per so many steps as the trainer reports at once: "step", "seconds" spent in
            training so far, the start included, "compile_seconds" spent on compiling so far, which these leave out as
            they do evaluations, "loss" and the metrics asked for; also "unconverged_rows" if a step left rows short of
            the solver's tolerance.
        objective: What was minimised.
        trainer: What minimised it.
        stopped_early: Why training ended before its last step, or None.
        best_step: The step that `factors` are of; None for the last one.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), progress=False)
        >>> run.best["step"], bool(run.best["loss"] == run.history["loss"].min())
        (3, True)
    """

    factors: Factors
    history: pd.DataFrame
    objective: Objective
    trainer: Trainer
    stopped_early: str | None = None
    best_step: int | None = None

    @property
    def best(self) -> dict[str, Any]:
        """The row of the history that `factors` are of; empty where no step was taken."""
        return row_of(self.history, self.best_step)

    def __repr__(self) -> str:
        return summary(self, {"steps": len(self.history), **self.best, "stopped early": self.stopped_early})


def row_of(history: pd.DataFrame, step: int | None) -> dict[str, Any]:
    """Return the row of a step as plain numbers by name, by default the last row; empty where there is none."""
    if history.empty:
        return {}
    rows = history if step is None else history[history["step"] == step]
    return {str(name): value for name, value in rows.to_dict("records")[-1].items()}


def summary(result: Any, facts: Mapping[str, Any]) -> str:
    """Print what a training or a search gave back: what was found, by what, on so many lines as a person reads.

    Args:
        result: With the attributes `factors`, `objective` and `trainer`.
        facts: What to say beside these, by name; None is left out.
    """
    factors = result.factors
    size = "no factors"
    if factors is not None:
        size = f"{len(factors.user):,} users x {len(factors.item):,} items, {factors.user.shape[1]} factors"
    told = ", ".join(f"{name} {_short(value)}" for name, value in facts.items() if value is not None)
    lines = (f"{type(result).__name__}({size}", told, shown(result.objective), shown(result.trainer))
    return "\n    ".join(line for line in lines if line) + ")"


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def is_true(answer: Any) -> bool:
    """Tell whether a callback answered True, which ends training."""
    # True alone: what is written to a file, or appended to a list, often returns something, too.
    is_flag = isinstance(answer, bool) or (getattr(answer, "dtype", None) == np.bool_ and not np.shape(answer))
    return is_flag and bool(answer)
