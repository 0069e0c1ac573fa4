"""Run one function on several threads, and end them all whatever happens to one of them or to the caller."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dask_dl.errors import Aborted
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.team import ABORT, STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds between two looks at the clock, the progress and the interrupts while threads work.
POLL = 0.1


def run_threads(
    n: int,
    work: Callable[[int], None],
    control: NDArray[np.int64],
    on_poll: Callable[[], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Call `work(rank)` on n new threads and wait for them.

    Parameters
    ----------
    n : int
    work : callable
        Given its rank, 0 to n - 1. It obeys `control`: at STOP it ends soon and in good order, at ABORT it ends at once,
        even while it waits for another thread.
    control : (..., ) int64
        Cells as `kernels.team` names them.
    on_poll : callable, optional
        Called on the calling thread every POLL seconds; what it raises stops the threads.
    meanwhile : callable, optional
        Called once on the calling thread, when all have started; what it raises stops them too.

    Raises
    ------
    BaseException
        What a thread raised, else what `on_poll` or an interrupt of the caller raised: always after all threads ended.
    """
    raised: list[BaseException] = []

    def run(rank: int, ended: threading.Event) -> None:
        try:
            work(rank)
        except BaseException as error:  # noqa: BLE001  # raised again by the caller
            raised.append(error)
            control[ABORT] = 1  # the others may be waiting for this thread
        finally:
            ended.set()

    # Events, because Python before 3.13 takes a thread for ended when its `join` was interrupted.
    started: list[threading.Event] = []
    is_interrupted = False
    try:
        for rank in range(n):
            ended = threading.Event()
            thread = threading.Thread(target=run, args=(rank, ended), name=f"dask_dl-{rank}", daemon=True)
            started.append(ended)  # first, for an interrupt may come while it starts
            try:
                thread.start()
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt) or not has_started(thread):
                    started.pop()
                raise
        if meanwhile is not None:
            meanwhile()
        while not all(ended.is_set() for ended in started):
            for ended in started:
                ended.wait(POLL / n)
            if on_poll is not None:
                on_poll()
    except BaseException as error:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        # A team stops together: only when all of it is there.
        control[STOP if len(started) == n else ABORT] = 1
        raise
    finally:
        _wait(started, control, is_interrupted=is_interrupted)
    if raised:
        raise raised[0]


def map_threads(n: int, function: Callable[[Item, NDArray[np.int64]], Result], items: Iterable[Item]) -> list[Result]:
    """`function(item, control)` of every item, in order, by n new threads that take one item after the other.

    Parameters
    ----------
    n : int
    function : callable
        Obeys `control` as in `run_threads`; its result is not used then.
    items : iterable

    Returns
    -------
    list
        In the order of the items.

    Raises
    ------
    BaseException
        What a loop over the items would have raised first, or an interrupt of the caller: always after all threads ended.
    """
    control, lock, queue = np.zeros(4 * LINE, np.int64), threading.Lock(), enumerate(items)
    results: dict[int, Result] = {}
    failed: dict[int, Exception] = {}

    def work(_rank: int) -> None:
        while not (failed or control[STOP] or control[ABORT]):
            with lock:
                taken = next(queue, None)
            if taken is None:
                return
            try:
                results[taken[0]] = function(taken[1], control)
            except Exception as error:  # noqa: BLE001  # raised again, unless what others are at comes first and fails, too
                failed[taken[0]] = error

    run_threads(n, work, control)
    if failed:
        raise failed[min(failed)]
    return [results[k] for k in range(len(results))]


def has_started(thread: threading.Thread) -> bool:
    """Whether an interrupted `start` did start it: if so, its number is known soon."""
    for _ in range(100):
        if thread.ident is not None:
            return True
        time.sleep(0.01)
    return False


def _wait(started: list[threading.Event], control: NDArray[np.int64], *, is_interrupted: bool) -> None:
    """Wait for threads that were told to end. An impatient second interrupt aborts them."""
    interrupt: KeyboardInterrupt | None = None
    while not all(ended.is_set() for ended in started):
        try:
            for ended in started:
                ended.wait(POLL)
        except KeyboardInterrupt as error:
            control[ABORT if is_interrupted else STOP] = 1
            interrupt = Aborted() if is_interrupted else error
            is_interrupted = True
    if interrupt is not None:
        raise interrupt
