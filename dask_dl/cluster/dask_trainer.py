"""Rounds of a training on a Dask cluster, seen from the client."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.cluster import handover, round_tasks
from dask_dl.cluster.averaging import Contribution, combined, momentum_of
from dask_dl.cluster.handover import NetworkState
from dask_dl.cluster.placement import apportioned
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.stragglers import in_time, stop
from dask_dl.cluster.submit import TaskSpec
from dask_dl.errors import Aborted, DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.cluster.membership import Membership
    from dask_dl.cluster.shard import RoundSettings
    from dask_dl.cluster.tables import Table
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.node.parallelism import Parallelism

#: Minimum time, in seconds, before a live worker that has not finished its part of a round is abandoned.
LONGEST = 3600.0
#: When half of the workers have ended their share, the others get until so many times that long since the round began.
AS_LONG_AGAIN = 2.0
#: Replicas that are averaged in one task, and workers that fetch the average from one worker.
FAN = 8


class DaskTrainer:
    """Trains a replica on each worker that has rows; see `Trainer`.

    Parameters
    ----------
    membership : Membership
        The workers and the tables that they hold.
    cuts : mapping of str to int or None
        Largest key of the sample of each table.
    momentum, moving_rate, by_clock, say : object
        As of `DaskBackend`.
    on_change : callable
        As of `Backend.trainer`.
    """

    is_local = False

    def __init__(
        self,
        membership: Membership,
        cuts: Mapping[str, int | None],
        *,
        momentum: float | None,
        moving_rate: float | None,
        by_clock: bool,
        say: Callable[[str], None],
        on_change: Callable[[Parallelism], None],
    ) -> None:
        self.membership, self.submitter, self._cuts = membership, membership.submitter, cuts
        self._momentum, self._moving_rate, self._by_clock = momentum, moving_rate, by_clock
        self._say, self._on_change = say, on_change
        self.n_seen = 0
        self.n_rows = sum(membership.training.n_visits.values())
        self._was_several = False  #: whether there was ever more than one replica: a consensus with oneself is none
        self.busy_seconds = 0.0
        self._outer = 0.0  #: momentum of this round
        self._n_averages = 0  #: since the weights were given
        #: Worker -> what it contributes to the average: a future or, where it was closed, what it handed over.
        self._trained: dict[str, Any] = {}
        self._round = 0  #: version of the weights with which the round began
        self._n_bytes = 0  #: of the network with its optimizer state
        self._received: dict[str, Any] = {}  #: worker -> future: it goes on from the average
        self._places: dict[
            str, tuple[int, int]
        ] = {}  #: worker -> mark of its blocks, and how far it has come in their stream
        self._begun: dict[str, tuple[int, int]] = {}  #: the same, of this round's beginning
        self._threads: dict[str, Parallelism] = {}
        self._told: set[str] = set()  #: workers that were told to end this round
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
        """Workers that train."""
        return max(1, len(self.membership.training.workers()))

    @property
    def n_copies(self) -> int:
        """Workers that train all rows."""
        return self.n_replicas if self.membership.training.placement == "replicated" else 1

    def compile(self) -> None:
        """Workers have compiled when they began to take part."""

    def train(self, n: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None) -> None:
        """A round: every worker trains its share of the next `n` rows, from the same weights."""
        self._trained, self._received = {}, {}
        if on_rows is not None:  # there may be no worker to train, and an end in sight
            self.submitter.on_wait = lambda: on_rows(0)
        try:
            self.membership.settle()
        finally:
            self.submitter.on_wait = lambda: None
        table = self.membership.training
        workers = table.workers()
        rows = self._shares(table, workers)
        starts, stops = apportioned(self.n_seen, rows), apportioned(self.n_seen + n, rows)
        busy = {w: stop - start for w, start, stop in zip(workers, starts, stops, strict=True) if stop > start}
        begun = self._beginnings(table, workers, starts)
        self._begun = {worker: begun[worker] for worker in busy}
        momentum = momentum_of(len(busy), self._n_averages) if self._momentum is None else self._momentum
        self._outer = momentum if len(busy) > 1 and self._moving_rate is None else 0.0
        self._was_several |= len(busy) > 1
        job, version, remembers = self.membership.job, self.membership.version, self._outer > 0
        self._round = version
        self.membership.inbox.is_wanted = self._n_bytes * len(workers) <= handover.MAX_BYTES
        more = remembers, self.membership.inbox.is_wanted, settings
        calls = {
            worker: TaskSpec(
                round_tasks.train, (job, version, table.name, holdings_hash, place, place + busy[worker], *more)
            )
            for worker, (holdings_hash, place) in self._begun.items()
        }
        limit = max(LONGEST, 20 * n / self._speed) if self._speed else math.inf
        patience = AS_LONG_AGAIN if self._by_clock else math.inf
        began, futures = time.monotonic(), {}
        try:
            for worker, call in calls.items():
                futures[worker] = self.submitter.submit("train", worker, call.function, *call.arguments)
            lost, self._told = in_time(
                self.submitter, futures, version, lambda: on_rows and on_rows(0), limit=limit, patience=patience
            )
        except BaseException as error:
            self._break_off(futures, error)
            raise
        self._accept(futures, lost)
        self._speed = n / (time.monotonic() - began)
        if on_rows is not None:  # workers that were told to end have trained some of theirs; how many is not known yet
            on_rows(sum(share for worker, share in busy.items() if worker not in lost and worker not in self._told))

    def _beginnings(self, table: Table, workers: Sequence[str], starts: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Where each worker goes on in the stream of its rows: where it ended, so that a straggler leaves none out.

        With other blocks than before, where it would be if it had always had them. Those who all have all rows begin at
        different places of one stream: what they visit together is an epoch.
        """
        begun, offset = {}, 0
        shares = apportioned(self.n_rows, self._shares(table, workers))
        for worker, start, share in zip(workers, starts, shares, strict=True):
            holdings_hash = table.holdings_hash(worker)
            known, place = self._places.get(worker, (None, 0))
            begun[worker] = holdings_hash, place if known == holdings_hash else start + offset
            offset += share if table.placement == "replicated" else 0
        return begun

    def _shares(self, table: Table, workers: Sequence[str]) -> list[int]:
        """By what a round is divided: the rows that workers have or, where all have all, how fast they are."""
        if table.placement != "replicated" or not self._by_clock:
            return [table.n_visits_of(worker) for worker in workers]
        strengths = self.membership.strengths()
        maximum = max(strengths[worker] for worker in workers)
        return [max(1, round(1000 * strengths[worker] / maximum)) for worker in workers]

    def _accept(self, futures: Mapping[str, Any], lost: set[str]) -> None:
        """Keep what was trained for the average; rows of the lost count as not learned, so that they are made up for."""
        self._trained = {worker: future for worker, future in futures.items() if worker not in lost}
        self.membership.lose(lost, "was lost in a round")
        self._trained |= self._handed_over(lost)
        self._places = {
            worker: place for worker, place in self._places.items() if worker in self.membership.taking_part
        }

    def _break_off(self, futures: Mapping[str, Any], error: BaseException) -> None:
        """A round that is interrupted ends between two rows, one that diverged for good."""
        try:
            lost = stop(self.submitter, futures, self.membership.version)
        except KeyboardInterrupt as interrupt:
            raise Aborted from interrupt
        except DivergedError:
            lost = set(futures)
        if not isinstance(error, Exception):
            self._accept(futures, lost)

    def average(self) -> None:
        """A tree of averages on the workers, and all of them go on from its root."""
        if self.membership.liveness.leaving:
            self.membership.look()
        for _ in self.submitter.attempts():
            if not self._trained:
                return
            if not self.membership.taking_part:
                self._inherit()
                return
            try:
                if not self._received:
                    self._send_average()
                reports, lost = self._reports()
            except GoneError:
                reports, lost = {}, set()
            self._received = {}
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
            gone = {
                w for w, part in self._trained.items() if not (w in self._there() or isinstance(part, Contribution))
            }
            self._trained = {worker: part for worker, part in self._trained.items() if worker not in gone}
            self._trained |= self._handed_over(gone)

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
        agrees = self._moving_rate is not None and self._was_several
        given = NetworkState(mean.vectors, None, self.n_seen + mean.n_rows, agrees)
        if self.membership.version > self._round:  # that of the average
            averages = [
                left.network for left in self.membership.handed_over(futures) if left.version == self.membership.version
            ]
            given = averages[0] if averages else given
        self._trained = {}
        if given.n_seen > self.n_seen:
            self.n_seen = given.n_seen
            self._adopt(given)

    def _adopt(self, given: NetworkState) -> None:
        """Go on from a network that is here; the outer momentum begins anew."""
        self._trained, self._received, self._places, self._n_averages = {}, {}, {}, 0
        self.membership.adopt(given)

    def _reports(self) -> tuple[dict[str, round_tasks.Report], set[str]]:
        """Reports of the workers that go on from the average, and those that were lost."""
        holders = [worker for worker, part in self._trained.items() if not isinstance(part, Contribution)]
        lost = self.submitter.wait(self._received, also=holders)
        reports, lost = self.submitter.results(self._received, lost)
        return reports or self._confirmed(), lost

    def _confirmed(self) -> dict[str, round_tasks.Report]:
        """Reports of workers that went on from the average before it was known that others could not."""
        self.membership.look()
        calls = {
            w: TaskSpec(round_tasks.confirm, (self.membership.job, self.membership.version))
            for w in self.membership.taking_part
        }
        return {
            worker: report for worker, report in self.submitter.run("confirm", calls)[0].items() if report is not None
        }

    def _send_average(self) -> None:
        """Submit the tree, and what workers do with its root; an interrupt in between leaves what may be waited for.

        Every attempt has a version of its own, so that none is mistaken for another.
        """
        self.membership.version += 1
        self.membership.holders = set()
        layer = [self._placed(worker, part) for worker, part in sorted(self._trained.items())]
        outer = self._outer if len(layer) > 1 else 0.0  # the mean of one is its own arrays
        while len(layer) > 1:
            groups = [layer[k : k + FAN] for k in range(0, len(layer), FAN)]
            layer = [
                (
                    group[0][0],
                    self.submitter.submit("average", group[0][0], round_tasks.average, *(f for _, f in group)),
                )
                for group in groups
            ]
        ((_, mean),) = layer
        moving_rate = self._moving_rate if self._was_several else None
        sent: list[Any] = []
        for k, worker in enumerate(sorted(self.membership.taking_part)):
            # The first few fetch it from the root, every other one when a worker before it has a copy too.
            after = sent[k // FAN - 1] if k >= FAN else None
            arguments = (mean, self.membership.job, self.membership.version, outer, moving_rate, self.n_seen, after)
            sent.append(self.submitter.submit("receive", worker, round_tasks.receive, *arguments))
            self._received[worker] = sent[-1]

    def _placed(self, worker: str, part: Any) -> tuple[str, Any]:
        """A worker that can average a contribution, and its future. Raises GoneError."""
        place = worker if worker in self.membership.taking_part else min(self.membership.taking_part)
        return place, self.submitter.send(part, place) if isinstance(part, Contribution) else part

    def _note(self, reports: Mapping[str, round_tasks.Report]) -> None:
        report = reports[min(reports)]
        self.n_seen = report.n_seen
        self.busy_seconds = max((reports[worker].seconds for worker in self._begun if worker in reports), default=0.0)
        for worker, (holdings_hash, place) in self._begun.items():
            if worker in reports:
                self._places[worker] = holdings_hash, place + reports[worker].n_trained
                if self._by_clock:
                    self.membership.clock(worker, reports[worker].n_trained, reports[worker].seconds)
        self.membership.level(self.membership.training)
        for worker, other in reports.items():
            before = self._threads.get(worker)
            self._threads[worker] = other.threads
            if before is not None and before != other.threads:
                self._on_change(other.threads)
        for failure in (other.failure for other in reports.values() if other.failure is not None):
            raise failure  # with what was learned before it in the average
        if report.unsound is not None:
            raise DivergedError(
                f"{report.unsound} after {self.n_seen:,} rows. Lower `rate` or use adaptive_rate=True, turn `standardize` on, "
                f"use activation='tanh', add l1 or l2, or start from smaller weights."
            )

    def measure(self, table: str) -> Measurement:
        """Measure on the workers, each on its rows of the sample; what they found is merged here."""
        parts = self.membership.of_holders(
            "score",
            table,
            lambda holdings_hash: TaskSpec(
                round_tasks.measure,
                (self.membership.job, self.membership.version, table, holdings_hash, self._cuts[table]),
            ),
        )
        total: Measurement | None = None
        for part in parts:
            if part is not None:
                total = part if total is None else total.merge(part)
        assert total is not None, "fit has seen that there are rows that count"
        return total

    def weights(self) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
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
        flat, *states = (
            np.require(vector, requirements="W") for vector in (network or self.membership.find_kept()).vectors
        )
        return flat, tuple(states)

    snapshot = weights

    def restore(self, flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]], n_seen: int) -> None:
        """Give all workers these weights. Raises NoWorkersError."""
        several = self._was_several or len(self.membership.liveness.alive) > 1
        agrees = self._moving_rate is not None and n_seen > 0 and several
        self.n_seen, self._n_bytes = n_seen, 3 * flat.nbytes  # at most two arrays of state
        self._adopt(NetworkState((flat, *states), None, n_seen, agrees))
        for _ in self.submitter.attempts():
            self.membership.look()
            self.membership.welcome()
            self.membership.bring_weights()
            if self.membership.holders:
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
        layers = one.by_layer(self.membership.setup.topology)
        return {
            "n_jobs": sum(each.n_threads for each in threads.values()),
            "exchange_interval": one.interval if one.way == "staleness" else None,
            "parallelism": {layer: f"{len(threads)} workers: {way}" for layer, way in layers.items()},
        }
