"""Capacity of the workers of a cluster, and how much of the work the busiest of them will get."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import dask

from dask_dl import memory
from dask_dl.cluster.backend import Workload
from dask_dl.cluster.machine import of_machine, of_worker, unusable
from dask_dl.cluster.partitions import Partitions
from dask_dl.storage import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_dl.cluster.liveness import Member
    from dask_dl.cluster.placement import RowRange
    from dask_dl.frame.source import Source

#: Why a table cannot be read again and again by the workers.
LOCAL = "the table is in this process. Save it to Parquet first, and train from there."


def slots(liveness: Mapping[str, Member]) -> int:
    """Threads of all workers."""
    return max(1, sum(member.n_threads for member in liveness.values()))


def workload(
    liveness: Mapping[str, Member], row_ranges: Sequence[Sequence[RowRange]], n_kept: int, *, shares: bool
) -> Workload:
    """Workload of the worker with most threads: its share of the rows, and a block more.

    Parameters
    ----------
    liveness : mapping of str to Member
        The workers by address.
    row_ranges : sequence of sequence of RowRange
        Blocks of the training and of the validation table.
    n_kept : int
        See `Workload`.
    shares : bool
        Whether workers share the training table; else each may have all of it.

    Returns
    -------
    Workload
    """
    maximum = max(member.n_threads for member in liveness.values())
    share = maximum / slots(liveness)
    rows: list[int] = []
    largest: list[int] = []
    for blocks in row_ranges:
        n = sum(row_range.n for row_range in blocks)
        largest.append(max((row_range.n for row_range in blocks), default=0))
        rows.append(min(n, int(share * n) + largest[-1]) if shares or rows else n)
    return Workload(rows[0], rows[1], maximum, share, (largest[0], largest[1]), n_kept=n_kept)


def budget(liveness: Mapping[str, Member], facts: Mapping[str, Mapping[str, Any]], source: Source) -> Budget:
    """Budget of the worker that has least; workers of one machine share its disk, and its memory where they have no
    limit.

    Parameters
    ----------
    liveness : mapping of str to Member
        The workers by address.
    facts : mapping
        What they said of themselves: `environment.describe`.
    source : Source
        The training table.

    Returns
    -------
    Budget
    """
    known = {worker: facts[worker] for worker in liveness if worker in facts}
    lazy = source.lazy

    def no_stream() -> str | None:
        return LOCAL if lazy is None else Partitions(lazy).not_again()

    if not known:
        return Budget(0, "", 0, "", "it is not known what disks there are", no_stream)
    hosts = Counter(liveness[worker].host for worker in known)
    disks = Counter((liveness[worker].host, about["disk"].device) for worker, about in known.items())
    rooms, free = [], []
    for worker, about in known.items():
        member, disk = liveness[worker], about["disk"]
        own = about["memory"] // hosts[member.host]
        rooms.append(of_worker(member.memory_limit) if member.memory_limit else of_machine(own))
        free.append(disk._replace(free=disk.free // disks[member.host, disk.device]))
    minimum = min(free, key=lambda disk: disk.free)
    no_disk = next((text for disk in free if (text := unusable(disk))), None)
    return Budget(*min(rooms), minimum.free, minimum.folder, no_disk, no_stream)


def too_small(liveness: Mapping[str, Member], peak: int) -> str | None:
    """Warning about workers that Dask would pause, after which no round ends there; None when there are none."""
    pause = float(dask.config.get("distributed.worker.memory.pause") or 1.0)
    small = {w: m.memory_limit for w, m in liveness.items() if 0 < pause * m.memory_limit < peak}
    if not small:
        return None
    return (
        f"{len(small)} workers have too little memory, {min(small)} for example {memory.size(min(small.values()))}, of "
        f"which Dask lets it use {pause:.0%}: up to {memory.size(peak)} may be needed. Raise their memory limit, use more "
        f"workers, or smaller partitions."
    )
