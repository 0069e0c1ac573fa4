"""What lives on a worker while a training lasts, and the tasks that work with it.

A task is a function of the job, of a version of the weights and of block numbers. It finds what it needs in the worker's
residence; where that is missing, or of another version, it raises `GoneError`, and the driver sees to it. No task depends on a
future of an earlier round, so nothing of the past can be run again.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from distributed import WorkerPlugin, get_worker, secede
from tornado.ioloop import PeriodicCallback

from dask_dl.cluster.averaging import Contribution, combined
from dask_dl.cluster.station import Station
from dask_dl.errors import ClusterError
from dask_dl.frame.blocks import encode_partition, used_rows
from dask_dl.frame.order import candidates
from dask_dl.frame.scan import merged, scan_partition
from dask_dl.node.blas import one_blas_thread
from dask_dl.node.stability import instability
from dask_dl.state import Rows, aligned_zeros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.cluster.placement import Piece
    from dask_dl.cluster.station import Setup
    from dask_dl.frame.blocks import Recipe
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Schema
    from dask_dl.node.parallelism import Parallelism
    from dask_dl.score.metrics import Measured

#: Seconds after which a worker forgets a job that nobody asked it about: its driver is gone.
LEASE = 600.0
#: Seconds that a task waits for another one of the same job.
PATIENCE = 60.0


class GoneError(ClusterError):
    """A worker does not have what it should have: it was restarted, or thought to be lost."""


class Stopped(BaseException):
    """Ends a share of a round between two rows."""


class Residence(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Keeps a station on a worker for as long as a job lasts.

    Parameters
    ----------
    job : str
        Of the training; two trainings on the same worker have a residence each.
    """

    idempotent = True

    def __init__(self, job: str) -> None:
        self.name = name_of(job)
        self.job = job

    def setup(self, worker: Any) -> None:
        """On a worker that is there, or joins: nothing yet."""
        self.address = worker.address
        self.term = 0  #: how often the driver has taken this worker for lost
        self._turn = threading.Lock()
        self.forget()
        self._lease = PeriodicCallback(self._look, 1000 * LEASE / 10)
        worker.loop.add_callback(self._lease.start)
        self._loop = worker.loop
        # Ctrl-C in a terminal reaches the processes of a LocalCluster too. The driver is to end the training, with what they
        # know; a nanny's process can be ended in other ways.
        self._on_interrupt = None
        if worker.nanny and threading.current_thread() is threading.main_thread():
            self._on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002  # Dask's signature
        """The job is over: threads end within a few rows, and everything is released."""
        self._loop.add_callback(self._lease.stop)
        self.forget()
        if self._on_interrupt is not None:
            signal.signal(signal.SIGINT, self._on_interrupt)

    def forget(self) -> None:
        """Let go of everything."""
        self.stopped = math.inf  #: rounds up to this version are to end
        self.station = Station()
        self.staged: dict[tuple[str, int], tuple[NDArray[np.int64], Rows]] = {}
        self.version = -1
        self.used = time.monotonic()

    def _look(self) -> None:
        if time.monotonic() - self.used > LEASE and not self._turn.locked():
            self.forget()

    @contextlib.contextmanager
    def turn(self, version: int | None = None, table: str = "", mark: int = 0) -> Iterator[Station]:
        """The station, for one task at a time.

        With weights of a version, and with exactly those blocks of a table that the driver's mark tells. Raises GoneError.
        """
        if not self._turn.acquire(timeout=PATIENCE):
            raise GoneError(f"{self.address}: another task of this training has not ended within {PATIENCE:g} s.")
        try:
            self.used = time.monotonic()
            if version is not None and version != self.version:
                raise GoneError(f"{self.address} has weights of version {self.version}, not {version}.")
            if table and (table not in self.station.tables or mark_of(self.station.tables[table].blocks) != mark):
                raise GoneError(f"{self.address} has other blocks of the {table} table than it should have.")
            yield self.station
        finally:
            self.used = time.monotonic()
            self._turn.release()


def mark_of(blocks: Iterable[int]) -> int:
    """A number by which driver and worker compare which blocks they mean."""
    return hash(tuple(sorted(blocks)))


def name_of(job: str) -> str:
    """Of the plugin."""
    return f"dask-dl-{job}"


def residence(job: str) -> Residence:
    """Of a job on this worker. Raises GoneError."""
    found = get_worker().plugins.get(name_of(job))
    if not isinstance(found, Residence):
        raise GoneError(f"{get_worker().address} knows nothing of this training.")
    return found


# ---- tables ---------------------------------------------------------------------------------------------------------


class Scanned(NamedTuple):
    """Partitions that were scanned, and where each of them was."""

    scan: Scan
    places: tuple[str, ...]


def scan_one(part: pd.DataFrame, schema: Schema, k: int, task: str) -> Scanned:
    """One partition, where it lies."""
    return Scanned(scan_partition(part, schema, k, task), (get_worker().address,))


def scan_merged(parts: Sequence[Scanned], schema: Schema) -> Scanned:
    """Neighbouring partitions."""
    scan = merged((part.scan for part in parts), schema)
    assert scan is not None
    return Scanned(scan, tuple(place for part in parts for place in part.places))


class Held(NamedTuple):
    """Blocks that a worker has encoded."""

    address: str
    n_used: dict[int, int]  #: block -> rows that count


def encode(
    part: pd.DataFrame, job: str, table: str, recipe: Recipe, k: int, n: int, starts: NDArray[np.int64],
    pieces: dict[int, Piece], term: int, staged: bool,
) -> Held:  # fmt: skip
    """Partition k, n rows when it was scanned, becomes blocks of this worker."""
    rows = encode_partition(part, recipe, k, n)
    blocks = {block: _piece(rows, piece) for block, piece in pieces.items()}
    return keep(blocks, job, table, starts, term, staged)


def _piece(rows: Rows, piece: Piece) -> Rows:
    """Rows of a block: the partition's own arrays, or copies, so that the rest of the partition is released."""
    if piece.n == rows.n:
        return rows
    return rows.cut(piece.lo, piece.hi).map(np.copy)


def keep(blocks: dict[int, Rows], job: str, table: str, starts: NDArray[np.int64], term: int, staged: bool) -> Held:
    """Encoded blocks become this worker's; staged ones do not take part in the training yet.

    What was asked for before the driver took the worker for lost is too late.
    """
    home = residence(job)
    if home.term != term:
        raise GoneError(f"{home.address} was taken for lost while it read.")
    # What came over the network is read-only, which would be a type of its own for the compiler.
    blocks = {block: rows.map(lambda part: np.require(part, requirements="W")) for block, rows in blocks.items()}
    if staged:  # beside a round that is trained
        home.staged |= {(table, block): (starts, rows) for block, rows in blocks.items()}
    else:
        with home.turn() as station:
            station.put(table, starts, blocks)
    weights = {block: rows.weight for block, rows in blocks.items()}
    n_used = {
        block: int(np.count_nonzero(weight > 0)) if len(weight) else blocks[block].n
        for block, weight in weights.items()
    }
    return Held(home.address, n_used)


def take_over(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Staged blocks (table, number) begin to take part."""
    home = residence(job)
    with home.turn() as station:
        if not set(blocks) <= home.staged.keys():
            raise GoneError(f"{home.address} does not have all the blocks that it had read.")
        for table, block in blocks:
            starts, rows = home.staged.pop((table, block))
            station.put(table, starts, {block: rows})


def give_up(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Blocks (table, number) that others have now."""
    with residence(job).turn() as station:
        for table, block in blocks:
            station.drop(table, [block])


def candidates_of(job: str, table: str, mark: int, n: int, n_all: int, seed: int) -> NDArray[np.uint64]:
    """Keys of rows that may belong to the table's sample."""
    with residence(job).turn(None, table, mark) as station:
        return candidates(used_rows(station.tables[table]), n, n_all, seed, f"{table} sample")


def fingerprint(job: str, table: str, mark: int) -> list[int]:
    """Of this worker's blocks."""
    with residence(job).turn(None, table, mark) as station:
        return station.tables[table].fingerprint()


# ---- training -------------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """A network to go on with."""

    vectors: tuple[NDArray[np.float32], ...]  #: weights, optimizer state; no state means zeros
    velocity: NDArray[np.float32] | None
    n_seen: int
    n_halvings: int


class Report(NamedTuple):
    """What a worker tells after a round."""

    n_seen: int  #: rows learned by all workers
    unsound: str | None
    threads: Parallelism


def ready(job: str, setup: Setup, term: int) -> str:
    """Compile the kernels, or fetch them from the machine's cache; tells the worker's address.

    A worker that was taken for lost begins anew: what it had belongs to others by now.
    """
    home = residence(job)
    with home.turn():
        if home.term != term:
            home.forget()
            home.term = term
        home.station.compile(setup)
    return str(home.address)


def take(given: Given, job: str, version: int, setup: Setup, threads: Parallelism) -> int:
    """Go on with this network, whatever there was."""
    home = residence(job)
    with home.turn() as station:
        flat, *states = given.vectors
        if station.replica is None:
            station.start(setup, _own(flat), [_own(state) for state in states], given.n_seen, threads)
        velocity = None if given.velocity is None else _own(given.velocity)
        vectors = states or [np.zeros_like(state) for state in station.weights()[1]]
        station.restore(flat, vectors, given.n_seen, given.n_halvings, velocity)
        home.version, home.stopped = version, -1.0
        return version


def _own(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that may be written: what came over the network may not, and other workers may read it too."""
    copy = aligned_zeros(len(vector))
    np.copyto(copy, vector)
    return copy


def give(job: str, version: int) -> Given:
    """A copy of this worker's network."""
    home = residence(job)
    with home.turn(version) as station:
        flat, states = station.weights()
        velocity = None if station.velocity is None else station.velocity.copy()
        assert station.replica is not None
        return Given((flat.copy(), *(s.copy() for s in states)), velocity, station.replica.n_seen, station.n_halvings)


def train(job: str, version: int, mark: int, start: int, stop: int, remembers: bool) -> Contribution:
    """Train this worker's share of a round: places [start, stop) of the stream of its rows."""
    home = residence(job)
    with contextlib.suppress(ValueError, KeyError):
        secede()  # it lasts long, and others' tasks shall have their turn

    def on_rows(_: int) -> None:
        home.used = time.monotonic()
        if home.stopped >= version:
            raise Stopped

    with home.turn(version, "training", mark) as station, one_blas_thread():
        if home.stopped >= version:  # an interrupt came while this waited for its turn
            return Contribution(0, ())
        home.version = -1  # from here on the weights are this worker's own
        if remembers:
            station.remember()
        assert station.replica is not None
        before = station.replica.n_seen
        with contextlib.suppress(Stopped):
            station.train(start, stop, on_rows)
        return station.contribution(station.replica.n_seen - before)


def average(*parts: Contribution) -> Contribution:
    """Of some replicas, or of averages."""
    mean = combined(parts)
    if any(mean is part for part in parts):  # a replica's own arrays, which go on from the average
        return Contribution(mean.n_rows, tuple(vector.copy() for vector in mean.vectors))
    return mean


def receive(mean: Contribution, job: str, version: int, momentum: float, n_seen: int, _after: Any = None) -> Report:
    """Go on from the average of a round."""
    home = residence(job)
    with home.turn() as station:
        if station.replica is None:
            raise GoneError(f"{home.address} has no replica to average.")
        if home.version != version and mean.n_rows:  # else all were stopped before their first row
            station.receive(mean, momentum, n_seen + mean.n_rows)
        home.version = version
        return _report(station)


def confirm(job: str, version: int) -> Report | None:
    """Report of a worker that has gone on from an average, though nobody heard of it; None when it has not."""
    home = residence(job)
    with home.turn() as station:
        return _report(station) if home.version == version else None


def _report(station: Station) -> Report:
    replica = station.replica
    assert replica is not None
    return Report(replica.n_seen, instability(replica.topology, replica.flat), replica.parallelism)


def measure(job: str, version: int, table: str, mark: int, cut: int | None) -> Measured | None:
    """Measure the network on the sample of a table, as far as it is here."""
    with residence(job).turn(version, table, mark) as station:
        station.cut(table, cut)
        return station.measure(table)


# ---- called beside the tasks, by `Client.run` --------------------------------------------------------------------------


def stop(job: str, version: int, dask_worker: Any) -> None:
    """End the round that began with this version of the weights, between two rows."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, Residence):
        found.stopped = version


def renew(job: str, dask_worker: Any) -> None:
    """The driver is there: nothing is to be forgotten."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, Residence):
        found.used = time.monotonic()
