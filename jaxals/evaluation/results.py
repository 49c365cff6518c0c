"""What an evaluation returns: means with standard errors, each user's values, and the lists. Host side."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jaxals._base.arguments import told
from jaxals.data.catalog import Catalog
from jaxals.errors import ConfigurationError
from jaxals.evaluation.places import Places
from jaxals.evaluation.plans import UserLists


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What an evaluation measured, for each user and on average.

    Attributes:
        user: Indices of the users with at least one relevant item to find, ascending.
        catalog: Raw ids of users and items.
        relevant: The items that each of them should find.
        user_metrics: Names of the metrics that every user has a value of, in the order asked for.
        values: Those values: one row per user, one column per metric, float64.
        catalog_metrics: Metrics of all lists together, such as "coverage@10", by name.
        lists: Item indices at the top of each user's ranking, as many as the longest metric asked for sees; -1 pads.
            Which of several tied items come first, or are listed at all, follows their numbers, and no figure does.
        places: What ties leave open in the lists.
        n_unknown_users: Users with something to find but without an entry in `train`, who were left out.

    Example:
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, evaluate
        >>> train = jaxals.Interactions.from_arrays([0, 0, 1, 1, 2], [0, 1, 1, 2, 1], shape=(3, 4))
        >>> test = jaxals.Interactions.from_arrays([0, 2], [2, 3], shape=(3, 4))
        >>> measured = evaluate(Popularity.from_interactions(train), train, test, ["recall@1"])
        >>> measured["recall@1"], measured.per_user()["recall@1"].tolist()
        (0.5, [1.0, 0.0])
    """

    user: Int[np.ndarray, " users"]
    catalog: Catalog
    relevant: UserLists
    user_metrics: tuple[str, ...]
    values: Float[np.ndarray, "users metrics"]
    catalog_metrics: dict[str, float]
    lists: Int[np.ndarray, "users ranks"]
    places: Places
    n_unknown_users: int = 0

    @property
    def users(self) -> pd.Index:
        """Raw ids of the users that were evaluated."""
        return self.catalog.users[self.user]

    @property
    def n_users(self) -> int:
        """Number of users that the means are over."""
        return len(self.user)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, those of all lists together last."""
        return (*self.user_metrics, *self.catalog_metrics)

    @property
    def metrics(self) -> dict[str, float]:
        """Each metric by name, with its mean over users or its value for all lists together."""
        means = self.values.mean(axis=0).tolist()
        return {**dict(zip(self.user_metrics, means, strict=True)), **self.catalog_metrics}

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard error of each mean, std / √n with n - 1 in the variance; NaN for a single user, or without users."""
        nothing = dict.fromkeys(self.names, float("nan"))
        if self.n_users < 2:
            return nothing
        errors = self.values.std(axis=0, ddof=1) / np.sqrt(self.n_users)
        return {**nothing, **dict(zip(self.user_metrics, errors.tolist(), strict=True))}

    def __getitem__(self, name: str) -> float:
        if not isinstance(name, str) or name not in self.names:
            raise ConfigurationError(f"{told(name)} was not measured; this evaluation has {', '.join(self.names)}.")
        return self.metrics[name]

    def per_user(self) -> pd.DataFrame:
        """Return one row per user: the raw id in the column "user", then each metric that a user has a value of."""
        frame = pd.DataFrame(self.values, columns=list(self.user_metrics))
        frame.insert(0, "user", self.users)
        return frame

    def to_frame(self) -> pd.DataFrame:
        """Return one row per metric, with the columns metric, mean, standard_error, users and unknown_users."""
        return pd.DataFrame(
            {
                "metric": list(self.names),
                "mean": list(self.metrics.values()),
                "standard_error": list(self.standard_errors.values()),
                "users": self.n_users,
                "unknown_users": self.n_unknown_users,
            }
        )

    def to_text(self, name: str) -> str:
        """Write a metric as "0.1234 ± 0.0056", without the standard error where a metric never has one.

        Args:
            name: One of `names`.

        Returns:
            The text, four digits after the point; "n/a" for the standard error of a single user, who has none.

        Raises:
            ConfigurationError: It was not measured.
        """
        value = _shown(self[name])
        return value if name in self.catalog_metrics else f"{value} ± {_shown(self.standard_errors[name])}"

    def __repr__(self) -> str:
        measured = ", ".join(f"{name} {self.to_text(name)}" for name in self.names)
        users = f"{self.n_users:,} user{'' if self.n_users == 1 else 's'}"
        unknown = f", {self.n_unknown_users:,} unknown left out" if self.n_unknown_users else ""
        return f"Evaluation({measured}; {users}{unknown})"


def _shown(number: float) -> str:
    return "n/a" if np.isnan(number) else f"{number:.4f}"
