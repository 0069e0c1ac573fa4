"""Worker's part of a training: the plugin that keeps its data, and the tasks that work with it.

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
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import numpy as np
from distributed import Status, WorkerPlugin, get_worker, secede
from distributed.protocol import pickle
from tornado.ioloop import PeriodicCallback

from dask_dl.cluster import handover
from dask_dl.cluster.averaging import Contribution, combined
from dask_dl.cluster.handover import Handover, NetworkState
from dask_dl.cluster.scratch import Scratch
from dask_dl.cluster.shard import Shard
from dask_dl.errors import ClusterError, SchemaError, StorageError
from dask_dl.frame.blocks import drawn_keys, encode_partition
from dask_dl.frame.scan import merged
from dask_dl.node.stability import instability
from dask_dl.state import Rows, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.cluster.placement import RowRange
    from dask_dl.cluster.shard import RoundSettings, Setup
    from dask_dl.frame.blocks import Block, BlockOptions, Blocks, Recipe
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Schema
    from dask_dl.memory import Storage
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.parallelism import Parallelism

#: Seconds after which a worker forgets a job that nobody asked it about: its driver is gone.
LEASE = 600.0
#: Seconds that a task waits for another one of the same job.
PATIENCE = 60.0
#: Blocks that cannot be read again.
NEVER: Mapping[int, Callable[[], Rows]] = MappingProxyType({})


class GoneError(ClusterError):
    """A worker does not have what it should have: it was restarted, or thought to be lost."""


class Stopped(BaseException):
    """Ends a share of a round between two rows."""


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

    def setup(self, worker: Any) -> None:
        """On a worker that is there, or joins: nothing yet."""
        self.address = worker.address
        self.term = 0  #: how often the driver has taken this worker for lost
        self._turn, self._opening = threading.Lock(), threading.Lock()
        # Inside the worker's own folder, which Dask removes after its end.
        self._scratch = Scratch(Path(worker.local_directory) / "dask-dl")
        self.shard = Shard(self._scratch.folder)
        self.forget()
        self._lease = PeriodicCallback(self._look, 1000 * LEASE / 10)
        worker.loop.add_callback(self._lease.start)
        self._loop = worker.loop
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
            left = await asyncio.get_running_loop().run_in_executor(None, self._left)
            if left is not None:
                await handover.send(worker, self.job, left)
        self.term = -1  # what is still being read comes too late
        self.forget()
        if self._on_interrupt is not None:
            signal.signal(signal.SIGINT, self._on_interrupt)

    def _left(self) -> bytes | None:
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
                raise GoneError(f"{self.address} was taken for lost while it read.")
            return self.shard, self.shard.open(wanted.table, spec.starts, spec.options, spec.storage)

    def network(self) -> NetworkState:
        """A copy of the network that counts."""
        shard = self.shard
        assert shard.replica is not None
        flat, states = shard.weights()
        velocity = None if shard.velocity is None else shard.velocity.copy()
        vectors = (flat.copy(), *(state.copy() for state in states))
        return NetworkState(vectors, velocity, shard.replica.n_seen, bool(shard.consensus))

    def _look(self) -> None:
        if time.monotonic() - self.used > LEASE and not self._turn.locked():
            self.forget()

    @contextlib.contextmanager
    def turn(self, version: int | None = None, table: str = "", holdings_hash: int = 0) -> Iterator[Shard]:
        """The shard, for one task at a time.

        With weights of a version, and with exactly those blocks of a table that the driver's mark tells. Raises GoneError.
        """
        if not self._turn.acquire(timeout=PATIENCE):
            raise GoneError(f"{self.address}: another task of this training has not ended within {PATIENCE:g} s.")
        try:
            self.used = time.monotonic()
            if version is not None and version != self.version:
                raise GoneError(f"{self.address} has weights of version {self.version}, not {version}.")
            if table and (
                table not in self.shard.tables or holdings_hash_of(self.shard.tables[table].blocks) != holdings_hash
            ):
                raise GoneError(f"{self.address} has other blocks of the {table} table than it should have.")
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


# ---- tables ---------------------------------------------------------------------------------------------------------


def scan_merged(parts: Sequence[Scan], schema: Schema) -> Scan:
    """Neighbouring partitions."""
    scan = merged(iter(parts), schema)
    assert scan is not None
    return scan


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
    term: int  #: of the worker: what was asked for before the driver took it for lost comes too late
    staged: bool  #: whether they do not take part in the training yet


class BlockReceipt(NamedTuple):
    """Blocks that a worker has encoded."""

    address: str
    n_visits: dict[int, int]  #: block -> visits of an epoch to its rows
    checksums: dict[int, int | None]  #: block -> checksum, where it is read again and again


def encode(
    part: pd.DataFrame, spec: TableSpec, k: int, n: int, row_ranges: dict[int, RowRange], wanted: BlockRequest
) -> BlockReceipt:
    """Make blocks of this worker from a partition.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    spec : TableSpec
        How the table becomes blocks.
    k : int
        Number of the partition.
    n : int
        Rows that it had when it was scanned.
    row_ranges : dict of int to RowRange
        Rows of the partition that make each block, by number of the block.
    wanted : BlockRequest
        Job and table that the blocks belong to.

    Raises
    ------
    SchemaError
        When the partition has changed since the scan, or holds what the network cannot compute with.
    StorageError, GoneError
        See `keep`.
    """
    rows = encode_partition(part, spec.recipe, k, n)
    is_cut = len(row_ranges) > 1 or any(row_range.n < n for row_range in row_ranges.values())
    copies = is_cut and spec.storage.mode == "memory"  # so that the rest of the partition is released
    blocks = {block: rows.cut(row_range.lo, row_range.hi) for block, row_range in row_ranges.items()}
    return keep({b: cut.copy() if copies else cut for b, cut in blocks.items()}, spec, wanted)


def encode_again(
    partition: bytes, spec: TableSpec, k: int, n: int, row_ranges: dict[int, RowRange], wanted: BlockRequest
) -> BlockReceipt:
    """Make blocks of this worker from a partition that it can read by itself, as often as it likes.

    Parameters
    ----------
    partition : bytes
        Graph and key of the partition, pickled.
    spec : TableSpec
        How the table becomes blocks.
    k : int
        Number of the partition.
    n : int
        Rows that it had when it was scanned.
    row_ranges : dict of int to RowRange
        Rows of the partition that make each block, by number of the block.
    wanted : BlockRequest
        Job and table that the blocks belong to.

    Raises
    ------
    SchemaError, StorageError, GoneError
        As in `encode`.
    """

    def read(row_range: RowRange | None = None) -> Rows:
        graph, key = pickle.loads(partition)
        rows = encode_partition(dask.get(graph, key), spec.recipe, k, n)
        return rows if row_range is None else rows.cut(row_range.lo, row_range.hi)

    rows, again = read(), {block: partial(read, row_range) for block, row_range in row_ranges.items()}
    return keep(
        {block: rows.cut(row_range.lo, row_range.hi) for block, row_range in row_ranges.items()}, spec, wanted, again
    )


def keep(
    blocks: dict[int, Rows], spec: TableSpec, wanted: BlockRequest, again: Mapping[int, Callable[[], Rows]] = NEVER
) -> BlockReceipt:
    """Keep encoded blocks on this worker.

    Parameters
    ----------
    blocks : dict of int to Rows
        Encoded rows, by number of the block.
    spec : TableSpec
        How the table becomes blocks.
    wanted : BlockRequest
        Job and table that the blocks belong to, and whether they are staged.
    again : mapping of int to callable
        Functions that read a block again, where that is possible.

    Returns
    -------
    BlockReceipt
        Visits and checksums of the blocks.

    Raises
    ------
    StorageError
        When they cannot be stored; none of them is kept then.
    GoneError
        When the driver has meanwhile given this worker up for lost.
    """
    home = plugin(wanted.job)
    shard, store = home.open(spec, wanted)
    stored: dict[int, Block] = {}
    try:
        # What came over the network is read-only, which would be a type of its own for the compiler.
        for k, rows in blocks.items():
            stored[k] = store.shelve(k, rows.map(lambda part: np.require(part, requirements="W")), again.get(k))
    except StorageError:
        for block in stored.values():
            store.block_store.drop(block.handle)
        home.open(spec, wanted)  # its folder may have been removed meanwhile, rightly
        raise
    if wanted.staged:  # beside a round that is trained
        drop_staged(wanted.job, [(wanted.table, k) for k in stored])  # of an attempt that nobody heard of
        home.staged |= {(wanted.table, k): block for k, block in stored.items()}
    else:
        with home.turn():
            if shard is not home.shard:
                raise GoneError(f"{home.address} was taken for lost while it read.")
            shard.put(wanted.table, stored)
    checksums = {k: store.block_store.checksum(block.handle) for k, block in stored.items()}
    return BlockReceipt(home.address, {k: block.n_visits for k, block in stored.items()}, checksums)


def take_over(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Staged blocks (table, number) begin to take part."""
    home = plugin(job)
    with home.turn() as shard:
        if not set(blocks) <= home.staged.keys():
            raise GoneError(f"{home.address} does not have all the blocks that it had read.")
        for table, k in blocks:
            shard.put(table, {k: home.staged.pop((table, k))})


def drop_staged(job: str, blocks: Iterable[tuple[str, int]]) -> None:
    """Staged blocks (table, number) are not wanted after all."""
    home = plugin(job)
    for table, k in blocks:
        block = home.staged.pop((table, k), None)
        if block is not None and table in home.shard.tables:
            home.shard.tables[table].block_store.drop(block.handle)


def give_up(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Blocks (table, number) that others have now."""
    with plugin(job).turn() as shard:
        for table, block in blocks:
            shard.drop(table, [block])


def keys_of_drawn(job: str, table: str, holdings_hash: int) -> NDArray[np.uint64]:
    """Keys of rows that may belong to the table's sample."""
    with plugin(job).turn(None, table, holdings_hash) as shard:
        return drawn_keys(shard.tables[table])


def fingerprint(job: str, table: str, holdings_hash: int) -> list[int]:
    """Fingerprint of this worker's blocks of a table: `Blocks.fingerprint`."""
    with plugin(job).turn(None, table, holdings_hash) as shard:
        return shard.tables[table].fingerprint()


# ---- training -------------------------------------------------------------------------------------------------------


class Report(NamedTuple):
    """Answer of a worker after a round."""

    n_seen: int  #: rows learned by all workers
    unsound: str | None
    threads: Parallelism
    n_trained: int  #: rows that this one has trained in the round ...
    seconds: float  #: ... and for how long
    failure: Exception | None  #: why it could not read the rest of its rows


def ready(job: str, setup: Setup, term: int) -> str:
    """Compile the kernels, or fetch them from the machine's cache; tells the worker's address.

    A worker that was taken for lost begins anew: what it had belongs to others by now.
    """
    home = plugin(job)
    with home.turn():
        if home.term != term:
            home.forget()
            home.term = term
        home.shard.compile(setup)
    return str(home.address)


def take(given: NetworkState, job: str, version: int, setup: Setup, threads: Parallelism) -> int:
    """Go on with a given network, in place of any earlier one.

    Parameters
    ----------
    given : NetworkState
        Weights, optimizer state, velocity and counters.
    job : str
        Identifier of the training.
    version : int
        Version of these weights.
    setup : Setup
        Everything that a shard has to know of the training.
    threads : Parallelism
        What this worker's threads do.

    Returns
    -------
    int
        The version.
    """
    home = plugin(job)
    with home.turn() as shard:
        flat, *states = given.vectors
        if shard.replica is None:
            shard.start(setup, copied(flat), [copied(state) for state in states], given.n_seen, threads)
        velocity = None if given.velocity is None else copied(given.velocity)
        vectors = states or [np.zeros_like(state) for state in shard.weights()[1]]
        shard.restore(flat, vectors, given.n_seen, velocity, agrees=given.agrees)
        home.version, home.stopped = version, -1.0
        return version


def give(job: str, version: int) -> NetworkState:
    """A copy of this worker's network."""
    home = plugin(job)
    with home.turn(version):
        return home.network()


def train(
    job: str,
    version: int,
    holdings_hash: int,
    start: int,
    stop: int,
    remembers: bool,
    hands_over: bool,
    settings: RoundSettings,
) -> Contribution:
    """Train this worker's share of a round.

    Parameters
    ----------
    job : str
        Identifier of the training.
    version : int
        Version of the weights with which the round begins.
    holdings_hash : int
        The driver's mark of the blocks of the training table that this worker should have: `holdings_hash_of`.
    start, stop : int
        Places [start, stop) of the stream of its rows.
    remembers : bool
        Whether to keep the last average, from which a momentum is reckoned.
    hands_over : bool
        Whether the driver wants the network when this worker is closed.
    settings : RoundSettings
        Settings of the round.

    Returns
    -------
    Contribution
        What the replica has learned; without rows if the round was stopped before it began.

    Raises
    ------
    GoneError
        When the worker has other weights or other blocks.
    """
    home = plugin(job)
    with contextlib.suppress(ValueError, KeyError):
        secede()  # it lasts long, and others' tasks shall have their turn

    def on_rows(_: int) -> None:
        home.used = time.monotonic()
        if home.stopped >= version:
            raise Stopped

    with home.turn(version, "training", holdings_hash) as shard:
        home.trained, home.failure, home.hands_over = (0, 0.0), None, hands_over
        if home.stopped >= version:  # an interrupt came while this waited for its turn
            return Contribution(0, ())
        home.version = home.begun = -1  # from here on the weights are this worker's own
        if remembers:
            shard.remember()
        assert shard.replica is not None
        before, began = shard.replica.n_seen, time.monotonic()
        try:
            shard.train(start, stop, settings, on_rows)
        except Stopped:
            pass
        except (StorageError, SchemaError) as error:  # told with the average: what was learned until then counts
            home.failure = error
        n_rows = shard.replica.n_seen - before
        home.trained, home.begun = (n_rows, time.monotonic() - began), version
        return shard.contribution(n_rows)


def average(*parts: Contribution) -> Contribution:
    """Average of some replicas, or of averages."""
    mean = combined(parts)
    if any(mean is part for part in parts):  # a replica's own arrays, which go on from the average
        return Contribution(mean.n_rows, tuple(vector.copy() for vector in mean.vectors))
    return mean


def receive(
    mean: Contribution,
    job: str,
    version: int,
    momentum: float,
    moving_rate: float | None,
    n_seen: int,
    _after: Any = None,
) -> Report:
    """Go on from the average of a round.

    Parameters
    ----------
    mean : Contribution
        Average of all replicas, and the rows of the round.
    job : str
        Identifier of the training.
    version : int
        Version of the averaged weights.
    momentum : float
        Momentum of the step from one average to the next; 0 for none.
    moving_rate : float or None
        Rate of elastic averaging; None when replicas go on from the average itself.
    n_seen : int
        Rows learned before the round.
    _after : object
        Result of another `receive`, so that Dask runs that one first; not looked at.

    Raises
    ------
    GoneError
        When there is no replica here.
    """
    home = plugin(job)
    with home.turn() as shard:
        if shard.replica is None:
            raise GoneError(f"{home.address} has no replica to average.")
        if home.version != version and mean.n_rows:  # else all were stopped before their first row
            shard.receive(mean, momentum, n_seen + mean.n_rows, moving_rate)
        home.version = version
        return _report(home)


def confirm(job: str, version: int) -> Report | None:
    """Report of a worker that has gone on from an average, though nobody heard of it; None when it has not."""
    home = plugin(job)
    with home.turn():
        return _report(home) if home.version == version else None


def _report(home: TrainingPlugin) -> Report:
    replica = home.shard.replica
    assert replica is not None
    unsound = instability(replica.topology, home.shard.flat)
    return Report(replica.n_seen, unsound, replica.parallelism, *home.trained, home.failure)


def measure(job: str, version: int, table: str, holdings_hash: int, cut: int | None) -> Measurement | None:
    """Measure the network on the part of a table's sample that is here.

    Parameters
    ----------
    job : str
        Identifier of the training.
    version : int
        Version of the weights to measure.
    table : str
        "training" or "validation".
    holdings_hash : int
        The driver's mark of the blocks of the table that this worker should have: `holdings_hash_of`.
    cut : int or None
        Largest random key of the sample; None: all rows that were set aside, or all.

    Raises
    ------
    GoneError
        When the worker has other weights or other blocks.
    """
    with plugin(job).turn(version, table, holdings_hash) as shard:
        shard.cut(table, cut)
        return shard.measure(table)


# ---- called beside the tasks, by `Client.run` --------------------------------------------------------------------------


def stop(job: str, version: int, dask_worker: Any) -> None:
    """End the round that began with this version of the weights, between two rows."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, TrainingPlugin):
        found.stopped = version


def renew(job: str, dask_worker: Any) -> None:
    """The driver is there: nothing is to be forgotten."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, TrainingPlugin):
        found.used = time.monotonic()
