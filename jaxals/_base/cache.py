"""Compiled programs kept for later processes, for those who ask for it. Host side."""

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any

import jax
import platformdirs

from jaxals._base.environment import processor_features

_VARIABLE = "JAXALS_CACHE"
# Some 200 MB: the 23 programs of a fit of Last.fm 2K take 0.5 MB.
_MOST_PROGRAMS = 10_000


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
        ...     jaxals.training.use_compilation_cache() is None
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
    _make_room(folder)
    return folder


def _make_room(folder: Path) -> None:
    """Remove the older half of what is kept where there is too much of it.

    JAX can do so by what was not used for longest, but then writes a file for each one that it reads.
    """
    programs = [entry for entry in os.scandir(folder) if entry.is_file()]
    if len(programs) <= _MOST_PROGRAMS:
        return
    with contextlib.suppress(OSError):  # another process is doing the same
        for program in sorted(programs, key=lambda entry: entry.stat().st_mtime)[: len(programs) // 2]:
            Path(program).unlink(missing_ok=True)
