"""What is ranked for whom and how it is measured: all of an evaluation that no scorer changes. Host side."""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxals._base.arguments import listed, told
from jaxals._base.checks import require_integer, require_one_of
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation.exposure import CATALOG_METRICS, self_information
from jaxals.evaluation.metrics import LIST_METRICS
from jaxals.recommend.ranking import batches, listed_cells, rows_per_batch

Exclude = Interactions | Literal["train"] | None
UnknownUsers = Literal["skip", "rank"]

_AT_K = (*LIST_METRICS, "novelty", *CATALOG_METRICS)


class Metric(NamedTuple):
    """A metric by its kind and list length; k is None where the whole ranking counts."""

    kind: str
    k: int | None

    @property
    def name(self) -> str:
        """How users write it, such as "ndcg@10"."""
        return self.kind if self.k is None else f"{self.kind}@{self.k}"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class UserLists:
    """One list of items for each evaluated user.

    Attributes:
        item: The lists in turn, each ascending.
        starts: Where each begins in `item`, and the end.
    """

    item: Int[np.ndarray, " entries"]
    starts: Int[np.ndarray, " evaluated_plus_1"]

    @classmethod
    def of(cls, data: Interactions, user: Int[np.ndarray, " evaluated"]) -> "UserLists":
        """Take these users' items from interactions."""
        evaluated = np.zeros(data.n_users, bool)
        evaluated[user] = True
        return cls(data.item[evaluated[data.user]], np.concatenate([[0], np.cumsum(data.counts()[user])]))

    @classmethod
    def empty(cls, n_users: int) -> "UserLists":
        """List nothing for anyone."""
        return cls(np.zeros(0, np.int32), np.zeros(n_users + 1, np.int64))

    def cells(self, first: int, last: int, length: int | None = None) -> "Cells":
        """List the cells of the scores of users `first` to `last`, padded to a length, as `top_k` takes them."""
        starts = self.starts[first : last + 1]
        length = int(starts[-1] - starts[0]) if length is None else length
        return Cells(*listed_cells(starts[:-1], starts[1:], self.item, length))

    def most(self, size: int) -> int:
        """Return the most entries that any `size` users in turn, cut from the first on, have together; 1 at least."""
        firsts = np.arange(0, len(self.starts) - 1, size)
        lasts = np.minimum(firsts + size, len(self.starts) - 1)
        return max(1, int(np.max(self.starts[lasts] - self.starts[firsts])))


class Cells(NamedTuple):
    """Some of the cells of a batch's scores, those past the last row padding; NumPy arrays, or JAX's when traced."""

    row: Int[Any, " cells"]
    item: Int[Any, " cells"]


class RankedBatch(NamedTuple):
    """What the device needs to measure some users; every batch of a plan has the same shapes.

    Attributes:
        users: Their indices.
        relevant: Items to find, ascending; the number of items pads.
        excluded: Cells that are not ranked.
        candidates: The only cells that are ranked, or None.
    """

    users: Int[Any, " batch"]
    relevant: Int[Any, "batch relevant"]
    excluded: Cells
    candidates: Cells | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EvaluationPlan:
    """All of an evaluation that does not depend on the scorer, made once and run many times by `run_plan`.

    Attributes:
        metrics: What to measure.
        user: Indices of the users to evaluate, ascending, int32.
        catalog: Raw ids of users and items.
        relevant: The items that each of them should find.
        excluded: Items that are not ranked.
        candidates: The only items that are ranked, the relevant ones among them; None ranks all that are not excluded.
        information: Self-information of each item, which novelty is the mean of; None where nobody asks for it.
        batch_size: Users that are ranked at once.
        n_unknown_users: Users with something to find who are left out, for they have no entry in `train`.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import plan_evaluation
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> plan = plan_evaluation(train, test, ["recall@1"], batch_size=1)
        >>> plan.user.tolist(), [batch.relevant.tolist() for batch in plan.batches()]
        ([0, 2], [[[2]], [[3]]])
    """

    metrics: tuple[Metric, ...]
    user: Int[np.ndarray, " evaluated"]
    catalog: Catalog
    relevant: UserLists
    excluded: UserLists
    candidates: UserLists | None
    information: Float[np.ndarray, " items"] | None
    batch_size: int
    n_unknown_users: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items of the catalog."""
        return self.catalog.shape

    def batches(self) -> Iterator[RankedBatch]:
        """Cut the users into batches, the last one filled up; there is one compilation for all.

        Returns:
            One batch after another, of `batch_size` users each; the places that fill up the last one come after `user`.
        """
        n_items, size, total = self.shape[1], self.batch_size, len(self.user)
        n_excluded = self.excluded.most(size)
        n_candidates = None if self.candidates is None else self.candidates.most(size)
        n_relevant = self.relevant.most(1)
        for first, users in zip(range(0, total, size), batches(self.user, size), strict=True):
            last = min(first + size, total)
            relevant = np.full((size, n_relevant), n_items, np.int32)
            counts = np.diff(self.relevant.starts[first : last + 1])
            relevant[: last - first][np.arange(n_relevant) < counts[:, None]] = self.relevant.cells(first, last).item
            candidates = None if self.candidates is None else self.candidates.cells(first, last, n_candidates)
            yield RankedBatch(users, relevant, self.excluded.cells(first, last, n_excluded), candidates)


def plan_evaluation(
    train: Interactions,
    test: Interactions,
    metrics: Sequence[str] = ("recall@10", "ndcg@10"),
    batch_size: int | None = None,
    exclude: Exclude = "train",
    unknown_users: UnknownUsers = "skip",
) -> EvaluationPlan:
    """Do the part of `evaluate` that is the same for every scorer.

    Args:
        train: As in `evaluate`, and so below.
        test: What to find again.
        metrics: Names.
        batch_size: Users ranked at once.
        exclude: Items not to rank for a user.
        unknown_users: What to do with users without an entry in `train`.

    Returns:
        What `run_plan` measures any number of scorers by, and `fit` takes as `validation`.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: `train` and `test` are about different users or items, or nobody has a relevant item.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, plan_evaluation, run_plan
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> plan = plan_evaluation(train, test, ["recall@1"])
        >>> run_plan(Popularity.from_interactions(train), plan).metrics
        {'recall@1': 0.5}
    """
    _check_catalogs(train, test, "test")
    if isinstance(exclude, str):
        if exclude != "train":
            raise ConfigurationError(f'`exclude` must be "train", `Interactions` or None; got {told(exclude)}.')
    elif exclude is not None:
        _check_catalogs(train, exclude, "exclude")
    excluded = train if isinstance(exclude, str) else exclude
    is_relevant = test.value > 0
    if excluded is not None:
        is_relevant &= ~test.is_among(excluded)
    return _plan(test.select(is_relevant), metrics, batch_size, train, unknown_users, excluded=excluded)


def plan_negatives(
    train: Interactions,
    test: Interactions,
    negatives: Interactions,
    metrics: Sequence[str] = ("hit_rate@10", "ndcg@10"),
    batch_size: int | None = None,
    unknown_users: UnknownUsers = "skip",
) -> EvaluationPlan:
    """Do the part of `evaluate_among_negatives` that is the same for every scorer.

    Args:
        train: As in `evaluate_among_negatives`, and so below.
        test: What to find.
        negatives: The items to find it among.
        metrics: Names.
        batch_size: Users ranked at once.
        unknown_users: What to do with users without an entry in `train`.

    Returns:
        As of `plan_evaluation`.

    Raises:
        ConfigurationError: A metric is unknown or `batch_size` is below 1.
        DataError: The three are about different users or items, somebody in `test` has no negatives, or nobody has a
            relevant item.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, plan_negatives, run_plan
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 5))
        >>> test = jaxals.Interactions.from_arrays([0], [2], shape=(3, 5))
        >>> negatives = jaxals.Interactions.from_arrays([0, 0], [3, 4], shape=(3, 5))
        >>> plan = plan_negatives(train, test, negatives, ["hit_rate@1"])
        >>> run_plan(Popularity.from_interactions(train), plan).metrics
        {'hit_rate@1': 1.0}
    """
    _check_catalogs(train, test, "test")
    _check_catalogs(train, negatives, "negatives")
    relevant = test.select(test.value > 0)
    without = np.setdiff1d(relevant.user, negatives.user)
    if len(without):
        user = test.catalog.users[without[:1]].tolist()[0]
        raise DataError(f"`negatives` has no item for {len(without)} users of `test`, such as {user!r}.")
    # A relevant item that is among the negatives, too, is ranked once.
    user, item = np.concatenate([relevant.user, negatives.user]), np.concatenate([relevant.item, negatives.item])
    candidates = Interactions.from_arrays(user, item, catalog=test.catalog, duplicates="last")
    return _plan(relevant, metrics, batch_size, train, unknown_users, candidates=candidates)


def _plan(
    relevant: Interactions,
    metrics: Any,
    batch_size: Any,
    train: Interactions,
    unknown_users: Any,
    excluded: Interactions | None = None,
    candidates: Interactions | None = None,
) -> EvaluationPlan:
    parsed = parse_metrics(metrics)
    needs_information = any(metric.kind == "novelty" for metric in parsed)
    if batch_size is not None:
        require_integer("batch_size", batch_size, 1)
    require_one_of("unknown_users", unknown_users, "skip", "rank")
    user = np.unique(relevant.user)
    if not len(user):
        raise DataError("No user has a relevant item: `test` needs values above zero for items that are not excluded.")
    is_known = (train.counts("user")[user] > 0) | (unknown_users == "rank")
    n_unknown, user = int(np.sum(~is_known)), user[is_known]
    if not len(user):
        raise DataError(
            f"None of {n_unknown:,} users with something to find has an entry in `train`; fold them in and pass what "
            'they were folded in from as `train`, or pass `unknown_users="rank"` for a scorer that needs no entries.'
        )
    return EvaluationPlan(
        metrics=parsed,
        user=user,
        catalog=relevant.catalog,
        relevant=UserLists.of(relevant, user),
        excluded=UserLists.empty(len(user)) if excluded is None else UserLists.of(excluded, user),
        candidates=None if candidates is None else UserLists.of(candidates, user),
        information=self_information(train) if needs_information else None,
        batch_size=min(len(user), batch_size or rows_per_batch(relevant.n_items, 4)),
        n_unknown_users=n_unknown,
    )


def parse_metrics(names: Any) -> tuple[Metric, ...]:
    """Read metric names, dropping repeated ones.

    Raises:
        ConfigurationError: A name is unknown, or there is none.

    Example:
        >>> from jaxals.evaluation.plans import parse_metrics
        >>> parse_metrics(["ndcg@10", "auc"])
        (Metric(kind='ndcg', k=10), Metric(kind='auc', k=None))
    """
    names = [names] if isinstance(names, str) else listed("metrics", names, "names of metrics")
    if not names:
        raise ConfigurationError(f"`metrics` must name at least one metric; known are {_known_metrics()}.")
    return tuple(dict.fromkeys(_parse_metric(name) for name in names))


def _parse_metric(name: Any) -> Metric:
    if not isinstance(name, str):
        raise ConfigurationError(f"`metrics` must be names of metrics; got {told(name)}; known are {_known_metrics()}.")
    metric = _metric_of(name)
    if metric is None:
        raise ConfigurationError(f"There is no metric {told(name)}{_meant(name)}; known are {_known_metrics()}.")
    return metric


def require_metric(argument: str, name: str, also: Sequence[str] = ()) -> None:
    """Refuse what is no name of a metric, and say which it may be.

    Args:
        argument: That it came as.
        name: Of a metric.
        also: What else it may be.

    Raises:
        ConfigurationError: There is no such metric.
    """
    if _metric_of(name) is None:
        known = "".join(f"{told(one)} and " for one in also) + _known_metrics()
        raise ConfigurationError(f"`{argument}` is {told(name)}, no metric{_meant(name, also)}; known are {known}.")


def _metric_of(name: str) -> Metric | None:
    if name == "auc":
        return Metric("auc", None)
    match = re.fullmatch(r"(\w+)@([1-9][0-9]{0,17})", name)
    return Metric(match[1], int(match[2])) if match and match[1] in _AT_K else None


def _meant(name: str, also: Sequence[str] = ()) -> str:
    """Say which name is nearest to an unknown one, where one is near; a list's length is kept, or 10."""
    kind, _, length = name.lower().partition("@")
    near = difflib.get_close_matches(kind, [*_AT_K, "auc", *also], n=1)
    if not near:
        return ""
    length = length if re.fullmatch("[1-9][0-9]{0,17}", length) else "10"
    return f" (did you mean {told(near[0] if near[0] not in _AT_K else f'{near[0]}@{length}')}?)"


def _known_metrics() -> str:
    return f"{', '.join(f'{kind}@k' for kind in _AT_K)} with k >= 1 of 18 digits at most, and auc"


def _check_catalogs(train: Any, other: Any, name: str) -> None:
    require_interactions("train", train)
    require_interactions(name, other)
    if other.shape != train.shape:
        turned = " It looks transposed: users are rows." if other.shape == train.shape[::-1] else ""
        raise DataError(f"`{name}` is about {other.shape} users and items, `train` about {train.shape}.{turned}")
    if not same_ids(train.catalog, other.catalog):
        raise DataError(
            f"`{name}` and `train` have different raw ids; build both with one catalog, by "
            "`Interactions.from_frame(..., catalog=train.catalog)`, or split one set."
        )


def same_ids(first: Catalog, second: Catalog) -> bool:
    """Tell whether two catalogs have the same raw ids in the same order, so that indices mean the same.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation.plans import same_ids
        >>> same_ids(jaxals.Catalog(["a", "b"], [1, 2]), jaxals.Catalog(["a", "b"], [2, 1]))
        False
    """
    return first is second or (first.users.equals(second.users) and first.items.equals(second.items))
