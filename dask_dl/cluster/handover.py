"""Handover of a worker that is closed as planned to the driver: its network, with what it has learned in the round.

It passes through the scheduler, as there may be no other worker to give it to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import Queue
from distributed.protocol import pickle

from dask_dl.cluster.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.cluster.liveness import Liveness

#: Bytes of the networks of all workers that the scheduler may have to keep for the driver.
MAX_BYTES = 2**30
#: Seconds that a worker that is closed takes to end its round, and to send: a nanny kills it after four.
ENDING, SENDING = 1.5, 1.5
#: Seconds that the driver waits for a handover once the worker is gone, and while it is being closed.
ARRIVAL, CLOSING = 5.0, 60.0
#: Seconds between two looks.
POLL = 0.1


class NetworkState(NamedTuple):
    """A network to go on with."""

    vectors: tuple[NDArray[np.float32], ...]  #: weights, optimizer state; no state means zeros
    velocity: NDArray[np.float32] | None
    n_seen: int
    agrees: bool = False  #: whether it is the consensus of elastic averaging


class Handover(NamedTuple):
    """A network that a worker leaves."""

    worker: str
    version: int  #: of the weights that it has, or with which its last round began
    n_rows: int  #: that it has learned since
    network: NetworkState


def _name(job: str) -> str:
    return f"dask-dl-handover-{job}"


async def send(worker: Any, job: str, handover: bytes) -> None:
    """Send a pickled handover to the driver, from the event loop of a worker, if there still is a driver."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(worker.scheduler.queue_put(name=_name(job), data=handover, timeout=SENDING), SENDING)


class Inbox:
    """Handovers, on the driver.

    Parameters
    ----------
    client : distributed.Client
    job : str
        Identifier of the training.
    """

    def __init__(self, client: Any, job: str) -> None:
        self._client, self._job = client, job
        self.is_wanted = False  #: whether workers were told to hand over
        self._queue: Any = None
        self._received: dict[str, Handover] = {}

    def open(self) -> None:
        """Make room for them on the scheduler."""
        within(ARRIVAL, self._open)

    def _open(self) -> None:
        self._queue = Queue(_name(self._job), client=self._client)

    def close(self) -> None:
        """Forget them."""
        queue, self._queue, self._received = self._queue, None, {}
        if queue is not None:
            within(ARRIVAL, queue.close)

    def collect(
        self, workers: Iterable[str], liveness: Liveness, on_wait: Callable[[], None] = lambda: None
    ) -> list[Handover]:
        """Handovers of these workers that are closed as planned, once they have arrived."""
        if not self.is_wanted or self._queue is None:
            return []
        expected = {worker for worker in workers if worker in self._received or liveness.was_planned(worker)}
        latest = time.monotonic() + CLOSING
        gone_at: dict[str, float] = {}
        while expected:
            within(ARRIVAL, self._receive)
            now = time.monotonic()
            for worker in expected - liveness.leaving:
                gone_at.setdefault(worker, now)
            late = {worker for worker, since in gone_at.items() if now > since + ARRIVAL}
            if expected - late <= self._received.keys() or now > latest:
                break
            on_wait()
            time.sleep(POLL)
            liveness.look()
        return [self._received[worker] for worker in sorted(expected) if worker in self._received]

    def _receive(self) -> None:
        for data in self._queue.get(batch=True):
            handover: Handover = pickle.loads(data)
            self._received[handover.worker] = handover
