"""The training loop that every trainer shares: history, progress, callbacks, early stopping. Host side."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from threadpoolctl import ThreadpoolController
from tqdm.auto import tqdm

from jaxals._checks import require_at_least, require_integer
from jaxals.als import StepInfo
from jaxals.errors import ConfigurationError, DataError, NumericalError
from jaxals.evaluation import EvaluationPlan, exposure, plan_evaluation, run_plan
from jaxals.interactions import Interactions, require_interactions
from jaxals.objective import Factors, Objective
from jaxals.sharding import make_mesh
from jaxals.trainers import ALS, Trainer, Training


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a callback sees after each step.

    Attributes:
        step: Steps done, from 1.
        seconds: Time spent in training steps so far, compilation included, evaluations not.
        loss: Loss after the step, NaN where it was not asked for.
        metrics: Validation metrics after the step.
        factors: Both tables after the step.
    """

    step: int
    seconds: float
    loss: float
    metrics: dict[str, float]
    factors: Factors


Callback = Callable[[Progress], bool | None]

_UNCONVERGED = "unconverged_rows"


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when what is watched has stopped getting better.

    Attributes:
        monitor: "loss" (less is better) or a metric such as "ndcg@10" (more is better, but for "gini@k").
        min_improvement: Relative change over the best so far that counts as better.
        patience: How many rows of the history in a row may pass without one.

    Raises:
        ConfigurationError: A setting lies outside its range.
    """

    monitor: str = "loss"
    min_improvement: float = 1e-3
    patience: int = 1

    def __post_init__(self) -> None:
        require_at_least("min_improvement", self.min_improvement, 0)
        require_integer("patience", self.patience, 1)


@dataclasses.dataclass(frozen=True)
class Run:
    """What `fit` returns.

    Attributes:
        factors: Both tables: after the last step, or the best step under early stopping.
        history: One row per sweep, or per so many steps as the trainer reports at once: "sweep" (or "step"), "seconds"
            spent in training so far (compilation included, evaluations not), "loss" and the metrics asked for; also
            "unconverged_rows" if a step left rows short of the solver's tolerance.
        objective: What was minimised.
        trainer: What minimised it.
        stopped_early: Why training ended before its last step, or None.
    """

    factors: Factors
    history: pd.DataFrame
    objective: Objective
    trainer: Trainer
    stopped_early: str | None = None


def fit(
    interactions: Interactions,
    objective: Objective,
    trainer: Trainer | None = None,
    *,
    seed: int | jax.Array = 0,
    initial: Factors | None = None,
    validation: Interactions | EvaluationPlan | None = None,
    metrics: str | Sequence[str] = (),
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callback] = (),
    loss_every: int = 1,
    mesh: Mesh | Literal["all"] | None = "all",
    progress: bool = True,
) -> Run:
    """Train a model of the interactions.

    Ctrl-C ends training after the last finished step and returns what there is.

    Args:
        interactions: What to train on.
        objective: What to minimise.
        trainer: How; `ALS()` by default.
        seed: Seed or `jax.random.key` of the initial factors; the same one gives the same numbers on the
            same devices.
        initial: Factors to continue from, instead of random ones.
        validation: Held-out interactions over the same catalog that `metrics` are measured on, or a plan that names its
            own metrics, such as `jaxals.evaluation.plan_evaluation` makes.
        metrics: Name or names such as "ndcg@10", measured for each row of the history; see `jaxals.evaluation`.
        early_stopping: When to stop before the last step.
        callbacks: Called with a `Progress` for each row of the history; one that returns True ends training.
        loss_every: Compute the loss for each so many rows of the history, 0 for never.
        mesh: Devices to share the work out over: all that JAX has (on a CPU, see `jaxals.use_all_cores`), those of a
            mesh, or None for the default device alone.
        progress: Whether to draw a progress bar.

    Returns:
        The factors and how they came about.

    Raises:
        ConfigurationError: Settings that contradict each other or cannot work.
        DataError: `interactions` are something else, or `initial` does not fit them or is not finite.
        NumericalError: A step gave numbers that are not finite.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = fit(data, Objective.hkv(alpha=1.0), ALS(factors=4, sweeps=3), progress=False)
        >>> bool(run.history["loss"].is_monotonic_decreasing), run.factors.item.shape
        (True, (30, 4))
    """
    trainer = ALS() if trainer is None else trainer
    _check_kinds(interactions, objective, trainer)
    plan = _plan(interactions, validation, metrics)
    _check_watched(plan, early_stopping, loss_every)
    _check_finite(interactions, objective, trainer, initial)
    training = trainer.begin(interactions, objective, _key(seed), initial, choose_devices(mesh))
    return minimise(
        training,
        objective,
        trainer,
        plan=plan,
        early_stopping=early_stopping,
        callbacks=callbacks,
        loss_every=loss_every,
        progress=progress,
    )


def choose_devices(mesh: Mesh | Literal["all"] | None) -> Mesh | None:
    """Return the mesh that `fit` is asked for."""
    if not (mesh is None or mesh == "all" or isinstance(mesh, Mesh)):
        raise ConfigurationError(f'`mesh` must be "all", a mesh from `make_mesh` or None; got {mesh!r}.')
    return make_mesh() if isinstance(mesh, str) else mesh


def minimise(
    training: Training,
    objective: Objective,
    trainer: Trainer,
    *,
    plan: EvaluationPlan | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callback] = (),
    loss_every: int = 1,
    progress: bool = True,
) -> Run:
    """Take the steps of a training that has begun; `fit` without its checks.

    Args:
        training: What `trainer.begin` returned.
        objective: What it minimises.
        trainer: What began it.
        plan: What to measure after each step.
        early_stopping: As in `fit`, and so below.
        callbacks: Called with a `Progress` after each step; one that returns True ends training.
        loss_every: Compute the loss after each so many steps, 0 for never.
        progress: Whether to draw a progress bar.

    Returns:
        The factors and how they came about.

    Raises:
        NumericalError: A step gave numbers that are not finite.
    """
    names = [metric.name for metric in plan.metrics] if plan else []
    factors = training.state.factors
    watch = _Watch(early_stopping, factors)
    records: list[dict[str, float]] = []
    stop = None

    with tqdm(total=training.n_steps, unit=training.unit, desc="Training", disable=not progress) as bar:
        try:
            for number, seconds, state, info in _steps(training, loss_every):
                _refuse_non_finite(info, number, training.unit, objective)
                factors = state.factors
                loss = float("nan") if info.loss is None else float(info.loss)
                if info.loss is not None and np.isnan(loss):
                    raise NumericalError(
                        f"After {training.unit} {number}, the loss is not a number, though all rows are finite: its "
                        f"sums overflow in {factors.user.dtype}; lower alpha or scale the values down."
                    )
                measured = run_plan(factors, plan).metrics if plan else {}
                unconverged = int(info.unconverged_rows)
                records.append(
                    {training.unit: number, "seconds": seconds, "loss": loss, **measured, _UNCONVERGED: unconverged}
                )
                bar.update(number - bar.n)
                bar.set_postfix({name: f"{value:.5g}" for name, value in {"loss": loss, **measured}.items()})

                snapshot = Progress(number, seconds, loss, measured, factors)
                if any([callback(snapshot) for callback in callbacks]):  # all of them, whatever the first says
                    stop = "a callback asked to stop"
                elif watch.has_settled(records[-1], factors):
                    stop = f"{watch.monitor} stopped improving"
                if stop:
                    break
        except KeyboardInterrupt:
            stop = "interrupted"
            warnings.warn(f"Interrupted; returning the factors after {len(records)} steps.", stacklevel=3)

    history = pd.DataFrame(records, columns=[training.unit, "seconds", "loss", *names, _UNCONVERGED])
    if not history[_UNCONVERGED].any():
        history = history.drop(columns=_UNCONVERGED)
    return Run(watch.choose(factors), history, objective, trainer, stop)


class _Watch:
    """The memory of early stopping: the best seen so far, and how long ago that was."""

    def __init__(self, early_stopping: EarlyStopping | None, factors: Factors):
        self._settings = early_stopping
        self._best, self._since_best = float("nan"), 0  # what `min_improvement` is measured from
        self._top, self._best_factors = float("nan"), factors

    @property
    def monitor(self) -> str:
        return self._settings.monitor if self._settings else ""

    def has_settled(self, record: dict[str, float], factors: Factors) -> bool:
        if self._settings is None:
            return False
        now = record[self.monitor]
        is_lower_better = self.monitor == "loss" or exposure.is_lower_better(self.monitor)
        gain = self._best - now if is_lower_better else now - self._best
        if np.isnan(self._top) or (now < self._top if is_lower_better else now > self._top):
            self._top, self._best_factors = now, factors
        if np.isnan(self._best) or gain > self._settings.min_improvement * abs(self._best):
            self._best, self._since_best = now, 0
        else:
            self._since_best += 1
        return self._since_best >= self._settings.patience

    def choose(self, last: Factors) -> Factors:
        """Return the best factors by what is watched, the last ones where nothing is."""
        return self._best_factors if self._settings else last


def _steps(training: Training, loss_every: int) -> Iterator[tuple[int, float, Any, StepInfo]]:
    """Take the steps, timing them alone, and number them."""
    state, seconds = training.state, 0.0
    blas = ThreadpoolController().select(user_api="blas")
    for call in range(1, -(-training.n_steps // training.stride) + 1):
        start = time.perf_counter()
        # The threads of BLAS, which JAX calls for one small eigendecomposition, would spin on beside JAX's own.
        with blas.limit(limits=1):
            state, info = training.step(state, loss_every > 0 and call % loss_every == 0)
            jax.block_until_ready((state, info))
        seconds += time.perf_counter() - start
        yield min(call * training.stride, training.n_steps), seconds, state, info


def _key(seed: Any) -> jax.Array:
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and not seed.shape:
        return seed
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and -(2**63) <= seed < 2**63:
        return jax.random.key(seed)
    raise ConfigurationError(f"`seed` must be an integer of 64 bits or one `jax.random.key`; got {seed!r}.")


def _check_kinds(interactions: Any, objective: Any, trainer: Any) -> None:
    require_interactions("interactions", interactions)
    if not len(interactions):
        raise DataError(f"There is nothing to train on: {interactions!r}.")
    if not isinstance(objective, Objective):
        raise ConfigurationError(f"`objective` must be an `Objective`, such as `Objective.hkv()`; got {objective!r}.")
    # A class has the methods of its instances, and the protocol asks for no more.
    if isinstance(trainer, type) or not isinstance(trainer, Trainer):
        raise ConfigurationError(f"`trainer` must be a trainer, such as `ALS()`; got {trainer!r}.")


def _plan(
    interactions: Interactions, validation: Interactions | EvaluationPlan | None, metrics: str | Sequence[str]
) -> EvaluationPlan | None:
    if isinstance(validation, EvaluationPlan):
        if metrics:
            raise ConfigurationError("A plan as `validation` names its own metrics; leave `metrics` out.")
        if validation.shape != interactions.shape:
            raise DataError(f"The plan is about {validation.shape} users and items, not {interactions.shape}.")
        return validation
    if bool(metrics) != (validation is not None):
        missing = "validation" if metrics else "metrics"
        raise ConfigurationError(f"`validation` and `metrics` go together; `{missing}` is missing.")
    return None if validation is None else plan_evaluation(interactions, validation, metrics)


def _check_watched(plan: EvaluationPlan | None, early_stopping: EarlyStopping | None, loss_every: int) -> None:
    require_integer("loss_every", loss_every, 0)
    if early_stopping is None:
        return
    names = [metric.name for metric in plan.metrics] if plan else []
    if early_stopping.monitor == "loss":
        if loss_every != 1:
            raise ConfigurationError(f"Early stopping on the loss needs `loss_every=1`; got {loss_every}.")
    elif early_stopping.monitor not in names:
        raise ConfigurationError(
            f"Early stopping watches {early_stopping.monitor!r}, which is not among the metrics {names}."
        )


def _check_finite(interactions: Interactions, objective: Objective, trainer: Trainer, initial: Factors | None) -> None:
    """Find on the host what would make every step NaN."""
    for name in ("user", "item") if initial is not None else ():
        if bad := int(np.sum(~np.isfinite(getattr(initial, name)).all(axis=1))):
            raise DataError(f"`initial` has {bad:,} {name} rows that are not finite.")
    dtype = jnp.dtype(getattr(trainer, "dtype", jnp.float32))
    size = np.abs(interactions.value)
    extremes = interactions.value[[np.argmin(size), np.argmax(size)]]
    with np.errstate(over="ignore"):
        weights = objective.weights(jnp.asarray(extremes.astype(dtype)))
    is_finite = np.isfinite(np.stack(weights)).all(axis=0)
    if not is_finite.all():
        value = extremes[np.argmin(is_finite)]
        raise ConfigurationError(
            f"The weights of a value of {value:.6g} are not finite in {dtype}; lower alpha or scale the values down."
        )


def _refuse_non_finite(info: StepInfo, number: int, unit: str, objective: Objective) -> None:
    if rows := int(info.non_finite_rows):
        raise NumericalError(
            f"After {unit} {number}, {rows:,} rows are not finite: their systems are singular or overflow in this "
            f"precision, or steps are too long; raise `regularization` (it is {objective.regularization}), or lower "
            "alpha or the learning rate."
        )
