"""Tasks that Dask has lost: they wait for ever, though the scheduler and their workers are there."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.cluster.waiting import started

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from concurrent.futures import Future

#: Seconds that a task is pending until it is asked what became of it, and between two questions ...
PAUSE = 10.0
#: ... and that scheduler and workers get to answer one.
ANSWER = 30.0
#: What a task is on a worker that will not run it, unless the scheduler sends it anew ...
DROPPED = {"released", "cancelled"}
#: ... and one that is not begun, which it never is on a worker that is paused.
UNBEGUN = {"waiting", "ready", "constrained"}


class Found(NamedTuple):
    """State of some tasks, as scheduler and workers know it at a moment."""

    known: frozenset[str]  #: keys that the scheduler knows
    stuck: frozenset[str]  #: keys of those that nobody will run


class LostTasks:
    """Finds tasks that nobody will run, by asking scheduler and workers now and then, beside whoever waits.

    A worker has forgotten it, or takes none because its memory is full; or something that it needs may only run on workers
    that are gone, as when another one that needed it too was pinned to those. Two answers in a row have to say so: what is
    executed for hours, or waits for its turn, is not lost.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._asked = time.monotonic()
        self._answer: Future[Found] | None = None
        self._pending: set[str] = set()  #: keys of those that were pending when it was asked last
        self._known: set[str] = set()  #: keys that the scheduler has known
        self._suspects: set[str] = set()  #: keys that were lost by the last answer

    def among(self, futures: Collection[Any]) -> list[Any]:
        """Those of some futures that are lost. To be called again and again; does not wait."""
        now = time.monotonic()
        if self._answer is None:
            if now - self._asked > PAUSE:
                pending = {future.key for future in futures if future.status == "pending"}
                long, self._pending = pending & self._pending, pending
                self._asked, self._known = now, self._known & long
                self._answer = started(partial(_find, self._client, long)) if long else None
            return []
        if not self._answer.done() and now - self._asked < ANSWER:
            return []
        answer, self._answer = self._answer, None
        if not answer.done() or answer.exception() is not None:  # a worker hangs, or the scheduler may run no functions
            return []
        found = answer.result()
        missing = found.stuck | (self._known - found.known)
        lost, self._suspects = missing & self._suspects, set(missing)
        self._known |= found.known
        return [future for future in futures if future.key in lost and future.status == "pending"]


def _find(client: Any, keys: Collection[str]) -> Found:
    known, places = client.run_on_scheduler(_on_scheduler(), list(keys))
    stuck = {key for key, worker in places.items() if worker is None}
    by_worker: dict[str, list[Any]] = {}
    for key, worker in places.items():
        if worker is not None:
            by_worker.setdefault(worker, []).append(key)
    if by_worker:
        workers = list(by_worker)
        stuck.update(*client.run(idle, by_worker, workers=workers, on_error="ignore").values())
    waiting = client.run_on_scheduler(_needing(), list(stuck), list(keys)) if stuck else []
    return Found(frozenset(known), frozenset(waiting))


def idle(by_worker: Mapping[str, Iterable[Any]], dask_worker: Any) -> list[Any]:
    """Keys of tasks that this worker will not run, among those that the scheduler believes to be on each worker."""
    state = dask_worker.state

    def is_idle(key: Any) -> bool:
        task = state.tasks.get(key)
        return task is None or task.state in DROPPED or (task.state in UNBEGUN and not state.running)

    return [key for key in by_worker.get(dask_worker.contact_address, ()) if is_idle(key)]


# The functions that run on the scheduler are local, so that they are pickled by value: it may lack dask_dl.


def _on_scheduler() -> Any:
    def find(keys: list[str], dask_scheduler: Any) -> tuple[list[str], dict[Any, str | None]]:
        """Keys that are known; where the tasks are on which these wait, themselves or what they need.

        None: nowhere. Without those that are executed, by the last heartbeat of their worker.
        """
        running = {worker.address for worker in dask_scheduler.running}
        known = [key for key in keys if key in dask_scheduler.tasks]
        places: dict[Any, str | None] = {}
        stack, seen = [dask_scheduler.tasks[key] for key in known], set()
        while stack:
            task = stack.pop()
            if task in seen:
                continue
            seen.add(task)
            if task.state == "waiting" and task.waiting_on:
                stack += task.waiting_on
            elif task.state == "processing":
                if task not in task.processing_on.executing:
                    places[task.key] = task.processing_on.address
            elif task.state == "no-worker":
                if task.worker_restrictions and running.isdisjoint(task.worker_restrictions):
                    places[task.key] = None
            elif task.state in {"released", "waiting"}:
                places[task.key] = None
        return known, places

    return find


def _needing() -> Any:
    def needing(stuck: list[Any], keys: list[str], dask_scheduler: Any) -> list[str]:
        """Those of some keys that are stuck, or wait for what is."""
        stack, seen = [dask_scheduler.tasks[key] for key in stuck if key in dask_scheduler.tasks], set()
        while stack:
            task = stack.pop()
            if task not in seen:
                seen.add(task)
                stack += task.waiters or ()
        return [key for key in keys if dask_scheduler.tasks.get(key) in seen]

    return needing
