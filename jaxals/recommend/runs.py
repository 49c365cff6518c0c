"""What a training or a search gave back, taken apart. Host side."""

from typing import Any

from jaxals._base.arguments import told
from jaxals.als.solver.equations import is_non_negative
from jaxals.errors import ConfigurationError
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective


def trained(run: Any) -> tuple[Factors, Objective | None, bool]:
    """Return the factors that a run holds, what they minimise, and whether its solver makes none below 0.

    Raises:
        ConfigurationError: It is no run, or a search that kept no factors.
    """
    if isinstance(run, type) or not (hasattr(run, "factors") and hasattr(run, "objective")):
        raise ConfigurationError(f"`run` must be what `fit` or a search gave back; got {told(run)}.")
    factors, objective = run.factors, run.objective
    if factors is None:
        raise ConfigurationError(
            f"The {type(run).__name__} holds no factors; train them by `jaxals.fit(interactions, found.objective, "
            "found.trainer)`."
        )
    return factors, objective, is_non_negative(getattr(getattr(run, "trainer", None), "solver", None))
