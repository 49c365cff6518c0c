import threading

import numpy as np
import pytest
import threadpoolctl

from jaxals._base.blas import loaded_blas, one_blas_thread


def threads() -> list[int]:
    return [library["num_threads"] for library in loaded_blas().info()]


@pytest.fixture
def three_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield threads()


def test_limits_that_interleave_leave_what_was_there(three_threads):
    assert set(three_threads) == {3}
    first, second = one_blas_thread(loaded_blas()), one_blas_thread(loaded_blas())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) == {1}, "the second is still in"
    second.__exit__(None, None, None)
    assert threads() == three_threads


def test_many_threads_and_errors_leave_what_was_there(three_threads):
    blas, seen = loaded_blas(), []

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
    blas, is_in, may_leave = loaded_blas(), threading.Event(), threading.Event()

    def work() -> None:
        with one_blas_thread(blas):
            is_in.set()
            may_leave.wait()

    worker = threading.Thread(target=work)
    with one_blas_thread(blas):
        worker.start()
        is_in.wait()
    assert set(threads()) == {1}
    may_leave.set()
    worker.join()
    assert threads() == three_threads
