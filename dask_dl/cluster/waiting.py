"""Waiting with a deadline: for an answer, between two attempts, and not without a word."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


@contextlib.contextmanager
def ending(client: Any, futures: Iterable[Any], *, first: bool = False) -> Iterator[Future[None]]:
    """A future of the moment when all of some tasks have ended, or when one has that has no result.

    The event loop of the client tells it, so that waiting costs no more for many tasks than for few.

    Parameters
    ----------
    client : distributed.Client
        Client of the tasks, which need not be the default one: `distributed.wait` knows no other.
    futures : iterable of distributed.Future
    first : bool
        Whether the first task that ends is enough.

    Returns
    -------
    Future
        Done at that moment; cancelled at the end of the `with`.
    """
    states = [future._state for future in futures]  # noqa: SLF001  # which does not keep a task that is released meanwhile

    async def end_of(state: Any) -> None:
        await state.wait()
        if first or state.status != "finished":
            raise _EndedError

    async def watch() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for state in states:
                    group.create_task(end_of(state))

    watching = watch()
    try:
        end = asyncio.run_coroutine_threadsafe(watching, client.loop.asyncio_loop)
    except RuntimeError:  # the client was closed, and has nothing to tell
        watching.close()
        end = Future()
        end.set_result(None)
    try:
        yield end
    finally:
        end.cancel()


class _EndedError(Exception):
    """There is nothing more to wait for."""
