"""Compiled programs kept for later processes, for those who ask for it. Host side."""

import importlib.util
import os
import zlib
from pathlib import Path
from typing import Any

import jax
import platformdirs

from jaxals._base.environment import processor_features

_VARIABLE = "JAXALS_CACHE"
# What was not used for longest goes first; the programs of one fit take about 2 MB.
_MOST_BYTES = 2**30


def use_compilation_cache() -> Path | None:
    """Keep compiled programs in a folder, so that the next process with the same shapes need not compile them again.

    The command line and the notebooks do so; other processes do if they call this. The folder is `compiled` in that of
    jaxals among the user's caches, or the one that the environment variable `JAXALS_CACHE` names, and may be deleted at
    any time; `JAXALS_CACHE=off` keeps nothing. A folder that JAX has been told of
    (`jax_compilation_cache_dir`) is left as it is.

    Returns:
        The folder, or None where nothing is kept, as where it cannot be written to.

    Example:
        >>> import os
        >>> import jaxals
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, JAXALS_CACHE="off"):
        ...     jaxals.use_compilation_cache() is None
        True
    """
    place = os.environ.get(_VARIABLE, "")
    if place.lower() == "off":
        return None
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None:
        return Path(config.jax_compilation_cache_dir)
    root = Path(place) if place else Path(platformdirs.user_cache_dir("jaxals")) / "compiled"
    # A home that machines share: XLA compiles for the processor at hand.
    folder = root / f"{zlib.crc32(processor_features().encode()):08x}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # All of them: a fit of small data is made of some thirty small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if importlib.util.find_spec("filelock") is not None:  # what JAX needs to count what is there
        jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    return folder
