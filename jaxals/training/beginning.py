"""What a training can begin with. Host side."""

from typing import Any

import jax.numpy as jnp

from jaxals._base.arguments import require_key, require_mesh, told
from jaxals._base.checks import require_integer
from jaxals.als.layout.tiles import require_tiles
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import EvaluationPlan
from jaxals.objective.factors import require_shape
from jaxals.objective.objective import require_objective
from jaxals.training.checkpoint import Checkpoint
from jaxals.training.state import EarlyStopping


def require_beginning(interactions: Any, objective: Any, key: Any, initial: Any, mesh: Any, factors: int) -> None:
    """Refuse what no training can begin with.

    Raises:
        ConfigurationError: An argument is of another kind.
        DataError: `interactions` are something else, or `initial` is for other users, items or factors.
    """
    require_interactions("interactions", interactions)
    require_objective("objective", objective)
    require_key("key", key)
    require_mesh(mesh)
    if initial is not None:
        require_shape(initial, interactions.shape, "initial")
        if initial.user.shape[1] != factors:
            raise DataError(f"`initial` has {initial.user.shape[1]} factors, but the trainer {factors}.")


def require_pair(tiles: Any, interactions: Interactions) -> None:
    """Refuse what is no tiles of both orientations, of these interactions.

    Raises:
        DataError: They are something else.
    """
    if not isinstance(tiles, (tuple, list)) or len(tiles) != 2:
        raise DataError(f"`tiles` must be a pair, with users and with items as rows; got {told(tiles)}.")
    for one, shape in zip(tiles, (interactions.shape, interactions.shape[::-1]), strict=True):
        require_tiles("tiles", one)
        if (one.n_rows, one.n_columns) != shape:
            raise DataError(
                f"`tiles` must be of {shape[0]} rows and {shape[1]} columns; got {one.n_rows} and {one.n_columns}."
            )


def require_allowed(dtype: str) -> None:
    """Refuse float64 where JAX has not been told to allow it."""
    if dtype == "float64" and jnp.result_type(float) != jnp.float64:
        raise ConfigurationError(
            '`dtype="float64"` needs `jax.config.update("jax_enable_x64", True)` before any array is made.'
        )


def require_watched(
    plan: EvaluationPlan | None, early_stopping: EarlyStopping | None, checkpoint: Checkpoint | None, loss_every: int
) -> None:
    """Refuse to watch what is not measured after each step.

    Raises:
        ConfigurationError: The loss or a metric would be missing.
    """
    require_integer("loss_every", loss_every, 0)
    if checkpoint is not None and checkpoint.best == "loss" and loss_every != 1:
        raise ConfigurationError(f'`best="loss"` of a checkpoint needs `loss_every=1`; got {loss_every}.')
    if early_stopping is None:
        return
    names = [metric.name for metric in plan.metrics] if plan else []
    if early_stopping.monitor == "loss":
        if loss_every != 1:
            raise ConfigurationError(f"Early stopping on the loss needs `loss_every=1`; got {loss_every}.")
    elif early_stopping.monitor not in names:
        raise ConfigurationError(
            f"Early stopping watches {early_stopping.monitor!r}, which is not among the metrics {names}."
        )
