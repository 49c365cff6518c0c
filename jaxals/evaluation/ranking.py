"""Rankings for each user, measured in batches of one compiled shape. A host shell around one traced function.

Where scores tie, every figure is its expected value over all orders of the tied items (`jaxals.evaluation.ties`), so
that none depends on how users and items are numbered.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from jaxals._base.arguments import require_flag, require_kind, told_error
from jaxals._base.forks import refuse_forked_process
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.evaluation.exposure import CATALOG_METRICS, novelty
from jaxals.evaluation.metrics import LIST_METRICS, auc, metric_dtype, ranked_hits
from jaxals.evaluation.places import OutsideCount, Places
from jaxals.evaluation.plans import (
    EvaluationPlan,
    Exclude,
    Metric,
    RankedBatch,
    UnknownUsers,
    plan_evaluation,
    plan_negatives,
)
from jaxals.evaluation.results import Evaluation
from jaxals.evaluation.ties import TiedLists, expected_hits, rank_tied
from jaxals.objective.factors import Factors, require_shape
from jaxals.recommend.known import known_items, known_users
from jaxals.recommend.topk import exclude_pairs, keep_pairs

# Metrics of what lists show, for which it matters what items off them have of their open places.
_OF_LISTS = ("novelty", *CATALOG_METRICS)

Measured = tuple[Float[Array, "batch metrics"], TiedLists]


@runtime_checkable
class Scorer(Protocol):
    """Any pytree that scores all items for a batch of users: `Factors`, the baselines, or your own.

    One that also has `known_users(users)` and `known_items()` tells by them which of these users, and which items, it
    has learned anything of (booleans). Nothing else is put on a list.

    It is passed through `jax.jit` as an argument, so two scorers of the same structure share one compilation.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.evaluation import evaluate
        >>> @jaxals.pytree
        ... class Newest:
        ...     n_items: int = jaxals.static()
        ...     def scores(self, users):
        ...         return jnp.broadcast_to(jnp.arange(self.n_items, dtype=jnp.float32), (len(users), self.n_items))
        >>> train = jaxals.Interactions.from_arrays([0, 1], [0, 1], shape=(2, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 1], [3, 2], shape=(2, 4))
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
    unknown_users: UnknownUsers = "skip",
) -> Evaluation:
    """Rank all items for every user with something to find, and measure the rankings.

    An item is relevant to a user if its value in `test` is above zero. Excluded items are taken out of the ranking,
    and out of the relevant ones where they are among them; users without relevant items are left out. So are users
    without an entry in `train`, of whom no model can know anything, but these are counted. Items that the scorer knows
    nothing of are on no list, as `recommend` gives none of them. Where scores tie, every metric is its expected value
    over all orders of the tied items.

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
        unknown_users: "skip" leaves out users without an entry in `train`, for every scorer alike; "rank" measures them
            too, for scorers that need no entries, such as popularity.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train`, `test` and `scorer` are about different users or items or are something else, nobody has a
            relevant item, or the scorer holds NaN.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, evaluate
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 2], [2, 2], shape=(3, 4))  # 0 and 2 tie for user 2
        >>> evaluate(Popularity.from_interactions(train), train, test, ["recall@1", "mrr@3"])
        Evaluation(recall@1 0.7500 ± 0.2500, mrr@3 0.8750 ± 0.1250; 2 users)
    """
    return run_plan(scorer, plan_evaluation(train, test, metrics, batch_size, exclude, unknown_users), progress)


def evaluate_among_negatives(
    scorer: Scorer,
    train: Interactions,
    test: Interactions,
    negatives: Interactions,
    metrics: Sequence[str] = ("hit_rate@10", "ndcg@10"),
    batch_size: int | None = None,
    progress: bool = False,
    unknown_users: UnknownUsers = "skip",
) -> Evaluation:
    """Rank each user's held-out items among that user's given negatives alone, and measure the rankings.

    The protocol of He et al. 2017 (Neural Collaborative Filtering, section 4.1) with its one held-out item and 99
    negatives a user. With sampled negatives the metrics are not those of a ranking of all items, and may order models
    otherwise (Krichene and Rendle 2020). All that is given is ranked, whether or not the scorer knows anything of it.

    Args:
        scorer: As in `evaluate`.
        train: As in `evaluate`; what novelty is counted in.
        test: What to find; items with a value above zero count.
        negatives: The items to find it among, over the same catalog. One that is in `test`, too, is ranked once.
        metrics: As in `evaluate`.
        batch_size: As in `evaluate`.
        progress: Draw a progress bar.
        unknown_users: As in `evaluate`.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train`, `test`, `negatives` and `scorer` are about different users or items, somebody in `test` has
            no negatives, nobody has a relevant item, or the scorer holds NaN.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, evaluate_among_negatives
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 5))
        >>> test = jaxals.Interactions.from_arrays([0], [2], shape=(3, 5))
        >>> negatives = jaxals.Interactions.from_arrays([0, 0], [3, 4], shape=(3, 5))
        >>> popularity = Popularity.from_interactions(train)
        >>> evaluate_among_negatives(popularity, train, test, negatives, ["hit_rate@1"]).metrics
        {'hit_rate@1': 1.0}
    """
    plan = plan_negatives(train, test, negatives, metrics, batch_size, unknown_users)
    return run_plan(scorer, plan, progress)


def run_plan(scorer: Scorer, plan: EvaluationPlan, progress: bool = False) -> Evaluation:
    """Measure one scorer; scorers of the same structure share the compiled program as well as the plan.

    Args:
        scorer: As in `evaluate`.
        plan: From `plan_evaluation` or `plan_negatives`.
        progress: Draw a progress bar.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        DataError: The scorer is about other users or items, is no pytree with `scores`, or holds NaN.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, plan_evaluation, run_plan
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> run_plan(Popularity.from_interactions(train), plan_evaluation(train, test, ["recall@1"]))
        Evaluation(recall@1 0.5000 ± 0.5000; 2 users)
    """
    refuse_forked_process()
    require_kind("plan", plan, EvaluationPlan, "from `plan_evaluation` or `plan_negatives`", DataError)
    require_flag("progress", progress)
    require_scorer(scorer, plan.batch_size, plan.shape)
    longest = max((metric.k for metric in plan.metrics if metric.k is not None), default=0)
    on_device = tuple(metric for metric in plan.metrics if metric.kind in ("auc", *LIST_METRICS))
    shown = sorted({metric.k for metric in plan.metrics if metric.k is not None and metric.kind in _OF_LISTS})
    # Among given negatives all are ranked, known or not: there a list is no recommendation.
    items = known_items(scorer if plan.candidates is None else None, plan.shape[1])
    results = _Results(plan, shown)
    before: Measured | None = None
    with tqdm(total=len(plan.user), unit="user", desc="evaluate", disable=not progress) as bar:
        for batch in plan.batches():
            now = _measure(scorer, batch, items, metrics=on_device, longest=longest, with_outside=bool(shown))
            # One batch runs while the host reads the one before; more would only pile up in memory.
            if before is not None:
                results.add(*before)
            before = now
            bar.update(min(plan.batch_size, len(plan.user) - bar.n))
    if before is not None:
        results.add(*before)
    return results.evaluation(on_device)


class _Results:
    """Gathers what is measured, batch by batch."""

    def __init__(self, plan: EvaluationPlan, shown: Sequence[int]):
        self._plan = plan
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._level: list[np.ndarray] = []
        self._outside = OutsideCount(shown, plan.shape[1], plan.information)
        self._n_users = 0

    def add(self, values: Float[Array, "batch metrics"], lists: TiedLists) -> None:
        """Copy a batch to the host, without what fills it up."""
        n_users = min(len(values), len(self._plan.user) - self._n_users)
        rows = [np.asarray(each)[:n_users] for each in (values, lists.item, lists.first, lists.tied)]
        self._rows.append((rows[0].astype(np.float64), *rows[1:]))
        starts = self._plan.relevant.starts[self._n_users : self._n_users + n_users + 1]
        level = np.asarray(lists.is_level)[:n_users]
        self._level.append(level[np.arange(level.shape[1]) < np.diff(starts)[:, None]])
        if lists.outside is not None:
            self._outside.add(rows[2], rows[3], lists.outside)
        self._n_users += n_users

    def evaluation(self, on_device: Sequence[Metric]) -> Evaluation:
        """Add what the host computes from the lists, and put the metrics into the order asked for."""
        values, lists, first, tied = (np.concatenate(each) for each in zip(*self._rows, strict=True))
        places = Places(first, tied, np.concatenate(self._level), self._outside.result())
        return _collect(self._plan, dict(zip(on_device, values.T, strict=True)), lists, places)


def _collect(
    plan: EvaluationPlan,
    columns: dict[Metric, Float[np.ndarray, " users"]],
    lists: Int[np.ndarray, "users ranks"],
    places: Places,
) -> Evaluation:
    of_catalog = {}
    for metric in plan.metrics:
        if metric.k is None or metric.kind not in _OF_LISTS:
            continue
        shown = places.chance(metric.k), places.outside[metric.k]
        if metric.kind in CATALOG_METRICS:
            of_catalog[metric.name] = CATALOG_METRICS[metric.kind](lists, plan.shape[1], *shown)
        elif plan.information is not None:
            columns[metric] = novelty(lists, plan.information, *shown)
    of_users = [metric for metric in plan.metrics if metric.kind not in CATALOG_METRICS]
    return Evaluation(
        user=plan.user,
        catalog=plan.catalog,
        relevant=plan.relevant,
        user_metrics=tuple(metric.name for metric in of_users),
        values=np.stack([columns[metric] for metric in of_users], axis=1) if of_users else np.zeros((len(lists), 0)),
        catalog_metrics=of_catalog,
        lists=lists,
        places=places,
        n_unknown_users=plan.n_unknown_users,
    )


def require_scorer(scorer: Any, batch_size: int, size: tuple[int, int]) -> None:
    """Refuse what cannot score so many users at once.

    Raises:
        DataError: It is about other users or items, is no pytree with `scores`, or holds NaN.
    """
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
        require_shape(scorer, size, "scorer")
    users = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    try:
        scores = jax.eval_shape(lambda scorer, users: scorer.scores(users), scorer, users)
    except Exception as error:  # it is the user's code
        raise DataError(f"`scores(users)` of the {kind} fails when JAX traces it: {told_error(error)}.") from error
    if getattr(scores, "shape", None) is None or not jnp.issubdtype(scores.dtype, jnp.floating):
        got = f"an array of {scores.dtype}" if hasattr(scores, "dtype") else type(scores).__name__
        raise DataError(f"`scores(users)` of the {kind} must return one array of floating-point scores; got {got}.")
    if scores.shape != (batch_size, size[1]):
        raise DataError(
            f"The scores have shape {scores.shape}; for {batch_size} users and the {size[1]} items of the catalog it "
            f"must be {(batch_size, size[1])}."
        )
    if _holds_nan(scorer):
        raise DataError("The scorer holds NaN, so there is no ranking to measure; its training may have diverged.")


@functools.partial(jax.jit, static_argnames=("metrics", "longest", "with_outside"))
def _measure(
    scorer: Scorer,
    batch: RankedBatch,
    items: Bool[Array, " items"],
    *,
    metrics: tuple[Metric, ...],
    longest: int,
    with_outside: bool,
) -> Measured:
    """Return each user's metrics, and the list of the `longest` best known items, fewer in a short catalog."""

    def score() -> Float[Array, "batch items"]:
        with jax.named_scope("score"):
            scores = exclude_pairs(scorer.scores(batch.users), *batch.excluded)
            return scores if batch.candidates is None else keep_pairs(scores, *batch.candidates)

    scores = score()
    relevant = batch.relevant
    n_items = scores.shape[1]
    dtype = metric_dtype(scores)
    columns = [jnp.zeros((scores.shape[0], 0), dtype)]
    nothing = jnp.zeros((scores.shape[0], 0), jnp.int32)
    lists = TiedLists(nothing, nothing, nothing, jnp.zeros(relevant.shape, bool), None)
    if longest:
        with jax.named_scope("rank"):
            users = known_users(scorer if batch.candidates is None else None, batch.users)
            lists = rank_tied(scores, score, relevant, users, items, min(longest, n_items), with_outside)
        with jax.named_scope("list_metrics"):
            hits = jax.vmap(lambda ranked, relevant: ranked_hits(ranked, relevant, dtype))(lists.item, relevant)
            expected = expected_hits(hits, lists)
            n_relevant = jnp.sum(relevant < n_items, axis=1, dtype=jnp.int32)
    for metric in metrics:
        with jax.named_scope(metric.kind):
            if metric.k is None:
                column = jax.vmap(auc)(scores, relevant)
            else:
                best = jax.tree.map(lambda part, k=metric.k: part[:, :k], expected)
                column = jax.vmap(LIST_METRICS[metric.kind])(best, n_relevant)
                # A catalog shorter than the list leaves its last ranks empty; nothing else has k in its denominator.
                if metric.kind == "precision" and metric.k > n_items:
                    column = column * jnp.asarray(n_items / metric.k, dtype)
            columns.append(column[:, None])
    return jnp.concatenate(columns, axis=1), lists


@jax.jit
def _holds_nan(scorer: Scorer) -> Bool[Array, ""]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scorer)]
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.any(jnp.array([jnp.isnan(leaf).any() for leaf in inexact], bool))
