"""Rounds of a training on a Dask cluster, seen from the client."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.cluster import handover, round_tasks
from dask_dl.cluster.average_tree import AverageTree
from dask_dl.cluster.averaging import Contribution, combined, outer_momentum
from dask_dl.cluster.elastic_replicas import bring, fetched, given
from dask_dl.cluster.handover import NetworkState
from dask_dl.cluster.placement import apportioned
from dask_dl.cluster.setup import RoundSettings
from dask_dl.cluster.stragglers import Key, in_time, stop
from dask_dl.cluster.submit import TaskSpec
from dask_dl.cluster.trainer import diverged, measured
from dask_dl.errors import Aborted, DivergedError
from dask_dl.metrics.measurement import merged
from dask_dl.state import AveragingState, TrainedWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask_dl.cluster.membership import Membership
    from dask_dl.cluster.tables import Table
    from dask_dl.frame.scored_sample import Cut
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.parallelism import Parallelism

#: Minimum time, in seconds, before a live worker that has not finished its part of a round is abandoned.
MIN_ROUND_LIMIT = 3600.0
#: When half of the workers have ended their share, the others get until so many times that long since the round began.
AS_LONG_AGAIN = 2.0


class DaskTrainer:
    """Trains a replica of each shard on the worker that has its rows; see `Trainer`.

    The shard of a worker trains what the worker has, and what it learned is lost with it. Fixed shards are the same whatever
    becomes of workers: a round ends when each of them has been trained, some of them again on another worker.

    Parameters
    ----------
    membership : Membership
        The workers and the tables that they hold.
    cuts : mapping of str to Cut or None
        Cut of the sample of each table.
    momentum, moving_rate, by_clock, say : object
        As of `DaskBackend`.
    on_change : callable
        As of `Backend.trainer`.
    on_close : callable
        Called when the trainer is closed, once.
    """

    is_local = False
    shift = 0

    def __init__(
        self,
        membership: Membership,
        cuts: Mapping[str, Cut | None],
        *,
        momentum: float | None,
        moving_rate: float | None,
        by_clock: bool,
        say: Callable[[str], None],
        on_change: Callable[[Parallelism], None],
        on_close: Callable[[], object],
    ) -> None:
        self.membership, self.submitter, self._cuts = membership, membership.submitter, cuts
        self._momentum, self._moving_rate, self._by_clock = momentum, moving_rate, by_clock
        self._say, self._on_change, self.on_close = say, on_change, on_close
        self.n_seen = 0
        self.n_rows = sum(membership.training.n_visits.values())
        self.busy_seconds = 0.0
        self._outer = 0.0  #: momentum of this round
        self._settings = RoundSettings()
        self._round_holders: set[str] = set()  #: workers that keep the weights with which the round began
        self._n_averages = 0  #: since the weights were given
        #: Shard -> what it contributes to the average: a future or, where its worker was closed, what that handed over.
        self._trained: dict[str, Any] = {}
        self._hosts: dict[str, str] = {}  #: shard -> the worker that trains it in this round
        self._round = 0  #: version of the weights with which the round began
        self._n_bytes = 0  #: of the network with its optimizer state
        self._tree = AverageTree(membership, moving_rate)
        #: Worker's shard -> hash of its blocks, and how far it has come in their stream.
        self._places: dict[str, tuple[int, int]] = {}
        self._begun: dict[str, tuple[int, int]] = {}  #: shard -> place in the stream, and rows, of this round
        self._threads: dict[str, Parallelism] = {}
        self._told: set[Key] = set()  #: tasks that were told to end this round
        self._on_rows: Callable[[int], None] = lambda _: None  #: as of this round's `train`
        self._speed = 0.0  #: rows per second of the last round

    @property
    def on_wait(self) -> Callable[[], None]:
        """Called while workers are waited for."""
        return self.submitter.on_wait

    @on_wait.setter
    def on_wait(self, called: Callable[[], None]) -> None:
        self.submitter.on_wait = called

    @property
    def is_reachable(self) -> bool:
        """Whether there is a worker."""
        return bool(self.membership.liveness.look())

    @property
    def n_threads(self) -> int:
        """Threads that train, in all."""
        return sum(
            self.membership.choice(member).n_threads
            for member in (self.membership.taking_part or self.membership.liveness.alive).values()
        )

    @property
    def n_replicas(self) -> int:
        """Shards that train."""
        return max(1, len(self.membership.training.trained_shards()))

    @property
    def n_copies(self) -> int:
        """Workers that train all rows."""
        return self.n_replicas if self.membership.training.placement == "replicated" else 1

    def compile(self) -> None:
        """Workers have compiled when they began to take part."""

    @property
    def _is_fixed(self) -> bool:
        return self.membership.training.shards is not None

    def train(self, n: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None) -> None:
        """A round: every shard trains its share of the next `n` rows, from the same weights."""
        self._trained, self._told, self._on_rows = {}, set(), on_rows or (lambda _: None)
        self._tree.forget()
        self._settle()
        table = self.membership.training
        if self._is_fixed and self._moving_rate is not None:
            bring(self.membership, self._hosts)
        self._hosts, shards = table.hosts(), table.trained_shards()
        rows = self._shares(table, shards)
        starts, stops = (apportioned(self.n_seen + self.shift + k, rows) for k in (0, n))
        places = self._beginnings(table, shards, starts)
        self._begun = {
            shard: (places[shard], stop - start)
            for shard, start, stop in zip(shards, starts, stops, strict=True)
            if stop > start
        }
        self._outer = outer_momentum(self._momentum, self._moving_rate, len(self._begun), self._n_averages)
        self._tree.was_several |= (self.n_replicas if self._is_fixed else len(self._begun)) > 1
        self._round, self._settings = self.membership.version, settings
        self.membership.inbox.is_wanted = self._n_bytes * len(self.membership.taking_part) <= handover.MAX_BYTES
        began = time.monotonic()
        self._train_missing()
        self._speed = n / (time.monotonic() - began)

    def _settle(self) -> None:
        """Have all workers ready for a round."""
        self.submitter.on_wait = lambda: self._on_rows(0)  # there may be no worker to train, and an end in sight
        try:
            self.membership.settle(part for part in self._trained.values() if not isinstance(part, Contribution))
        except BaseException:
            self._trained = {} if self._is_fixed else self._trained  # a part of the shards would give other bits
            raise
        finally:
            self.submitter.on_wait = lambda: None

    def _train_missing(self) -> None:
        """Train the shards of this round that are not trained; fixed ones again, elsewhere, where their workers are lost."""
        for _ in self.submitter.attempts():
            hosts = self.membership.training.hosts()
            self._hosts = hosts | {shard: self._hosts[shard] for shard in self._trained}
            futures = self._submitted()
            n = sum(n for _, n in self._begun.values())
            limit = max(MIN_ROUND_LIMIT, 20 * n / self._speed) if self._speed else math.inf
            waiting = {"limit": limit, "patience": AS_LONG_AGAIN if self._by_clock else math.inf}
            try:
                lost, told = in_time(self.submitter, futures, self._round, lambda: self._on_rows(0), **waiting)
            except BaseException as error:
                self._break_off(futures, error)
                raise
            self._told |= told
            if self._is_fixed:  # a part of a share would give other bits
                futures = {key: future for key, future in futures.items() if key not in told}
            self._accept(futures, lost)
            # How many of theirs those have trained that were told to end is not known yet.
            self._on_rows(sum(self._begun[shard][1] for _, shard in futures.keys() - lost - told))
            if not self._is_fixed or self._begun.keys() <= self._trained.keys():
                return
            self._settle()

    def _submitted(self) -> dict[Key, Any]:
        """Futures of the shards that are to be trained; those of a worker one after the other."""
        table, job = self.membership.training, self.membership.job
        more = self._outer > 0, self.membership.inbox.is_wanted, self._settings
        futures: dict[Key, Any] = {}
        last: dict[str, Any] = {}  # worker -> its task before
        for shard, (place, n) in self._begun.items():
            if shard in self._trained or shard not in self._hosts:  # later, when somebody has its rows
                continue
            worker = self._hosts[shard]
            arguments = job, self._round, table.rows_of(shard), place, place + n, *more, last.get(worker)
            try:
                future = self.submitter.submit("train", worker, round_tasks.train, *arguments)
            except BaseException as error:
                self._break_off(futures, error)
                raise
            futures[worker, shard] = last[worker] = future
        return futures

    def _beginnings(self, table: Table, shards: Sequence[str], starts: Sequence[int]) -> dict[str, int]:
        """Where each shard goes on in the stream of its rows: where it ended, so that a straggler leaves none out.

        With other blocks than before, where it would be if it had always had them; so it is with fixed shards, which always
        have. Those who all have all rows begin at different places of one stream: what they visit together is an epoch.
        """
        if self._is_fixed:
            return dict(zip(shards, starts, strict=True))
        begun, offset = {}, 0
        shares = apportioned(self.n_rows, self._shares(table, shards))
        for shard, start, share in zip(shards, starts, shares, strict=True):
            known, place = self._places.get(shard, (None, 0))
            begun[shard] = place if known == table.rows_of(shard).holdings_hash else start + offset
            offset += share if table.placement == "replicated" else 0
        return begun

    def _shares(self, table: Table, shards: Sequence[str]) -> list[int]:
        """Weights by which a round is divided: the rows of shards or, where all have all, how fast they are."""
        if table.placement != "replicated" or not self._by_clock:
            return [table.n_visits_of(shard) for shard in shards]
        strengths = self.membership.strengths()
        maximum = max(strengths[worker] for worker in shards)
        return [max(1, round(1000 * strengths[worker] / maximum)) for worker in shards]

    def _accept(self, futures: Mapping[Key, Any], lost: set[Key]) -> None:
        """Keep what was trained for the average; rows of the lost count as not learned, so that they are made up for."""
        self._trained |= {key[1]: future for key, future in futures.items() if key not in lost}
        workers = {worker for worker, _ in lost}
        self.membership.lose(workers, "was lost in a round")
        if self._is_fixed:
            self._trained = {s: part for s, part in self._trained.items() if self._hosts[s] not in workers}
        self._trained |= self._handed_over(workers)
        there = self.membership.taking_part
        self._places = {worker: place for worker, place in self._places.items() if worker in there}

    def _break_off(self, futures: Mapping[Key, Any], error: BaseException) -> None:
        """A round that is interrupted ends between two rows, one that diverged for good."""
        try:
            lost = stop(self.submitter, futures, self._round)
        except KeyboardInterrupt as interrupt:
            raise Aborted from interrupt
        except DivergedError:
            lost = set(futures)
        if self._is_fixed:  # what some shards have of a round would give other bits
            self._trained = {}
        elif not isinstance(error, Exception):
            self._accept(futures, lost)

    def average(self) -> None:
        """A tree of averages on the workers, and all of them go on from its root."""
        if self.membership.liveness.leaving:
            self.membership.look()
        for _ in self.submitter.attempts():
            if not self._trained:
                return
            if not (self.membership.taking_part or self._is_fixed):
                self._inherit()
                return
            self._round_holders = self.membership.holders or self._round_holders
            reports, lost = self._tree.average(self._trained, self._hosts, self._outer, self.n_seen)
            if reports:
                self._n_averages += 1
                self.membership.holders = set(reports)
                self.membership.lose(
                    [w for w in self.membership.taking_part if w in lost and w not in reports],
                    "was lost while averaging",
                )
                self._trained = {}
                self._note(reports)
                return
            # No worker has it, so what was trained is still where it was, except on those that are gone.
            self.membership.look()
            there = self._there()
            gone = {
                shard
                for shard, part in self._trained.items()
                if not (isinstance(part, Contribution) or self._hosts[shard] in there)
            }
            self._trained = {shard: part for shard, part in self._trained.items() if shard not in gone}
            if self._is_fixed:
                self._train_again()
            else:
                self._trained |= self._handed_over(gone)

    def _train_again(self) -> None:
        """Go back to the weights with which the round began, which workers still keep, and train the shards that are lost."""
        membership = self.membership
        membership.version, membership.holders = self._round, self._round_holders & membership.taking_part.keys()
        self._settle()
        self._train_missing()

    def _there(self) -> set[str]:
        """Workers that take part, and those that are being closed but still there."""
        return self.membership.taking_part.keys() | self.membership.liveness.leaving

    def _handed_over(self, workers: Iterable[str]) -> dict[str, Contribution]:
        """Contributions of closed workers to this round, by worker."""
        found = {}
        for left in self.membership.handed_over(workers):
            if left.version == self._round and left.n_rows:
                self._say(f"worker {left.worker} was closed, and handed over {left.n_rows:,} rows that it had learned")
                found[left.worker] = Contribution(left.n_rows, left.network.vectors)
        return found

    def _inherit(self) -> None:
        """All workers were closed: others will go on from what they have handed over, the average or their shares of it."""
        futures = [worker for worker, part in self._trained.items() if not isinstance(part, Contribution)]
        parts = self._trained | dict.fromkeys(futures, Contribution(0, ())) | self._handed_over(futures)
        mean = combined(list(parts.values()))
        agrees = self._moving_rate is not None and self._tree.was_several
        given = NetworkState(mean.vectors, None, self.n_seen + mean.n_rows, agrees)
        if self.membership.version > self._round:  # that of the average
            left, version = self.membership.handed_over(futures), self.membership.version
            given = next((each.network for each in left if each.version == version), given)
        self._trained = {}
        if given.n_seen > self.n_seen:
            self.n_seen = given.n_seen
            self._adopt(given)

    def _adopt(self, given: NetworkState) -> None:
        """Go on from a network that is here; the outer momentum begins anew."""
        self._trained, self._hosts, self._places, self._n_averages = {}, {}, {}, 0
        self._tree.forget()
        self.membership.adopt(given)

    def _note(self, reports: Mapping[str, round_tasks.Report]) -> None:
        report = reports[min(reports)]
        self.n_seen = report.n_seen
        busy = {self._hosts[shard] for shard in self._begun}
        self.busy_seconds = max((reports[worker].seconds for worker in busy if worker in reports), default=0.0)
        table = self.membership.training
        for shard, (place, _) in self._begun.items():
            if not self._is_fixed and shard in reports:
                self._places[shard] = table.rows_of(shard).holdings_hash, place + reports[shard].n_trained
                if self._by_clock:
                    self.membership.clock(shard, reports[shard].n_trained, reports[shard].seconds)
        self.membership.rebalance(table)
        for worker, other in reports.items():
            before = self._threads.get(worker)
            self._threads[worker] = other.threads
            if before is not None and before != other.threads:
                self._on_change(other.threads)
        for failure in (other.failure for other in reports.values() if other.failure is not None):
            raise failure  # with what was learned before it in the average
        if report.unsound is not None:
            raise diverged(report.unsound, self.n_seen)

    def measure(self, name: str) -> Measurement:
        """Measure on the workers, each on its rows of the sample; what they found is merged here."""
        job, table = self.membership.job, self.membership.of_trainer.scored[name].table
        parts = self.membership.of_shards(
            "score",
            table,
            lambda rows: TaskSpec(round_tasks.measure, (job, self.membership.version, rows, name, self._cuts[table])),
        )
        return measured(name, merged(parts))

    def weights(self) -> TrainedWeights:
        """Fetched from a worker. Raises ReplicasLostError."""
        self.membership.look()
        network: NetworkState | None = None
        for worker in sorted(self.membership.holders):
            done, lost = self.submitter.run(
                "give", {worker: TaskSpec(round_tasks.give, (self.membership.job, self.membership.version))}
            )
            if done:
                network = done[worker]
                break
            self.membership.lose(lost, "did not answer")
        network = network or self.membership.find_kept()
        flat, *states = (np.require(vector, requirements="W") for vector in network.vectors)
        replicas = fetched(self.membership, self._hosts) if network.agrees and self._is_fixed else {}
        averaging = AveragingState(self._n_averages, network.velocity, replicas)
        return TrainedWeights(flat, tuple(states), self.n_seen, averaging)

    snapshot = weights

    def restore(self, weights: TrainedWeights) -> None:
        """Give all workers these weights. See `Trainer.restore`."""
        flat, states, n_seen, averaging = weights
        n_replicas = self.n_replicas if self._is_fixed else len(self.membership.liveness.alive)
        agrees = self._moving_rate is not None and n_seen > 0 and (self._tree.was_several or n_replicas > 1)
        averaging = averaging or AveragingState(0)
        self.n_seen, self._n_bytes = n_seen, 3 * flat.nbytes  # at most two arrays of state
        self._adopt(NetworkState((flat, *states), averaging.velocity, n_seen, agrees))
        self._n_averages = averaging.n_averages
        for _ in self.submitter.attempts():
            self.membership.look()
            self.membership.welcome()
            self.membership.bring_weights()
            if not self.membership.holders:
                continue
            if not (self._is_fixed and self._moving_rate is not None):
                return
            if given(self.membership, averaging.replicas, (flat, *states)):
                self._hosts = self.membership.training.hosts()
                return

    def report(self) -> dict[str, Any]:
        """Parameters of threads as they came to be, of the first worker and the number of all."""
        threads = {
            worker: self._threads.get(worker) or self.membership.choice(member)
            for worker, member in self.membership.taking_part.items()
        }
        if not threads:
            return {}
        one = threads[min(threads)]
        layers = one.by_layer(self.membership.of_trainer.topology)
        return {
            "n_jobs": sum(each.n_threads for each in threads.values()),
            "exchange_interval": one.interval if one.way == "staleness" else None,
            "parallelism": {layer: f"{len(threads)} workers: {way}" for layer, way in layers.items()},
        }

    def close(self) -> None:
        """Have workers let go of the replicas. See `Trainer.close`."""
        on_close, self.on_close, self._trained = self.on_close, lambda: None, {}
        on_close()
