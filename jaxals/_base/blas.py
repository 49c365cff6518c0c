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
        self.count = 0
        self.before: dict[str, int] = {}

    def enter(self, libraries: list[Any]) -> None:
        if self.count == 0:
            self.before = {library.filepath: library.num_threads for library in libraries}
        self.count += 1
        for library in libraries:
            _set_threads(library, 1)

    def leave(self, libraries: list[Any]) -> None:
        self.count -= 1
        for library in libraries:
            if self.count == 0 and library.filepath in self.before:
                _set_threads(library, self.before[library.filepath])


class _LimitOfThread(_Limit, threading.local):
    """The same, of each thread."""


# Most libraries have one setting for all, those built on OpenMP one for each thread: so has who changes it.
_LOCK, _OF_ALL, _OF_THREAD = threading.Lock(), _Limit(), _LimitOfThread()


@contextlib.contextmanager
def one_blas_thread(blas: ThreadpoolController) -> Iterator[None]:
    """Let BLAS use one thread for as long as anybody is in here; whoever leaves last puts back what there was.

    Args:
        blas: What `loaded_blas` returned.
    """
    is_own = lambda library: getattr(library, "threading_layer", None) == "openmp"
    own = [library for library in blas.lib_controllers if is_own(library)]
    shared = [library for library in blas.lib_controllers if not is_own(library)]
    with _LOCK:
        _OF_ALL.enter(shared)
        _OF_THREAD.enter(own)
    try:
        yield
    finally:
        with _LOCK:
            _OF_ALL.leave(shared)
            _OF_THREAD.leave(own)


def _set_threads(library: Any, number: int) -> None:
    # From 3.8 on, threadpoolctl has only the thread that was the first to set a number set another, and says nothing to
    # others. The last to leave is often not the first that came.
    let_anybody = getattr(library, "clear_controlling_thread", lambda force: None)
    let_anybody(force=True)
    library.set_num_threads(number)
    let_anybody(force=True)
