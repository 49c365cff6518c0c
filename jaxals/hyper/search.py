"""Hyperparameters found on validation splits of what there is to train on, never on the test. Host side."""

import dataclasses
import os
import time
import warnings
import zlib
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from tqdm.auto import tqdm

from jaxals._base.arguments import checked_path, listed, require_flag, require_kind, told
from jaxals._base.checks import require_integer
from jaxals._base.environment import numeric_settings
from jaxals.als.layout.row_classes import MANY_FITS
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.parallel.mesh import use_all_cores_by_default
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.data.split import NegativesSplit, Split
from jaxals.errors import CheckpointError, ConfigurationError, JaxalsError
from jaxals.evaluation import exposure, leave_k_out, plan_evaluation, plan_negatives
from jaxals.hyper.pruning import MedianPruning
from jaxals.hyper.samplers import Sampler, propose, require_sampler
from jaxals.hyper.space import SearchSpace
from jaxals.hyper.trials import TrialLog, locked
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.fingerprint import describe
from jaxals.training.loop import choose_devices, fit, minimise
from jaxals.training.run import Progress, Run, summary
from jaxals.training.state import EarlyStopping
from jaxals.training.trainers import Trainer, Training


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SearchResult:
    """What `tune` found.

    Attributes:
        table: One row per trial: "trial", "state" ("done", "pruned" or "failed"), the settings, the means over splits
            of the metrics, "standard_error" of the first one between splits (none for one split), "best_step" (the
            median over splits of when it was best), "seconds" and "message" (why it failed).
        best: The row of the best trial.
        settings: Its settings.
        objective: The objective of those settings, for all interactions.
        trainer: The trainer of those settings, with as many steps as were best where it has `with_steps`.
        factors: Both tables, trained by these on all interactions; None where `refit` was False, or where the search
            or this training was interrupted or failed.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> space = jaxals.SearchSpace.preset("ials", jaxals.ALS(factors=4, sweeps=3))
        >>> found = jaxals.tune(data, space, trials=2, progress=False)
        >>> recommender = jaxals.Recommender.from_run(found, data)
        >>> bool(found.best["ndcg@10"] == found.table["ndcg@10"].max()), len(recommender.recommend(7, n=5))
        (True, 5)
    """

    table: pd.DataFrame
    best: dict[str, Any]
    settings: dict[str, Any]
    objective: Objective
    trainer: Trainer
    factors: Factors | None

    def __repr__(self) -> str:
        done = int((self.table["state"] == "done").sum())
        known = {name: value for name, value in self.best.items() if name != "state" and value == value}
        return summary(self, {"best of": f"{done} trials", **known})


def tune(
    interactions: Interactions,
    space: SearchSpace | None = None,
    *,
    trials: int = 60,
    metrics: str | Sequence[str] = "ndcg@10",
    validation: int | Sequence[Split | NegativesSplit] = 1,
    seed: int = 0,
    sampler: Sampler = "random",
    patience: int = 3,
    pruning: MedianPruning | None = MedianPruning(),  # noqa: B008 (it is frozen)
    path: str | os.PathLike | None = None,
    refit: bool = True,
    mesh: Mesh | Literal["all"] | None = "all",
    progress: bool = True,
) -> SearchResult:
    """Search settings by how well models of a part of the interactions rank the rest.

    Each trial trains with the settings that were drawn on every split, and scores the mean of each split's best step.
    Ctrl-C ends the search after the last finished trial, and returns what there is.

    Args:
        interactions: What there is to train on. Keep the test out of it.
        space: Settings to search, and what they mean; `SearchSpace.preset()` by default.
        trials: How many to have in the end, those of `path` included.
        metrics: What is measured, such as "ndcg@10"; the first one chooses.
        validation: How many times to hold out one random item of every user, or splits of your own, each a `Split` or,
            to rank among negatives, a `NegativesSplit`. More of them cost more and choose with less noise.
        seed: Of the splits, the settings and the initial factors, which are the same in all trials.
        sampler: "random", or "tpe", which needs Optuna (`pip install "jaxals[tune]"`).
        patience: How many steps in a row may pass without a new best before a training ends.
        pruning: When to end a trial that looks hopeless; None trains all to their end.
        path: File to keep the trials in; a search that finds its own trials there goes on from them.
        refit: Whether to train the best settings on all interactions at the end, with the seed of the search.
        mesh: Devices, as in `fit`.
        progress: Whether to draw a progress bar.

    Returns:
        The best settings and all trials.

    Raises:
        CheckpointError: `path` holds something else, or trials of another search.
        ConfigurationError: An argument lies outside its range, or no trial could be trained.
        DataError: `interactions` are something else, or no user has two of them.
        MissingDependencyError: `sampler="tpe"` without Optuna.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=80, n_items=50, n_interactions=900, seed=0)
        >>> trainer, ridges = jaxals.ALS(factors=4, sweeps=5), jaxals.LogUniform(1e-3, 1e-1)
        >>> space = jaxals.SearchSpace.preset("ials", trainer, regularization=ridges)
        >>> found = jaxals.tune(data, space, trials=3, metrics="ndcg@10", progress=False)
        >>> sorted(found.settings), len(found.table), found.factors.item.shape
        (['regularization', 'unobserved_weight'], 3, (50, 4))
    """
    use_all_cores_by_default(mesh)
    require_interactions("interactions", interactions)
    space = SearchSpace.preset() if space is None else space
    require_kind("space", space, SearchSpace, "a `SearchSpace`, such as `SearchSpace.preset()`")
    require_integer("trials", trials, 1)
    require_integer("seed", seed, 0, 2**63 - 1)
    require_integer("patience", patience, 1)
    if pruning is not None:
        require_kind("pruning", pruning, MedianPruning, "a `MedianPruning` or None")
    if path is not None:
        path = checked_path("path", path, CheckpointError)
    for name, flag in (("refit", refit), ("progress", progress)):
        require_flag(name, flag)
    require_sampler(sampler)
    folds = [_Fold(split, metrics) for split in _splits(interactions, validation, seed)]
    _require_choosable(folds[0].plan.metrics[0].name)
    stopping = EarlyStopping(folds[0].plan.metrics[0].name, min_improvement=0.0, patience=patience)
    search = _Search(space, folds, seed, stopping, pruning, choose_devices(mesh))
    with locked(path):
        done = _all_trials(search, sampler, trials, path, progress)
    best = search.best(done)
    objective, trainer = space.build(best["settings"], interactions)
    if with_steps := getattr(trainer, "with_steps", None):
        trainer = with_steps(best["best_step"])
    frame = pd.DataFrame([_row(trial) for trial in done])
    factors = None
    if refit and len(done) >= trials:
        factors = _refitted(interactions, objective, trainer, seed, search.mesh, progress)
    return SearchResult(frame, _row(best), best["settings"], objective, trainer, factors)


def _all_trials(
    search: "_Search", sampler: Sampler, trials: int, path: str | os.PathLike | None, progress: bool
) -> list[dict[str, Any]]:
    """Return the trials that there were and those that were missing; fewer after Ctrl-C."""
    # What `build` reaches may be large: it is looked at where it is compared.
    log = TrialLog(path, {} if path is None else {**search.description, "sampler": sampler})
    done = log.trials
    try:
        with tqdm(total=trials, initial=len(done), unit="trial", desc="Tuning", disable=not progress) as bar:
            for number in range(len(done), trials):
                scored = [(trial["settings"], trial["metrics"].get(search.metric)) for trial in done]
                settings = propose(sampler, search.space, search.seed, scored)
                log.append({"trial": number, **search.try_out(settings, done)})
                bar.update()
                if any(_is_done(trial) for trial in done):
                    bar.set_postfix({f"best {search.metric}": f"{search.best(done)['metrics'][search.metric]:.5g}"})
    except KeyboardInterrupt:
        if not any(_is_done(trial) for trial in done):
            raise
        how = "call again with the same `path`" if path else "name a `path` the next time"
        warnings.warn(f"Interrupted after {len(done)} trials; to go on, {how}.", stacklevel=3)
    return done


def _refitted(
    interactions: Interactions, objective: Objective, trainer: Trainer, seed: int, mesh: Mesh | None, progress: bool
) -> Factors | None:
    """Train what was found on everything; a search is not lost with the training that was to follow it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Interrupted")
            run = fit(interactions, objective, trainer, seed=seed, mesh=mesh, progress=progress)
        problem = run.stopped_early
    except KeyboardInterrupt:
        problem = "interrupted"
    except (JaxalsError, jax.errors.JaxRuntimeError) as error:
        problem = str(error)
    if problem is None:
        return run.factors
    warnings.warn(f"The best settings were not trained on all interactions: {problem.rstrip('.')}.", stacklevel=3)
    return None


class _Fold:
    """One validation split: what is trained on, what is measured, and the tiles of the last layout."""

    def __init__(self, split: Split | NegativesSplit, metrics: str | Sequence[str]):
        self.train = split.train
        if isinstance(split, NegativesSplit):
            self.plan = plan_negatives(split.train, split.test, split.negatives, metrics)
        else:
            self.plan = plan_evaluation(split.train, split.test, metrics)
        self._layout: dict[str, Any] | None = None
        self._tiles: tuple[RowTiles, RowTiles] | None = None

    @property
    def fingerprint(self) -> list[int]:
        """Tell this split from others."""
        arrays = [self.train.user, self.train.item, self.train.value, self.plan.relevant.item]
        if self.plan.candidates is not None:
            arrays.append(self.plan.candidates.item)
        return [len(self.train), *(zlib.crc32(array.tobytes()) for array in arrays)]

    def begin(self, objective: Objective, trainer: Trainer, key: jax.Array, mesh: Mesh | None) -> Training:
        """Begin a training, on the tiles of the one before where they have the same layout."""
        layout, cut = getattr(trainer, "layout", None), getattr(trainer, "cut", None)
        if layout is None or cut is None:
            return trainer.begin(self.train, objective, key, None, mesh)
        if layout != self._layout:
            self._layout, self._tiles = layout, cut(self.train, mesh, MANY_FITS)
        begin: Any = trainer.begin
        return begin(self.train, objective, key, None, mesh, self._tiles)


class _Watcher:
    """The callback that keeps the curve of a training, and ends it where it looks hopeless."""

    def __init__(self, metric: str, rule: MedianPruning | None, earlier: Sequence[Sequence[float]]):
        self.curve: list[float] = []
        self.is_hopeless = False
        self._metric, self._rule, self._earlier = metric, rule, earlier

    def __call__(self, step: Progress) -> bool:
        self.curve.append(step.metrics[self._metric])
        self.is_hopeless = self._rule is not None and self._rule.is_hopeless(self.curve, self._earlier)
        return self.is_hopeless


@dataclasses.dataclass(frozen=True, eq=False)
class _Search:
    """What all trials have in common."""

    space: SearchSpace
    folds: Sequence[_Fold]
    seed: int
    stopping: EarlyStopping
    pruning: MedianPruning | None
    mesh: Mesh | None

    @property
    def metrics(self) -> list[str]:
        return [metric.name for metric in self.folds[0].plan.metrics]

    @property
    def metric(self) -> str:
        """The one that chooses."""
        return self.stopping.monitor

    @property
    def description(self) -> dict[str, Any]:
        """All that trials depend on, but for the sampler."""
        return {
            **{f"range of {name}": repr(kind) for name, kind in self.space.ranges.items()},
            "what is not searched": self.space.description,
            "metrics": self.metrics,
            "seed": self.seed,
            "patience": self.stopping.patience,
            "pruning": repr(self.pruning),
            "fingerprints of the splits": [fold.fingerprint for fold in self.folds],
            **describe(build=self.space.build, **numeric_settings()),
        }

    def try_out(self, settings: dict[str, Any], earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Train with some settings on every split, and record what came of it."""
        start, state, message = time.perf_counter(), "done", None
        curves: list[list[float]] = []
        bests: list[dict[Hashable, float]] = []
        try:
            for number in range(len(self.folds)):
                others = [trial["curves"][number] for trial in earlier if len(trial["curves"]) > number]
                watcher = _Watcher(self.metric, self.pruning, others)
                steps = self._train(settings, number, watcher).history.to_dict("records")
                curves.append(watcher.curve)
                bests.append(max(steps, key=lambda step: step[self.metric]))
                if watcher.is_hopeless:
                    state = "pruned"
                    break
        except (JaxalsError, jax.errors.JaxRuntimeError) as error:  # it diverged, or memory does not hold it
            state, message, curves, bests = "failed", str(error), [], []
        scores = [best[self.metric] for best in bests]
        return {
            "state": state,
            "settings": settings,
            "metrics": {name: float(np.mean([best[name] for best in bests])) for name in self.metrics if bests},
            "standard_error": float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else None,
            "best_step": int(np.ceil(np.median([best["step"] for best in bests]))) if bests else None,
            "seconds": time.perf_counter() - start,
            "message": message,
            "curves": curves,
        }

    def _train(self, settings: dict[str, Any], number: int, watcher: _Watcher) -> Run:
        fold = self.folds[number]
        objective, trainer = self.space.build(settings, fold.train)
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        run = minimise(
            fold.begin(objective, trainer, key, self.mesh),
            objective,
            trainer,
            plan=fold.plan,
            early_stopping=self.stopping,
            callbacks=[watcher],
            loss_every=0,
            progress=False,
            announce=False,  # `tune` says it
        )
        if run.stopped_early == "interrupted":
            raise KeyboardInterrupt
        if run.history.empty:
            raise ConfigurationError("The trainer takes no steps, so there is nothing to measure.")
        return run

    def best(self, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the trial of the highest score, the first of several."""
        done = [trial for trial in trials if _is_done(trial)]
        if not done:
            raise ConfigurationError(
                f"None of {len(trials)} trials could be trained to the end; the last one said: {trials[-1]['message']}"
            )
        return max(done, key=lambda trial: trial["metrics"][self.metric])


def _is_done(trial: dict[str, Any]) -> bool:
    return trial["state"] == "done"


def _row(trial: dict[str, Any]) -> dict[str, Any]:
    first = {"trial": trial["trial"], "state": trial["state"], **trial["settings"], **trial["metrics"]}
    return first | {name: trial[name] for name in ("standard_error", "best_step", "seconds", "message")}


def _require_choosable(metric: str) -> None:
    if exposure.is_lower_better(metric):
        raise ConfigurationError(f"The first of `metrics` chooses, and must get better by growing; got {metric!r}.")


def _splits(interactions: Interactions, validation: Any, seed: int) -> Sequence[Split | NegativesSplit]:
    if isinstance(validation, (int, np.integer)):
        require_integer("validation", validation, 1)
        return [leave_k_out(interactions, 1, seed + number) for number in range(validation)]
    splits = listed("validation", validation, "a number, or a list of splits")
    if not splits or not all(isinstance(one, (Split, NegativesSplit)) for one in splits):
        raise ConfigurationError(f"`validation` must be a number, or a list of splits; got {told(validation)}.")
    return splits
