"""A table on the workers of a cluster: who holds which block, and how blocks get there and move."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.cluster import residence
from dask_dl.cluster.placement import Piece, pieces_of, placed
from dask_dl.cluster.reading import Partitions, encoded, scanned
from dask_dl.cluster.residence import GoneError, Held, Scanned
from dask_dl.errors import ClusterError, SchemaError
from dask_dl.frame.blocks import encode_partition
from dask_dl.frame.scan import checked, scan
from dask_dl.frame.source import unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask_dl.cluster.work import Work
    from dask_dl.frame.blocks import Recipe
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source

#: Seconds in which at least one partition of those that are read must be done.
READING = 3600.0
#: How often blocks are read again after workers were lost.
ATTEMPTS = 20


def scan_on(work: Work, source: Source, task: str, progress: Callable[[int, int], None] | None) -> Scanned:
    """Scan a table where its partitions lie; a local one here."""
    if source.lazy is None:
        found = scan(source, task=task, progress=progress)
        return Scanned(found, ("",) * source.n_partitions)
    for _ in range(ATTEMPTS):
        leaves, root = scanned(work, Partitions(source.lazy), source.schema, task)

        def on_poll(leaves: Sequence[Any] = leaves) -> None:
            if progress is not None:
                progress(sum(leaf.status == "finished" for leaf in leaves), len(leaves))

        def explain(error: Exception, leaves: Sequence[Any] = leaves) -> Exception:
            broken = [k for k, leaf in enumerate(leaves) if leaf.status == "error"]
            return _explained(error, f"{f'partition {broken[0]}' if broken else 'a partition'} of {source.label}", "")

        with contextlib.suppress(GoneError):
            whole = work.wait_anywhere(root, on_poll, explain)
            return Scanned(checked(whole.scan, source.label), whole.places)
    raise ClusterError(f"{source.label} could not be scanned: the cluster was restarted {ATTEMPTS} times.")


class Table:
    """Blocks of a table, and who holds them.

    Parameters
    ----------
    work : Work
    name : str
        "training" or "validation".
    source : Source
    found : Scan
    recipe : Recipe
    places : sequence of str
        Worker near each partition; "" for none.
    n_workers : int
        For which partitions are cut, if there are too few of them.
    term : callable
        How often a worker was taken for lost.
    """

    def __init__(
        self,
        work: Work,
        name: str,
        source: Source,
        found: Scan,
        recipe: Recipe,
        places: Sequence[str],
        n_workers: int,
        term: Callable[[str], int],
    ) -> None:
        self.name = name
        self.holder: dict[int, str] = {}  #: block -> worker
        self.n_used: dict[int, int] = {}  #: block -> rows that count, once it was encoded
        self.term = term
        self._work, self._source, self._found, self._recipe = work, source, found, recipe
        self.pieces = pieces_of(found.rows, n_workers)
        self._partitions = None if source.lazy is None else Partitions(source.lazy)
        self.starts = np.cumsum([0, *(piece.n for piece in self.pieces)], dtype=np.int64)
        self._preferred = {k: places[piece.partition] for k, piece in enumerate(self.pieces)}

    def workers(self) -> list[str]:
        """Those with rows that count, by their first block."""
        first = {worker: k for k, worker in sorted(self.holder.items(), reverse=True) if self.n_used[k]}
        return sorted(first, key=first.__getitem__)

    def n_used_of(self, worker: str) -> int:
        """Rows of a worker that count."""
        return sum(self.n_used[k] for k, holder in self.holder.items() if holder == worker)

    def mark(self, worker: str) -> int:
        """By which the worker sees whether it has the blocks that it should have."""
        return residence.mark_of(k for k, holder in self.holder.items() if holder == worker)

    def lose(self, workers: Iterable[str]) -> int:
        """Blocks of these workers are gone; returns how many."""
        lost = [k for k, holder in self.holder.items() if holder in set(workers)]
        for k in lost:
            del self.holder[k]
        return len(lost)

    def _rows(self) -> dict[int, int]:
        return {k: self.n_used.get(k, piece.n) for k, piece in enumerate(self.pieces)}

    def moves(self, strengths: Mapping[str, int]) -> dict[int, str]:
        """Blocks that had better be with another worker, and with whom."""
        place = placed(self._rows(), strengths, self.holder, {})
        return {k: worker for k, worker in place.items() if self.holder.get(k) != worker}

    def fill(
        self, strengths: Callable[[], Mapping[str, int]], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Read the blocks that nobody holds, on the workers that shall hold them."""
        for _ in range(ATTEMPTS):
            missing = [k for k in range(len(self.pieces)) if k not in self.holder]
            if not missing:
                return
            place = placed(self._rows(), strengths(), self.holder, self._preferred)
            try:
                futures = self.send({k: place[k] for k in missing})
            except GoneError:
                continue

            def on_poll(futures: Mapping[Any, Any] = futures) -> None:
                if progress is not None:
                    progress(sum(future.status == "finished" for future in futures.values()), len(futures))

            lost = self._work.wait(futures, on_poll, limit=READING, explain=self.explained)
            held, _ = self._work.results(futures, lost)
            for answer in held.values():
                self.settle(answer)
        raise ClusterError(f"{self._source.label} could not be read: workers were lost {ATTEMPTS} times.")

    def settle(self, answer: Held) -> None:
        """Note who holds blocks."""
        for k, n in answer.n_used.items():
            self.holder[k], self.n_used[k] = answer.address, n

    def send(self, place: Mapping[int, str], *, staged: bool = False) -> dict[tuple[str, int], Any]:
        """Futures of blocks that are read and encoded by their workers, by worker and partition."""
        wanted: dict[str, dict[int, dict[int, Piece]]] = {}
        for k, worker in place.items():
            piece = self.pieces[k]
            wanted.setdefault(worker, {}).setdefault(piece.partition, {})[k] = piece
        if self._partitions is None:
            return {
                (worker, k): self._sent(worker, k, pieces, staged=staged)
                for worker, by_partition in wanted.items()
                for k, pieces in by_partition.items()
            }
        # With the levels of all categories a recipe may be large: it travels once, and not with every task.
        recipe = self._work.send(self._recipe)
        arguments = {
            worker: {
                k: (
                    self._work.job,
                    self.name,
                    recipe,
                    k,
                    self._found.rows[k],
                    self.starts,
                    pieces,
                    self.term(worker),
                    staged,
                )
                for k, pieces in by_partition.items()
            }
            for worker, by_partition in wanted.items()
        }
        return encoded(self._work, self._partitions, arguments)

    def _sent(self, worker: str, k: int, pieces: Mapping[int, Piece], *, staged: bool) -> Any:
        """A partition of a table that is here: encoded here, and only then sent."""
        rows = encode_partition(self._source.read(k), self._recipe, k, self._found.rows[k])
        blocks = {block: rows.cut(piece.lo, piece.hi) for block, piece in pieces.items()}
        data = self._work.send(blocks, worker)
        return self._work.submit(
            "encode", worker, residence.keep, data, self._work.job, self.name, self.starts, self.term(worker), staged
        )

    def explained(self, key: tuple[str, int], error: Exception) -> Exception:
        """An error of a task that reads, in the words of one that is raised without a cluster."""
        worker, k = key
        return _explained(error, f"partition {k} of {self._source.label}", f" on {worker}")


def _explained(error: Exception, what: str, where: str) -> Exception:
    if isinstance(error, FileNotFoundError):
        return SchemaError(
            f"{what} cannot be read{where}: {error}. Workers read files themselves: put them where all workers see them, "
            f"under the same name."
        )
    if isinstance(error, (ValueError, KeyError, TypeError)) and not isinstance(error, SchemaError):
        return unreadable(error, what)
    return error
