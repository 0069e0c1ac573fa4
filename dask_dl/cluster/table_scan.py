"""Scan of a table where its partitions lie."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from distributed.scheduler import KilledWorker

from dask_dl.cluster.partitions import Partitions, scanned
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.worker_memory import Restarts, died_reading, was_read
from dask_dl.errors import NoWorkersError, SchemaError
from dask_dl.frame.dask_frames import READING_ERRORS, unreadable
from dask_dl.frame.partition_size import largest_known
from dask_dl.frame.scan import checked, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dask_dl.cluster.submit import Submitter
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source


def scan_on(
    submitter: Submitter,
    source: Source,
    request: ScanRequest,
    progress: Callable[[int, int], None] | None,
    workers: Sequence[str] | None = None,
) -> Scan:
    """Scan a table where its partitions lie; a local one in this process.

    Parameters
    ----------
    submitter : Submitter
        Submits the tasks.
    source : Source
        The table.
    request : ScanRequest
        What the scan shall find out.
    progress : callable or None
        Called with the number of partitions that are scanned, and of all.
    workers : sequence of str, optional
        Addresses of those that may do it; by default any.

    Returns
    -------
    Scan

    Raises
    ------
    SchemaError
        When the table cannot be used.
    NoWorkersError, WorkerMemoryError
        When no worker is left, or workers died again and again while they read.
    """
    if source.lazy is None:
        return scan(source, request, progress)
    lazy, restarts, liveness = source.lazy, Restarts(submitter.client), dict(submitter.liveness.alive)

    def known_size() -> int:
        known = largest_known(lazy)
        return known.n_bytes if known else 0

    whole: Scan | None = None
    for _ in submitter.attempts():
        leaves, root = scanned(submitter, Partitions(lazy), source.schema, request, workers)

        n_all, done = len(leaves), set[int]()

        def on_poll(leaves: Sequence[Any] = leaves, n_all: int = n_all, done: set[int] = done) -> None:
            # What was found in a partition is large where there are many columns: once it is merged it is not kept.
            finished = {k: leaf for k, leaf in enumerate(leaves) if k not in done and leaf.status == "finished"}
            if n_all > 1:  # else it is the whole
                submitter.release(finished.values())
            done.update(finished)
            if progress is not None:
                progress(len(done), n_all)

        def explain(error: Exception, leaves: Sequence[Any] = leaves) -> Exception:
            broken = [k for k, leaf in enumerate(leaves) if leaf.status == "error"]
            if isinstance(error, KilledWorker):
                return died_reading(liveness, source, broken, known_size(), len(restarts.workers()))
            return explained(error, f"{f'partition {broken[0]}' if broken else 'a partition'} of {source.label}", "")

        with contextlib.suppress(GoneError):
            try:
                whole = submitter.wait_anywhere(root, on_poll, explain)
            except NoWorkersError as error:
                rest = [k for k in range(n_all) if k not in done]
                if n_restarts := len(restarts.workers()):
                    raise died_reading(liveness, source, rest, known_size(), n_restarts) from error
                raise NoWorkersError(f"{error} They were to read {was_read(source, rest, known_size())}.") from error
            break
    assert whole is not None
    return checked(whole, source.schema)


def explained(error: Exception, what: str, where: str) -> Exception:
    """An error of a task that reads, in the words of one that is raised without a cluster."""
    if isinstance(error, FileNotFoundError):
        return SchemaError(
            f"{what} cannot be read{where}: {error}. Workers read files themselves: put them where all workers see them, "
            f"under the same name."
        )
    if isinstance(error, READING_ERRORS) and not isinstance(error, SchemaError):
        return unreadable(error, what)
    return error
