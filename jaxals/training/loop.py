"""The training loop that every trainer shares: history, progress, callbacks, early stopping. Host side."""

import collections
import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm.auto import tqdm

from jaxals._base.arguments import (
    listed,
    listed_names,
    require_flag,
    require_function,
    require_kind,
    require_mesh,
    require_protocol,
    told,
)
from jaxals._base.blas import loaded_blas, one_blas_thread
from jaxals._base.compilation import compile_ahead, compile_time
from jaxals._base.devices import devices_of, require_one_process
from jaxals._base.environment import numeric_settings, usable_devices
from jaxals._base.forks import refuse_forked_process
from jaxals._base.memory import give_back_memory
from jaxals.als.parallel.mesh import make_mesh, use_all_cores_by_default
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import EvaluationPlan, plan_evaluation, run_plan
from jaxals.evaluation.plans import same_ids
from jaxals.objective.default import default_objective
from jaxals.objective.factors import Factors, require_shape
from jaxals.objective.objective import Objective, require_objective
from jaxals.training.advice import warn_below_popularity, warn_of_far_numbers
from jaxals.training.beginning import require_watched
from jaxals.training.checkpoint import Checkpoint, CheckpointFolder
from jaxals.training.divergence import require_finite_start, require_finite_step
from jaxals.training.fingerprint import describe
from jaxals.training.interruption import REASONS, Interruption, StepAbandoned
from jaxals.training.run import Callback, Progress, Run, is_true
from jaxals.training.state import UNCONVERGED, EarlyStopping, Position, Watch, history_frame
from jaxals.training.trainers import ALS, Trainer, Training

T = TypeVar("T")


def fit(
    interactions: Interactions,
    objective: Objective | None = None,
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
    checkpoint: Checkpoint | None = None,
    resume: bool | Literal["anyway"] = False,
) -> Run:
    """Train a model of the interactions.

    Ctrl-C ends training after the last finished step and returns what there is. With `checkpoint`, SIGTERM does so,
    too: the step that is running is finished first, or left behind where it takes longer than some seconds; a
    checkpoint is written, and a second Ctrl-C is a `KeyboardInterrupt` at once. Steps and evaluations then run in a
    thread of their own, under the precision, the types and the default device that context managers of JAX set here.
    Callbacks are waited for however long they take, and so is, when the interpreter ends, a step left behind.

    Args:
        interactions: What to train on.
        objective: What to minimise; by default what `jaxals.objective.default_objective` makes of the interactions.
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
        mesh: Devices to share the work out over: all that JAX has, those of a mesh, or None for the default device
            alone. On a CPU, "all" makes a device of each core where JAX has not begun and nobody has said how many
            there are to be (`jax_num_cpu_devices`, or `--xla_force_host_platform_device_count` in `XLA_FLAGS`); where
            it has begun with one, a warning says what to do.
        progress: Whether to draw a progress bar.
        checkpoint: Folder to write down from time to time where training stands, and how often.
        resume: Whether to go on from the newest whole checkpoint, where there is one. What was trained is then, bit by
            bit, what it would be without the interruption, on the same kind and number of devices. Checkpoints of
            another run are refused, with "anyway" they are not; more steps than before may always be asked for, and
            the history then keeps the row of the step where it had ended. `validation` and `early_stopping` may be
            added, and count from there on. Callbacks do not see again what they have seen.

    Returns:
        The factors and how they came about.

    Raises:
        CheckpointError: The folder of checkpoints cannot be used, or holds some that `resume` does not fit.
        ConfigurationError: Settings that contradict each other or cannot work, or a process that was forked after JAX
            had begun.
        DataError: `interactions` are something else, or `initial` does not fit them or is not finite.
        NumericalError: A step gave numbers that are not finite.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(alpha=1.0), jaxals.ALS(factors=4, sweeps=3), progress=False)
        >>> bool(run.history["loss"].is_monotonic_decreasing), run.factors.item.shape
        (True, (30, 4))
    """
    refuse_forked_process()
    use_all_cores_by_default(mesh)
    trainer = ALS() if trainer is None else trainer
    objective = default_objective(interactions) if objective is None else objective
    check_kinds(interactions, objective, trainer)
    if initial is not None:
        require_shape(initial, interactions.shape, "initial")
    if early_stopping is not None:
        require_kind("early_stopping", early_stopping, EarlyStopping, "an `EarlyStopping` or None")
    if checkpoint is not None:
        require_kind("checkpoint", checkpoint, Checkpoint, "a `Checkpoint` or None")
    if not isinstance(resume, (bool, str)) or resume not in (True, False, "anyway") or (resume and checkpoint is None):
        raise ConfigurationError(f'`resume` may be True or "anyway" beside a `checkpoint`; got {told(resume)}.')
    callbacks = _checked_callbacks(callbacks)
    require_flag("progress", progress)
    plan = plan_validation(interactions, validation, metrics)
    require_watched(plan, early_stopping, checkpoint, loss_every)
    require_finite_start(interactions, objective, jnp.dtype(getattr(trainer, "dtype", jnp.float32)), initial)
    warn_of_far_numbers(interactions, objective, stacklevel=3)
    key = as_key(seed)
    devices = choose_devices(mesh)
    training = trainer.begin(interactions, objective, key, initial, devices)
    go = functools.partial(
        minimise,
        training,
        objective,
        trainer,
        plan=plan,
        early_stopping=early_stopping,
        callbacks=callbacks,
        loss_every=loss_every,
        progress=progress,
        interactions=interactions,
    )
    if checkpoint is None:
        return go()
    description = describe(
        interactions=interactions,
        objective=objective,
        # Whoever goes on may ask for more steps.
        trainer=trainer.with_steps(0) if hasattr(trainer, "with_steps") else trainer,
        seed=key,
        initial=initial,
        validation=plan,
        early_stopping=early_stopping,
        loss_every=loss_every,
        **numeric_settings(),
    )
    with CheckpointFolder(checkpoint, description, _columns(plan), _kinds(devices)).opened() as folder:

        def restore() -> Position:
            begun = _start(training, early_stopping, loss_every)
            standing = folder.restore(begun, bool(resume), resume == "anyway")
            if standing.step > training.n_steps:
                raise ConfigurationError(
                    f"The newest checkpoint in {folder.path} is of {training.unit} {standing.step}, past the "
                    f"{training.n_steps} that are asked for."
                )
            return standing

        return go(restore=restore, folder=folder)


def _start(training: Training, early_stopping: EarlyStopping | None, loss_every: int) -> Position:
    def start() -> Any:
        if training.programs and training.n_steps:
            compile_ahead(training.programs(loss_every == 1))
        return training.start()

    state, seconds, compile_seconds = _timed(start, loaded_blas())
    watch = Watch(early_stopping, state.factors) if early_stopping else None
    return Position(state, watch, seconds=seconds, compile_seconds=compile_seconds)


def _columns(plan: EvaluationPlan | None) -> list[str]:
    return ["step", "seconds", "compile_seconds", "loss", *([metric.name for metric in plan.metrics] if plan else [])]


def choose_devices(mesh: Mesh | Literal["all"] | None) -> Mesh | None:
    """Return the mesh that `fit` is asked for."""
    if isinstance(mesh, str) and mesh == "all":
        return make_mesh()
    if not (mesh is None or isinstance(mesh, Mesh)):
        raise ConfigurationError(f'`mesh` must be "all", a mesh from `make_mesh` or None; got {told(mesh)}.')
    require_mesh(mesh)
    require_one_process(mesh)
    return mesh


def _kinds(mesh: Mesh | None) -> str:
    """Say how many devices of which kind train."""
    counts = collections.Counter(device.device_kind for device in devices_of(mesh))
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


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
    interactions: Interactions | None = None,
    restore: Callable[[], Position] | None = None,
    folder: CheckpointFolder | None = None,
    announce: bool = True,
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
        interactions: What is trained on, for messages.
        restore: Returns where to go on from; by default it is the beginning.
        folder: Where to write checkpoints.
        announce: Whether to warn of an interruption; filters of warnings are one for all threads.

    Returns:
        The factors and how they came about.

    Raises:
        CheckpointError: A checkpoint could not be written.
        NumericalError: A step gave numbers that are not finite.
    """
    unit, columns = training.unit, _columns(plan)
    blas = loaded_blas()
    interruption = Interruption()
    # A signal leaves behind what takes too long, and where a finished step is still being measured, the step with it.
    take = _call if folder is None else interruption.run
    is_first = True
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=training.n_steps, unit=unit, desc="Compiling", disable=not progress))
        standing = _start(training, early_stopping, loss_every) if restore is None else restore()
        # What compiling took says nothing of the time to come.
        bar.reset()
        bar.initial = bar.n = standing.step
        bar.set_description("Training")
        if folder is not None:
            stack.enter_context(interruption.listening())
        try:
            while standing.step < training.n_steps and not standing.stopped:
                with_loss = loss_every > 0 and (len(standing.records) + 1) % loss_every == 0
                work = functools.partial(training.step, standing.state, with_loss)
                (state, info), seconds, compile_seconds = take(functools.partial(_timed, work, blas))
                if is_first:
                    give_back_memory()  # what compiling took
                    is_first = False
                if folder is not None:
                    folder.wait()  # so that no more than `every` rows of the history can be lost
                row_ends = (standing.step // training.stride + 1) * training.stride
                number = min(row_ends, training.n_steps)
                where, is_solved = f"{unit} {number}", training.solves_systems
                why = functools.partial(training.explain, standing.state) if training.explain else None
                require_finite_step(info, state.factors, where, objective, interactions, is_solved, why)
                loss = float("nan") if info.loss is None else float(info.loss)
                metrics = take(functools.partial(run_plan, state.factors, plan)).metrics if plan else {}
                record = {
                    "step": number,
                    "seconds": standing.seconds + seconds,
                    "compile_seconds": standing.compile_seconds + compile_seconds,
                    "loss": loss,
                    **metrics,
                }
                standing = standing.after(state, number, {**record, UNCONVERGED: int(info.unconverged_rows)})
                bar.update(number - bar.n)
                bar.set_postfix({name: f"{value:.5g}" for name, value in {"loss": loss, **metrics}.items()})

                snapshot = Progress(number, standing.seconds, loss, metrics, state.factors, standing.compile_seconds)
                reason = None
                answers = [callback(snapshot) for callback in callbacks]  # all of them, whatever the first says
                if any(map(is_true, answers)):
                    reason = "a callback asked to stop"
                elif standing.watch and standing.watch.has_settled:
                    reason = f"{standing.watch.settings.monitor} stopped improving"
                standing = dataclasses.replace(standing, stopped=reason or interruption.reason)
                if folder is not None and (standing.stopped or number == training.n_steps or folder.is_due(standing)):
                    folder.write(standing)
        except StepAbandoned:
            standing = dataclasses.replace(standing, stopped=interruption.reason)
            if folder is not None:
                folder.write(standing)
        except KeyboardInterrupt:
            if folder is not None:  # the second one, which is to end everything at once
                raise
            standing = dataclasses.replace(standing, stopped="interrupted")
        if folder is not None:
            folder.wait()
    if announce and standing.stopped in REASONS:
        how = "" if folder is None else f"; `resume=True` goes on from there, with the checkpoints in {folder.path}"
        done = f"returning the factors after {unit} {standing.step}"
        warnings.warn(f"{standing.stopped.capitalize()}; {done}{how}.", stacklevel=3)
    history = history_frame(standing.records, columns)
    run = Run(standing.factors, history, objective, trainer, standing.stopped, standing.best_step)
    if announce and interactions is not None and standing.stopped not in REASONS:
        warn_below_popularity(run, plan, interactions, stacklevel=4)
    return run


def _call(work: Callable[[], T]) -> T:
    return work()


def _timed(work: Callable[[], T], blas: Any) -> tuple[T, float, float]:
    """Return what work gives, the seconds that it took, and those that went into compiling for it."""
    start = time.perf_counter()
    # The threads of BLAS, which JAX calls for one small eigendecomposition, would spin on beside JAX's own.
    with one_blas_thread(blas), compile_time() as compilation:
        done = jax.block_until_ready(work())
    return done, time.perf_counter() - start - compilation.seconds, compilation.seconds


def as_key(seed: Any) -> jax.Array:
    """Return the key that a seed stands for.

    Raises:
        ConfigurationError: It is neither an integer of 64 bits nor a key.
    """
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and not seed.shape:
        return seed
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and -(2**63) <= seed < 2**63:
        return jax.random.key(seed)
    raise ConfigurationError(f"`seed` must be an integer of 64 bits or one `jax.random.key`; got {told(seed)}.")


def check_kinds(interactions: Any, objective: Any, trainer: Any) -> None:
    """Refuse what is no interactions, no objective or no trainer, and interactions without an entry."""
    usable_devices()  # before JAX is asked for an array
    require_interactions("interactions", interactions)
    if not len(interactions):
        raise DataError(f"There is nothing to train on: {interactions!r}.")
    require_objective("objective", objective)
    require_protocol("trainer", trainer, Trainer, "a trainer, such as `ALS()`", ConfigurationError)


def _checked_callbacks(callbacks: Any) -> list[Callback]:
    found = listed("callbacks", callbacks, "a list of functions of a `Progress`")
    for callback in found:
        require_function("callbacks", callback, of=["progress"])
    return found


def plan_validation(
    interactions: Interactions, validation: Interactions | EvaluationPlan | None, metrics: str | Sequence[str]
) -> EvaluationPlan | None:
    """Return what `fit` is to measure after each step, or None.

    Raises:
        ConfigurationError: `validation` and `metrics` do not go together.
        DataError: The plan is about other users or items.
    """
    if isinstance(validation, EvaluationPlan):
        if not (isinstance(metrics, (str, tuple, list)) and not metrics):
            raise ConfigurationError("A plan as `validation` names its own metrics; leave `metrics` out.")
        if validation.shape != interactions.shape:
            raise DataError(f"The plan is about {validation.shape} users and items, not {interactions.shape}.")
        if not same_ids(validation.catalog, interactions.catalog):
            raise DataError("The plan as `validation` has other raw ids than the interactions; make both of one split.")
        return validation
    if validation is not None:
        require_interactions("validation", validation)
    names = listed_names("metrics", metrics) if not isinstance(metrics, str) or metrics else []
    if bool(names) != (validation is not None):
        missing = "validation" if names else "metrics"
        raise ConfigurationError(f"`validation` and `metrics` go together; `{missing}` is missing.")
    return None if validation is None else plan_evaluation(interactions, validation, names)
