"""Starting, watching and ending threads; BLAS held to one thread; how many threads there are."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info

from dask_dl import DeepLearningRegressor
from dask_dl.errors import Aborted
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.team import ABORT, STOP
from dask_dl.node.blas import one_blas_thread
from dask_dl.node.replica import Replica
from dask_dl.node.threads import run_threads


def cells():
    return np.zeros(4 * LINE, np.int64)


def patient(control, seen=None, flags=(STOP, ABORT)):
    """A thread's work that ends only when it is told to."""

    def work(rank):
        while not any(control[flag] for flag in flags):
            time.sleep(0.01)
        if seen is not None:
            seen.append(rank)

    return work


def ours():
    """Threads that are left, some of which may be about to go."""
    for thread in threading.enumerate():
        if thread.name.startswith("dask_dl-") and thread.is_alive():
            thread.join(5)
    return [thread for thread in threading.enumerate() if thread.name.startswith("dask_dl-") and thread.is_alive()]


def test_every_rank_runs_once_and_none_is_left():
    seen = []
    run_threads(5, seen.append, cells())
    assert sorted(seen) == list(range(5))
    assert not ours()


def test_a_thread_that_raises_ends_the_others():
    control, seen = cells(), []
    waits = patient(control, seen)

    def work(rank):
        if rank == 2:
            raise ValueError("rank 2")
        waits(rank)

    with pytest.raises(ValueError, match="rank 2"):
        run_threads(4, work, control)
    assert sorted(seen) == [0, 1, 3] and control[ABORT] == 1 and not ours()


def test_what_the_caller_raises_stops_the_threads_in_good_order():
    control, seen = cells(), []

    def on_poll():
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run_threads(3, patient(control, seen), control, on_poll)
    assert sorted(seen) == [0, 1, 2] and control[STOP] == 1 and control[ABORT] == 0


def test_the_caller_works_meanwhile_and_may_fail():
    control, seen = cells(), []
    caller = threading.current_thread()

    def meanwhile():
        seen.append(threading.current_thread() is caller)
        control[STOP] = 1

    run_threads(2, patient(control), control, meanwhile=meanwhile)
    assert seen == [True]

    def fail():
        raise OSError("no more rows")

    control = cells()
    with pytest.raises(OSError, match="no more rows"):
        run_threads(2, patient(control), control, meanwhile=fail)
    assert control[STOP] == 1 and not ours()


def test_an_interrupt_ends_them():
    control = cells()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_threads(2, patient(control), control)
    assert time.monotonic() - began < 30 and not ours()


def test_a_second_interrupt_aborts_those_that_do_not_stop():
    control = cells()
    for delay in (0.3, 0.8):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Aborted):
        run_threads(2, patient(control, flags=(ABORT,)), control)
    assert control[STOP] == 1 and control[ABORT] == 1 and not ours()


def test_a_first_interrupt_while_threads_end_for_another_reason_aborts_nothing():
    control = cells()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    def slowly(_rank):
        time.sleep(1.5)

    def on_poll():
        raise RuntimeError("enough")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        run_threads(2, slowly, control, on_poll)
    assert not isinstance(interrupt.value, Aborted)
    assert control[ABORT] == 0 and not ours()


def test_a_thread_that_cannot_be_started_aborts_those_that_wait_for_it(monkeypatch):
    control, seen = cells(), []
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "dask_dl-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        run_threads(4, patient(control, seen, flags=(ABORT,)), control)
    assert sorted(seen) == [0, 1] and not ours()


def blas_threads():
    scipy.linalg.blas.sgemm(1.0, np.eye(2), np.eye(2))  # both libraries are there
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def several_blas_threads():
    before = blas_threads()
    if max(before, default=1) < 2:
        pytest.skip("BLAS has one thread anyway")
    return before


def test_every_blas_is_held_and_released(several_blas_threads):
    before = several_blas_threads
    assert len(before) >= 2, "NumPy and SciPy bring one each"
    with one_blas_thread():
        assert set(blas_threads()) == {1}
        with one_blas_thread():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
    with pytest.raises(KeyboardInterrupt), one_blas_thread():
        raise KeyboardInterrupt
    assert blas_threads() == before


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_overlapping_trainings_hold_blas_until_the_last_ends(several_blas_threads, first_leaves_first):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with contextlib.ExitStack() as stack:
        if first_leaves_first:
            thread.start()
            assert inside.wait(30)
            stack.enter_context(one_blas_thread())
        else:
            stack.enter_context(one_blas_thread())
            thread.start()
            assert inside.wait(30)
            stack.close()
            assert set(blas_threads()) == {1}
        leave.set()
        thread.join(30)
        assert set(blas_threads()) == {1} if first_leaves_first else blas_threads() == several_blas_threads
    assert blas_threads() == several_blas_threads


def test_interrupts_leave_no_limit_behind(several_blas_threads):
    # An interrupt at any moment of taking or releasing the limit.
    for delay in np.linspace(0, 0.01, 40):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            for _ in range(50):
                with one_blas_thread():
                    time.sleep(0.0002)
        except KeyboardInterrupt:
            pass
        finally:
            timer.join()
        with one_blas_thread():
            pass
        assert blas_threads() == several_blas_threads


def test_batches_are_trained_by_as_many_threads_as_asked_and_no_library_adds_its_own(monkeypatch):
    random, seen = np.random.default_rng(0), []
    X = random.normal(size=(600, 20))
    inner = Replica.visit

    def visit(replica, rank, *given):
        seen.append((rank, *sorted(blas_threads()), len(list(Path("/proc/self/task").iterdir()))))
        return inner(replica, rank, *given)

    X @ X.T  # whatever threads a BLAS has for others are there already
    before = len(list(Path("/proc/self/task").iterdir()))
    monkeypatch.setattr(Replica, "visit", visit)
    settings = {"mini_batch_size": 32, "parallelism": "staleness", "epochs": 3, "hidden": (64, 64), "random_state": 1}
    DeepLearningRegressor(**settings, n_jobs=3).fit(X, X[:, 0])
    assert {rank for rank, *_ in seen} == {0, 1, 2}
    assert all(set(libraries) == {1} for _, *libraries, _ in seen)
    # Three that train, the keeper of the limit, and whom pytest or the progress may have.
    assert max(n for *_, n in seen) <= before + 5
