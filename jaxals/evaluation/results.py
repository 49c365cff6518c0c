"""What an evaluation returns: means with standard errors, and each user's values. Host side."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float

from jaxals.errors import ConfigurationError


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
