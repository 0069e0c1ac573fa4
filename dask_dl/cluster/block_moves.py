"""Moves of blocks to newcomers and to faster workers: they are sent beside the training, and change hands between rounds."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from dask_dl.cluster import table_tasks
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.submit import TaskSpec
from dask_dl.errors import SchemaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from dask_dl.cluster.submit import Submitter
    from dask_dl.cluster.tables import Table

#: Blocks move to faster workers when rounds then take so much less, at the earliest so many seconds after the last time.
WORTH_MOVING, SECONDS_PER_MOVE = 1.25, 20.0
#: How often blocks that cannot be written or read where they are to go are tried to be moved.
MAX_FAILED = 3


class BlockMoves:
    """Moves of blocks between the workers of a training.

    Parameters
    ----------
    submitter : Submitter
    tables : mapping of str to Table
        Tables of the training, by name.
    taking_part : collection of str
        Workers that take part at the moment.
    strengths : callable
        Returns, for the name of a table, how much of it each worker should hold.
    lose : callable
        Given workers, and why, forgets them.
    """

    def __init__(
        self,
        submitter: Submitter,
        tables: Mapping[str, Table],
        taking_part: Collection[str],
        strengths: Callable[[str], Mapping[str, float]],
        lose: Callable[[Iterable[str], str], None],
    ) -> None:
        self._submitter, self._tables, self._taking_part = submitter, tables, taking_part
        self._strengths, self._lose = strengths, lose
        self._moving: dict[tuple[str, str, int], Any] = {}  #: (worker, table, partition) -> future: blocks on their way
        self._is_balanced = True  #: whether all workers have had their share of blocks
        self._moved_at = time.monotonic()
        self._n_failed = 0  #: how often blocks could not move

    @property
    def futures(self) -> Collection[Any]:
        """Futures of blocks on their way."""
        return self._moving.values()

    def request(self) -> None:
        """Have every worker get its share of blocks, as far as it has not."""
        self._is_balanced = False

    def stay(self) -> None:
        """Leave blocks where they are, until a worker joins."""
        self._is_balanced = True

    def forget(self, worker: str) -> None:
        """Forget what is on its way to a worker that is gone.

        At once: a partition that is to be read there, and nowhere else, would not be read for others that need it too.
        """
        gone = [self._moving.pop(key) for key in list(self._moving) if key[0] == worker]
        self._submitter.cancel(gone)
        self._is_balanced = self._is_balanced and not gone

    def rebalance(self, table: Table) -> None:
        """Have blocks moved from slow workers to fast ones, when that is worth it."""
        now = time.monotonic()
        if (
            self._n_failed >= MAX_FAILED
            or not self._is_balanced
            or self._moving
            or now - self._moved_at < SECONDS_PER_MOVE
            or table.placement != "sharded"
        ):
            return
        strengths = self._strengths(table.name)
        rows = {worker: table.n_visits_of(worker) for worker in strengths}
        longest = max(rows[worker] / strengths[worker] for worker in strengths)
        if longest > WORTH_MOVING * sum(rows.values()) / sum(strengths.values()):
            self._is_balanced, self._moved_at = False, now

    def advance(self) -> None:
        """Blocks that newcomers have read become theirs; others are sent on their way, beside the training."""
        if self._moving:
            if any(future.status == "pending" for future in self._moving.values()):
                return
            self.take_over()
        if self._is_balanced:
            return
        self._is_balanced = True
        for name, table in self._tables.items():
            wanted, is_all = table.few(table.wanted(self._strengths(name)))
            self._is_balanced = self._is_balanced and is_all  # the others when these have arrived
            try:
                sent = table.send(wanted, staged=True) if wanted else {}
                if wanted:
                    n = sum(map(len, wanted.values()))
                    self._submitter.say(f"{n} blocks of the {name} table move to {', '.join(sorted(wanted))}")
            except GoneError:
                self._is_balanced = False  # another time
                return
            self._moving |= {(worker, name, k): future for (worker, k), future in sent.items()}

    def take_over(self) -> None:
        """Between two rounds: newcomers take part with their blocks; where they do, former holders let go of them."""
        moving, self._moving = self._moving, {}
        try:
            arrived, lost = self._submitter.results(moving, self._submitter.wait(moving))
        except (StorageError, SchemaError) as error:  # workers that have them go on with them
            self._submitter.say(f"blocks stay where they are: {error}")
            self._n_failed += 1
            self._is_balanced = self._is_balanced or self._n_failed >= MAX_FAILED
            self._drop(moving)
            return
        self._is_balanced = self._is_balanced and not lost
        taken: dict[str, list[tuple[str, int]]] = {}
        for (worker, name, _), held in arrived.items():
            if worker in self._taking_part:
                taken.setdefault(worker, []).extend((name, k) for k in held.n_used)
        done, failed = self.run(table_tasks.take_over, taken)
        given: dict[str, list[tuple[str, int]]] = {}
        for (worker, name, _), held in arrived.items():
            if worker in done:
                self._tables[name].settle(held)
                for other, blocks in self._tables[name].give_up({worker: held.n_used}).items():
                    given.setdefault(other, []).extend((name, k) for k in blocks)
        self._lose(failed | self.run(table_tasks.give_up, given)[1], "did not answer")

    def _drop(self, moving: Mapping[tuple[str, str, int], Any]) -> None:
        """Have workers drop the blocks that were to become theirs."""
        unwanted: dict[str, list[tuple[str, int]]] = {}
        for worker, name, k in moving:
            row_ranges = enumerate(self._tables[name].row_ranges)
            unwanted.setdefault(worker, []).extend((name, b) for b, rows in row_ranges if rows.partition == k)
        with contextlib.suppress(StorageError, SchemaError):
            self._submitter.wait({key: f for key, f in moving.items() if f.status == "pending"})
        self.run(table_tasks.drop_staged, unwanted)

    def run(
        self, task: Callable[..., Any], blocks: Mapping[str, list[tuple[str, int]]]
    ) -> tuple[dict[str, Any], set[str]]:
        """Run a task on the (table, number) of each worker's blocks."""
        calls = {worker: TaskSpec(task, (self._submitter.job, theirs)) for worker, theirs in blocks.items()}
        return self._submitter.run("move", calls)
