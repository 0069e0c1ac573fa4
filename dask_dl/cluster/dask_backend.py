"""Tables of trainings on the workers of a Dask cluster, seen from the client."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import dask

from dask_dl.cluster import capacity, table_tasks
from dask_dl.cluster.averaging import FAN
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.division import Division
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.membership import Membership
from dask_dl.cluster.placement import fixed_shards, row_ranges_of
from dask_dl.cluster.submit import TaskSpec
from dask_dl.cluster.table_scan import scan_on
from dask_dl.cluster.tables import Table
from dask_dl.cluster.trainer import check_visits
from dask_dl.cluster.worker_memory import check_partitions
from dask_dl.errors import ClusterError, ReplicasLostError
from dask_dl.frame.blocks import added
from dask_dl.frame.source import first_rows
from dask_dl.frame.subset import ranks
from dask_dl.node.parallelism import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_dl.cluster.backend import Reporter, Workload
    from dask_dl.cluster.liveness import Member
    from dask_dl.cluster.placement import RowRange
    from dask_dl.cluster.setup import Setup
    from dask_dl.frame.blocks import BlockOptions, Blocks
    from dask_dl.frame.recipe import Recipe
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.scored_sample import Candidates, Cut
    from dask_dl.frame.source import Source
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.memory import Storage
    from dask_dl.node.parallelism import Parallelism, ThreadSettings
    from dask_dl.state import TrainedWeights
    from dask_dl.storage import Budget


T = TypeVar("T")


def copies_of(n_workers: int) -> int:
    """Networks that a worker may hold beside its own.

    The last average and its velocity; what is averaged, and what comes of it. Of one worker: a copy on its way to the driver.
    """
    return 2 + min(FAN, n_workers) + 1 if n_workers > 1 else 2


class DaskBackend:
    """Keeps the rows of tables on the workers of a Dask cluster; see `Backend`.

    Parameters
    ----------
    client : distributed.Client
        Synchronous, or asynchronous with this on another thread than its event loop.
    momentum : float or None
        Outer momentum of the averages; None: by the number of replicas.
    moving_rate : float or None
        Of the consensus of elastic averaging, which has no momentum; None: replicas go on from their average.
    timeout : float
        Seconds to wait for a worker when there is none.
    tell : Reporter
        Told of whatever happens to workers.
    placement : {"sharded", "replicated", "single"}
        Whether every row is on one worker, on every one, or all on the same.
    n_shards : int or None
        Fixed number of shards; None: one for every worker or, where nothing is decided by the clock, as many as there are
        workers when the tables are read.
    balances : bool
        Whether partitions are cut where workers would have too few.
    by_clock : bool
        Whether what was measured decides who trains what, and who is waited for; else nothing depends on it.
    cancelled : callable
        Asked while tables are read; True ends that by a ClusterError. The rounds ask for themselves.
    strict, chosen : object
        See `Membership`.
    lender : DaskBackend, optional
        Open one with the rows to train on.
    on_close : callable
        Called when it is closed.
    """

    is_local = False

    def __init__(
        self,
        client: Any,
        *,
        momentum: float | None,
        timeout: float,
        tell: Reporter,
        moving_rate: float | None = None,
        placement: str = "sharded",
        n_shards: int | None = None,
        balances: bool = True,
        by_clock: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
        strict: bool = True,
        chosen: Callable[[Iterable[str]], set[str]] | None = None,
        lender: DaskBackend | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._like = partial(
            DaskBackend, client, momentum=momentum, timeout=timeout, tell=tell, moving_rate=moving_rate,
            placement=placement, n_shards=n_shards, balances=balances, by_clock=by_clock, cancelled=cancelled, strict=strict,
        )  # fmt: skip
        self._chosen = chosen
        self._lender, self._on_close = lender, on_close
        self._claim = threading.Lock()
        self._beside: list[DaskBackend] = []  #: of trainers beside the first
        self.membership = Membership(client, timeout, tell, strict=strict, chosen=chosen or set)
        self._tell, self._placement, self._balances, self._by_clock = tell, placement, balances, by_clock
        self.submitter = self.membership.submitter
        self.submitter.on_wait = self._unless_cancelled
        self._cancelled = cancelled
        self._momentum, self._moving_rate, self.n_shards = momentum, moving_rate, n_shards

    def __enter__(self) -> Self:
        self.membership.__enter__()
        if self._lender is not None:
            for name, table in self._lender.membership.tables.items():
                self.membership.tables[name] = table.beside(self.membership)
        return self

    def __exit__(self, *_: object) -> None:
        for other in self._beside:
            other.__exit__()
        self._beside.clear()
        self.membership.__exit__()
        self._on_close()

    @property
    def n_parts(self) -> int:
        """Workers. See `Backend.n_parts`."""
        return len(Liveness(self._client, self._tell.say).look())

    def split(self, n: int) -> list[DaskBackend]:
        """Divide the workers; a newcomer joins the part that has fewest. See `Backend.split`."""
        n_workers = self.n_parts
        if not 1 <= n <= n_workers:
            raise ClusterError(f"{n_workers} workers cannot be divided into {n} parts.")
        return [self._borrowing(part.choose, part.close) for part in Division(n).parts()]

    def beside(self) -> DaskBackend:
        """Make a backend of the same workers. See `Backend.beside`."""
        return self._borrowing(self._chosen)

    def _borrowing(
        self, chosen: Callable[[Iterable[str]], set[str]] | None, on_close: Callable[[], None] = lambda: None
    ) -> DaskBackend:
        like = partial(self._like, chosen=chosen, on_close=on_close)
        return like(n_shards=self.n_shards, lender=self) if self.membership.tables else like()

    def _unless_cancelled(self) -> None:
        if self._cancelled():
            raise ClusterError("the training was cancelled before it began.")

    def processes(self) -> dict[str, tuple[str, Any]]:
        """Every worker's host and what it says of itself. See `Backend.processes`."""
        admission = self.membership.admission
        return {worker: (admission.hosts[worker], answer) for worker, answer in admission.answered.items()}

    # ---- tables -----------------------------------------------------------------------------------------------------

    def head(self, source: Source, rows: Mapping[int, int]) -> list[Any]:
        """Read the first rows of some partitions, where they lie. See `Backend.head`."""
        if source.lazy is None:
            return [first_rows(source.read(k), n) for k, n in rows.items()]
        first = dask.delayed(first_rows, pure=False)
        tasks = [first(source.lazy[k], n, dask_key_name=self.submitter.key("head")) for k, n in rows.items()]
        futures = self.submitter.compute(tasks, self._able())
        parts = [self.submitter.wait_anywhere(future, lambda: None, lambda error: error) for future in futures]
        self.submitter.sweep()
        return parts

    def _able(self) -> list[str] | None:
        """Workers that can do the work, where some cannot, or others are none of ours."""
        admission = self.membership.admission
        if self._chosen is not None:
            return sorted(admission.facts.keys() & self.membership.liveness.alive.keys()) or None
        return sorted(admission.facts) if admission.refused else None

    def scan(self, source: Source, request: ScanRequest, progress: Callable[[int, int], None] | None = None) -> Scan:
        """Read every partition once, where it lies; what was found is merged there too."""
        check_partitions(self.membership.liveness.alive, source, self._tell.warn)
        found = scan_on(self.submitter, source, request, progress, self._able())
        self.submitter.sweep()
        return found

    def choose(self, topology: Topology, optimizer: Optimizer, n_rows: int, settings: ThreadSettings) -> Parallelism:
        """Choose what the threads of the strongest worker will do: each trains with its own, no more than its cores.

        See `Backend.choose`.
        """
        self._chosen_for = topology, optimizer, n_rows, settings
        self._n_fixed()

        def choice(member: Member) -> Parallelism:
            n = member.n_threads
            what = f"a worker of {n} threads" if n > 1 else "a worker of one thread"
            n_cores = self.membership.admission.facts[member.address]["cores"]
            if n_cores < n:
                n, what = n_cores, f"{what} on {n_cores} cores"
            asked = settings.n_jobs
            here = settings._replace(n_jobs=None if asked is None else min(asked, n))
            share = int(n_rows * self._share(member))
            return choose(topology, optimizer, n_rows=share, **here._asdict(), available=(n, what))

        self.membership.choice = choice
        return max(
            (choice(member) for member in self.membership.usable().values()), key=lambda threads: threads.n_threads
        )

    def _n_slots(self) -> int:
        return capacity.slots(self.membership.liveness.alive or self.membership.usable())

    def _share(self, member: Member) -> float:
        """Share of the training table that a worker gets, by threads."""
        return member.n_threads / self._n_slots() if self._placement == "sharded" else 1.0

    def _row_ranges(self, scanned: Scan) -> list[RowRange]:
        """The blocks of a table: its partitions, cut where not every thread would have rows, or where shards are fixed."""
        if n_shards := self._n_fixed():
            return fixed_shards(scanned.rows, n_shards)[0]
        n_threads = self._n_slots() if self._balances and len(self.membership.liveness.alive) > 1 else 0
        return row_ranges_of(scanned.rows, n_threads)

    def _n_fixed(self) -> int | None:
        """Fixed number of shards, if it is fixed: from the first question on by the workers that are there."""
        if self.n_shards is None and not self._by_clock:
            self.n_shards = len(self.membership.usable())
        return self.n_shards

    def workload(self, found: Scan, validation: Scan | None) -> Workload:
        """The share of the strongest worker, and a block more."""
        row_ranges = [self._row_ranges(scanned) if scanned else [] for scanned in (found, validation)]
        workers = self.membership.usable()
        n_kept = copies_of(len(workers)) + (self._moving_rate is not None)  # and the consensus
        work = capacity.workload(workers, row_ranges, n_kept, shares=self._placement == "sharded")
        if n_shards := self._n_fixed():
            n_hosted = math.ceil(n_shards * work.share)
            n_kept += n_hosted if self._moving_rate is not None else 0  # copies of replicas on their way to the driver
            n_rows, n_validation = (
                min(n, math.ceil(n * n_hosted / n_shards) + largest)
                for n, largest in zip(
                    (found.n_rows, validation.n_rows if validation else 0), work.largest_blocks, strict=True
                )
            )
            return replace(
                work,
                n_rows=n_rows,
                n_validation=n_validation,
                share=n_hosted / n_shards,
                n_replicas=1 + n_hosted,
                n_kept=n_kept,
            )
        return work

    def budget(self, source: Source) -> Budget:
        """Budget of the worker that has least."""
        return capacity.budget(self.membership.usable(), self.membership.admission.facts, source)

    def too_small(self, peak: int) -> str | None:
        """Whether workers have less than the busiest one may need."""
        return capacity.too_small(self.membership.usable(), peak)

    def load(
        self,
        table: str,
        source: Source,
        found: Scan,
        recipe: Recipe,
        options: BlockOptions,
        storage: Storage,
        progress: Callable[[int, int], None] | None = None,
        *,
        trains: bool = True,
    ) -> int:
        """Encode a table on the workers.

        See `Backend.load`.
        """
        row_ranges, placement = self._row_ranges(found), self._placement if trains else "sharded"
        n_shards = self._n_fixed()
        shards = fixed_shards(found.rows, n_shards)[1] if n_shards else None
        new = Table(self.membership, table, source, found, recipe, options, storage, placement, row_ranges, shards)
        if len(row_ranges) > source.n_partitions:
            self._tell.say(
                f"{source.label}: {source.n_partitions:,} partitions are cut into {len(row_ranges):,} blocks"
            )
        new.fill(self.membership.strengths, progress)
        self.membership.tables[table] = new
        self.submitter.sweep()
        if trains:
            self._report_idle(new, source)
        return sum(new.n_used.values())

    def _report_idle(self, table: Table, source: Source) -> None:
        """Workers may have nothing to do, and their user should know."""
        n, n_busy = len(self.membership.strengths()), len(set(table.hosts().values()))
        if table.placement != "sharded":
            self._tell.say(f"{source.label} is whole on {n_busy} of {n} workers")
        elif n_busy < n:
            hint = "" if self._balances else " Cut it into more of them, or use force_load_balance=True."
            parts = f"{len(table.row_ranges)} blocks.{hint}"
            if table.shards is not None:
                parts = f"n_shards={len(table.shards)}. Raise n_shards, which gives other bits, or use fewer workers."
            self._tell.warn(f"{n - n_busy} of {n} workers have no rows of {source.label}: it has {parts}")

    def fingerprint(self, table: str) -> list[int]:
        """The sum of those of all blocks."""
        job = self.membership.job
        parts = self.membership.of_shards(
            "fingerprint", table, lambda rows: TaskSpec(table_tasks.fingerprint, (job, rows))
        )
        return added(parts)

    # ---- training ---------------------------------------------------------------------------------------------------

    def over(self, table: str, function: Callable[[Blocks], T]) -> list[T]:
        """Call the function on workers. See `Backend.over`."""
        job = self.membership.job
        return self.membership.of_shards("count", table, lambda rows: TaskSpec(table_tasks.over, (job, rows, function)))

    def trainer(
        self,
        setup: Setup,
        weights: TrainedWeights,
        on_change: Callable[[Parallelism], None],
    ) -> DaskTrainer:
        """Get all workers ready, and give them these weights.

        See `Backend.trainer`.
        """
        with self._claim:
            is_first, self.membership.is_training = not self.membership.is_training, True
        if not is_first:
            return self._trainer_beside(setup, weights, on_change)
        try:
            return self._trainer(setup, weights, on_change)
        except BaseException:
            self.membership.is_training = False
            raise

    def _trainer_beside(self, *arguments: Any) -> DaskTrainer:
        """A trainer beside the others: it has a job of its own, which borrows the blocks of this one."""
        other = self.beside()

        def leave() -> None:
            self._beside.remove(other)
            other.__exit__()

        self._beside.append(other.__enter__())
        try:
            other.choose(*self._chosen_for)
            trainer = other.trainer(*arguments)
        except BaseException:
            leave()
            raise
        trainer.on_close = leave
        return trainer

    def _trainer(self, setup: Setup, weights: TrainedWeights, on_change: Callable[[Parallelism], None]) -> DaskTrainer:
        """See `Backend.trainer`."""
        self.submitter.on_wait = lambda: None
        self.membership.begin(setup)
        if self._lender is not None:  # which has levelled them
            self.membership.moves.stay()
        self.membership.setup = setup = self._counted(setup)
        cuts: dict[str, Cut | None] = {}
        trainer = DaskTrainer(
            self.membership,
            cuts,
            momentum=self._momentum,
            moving_rate=self._moving_rate,
            by_clock=self._by_clock,
            say=self._tell.say,
            on_change=on_change,
            on_close=self.membership.end,
        )
        for _ in self.submitter.attempts():
            with contextlib.suppress(
                ReplicasLostError
            ):  # by workers that had not what they should have: the weights are here
                # First, since workers that had the weights of an earlier trainer may be gone.
                trainer.restore(weights)
                for key in {view.table for view in (setup.view, *setup.scored.values())}:
                    cuts[key] = self.membership.tables[key].options.sample.cut(self._candidates(key))
                break
        return trainer

    def _counted(self, setup: Setup) -> Setup:
        """Have workers count the rows that a view selects, and the visits to them. Raises ParameterError if there are none."""
        view, table, job = setup.view, self.membership.tables[setup.table], self.membership.job
        setup = replace(setup, n_shards=self._n_fixed() or 1)
        table.n_visits, starts = dict(table.n_used), table.starts
        if not view.has_all:
            found = self.membership.of_shards(
                "count", setup.table, lambda rows: TaskSpec(table_tasks.selected, (job, rows, view))
            )
            starts = ranks({k: n for part in found for k, n in part.items()}, len(table.row_ranges))
            setup = replace(setup, starts=starts)
        if view.balance is not None or not view.has_all:
            found = self.membership.of_shards(
                "count", setup.table, lambda rows: TaskSpec(table_tasks.visits, (job, rows, view, starts))
            )
            table.n_visits = dict.fromkeys(table.n_used, 0) | {k: n for part in found for k, n in part.items()}
        check_visits(sum(table.n_visits.values()), view)
        return setup

    def _candidates(self, table: str) -> list[Candidates]:
        job = self.membership.job
        return self.membership.of_shards("sample", table, lambda rows: TaskSpec(table_tasks.candidates_of, (job, rows)))
