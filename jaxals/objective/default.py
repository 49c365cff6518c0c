"""The objective that fits most data, where nobody says which: of `fit` and the commands. Host side."""

import numpy as np

from jaxals.data.interactions import Interactions, require_interactions
from jaxals.objective.objective import Objective

DEFAULT_PRESET = "ials"
# Measured by `experiments/default_objective.py`. Without the bound, dense data (MovieLens 1M) get a weight of 1.8.
_UNOBSERVED_PER_OBSERVED = 40.0
_MOST_WEIGHT = 1.0
_REGULARIZATION = 0.003


def default_numbers(interactions: Interactions) -> dict[str, float]:
    """Return the arguments of `DEFAULT_PRESET` for some interactions, by name; see `default_objective`."""
    n_users, n_items = np.count_nonzero(interactions.counts("user")), np.count_nonzero(interactions.counts("item"))
    weight = _UNOBSERVED_PER_OBSERVED * len(interactions) / max(1, int(n_users) * int(n_items))
    # Two digits, which can be written down.
    return {"unobserved_weight": min(float(f"{weight:.2g}"), _MOST_WEIGHT), "regularization": _REGULARIZATION}


def default_objective(interactions: Interactions) -> Objective:
    """Return what `fit` minimises where no objective is given: `Objective.ials` with numbers that suit the data.

    All unobserved pairs together weigh 40 times as much as there are observed ones, of however many users and items: in
    sparse data each of them weighs less; none weighs more than 1. The ridge is then in proportion to what a row has,
    too. Values do not matter, only whether there is one, and whether it lies below zero, which means dislike.

    Args:
        interactions: What is trained on.

    Returns:
        An objective of plain numbers.

    Raises:
        DataError: `interactions` are something else.

    Example:
        >>> import jaxals
        >>> from jaxals.objective import default_objective
        >>> data = jaxals.datasets.synthetic(n_users=500, n_items=400, n_interactions=4000, seed=0)
        >>> objective = default_objective(data)
        >>> objective.unobserved_weight, objective.regularization
        (0.8, 0.003)
    """
    require_interactions("interactions", interactions)
    return getattr(Objective, DEFAULT_PRESET)(**default_numbers(interactions))
