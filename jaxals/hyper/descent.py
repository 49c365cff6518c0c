"""Hyperparameters tuned by gradient while a model trains. Host side."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.tree_util import Partial
from tqdm.auto import tqdm

from jaxals._base.arguments import require_flag, require_function, require_kind
from jaxals._base.checks import require_integer, require_scalar
from jaxals._base.compilation import compile_time
from jaxals.als.layout.tiles import RowTiles
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import Solver
from jaxals.als.sweeps import sweep
from jaxals.errors import ConfigurationError, NumericalError
from jaxals.hyper.gradients import (
    BuildObjective,
    FoldIn,
    Implicit,
    Method,
    ValidationLoss,
    as_partial,
    build,
    differentiate,
    require_method,
    require_parameters,
    require_problem,
)
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.run import row_of, summary
from jaxals.training.trainers import ALS

Measure = Callable[[Factors], Mapping[str, float]]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DescentResult:
    """What `tune_by_gradient` found.

    Attributes:
        parameters: Those of the best step.
        factors: The model of that step, warm from the steps before it; train afresh for a model to be compared.
        objective: That of the best parameters.
        trainer: What trains such a model afresh, by the same solver; the number of sweeps is its default.
        history: One row per step: "step", "seconds" since the start (neither compilation nor measuring included),
            "compile_seconds", "loss", the metrics, "adjoint_sweeps", "last_term" and "residual" (see `Hypergradient`).
        best_step: The step of the parameters and the factors.

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, smooth_ndcg, tune_by_gradient
        >>> data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out = hold_out(split.train, split.test)
        >>> found = tune_by_gradient(
        ...     lambda factors, p: smooth_ndcg(factors, held_out, temperature=0.1),
        ...     {"w0": 0.3, "ridge": 0.001},
        ...     jaxals.initial_factors(jax.random.key(0), *data.shape, 4),
        ...     objective=lambda p: jaxals.Objective.ials(p["w0"], p["ridge"]),
        ...     tiles=jaxals.ALS(factors=4).cut(split.train, None),
        ...     steps=2,
        ...     progress=False,
        ... )
        >>> len(found.history), found.best["step"] == found.best_step, sorted(found.parameters), found.trainer.factors
        (2, True, ['ridge', 'w0'], 4)
    """

    parameters: Any
    factors: Factors
    objective: Objective
    trainer: ALS
    history: pd.DataFrame
    best_step: int

    @property
    def best(self) -> dict[str, Any]:
        """The row of the history that the parameters are of."""
        return row_of(self.history, self.best_step)

    def __repr__(self) -> str:
        return summary(self, {"steps": len(self.history), **self.best})


def tune_by_gradient(
    validation_loss: ValidationLoss,
    parameters: Any,
    factors: Factors,
    *,
    objective: BuildObjective,
    tiles: tuple[RowTiles, RowTiles],
    solver: Solver | None = None,
    method: Method | None = None,
    optimizer: optax.GradientTransformation | None = None,
    steps: int = 50,
    sweeps: int = 2,
    measure: Measure | None = None,
    progress: bool = True,
) -> DescentResult:
    """Follow the gradient of a validation loss by hyperparameters, and the model with them.

    Every step takes some sweeps from where the model is, the hypergradient there, and one step of the optimiser on the
    logarithms of the parameters, which all are above zero. Ctrl-C ends it, and returns what there is.

    Args:
        validation_loss: As in `hypergradient`, and so below.
        parameters: Where to begin, a pytree of numbers above zero.
        factors: Where training begins.
        objective: From parameters to the objective of training.
        tiles: Training data, with users and with items as rows.
        solver: How rows are solved.
        method: How to differentiate.
        optimizer: `optax.adam(0.1)` by default: steps of about 10 %.
        steps: How many.
        sweeps: Sweeps of training before each gradient; `Truncated` takes its own after them.
        measure: From the model to metrics, such as `lambda factors: run_plan(factors, plan).metrics`; its first metric
            chooses the best step (the highest), the validation loss (the lowest) where there is none.
        progress: Whether to draw a progress bar.

    Returns:
        The parameters and the model of the best step, and how it went.

    Raises:
        ConfigurationError: A setting lies outside its range, or a parameter is not above zero.
        NumericalError: What chooses the best step was never a number.

    Example:
        >>> import jax
        >>> import jaxals
        >>> from jaxals.hyper import hold_out, smooth_ndcg, tune_by_gradient
        >>> data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
        >>> split = jaxals.evaluation.leave_k_out(data, 1, seed=0)
        >>> held_out = hold_out(split.train, split.test)
        >>> found = tune_by_gradient(
        ...     lambda factors, p: smooth_ndcg(factors, held_out, temperature=0.1),
        ...     {"w0": 0.3, "ridge": 0.001},
        ...     jaxals.initial_factors(jax.random.key(0), *data.shape, 4),
        ...     objective=lambda p: jaxals.Objective.ials(p["w0"], p["ridge"]),
        ...     tiles=jaxals.ALS(factors=4).cut(split.train, None),
        ...     steps=8,
        ...     progress=False,
        ... )
        >>> bool(found.history["loss"].min() < found.history["loss"].iloc[0])
        True
    """
    require_integer("steps", steps, 1)
    require_integer("sweeps", sweeps, 1)
    require_parameters(parameters)
    method = Implicit() if method is None else method
    require_method(method)
    if optimizer is not None:
        require_kind("optimizer", optimizer, optax.GradientTransformation, "one of optax, such as `optax.adam(0.1)`")
    require_function("measure", measure, of=["factors"], may_be_none=True)
    require_flag("progress", progress)
    solver = Cholesky() if solver is None else solver
    require_problem(validation_loss, factors, objective, tiles, solver, isinstance(method, FoldIn))
    dtype = factors.item.dtype
    if not all(bool(jnp.all(jnp.asarray(leaf) > 0)) for leaf in jax.tree.leaves(parameters)):
        raise ConfigurationError("`parameters` must all be above zero: their logarithms are tuned.")
    logs = jax.tree.map(lambda leaf: jnp.log(jnp.asarray(leaf, dtype)), parameters)
    optimizer = optax.adam(0.1) if optimizer is None else optimizer
    # Equal for equal functions, so that a second call finds what the first one compiled.
    of_logs = Partial(_objective_of_logs, as_partial(objective))
    loss_of_logs = Partial(_loss_of_logs, as_partial(validation_loss))
    memory = optimizer.init(logs)
    records: list[dict[str, Any]] = []
    best: tuple[float, int, Any, Factors] | None = None
    seconds = compile_seconds = 0.0
    with tqdm(total=steps, unit="step", desc="Tuning", disable=not progress) as bar:
        try:
            for number in range(1, steps + 1):
                start = time.perf_counter()
                with compile_time() as compilation:
                    factors = _train(of_logs, logs, factors, tiles, solver, sweeps)
                    # Where factors are far from a fixed point, the history says so.
                    found = differentiate(loss_of_logs, of_logs, logs, factors, tiles, solver, method)
                    moved, memory = _follow(optimizer, found.gradient, memory, logs)
                    jax.block_until_ready(moved)
                seconds += time.perf_counter() - start - compilation.seconds
                compile_seconds += compilation.seconds
                metrics = _checked_metrics(measure(found.factors)) if measure else {}
                score = next(iter(metrics.values())) if metrics else -float(found.value)
                if np.isfinite(score) and (best is None or score > best[0]):
                    best = score, number, jax.tree.map(jnp.exp, logs), found.factors
                records.append(
                    {
                        "step": number,
                        "seconds": seconds,
                        "compile_seconds": compile_seconds,
                        "loss": float(found.value),
                        **metrics,
                        "adjoint_sweeps": int(found.adjoint_sweeps),
                        "last_term": float(found.last_term),
                        "residual": float(found.residual),
                    }
                )
                bar.update()
                bar.set_postfix({"loss": f"{float(found.value):.5g}"})
                logs, factors = moved, found.factors
        except KeyboardInterrupt:
            if best is None:
                raise
    if best is None:
        what = "metric" if measure else "loss"
        raise NumericalError(f"The validation {what} was never a number; start from other parameters.")
    _, step, parameters, factors = best
    trainer = ALS(factors=factors.item.shape[1], solver=solver, dtype=str(factors.item.dtype))  # type: ignore[arg-type]
    return DescentResult(parameters, factors, build(objective, parameters), trainer, pd.DataFrame(records), step)


def _checked_metrics(metrics: Any) -> dict[str, float]:
    require_kind("measure", metrics, Mapping, "a function from factors to metrics by name")
    for value in metrics.values():
        require_scalar("measure", value)
    return {str(name): float(value) for name, value in metrics.items()}


def _objective_of_logs(objective: Partial, logs: Any) -> Any:
    return objective(jax.tree.map(jnp.exp, logs))


def _loss_of_logs(validation_loss: Partial, factors: Factors, logs: Any) -> Any:
    return validation_loss(factors, jax.tree.map(jnp.exp, logs))


def _train(
    objective: Partial, logs: Any, factors: Factors, tiles: tuple[RowTiles, RowTiles], solver: Solver, sweeps: int
) -> Factors:
    built = build(objective, logs)
    for _ in range(sweeps):
        factors, _ = sweep(*tiles, factors, built, solver)
    return factors


def _follow(optimizer: optax.GradientTransformation, gradient: Any, memory: Any, logs: Any) -> tuple[Any, Any]:
    # Optimisers count on JAX's usual promotion of types and ranks, which users may have made strict.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        changes, memory = optimizer.update(gradient, memory, logs)
        return optax.apply_updates(logs, changes), memory
