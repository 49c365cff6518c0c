"""SIGTERM and Ctrl-C while training: finish the step, or leave it behind where it takes too long. Host side."""

import atexit
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jaxals._base.environment import settings_of_thread, under

T = TypeVar("T")

# Of the ten seconds that a preempted machine often has, some are left for writing.
GRACE_SECONDS = 8.0

_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# Why a training that could go on has ended.
REASONS = tuple(_SIGNALS.values())


class StepAbandoned(Exception):
    """A step was left behind unfinished."""


class Interruption:
    """What signals have asked for.

    Attributes:
        reason: "interrupted" by Ctrl-C or "terminated" by SIGTERM; None as long as nobody asked.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C as requests to stop; a second Ctrl-C is a `KeyboardInterrupt` at once.

        Only the main thread can listen; in others nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._request) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None stands for a handler that Python did not install.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _request(self, number: int, _: Any) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.reason is None:
            self.reason, self._since = _SIGNALS[signal.Signals(number)], time.monotonic()
            # Not `print`, which may be at work on the same stream when the signal comes.
            os.write(2, b"jaxals: stopping after this step; Ctrl-C quits at once\n")

    def run(self, step: Callable[[], T]) -> T:
        """Run a step in a thread of its own, since Python answers no signal while the main thread is inside JAX.

        It computes as this thread would: under the precision, the types and the default device that are set here.

        Raises:
            StepAbandoned: It was still running `GRACE_SECONDS` after a request to stop; it goes on, unheeded, and the
                interpreter waits for it when it ends.
        """
        outcome: list[T] = []
        errors: list[BaseException] = []
        settings = settings_of_thread()

        def work() -> None:
            try:
                with under(settings):
                    outcome.append(step())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="jaxals-step", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if thread.is_alive() and self.reason is not None and time.monotonic() - self._since > GRACE_SECONDS:
                # An interpreter that ends under a thread inside JAX aborts.
                atexit.register(thread.join)
                raise StepAbandoned
        if errors:
            raise errors[0]
        return outcome[0]
