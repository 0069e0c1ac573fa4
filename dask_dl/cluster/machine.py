"""Memory and local disk of the machine of this process."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

import dask
import psutil

from dask_dl.cluster.clients import worker_limit
from dask_dl.memory import size

#: Of what the machine has left a process on its own uses so much, at most ...
SHARE_OF_MEMORY = 0.8
#: ... and of its limit a worker, where Dask is not told otherwise.
SHARE_OF_LIMIT = 0.6

#: File systems whose files take memory.
IN_MEMORY = {"tmpfs", "ramfs"}


class Disk(NamedTuple):
    """Where a process may write."""

    folder: str
    device: int
    free: int  #: bytes
    kind: str  #: of file system


def memory_budget() -> tuple[int, str]:
    """Bytes that this process may have, and of what: of free memory, or of a limit."""
    limit = worker_limit()
    if limit:
        return of_worker(limit)
    used = psutil.Process().memory_info().rss
    limit, of = psutil.virtual_memory().available + used, "free memory"
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # another system, or no limit
            if (found := int(Path(name).read_text())) < limit:
                limit, of = found, "the container's memory"
    return of_machine(limit, of)


def of_machine(limit: int, of: str = "free memory of a worker without a limit") -> tuple[int, str]:
    """Bytes that a process may have where so many are free, and in words of what."""
    return int(SHARE_OF_MEMORY * limit), f"{SHARE_OF_MEMORY:.0%} of {size(limit)} {of}"


def of_worker(limit: int) -> tuple[int, str]:
    """Bytes of a worker's memory limit that it may have without Dask taking steps, and of what."""
    config = (dask.config.get(f"distributed.worker.memory.{name}", None) for name in ("target", "spill", "pause"))
    share = min([float(value) for value in config if value] or [SHARE_OF_LIMIT])
    return int(share * limit), f"{share:.0%} of a worker's limit of {size(limit)}"


def disk_of(folder: Path) -> Disk:
    """The disk of a folder, which need not be there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    mounts = [p for p in psutil.disk_partitions(all=True) if there.resolve().is_relative_to(p.mountpoint)]
    kind = max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else ""
    return Disk(str(folder), there.stat().st_dev, shutil.disk_usage(there).free, kind)


def unusable(disk: Disk) -> str | None:
    """Why a disk is of no use, if it is."""
    return (
        f"{disk.folder} lies in memory ({disk.kind}); see Dask's temporary-directory"
        if disk.kind in IN_MEMORY
        else None
    )
