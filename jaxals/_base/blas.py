"""The threads of BLAS, whose number is one for a whole process. Host side."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController


def loaded_blas() -> ThreadpoolController:
    """Return the BLAS libraries that are loaded; looking for them takes some milliseconds.

    >>> from jaxals._base.blas import loaded_blas
    >>> {library["user_api"] for library in loaded_blas().info()} <= {"blas"}
    True
    """
    return ThreadpoolController().select(user_api="blas")


class _Limit:
    """How many are in, and what each library had before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before: dict[str, int] = {}


# The libraries have one setting for all: so has who changes it.
_LIMIT = _Limit()


@contextlib.contextmanager
def one_blas_thread(blas: ThreadpoolController) -> Iterator[None]:
    """Let BLAS use one thread for as long as anybody is in here; whoever leaves last puts back what there was.

    Args:
        blas: What `loaded_blas` returned.
    """
    with _LIMIT.lock:
        if _LIMIT.count == 0:
            _LIMIT.before = {library.filepath: library.num_threads for library in blas.lib_controllers}
        _LIMIT.count += 1
        for library in blas.lib_controllers:
            _set_threads(library, 1)
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.count -= 1
            for library in blas.lib_controllers:
                # OpenMP has a setting for each thread, which nobody else can put back.
                is_own = getattr(library, "threading_layer", None) == "openmp"
                if (_LIMIT.count == 0 or is_own) and library.filepath in _LIMIT.before:
                    _set_threads(library, _LIMIT.before[library.filepath])


def _set_threads(library: Any, number: int) -> None:
    # From 3.8 on, threadpoolctl has only the thread that was the first to set a number set another, and says nothing to
    # others. The last to leave is often not the first that came.
    let_anybody = getattr(library, "clear_controlling_thread", lambda force: None)
    let_anybody(force=True)
    library.set_num_threads(number)
    let_anybody(force=True)
