"""What is said of a fit that can hardly be any good: numbers far from the data, and models below popularity. Host side.

Both are warnings: what is asked for is trained all the same.
"""

import warnings
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxals.data.catalog import Side
from jaxals.data.interactions import Interactions
from jaxals.evaluation import Evaluation, EvaluationPlan, run_plan
from jaxals.evaluation.metrics import LIST_METRICS
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.training.run import Run

# So few entries are a toy, or a test.
_LEAST_ENTRIES = 10_000
# Of what is seen, with which lists were half as good as the best or worse, and past which they were below popularity
# (Last.fm 2K, dslabs' MovieLens): seen pairs that weigh so many times as much as all others together, and a ridge that
# is such a share of what is seen weighs.
_HEAVIEST, _LEAST_RIDGE, _MOST_RIDGE = 2.0, 1e-4, 10.0
# Tables of popularity as large as the model's take no compilation, but memory.
_SMALL = 2**26
_WHAT_HELPS = "leave `objective` out for one that suits most data, or search for numbers by `jaxals.tune`"


def warn_of_far_numbers(interactions: Interactions, objective: Objective, stacklevel: int) -> None:
    """Warn, once, of weights and ridges that are orders of magnitude away from those of good models.

    Args:
        interactions: What is trained on.
        objective: What is minimised.
        stacklevel: As of `warnings.warn`.
    """
    if len(interactions) < _LEAST_ENTRIES:
        return
    size = np.abs(interactions.value)
    # As many as `require_finite_start` takes, so that nothing is compiled for them.
    at = np.array([size.mean(), size.max()])
    gram_weight, target_weight = (np.asarray(w, float) for w in objective.weights(jnp.asarray(at, float)))
    seen, held = len(interactions) * gram_weight[0], len(interactions) * target_weight[0]
    unseen = float(objective.unobserved_weight) * np.prod(interactions.shape, dtype=float)
    ridge = sum(_ridges(interactions, objective, side) for side in ("user", "item"))
    problem = None
    if seen > _HEAVIEST * unseen > 0:
        problem = (
            f"what was seen weighs {seen / unseen:.2g} times as much as all pairs that were not, its largest value "
            f"{gram_weight[1]:.2g}; lower `alpha`, or raise `unobserved_weight`"
        )
    elif 0 < ridge < _LEAST_RIDGE * held:
        problem = f"the ridge is {ridge / held:.1g} of what was seen weighs, and holds nothing; raise `regularization`"
    elif ridge > _MOST_RIDGE * held > 0:
        problem = f"the ridge is {ridge / held:.2g} times what was seen weighs; lower `regularization`"
    if problem:
        warnings.warn(f"The objective is far from these data: {problem}; or {_WHAT_HELPS}.", stacklevel=stacklevel)


def _ridges(interactions: Interactions, objective: Objective, side: Side) -> float:
    """Add up λ_r over the rows that have entries; `Objective.ridge` would compile programs for it."""
    counts, n_columns = interactions.counts(side), interactions.shape[side == "user"]
    ridge = np.asarray(objective.of(side).regularization, float)
    if ridge.shape not in ((), counts.shape):
        return float("nan")  # which is refused where rows are solved
    frequency = counts[counts > 0] + float(objective.frequency_offset) * n_columns
    per_row = np.broadcast_to(ridge, counts.shape)[counts > 0]
    return float(np.sum(per_row * frequency ** float(objective.frequency_exponent)))


def warn_below_popularity(run: Run, plan: EvaluationPlan | None, interactions: Interactions, stacklevel: int) -> None:
    """Warn of a model that is measured below what recommends to everybody what most have.

    Args:
        run: Whose history has the metrics of the plan.
        plan: What was measured, if anything.
        interactions: What was trained on.
        stacklevel: As of `warnings.warn`.
    """
    if plan is None or not any(name in run.best for name in judged(plan)):
        return
    popularity = run_plan(_popularity(run.factors, interactions), plan)
    if below := below_popularity(run.best, popularity):
        warnings.warn(below, stacklevel=stacklevel)


def judged(plan: EvaluationPlan | Evaluation) -> list[str]:
    """Return the metrics of which more is better for the user."""
    names = plan.names if isinstance(plan, Evaluation) else [metric.name for metric in plan.metrics]
    return [name for name in names if name.split("@")[0] in (*LIST_METRICS, "auc")]


def below_popularity(measured: Mapping[str, float], popularity: Evaluation) -> str | None:
    """Say that a model is worse than popularity by the first metric of which more is better, beyond chance."""
    for name in judged(popularity)[:1]:
        ours, theirs, error = measured[name], popularity[name], popularity.standard_errors[name]
        if ours < theirs - 2 * error:
            return (
                f"The model is worse than recommending to all what is popular: {name} is {ours:.4f}, by popularity "
                f"{theirs:.4f}; {_WHAT_HELPS}."
            )
    return None


def _popularity(factors: Factors, interactions: Interactions) -> Factors:
    """Return tables whose scores are how many users like an item, of the shape that has been measured already."""
    width = factors.item.shape[1] if factors.user.nbytes + factors.item.nbytes < _SMALL else 1
    user, item = (np.zeros((size, width), factors.item.dtype) for size in interactions.shape)
    user[:, 0] = 1
    item[:, 0] = np.bincount(interactions.item[interactions.value > 0], minlength=len(item))
    return Factors(jnp.asarray(user), jnp.asarray(item))
