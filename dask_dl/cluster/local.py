"""A cluster of one: the verbs of a distributed training in this process, over blocks in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from dask_dl.cluster.backend import Workload
from dask_dl.cluster.clients import slot
from dask_dl.cluster.environment import describe
from dask_dl.cluster.local_trainer import LocalTrainer, ShardsTrainer
from dask_dl.cluster.machine import disk_of, memory_budget, unusable
from dask_dl.cluster.placement import fixed_shards
from dask_dl.cluster.scratch import Scratch, base, purge
from dask_dl.cluster.shard import Shard
from dask_dl.cluster.trainer import check_visits
from dask_dl.errors import ParameterError
from dask_dl.frame.blocks import candidates, encode_blocks
from dask_dl.frame.scan import scan
from dask_dl.frame.source import first_rows
from dask_dl.frame.subset import Subset, n_selected, ranks
from dask_dl.node.parallelism import choose, cores
from dask_dl.state import TrainedWeights
from dask_dl.storage import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from dask_dl.cluster.setup import Setup
    from dask_dl.frame.blocks import BlockOptions, Blocks
    from dask_dl.frame.recipe import Recipe
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.memory import Storage
    from dask_dl.node.parallelism import Parallelism, ThreadSettings


T = TypeVar("T")


class LocalBackend:
    """Keeps all rows of a table in this process; see `Backend`.

    Parameters
    ----------
    order : callable, optional
        Global row numbers of an epoch, given its number, instead of the order that the parameters ask for: for tests.
    kept : (rows to visit, inputs + hidden units) uint8, optional
        What each of them keeps, instead of what dropout draws: for tests.
    n_shards : int or None
        Fixed number of shards; None: one, of all rows.
    momentum, moving_rate : float or None
        As of `DaskBackend`, for several shards.
    n_threads : int or None
        Threads that it may use; None: as many as there are cores, or as the task that it runs in has.
    """

    is_local = True

    def __init__(
        self,
        order: Callable[[int], NDArray[np.int64]] | None = None,
        kept: NDArray[np.uint8] | None = None,
        *,
        n_shards: int | None = None,
        momentum: float | None = None,
        moving_rate: float | None = None,
        n_threads: int | None = None,
    ) -> None:
        self._n_threads = n_threads
        self.n_shards, self._momentum, self._moving_rate = n_shards, momentum, moving_rate
        self._fixed: dict[str, dict[str, tuple[int, ...]]] = {}  #: table -> shard -> blocks
        self._scratch = Scratch(base())
        self.shard = Shard(self._scratch.folder, order, kept)
        self._claim = threading.Lock()
        self._more: list[Shard] = []  #: of trainers beside the first

    def __enter__(self) -> Self:
        purge(base())
        return self

    def __exit__(self, *_: object) -> None:
        for shard in (self.shard, *self._more):
            shard.close()
        self._scratch.remove()

    @property
    def n_parts(self) -> int:
        """Threads. See `Backend.n_parts`."""
        return self._n_threads or (slot() or cores(None))[0]

    def split(self, n: int) -> list[LocalBackend]:
        """Divide the threads. See `Backend.split`."""
        n_threads = self.n_parts
        if not 1 <= n <= n_threads:
            raise ParameterError(f"{n_threads} threads cannot be divided into {n} parts.")
        return [self._with_threads(n_threads * (k + 1) // n - n_threads * k // n) for k in range(n)]

    def beside(self) -> LocalBackend:
        """Make a backend of the same rows and threads. See `Backend.beside`."""
        return self._with_threads(self._n_threads)

    def _with_threads(self, n_threads: int | None) -> LocalBackend:
        other = LocalBackend(
            n_shards=self.n_shards, momentum=self._momentum, moving_rate=self._moving_rate, n_threads=n_threads
        )
        if self.shard.tables:
            other.shard, other._fixed = self.shard.beside(), self._fixed
        return other

    def processes(self) -> dict[str, tuple[str, Any]]:
        """Return what there is to say of this process. See `Backend.processes`."""
        about = describe()
        return {"this process": (about["host"], about)}

    # ---- tables -----------------------------------------------------------------------------------------------------

    def head(self, source: Source, rows: Mapping[int, int]) -> list[Any]:
        """Read the first rows of some partitions. See `Backend.head`."""
        return [first_rows(source.read(k), n) for k, n in rows.items()]

    def scan(self, source: Source, request: ScanRequest, progress: Callable[[int, int], None] | None = None) -> Scan:
        """Read every partition once; one is in memory at a time."""
        return scan(source, request, progress)

    def choose(self, topology: Topology, optimizer: Optimizer, n_rows: int, settings: ThreadSettings) -> Parallelism:
        """Choose what the threads of this process will do.

        See `Backend.choose`.
        """
        own = self._n_threads and (self._n_threads, f"{self._n_threads} threads of this training")
        if own and settings.n_jobs is not None and settings.n_jobs > own[0]:
            settings = settings._replace(n_jobs=own[0])
        self.threads = choose(topology, optimizer, n_rows=n_rows, **settings._asdict(), available=own or slot())
        return self.threads

    def workload(self, found: Scan, validation: Scan | None) -> Workload:
        """All rows, one reader, nothing to average."""
        of_validation = validation.rows if validation else (0,)
        largest = max(found.rows), max(of_validation)
        work = Workload(found.n_rows, sum(of_validation), largest_blocks=largest)
        if self._is_whole:
            return work
        n_shards, is_elastic = self.n_shards or 1, self._moving_rate is not None
        has_velocity = not is_elastic and self._momentum != 0
        return replace(
            work, n_replicas=1 + n_shards, n_snapshot=n_shards if is_elastic else 0, has_velocity=has_velocity
        )

    @property
    def _is_whole(self) -> bool:
        """Whether there is one replica, trained on all rows."""
        return (self.n_shards or 1) == 1

    def too_small(self, peak: int) -> None:
        """Whether the process has enough memory is its user's business."""

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
        trains: bool = True,  # noqa: ARG002  # all tables are here
    ) -> int:
        """Encode a table in this process.

        See `Backend.load`.
        """
        row_ranges, self._fixed[table] = fixed_shards(found.rows, self.n_shards or 1)
        starts = np.cumsum([0, *(row_range.n for row_range in row_ranges)], dtype=np.int64)
        store = self.shard.open(table, starts, options, storage)
        encode_blocks(store, source, found, recipe, progress, row_ranges)
        self.shard.cut(table, options.sample.cut([candidates(store)]))
        return store.n_used

    def budget(self, source: Source) -> Budget:
        """Budget of this process on the machine."""
        memory, of = memory_budget()
        disk = disk_of(base())

        def no_stream() -> str | None:
            if source.lazy is None:
                return None
            from dask_dl.cluster.partitions import Partitions  # which takes half a second to import

            return Partitions(source.lazy).shares_work()

        return Budget(memory, of, disk.free, disk.folder, unusable(disk), no_stream)

    def fingerprint(self, table: str) -> list[int]:
        """See `Blocks.fingerprint`."""
        return self.shard.tables[table].fingerprint()

    def over(self, table: str, function: Callable[[Blocks], T]) -> list[T]:
        """Call the function with all blocks. See `Backend.over`."""
        return [function(self.shard.tables[table])]

    def trainer(
        self,
        setup: Setup,
        weights: TrainedWeights,
        on_change: Callable[[Parallelism], None],
    ) -> LocalTrainer:
        """Make a trainer of one replica, which has all rows, or of a replica for every fixed shard.

        See `Backend.trainer`.
        """
        store, view = self.shard.tables[setup.table], setup.view
        if not view.has_all:
            setup = replace(setup, starts=ranks(n_selected(store, view), len(store.starts) - 1))
        setup = replace(setup, n_shards=self.n_shards or 1)
        check_visits(sum(Subset(store, view, starts=setup.starts).n_visits().values()), view)
        with self._claim:
            shard = self.shard
            if shard.replica is not None:  # of another trainer
                shard = shard.beside()
                self._more = [other for other in self._more if other.replica is not None] + [shard]
            shard.start(setup, weights.flat, weights.states, weights.n_seen, self.threads, on_change)
        if self._is_whole:
            return LocalTrainer(shard)
        trainer = ShardsTrainer(shard, self._fixed, self._momentum, self._moving_rate)
        trainer.restore(TrainedWeights(*shard.weights(), weights.n_seen, weights.averaging))
        return trainer
