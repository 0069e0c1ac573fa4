"""Starting, watching and ending threads; BLAS held to one thread; how many threads there are."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dask_dl import DeepLearningRegressor
from dask_dl.errors import Aborted
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.team import ABORT, STOP
from dask_dl.node.replica import Replica
from dask_dl.node.threads import map_threads, run_threads


def cells():
    return np.zeros(4 * LINE, np.int64)


def wait_for(condition):
    """Wait, though not for ever: threads that nobody ends would hang the process after a test that fails."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def patient(control, seen=None, flags=(STOP, ABORT)):
    """A thread's work that ends only when it is told to."""

    def work(rank):
        wait_for(lambda: any(control[flag] for flag in flags))
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


def test_results_are_in_the_order_of_the_items():
    def square(k, _control):
        time.sleep(0.01 * (k % 3))
        return k * k

    assert map_threads(3, square, iter(range(20))) == [k * k for k in range(20)]
    assert map_threads(3, square, ()) == [] and not ours()


def test_the_fault_of_the_first_item_is_raised_whichever_thread_fails_first():
    taken, others_failed = [], threading.Event()

    def fail(k, _control):
        taken.append(k)
        if k == 2:
            assert others_failed.wait(60)
        if k in {2, 3}:
            others_failed.set()
            raise ValueError(f"item {k}")

    with pytest.raises(ValueError, match="item 2"):
        map_threads(2, fail, range(100))
    assert max(taken) <= 4 and not ours()


def test_an_interrupt_ends_threads_that_map():
    control_of = []

    def wait(_k, control):
        control_of.append(control)
        wait_for(lambda: control[STOP])

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        map_threads(2, wait, range(100))
    assert len(control_of) == 2 and not ours()


def test_an_interrupt_ends_them():
    control = cells()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_threads(2, patient(control), control)
    assert time.monotonic() - began < 30 and not ours()


def test_a_second_interrupt_aborts_those_that_do_not_stop():
    control = cells()

    def work(rank):
        wait_for(lambda: control[STOP])
        if rank == 0:  # not before the first has come: two at the same time are one
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: control[ABORT])

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Aborted):
        run_threads(2, work, control)
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


def test_batches_are_trained_by_as_many_threads_as_asked_and_no_library_adds_its_own(monkeypatch):
    random, seen = np.random.default_rng(0), []
    X = random.normal(size=(600, 20))
    inner = Replica.visit

    def visit(replica, rank, *given):
        seen.append((rank, len(list(Path("/proc/self/task").iterdir()))))
        return inner(replica, rank, *given)

    X @ X.T  # whatever threads a BLAS has for others are there already
    before = len(list(Path("/proc/self/task").iterdir()))
    monkeypatch.setattr(Replica, "visit", visit)
    settings = {"mini_batch_size": 32, "parallelism": "staleness", "epochs": 3, "hidden": (64, 64), "random_state": 1}
    DeepLearningRegressor(**settings, n_jobs=3).fit(X, X[:, 0])
    assert {rank for rank, _ in seen} == {0, 1, 2}
    # Three that train, and those that pytest or the progress may have.
    assert max(n for _, n in seen) <= before + 4
