"""How far to trust a similarity: rows that few entries made say little about what they are like. Host side."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._base.checks import require_at_least, require_finite, require_number
from jaxals.recommend.tables import Table

# Lists of ten then have no artists of one or two listeners, where they had one in six, and find more of what is hidden
# (`experiments/similar_items.py`).
SHRINKAGE = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What a cosine with each row is multiplied by: n / (n + s) for a row of n entries, s being the shrinkage.

    The vector of an item that one user has points where that user's points, so that its cosine with whatever else the
    user has is high by chance.

    Attributes:
        trained: Over the length of each trained row, 0 where that is 0; on the device.
        late: Of each late row.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from jaxals.recommend.evidence import Evidence
        >>> from jaxals.recommend.tables import Table
        >>> Evidence.of(Table.of(2 * jnp.eye(3)), np.array([0, 1, 3]), shrinkage=1.0).trained.tolist()
        [0.0, 0.25, 0.375]
    """

    trained: Float[Array, " rows"]
    late: Float[np.ndarray, " late"]

    @classmethod
    def of(cls, table: Table, count: Int[np.ndarray, " rows"], shrinkage: float) -> "Evidence":
        """Weigh the rows of a table by how many entries each has."""
        if not shrinkage:  # nor is anything known to be wrong with a vector that came without entries
            return cls(table.trained.inverse_lengths, np.ones(len(table.place), table.dtype))
        kept = (count / (count + float(shrinkage))).astype(table.dtype)
        trained = np.zeros(len(table.trained), table.dtype)  # more rows than the table has, or fewer
        trained[: len(table)] = kept[: len(trained)]
        return cls(jnp.asarray(trained * np.asarray(table.trained.inverse_lengths)), kept[table.place])


def require_shrinkage(shrinkage: Any) -> None:
    """Refuse what is no finite number of 0 or more."""
    require_number("shrinkage", shrinkage)
    require_at_least("shrinkage", shrinkage, 0)
    require_finite("shrinkage", shrinkage)
