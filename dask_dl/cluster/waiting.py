"""Waiting with a deadline: for an answer, between two attempts, and not without a word."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Seconds between the first two attempts, and at most; pauses double.
MIN_PAUSE, MAX_PAUSE = 0.1, 5.0
#: Seconds between two lines that say what is waited for.
REMINDER = 10.0


def pause_after(n_failures: int) -> float:
    """Seconds to wait before something is tried again that has failed so many times in a row."""
    return min(MAX_PAUSE, MIN_PAUSE * 2.0 ** min(n_failures - 1, 60))


class Reminder:
    """A line now and then that says what is waited for, and for how long already."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = self._last = time.monotonic()

    def __call__(self, what: str) -> None:
        """Say it, if a line is due."""
        now = time.monotonic()
        if now - self._last >= REMINDER:
            self._last = now
            self._say(f"waiting for {now - self._began:.0f} s for {what}")


def started(call: Callable[[], Any]) -> Future[Any]:
    """Future of a call that may hang, on a daemon thread: most calls of Dask's client take no time limit."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # the caller decides, if it still waits
            future.set_exception(error)

    threading.Thread(target=run, name="dask_dl-asking", daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], Any]) -> BaseException | None:
    """Do something that may hang; returns what it raised, or TimeoutError, or None."""
    try:
        return started(call).exception(seconds)
    except TimeoutError:
        return TimeoutError(f"no answer within {seconds:g} s")


def wait(client: Any, futures: Sequence[Any], seconds: float, return_when: str = "ALL_COMPLETED") -> None:
    """Wait for tasks of a client, which need not be the default one: `distributed.wait` knows no other.

    Parameters
    ----------
    client : distributed.Client
    futures : sequence of distributed.Future
    seconds : float
        Longest time to wait.
    return_when : {"ALL_COMPLETED", "FIRST_COMPLETED"}

    Raises
    ------
    TimeoutError, CancelledError
    """
    from distributed.client import _wait

    client.sync(_wait, list(futures), timeout=seconds, return_when=return_when)
