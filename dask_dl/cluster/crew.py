"""The workers that take part in a training: how they join, what each holds, and what becomes of it when one is gone.

Everything on the workers is a cache (`residence`). What must not get lost is here: which blocks belong to whom, and which
version of the weights counts.
"""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Self

from distributed import span

from dask_dl.cluster import environment, residence
from dask_dl.cluster.members import Members
from dask_dl.cluster.residence import GoneError, Residence, name_of
from dask_dl.cluster.work import Call, Work, within
from dask_dl.errors import ClusterError, NoWorkersError, ReplicasLostError, SchemaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_dl.cluster.members import Member
    from dask_dl.cluster.station import Setup
    from dask_dl.cluster.tables import Table
    from dask_dl.node.parallelism import Parallelism

#: How often a step is tried again after workers were lost in it.
ATTEMPTS = 20
#: A worker is as fast as it was measured to be, newer rounds counting so much ...
NEWNESS = 0.3
#: ... those shorter than so many seconds not at all.
SHORTEST = 0.01
#: Blocks move to faster workers when rounds then take so much less, at the earliest so many seconds after the last time.
WORTH_MOVING, SECONDS_PER_MOVE = 1.25, 20.0
#: How often blocks that cannot be written or read where they are to go are tried to be moved.
MOST_FAILED = 3
#: Seconds that the cluster gets to say what is installed, and to clean up.
ASKING = 30.0


class Crew:
    """Workers, with the blocks and the weights that they hold.

    Parameters
    ----------
    client : distributed.Client
    timeout : float
        Seconds to wait for a worker when there is none.
    say : callable
        Told, in a line, of whatever happens to workers.
    """

    setup: Setup  #: what residences have to know, from the start of the training on
    choice: Callable[[Member], Parallelism]  #: what the threads of a worker shall do

    def __init__(self, client: Any, timeout: float, say: Callable[[str], None]) -> None:
        self.client = client
        self.job = uuid.uuid4().hex[:8]
        self.members = Members(client)
        self.work = Work(client, self.members, self.job, timeout, say)
        self.tables: dict[str, Table] = {}
        self.taking_part: dict[str, Member] = {}
        self.version = 0  #: of the weights; 0: there are none yet
        self.holders: set[str] = set()  #: workers that have this version
        self.facts: dict[str, dict[str, Any]] = {}  #: what it said
        self.speeds: dict[str, float] = {}  #: rows per second of those that were measured
        self._timeout, self._say = timeout, say
        self._refused: set[str] = set()  #: workers that cannot take part
        self._terms: dict[str, int] = {}
        self._invited: dict[str, int] = {}  #: how often a worker has been
        self._joining: dict[str, Any] = {}  #: newcomer -> future: it compiles
        self._moving: dict[tuple[str, str, int], Any] = {}  #: (worker, table, partition) -> future: blocks on their way
        self._is_level = True  #: whether all workers have had their share of blocks
        self._moved_at = time.monotonic()
        self._n_failed = 0  #: how often blocks could not move
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.members.wait(self._timeout, self.work.on_wait)
        self._cleanup.enter_context(span("dask-dl-fit"))
        self._cleanup.callback(self._leave)
        try:
            for warning in self._ask(list(self.members.alive)):
                warnings.warn(warning, stacklevel=6)
            error = within(ASKING, lambda: self.client.register_plugin(Residence(self.job)))
            if error is not None:
                self._fail(error)
        except BaseException:  # an interrupt too must leave nothing behind
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @staticmethod
    def _fail(error: Exception) -> NoReturn:
        raise ClusterError(f"the workers could not be prepared: {error!r}. Restart those that hang.") from error

    def _leave(self) -> None:
        """Nothing stays on the workers: no future, no thread, no state."""
        unfinished = [f for f in (*self._joining.values(), *self._moving.values()) if f.status == "pending"]
        if unfinished:
            within(ASKING, lambda: self.client.cancel(unfinished))
        self.work.sweep()
        within(ASKING, lambda: self.client.unregister_worker_plugin(name_of(self.job)))

    def _ask(self, workers: list[str]) -> list[Warning]:
        """Learn what is installed on workers; returns warnings. Raises ClusterError when they cannot do the work."""
        answers: dict[str, Any] = {}

        def ask() -> None:
            answers.update(self.client.run(environment.describe, workers=workers, on_error="return"))

        error = within(ASKING, ask)
        if error is not None and len(workers) > 1:  # one of them may keep the others from being heard
            warned: list[Warning] = []
            for worker in workers:
                with contextlib.suppress(ClusterError):
                    warned += self._ask([worker])
            if not self.facts:
                self._fail(error)
            return warned
        if error is not None:
            self._refused.update(workers)
            self._say(f"not used: {workers[0]} could not be asked what is installed: {error!r}")
            self._fail(error)
        found = environment.check(answers)
        self.facts |= answers
        return list(found)

    def term(self, worker: str) -> int:
        """How often a worker was taken for lost: tasks of an earlier term come too late."""
        return self._terms.get(worker, 0)

    # ---- who is there -----------------------------------------------------------------------------------------------

    def strengths(self, table: str = "training") -> dict[str, float]:
        """Threads of the workers that can take part, or do if the training has begun.

        For the training table their rows per second, as soon as some were measured. Raises NoWorkersError.
        """
        members: Mapping[str, Member] = {w: m for w, m in self.taking_part.items() if w in self.members.alive}
        while not members:
            alive = self.members.wait(self._timeout, self.work.on_wait)
            members = {worker: member for worker, member in alive.items() if worker in self.facts}
            if not members:
                self._ask(list(alive))
        known = {w: speed for w, speed in self.speeds.items() if w in members and table == "training"}
        per_thread = sum(known.values()) / sum(members[w].n_threads for w in known) if known else 1.0
        return {worker: known.get(worker, per_thread * member.n_threads) for worker, member in members.items()}

    def settle(self, *kept: Iterable[Any]) -> None:
        """Before a step: the gone are forgotten, the new taken in; all workers have weights, and all blocks a worker.

        Futures are released but for those in `kept`.
        """
        self.work.sweep(self._joining.values(), self._moving.values(), *kept)
        for _ in range(ATTEMPTS):
            self.look()
            self.welcome()
            if self.version:
                self._bring_weights()
            if any(table.missing for table in self.tables.values()):
                for table in self.tables.values():
                    table.fill(lambda table=table: self.strengths(table.name))  # type: ignore[misc]  # mypy cannot infer a lambda's default
                continue  # somebody may have gone meanwhile
            if self.version:
                self._move_blocks()
            if self.taking_part.keys() <= self.members.alive.keys():
                return
        raise self.too_often()

    @staticmethod
    def too_often() -> ClusterError:
        """When trying again is of no use."""
        return ClusterError(
            f"workers were lost {ATTEMPTS} times in a row. See their logs: do they die of too little memory?"
        )

    def look(self) -> None:
        """Forget workers that are gone."""
        alive = self.members.look()
        self.lose([worker for worker in self.taking_part if worker not in alive], "is gone")

    def lose(self, workers: Iterable[str], why: str) -> None:
        """Forget workers, and what they held. Those that are alive after all may join anew."""
        for worker in workers:
            if self.taking_part.pop(worker, None) is None:
                continue
            n = sum(table.lose([worker]) for table in self.tables.values())
            self._terms[worker] = self.term(worker) + 1
            self._say(f"worker {worker} {why}: its {n:,} blocks have to be read again")
            self.holders.discard(worker)
            self.speeds.pop(worker, None)
            for key in [key for key in self._moving if key[0] == worker]:
                del self._moving[key]
                self._is_level = False

    def welcome(self, *, all_of_them: bool = False) -> None:
        """Take in workers that have compiled the kernels, and have new ones compile.

        Waits only where nobody is left, or for `all_of_them`. Raises NoWorkersError.
        """
        while True:
            alive = self.members.wait(self._timeout, self.work.on_wait)
            new = sorted(alive.keys() - self.taking_part.keys() - self._joining.keys() - self._refused)
            if new:
                self._invite(new)
            if self._joining and (all_of_them or not self.taking_part):
                self.work.wait(dict(self._joining))
            for worker, future in list(self._joining.items()):
                if future.status == "pending" and worker in alive:
                    continue
                del self._joining[worker]
                if future.status == "finished":
                    self.taking_part[worker] = alive[worker]
                    self._is_level = False
                    if self.version:
                        self._say(f"worker {worker} joined")
            if self.taking_part:
                return
            if self._refused >= alive.keys():
                raise NoWorkersError("none of the workers that are left can do the work: see what was said of them.")

    def _invite(self, workers: list[str]) -> None:
        """Have workers get ready for taking part."""
        strangers = [worker for worker in workers if worker not in self.facts]
        try:
            if strangers:
                self._ask(strangers)
        except ClusterError as error:
            self._refused.update(strangers)
            self._say(f"not used: {error}")
            workers = [worker for worker in workers if worker not in strangers]
        for worker in workers:
            self._invited[worker] = self._invited.get(worker, 0) + 1
            if self._invited[worker] > ATTEMPTS:
                self._refused.add(worker)
                self._say(f"not used: {worker} was lost {ATTEMPTS} times")
        workers = [worker for worker in workers if worker not in self._refused]
        calls = {worker: Call(residence.ready, (self.job, self.setup, self.term(worker))) for worker in workers}
        self._joining |= self.work.on_each("compile", calls)

    # ---- what they hold ---------------------------------------------------------------------------------------------

    def _bring_weights(self) -> None:
        """Workers without the weights that count get them from one that has them. Raises ReplicasLostError."""
        while behind := [worker for worker in self.taking_part if worker not in self.holders]:
            if not self.holders:
                raise ReplicasLostError("all workers that held the weights are gone.")
            source = min(self.holders)
            given = self.work.submit("give", source, residence.give, self.job, self.version)
            done, lost = self.take(given, behind, source)
            if not done:
                self.lose([source] if given.status != "finished" else lost, "did not answer")

    def take(self, given: Any, workers: Iterable[str], source: str) -> tuple[dict[str, Any], set[str]]:
        """Workers go on with a network, a future that lies on `source`; returns those that do, and those that were lost."""
        calls = {
            worker: Call(
                residence.take, (given, self.job, self.version, self.setup, self.choice(self.taking_part[worker]))
            )
            for worker in workers
        }
        done, lost = self.work.run("take", calls, also=[source])
        self.holders |= done.keys()
        return done, lost

    def clock(self, worker: str, n_rows: int, seconds: float) -> None:
        """Note how fast a worker was."""
        if n_rows and seconds > SHORTEST:
            speed, before = n_rows / seconds, self.speeds.get(worker)
            self.speeds[worker] = speed if before is None else before + NEWNESS * (speed - before)

    def level(self, table: Table) -> None:
        """Have blocks moved from slow workers to fast ones, when that is worth it; not where nobody is clocked."""
        now = time.monotonic()
        if (
            not self.speeds
            or self._n_failed >= MOST_FAILED
            or not self._is_level
            or self._moving
            or now - self._moved_at < SECONDS_PER_MOVE
            or table.spread != "shared"
        ):
            return
        strengths = self.strengths()
        rows = {worker: table.n_visits_of(worker) for worker in strengths}
        longest = max(rows[worker] / strengths[worker] for worker in strengths)
        if longest > WORTH_MOVING * sum(rows.values()) / sum(strengths.values()):
            self._is_level, self._moved_at = False, now

    def _move_blocks(self) -> None:
        """Blocks that newcomers have read become theirs; others are sent on their way, beside the training."""
        if self._moving:
            if any(future.status == "pending" for future in self._moving.values()):
                return
            self._take_over()
        if self._is_level:
            return
        self._is_level = True
        for name, table in self.tables.items():
            wanted, is_all = table.few(table.wanted(self.strengths(name)))
            self._is_level = self._is_level and is_all  # the others when these have arrived
            try:
                sent = table.send(wanted, staged=True) if wanted else {}
                if wanted:
                    n = sum(map(len, wanted.values()))
                    self._say(f"{n} blocks of the {name} table move to {', '.join(sorted(wanted))}")
            except GoneError:
                self._is_level = False  # another time
                return
            self._moving |= {(worker, name, k): future for (worker, k), future in sent.items()}

    def _take_over(self) -> None:
        """Between two rounds: newcomers take part with their blocks; where they do, former holders let go of them."""
        moving, self._moving = self._moving, {}
        try:
            arrived, lost = self.work.results(moving, self.work.wait(moving))
        except (StorageError, SchemaError) as error:  # whoever has them goes on with them
            self._say(f"blocks stay where they are: {error}")
            self._n_failed += 1
            self._is_level = self._is_level or self._n_failed >= MOST_FAILED
            unwanted: dict[str, list[tuple[str, int]]] = {}
            for worker, name, k in moving:
                pieces = enumerate(self.tables[name].pieces)
                unwanted.setdefault(worker, []).extend((name, b) for b, piece in pieces if piece.partition == k)
            with contextlib.suppress(StorageError, SchemaError):
                self.work.wait({w: f for w, f in moving.items() if f.status == "pending"})
            self.work.run(
                "move", {w: Call(residence.drop_staged, (self.job, blocks)) for w, blocks in unwanted.items()}
            )
            return
        self._is_level = self._is_level and not lost
        taken: dict[str, list[tuple[str, int]]] = {}
        for (worker, name, _), held in arrived.items():
            if worker in self.taking_part:
                taken.setdefault(worker, []).extend((name, k) for k in held.n_visits)
        calls = {worker: Call(residence.take_over, (self.job, blocks)) for worker, blocks in taken.items()}
        done, failed = self.work.run("move", calls)
        given: dict[str, list[tuple[str, int]]] = {}
        for (worker, name, _), held in arrived.items():
            if worker in done:
                self.tables[name].settle(held)
                for other, blocks in self.tables[name].give_up({worker: held.n_visits}).items():
                    given.setdefault(other, []).extend((name, k) for k in blocks)
        calls = {worker: Call(residence.give_up, (self.job, blocks)) for worker, blocks in given.items()}
        self.lose(failed | self.work.run("move", calls)[1], "did not answer")

    def of_holders(self, name: str, table: str, call: Callable[[int], Call]) -> list[Any]:
        """What all workers with rows of a table answer, in the order of their blocks; a call is given the worker's mark."""
        for _ in range(ATTEMPTS):
            self.settle()
            workers = self.tables[table].readers()
            done, lost = self.work.run(name, {worker: call(self.tables[table].mark(worker)) for worker in workers})
            if not lost:
                return [done[worker] for worker in workers]
            self.lose(lost, "did not answer")
        raise self.too_often()
