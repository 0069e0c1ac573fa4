"""Run one function on several threads, and end them all whatever happens to one of them or to the caller."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dask_dl.kernels.crew import ABORT, STOP

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

#: Seconds between two looks at the clock, the progress and the interrupts while threads work.
POLL = 0.1


def run_threads(
    n: int, work: Callable[[int], None], control: NDArray[np.int64], on_poll: Callable[[], None] | None = None
) -> None:
    """Call `work(rank)` on n new threads and wait for them.

    Parameters
    ----------
    n : int
    work : callable
        Given its rank, 0 to n - 1. It obeys `control`: at STOP it ends soon and in good order, at ABORT it ends at once,
        even while it waits for another thread.
    control : (..., ) int64
        Cells as `kernels.crew` names them.
    on_poll : callable, optional
        Called on the calling thread every POLL seconds; what it raises stops the threads.

    Raises
    ------
    BaseException
        What a thread raised, else what `on_poll` or an interrupt of the caller raised: always after all threads ended.
    """
    raised: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            work(rank)
        except BaseException as error:  # noqa: BLE001  # raised again by the caller
            raised.append(error)
            control[ABORT] = 1  # the others may be waiting for this thread

    threads = [threading.Thread(target=run, args=(rank,), name=f"dask_dl-{rank}", daemon=True) for rank in range(n)]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        while any(thread.is_alive() for thread in started):
            for thread in started:
                thread.join(POLL / n)
            if on_poll is not None:
                on_poll()
    except BaseException:
        # A crew stops together: only when all of it is there.
        control[STOP if len(started) == n else ABORT] = 1
        raise
    finally:
        _end(started, control)
    if raised:
        raise raised[0]


def _end(threads: list[threading.Thread], control: NDArray[np.int64]) -> None:
    """Wait for threads that were told to end. An impatient second interrupt aborts them."""
    interrupt: KeyboardInterrupt | None = None
    while any(thread.is_alive() for thread in threads):
        try:
            for thread in threads:
                thread.join(POLL)
        except KeyboardInterrupt as error:
            control[ABORT] = 1
            interrupt = error
    if interrupt is not None:
        raise interrupt
