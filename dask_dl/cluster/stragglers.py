"""Workers that do not end a round with the others: they are told to end it, and lost when they do not even do that."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from dask_dl.cluster import round_tasks
from dask_dl.cluster.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.submit import Submitter

#: Worker and shard of a task.
Key = tuple[str, str]
#: Seconds that workers get to end what they were told to end.
STOPPING = 15.0
#: Minimum duration of a round, in seconds, before it is reported.
MIN_WAIT = 2.0


def in_time(
    submitter: Submitter,
    futures: Mapping[Key, Any],
    version: int,
    on_poll: Callable[[], None],
    *,
    limit: float,
    patience: float,
) -> tuple[set[Key], set[Key]]:
    """Wait for a round.

    When half of them are done, the others get until `patience` times as long since the round began; then they are
    to end between two rows, and what they have learned counts. Those that do not even end are lost.

    Parameters
    ----------
    submitter : Submitter
    futures : mapping of (str, str) to Future
        Tasks by worker and shard.
    version : int
        Version of the weights with which the round began.
    on_poll : callable
        Called ten times a second; what it raises ends the waiting.
    limit : float
        Seconds after which tasks are given up when not one of them has ended in this time.
    patience : float
        Factor on the time that the first half took; infinity: wait for all.

    Returns
    -------
    lost, told : set of (str, str)
        Keys of tasks that were lost, and of those that were told to end the round.

    Raises
    ------
    Exception
        What a task or `on_poll` raises.
    """
    began, deadline, told_at = time.monotonic(), math.inf, math.inf
    told: set[Key] = set()
    leaving: dict[Key, float] = {}  #: task of a worker that is being closed -> when it was told to end the round

    def watch() -> None:
        nonlocal deadline, told_at
        on_poll()
        now = time.monotonic()
        if closing := [key for key in _pending(futures) if key[0] in submitter.liveness.leaving and key not in leaving]:
            leaving.update(dict.fromkeys(closing, now))
            _tell_to_stop(submitter, closing, version, waits=False)
        submitter.cancel([futures[key] for key in _pending(futures) if now > leaving.get(key, now) + STOPPING])
        late = [key for key in _pending(futures) if key[0] in submitter.liveness.alive]
        n_done = sum(future.status == "finished" for future in futures.values())
        if not late or n_done < len(late):
            return
        deadline = min(deadline, began + max(MIN_WAIT, patience * (now - began)))
        if not told and now > deadline:
            told.update(late)
            told_at = now
            workers = ", ".join(worker for worker, _ in late)
            submitter.say(f"not waited for: {workers}, {now - began:.1f} s after the round began")
            _tell_to_stop(submitter, late, version, waits=False)
        elif now > told_at + STOPPING:
            raise _LateError

    try:
        return submitter.wait(futures, watch, limit=limit, finish_leaving=True), told | leaving.keys()
    except _LateError:
        late = _pending(futures)
        submitter.cancel([futures[key] for key in late])
        return {*late, *submitter.wait({key: f for key, f in futures.items() if key not in late})}, told


def stop(submitter: Submitter, futures: Mapping[Key, Any], version: int) -> set[Key]:
    """End a round between two rows, and wait for that; returns the keys of tasks that did not end."""
    _tell_to_stop(submitter, list(futures), version)
    deadline = time.monotonic() + STOPPING

    def on_poll() -> None:
        if time.monotonic() > deadline:
            raise TimeoutError

    try:
        return submitter.wait(futures, on_poll)
    except TimeoutError:
        late = {key for key, future in futures.items() if future.status != "finished"}
        submitter.cancel([futures[key] for key in late])
        return late


def _tell_to_stop(submitter: Submitter, keys: Sequence[Key], version: int, *, waits: bool = True) -> None:
    """Have workers end a round between two rows."""
    client, job, workers = submitter.client, submitter.job, sorted({worker for worker, _ in keys})
    call = partial(client.run, round_tasks.stop, job, version, workers=workers, on_error="ignore")
    within(STOPPING if waits else 0.0, call)


class _LateError(Exception):
    """Workers did not end a round that they were to end."""


def _pending(futures: Mapping[Key, Any]) -> list[Key]:
    return sorted(key for key, future in futures.items() if future.status == "pending")
