"""Tasks that workers run in a round: get ready, take and give weights, train, average, measure; and calls beside them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from distributed import secede

from dask_dl.cluster.averaging import Contribution, combined
from dask_dl.cluster.fixed_shard import FixedShard
from dask_dl.cluster.plugin import GoneError, Stopped, TrainingPlugin, name_of, plugin
from dask_dl.errors import SchemaError, StorageError
from dask_dl.node.stability import instability
from dask_dl.state import copied

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.cluster.handover import NetworkState
    from dask_dl.cluster.plugin import ShardRows
    from dask_dl.cluster.setup import RoundSettings, Setup
    from dask_dl.frame.scored_sample import Cut
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.parallelism import Parallelism


class Report(NamedTuple):
    """Answer of a worker after a round."""

    n_seen: int  #: rows learned by all workers
    unsound: str | None
    threads: Parallelism
    n_trained: int  #: rows that this one has trained in the round ...
    seconds: float  #: ... and for how long
    failure: Exception | None  #: why it could not read the rest of its rows


def ready(job: str, setup: Setup | None, term: int) -> str:
    """Compile the kernels, or fetch them from the machine's cache; tells the worker's address.

    None are needed before there is a training.

    A worker that was considered lost begins anew: what it had belongs to others by now.
    """
    home = plugin(job)
    with home.turn():
        if home.term != term:
            home.forget()
            home.term = term
        if setup is not None:
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
        if not shard.trains(setup):
            shard.start(setup, copied(flat), [copied(state) for state in states], given.n_seen, threads)
        velocity = None if given.velocity is None else copied(given.velocity)
        vectors = states or [np.zeros_like(state) for state in shard.weights()[1]]
        shard.restore(flat, vectors, given.n_seen, velocity, agrees=given.agrees)
        home.version, home.stopped = version, -1.0
        return version


def adopt(vectors: tuple[NDArray[np.float32], ...], job: str, version: int, rows: ShardRows) -> str:
    """Have a fixed shard go on with a replica of a snapshot.

    Parameters
    ----------
    vectors : tuple of (size,) float32
        Weights, then each vector of optimizer state.
    job : str
        Identifier of the training.
    version : int
        Version of the weights that the worker keeps.
    rows : ShardRows
        Rows of the shard.

    Returns
    -------
    str
        Name of the shard.
    """
    with plugin(job).turn(version, rows) as own:
        shard = rows.shard_of(own)
        assert isinstance(shard, FixedShard)
        shard.adopt(vectors)
        return rows.name


def replica(job: str, version: int, name: str) -> tuple[NDArray[np.float32], ...]:
    """Replica of a fixed shard, copied, which may have moved to another worker just now. Raises GoneError."""
    with plugin(job).turn(version) as own:
        shard = own.fixed.get(name)
        if not isinstance(shard, FixedShard) or not shard.is_current:
            raise GoneError(f"there is no replica of shard {name} here.")
        return tuple(vector.copy() for vector in shard.vectors)


def leave(job: str, name: str) -> None:
    """Forget a fixed shard, whose replica another worker has now."""
    with plugin(job).turn() as own:
        own.fixed.pop(name, None)


def give(job: str, version: int) -> NetworkState:
    """A copy of this worker's network."""
    home = plugin(job)
    with home.turn(version):
        return home.network()


def train(
    job: str,
    version: int,
    rows: ShardRows,
    start: int,
    stop: int,
    remembers: bool,
    hands_over: bool,
    settings: RoundSettings,
    _after: Any = None,
) -> Contribution:
    """Train a shard's share of a round.

    Parameters
    ----------
    job : str
        Identifier of the training.
    version : int
        Version of the weights with which the round begins.
    rows : ShardRows
        Rows of the shard.
    start, stop : int
        Places [start, stop) of the stream of its rows.
    remembers : bool
        Whether to keep the last average, from which a momentum is reckoned.
    hands_over : bool
        Whether the driver wants the network when this worker is closed.
    settings : RoundSettings
        Settings of the round.
    _after : object
        Result of another `train` on this worker, so that Dask runs that one first; not looked at.

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

    with home.turn(version, rows) as own:
        if home.begun != version:  # the first of this worker's shards
            home.trained, home.failure = (0, 0.0), None
        home.hands_over = hands_over
        if home.stopped >= version:  # an interrupt came while this waited for its turn
            return Contribution(0, ())
        shard = rows.shard_of(own)
        if isinstance(shard, FixedShard):
            shard.follow()
        else:
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
        n_others, seconds = home.trained
        home.trained, home.begun = (n_others + n_rows, seconds + time.monotonic() - began), version
        return shard.contribution(n_rows)


def average(*parts: Contribution) -> Contribution:
    """Average of some replicas, or of averages."""
    mean = combined(parts)
    if any(mean is part for part in parts):  # a replica's own arrays, which go on from the average
        return Contribution(mean.n_rows, tuple(vector.copy() for vector in mean.vectors))
    return mean


def relay(mean: Contribution) -> Contribution:
    """The average of a round, for workers that shall fetch it from this one."""
    return mean


def receive(
    mean: Contribution,
    job: str,
    version: int,
    momentum: float,
    moving_rate: float | None,
    n_seen: int,
) -> Report | None:
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

    Returns
    -------
    Report or None
        None: there is no replica here. An error could as well be that of a contribution, which is not this worker's.
    """
    home = plugin(job)
    with home.turn() as shard:
        if shard.replica is None:
            return None
        if home.version != version and mean.n_rows:  # else all were stopped before their first row
            shard.receive(mean, momentum, n_seen + mean.n_rows, moving_rate)
        home.version = version
        return _report(home)


def confirm(job: str, version: int) -> Report | None:
    """Report of a worker that has gone on from an average without the driver's knowledge; None when it has not."""
    home = plugin(job)
    with home.turn():
        return _report(home) if home.version == version else None


def _report(home: TrainingPlugin) -> Report:
    replica = home.shard.replica
    assert replica is not None
    unsound = instability(replica.topology, home.shard.flat)
    return Report(replica.n_seen, unsound, replica.parallelism, *home.trained, home.failure)


def measure(job: str, version: int, rows: ShardRows, name: str, cut: Cut | None) -> Measurement | None:
    """Measure the network on a shard's part of the sample of a view.

    Parameters
    ----------
    job : str
        Identifier of the training.
    version : int
        Version of the weights to measure.
    rows : ShardRows
        Rows of the shard.
    name : str
        Name of the view among those that are scored.
    cut : Cut or None
        Cut of the sample; None: all rows that were set aside, or all.

    Returns
    -------
    Measurement or None
        None: nothing of the sample is here.

    Raises
    ------
    GoneError
        When the worker has other weights or other blocks.
    """
    with plugin(job).turn(version, rows) as own:
        own.cut(rows.table, cut)
        return own.measure(name, rows.shard_of(own))


# ---- called beside the tasks, by `Client.run` --------------------------------------------------------------------------


def stop(job: str, version: int, dask_worker: Any) -> None:
    """End the round that began with this version of the weights, between two rows."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, TrainingPlugin):
        found.stopped = version


def release(job: str, dask_worker: Any) -> None:
    """A trainer is closed: its replicas are not wanted any more."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, TrainingPlugin):
        found.release()


def renew(job: str, dask_worker: Any) -> None:
    """The driver is there: nothing is to be forgotten."""
    found = dask_worker.plugins.get(name_of(job))
    if isinstance(found, TrainingPlugin):
        found.used = time.monotonic()
