"""Table on the workers of a cluster: who holds which block, and how blocks get there and move."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dask_dl.cluster import lending, plugin, table_tasks
from dask_dl.cluster.lending import Lender
from dask_dl.cluster.partitions import Partitions, encoded
from dask_dl.cluster.placement import placed
from dask_dl.cluster.plugin import BlockReceipt, BlockRequest, GoneError, ShardRows, TableSpec
from dask_dl.cluster.table_scan import explained
from dask_dl.cluster.worker_memory import MAX_RESTARTS, Restarts, died_reading, was_read
from dask_dl.errors import NoWorkersError, SchemaError, StorageError
from dask_dl.frame.recipe import SAVE, encode_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dask_dl.cluster.admission import Admission
    from dask_dl.cluster.placement import RowRange
    from dask_dl.cluster.submit import Submitter
    from dask_dl.frame.blocks import BlockOptions
    from dask_dl.frame.recipe import Recipe
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.memory import Storage

#: Seconds in which at least one partition of those that are read must be done, where a worker does read.
READING = 3600.0
#: Partitions that wait on a worker to be read, at most.
PER_WAVE = 32


class TableMembership(Protocol):
    """Interface of `Membership` that a table needs."""

    submitter: Submitter
    admission: Admission

    def term(self, worker: str) -> int:
        """Return how often a worker has been considered lost."""

    def excused(self, worker: str, error: Exception) -> Exception | None:
        """Leave a worker out; returns the error to raise where it cannot be spared."""


class Table:
    """Blocks of a table, and the workers that hold them.

    Parameters
    ----------
    members : TableMembership
        The workers that take part.
    name : str
        Its key.
    source : Source
    found : Scan
    recipe : Recipe
    options : BlockOptions
    storage : Storage
    placement : {"sharded", "replicated", "single"}
        Whether every block is somewhere, everywhere, or all are on one worker.
    row_ranges : sequence of RowRange
        The blocks.
    shards : mapping of str to tuple of int, optional
        Blocks of every fixed shard, which are all on one worker; None: the blocks of a worker are a shard.
    """

    def __init__(
        self,
        members: TableMembership,
        name: str,
        source: Source,
        found: Scan,
        recipe: Recipe,
        options: BlockOptions,
        storage: Storage,
        placement: str,
        row_ranges: Sequence[RowRange],
        shards: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.shards = shards
        self.lenders: tuple[Table, ...] = ()  #: the same table of others, whose blocks this one may have
        self._read_anew: set[int] = set()  #: blocks that none of them had when they were asked for
        self.name, self.placement, self.row_ranges = name, placement, row_ranges
        self.held: dict[str, set[int]] = {}  #: worker -> blocks
        self._checksums: dict[int, int | None] = {}  #: block -> checksum of its first reading
        self.n_used: dict[int, int] = {}  #: block -> its rows that count, once it was encoded
        self.n_visits: dict[int, int] = {}  #: block -> visits of an epoch to its rows, by the view that is trained on
        self._members, self._submitter = members, members.submitter
        self._source, self._found, self._recipe = source, found, recipe
        self.options, self._storage = options, storage
        self._partitions = None if source.lazy is None else Partitions(source.lazy)
        self._shares_work = self._partitions is not None and self._partitions.shares_work() is not None
        self.starts = np.cumsum([0, *(row_range.n for row_range in self.row_ranges)], dtype=np.int64)

    def beside(self, members: TableMembership) -> Table:
        """The table for other workers, or for another trainer: its blocks come from these, as far as they can be had."""
        other = Table(
            members, self.name, self._source, self._found, self._recipe, self.options, self._storage, self.placement,
            self.row_ranges, self.shards,
        )  # fmt: skip
        other._checksums, other.n_used, other.lenders = dict(self._checksums), dict(self.n_used), (self, *self.lenders)
        return other

    def workers(self) -> list[str]:
        """Those with rows that count, all of them where all have all, by their first block."""
        n_min = len(self.row_ranges) if self.placement == "replicated" else 1
        first = {
            worker: min((k for k in blocks if self.n_visits[k]), default=None)
            for worker, blocks in self.held.items()
            if len(blocks) >= n_min
        }
        return sorted((w for w, k in first.items() if k is not None), key=lambda w: (first[w], w))

    def trained_shards(self) -> list[str]:
        """Shards with rows that count, in their order: fixed ones whoever has their rows, else those of workers."""
        return self.workers() if self.shards is None else [name for name in self.shards if self.n_visits_of(name)]

    def hosts(self) -> dict[str, str]:
        """Worker of every shard with rows that count, in the order of the shards; a worker's own has its address as name."""
        if self.shards is None:
            return {worker: worker for worker in self.workers()}
        return {name: worker for name, worker in fixed_hosts(self.shards, self.held).items() if self.n_visits_of(name)}

    def readers(self) -> dict[str, str]:
        """Workers of shards among which every row is once, those included that no epoch visits."""
        if self.shards is not None:
            return fixed_hosts(self.shards, self.held)
        if self.placement == "replicated":
            return {worker: worker for worker in self.workers()[:1]}
        first = {worker: min(blocks) for worker, blocks in self.held.items() if blocks}
        return {worker: worker for worker in sorted(first, key=lambda worker: (first[worker], worker))}

    def _blocks_of(self, shard: str) -> Iterable[int]:
        return self.held.get(shard, ()) if self.shards is None else self.shards[shard]

    def n_visits_of(self, shard: str) -> int:
        """Visits of an epoch to the rows of a shard."""
        return sum(self.n_visits.get(k, 0) for k in self._blocks_of(shard))

    def rows_of(self, shard: str) -> ShardRows:
        """Rows of a shard, as tasks name them: its worker compares them with the blocks that it has."""
        if self.shards is None:
            return ShardRows(self.name, "", (), plugin.holdings_hash_of(self.held.get(shard, ())))
        return ShardRows(self.name, shard, self.shards[shard], plugin.holdings_hash_of(self.shards[shard]))

    def lose(self, workers: Iterable[str]) -> int:
        """Blocks of these workers are gone; returns how many."""
        return sum(len(self.held.pop(worker, ())) for worker in workers)

    @property
    def missing(self) -> set[int]:
        """Blocks without which no round can be trained."""
        if self.shards is not None:
            hosts = fixed_hosts(self.shards, self.held)
            return {k for name, blocks in self.shards.items() if name not in hosts for k in blocks}
        everything = set(range(len(self.row_ranges)))
        if self.placement == "replicated":
            return everything if all(len(blocks) < len(everything) for blocks in self.held.values()) else set()
        return everything.difference(*self.held.values())

    @property
    def _begins(self) -> bool:
        """Whether it has no blocks yet, and takes those of others from where they are."""
        return bool(self.lenders) and not any(self.held.values())

    def _rows(self) -> dict[int, int]:
        return {k: self.n_visits.get(k, row_range.n) for k, row_range in enumerate(self.row_ranges)}

    def wanted(self, strengths: Mapping[str, float]) -> dict[str, set[int]]:
        """Blocks each worker should receive so that rows match throughput, moving as few as possible."""
        everything = set(range(len(self.row_ranges)))
        max_rows = math.inf if self._storage.max_rows is None else self._storage.max_rows
        if self.shards is not None:
            target = self._hosts_wanted(self.shards, strengths, max_rows)
        elif self.placement == "replicated":
            target = dict.fromkeys(strengths, everything)
        elif self.placement == "single":
            maximum = max(strengths, key=lambda worker: (len(self.held.get(worker, ())), strengths[worker], worker))
            target = {maximum: everything}
        else:
            places = (*(table.blocks_by_worker() for table in reversed(self.lenders)), self.held)
            held = {k: worker for place in places for worker, blocks in place.items() for k in blocks}
            target = {}
            for k, worker in placed(self._rows(), strengths, held, max_rows, stays=self._begins).items():
                target.setdefault(worker, set()).add(k)
        lacks = {worker: blocks - self.held.get(worker, set()) for worker, blocks in target.items()}
        return {worker: blocks for worker, blocks in lacks.items() if blocks}

    def _whole_shards(self, worker: str, taken: Iterable[int]) -> set[int]:
        """Blocks of the fixed shards that a worker has completely since it took some blocks."""
        held, new = self.held[worker], set(taken)
        shards = (self.shards or {}).values()
        return {k for blocks in shards if held.issuperset(blocks) and not new.isdisjoint(blocks) for k in blocks}

    def _hosts_wanted(
        self, shards: Mapping[str, tuple[int, ...]], strengths: Mapping[str, float], max_rows: float
    ) -> dict[str, set[int]]:
        """Blocks that each worker should hold so that its fixed shards have rows by its strength, as few moving as possible."""
        rows, target, hosts = self._rows(), dict[str, set[int]](), dict[str, str]()
        for held_by in (*(table.blocks_by_worker() for table in reversed(self.lenders)), self.held):
            hosts |= fixed_hosts(shards, held_by)
        held = {number: hosts[name] for number, name in enumerate(shards) if name in hosts}
        sizes = {number: sum(rows[k] for k in blocks) for number, blocks in enumerate(shards.values())}
        # All threads of a worker train the same row of a fixed shard: four are about twice as fast as one.
        speeds = {worker: threads**0.5 for worker, threads in strengths.items()}
        place = placed(sizes, speeds, held, max_rows, stays=self._begins)
        for number, blocks in enumerate(shards.values()):
            target.setdefault(place[number], set()).update(blocks)
        return target

    def fill(
        self, strengths: Callable[[], Mapping[str, float]], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Read the blocks without which no round can be trained, on the workers that shall hold them."""
        restarts, liveness = Restarts(self._submitter.client), dict(self._submitter.liveness.alive)
        lost: set[tuple[str, int]] = set()
        ended: Counter[int] = Counter()  # partition -> how often a worker that was to read it was ended for its memory
        for _ in self._submitter.attempts():
            self.lose(self._members.admission.refused)
            missing = self.missing
            if not missing:
                return
            n_max = max(ended.values(), default=0)
            if n_max >= MAX_RESTARTS:
                numbers = [k for k, n in ended.items() if n == n_max]
                raise died_reading(liveness, self._source, numbers, self._found.largest_partition, n_max)
            try:
                wanted = self.wanted(strengths())
            except NoWorkersError as error:
                largest = self._found.largest_partition
                if ended:  # and were not started again
                    raise died_reading(liveness, self._source, ended, largest, ended.total()) from error
                numbers = [k for _, k in lost] or [self.row_ranges[block].partition for block in missing]
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
        """Have workers read blocks, wave after wave, until a worker is lost: returns what. Raises GoneError."""
        waves = list(self._waves(todo))
        n_done, n_all = 0, sum(len(self._by_partition(wave)) for wave in waves)
        spec = self._spec()
        for wave in waves:
            futures = self.send(wave, spec)

            def on_poll(futures: Mapping[Any, Any] = futures, n_done: int = n_done) -> None:
                if progress is not None:
                    progress(n_done + sum(future.status == "finished" for future in futures.values()), n_all)

            lost = self._submitter.wait(futures, on_poll, limit=READING, explain=self.explained)
            held, lost = self._submitter.results(futures, lost)
            for (worker, k), answer in held.items():
                self.settle(answer)
                asked = {block for block in wave[worker] if self.row_ranges[block].partition == k}
                self._read_anew |= asked - answer.n_used.keys()
            self._submitter.release(futures.values())
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
            groups.setdefault(self.row_ranges[k].partition, []).append(k)
        return list(groups.values())

    def _by_partition(self, place: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], dict[int, RowRange]]:
        """Blocks of every worker and partition."""
        found: dict[tuple[str, int], dict[int, RowRange]] = {}
        for worker, blocks in place.items():
            for k in sorted(blocks):
                found.setdefault((worker, self.row_ranges[k].partition), {})[k] = self.row_ranges[k]
        return found

    def few(self, wanted: Mapping[str, Iterable[int]]) -> tuple[dict[str, list[int]], bool]:
        """The first wave of blocks, and whether that is all of them."""
        waves = self._waves({worker: sorted(blocks) for worker, blocks in wanted.items()})
        return next(waves, {}), next(waves, None) is None

    def settle(self, answer: BlockReceipt) -> None:
        """Note who holds blocks. Raises SchemaError when a streamed block is not the one that another worker had read."""
        changed = [k for k, now in answer.checksums.items() if self._checksums.setdefault(k, now) != now]
        if changed:
            raise SchemaError(
                f"partition {self.row_ranges[changed[0]].partition} of {self._source.label} holds other rows on "
                f"{answer.address} than when training began. {SAVE}"
            )
        self.held.setdefault(answer.address, set()).update(answer.n_used)
        self.n_used |= answer.n_used
        self.n_visits = answer.n_used | self.n_visits

    def give_up(self, taken: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
        """Blocks that others have now, of workers that need not have them any more."""
        if self.placement == "replicated":
            return {}
        given: dict[str, list[int]] = {}
        for worker, blocks in taken.items():
            whole = set(blocks) if self.shards is None else self._whole_shards(worker, blocks)
            for other in self.held.keys() - {worker}:
                if twice := self.held[other] & whole:
                    given.setdefault(other, []).extend(sorted(twice))
                    self.held[other] -= twice
        return given

    def _spec(self) -> Any:
        """Future of the table's spec, which may be large: it travels once, not with every task."""
        return self._submitter.send(TableSpec(self._recipe, self.starts, self.options, self._storage))

    def send(
        self, place: Mapping[str, Iterable[int]], spec: Any = None, *, staged: bool = False
    ) -> dict[tuple[str, int], Any]:
        """Futures of blocks that are read and encoded by their workers, by worker and partition. Raises GoneError."""
        spec = spec or self._spec()
        found, borrowed = self._by_partition(place), dict[tuple[str, int], Any]()
        for (worker, k), row_ranges in list(found.items()) if self.lenders else ():
            if offers := self._offers(worker, row_ranges):
                del found[worker, k]
                wanted = self._wanted(worker, staged=staged)
                borrowed[worker, k] = self._submitter.submit("borrow", worker, lending.borrow, offers, spec, wanted)
        if self._partitions is None:
            return borrowed | {
                (worker, k): self._sent(spec, worker, k, row_ranges, staged=staged)
                for (worker, k), row_ranges in found.items()
            }
        arguments: dict[str, dict[int, tuple[Any, ...]]] = {}
        for (worker, k), row_ranges in found.items():
            more = spec, k, self._found.rows[k], row_ranges, self._wanted(worker, staged=staged)
            arguments.setdefault(worker, {})[k] = more
        return borrowed | encoded(self._submitter, self._partitions, arguments, again=self._storage.mode == "stream")

    def blocks_by_worker(self) -> dict[str, set[int]]:
        """Blocks of each worker, copied while another thread may change them."""
        return {worker: set(blocks) for worker, blocks in list(self.held.items())}

    def _offers(self, worker: str, blocks: Iterable[int]) -> dict[int, Lender]:
        """Who lends blocks to a worker, itself where it has them; nothing where one has to be read."""
        offers: dict[int, Lender] = {}
        tables = [(table.job, table.blocks_by_worker()) for table in self.lenders]
        for k in blocks:
            found = [Lender(job, other) for job, held in tables for other in sorted(held) if k in held[other]]
            found.sort(key=lambda lender: lender.worker != worker)
            is_here = bool(found) and found[0].worker == worker
            if k in self._read_anew or not found or (self._storage.mode == "stream" and not is_here):
                return {}
            offers[k] = found[0]
        return offers

    @property
    def job(self) -> str:
        """Job whose workers hold it."""
        return self._submitter.job

    def _wanted(self, worker: str, *, staged: bool) -> BlockRequest:
        return BlockRequest(self._submitter.job, self.name, self._members.term(worker), staged)

    def _sent(self, spec: Any, worker: str, k: int, row_ranges: Mapping[int, RowRange], *, staged: bool) -> Any:
        """A partition of a table that is here: encoded here, and only then sent."""
        part = self._source.read(k)
        rows = encode_partition(part, self._recipe, k, self._found.rows[k])
        blocks = {block: rows.cut(row_range.lo, row_range.hi).compact() for block, row_range in row_ranges.items()}
        data = self._submitter.send(blocks, worker)
        more = dict[int, Any](), table_tasks.cut_groups(part, self._recipe, row_ranges)
        wanted = self._wanted(worker, staged=staged)
        return self._submitter.submit("encode", worker, table_tasks.keep, data, spec, wanted, *more)

    def explained(self, key: tuple[str, int], error: Exception) -> Exception | None:
        """An error of a task that reads, in the words of one that is raised without a cluster.

        None where only this worker has no room, and others have.
        """
        worker, k = key
        if isinstance(error, (MemoryError, StorageError)):
            return self._members.excused(worker, error)
        return explained(error, f"partition {k} of {self._source.label}", f" on {worker}")


def fixed_hosts(shards: Mapping[str, tuple[int, ...]], held: Mapping[str, set[int]]) -> dict[str, str]:
    """Worker of every fixed shard of which one has all blocks, given the blocks of each worker."""
    holders: dict[int, list[str]] = {}
    for worker in sorted(held):
        for k in held[worker]:
            holders.setdefault(k, []).append(worker)
    found = {}
    for name, blocks in shards.items():
        able = [worker for worker in holders.get(next(iter(blocks), -1), ()) if held[worker].issuperset(blocks)]
        if able:
            found[name] = able[0]
    return found
