"""Memory of workers that is too small for what they read: seen before it is read, or when Dask has ended them for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT

from dask_dl import memory
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.machine import memory_budget
from dask_dl.errors import WorkerMemoryError
from dask_dl.frame.partition_size import DEFAULT_SIZE, MIN_SIZE, MORE_MEMORY, largest_known, remedies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_dl.cluster.liveness import Member
    from dask_dl.frame.source import Source

#: Topic under which nannies tell the scheduler that they have restarted a worker because of its memory.
RESTARTED = "worker-restart-memory"
#: So many such restarts while a table is read end the reading, as Dask gives a task up after so many workers died of it.
MAX_RESTARTS = 4


def check_partitions(liveness: Mapping[str, Member], source: Source, warn: Callable[[str], None]) -> None:
    """Compare the largest partition that is known before it is read with the memory of the smallest worker.

    Warns when the partition may not fit. Raises WorkerMemoryError when no worker can read it.
    """
    limited = [member for member in liveness.values() if member.memory_limit]
    if source.lazy is None or not limited:
        return
    member = min(limited, key=lambda member: largest_partition(member, len(source.predictors)))
    known = largest_known(source.lazy)
    fits = largest_partition(member, len(source.predictors))
    if known is None and fits:
        return
    if known is None:
        text = (
            f"worker {member.address} may take {allowed(member)}, of which imports alone take up to "
            f"{memory.size(memory.IMPORTS)}: {MORE_MEMORY}."
        )
        warn(text)
        return
    if known.n_bytes <= fits:
        return
    reading = memory.IMPORTS + memory.reading(
        member.n_threads * known.n_bytes, member.n_threads * len(source.predictors)
    )
    text = (
        f"partition {known.partition} of {source.label} takes {memory.size(known.n_bytes)} in memory, and worker "
        f"{member.address} may take {allowed(member)}: with imports, and a partition for each of {member.n_threads} threads, "
        f"scanning and encoding need up to {memory.size(reading)}. {remedies(fits)}"
    )
    if all(one.has_nanny and memory.surely_too_large(known.n_bytes, _usable(one)) for one in liveness.values()):
        raise WorkerMemoryError(text)
    warn(text)


def largest_partition(member: Member, n_columns: int) -> int:
    """Bytes of the largest partition, as a pandas frame, that a worker can read with every thread."""
    return memory.largest_partition(_usable(member), member.n_threads, n_columns)


def partition_limits(client: Any, n_readers: int | None = None) -> memory.PartitionLimits:
    """Limits of the partitions that the workers of a client can read, or this process.

    Parameters
    ----------
    client : distributed.Client or None
    n_readers : int, optional
        Partitions that this process reads at a time; by default one for each thread that Dask would start.

    Returns
    -------
    PartitionLimits
    """
    liveness = {} if client is None else Liveness(client, lambda _: None).look()
    limits = [memory.partition_limits(_usable(one), one.n_threads) for one in liveness.values() if one.memory_limit]
    if limits:
        return memory.PartitionLimits(min(one.fits for one in limits), max(one.max for one in limits))
    return memory.partition_limits(memory_budget()[0], n_readers or CPU_COUNT)


def _usable(member: Member) -> int:
    """Bytes after which a worker is ended."""
    return int(_share() * member.memory_limit)


def _share() -> float:
    return float(dask.config.get("distributed.worker.memory.terminate", None) or 1.0)


def allowed(member: Member) -> str:
    """How much memory a worker may take, in words."""
    return f"{memory.size(_usable(member))} ({_share():.0%} of its memory limit of {memory.size(member.memory_limit)})"


class Restarts:
    """Counts the workers that Dask restarts because of their memory, from now on.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._since = max((stamp for stamp, _ in self._events()), default=0.0)

    def workers(self) -> list[str]:
        """Addresses of workers that were restarted, one for each time."""
        return [str(event["worker"]) for stamp, event in self._events() if stamp > self._since]

    def _events(self) -> tuple[tuple[float, Mapping[str, Any]], ...]:
        try:
            return tuple(self._client.get_events(RESTARTED))
        except (OSError, TimeoutError, RuntimeError, AttributeError):  # the scheduler, or the client, is gone
            return ()


def died_reading(
    liveness: Mapping[str, Member], source: Source, partitions: Iterable[int], n_bytes: int, n_restarts: int
) -> WorkerMemoryError:
    """Error for workers that died again and again while they read a table.

    Parameters
    ----------
    liveness : mapping of str to Member
        The workers by address, as far as they are known.
    source : Source
        The table.
    partitions : iterable of int
        Those that were being read.
    n_bytes : int
        Size of the largest in memory, as far as it is known, or 0.
    n_restarts : int
        How often Dask has said that it was because of their memory.

    Returns
    -------
    WorkerMemoryError
        To be raised by the caller.
    """
    n_columns, may = len(source.predictors), ""
    # Less than what they died of, whatever the formula says; where that was little it was the making of the partition.
    fits = [n_bytes // 2] if n_bytes > 2 * MIN_SIZE else []
    limited = [member for member in liveness.values() if member.memory_limit]
    if limited:
        smallest = min(limited, key=lambda member: largest_partition(member, n_columns))
        fits.append(largest_partition(smallest, n_columns))
        may = f" A worker may take {allowed(smallest)}."
    why = (
        f"{n_restarts} times Dask restarted one because its memory was full."
        if n_restarts
        else "Dask does not say why, and mostly it is their memory: see their logs."
    )
    what = was_read(source, partitions, n_bytes)
    return WorkerMemoryError(
        f"workers died again and again while they read {what}: {why}{may} {remedies(min(fits, default=DEFAULT_SIZE))}"
    )


def was_read(source: Source, partitions: Iterable[int], n_bytes: int) -> str:
    """The partitions that were being read, in words."""
    numbers = sorted(set(partitions))
    listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    one_of = f"one of the partitions {listed}" if numbers else "a partition"
    size = f", of {memory.size(n_bytes)} in memory or more" if n_bytes else ""
    return f"{f'partition {listed}' if len(numbers) == 1 else one_of} of {source.label}{size}"
