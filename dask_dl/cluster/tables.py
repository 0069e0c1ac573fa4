"""A table on the workers of a cluster: who holds which block, and how blocks get there and move."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed.scheduler import KilledWorker

from dask_dl.cluster import residence
from dask_dl.cluster.placement import placed
from dask_dl.cluster.reading import Partitions, encoded, scanned
from dask_dl.cluster.residence import GoneError, Held, Making, Wanted
from dask_dl.cluster.worker_memory import MAX_RESTARTS, Restarts, died_reading, was_read
from dask_dl.errors import NoWorkersError, SchemaError, StorageError
from dask_dl.frame.blocks import SAVE, encode_partition
from dask_dl.frame.dask_frames import READING_ERRORS, unreadable
from dask_dl.frame.partition_size import largest_known
from dask_dl.frame.scan import checked, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dask_dl.cluster.crew import Crew
    from dask_dl.cluster.placement import Piece
    from dask_dl.cluster.work import Work
    from dask_dl.frame.blocks import Keeping, Recipe
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.frame.tally import Inquiry
    from dask_dl.memory import Storage

#: Seconds in which at least one partition of those that are read must be done.
READING = 3600.0
#: Partitions that wait on a worker to be read, at most.
PER_WAVE = 32


def scan_on(work: Work, source: Source, inquiry: Inquiry, progress: Callable[[int, int], None] | None) -> Scan:
    """Scan a table where its partitions lie; a local one here."""
    if source.lazy is None:
        return scan(source, inquiry, progress)
    lazy, restarts, members = source.lazy, Restarts(work.client), dict(work.members.alive)

    def known_size() -> int:
        known = largest_known(lazy)
        return known.n_bytes if known else 0

    whole: Scan | None = None
    for _ in work.attempts():
        leaves, root = scanned(work, Partitions(lazy), source.schema, inquiry)

        n_all, done = len(leaves), set[int]()

        def on_poll(leaves: Sequence[Any] = leaves, n_all: int = n_all, done: set[int] = done) -> None:
            # What was found in a partition is large where there are many columns: once it is merged nobody keeps it.
            finished = {k: leaf for k, leaf in enumerate(leaves) if k not in done and leaf.status == "finished"}
            if n_all > 1:  # else it is the whole
                work.release(finished.values())
            done.update(finished)
            if progress is not None:
                progress(len(done), n_all)

        def explain(error: Exception, leaves: Sequence[Any] = leaves) -> Exception:
            broken = [k for k, leaf in enumerate(leaves) if leaf.status == "error"]
            if isinstance(error, KilledWorker):
                return died_reading(members, source, broken, known_size(), len(restarts.workers()))
            return _explained(error, f"{f'partition {broken[0]}' if broken else 'a partition'} of {source.label}", "")

        with contextlib.suppress(GoneError):
            try:
                whole = work.wait_anywhere(root, on_poll, explain)
            except NoWorkersError as error:
                rest = [k for k in range(n_all) if k not in done]
                if n_restarts := len(restarts.workers()):
                    raise died_reading(members, source, rest, known_size(), n_restarts) from error
                raise NoWorkersError(f"{error} They were to read {was_read(source, rest, known_size())}.") from error
            break
    assert whole is not None
    return checked(whole, source.schema)


class Table:
    """Blocks of a table, and who holds them.

    Parameters
    ----------
    crew : Crew
        The workers.
    name : str
        "training" or "validation".
    source : Source
    found : Scan
    recipe : Recipe
    keeping : Keeping
    storage : Storage
    spread : {"shared", "replicated", "single"}
        Whether every block is somewhere, everywhere, or all are on one worker.
    pieces : sequence of Piece
        The blocks.
    """

    def __init__(
        self,
        crew: Crew,
        name: str,
        source: Source,
        found: Scan,
        recipe: Recipe,
        keeping: Keeping,
        storage: Storage,
        spread: str,
        pieces: Sequence[Piece],
    ) -> None:
        self.name, self.spread, self.pieces = name, spread, pieces
        self.held: dict[str, set[int]] = {}  #: worker -> blocks
        self._checksums: dict[int, int | None] = {}  #: block -> checksum of its first reading
        self.n_visits: dict[int, int] = {}  #: block -> visits of an epoch to its rows, once it was encoded
        self._crew, self._work, self._source, self._found, self._recipe = crew, crew.work, source, found, recipe
        self.keeping, self._storage = keeping, storage
        self._partitions = None if source.lazy is None else Partitions(source.lazy)
        self._shares_work = self._partitions is not None and self._partitions.shares_work() is not None
        self.starts = np.cumsum([0, *(piece.n for piece in self.pieces)], dtype=np.int64)

    def workers(self) -> list[str]:
        """Those with rows that count, all of them where all have all, by their first block."""
        n_least = len(self.pieces) if self.spread == "replicated" else 1
        first = {
            worker: min((k for k in blocks if self.n_visits[k]), default=None)
            for worker, blocks in self.held.items()
            if len(blocks) >= n_least
        }
        return sorted((w for w, k in first.items() if k is not None), key=lambda w: (first[w], w))

    def readers(self) -> list[str]:
        """Those among whom every row is once."""
        return self.workers()[:1] if self.spread == "replicated" else self.workers()

    def n_visits_of(self, worker: str) -> int:
        """Visits of an epoch to the rows of a worker."""
        return sum(self.n_visits[k] for k in self.held.get(worker, ()))

    def mark(self, worker: str) -> int:
        """By which the worker sees whether it has the blocks that it should have."""
        return residence.mark_of(self.held.get(worker, ()))

    def lose(self, workers: Iterable[str]) -> int:
        """Blocks of these workers are gone; returns how many."""
        return sum(len(self.held.pop(worker, ())) for worker in workers)

    @property
    def missing(self) -> set[int]:
        """Blocks without which no round can be trained."""
        everything = set(range(len(self.pieces)))
        if self.spread == "replicated":
            return everything if all(len(blocks) < len(everything) for blocks in self.held.values()) else set()
        return everything.difference(*self.held.values())

    def _rows(self) -> dict[int, int]:
        return {k: self.n_visits.get(k, piece.n) for k, piece in enumerate(self.pieces)}

    def wanted(self, strengths: Mapping[str, float]) -> dict[str, set[int]]:
        """The blocks that every worker had better have and has not: rows by strength, on as few ways as that allows."""
        everything = set(range(len(self.pieces)))
        if self.spread == "replicated":
            target = dict.fromkeys(strengths, everything)
        elif self.spread == "single":
            most = max(strengths, key=lambda worker: (len(self.held.get(worker, ())), strengths[worker], worker))
            target = {most: everything}
        else:
            held = {k: worker for worker, blocks in self.held.items() for k in blocks}
            target = {}
            most_rows = math.inf if self._storage.most_rows is None else self._storage.most_rows
            for k, worker in placed(self._rows(), strengths, held, most_rows).items():
                target.setdefault(worker, set()).add(k)
        lacks = {worker: blocks - self.held.get(worker, set()) for worker, blocks in target.items()}
        return {worker: blocks for worker, blocks in lacks.items() if blocks}

    def fill(
        self, strengths: Callable[[], Mapping[str, float]], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Read the blocks without which no round can be trained, on the workers that shall hold them."""
        restarts, members = Restarts(self._work.client), dict(self._work.members.alive)
        lost: set[tuple[str, int]] = set()
        ended: Counter[int] = Counter()  # partition -> how often a worker that was to read it was ended for its memory
        for _ in self._work.attempts():
            missing = self.missing
            if not missing:
                return
            n_most = max(ended.values(), default=0)
            if n_most >= MAX_RESTARTS:
                numbers = [k for k, n in ended.items() if n == n_most]
                raise died_reading(members, self._source, numbers, self._found.largest_partition, n_most)
            try:
                wanted = self.wanted(strengths())
            except NoWorkersError as error:
                largest = self._found.largest_partition
                if ended:  # and were not started again
                    raise died_reading(members, self._source, ended, largest, ended.total()) from error
                numbers = [k for _, k in lost] or [self.pieces[block].partition for block in missing]
                what = was_read(self._source, numbers, largest)
                raise NoWorkersError(f"{error} They were to read {what}.") from error
            todo = {worker: sorted(blocks & missing) for worker, blocks in wanted.items()}
            with contextlib.suppress(GoneError):
                lost = self._read(todo, progress)
                full = set(restarts.workers())
                ended.update(k for worker, k in lost if worker in full)

    def _read(
        self, todo: Mapping[str, Sequence[int]], progress: Callable[[int, int], None] | None
    ) -> set[tuple[str, int]]:
        """Have workers read blocks, wave after wave, until somebody is lost: returns what. Raises GoneError."""
        waves = list(self._waves(todo))
        n_done, n_all = 0, sum(len(self._by_partition(wave)) for wave in waves)
        making = self._making()
        for wave in waves:
            futures = self.send(wave, making)

            def on_poll(futures: Mapping[Any, Any] = futures, n_done: int = n_done) -> None:
                if progress is not None:
                    progress(n_done + sum(future.status == "finished" for future in futures.values()), n_all)

            lost = self._work.wait(futures, on_poll, limit=READING, explain=self.explained)
            held, lost = self._work.results(futures, lost)
            for answer in held.values():
                self.settle(answer)
            self._work.release(futures.values())
            if lost:
                return lost
            n_done += len(futures)
        return set()

    def _waves(self, todo: Mapping[str, Sequence[int]]) -> Iterator[dict[str, list[int]]]:
        """Cut what is to be read, so that only some partitions wait on a worker: the graph of each may be large.

        Not where partitions share work, which is then done once.
        """
        size = sys.maxsize if self._shares_work else PER_WAVE
        queues = {worker: self._grouped(blocks) for worker, blocks in todo.items() if blocks}
        while queues:
            yield {worker: [k for group in queue[:size] for k in group] for worker, queue in queues.items()}
            queues = {worker: queue[size:] for worker, queue in queues.items() if len(queue) > size}

    def _grouped(self, blocks: Iterable[int]) -> list[list[int]]:
        """Blocks by partition."""
        groups: dict[int, list[int]] = {}
        for k in blocks:
            groups.setdefault(self.pieces[k].partition, []).append(k)
        return list(groups.values())

    def _by_partition(self, place: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], dict[int, Piece]]:
        """Blocks of every worker and partition."""
        found: dict[tuple[str, int], dict[int, Piece]] = {}
        for worker, blocks in place.items():
            for k in sorted(blocks):
                found.setdefault((worker, self.pieces[k].partition), {})[k] = self.pieces[k]
        return found

    def few(self, wanted: Mapping[str, Iterable[int]]) -> tuple[dict[str, list[int]], bool]:
        """The first wave of blocks, and whether that is all of them."""
        waves = self._waves({worker: sorted(blocks) for worker, blocks in wanted.items()})
        return next(waves, {}), next(waves, None) is None

    def settle(self, answer: Held) -> None:
        """Note who holds blocks. Raises SchemaError when a streamed block is not the one that another worker had read."""
        changed = [k for k, now in answer.checksums.items() if self._checksums.setdefault(k, now) != now]
        if changed:
            raise SchemaError(
                f"partition {self.pieces[changed[0]].partition} of {self._source.label} holds other rows on {answer.address} "
                f"than when training began. {SAVE}"
            )
        self.held.setdefault(answer.address, set()).update(answer.n_visits)
        self.n_visits |= answer.n_visits

    def give_up(self, taken: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
        """Blocks that others have now, of workers that need not have them any more."""
        if self.spread == "replicated":
            return {}
        given: dict[str, list[int]] = {}
        for worker, blocks in taken.items():
            for other in self.held.keys() - {worker}:
                if twice := self.held[other].intersection(blocks):
                    given.setdefault(other, []).extend(sorted(twice))
                    self.held[other] -= twice
        return given

    def _making(self) -> Any:
        """With the levels of all categories, and thousands of blocks, it may be large: it travels once, not with every task."""
        return self._work.send(Making(self._recipe, self.starts, self.keeping, self._storage))

    def send(
        self, place: Mapping[str, Iterable[int]], making: Any = None, *, staged: bool = False
    ) -> dict[tuple[str, int], Any]:
        """Futures of blocks that are read and encoded by their workers, by worker and partition. Raises GoneError."""
        making = making or self._making()
        found = self._by_partition(place)
        if self._partitions is None:
            return {
                (worker, k): self._sent(making, worker, k, pieces, staged=staged)
                for (worker, k), pieces in found.items()
            }
        arguments: dict[str, dict[int, tuple[Any, ...]]] = {}
        for (worker, k), pieces in found.items():
            more = making, k, self._found.rows[k], pieces, self._wanted(worker, staged=staged)
            arguments.setdefault(worker, {})[k] = more
        return encoded(self._work, self._partitions, arguments, again=self._storage.mode == "stream")

    def _wanted(self, worker: str, *, staged: bool) -> Wanted:
        return Wanted(self._work.job, self.name, self._crew.term(worker), staged)

    def _sent(self, making: Any, worker: str, k: int, pieces: Mapping[int, Piece], *, staged: bool) -> Any:
        """A partition of a table that is here: encoded here, and only then sent."""
        rows = encode_partition(self._source.read(k), self._recipe, k, self._found.rows[k])
        blocks = {block: rows.cut(piece.lo, piece.hi).compact() for block, piece in pieces.items()}
        data = self._work.send(blocks, worker)
        return self._work.submit("encode", worker, residence.keep, data, making, self._wanted(worker, staged=staged))

    def explained(self, key: tuple[str, int], error: Exception) -> Exception | None:
        """An error of a task that reads, in the words of one that is raised without a cluster.

        None where only this worker has no room, and others have.
        """
        worker, k = key
        if isinstance(error, (MemoryError, StorageError)):
            return self._crew.excused(worker, error)
        return _explained(error, f"partition {k} of {self._source.label}", f" on {worker}")


def _explained(error: Exception, what: str, where: str) -> Exception:
    if isinstance(error, FileNotFoundError):
        return SchemaError(
            f"{what} cannot be read{where}: {error}. Workers read files themselves: put them where all workers see them, "
            f"under the same name."
        )
    if isinstance(error, READING_ERRORS) and not isinstance(error, SchemaError):
        return unreadable(error, what)
    return error
