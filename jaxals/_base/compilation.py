"""What compiling takes: told apart from what programs take, and done ahead of them. Host side."""

import concurrent.futures
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxals._base.environment import count_cores, settings_of_thread, under

_COMPILING = "/jax/core/compile/"  # tracing, lowering, and what XLA does, read from a cache or not


class CompileTime:
    """Spans of time that a thread spent on compiling, none of which overlap."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def add(self, begin: float, end: float) -> None:
        """Add a span that has just ended: it takes in those that lie in it, as a function traced inside of another."""
        while self.spans and self.spans[-1][0] >= begin:
            self.spans.pop()
        self.spans.append((begin, end))

    @property
    def seconds(self) -> float:
        """How long they are together."""
        return sum(end - begin for begin, end in self.spans)


class _Listening(threading.local):
    """Who wants to know what this thread compiles: another fit compiles in another thread."""

    listener: CompileTime | None = None


_LISTENING = _Listening()


@functools.cache
def _listen() -> None:
    jax.monitoring.register_event_duration_secs_listener(_hear)


def _hear(event: str, duration_secs: float, **_: str | int) -> None:
    if _LISTENING.listener is not None and event.startswith(_COMPILING):
        now = time.perf_counter()
        _LISTENING.listener.add(now - duration_secs, now)


@contextlib.contextmanager
def compile_time() -> Iterator[CompileTime]:
    """Take the time that this thread spends on compiling in here, `compile_ahead` included.

    Example:
        >>> import jax
        >>> from jaxals._base.compilation import compile_time
        >>> double = jax.jit(lambda x: 2 * x)
        >>> with compile_time() as first:
        ...     _ = double(1.0)
        >>> with compile_time() as second:
        ...     _ = double(1.0)
        >>> first.seconds > 0, second.seconds
        (True, 0)
    """
    _listen()
    outer, _LISTENING.listener = _LISTENING.listener, CompileTime()
    try:
        yield _LISTENING.listener
    finally:
        _LISTENING.listener = outer


# JAX keeps what it has compiled for the whole process, and does not tell what that is.
_BEGUN: set[int] = set()


def is_new(arrays: Any, *settings: Hashable) -> bool:
    """Tell whether programs of these have not been compiled ahead before, as a second fit of one layout need not do.

    Args:
        arrays: A pytree, of whose arrays shapes and types matter.
        settings: What else decides what is compiled.

    Example:
        >>> import numpy as np
        >>> from jaxals._base.compilation import is_new
        >>> is_new(np.zeros(7), "an example"), is_new(np.ones(7), "an example"), is_new(np.zeros(8), "an example")
        (True, False, True)
    """
    leaves, tree = jax.tree.flatten(arrays)
    kinds = tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
    # A number, which keeps nothing alive that belongs to somebody else.
    signature = hash((tree, kinds, settings, *settings_of_thread().values()))
    if signature in _BEGUN:
        return False
    _BEGUN.add(signature)
    return True


def compile_ahead(programs: Sequence[Callable[[], Any]]) -> None:
    """Compile programs at the same time, each in a thread of its own, for XLA needs no lock of Python.

    They are compiled as this thread would: under the precision, the types and the default device that are set here.
    Nothing else is to run meanwhile: it would wait for cores, and seem to take long.

    Args:
        programs: Each compiles one, such as `lambda: function.lower(*shapes).compile()`. What goes wrong in them is
            left for the call of the program to say.
    """
    if not programs or getattr(jax.config, "jax_disable_jit"):  # noqa: B009 (unknown to the types of JAX 0.10)
        return
    settings = settings_of_thread()

    def work(compile_one: Callable[[], Any]) -> None:
        with under(settings):
            compile_one()

    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(min(len(programs), count_cores()), "jaxals-compile") as threads:
        for one in programs:
            threads.submit(work, one)
    if _LISTENING.listener is not None:
        _LISTENING.listener.add(begin, time.perf_counter())
