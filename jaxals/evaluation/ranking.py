"""Full ranking of all items for each user, in batches of one compiled shape. A host shell around one traced function.

Ties in scores go to the lowest item index in the lists (`jaxals.topk.top_k`), and count half in the AUC.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation.metrics import LIST_METRICS, auc, metric_dtype, ranked_hits
from jaxals.interactions import Interactions
from jaxals.objective import Factors, require_shape
from jaxals.serving import batches, excluded_cells, rows_per_batch
from jaxals.topk import blank_excluded, exclude_pairs, top_k

Exclude = Interactions | Literal["train"] | None


@runtime_checkable
class Scorer(Protocol):
    """Any pytree that scores all items for a batch of users: `Factors`, the baselines, or your own.

    It is passed through `jax.jit` as an argument, so two scorers of the same structure share one compilation.
    """

    def scores(self, users: Int[Array, " batch"], /) -> Float[Array, "batch items"]:
        """Score every item for a batch of user indices."""
        ...


class Metric(NamedTuple):
    """A metric by its kind and list length; k is None where the whole ranking counts."""

    kind: str
    k: int | None

    @property
    def name(self) -> str:
        """How users write it, such as "ndcg@10"."""
        return self.kind if self.k is None else f"{self.kind}@{self.k}"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What an evaluation measured, for each user and on average.

    Attributes:
        users: Raw ids of the users with at least one relevant item to find.
        names: Names of the metrics, in the order asked for.
        values: One row per user, one column per metric, float64.
    """

    users: pd.Index
    names: tuple[str, ...]
    values: Float[np.ndarray, "users metrics"]

    @property
    def n_users(self) -> int:
        """Number of users that the means are over."""
        return len(self.users)

    @property
    def metrics(self) -> dict[str, float]:
        """Mean over users of each metric, by name."""
        return dict(zip(self.names, self.values.mean(axis=0).tolist(), strict=True))

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard error of each mean, std / √n with n - 1 in the variance; NaN for a single user."""
        if self.n_users < 2:
            return dict.fromkeys(self.names, float("nan"))
        errors = self.values.std(axis=0, ddof=1) / np.sqrt(self.n_users)
        return dict(zip(self.names, errors.tolist(), strict=True))

    def __getitem__(self, name: str) -> float:
        if name not in self.names:
            raise ConfigurationError(f"{name!r} was not measured; this evaluation has {', '.join(self.names)}.")
        return self.metrics[name]

    def per_user(self) -> pd.DataFrame:
        """Return one row per user: the raw id in the column "user", then each metric."""
        frame = pd.DataFrame(self.values, columns=list(self.names))
        frame.insert(0, "user", self.users)
        return frame

    def to_frame(self) -> pd.DataFrame:
        """Return one row per metric, with the columns metric, mean, standard_error and users."""
        return pd.DataFrame(
            {
                "metric": list(self.names),
                "mean": list(self.metrics.values()),
                "standard_error": list(self.standard_errors.values()),
                "users": self.n_users,
            }
        )

    def __repr__(self) -> str:
        means, errors = self.metrics, self.standard_errors
        measured = ", ".join(f"{name} {means[name]:.4f} ± {errors[name]:.4f}" for name in self.names)
        return f"Evaluation({measured}; {self.n_users:,} users)"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EvaluationPlan:
    """All of an evaluation that does not depend on the scorer, made once by `plan_evaluation` and run many times.

    Attributes:
        metrics: What to measure.
        user: Indices of the users to evaluate, ascending, int32.
        user_ids: Their raw ids.
        relevant_item: Relevant items of these users in turn, each user's ascending.
        relevant_starts: Where each user's relevant items begin, and the end.
        excluded_item: Items not to rank, likewise.
        excluded_starts: Where each user's begin, and the end.
        shape: Number of users and items of the catalog.
        batch_size: Users that are ranked at once.
    """

    metrics: tuple[Metric, ...]
    user: Int[np.ndarray, " evaluated"]
    user_ids: pd.Index
    relevant_item: Int[np.ndarray, " relevant"]
    relevant_starts: Int[np.ndarray, " evaluated_plus_1"]
    excluded_item: Int[np.ndarray, " excluded"]
    excluded_starts: Int[np.ndarray, " evaluated_plus_1"]
    shape: tuple[int, int]
    batch_size: int


class _Batch(NamedTuple):
    users: Int[np.ndarray, " batch"]
    relevant: Int[np.ndarray, "batch relevant"]
    excluded_row: Int[np.ndarray, " excluded"]
    excluded_item: Int[np.ndarray, " excluded"]


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
        scorer: A pytree with `scores(users)`, such as `jaxals.objective.Factors`.
        train: What the scorer was trained on.
        test: What to find again, over the same catalog.
        metrics: Names: "recall@k" (of all relevant), "capped_recall@k" (of min(k, relevant)), "precision@k",
            "ndcg@k", "map@k" (over min(k, relevant)), "mrr@k", "hit_rate@k" for any k, and "auc".
        batch_size: Users ranked at once; by default as many as 64 MB of float32 scores hold.
        exclude: Items not to rank for a user: those in `train` by default, those in other interactions, or None.
        progress: Draw a progress bar.

    Returns:
        Means, standard errors and each user's values.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train`, `test` and `scorer` are about different users or items, nobody has a relevant item, or the
            scorer holds NaN.

    Example:
        >>> from jaxals.evaluation import Popularity
        >>> train = Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> evaluate(Popularity.from_interactions(train), train, test, ["recall@1", "mrr@3"])
        Evaluation(recall@1 0.5000 ± 0.5000, mrr@3 0.6667 ± 0.3333; 2 users)
    """
    return run_plan(scorer, plan_evaluation(train, test, metrics, batch_size, exclude), progress)


def plan_evaluation(
    train: Interactions,
    test: Interactions,
    metrics: Sequence[str] = ("recall@10", "ndcg@10"),
    batch_size: int | None = None,
    exclude: Exclude = "train",
) -> EvaluationPlan:
    """Do the part of `evaluate` that is the same for every scorer; arguments and errors are described there."""
    parsed = parse_metrics(metrics)
    if batch_size is not None and batch_size < 1:
        raise ConfigurationError(f"`batch_size` must be >= 1; got {batch_size}.")
    _check_catalogs(train, test, "test")
    if isinstance(exclude, Interactions):
        _check_catalogs(train, exclude, "exclude")

    n_users, n_items = train.shape
    excluded = train if isinstance(exclude, str) else exclude
    is_relevant = test.value > 0
    if excluded is not None:
        is_relevant &= ~_is_among(test, excluded)
    relevant_user, relevant_item = test.user[is_relevant], test.item[is_relevant]
    user, counts = np.unique(relevant_user, return_counts=True)
    if not len(user):
        raise DataError("No user has a relevant item: `test` needs values above zero for items that are not excluded.")

    excluded_item = np.zeros(0, np.int32)
    excluded_counts = np.zeros(len(user), np.int64)
    if excluded is not None:
        evaluated = np.zeros(n_users, bool)
        evaluated[user] = True
        excluded_item = excluded.item[evaluated[excluded.user]]
        excluded_counts = excluded.counts("user")[user]
    return EvaluationPlan(
        metrics=parsed,
        user=user,
        user_ids=test.catalog.users[user],
        relevant_item=relevant_item,
        relevant_starts=_starts(counts),
        excluded_item=excluded_item,
        excluded_starts=_starts(excluded_counts),
        shape=(n_users, n_items),
        batch_size=min(len(user), batch_size or rows_per_batch(n_items, 4)),
    )


def run_plan(scorer: Scorer, plan: EvaluationPlan, progress: bool = False) -> Evaluation:
    """Measure one scorer; scorers of the same structure share the compiled program as well as the plan.

    Args:
        scorer: As in `evaluate`.
        plan: From `plan_evaluation`.
        progress: Draw a progress bar.

    Raises:
        DataError: The scorer is about other users or items, or holds NaN.
    """
    _check_scorer(scorer, plan)
    names = tuple(metric.name for metric in plan.metrics)
    measured: list[Float[Array, "batch metrics"]] = []
    with tqdm(total=len(plan.user), unit="user", desc="evaluate", disable=not progress) as bar:
        for batch in _batches(plan):
            measured.append(_measure(scorer, *batch, metrics=plan.metrics))
            # One batch runs while the host prepares the next; more would only pile up in memory.
            measured[-2:][0].block_until_ready()
            bar.update(min(plan.batch_size, len(plan.user) - bar.n))
    values = np.concatenate([np.asarray(rows, np.float64) for rows in measured])[: len(plan.user)]
    return Evaluation(plan.user_ids, names, values)


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Read metric names, dropping repeated ones.

    Raises:
        ConfigurationError: A name is unknown, or there is none.

    Example:
        >>> parse_metrics(["ndcg@10", "auc"])
        (Metric(kind='ndcg', k=10), Metric(kind='auc', k=None))
    """
    names = (names,) if isinstance(names, str) else names
    if not names:
        raise ConfigurationError(f"`metrics` must name at least one metric; known are {_known_metrics()}.")
    return tuple(dict.fromkeys(_parse_metric(name) for name in names))


def _parse_metric(name: str) -> Metric:
    if name == "auc":
        return Metric("auc", None)
    match = re.fullmatch(r"(\w+)@([1-9][0-9]*)", name)
    if not match or match[1] not in LIST_METRICS:
        raise ConfigurationError(f"There is no metric {name!r}; known are {_known_metrics()}.")
    return Metric(match[1], int(match[2]))


def _known_metrics() -> str:
    return f"{', '.join(f'{kind}@k' for kind in LIST_METRICS)} with k >= 1, and auc"


def _check_catalogs(train: Interactions, other: Interactions, name: str) -> None:
    if other.shape != train.shape:
        turned = " It looks transposed: users are rows." if other.shape == train.shape[::-1] else ""
        raise DataError(f"`{name}` is about {other.shape} users and items, `train` about {train.shape}.{turned}")
    ours, theirs = train.catalog, other.catalog
    if theirs is not ours and not (theirs.users.equals(ours.users) and theirs.items.equals(ours.items)):
        raise DataError(f"`{name}` and `train` have different raw ids; build both with one catalog, or split one set.")


def _check_scorer(scorer: Scorer, plan: EvaluationPlan) -> None:
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


def _is_among(test: Interactions, excluded: Interactions) -> Bool[np.ndarray, " entries"]:
    wanted = test.user.astype(np.int64) * test.n_items + test.item
    keys = excluded.user.astype(np.int64) * test.n_items + excluded.item  # ascending, as entries are sorted
    return keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted


def _starts(counts: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts)])


def _batches(plan: EvaluationPlan) -> Iterator[_Batch]:
    # Every batch has the shapes of the largest, so that there is one compilation.
    n_items, size, total = plan.shape[1], plan.batch_size, len(plan.user)
    firsts = np.arange(0, total, size)
    lasts = np.minimum(firsts + size, total)
    n_pairs = max(1, int((plan.excluded_starts[lasts] - plan.excluded_starts[firsts]).max()))
    n_relevant = int(np.diff(plan.relevant_starts).max())
    for first, last, users in zip(firsts, lasts, batches(plan.user, size), strict=True):
        relevant = np.full((size, n_relevant), n_items, np.int32)
        counts = np.diff(plan.relevant_starts[first : last + 1])
        filled = np.arange(n_relevant) < counts[:, None]
        relevant[: last - first][filled] = plan.relevant_item[plan.relevant_starts[first] : plan.relevant_starts[last]]

        starts = plan.excluded_starts[first : last + 1]
        yield _Batch(users, relevant, *excluded_cells(starts[:-1], starts[1:], plan.excluded_item, n_pairs))


@functools.partial(jax.jit, static_argnames="metrics")
def _measure(
    scorer: Scorer,
    users: Int[Array, " batch"],
    relevant: Int[Array, "batch relevant"],
    excluded_row: Int[Array, " excluded"],
    excluded_item: Int[Array, " excluded"],
    metrics: tuple[Metric, ...],
) -> Float[Array, "batch metrics"]:
    with jax.named_scope("score"):
        scores = exclude_pairs(scorer.scores(users), excluded_row, excluded_item)
    n_items = scores.shape[1]
    dtype = metric_dtype(scores)
    columns = {}
    longest = max((metric.k for metric in metrics if metric.k is not None), default=0)
    if longest:
        with jax.named_scope("rank"):
            ranked = blank_excluded(*top_k(scores, min(longest, n_items)))
        with jax.named_scope("list_metrics"):
            hits = jax.vmap(lambda ranked, relevant: ranked_hits(ranked, relevant, dtype))(ranked, relevant)
            # A catalog shorter than the list leaves its last ranks empty.
            hits = jnp.pad(hits, ((0, 0), (0, longest - hits.shape[1])))
            n_relevant = jnp.sum(relevant < n_items, axis=1, dtype=jnp.int32)
            for metric in metrics:
                if metric.k is not None:
                    columns[metric] = jax.vmap(LIST_METRICS[metric.kind])(hits[:, : metric.k], n_relevant)
    if len(columns) < len(metrics):
        with jax.named_scope("auc"):
            columns[Metric("auc", None)] = jax.vmap(auc)(scores, relevant)
    return jnp.stack([columns[metric] for metric in metrics], axis=1)


@jax.jit
def _holds_nan(scorer: Scorer) -> Bool[Array, ""]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scorer)]
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.any(jnp.array([jnp.isnan(leaf).any() for leaf in inexact], bool))
