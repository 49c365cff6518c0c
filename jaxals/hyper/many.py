"""Many models: those of a grid trained by one compiled program, and a table of how they came out. Host side."""

import dataclasses
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm.auto import tqdm

from jaxals._base.arguments import listed, require_flag, require_protocol
from jaxals._base.blas import loaded_blas, one_blas_thread
from jaxals._base.checks import require_integer, require_one_of
from jaxals._base.devices import devices_of
from jaxals._base.memory import available_memory, require_memory
from jaxals._base.settings import same, shown
from jaxals.als.parallel.mesh import use_all_cores_by_default
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, JaxalsError, NumericalError
from jaxals.evaluation import EvaluationPlan, exposure, run_plan
from jaxals.hyper.grid import BuildObjective, Candidate, Grid, by_program, expand, stack
from jaxals.hyper.programs import train_many
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.loop import as_key, check_kinds, choose_devices, plan_validation
from jaxals.training.program import Program
from jaxals.training.run import Run
from jaxals.training.trainers import ALS, Trainer

_COUNTS = ("non_finite_rows", "unconverged_rows")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """What `fit_many` returns: models that were trained side by side, and the best of them.

    Attributes:
        table: One row per model, its number as index: its settings, "seed", "loss", the metrics, "seconds" (its share
            of the time that the models trained at once took; compilation is in that of the first ones), and
            "non_finite_rows" and "unconverged_rows" where there are any.
        metrics: Names of the metrics; the first one chooses the best model.
        models: All that were to be trained, by number.
        kept: Factors by number of the model, as NumPy arrays.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper import fit_many
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> objective, trainer = jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3)
        >>> runs = fit_many(data, objective, trainer, seed=range(3), progress=False)
        >>> len(runs.table), runs.run(2).factors.item.shape, bool(runs.best["loss"] == runs.table["loss"].min())
        (3, (30, 4), True)
    """

    table: pd.DataFrame
    metrics: Sequence[str]
    models: Sequence[Candidate]
    kept: dict[int, Factors]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best model, and its number as "model".

        The best is it by the first metric, or by the loss where models differ in nothing but seeds.

        Raises:
            ConfigurationError: There are no metrics, and losses do not compare.
            NumericalError: No model came out finite.
        """
        _require_comparable(self.models, self.metrics)
        rows: dict[Any, Any] = self.table.to_dict("index")
        best = _best_of(rows, self.metrics)
        if best is None:
            raise NumericalError(f"None of {len(self.table)} models came out finite; see `table`.")
        return {"model": best, **rows[best]}

    @property
    def factors(self) -> Factors:
        """Both tables of the best model."""
        return self.run().factors

    @property
    def objective(self) -> Objective:
        """What the best model minimises."""
        return self.models[self.best["model"]].objective

    @property
    def trainer(self) -> Trainer:
        """What trained the best model."""
        return self.models[self.best["model"]].trainer

    def run(self, number: int | np.integer | None = None) -> Run:
        """Return a model as `fit` returns one, its history a single row.

        Args:
            number: Of the model in the table; the best one by default.

        Returns:
            Factors as JAX arrays, objective and trainer of the model, and its row of the table as history.

        Raises:
            ConfigurationError: There is no such model, or it was not kept.
        """
        number = self.best["model"] if number is None else number
        require_integer("number", number, 0)
        if number not in self.table.index:
            raise ConfigurationError(f"There is no model {number}; the table has {len(self.table)}.")
        if number not in self.kept:
            raise ConfigurationError(f'The factors of model {number} were not kept; train with `keep="all"`.')
        factors, model = jax.tree.map(jnp.asarray, self.kept[int(number)]), self.models[int(number)]
        history = self.table.loc[[number], "loss":].reset_index(drop=True)
        return Run(factors, history, model.objective, model.trainer)

    def __repr__(self) -> str:
        told = f"Runs({len(self.table)} of {len(self.models)} models, {len(self.kept)} kept"
        try:
            return f"{told}\n    best {shown(self.best)}\n    {shown(self.objective)}\n    {shown(self.trainer)})"
        except JaxalsError as error:  # there is no best one
            return f"{told}; {error})"


def fit_many(
    interactions: Interactions,
    objective: Objective | BuildObjective,
    trainer: Trainer | None = None,
    *,
    space: Grid = ({},),
    seed: int | jax.Array | Iterable[int | jax.Array] = 0,
    validation: Interactions | EvaluationPlan | None = None,
    metrics: str | Sequence[str] = (),
    keep: Literal["all", "best"] = "all",
    mesh: Mesh | Literal["all"] | None = "all",
    progress: bool = True,
) -> Runs:
    """Train many models of the same interactions in one compiled program.

    Every device trains models of its own, one after another, so that what is held in memory does not grow with their
    number, but for the factors that are kept. Ctrl-C ends it after the models that are being trained, and
    returns those that are done.

    Args:
        interactions: What to train on.
        objective: What to minimise, where `space` replaces fields of it and of its confidence; or a function of
            settings in `space`, such as `Objective.ials`, which takes what else it needs from its defaults.
        trainer: How; `ALS()` by default. Only its last step is reported. One of your own needs a method `program`.
        space: A list of values for each setting, whose combinations are all trained; or a list of settings, as those
            that `SearchSpace.draw` returns. Attributes of the trainer are settings, too: each number of factors is a
            compiled program of its own.
        seed: Of the initial factors, or several of them; every setting is trained with each.
        validation: Held-out interactions that `metrics` are measured on, or a plan, as in `fit`.
        metrics: Such as "ndcg@10"; the first one chooses the best model.
        keep: Whether to keep the factors of all models, or of the best alone.
        mesh: Devices, as in `fit`; fewer where memory does not hold a model in training on each.
        progress: Whether to draw a progress bar.

    Returns:
        A table with one row per model, and their factors. A model with rows that are not finite has no metrics.

    Raises:
        ConfigurationError: Settings that do not exist, contradict each other or cannot work, or do not fit in memory.
        DataError: `interactions` or `validation` are something else.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper import fit_many
        >>> data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, k=1, seed=0)
        >>> grid = {"alpha": [0.5, 2.0, 8.0], "regularization": [0.1, 1.0]}
        >>> trainer = jaxals.ALS(factors=4, sweeps=3)
        >>> found = fit_many(split.train, jaxals.Objective.hkv, trainer, space=grid, seed=range(2),
        ...                  validation=split.test, metrics="ndcg@10", progress=False)
        >>> len(found.table), list(found.table.columns)
        (12, ['alpha', 'regularization', 'seed', 'loss', 'ndcg@10', 'seconds'])
        >>> found.factors.item.shape
        (40, 4)
    """
    use_all_cores_by_default(mesh)
    trainer = ALS() if trainer is None else trainer
    require_interactions("interactions", interactions)
    require_protocol("trainer", trainer, Trainer, "a trainer, such as `ALS()`", ConfigurationError)
    require_flag("progress", progress)
    models = expand(objective, trainer, space, _listed(seed))
    for model in models:
        as_key(model.seed)
        check_kinds(interactions, model.objective, model.trainer)
    plan = plan_validation(interactions, validation, metrics)
    names = [metric.name for metric in plan.metrics] if plan else []
    _check_keep(keep, interactions, models, names)
    devices = choose_devices(mesh)

    rows: dict[int, dict[str, Any]] = {}
    kept: dict[int, Factors] = {}
    with tqdm(total=len(models), unit="model", desc="Training", disable=not progress) as bar:
        try:
            for numbers in by_program(models):
                for number, factors, row in _train(interactions, models, numbers, devices):
                    is_finite = not row["non_finite_rows"] and np.isfinite(row["loss"])
                    measured = run_plan(jax.tree.map(jnp.asarray, factors), plan).metrics if plan and is_finite else {}
                    rows[number] = row | measured
                    kept[number] = factors
                    if keep == "best":
                        best = _best_of(rows, names)
                        kept = {number: factors for number, factors in kept.items() if number == best}
                    bar.update()
        except KeyboardInterrupt:
            if not rows:
                raise
            warnings.warn(f"Interrupted; returning {len(rows)} of {len(models)} models.", stacklevel=2)
    return Runs(_table(models, rows, names), tuple(names), tuple(models), kept)


def _train(
    interactions: Interactions, models: Sequence[Candidate], numbers: Sequence[int], mesh: Mesh | None
) -> Iterator[tuple[int, Factors, dict[str, Any]]]:
    """Train the models of one program; yield the number, the factors and the row of each, as they are done."""
    program = _lay_out(interactions, models[numbers[0]].trainer)
    mesh = _spread(program, len(numbers), mesh)
    place = lambda axes: NamedSharding(mesh, axes) if mesh else None
    program = jax.device_put(program, place(PartitionSpec()))
    size = mesh.size if mesh else 1
    blas = loaded_blas()
    for first in range(0, len(numbers), size):
        chosen = numbers[first : first + size]
        # The last devices may be left over: all calls have one shape.
        filled = [models[number] for number in chosen] + [models[chosen[-1]]] * (size - len(chosen))
        objectives = stack([model.objective for model in filled], program.dtype)
        keys = jnp.stack([as_key(model.seed) for model in filled])
        own = jax.device_put((objectives, keys), place(PartitionSpec("models")))
        start = time.perf_counter()
        # As in `fit`: the threads of BLAS would spin on beside JAX's own.
        with one_blas_thread(blas):
            trained = jax.block_until_ready(train_many(program, *own, mesh))
        seconds = (time.perf_counter() - start) / len(chosen)
        trained = jax.tree.map(np.asarray, trained)
        for turn, number in enumerate(chosen):
            factors, info = jax.tree.map(lambda array, turn=turn: array[turn], (trained.factors, trained.info))
            counts = {name: int(getattr(info, name)) for name in _COUNTS}
            yield number, factors, {"loss": float(info.loss), "seconds": seconds, **counts}


def _lay_out(interactions: Interactions, trainer: Trainer) -> Program:
    """Lay out, for one device, what all models of a trainer share."""
    make = getattr(trainer, "program", None)
    if make is None:
        raise ConfigurationError(
            f"{type(trainer).__name__} has no method `program(interactions)`, by which many models are trained in one "
            "program; train them one by one with `fit`."
        )
    return make(interactions)


def _listed(seed: Any) -> list[Any]:
    """Return one seed, or several, as a list."""
    is_one_array = isinstance(seed, (np.ndarray, jax.Array)) and not seed.ndim
    is_one = is_one_array or isinstance(seed, (str, bytes, type)) or not isinstance(seed, Iterable)
    return (
        [seed] if is_one else listed("seed", seed, "an integer, a `jax.random.key`, or a list of them", is_ordered=True)
    )


def _spread(program: Program, n_models: int, mesh: Mesh | None) -> Mesh | None:
    """Choose the devices: no more than models, nor, of those that share the memory of a CPU, than it holds models."""
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(program)) + getattr(program, "working_bytes", 0)
    remedy = "train with `fit`, which cuts a model up over all devices"
    require_memory(need, "Training one model on one device", remedy, devices_of(mesh))
    devices = list(mesh.devices.flat) if mesh else []
    if devices and devices[0].platform == "cpu":
        devices = devices[: available_memory() // need]
    devices = devices[:n_models]
    return Mesh(np.asarray(devices), ("models",)) if len(devices) > 1 else None


def _check_keep(keep: Any, interactions: Interactions, models: Sequence[Candidate], metrics: Sequence[str]) -> None:
    require_one_of("keep", keep, "all", "best")
    if keep == "best":
        _require_comparable(models, metrics)
        return
    widths = [(getattr(model.trainer, "factors", 0), getattr(model.trainer, "dtype", "float32")) for model in models]
    size = sum(factors * jnp.dtype(dtype).itemsize for factors, dtype in widths)
    what = f"Keeping the factors of {len(models)} models"
    require_memory(size * sum(interactions.shape), what, 'pass `keep="best"`')


def _require_comparable(models: Sequence[Candidate], metrics: Sequence[str]) -> None:
    if not metrics and not all(same(model.settings, models[0].settings) for model in models):
        raise ConfigurationError(
            "Losses of different settings do not compare; to find the best model, pass `validation` and `metrics`."
        )


def _best_of(rows: Mapping[int, Mapping[str, Any]], metrics: Sequence[str]) -> int | None:
    """Return the number of the best row, the first of several; None if nothing in them can be compared."""
    watched = metrics[0] if metrics else "loss"
    sign = -1 if watched == "loss" or exposure.is_lower_better(watched) else 1
    scores = {number: sign * row.get(watched, np.nan) for number, row in rows.items()}
    scores = {number: score for number, score in scores.items() if np.isfinite(score)}
    return max(sorted(scores), key=lambda number: scores[number]) if scores else None


def _table(models: Sequence[Candidate], rows: Mapping[int, Mapping[str, Any]], metrics: Sequence[str]) -> pd.DataFrame:
    done = sorted(rows)
    records = [{**models[number].settings, "seed": models[number].seed, **rows[number]} for number in done]
    settings = list(dict.fromkeys(name for number in done for name in models[number].settings))
    table = pd.DataFrame(records, index=done, columns=[*settings, "seed", "loss", *metrics, "seconds", *_COUNTS])
    return table.drop(columns=[name for name in _COUNTS if not table[name].any()])
