"""Where a training stands: all that the loop needs to go on, and what early stopping remembers. Host side."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxals._base.arguments import require_text
from jaxals._base.checks import require_at_least, require_integer, require_number
from jaxals.evaluation import exposure
from jaxals.evaluation.plans import require_metric
from jaxals.objective.factors import Factors

Record = dict[str, float]

UNCONVERGED = "unconverged_rows"


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when what is watched has stopped getting better.

    Attributes:
        monitor: "loss" (less is better) or a metric such as "ndcg@10" (more is better, but for "gini@k").
        min_improvement: Relative change over the best so far that counts as better.
        patience: How many rows of the history in a row may pass without one.

    Raises:
        ConfigurationError: A setting lies outside its range, or there is no such metric.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> trainer, patient = jaxals.ALS(factors=4, sweeps=30), jaxals.EarlyStopping("loss", min_improvement=0.3)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), trainer, early_stopping=patient, progress=False)
        >>> run.stopped_early, len(run.history) < 30
        ('loss stopped improving', True)
    """

    monitor: str = "loss"
    min_improvement: float = 1e-3
    patience: int = 1

    def __post_init__(self) -> None:
        require_text("monitor", self.monitor, '"loss" or the name of a metric')
        if self.monitor != "loss":
            require_metric("monitor", self.monitor, also=["loss"])
        require_number("min_improvement", self.min_improvement)
        require_at_least("min_improvement", self.min_improvement, 0)
        require_integer("patience", self.patience, 1)


@dataclasses.dataclass(frozen=True)
class Watch:
    """The memory of early stopping: the best seen so far, and how long ago that was.

    Attributes:
        settings: When to stop.
        factors: The best so far.
        top: What was watched of them.
        best: What an improvement is measured from.
        since_best: Rows of the history since then.
    """

    settings: EarlyStopping
    factors: Factors
    top: float = float("nan")
    best: float = float("nan")
    since_best: int = 0

    def after(self, record: Record, factors: Factors) -> "Watch":
        """Return the memory after one more row of the history."""
        now = record[self.settings.monitor]
        sign = -1 if is_lower_better(self.settings.monitor) else 1
        new = self
        if np.isnan(self.top) or sign * now > sign * self.top:
            new = dataclasses.replace(new, top=now, factors=factors)
        if np.isnan(self.best) or sign * (now - self.best) > self.settings.min_improvement * abs(self.best):
            return dataclasses.replace(new, best=now, since_best=0)
        return dataclasses.replace(new, since_best=self.since_best + 1)

    @property
    def has_settled(self) -> bool:
        """Tell whether patience is at its end."""
        return self.since_best >= self.settings.patience


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a training stands.

    Attributes:
        state: What the next step needs.
        watch: What early stopping remembers, None without it.
        step: Steps done.
        seconds: Spent in them, and in the start.
        compile_seconds: Spent on compiling them, which the others leave out.
        records: Rows of the history.
        stopped: Why training ended here before its last step, or None.
    """

    state: Any
    watch: Watch | None = None
    step: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    records: tuple[Record, ...] = ()
    stopped: str | None = None

    @property
    def factors(self) -> Factors:
        """What training has come to: the best factors under early stopping, the last ones without."""
        return self.watch.factors if self.watch else self.state.factors

    @property
    def best_step(self) -> int | None:
        """The step that the best factors are of under early stopping; None for the last one."""
        if self.watch is None:
            return None
        watched, top = self.watch.settings.monitor, self.watch.top
        return next((int(record["step"]) for record in self.records if record.get(watched) == top), None)

    def after(self, state: Any, step: int, record: Record) -> "Position":
        """Return where training stands after one more row of the history."""
        watch = self.watch.after(record, state.factors) if self.watch else None
        spent = record["seconds"], record["compile_seconds"]
        return Position(state, watch, step, *spent, (*self.records, record))


def history_frame(records: Sequence[Record], columns: Sequence[str]) -> pd.DataFrame:
    """Make the history of a run; rows short of the solver's tolerance are told of only where there were any."""
    history = pd.DataFrame(list(records), columns=[*columns, UNCONVERGED])
    return history if history[UNCONVERGED].any() else history.drop(columns=UNCONVERGED)


def is_lower_better(monitor: str) -> bool:
    """Tell whether less is better of "loss" or of a metric."""
    return monitor == "loss" or exposure.is_lower_better(monitor)
