"""Shard of a training: blocks of the tables, a replica that learns them, a sample to score on.

It knows nothing of Dask. The local backend has one, every worker of a cluster has one, which holds all blocks that are
there. Where the number of shards is fixed, that one is not trained itself: it keeps the average, and any number of fixed
shards (`FixedShard`) train some of its blocks each. All of it is a cache that can be built again, from the source's
partitions and from the weights of another shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl import memory
from dask_dl.cluster.averaging import Contribution, advance, draw
from dask_dl.cluster.row_stream import RowStream
from dask_dl.cluster.trainer import diverged
from dask_dl.frame.block_store import FromSource, InMemory, OnDisk
from dask_dl.frame.blocks import Blocks
from dask_dl.frame.subset import Subset, drawn_rows
from dask_dl.memory import IN_MEMORY, Storage
from dask_dl.metrics.measurement import merged
from dask_dl.node.layers import count_passing
from dask_dl.node.predict import rows_per_chunk
from dask_dl.node.replica import Replica, predict
from dask_dl.node.stability import instability, is_finite
from dask_dl.state import Rows, UnitActivity, aligned_zeros, copied, padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dask_dl.cluster.dependent import Dependent
    from dask_dl.cluster.setup import RoundSettings, Setup
    from dask_dl.frame.block import Block
    from dask_dl.frame.block_store import BlockStore
    from dask_dl.frame.blocks import BlockOptions
    from dask_dl.frame.scored_sample import Cut
    from dask_dl.frame.view import View
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.parallelism import Parallelism


#: Segments of a window of blocks on disk: so many places of the table meet in it.
SEGMENTS_PER_WINDOW = 128
#: Bytes that are read from a disk at a time, at least.
MIN_SEGMENT = 2**14


class Shard:
    """Blocks, a replica and a sample.

    Parameters
    ----------
    folder : callable, optional
        Makes a folder for blocks on disk.
    order : callable, optional
    kept : (rows to visit, inputs + hidden units) uint8, optional
        As in `RowStream`.
    """

    setup: Setup  #: known from `start` on

    def __init__(
        self,
        folder: Callable[[], Path] | None = None,
        order: Callable[[int], NDArray[np.int64]] | None = None,
        kept: NDArray[np.uint8] | None = None,
    ) -> None:
        self.tables: dict[str, Blocks] = {}
        self.storage = IN_MEMORY
        self._folder = folder
        self.cuts: dict[str, Cut | None] = {}  #: of the samples of tables
        self.replica: Replica | None = None
        self.velocity: NDArray[np.float32] | None = None  #: of the outer momentum; None while there is none
        self.before: NDArray[np.float32] | None = None  #: the last average, kept where momentum needs it
        self.consensus: tuple[NDArray[np.float32], ...] = ()  #: of elastic averaging: weights, optimizer state
        self._order, self._kept = order, kept
        self._visits: RowStream | None = None
        self._samples: dict[tuple[str, str], Rows | None] = {}  #: by table, and name of what is scored
        self.fixed: dict[str, Dependent] = {}  #: fixed shards by name

    def beside(self) -> Shard:
        """A shard of the same blocks, for a trainer beside the one of this."""
        other = Shard(self._folder)
        other.tables, other.storage, other.cuts = self.tables, self.storage, dict(self.cuts)
        return other

    # ---- blocks -----------------------------------------------------------------------------------------------------

    def open(self, table: str, starts: NDArray[np.int64], options: BlockOptions, storage: Storage) -> Blocks:
        """Open a table; harmless when it is open already.

        Parameters
        ----------
        table : str
            Its key.
        starts : (blocks + 1,) int64
            First row of every block of the table, and the end of the last one.
        options : BlockOptions
            What is kept of the blocks beside their rows.
        storage : Storage
            Where encoded rows are kept.

        Returns
        -------
        Blocks
            Its blocks, none at first.
        """
        if table not in self.tables:
            self.storage = storage
            self.tables[table] = Blocks(starts, options, self._block_store(storage, table))
        return self.tables[table]

    def _block_store(self, storage: Storage, table: str) -> BlockStore:
        if storage.mode == "memory":
            return InMemory()
        if storage.mode == "stream":
            return FromSource()
        assert self._folder is not None
        return OnDisk(self._folder(), max(MIN_SEGMENT, storage.window // SEGMENTS_PER_WINDOW), table)

    def put(self, table: str, blocks: Mapping[int, Block]) -> None:
        """Blocks of a table, which are in its block store, belong to it from now on."""
        self._forget(table)
        for k, block in blocks.items():
            self.tables[table].put(k, block)

    def drop(self, table: str, numbers: Sequence[int]) -> None:
        """Give blocks up; those that are not here do not matter."""
        if table in self.tables:
            self._forget(table)
            for k in numbers:
                self.tables[table].drop(k)
            for shard in self.fixed.values():
                shard.dropped(table, numbers)

    def store(self, table: str) -> Blocks:
        """Blocks of a table."""
        return self.tables[table]

    def cut(self, table: str, cut: Cut | None) -> None:
        """The sample of a table ends at this cut; None: all that were set aside, or all."""
        if table not in self.cuts or self.cuts[table] != cut:
            self.cuts[table] = cut
            self._forget_samples(table)

    def _forget(self, table: str) -> None:
        """Forget what was derived from the blocks of a table."""
        self._forget_samples(table)
        if self.replica is not None and table == self.setup.table:
            self._close_visits()
        for shard in self.fixed.values():
            shard.forget(table)

    def _forget_samples(self, table: str) -> None:
        self._samples = {of: rows for of, rows in self._samples.items() if of[0] != table}

    def close(self, *, waits: bool = True) -> None:
        """End the threads that read ahead, if there are any."""
        self._close_visits(waits=waits)
        for shard in self.fixed.values():
            shard.close(waits=waits)

    def _close_visits(self, *, waits: bool = True) -> None:
        if self._visits is not None:
            self._visits.close(waits=waits)
            self._visits = None

    @property
    def visits(self) -> RowStream:
        """The rows to train on."""
        if self._visits is None:
            setup = self.setup
            self._visits = RowStream(
                Subset(self.store(setup.table), setup.view, starts=setup.starts),
                seed=setup.seed,
                shuffle=setup.shuffle,
                window=self.storage.window // setup.n_shards,
                order=self._order,
                drops=setup.drops,
                kept=self._kept,
                batch=setup.optimizer.batch,
            )
        return self._visits

    # ---- training ---------------------------------------------------------------------------------------------------

    def compile(self, setup: Setup) -> None:
        """Get the kernels ready, so that no round waits for the compiler, and what scores, whose first use takes a second."""
        import sklearn.metrics  # noqa: F401  # some deviances are its own, and importing it takes a second

        topology, empty = setup.topology, np.zeros(0, np.float32)
        flat = aligned_zeros(topology.size)
        replica = self.replica if self.trains(setup) else None
        replica = replica or Replica(topology, setup.optimizer, setup.objective, flat)
        n_dense, none, target = padded(topology.n_dense), np.zeros((1, 0), np.int32), np.zeros(1, np.float32)
        replica.compile(Rows(np.zeros((1, n_dense), np.float32), none, target, empty, empty))

    def start(
        self,
        setup: Setup,
        flat: NDArray[np.float32],
        states: Sequence[NDArray[np.float32]],
        n_seen: int,
        threads: Parallelism,
        on_change: Callable[[Parallelism], None] | None = None,
    ) -> Replica:
        """Make a replica, which trains given weights in place. That of an earlier trainer is forgotten.

        Parameters
        ----------
        setup : Setup
            Settings of the training.
        flat : (size,) float32
            Weights and biases as the topology lays them out; trained in place.
        states : sequence of (size,) float32
            Optimizer state; empty for zeros.
        n_seen : int
            Rows that these weights have learned.
        threads : Parallelism
            What its threads do.
        on_change : callable, optional
            Called with the new `Parallelism` when they do something else from now on.

        Returns
        -------
        Replica
        """
        self.close()
        self.fixed.clear()
        if self.replica is not None and self.setup.scored != setup.scored:
            self._samples.clear()  # of rows that other views selected
        self.setup, self.velocity, self.before, self.consensus = setup, None, None, ()
        self.replica = Replica(
            setup.topology, setup.optimizer, setup.objective, flat, states, n_seen, threads, on_change
        )
        return self.replica

    def stop(self, *, waits: bool = True) -> None:
        """Let go of all that belongs to a trainer; the blocks stay."""
        self.close(waits=waits)
        self.fixed.clear()
        self._samples.clear()
        self.replica, self.velocity, self.before, self.consensus = None, None, None, ()

    def trains(self, setup: Setup) -> bool:
        """Whether there is a replica of the same trainer."""
        return self.replica is not None and self.setup.trainer == setup.trainer

    def train(
        self, start: int, stop: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None
    ) -> float:
        """Train the rows at some places of the stream.

        Parameters
        ----------
        start, stop : int
            Places [start, stop) of the stream.
        settings : RoundSettings
            Settings of the round to which they belong.
        on_rows : callable, optional
            Called ten times a second with the number of rows trained since.

        Returns
        -------
        float
            Sum of the losses of the rows.

        Raises
        ------
        DivergedError
        """
        assert self.replica is not None
        self.replica.optimizer = self.setup.optimizer._replace(scale=settings.step_scale)
        objective = self.setup.objective
        self.replica.objective = objective if settings.delta is None else objective._replace(shape=settings.delta)
        slices, loss = self.visits.slices(start, stop, lambda: on_rows(0) if on_rows is not None else None), 0.0
        ready = [next(slices, None)]
        while (rows := ready.pop()) is not None:
            # The next rows are gathered while these are trained.
            loss += self.replica.train(rows, on_rows, lambda: ready.append(next(slices, None)))
            # Seen after a slice of rows, and not only at the end of a long round.
            if not is_finite(self.replica.flat):
                self.check()
        return loss

    def contribution(self, n_rows: int) -> Contribution:
        """Network that the replica has learned from so many rows.

        These are its own arrays, which must not be trained before they are read.
        """
        assert self.replica is not None
        self.replica.merge()
        return Contribution(n_rows, (self.replica.flat, *self.replica.states))

    def remember(self) -> None:
        """Keep the last average, from which a momentum is reckoned, before it is trained on."""
        assert self.replica is not None
        self.before = self.replica.flat.copy()

    def receive(self, average: Contribution, momentum: float, n_seen: int, moving_rate: float | None = None) -> None:
        """Go on from the average of all replicas and, with momentum, beyond it.

        With a moving rate only the consensus is drawn to the average; the replica goes on from where it is, drawn to
        the consensus.

        Parameters
        ----------
        average : Contribution
            Weights, then each vector of optimizer state, averaged.
        momentum : float
            Momentum of the step from one average to the next; 0 for none.
        n_seen : int
            Rows learned by all replicas.
        moving_rate : float, optional
            Rate of elastic averaging, by which the consensus is drawn.
        """
        assert self.replica is not None
        for shard in self.fixed.values():
            shard.averaged(self.replica.n_seen, n_seen)
        if moving_rate is not None:
            draw(self._agreed(average.vectors), average.vectors, moving_rate)
            self.replica.n_seen = n_seen
            return
        mean, *states = average.vectors
        if momentum:
            before = self.replica.flat if self.before is None else self.before  # not trained: still the last average
            if self.velocity is None:
                self.velocity = aligned_zeros(len(before))
            advance(before, mean, self.velocity, momentum)
            mean = before
        else:
            self.velocity = None
        self.before = None
        self.replica.restore(mean, states, n_seen)

    def _agreed(self, vectors: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
        """The consensus; it begins with these vectors."""
        if not self.consensus:
            assert self.replica is not None
            self.consensus = tuple(copied(vector) for vector in vectors)
            self.replica.pull_to(self.consensus[0])
        return self.consensus

    @property
    def flat(self) -> NDArray[np.float32]:
        """The weights that count: of the replica, or the consensus."""
        assert self.replica is not None
        return self.consensus[0] if self.consensus else self.replica.flat

    def check(self, found: str | None = None) -> None:
        """Raise DivergedError if weights are non-finite or have exploded, or for the reason given."""
        assert self.replica is not None
        found = found or instability(self.setup.topology, self.replica.flat)
        if found is not None:
            raise diverged(found, self.replica.n_seen)

    # ---- scoring ----------------------------------------------------------------------------------------------------

    def measure(self, name: str, of: Shard | None = None) -> Measurement | None:
        """Measure the network on the sample of a view, as far as it is here; None when nothing of it is.

        Parameters
        ----------
        name : str
            Name of the view among those that are scored.
        of : Shard, optional
            A fixed shard, whose rows are measured instead of all.

        Returns
        -------
        Measurement or None
        """
        n = rows_per_chunk(self.setup.topology.n_outputs)
        counts = self.setup.metrics.counts_activity and name == self.setup.table
        return merged(
            self._measured(rows if rows.n <= n else rows.cut(lo, lo + n), counts)
            for rows in (of or self).sample(name, self.setup.scored[name])
            for lo in range(0, rows.n, n)
        )

    def sample(self, name: str, view: View) -> Iterable[Rows]:
        """Rows to score on: those of the view that were set aside, or all of it."""
        store = self.store(view.table)
        subset = Subset(store, view, starts=store.starts)  # its rows need no numbers
        if view.is_whole or not store.sets_aside:
            return subset.slices(memory.SLICE // store.row_bytes)
        if (view.table, name) not in self._samples:
            self._samples[view.table, name] = drawn_rows(subset, self.cuts.get(view.table))
        rows = self._samples[view.table, name]
        return [] if rows is None else [rows]

    def _measured(self, rows: Rows, counts_activity: bool) -> Measurement | None:
        assert self.replica is not None
        setup, replica = self.setup, self.replica
        outputs = predict(setup.topology, self.flat, rows, replica.parallelism.n_threads)
        if not np.isfinite(outputs).all():
            self.check(f"{int((~np.isfinite(outputs)).sum()):,} of {outputs.size:,} outputs are not finite")
        found = setup.head.measure_rows(rows, outputs, setup.topology, setup.metrics)
        if found is not None and counts_activity:
            counts = count_passing(setup.topology, self.flat, rows, replica.parallelism.n_threads)
            found = found._replace(activity=UnitActivity(rows.n, counts))
        return found

    def weights(self) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
        """Those that count, with their optimizer state: no copies."""
        assert self.replica is not None
        return (self.consensus[0], self.consensus[1:]) if self.consensus else (self.flat, tuple(self.replica.states))

    def restore(
        self,
        flat: NDArray[np.float32],
        states: Sequence[NDArray[np.float32]],
        n_seen: int,
        velocity: Any = None,
        *,
        agrees: bool = False,
    ) -> None:
        """Go on from other weights.

        Parameters
        ----------
        flat : (size,) float32
            Weights and biases.
        states : sequence of (size,) float32
            Optimizer state.
        n_seen : int
            Rows that they have learned.
        velocity : (size,) float32, optional
            Momentum of the averages.
        agrees : bool
            Whether the weights are a consensus, to which the replica is drawn from now on.
        """
        assert self.replica is not None
        self.consensus = ()
        self.replica.pull_to(None)
        self.replica.restore(flat, states, n_seen)
        if agrees:
            self._agreed((flat, *states))
        self.velocity, self.before = velocity, None
