"""Trainers in this process: of one replica, or of a replica for every fixed shard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl.cluster.averaging import Contribution, outer_momentum, tree
from dask_dl.cluster.fixed_shard import fixed_shard
from dask_dl.cluster.placement import apportioned
from dask_dl.cluster.trainer import measured
from dask_dl.errors import ReplicasLostError
from dask_dl.metrics.measurement import merged
from dask_dl.node.stability import instability
from dask_dl.state import AveragingState, TrainedWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.fixed_shard import FixedShard
    from dask_dl.cluster.setup import RoundSettings
    from dask_dl.cluster.shard import Shard
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.replica import Replica


class LocalTrainer:
    """Trains one replica in this process; see `Trainer`."""

    is_local = is_reachable = True
    n_replicas = n_copies = 1
    busy_seconds = 0.0
    shift = 0

    def __init__(self, shard: Shard) -> None:
        assert shard.replica is not None
        self.on_wait = lambda: None  # there are no workers to wait for
        self.shard = shard
        self.n_threads = shard.replica.parallelism.n_threads

    @property
    def replica(self) -> Replica:
        """The replica, until the trainer is closed."""
        assert self.shard.replica is not None
        return self.shard.replica

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return self.shard.visits.n_rows

    def compile(self) -> None:
        """Get the kernels ready, so that no round waits for the compiler."""
        self.shard.compile(self.shard.setup)

    @property
    def n_seen(self) -> int:
        """Rows learned."""
        return self.replica.n_seen

    def train(self, n: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None) -> None:
        """Visit the next `n` rows. Raises DivergedError."""
        began = time.monotonic()
        try:
            place = self.n_seen + self.shift
            self.shard.train(place, place + n, settings, on_rows)
        finally:
            self.busy_seconds = time.monotonic() - began

    def average(self) -> None:
        """One replica is its own average; its threads bring their optimizer states together. Raises DivergedError."""
        self.replica.merge()
        self.shard.check()

    def measure(self, name: str) -> Measurement:
        """Measure the network on the sample of a view. Raises ParameterError when that is empty."""
        return measured(name, self.shard.measure(name))

    def weights(self) -> TrainedWeights:
        """Weights and optimizer state: the arrays that are trained."""
        return TrainedWeights(*self.shard.weights(), self.n_seen)

    def snapshot(self) -> TrainedWeights:
        """Copies of the weights and of the optimizer state."""
        return self.weights().copy()

    def restore(self, weights: TrainedWeights) -> None:
        """Go back to weights. See `Trainer.restore`; one replica is not averaged."""
        self.shard.restore(weights.flat, weights.states, weights.n_seen)

    def close(self) -> None:
        """Let go of the replica, which others of the process do not know."""
        self.shard.stop()

    def report(self) -> dict[str, Any]:
        """Parameters of threads as they came to be."""
        threads = self.replica.parallelism
        return {
            "n_jobs": threads.n_threads,
            "exchange_interval": threads.interval if threads.way == "staleness" else None,
            "parallelism": threads.by_layer(self.replica.topology),
        }


class ShardsTrainer(LocalTrainer):
    """Trains a replica of every fixed shard in this process, one after the other; see `Trainer`.

    To the last bit it does what a cluster does with as many shards, by the same functions in the same order.

    Parameters
    ----------
    shard : Shard
        Shard of the process, which keeps the average.
    blocks : mapping of str to mapping
        Table -> fixed shard -> numbers of its blocks.
    momentum, moving_rate : float or None
        As of `DaskBackend`.
    """

    def __init__(
        self,
        shard: Shard,
        blocks: Mapping[str, Mapping[str, Sequence[int]]],
        momentum: float | None,
        moving_rate: float | None,
    ) -> None:
        super().__init__(shard)
        self._blocks, self._momentum, self._moving_rate = blocks, momentum, moving_rate
        self._n_averages = 0
        self._outer = 0.0  #: momentum of this round
        self._trained: list[Contribution] = []
        #: Those with rows that count.
        parts = self._parts(shard.setup.table)
        self._n_visits = {name: n for name, part in parts.items() if (n := part.n_visits)}
        self._shards = {name: parts[name] for name in self._n_visits}
        self.n_replicas = len(self._shards)

    def _parts(self, table: str) -> dict[str, FixedShard]:
        return {name: fixed_shard(self.shard, name, table, numbers) for name, numbers in self._blocks[table].items()}

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return sum(self._n_visits.values())

    def train(self, n: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None) -> None:
        """Visit the next `n` rows, each shard its share of them. Raises DivergedError."""
        began, rows = time.monotonic(), list(self._n_visits.values())
        place = self.n_seen + self.shift
        starts, stops = apportioned(place, rows), apportioned(place + n, rows)
        busy = [
            (part, start, stop)
            for part, start, stop in zip(self._shards.values(), starts, stops, strict=True)
            if stop > start
        ]
        self._outer = outer_momentum(self._momentum, self._moving_rate, len(busy), self._n_averages)
        try:
            for part, start, stop in busy:
                replica = part.follow()
                before = replica.n_seen
                part.train(start, stop, settings, on_rows)
                self._trained.append(part.contribution(replica.n_seen - before))
        except BaseException:  # what some shards have of a round would give other bits
            self._trained = []
            raise
        finally:
            self.busy_seconds = time.monotonic() - began

    def average(self) -> None:
        """Bring the replicas to their average. Raises DivergedError."""
        if self._trained:
            mean, moving_rate = tree(self._trained), self._moving_rate if self.n_replicas > 1 else None
            if mean.n_rows:
                outer = self._outer if len(self._trained) > 1 else 0.0
                self.shard.receive(mean, outer, self.n_seen + mean.n_rows, moving_rate)
            self._trained = []
            self._n_averages += 1
        unsound = instability(self.replica.topology, self.shard.flat)
        if unsound:
            self.shard.check(unsound)

    def measure(self, name: str) -> Measurement:
        """Measure the network on the sample of a view, shard after shard."""
        parts = self._parts(self.shard.setup.scored[name].table)
        return measured(name, merged(self.shard.measure(name, part) for part in parts.values()))

    def weights(self) -> TrainedWeights:
        """Weights, and all that goes with them: the arrays that are trained.

        Raises ReplicasLostError after a round of elastic averaging that was broken off: its replicas are no one's copy.
        """
        replicas = {}
        if self.shard.consensus:
            if not all(part.is_current for part in self._shards.values()):
                raise ReplicasLostError("replicas of elastic averaging have learned a part of a round.")
            replicas = {name: part.vectors for name, part in self._shards.items()}
        averaging = AveragingState(self._n_averages, self.shard.velocity, replicas)
        return TrainedWeights(*self.shard.weights(), self.n_seen, averaging)

    def restore(self, weights: TrainedWeights) -> None:
        """Go back to weights. See `Trainer.restore`."""
        flat, states, n_seen, averaging = weights
        averaging = averaging or AveragingState(0)
        velocity = None if averaging.velocity is None else averaging.velocity.copy()
        is_elastic = self._moving_rate is not None and self.n_replicas > 1
        agrees = is_elastic and n_seen > 0
        self._trained, self._n_averages = [], averaging.n_averages
        self.shard.restore(flat, states, n_seen, velocity, agrees=agrees)
        if is_elastic:  # those without rows in the first rounds, too
            for name, part in self._shards.items():
                part.adopt(averaging.replicas.get(name, (flat, *states)))
