"""Which workers of a cluster can be relied on at this moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_dl.cluster.waiting import Reminder
from dask_dl.errors import NoWorkersError
from dask_dl.memory import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Seconds without a sign of life after which a worker is considered lost: heartbeats come every half second to few seconds.
CUT_OFF = 15.0
#: Seconds that the scheduler may take to answer.
ANSWER = 30.0
#: What a worker is while it is closed as planned.
CLOSING = {"closing", "closing_gracefully"}


@dataclass(frozen=True)
class Member:
    """A worker."""

    address: str
    n_threads: int
    memory_limit: int  #: bytes; 0: none
    host: str
    has_nanny: bool = False  #: whether something restarts it when its memory is full


class Liveness:
    """Looks at the scheduler's list of workers.

    A worker counts when it runs and its heartbeat has moved within CUT_OFF seconds; one that is closing or gone does not.

    Parameters
    ----------
    client : distributed.Client
    say : callable
        Told, in a line, who is waited for.
    chosen : callable
        Given the addresses of all workers, returns those that are looked at.
    """

    def __init__(
        self, client: Any, say: Callable[[str], None], chosen: Callable[[Iterable[str]], set[str]] = set
    ) -> None:
        self.client, self._chosen = client, chosen
        self.alive: dict[str, Member] = {}
        self.leaving: set[str] = set()  #: workers that are being closed as planned, and are still there
        self.n_others = 0  #: workers that were not chosen
        self.paused: dict[str, str] = {}  #: workers that take no tasks because of their memory -> how full it is
        self.looked = -1e9  #: when, of `time.monotonic`
        self._say = say
        self._beats: dict[str, tuple[float, float]] = {}  #: address -> (heartbeat, when it was new here)

    def look(self, max_age: float = 0.0) -> dict[str, Member]:
        """The workers that count now, by address, or that did at most so many seconds ago."""
        if time.monotonic() - self.looked < max_age:
            return self.alive
        workers = (self._answer("identity") or {}).get("workers", {})
        chosen = self._chosen(workers) if workers else set()  # no answer says nothing of who belongs where
        self.n_others = len(workers.keys() - chosen)
        workers = {address: worker for address, worker in workers.items() if address in chosen}
        now = self.looked = time.monotonic()
        alive = {}
        for address, worker in sorted(workers.items()):
            beat, since = self._beats.get(address, (None, now))
            is_running = worker.get("status", "running") == "running"
            if is_running and worker["last_seen"] != beat:
                beat, since = worker["last_seen"], now
            self._beats[address] = beat, since  # type: ignore[assignment]  # None until it was seen running
            if now - since < CUT_OFF and worker.get("status") not in CLOSING | {"closed"}:
                limit = int(worker.get("memory_limit") or 0)
                host, has_nanny = str(worker.get("host", address)), bool(worker.get("nanny"))
                alive[address] = Member(address, int(worker["nthreads"]), limit, host, has_nanny)
        self._beats = {address: beat for address, beat in self._beats.items() if address in workers}
        self.alive = alive
        self.leaving = {address for address, worker in workers.items() if worker.get("status") in CLOSING}
        self.paused = {
            address: f"{size(worker.get('metrics', {}).get('memory', 0))} of {size(worker.get('memory_limit') or 0)}"
            for address, worker in workers.items()
            if worker.get("status") == "paused"
        }
        return alive

    def was_planned(self, worker: str) -> bool:
        """Whether a worker that does not count any more is being closed, or was closed, as planned."""
        if worker in self.leaving:
            return True
        return any(
            event.get("action") == "closing-worker" or event.get("status") in CLOSING
            for _, event in self._answer("events", topic=worker) or ()
            if isinstance(event, dict)
        )

    @property
    def is_connected(self) -> bool:
        """Whether the client has a scheduler: one that lost it tries for half a minute to reach it, as does any question."""
        return bool(self.client.status == "running")

    def _answer(self, question: str, **given: Any) -> Any:
        """The answer of the scheduler; None where it gives none, and at once where the client knows that it is gone."""
        if not self.is_connected:
            return None
        try:
            return self.client.sync(getattr(self.client.scheduler, question), callback_timeout=ANSWER, **given)
        except (OSError, TimeoutError, RuntimeError, AttributeError):  # the scheduler, or the client, is gone
            return None

    def wait(
        self, timeout: float, on_poll: Callable[[], None] | None = None, max_age: float = 0.0
    ) -> dict[str, Member]:
        """The workers that count, as soon as there are any. Raises NoWorkersError after `timeout` seconds without one."""
        deadline, remind = time.monotonic() + timeout, Reminder(self._say)
        while not (self.look(max_age) or self.look()):
            if time.monotonic() > deadline or self.client.status in {"closed", "closing"}:
                but = f" but {self.n_others} of other trainings" if self.n_others else ""
                raise NoWorkersError(
                    f"the cluster had no worker{but} for {timeout:g} s ({self.client!r}). {self.advice()}"
                )
            if on_poll is not None:
                on_poll()
            remind(f"a worker: the cluster has none. {self.advice()} The limit is worker_timeout={timeout:g} s.")
            time.sleep(0.2)
        return self.alive

    def advice(self) -> str:
        """Advice for when no worker counts."""
        if not self.paused:
            return "Start workers, or wait longer for them: worker_timeout."
        shown = ", ".join(f"{address} at {full}" for address, full in sorted(self.paused.items())[:5])
        return (
            f"{len(self.paused)} workers are paused because their memory is full: {shown}. Waiting does not help: give every "
            f"worker more memory (memory_limit), fewer threads, or smaller partitions, and restart those that are paused."
        )
