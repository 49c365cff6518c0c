"""Processes forked after JAX had begun: they wait for ever for threads that stayed behind. Host side."""

import os

from jax._src import xla_bridge

from jaxals.errors import ConfigurationError

_forked_after_start = False


def refuse_forked_process() -> None:
    """Refuse to compute in a process that was forked after JAX had begun in its parent.

    Raises:
        ConfigurationError: This is such a process.

    Example:
        >>> from jaxals._base.forks import refuse_forked_process
        >>> refuse_forked_process()
    """
    if _forked_after_start:
        raise ConfigurationError(
            "This process was forked after JAX had begun to compute, and would wait for ever for threads that it does "
            'not have; begin processes by "spawn" (`multiprocessing.get_context("spawn")`) or by joblib\'s default.'
        )


def has_begun() -> bool:
    """Tell whether JAX has looked for its devices, after which their number is settled."""
    # Private, but there is no public name that asks without beginning. Where it is gone, nothing is refused.
    return bool(getattr(xla_bridge, "backends_are_initialized", lambda: False)())


def _note() -> None:
    # A fact about the process: whoever forks before JAX has begun may compute in every child.
    global _forked_after_start
    _forked_after_start = has_begun()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_note)
