"""Worker's part of a training: the plugin that keeps its data, which tasks work with (`table_tasks`, `round_tasks`).

A task is a function of the job, of a version of the weights and of block numbers. It finds what it needs in the
worker's plugin; where that is missing, or of another version, it raises `GoneError`, and the driver sees to it. No task
depends on a future of an earlier round, so nothing of the past can be run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import Status, WorkerPlugin, get_worker
from distributed.protocol import pickle
from tornado.ioloop import PeriodicCallback

from dask_dl.cluster import handover
from dask_dl.cluster.fixed_shard import fixed_shard
from dask_dl.cluster.handover import Handover, NetworkState
from dask_dl.cluster.scratch import Scratch
from dask_dl.cluster.shard import Shard
from dask_dl.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.frame.block import Block
    from dask_dl.frame.blocks import BlockOptions, Blocks
    from dask_dl.frame.recipe import Recipe
    from dask_dl.memory import Storage
    from dask_dl.state import Rows

#: Seconds without a task after which a worker forgets a job: its driver is gone.
LEASE = 600.0
#: Seconds that a task waits for another one of the same job.
TASK_WAIT = 60.0
#: Blocks that cannot be read again.
NEVER: Mapping[int, Callable[[], Rows]] = MappingProxyType({})


class GoneError(ClusterError):
    """A worker does not have what it should have: it was restarted, or thought to be lost."""


class Stopped(BaseException):
    """Ends a share of a round between two rows."""


class TableSpec(NamedTuple):
    """How a table becomes blocks, wherever that is."""

    recipe: Recipe
    starts: NDArray[np.int64]  #: of all blocks of the table
    options: BlockOptions
    storage: Storage


class BlockRequest(NamedTuple):
    """Destination of blocks on a worker."""

    job: str
    table: str
    term: int  #: of the worker: what was asked for before the driver considered it lost is stale
    staged: bool  #: whether they do not take part in the training yet


class BlockReceipt(NamedTuple):
    """Blocks that a worker has encoded."""

    address: str
    n_used: dict[int, int]  #: block -> its rows that count
    checksums: dict[int, int | None]  #: block -> checksum, where it is read again and again


class ShardRows(NamedTuple):
    """Rows of a shard, by which driver and worker compare which they mean."""

    table: str
    name: str  #: of a fixed shard; "": the shard of the worker
    blocks: tuple[int, ...]  #: of a fixed shard
    holdings_hash: int  #: of all blocks that the worker should have, where the shard is the worker's

    def are_held_by(self, shard: Shard) -> bool:
        """Whether a worker has the blocks that it should have."""
        held = shard.tables[self.table].blocks if self.table in shard.tables else {}
        if self.name:
            return all(k in held for k in self.blocks)
        return self.table in shard.tables and holdings_hash_of(held) == self.holdings_hash

    def shard_of(self, whole: Shard) -> Shard:
        """The shard on a worker, given the worker's own."""
        return fixed_shard(whole, self.name, self.table, self.blocks) if self.name else whole


class TrainingPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Keeps a shard on a worker for as long as a job lasts.

    Parameters
    ----------
    job : str
        Of the training; two trainings on the same worker have a plugin each.
    """

    idempotent = True

    def __init__(self, job: str) -> None:
        self.name = name_of(job)
        self.job = job

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        """A plugin that cannot be read ends the worker that joins, even one that others have started for their work."""

        def made(job: str, name: str) -> Any:  # local, so that it is pickled by value: the worker may lack dask_dl
            try:
                from dask_dl.cluster.plugin import TrainingPlugin
            except ImportError:
                from distributed import WorkerPlugin

                plugin = WorkerPlugin()
                plugin.name = name
                return plugin
            return TrainingPlugin(job)

        return made, (self.job, self.name)

    def setup(self, worker: Any) -> None:
        """Begin on a worker that is there, or joins, with nothing."""
        self.address = worker.address
        self.term = 0  #: how often the driver has taken this worker for lost
        self._turn, self._opening = threading.Lock(), threading.Lock()
        # Inside the worker's own folder, which Dask removes after its end.
        self._scratch = Scratch(Path(worker.local_directory) / "dask-dl")
        self.shard = Shard(self._scratch.folder)
        self.forget()
        self._lease = PeriodicCallback(self.look, 1000 * LEASE / 10)
        worker.loop.add_callback(self._lease.start)
        self._loop, self._plugins = worker.loop, worker.plugins
        # Ctrl-C in a terminal reaches the processes of a LocalCluster too. The driver is to end the training, with what they
        # know; a nanny's process can be ended in other ways.
        self._on_interrupt = None
        if worker.nanny and threading.current_thread() is threading.main_thread():
            self._on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def teardown(self, worker: Any) -> None:
        """The job is over, or the worker is closed: threads end within a few rows, and everything is released."""
        self._loop.add_callback(self._lease.stop)
        if worker.status == Status.closing:
            self.stopped = math.inf
            left = await asyncio.get_running_loop().run_in_executor(None, self.last_network)
            if left is not None:
                await handover.send(worker, self.job, left)
        self.term = -1  # what is still being read is stale
        self.forget()
        if self._on_interrupt is not None:
            signal.signal(signal.SIGINT, self._on_interrupt)

    def last_network(self) -> bytes | None:
        """The network with all that it has learned, pickled before it changes; None where it is not wanted or not whole."""
        if not self._turn.acquire(timeout=handover.ENDING):
            return None
        try:
            n_rows = self.trained[0] if self.version == -1 else 0
            version = self.begun if self.version == -1 else self.version
            if not self.hands_over or version == -1:
                return None
            network = self.network()
            if n_rows:  # the replica's own, even where there is a consensus
                network = network._replace(vectors=self.shard.contribution(n_rows).vectors)
            return bytes(pickle.dumps(Handover(self.address, version, n_rows, network)))
        finally:
            self._turn.release()

    def forget(self) -> None:
        """Let go of everything."""
        self.stopped = math.inf  #: rounds up to this version are to end
        with self._opening:
            self.shard.close(waits=False)  # the worker's event loop does not wait for a disk
            self._scratch.remove()
            self.shard = Shard(self._scratch.folder)
        self.lenders: set[str] = set()  #: jobs whose blocks it has
        self.staged: dict[tuple[str, int], Block] = {}
        self.version = -1
        self.begun = -1  #: version of the weights with which the round began that is not averaged yet
        self.hands_over = False  #: whether the driver wants the network when the worker is closed
        self.trained = (0, 0.0)  #: rows of the round, and seconds that they took
        self.failure: Exception | None = None  #: why its rows could not be read to the end of the round
        self.used = time.monotonic()

    def open(self, spec: TableSpec, wanted: BlockRequest) -> tuple[Shard, Blocks]:
        """The table that blocks are wanted for. Raises GoneError when they are wanted no more."""
        with self._opening:  # partitions are read by several threads
            if self.term != wanted.term:
                raise GoneError(f"{self.address} was considered lost while it read.")
            return self.shard, self.shard.open(wanted.table, spec.starts, spec.options, spec.storage)

    def network(self) -> NetworkState:
        """A copy of the network that counts."""
        shard = self.shard
        assert shard.replica is not None
        flat, states = shard.weights()
        velocity = None if shard.velocity is None else shard.velocity.copy()
        vectors = (flat.copy(), *(state.copy() for state in states))
        return NetworkState(vectors, velocity, shard.replica.n_seen, bool(shard.consensus))

    def look(self) -> None:
        """Forget a job that no task has worked for since LEASE: its driver is gone."""
        if time.monotonic() - self.used > LEASE and not (self._turn.locked() or self._lends()):
            self.forget()

    def _lends(self) -> bool:
        """Whether another job uses blocks of this one: it will want more of them."""
        others = [other for other in self._plugins.values() if isinstance(other, TrainingPlugin)]
        return any(self.job in other.lenders for other in others)

    def release(self) -> None:
        """Let go of the replicas; a task that has not ended yet ends with nothing. Called beside the tasks."""
        self.stopped = math.inf
        if self._turn.acquire(blocking=False):
            try:
                self.shard.stop(waits=False)
                self.version, self.hands_over = -1, False
            finally:
                self._turn.release()

    @contextlib.contextmanager
    def turn(self, version: int | None = None, rows: ShardRows | None = None) -> Iterator[Shard]:
        """The shard, for one task at a time.

        With weights of a version, and with the blocks of a table that the driver means. Raises GoneError.
        """
        if not self._turn.acquire(timeout=TASK_WAIT):
            raise GoneError(f"{self.address}: another task of this training has not ended within {TASK_WAIT:g} s.")
        try:
            self.used = time.monotonic()
            if version is not None and version != self.version:
                raise GoneError(f"{self.address} has weights of version {self.version}, not {version}.")
            if rows is not None and not rows.are_held_by(self.shard):
                raise GoneError(f"{self.address} has other blocks of the {rows.table} table than it should have.")
            yield self.shard
        finally:
            self.used = time.monotonic()
            self._turn.release()


def holdings_hash_of(blocks: Iterable[int]) -> int:
    """A number by which driver and worker compare which blocks they mean."""
    return hash(tuple(sorted(blocks)))


def name_of(job: str) -> str:
    """Name of the plugin of a job."""
    return f"dask-dl-{job}"


def plugin(job: str) -> TrainingPlugin:
    """Plugin of a job on this worker. Raises GoneError."""
    found = get_worker().plugins.get(name_of(job))
    if not isinstance(found, TrainingPlugin):
        raise GoneError(f"{get_worker().address} knows nothing of this training.")
    return found
