"""Rankings for each user, measured in batches of one compiled shape. A host shell around one traced function.

Ties in scores go to the lowest item index in the lists (`jaxals.recommend.topk.top_k`), and count half in the AUC.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from jaxals._base.forks import refuse_forked_process
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.evaluation.exposure import CATALOG_METRICS, novelty
from jaxals.evaluation.metrics import LIST_METRICS, auc, metric_dtype, ranked_hits
from jaxals.evaluation.plans import EvaluationPlan, Exclude, Metric, RankedBatch, plan_evaluation, plan_negatives
from jaxals.evaluation.results import Evaluation
from jaxals.objective.factors import Factors, require_shape
from jaxals.recommend.topk import blank_excluded, exclude_pairs, keep_pairs, top_k


@runtime_checkable
class Scorer(Protocol):
    """Any pytree that scores all items for a batch of users: `Factors`, the baselines, or your own.

    It is passed through `jax.jit` as an argument, so two scorers of the same structure share one compilation.

    Example:
        >>> import jaxals
        >>> @jaxals.pytree
        ... class Newest:
        ...     n_items: int = jaxals.static()
        ...     def scores(self, users):
        ...         return jnp.broadcast_to(jnp.arange(self.n_items, dtype=jnp.float32), (len(users), self.n_items))
        >>> train = Interactions.from_arrays([0, 1], [0, 1], shape=(2, 4))
        >>> test = Interactions.from_arrays([0, 1], [3, 2], shape=(2, 4))
        >>> evaluate(Newest(4), train, test, ["recall@1"]).metrics
        {'recall@1': 0.5}
    """

    def scores(self, users: Int[Array, " batch"], /) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""


def evaluate(
    scorer: Scorer,
    train: Interactions,
    test: Interactions,
    metrics: Sequence[str] = ("recall@10", "ndcg@10"),
    batch_size: int | None = None,
    exclude: Exclude = "train",
    progress: bool = False,
) -> Evaluation:
    """Rank all items for every user with something to find, and measure the rankings.

    An item is relevant to a user if its value in `test` is above zero. Excluded items are taken out of the ranking,
    and out of the relevant ones where they are among them; users without relevant items are left out.

    Args:
        scorer: A pytree with `scores(users)`, such as `jaxals.objective.objective.Factors`.
        train: What the scorer was trained on.
        test: What to find again, over the same catalog.
        metrics: Names: "recall@k" (of all relevant), "capped_recall@k" (of min(k, relevant)), "precision@k",
            "ndcg@k", "map@k" (over min(k, relevant)), "mrr@k", "hit_rate@k", "novelty@k" and, of all lists together,
            "coverage@k" and "gini@k" for any k, and "auc".
        batch_size: Users ranked at once; by default as many as 16 MB of float32 scores hold.
        exclude: Items not to rank for a user: those in `train` by default, those in other interactions, or None.
        progress: Draw a progress bar.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train`, `test` and `scorer` are about different users or items or are something else, nobody has a
            relevant item, or the scorer holds NaN.

    Example:
        >>> from jaxals.evaluation import Popularity
        >>> train = Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> evaluate(Popularity.from_interactions(train), train, test, ["recall@1", "mrr@3"])
        Evaluation(recall@1 0.5000 ± 0.5000, mrr@3 0.6667 ± 0.3333; 2 users)
    """
    return run_plan(scorer, plan_evaluation(train, test, metrics, batch_size, exclude), progress)


def evaluate_among_negatives(
    scorer: Scorer,
    train: Interactions,
    test: Interactions,
    negatives: Interactions,
    metrics: Sequence[str] = ("hit_rate@10", "ndcg@10"),
    batch_size: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Rank each user's held-out items among that user's given negatives alone, and measure the rankings.

    The protocol of He et al. 2017 (Neural Collaborative Filtering, section 4.1) with its one held-out item and 99
    negatives a user. With sampled negatives the metrics are not those of a ranking of all items, and may order models
    otherwise (Krichene and Rendle 2020).

    Args:
        scorer: As in `evaluate`.
        train: As in `evaluate`; what novelty is counted in.
        test: What to find; items with a value above zero count.
        negatives: The items to find it among, over the same catalog. One that is in `test`, too, is ranked once.
        metrics: As in `evaluate`.
        batch_size: As in `evaluate`.
        progress: Draw a progress bar.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train`, `test`, `negatives` and `scorer` are about different users or items, somebody in `test` has
            no negatives, nobody has a relevant item, or the scorer holds NaN.

    Example:
        >>> from jaxals.evaluation import Popularity
        >>> train = Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 5))
        >>> test = Interactions.from_arrays([0], [2], shape=(3, 5))
        >>> negatives = Interactions.from_arrays([0, 0], [3, 4], shape=(3, 5))
        >>> popularity = Popularity.from_interactions(train)
        >>> evaluate_among_negatives(popularity, train, test, negatives, ["hit_rate@1"]).metrics
        {'hit_rate@1': 1.0}
    """
    return run_plan(scorer, plan_negatives(train, test, negatives, metrics, batch_size), progress)


def run_plan(scorer: Scorer, plan: EvaluationPlan, progress: bool = False) -> Evaluation:
    """Measure one scorer; scorers of the same structure share the compiled program as well as the plan.

    Args:
        scorer: As in `evaluate`.
        plan: From `plan_evaluation` or `plan_negatives`.
        progress: Draw a progress bar.

    Raises:
        DataError: The scorer is about other users or items, is no pytree with `scores`, or holds NaN.

    Example:
        >>> from jaxals.evaluation import Popularity
        >>> from jaxals.evaluation import plan_evaluation
        >>> train = Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> run_plan(Popularity.from_interactions(train), plan_evaluation(train, test, ["recall@1"]))
        Evaluation(recall@1 0.5000 ± 0.5000; 2 users)
    """
    refuse_forked_process()
    _check_scorer(scorer, plan)
    longest = max((metric.k for metric in plan.metrics if metric.k is not None), default=0)
    on_device = tuple(metric for metric in plan.metrics if metric.kind in ("auc", *LIST_METRICS))
    measured: list[tuple[Float[Array, "batch metrics"], Int[Array, "batch ranks"]]] = []
    with tqdm(total=len(plan.user), unit="user", desc="evaluate", disable=not progress) as bar:
        for batch in plan.batches():
            measured.append(_measure(scorer, batch, metrics=on_device, longest=longest))
            # One batch runs while the host prepares the next; more would only pile up in memory.
            jax.block_until_ready(measured[-2:][0])
            bar.update(min(plan.batch_size, len(plan.user) - bar.n))
    values = np.concatenate([np.asarray(rows, np.float64) for rows, _ in measured])[: len(plan.user)]
    lists = np.concatenate([np.asarray(ranked) for _, ranked in measured])[: len(plan.user)]
    return _collect(plan, dict(zip(on_device, values.T, strict=True)), lists)


def _collect(
    plan: EvaluationPlan, columns: dict[Metric, Float[np.ndarray, " users"]], lists: Int[np.ndarray, "users ranks"]
) -> Evaluation:
    """Add what the host computes from the lists, and put the metrics into the order asked for."""
    for metric in plan.metrics:
        if metric.kind == "novelty" and plan.information is not None:
            columns[metric] = novelty(lists[:, : metric.k], plan.information)
    of_users = [metric for metric in plan.metrics if metric.kind not in CATALOG_METRICS]
    of_catalog = {
        metric.name: CATALOG_METRICS[metric.kind](lists[:, : metric.k], plan.shape[1])
        for metric in plan.metrics
        if metric.kind in CATALOG_METRICS
    }
    return Evaluation(
        user=plan.user,
        catalog=plan.catalog,
        relevant=plan.relevant,
        user_metrics=tuple(metric.name for metric in of_users),
        values=np.stack([columns[metric] for metric in of_users], axis=1) if of_users else np.zeros((len(lists), 0)),
        catalog_metrics=of_catalog,
        lists=lists,
    )


def _check_scorer(scorer: Any, plan: EvaluationPlan) -> None:
    kind = type(scorer).__name__
    # A class has the methods of its instances, and the protocol asks for no more.
    if isinstance(scorer, type) or not isinstance(scorer, Scorer):
        raise DataError(
            "`scorer` must have a method `scores(users)`, as the `.factors` of a run or recommender and fitted "
            f"baselines do; got {kind}."
        )
    if any(leaf is scorer for leaf in jax.tree.leaves(scorer)):
        raise DataError(f"`scorer` must be a pytree, such as a registered dataclass; {kind} is not one.")
    if isinstance(scorer, Factors):
        require_shape(scorer, plan.shape)
    users = jax.ShapeDtypeStruct((plan.batch_size,), jnp.int32)
    shape = jax.eval_shape(lambda scorer, users: scorer.scores(users), scorer, users).shape
    if shape != (plan.batch_size, plan.shape[1]):
        raise DataError(
            f"The scores have shape {shape}; for {plan.batch_size} users and the {plan.shape[1]} items of the catalog "
            f"it must be {(plan.batch_size, plan.shape[1])}."
        )
    if _holds_nan(scorer):
        raise DataError("The scorer holds NaN, so there is no ranking to measure; its training may have diverged.")


@functools.partial(jax.jit, static_argnames=("metrics", "longest"))
def _measure(
    scorer: Scorer, batch: RankedBatch, *, metrics: tuple[Metric, ...], longest: int
) -> tuple[Float[Array, "batch metrics"], Int[Array, "batch ranks"]]:
    """Return each user's metrics, and the list of the `longest` best items, fewer in a short catalog."""
    with jax.named_scope("score"):
        scores = exclude_pairs(scorer.scores(batch.users), *batch.excluded)
        if batch.candidates is not None:
            scores = keep_pairs(scores, *batch.candidates)
    relevant = batch.relevant
    n_items = scores.shape[1]
    dtype = metric_dtype(scores)
    columns = [jnp.zeros((scores.shape[0], 0), dtype)]
    ranked = jnp.zeros((scores.shape[0], 0), jnp.int32)
    if longest:
        with jax.named_scope("rank"):
            ranked = blank_excluded(*top_k(scores, min(longest, n_items)))
        with jax.named_scope("list_metrics"):
            hits = jax.vmap(lambda ranked, relevant: ranked_hits(ranked, relevant, dtype))(ranked, relevant)
            # A catalog shorter than the list leaves its last ranks empty.
            hits = jnp.pad(hits, ((0, 0), (0, longest - hits.shape[1])))
            n_relevant = jnp.sum(relevant < n_items, axis=1, dtype=jnp.int32)
    for metric in metrics:
        with jax.named_scope(metric.kind):
            if metric.k is None:
                column = jax.vmap(auc)(scores, relevant)
            else:
                column = jax.vmap(LIST_METRICS[metric.kind])(hits[:, : metric.k], n_relevant)
            columns.append(column[:, None])
    return jnp.concatenate(columns, axis=1), ranked


@jax.jit
def _holds_nan(scorer: Scorer) -> Bool[Array, ""]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scorer)]
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.any(jnp.array([jnp.isnan(leaf).any() for leaf in inexact], bool))
