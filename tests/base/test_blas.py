import threading

import numpy as np
import pytest
import threadpoolctl
from threadpoolctl import ThreadpoolController

from jaxals._base.blas import loaded_blas, one_blas_thread


def shared() -> ThreadpoolController:
    """The libraries that have one setting for all threads: FAISS, where another test has loaded it, brings one more."""
    return loaded_blas().select(threading_layer=["pthreads", "unknown", "disabled"])


def threads() -> list[int]:
    return [library["num_threads"] for library in shared().info()]


@pytest.fixture
def three_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield threads()


def test_limits_that_interleave_leave_what_was_there(three_threads):
    assert set(three_threads) == {3}
    first, second = one_blas_thread(shared()), one_blas_thread(shared())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) == {1}, "the second is still in"
    second.__exit__(None, None, None)
    assert threads() == three_threads


def test_many_threads_and_errors_leave_what_was_there(three_threads):
    blas, seen = shared(), []

    def work() -> None:
        for turn in range(20):
            try:
                with one_blas_thread(blas):
                    if turn == 10:
                        raise ValueError
                    seen.extend(threads())
            except ValueError:
                continue

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(seen) == {1}
    assert threads() == three_threads


def test_whoever_leaves_last_puts_back_what_another_thread_found(three_threads):
    blas, is_in, may_leave = shared(), threading.Event(), threading.Event()

    def work() -> None:
        with one_blas_thread(blas):
            is_in.set()
            may_leave.wait()

    worker = threading.Thread(target=work, daemon=True)  # no failure leaves it waiting
    with one_blas_thread(blas):
        worker.start()
        is_in.wait()
    assert set(threads()) == {1}
    may_leave.set()
    worker.join()
    assert threads() == three_threads


class OfOpenMP:
    """A library whose number of threads each thread sets for itself."""

    filepath, threading_layer = "libopenblaso.so", "openmp"

    def __init__(self):
        self.setting = threading.local()

    @property
    def num_threads(self) -> int:
        return getattr(self.setting, "number", 4)

    def set_num_threads(self, number: int) -> None:
        self.setting.number = number


def test_each_thread_has_its_own_limit_where_the_library_has():
    blas, library, seen = loaded_blas(), OfOpenMP(), []
    blas.lib_controllers = [library]

    def work() -> None:
        library.set_num_threads(7)
        with one_blas_thread(blas):
            seen.append(library.num_threads)
        seen.append(library.num_threads)

    with one_blas_thread(blas):
        with one_blas_thread(blas):
            pass
        assert library.num_threads == 1, "this thread is still in"
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert seen == [1, 7]
    assert library.num_threads == 4
