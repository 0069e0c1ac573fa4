"""Interface of a backend: this process (`LocalBackend`), or a Dask cluster (`DaskBackend`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.setup import Setup
    from dask_dl.cluster.trainer import Trainer
    from dask_dl.frame.blocks import BlockOptions, Blocks
    from dask_dl.frame.recipe import Recipe
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.memory import Storage
    from dask_dl.node.parallelism import Parallelism, ThreadSettings
    from dask_dl.state import TrainedWeights
    from dask_dl.storage import Budget


T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """Work of the process that has most of it, for the estimate of its memory."""

    n_rows: int  #: of the training table that it holds
    n_validation: int  #: of the validation table
    n_readers: int = 1  #: partitions that it reads at a time
    share: float = 1.0  #: of the rows to score on
    largest_blocks: tuple[int, int] = (0, 0)  #: rows of the largest block of either table
    n_replicas: int = 1  #: networks that learn or keep an average: of every fixed shard one, and the average
    n_snapshot: int = 0  #: replicas of elastic averaging that a snapshot holds, where it is kept in this process
    has_velocity: bool = False  #: whether it, and the process, hold a momentum of averages
    n_kept: int | None = None  #: networks beside its own that it may hold; None: what a process on its own keeps


class Reporter(Protocol):
    """Listeners of a training, as a backend knows them; `events.Listeners` are some."""

    def say(self, text: str, /) -> None:
        """Report in a line what happens."""

    def warn(self, text: str, kind: str = "", /) -> None:
        """Warn the user, once, and report that."""


class Backend(Protocol):
    """Scans and encodes tables, and makes trainers on them; a training calls the methods in this order.

    A context manager: what it left behind elsewhere is gone at its end.
    """

    #: Number of shards, whatever there are of processes, threads and partitions; None: one for every process.
    n_shards: int | None

    @property
    def is_local(self) -> bool:
        """Whether rows and weights are in this process."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def n_parts(self) -> int:
        """Parts into which it can be divided, at most."""

    def split(self, n: int) -> Sequence[Backend]:
        """Divide what there is among n backends, which share no thread: for trainings side by side.

        Each of them is opened and closed by itself, and has all rows that were loaded before (see `beside`); else each is
        loaded by itself. This one trains nothing meanwhile. Raises ParameterError or ClusterError when there is not enough.
        """

    def beside(self) -> Backend:
        """Make a backend of the same rows, for a training beside those of this one; it is opened and closed by itself.

        Rows are in a process once, however many backends use them there. This one stays open meanwhile.
        """

    def processes(self) -> Mapping[str, tuple[str, Any]]:
        """Host of every process by address, and its `environment.describe()` or the error that it raised there."""

    def head(self, source: Source, rows: Mapping[int, int]) -> list[Any]:
        """Read the first rows of some partitions: partition -> how many of them."""

    def scan(self, source: Source, request: ScanRequest, progress: Callable[[int, int], None] | None = None) -> Scan:
        """Read every partition once."""

    def choose(self, topology: Topology, optimizer: Optimizer, n_rows: int, settings: ThreadSettings) -> Parallelism:
        """Choose what the threads of a process will do with a table.

        Parameters
        ----------
        topology : Topology
            Sizes of the network.
        optimizer : Optimizer
            Settings of the training.
        n_rows : int
            Rows of the training table that count.
        settings : ThreadSettings
            What the parameters say.

        Returns
        -------
        Parallelism
            The choice; on a cluster that of the worker with most threads.
        """

    def workload(self, found: Scan, validation: Scan | None) -> Workload:
        """How much of the work the busiest process will get."""

    def budget(self, source: Source) -> Budget:
        """Memory and disk of that process, and whether the table can be read again and again."""

    def too_small(self, peak: int) -> str | None:
        """Warning text if a process has less memory than the busiest one may need, else None."""

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
        """Encode a table.

        Parameters
        ----------
        table : str
            Key by which it is known from now on.
        source : Source
            The table, whose partitions are read a second time.
        found : Scan
            Result of the scan of this table.
        recipe : Recipe
            How its partitions become blocks.
        options : BlockOptions
            What is kept of the blocks beside their rows: samples, checksums, groups.
        storage : Storage
            Where encoded rows are kept.
        progress : callable, optional
            Called with the number of partitions that are encoded, and of all.
        trains : bool
            Whether it is trained on; else it is only scored.

        Returns
        -------
        int
            Rows that count.

        Raises
        ------
        StorageError
        """

    def fingerprint(self, table: str) -> list[int]:
        """See `Blocks.fingerprint`."""

    def over(self, table: str, function: Callable[[Blocks], T]) -> list[T]:
        """Call a function with the blocks of a table, shard by shard; it can be pickled, and returns what is small."""

    def trainer(
        self,
        setup: Setup,
        weights: TrainedWeights,
        on_change: Callable[[Parallelism], None],
    ) -> Trainer:
        """Make a trainer of the tables that were loaded, which begins, or goes on, with given weights.

        Any number of trainers learn from the same rows, in turns or at the same time, and know nothing of each other.

        Parameters
        ----------
        setup : Setup
            Everything that every shard has to know of the training.
        weights : TrainedWeights
            Weights, and all that goes with them.
        on_change : callable
            Called with the new `Parallelism` when threads do something else from now on.

        Returns
        -------
        Trainer
        """
