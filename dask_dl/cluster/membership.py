"""The workers that take part in a training: how they join, what each holds, and what becomes of it when one is gone.

Everything on the workers is a cache (`plugin`). What must not get lost is here: which blocks belong to whom, and which
version of the weights counts.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Self

from dask_dl.cluster import round_tasks
from dask_dl.cluster.admission import ASKING, Admission
from dask_dl.cluster.block_moves import BlockMoves
from dask_dl.cluster.demand import Demand
from dask_dl.cluster.handover import Handover, Inbox, NetworkState
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.plugin import GoneError, ShardRows, TrainingPlugin, name_of
from dask_dl.cluster.submit import LOOK, POLL, STEP, Submitter, TaskSpec, is_lost
from dask_dl.cluster.waiting import Reminder, ending, within
from dask_dl.errors import ClusterError, DaskDLError, NoWorkersError, ReplicasLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_dl.cluster.backend import Reporter
    from dask_dl.cluster.liveness import Member
    from dask_dl.cluster.setup import Setup
    from dask_dl.cluster.tables import Table
    from dask_dl.node.parallelism import Parallelism

#: Weight of the newest round in the measured speed of a worker ...
NEWNESS = 0.3
#: ... and the seconds that it has to take, to count.
MIN_SECONDS = 0.01
#: Seconds that the cluster gets to prepare the workers, and to clean up.
PREPARING = 30.0
#: Workers that a training asks an adaptive cluster for at a time: as many as it has, and at least so many.
MIN_GROWTH = 4


class Membership:
    """Workers, with the blocks and the weights that they hold.

    Parameters
    ----------
    client : distributed.Client
    timeout : float
        Seconds to wait for a worker when there is none.
    tell : Reporter
        Told of whatever happens to workers.
    strict : bool
        Whether a worker that cannot do the work is an error at the start; else it is left out, as one that joins later.
    chosen : callable
        Given the addresses of all workers, returns those that may take part.
    """

    choice: Callable[[Member], Parallelism]  #: what the threads of a worker shall do

    def __init__(
        self,
        client: Any,
        timeout: float,
        tell: Reporter,
        *,
        strict: bool = True,
        chosen: Callable[[Iterable[str]], set[str]] = set,
    ) -> None:
        say = tell.say
        self.client = client
        self.job = uuid.uuid4().hex[:8]
        self.liveness = Liveness(client, say, chosen)
        self.submitter = Submitter(client, self.liveness, self.job, timeout, say)
        self.tables: dict[str, Table] = {}
        self.trained = ""  #: key of the table that is trained on
        self.setup: Setup | None = None  #: what shards have to know, from the start of a training on
        self.is_training = False  #: whether there is a trainer
        self.taking_part: dict[str, Member] = {}
        self.version = self._newest = 0  #: of the weights
        self.has_weights = False  #: whether there are any of the trainer of now
        self.holders: set[str] = set()  #: workers that have this version
        self.admission = Admission(client, tell)
        self.demand = Demand(client, self.job)
        self.inbox = Inbox(client, self.job)
        self.kept: NetworkState | None = None  #: this version, while no worker has it
        self.speeds: dict[str, float] = {}  #: rows per second of those that were measured
        self._timeout, self._say, self._strict = timeout, say, strict
        self.moves = BlockMoves(self.submitter, self.tables, self.taking_part, self.strengths, self.lose)
        self._departed: dict[str, int] = {}  #: worker that is gone -> version of the weights that it had
        self._terms: dict[str, int] = {}
        self._joining: dict[str, Any] = {}  #: newcomer -> future: it compiles ...
        self._invited: dict[str, float] = {}  #: ... and since when
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._cleanup.callback(self.demand.withdraw)
            self._cleanup.callback(self.admission.close)
            self.demand.show(1)
            self._ask_all()
            self.demand.show(sum(member.n_threads for member in self.liveness.alive.values()))
            self._cleanup.callback(self.inbox.close)
            self.inbox.open()
            self._cleanup.callback(self._leave)
            self._prepare()
        except BaseException:  # an interrupt too must leave nothing behind
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _ask_all(self) -> None:
        """Have all workers say what is installed; those that stay silent are asked again later.

        Raises ClusterError when the answer of one rules it out or, where they are left out, when no other is left.
        """
        silent_until = time.monotonic() + ASKING

        def have_answered(alive: Mapping[str, Member]) -> bool:
            self.admission.ask(alive)
            if self.admission.is_asking and time.monotonic() < silent_until:
                return False  # so that one error names all workers that are ruled out
            self.admission.judge(alive, strict=self._strict)
            return self.admission.suffices(alive, partly=time.monotonic() > silent_until)

        self._until(have_answered, "workers to say what is installed")

    def _prepare(self) -> None:
        """Give the training a place on every worker. Raises ClusterError."""
        error = within(PREPARING, lambda: self.client.register_plugin(TrainingPlugin(self.job)))
        if isinstance(error, OSError):  # a worker died meanwhile, or hangs (TimeoutError): its tasks will tell
            self._say(f"not all workers could be prepared: {error!r}")
        elif error is not None:
            raise ClusterError(f"the workers could not be prepared: {error!r}. Restart those that hang.") from error

    def _leave(self) -> None:
        """Nothing stays on the workers, no future, no thread, no state; nor on the scheduler."""
        unfinished = [f for f in (*self._joining.values(), *self.moves.futures) if f.status == "pending"]
        if unfinished:
            within(PREPARING, lambda: self.client.cancel(unfinished))
        self.submitter.sweep()
        if not self.liveness.is_connected:  # what is there of the training ends with the scheduler
            return
        within(PREPARING, lambda: self.client.unregister_worker_plugin(name_of(self.job)))
        within(PREPARING, self.submitter.tidy)

    def _until(self, is_done: Callable[[Mapping[str, Member]], bool], what: str) -> None:
        """Look at the workers until something holds of them.

        Raises NoWorkersError after `worker_timeout` seconds, when no worker could make it so.
        """
        deadline, remind = time.monotonic() + self._timeout, Reminder(self._say)
        max_age = LOOK  # a round asks several times whether all is well
        while not is_done(alive := self.liveness.wait(self._timeout, self.submitter.look_after, max_age)):
            max_age = 0.0
            reasons = "".join(f" {w}: {why}" for w, why in self.admission.refused.items() if w in alive)
            now, able = time.monotonic(), alive.keys() & (self.taking_part.keys() | self.admission.facts.keys())
            is_asking = self.admission.is_asking and now < deadline + ASKING
            if now > deadline and not (able or is_asking):
                raise NoWorkersError(
                    f"no worker could do the work for {self._timeout:g} s, though {len(alive)} were there.{reasons} Start "
                    f"others, or wait longer for them: worker_timeout."
                )
            n_compiling = f", {len(self._joining)} of them compile the kernels" if self._joining else ""
            remind(f"{what} ({len(alive)} are there{n_compiling}).{reasons}")
            self.submitter.look_after()
            if self._joining:
                some = ending(self.client, self._joining.values(), first=True)
                with contextlib.suppress(TimeoutError, CancelledError), some as end:
                    end.exception(POLL)
            else:
                time.sleep(POLL / 5)

    def term(self, worker: str) -> int:
        """Number of times a worker was considered lost: tasks of an earlier term are stale."""
        return self._terms.get(worker, 0)

    # ---- who is there -----------------------------------------------------------------------------------------------

    def usable(self) -> dict[str, Member]:
        """Workers that take part or, before the training begins, that can. Raises NoWorkersError."""
        found: dict[str, Member] = {}

        def has_some(alive: Mapping[str, Member]) -> bool:
            self.admission.ask(alive)
            self.admission.judge(alive)
            able = alive.keys() & self.taking_part.keys() or alive.keys() & self.admission.facts.keys()
            found.update({worker: alive[worker] for worker in able})
            return bool(found)

        self._until(has_some, "a worker that can do the work")
        return found

    @property
    def training(self) -> Table:
        """The table that is trained on."""
        return self.tables[self.trained]

    def strengths(self, table: str = "") -> dict[str, float]:
        """Threads of the workers that can take part, or do if the training has begun.

        For the training table their rows per second, as soon as some were measured. Raises NoWorkersError.
        """
        liveness = self.usable()
        known = {w: speed for w, speed in self.speeds.items() if w in liveness and table in {"", self.trained}}
        per_thread = sum(known.values()) / sum(liveness[w].n_threads for w in known) if known else 1.0
        return {worker: known.get(worker, per_thread * member.n_threads) for worker, member in liveness.items()}

    def settle(self, *kept: Iterable[Any]) -> None:
        """Before a step: the gone are forgotten, the new taken in; all workers have weights, and all blocks a worker.

        Futures are released but for those in `kept`.
        """
        self.submitter.sweep(self._joining.values(), self.moves.futures, *kept)
        for _ in self.submitter.attempts():
            self.look()
            self.welcome()
            if self.has_weights:
                self.bring_weights()
            for table in self.tables.values():
                table.lose(table.held.keys() - self.taking_part.keys())
            if any(table.missing for table in self.tables.values()):
                for table in self.tables.values():
                    table.fill(lambda table=table: self.strengths(table.name))  # type: ignore[misc]  # mypy cannot infer a lambda's default
                continue  # workers may have gone meanwhile
            if self.has_weights:
                self.moves.advance()  # a worker may be lost in it, with the only copy of its blocks
            is_whole = not any(table.missing for table in self.tables.values())
            if self.taking_part and self.taking_part.keys() <= self.liveness.alive.keys() and is_whole:
                break
        self._show_demand()

    def _show_demand(self) -> None:
        """Ask adaptive scaling for as many workers as could have blocks: step by step, and beside those of no use."""
        n, alive = len(self.taking_part), self.liveness.alive
        table = self.tables.get(self.trained)
        n_useful = 1 if table is None or table.placement == "single" else len(table.row_ranges)
        n_wanted = min(n_useful, n + max(n, MIN_GROWTH)) + len(alive.keys() & self.admission.refused.keys())
        per_worker = sum(member.n_threads for member in alive.values()) / max(1, len(alive))
        self.demand.show(round(n_wanted * per_worker))

    def look(self) -> None:
        """Forget workers that are gone."""
        alive = self.liveness.look()
        self.lose([worker for worker in self.taking_part if worker not in alive], "is gone")

    def lose(self, workers: Iterable[str], why: str) -> None:
        """Forget workers, and what they held. Those that are alive after all may join anew, somewhat later."""
        for worker in workers:
            if self.taking_part.pop(worker, None) is None:
                continue
            n = sum(table.lose([worker]) for table in self.tables.values())
            self._terms[worker] = self.term(worker) + 1
            self._say(f"worker {worker} {why}: its {n:,} blocks have to be read again")
            if worker in self.holders:
                self._departed[worker] = self.version
            self.holders.discard(worker)
            if worker in self.liveness.alive:
                self.admission.failed(worker, f"it {why}")
            self.speeds.pop(worker, None)
            self.moves.forget(worker)

    def welcome(self, *, all_of_them: bool = False) -> None:
        """Take in workers that have compiled the kernels, and have new ones compile. Raises NoWorkersError.

        Waits where no worker is left, for those whose blocks would have to be read again, or for `all_of_them`.
        """

        def are_in(alive: Mapping[str, Member]) -> bool:
            self.admission.ask(alive)
            self.admission.judge(alive)
            self._invite(alive)
            self._take_in(alive)
            holders = {worker for table in self.tables.values() for worker in table.held}
            return bool(self.taking_part) and not (self._joining if all_of_them else self._joining.keys() & holders)

        self._until(are_in, "a worker that can do the work")

    def _invite(self, alive: Mapping[str, Member]) -> None:
        """Have workers get ready for taking part."""
        new = alive.keys() & self.admission.facts.keys() - self.taking_part.keys() - self._joining.keys()
        new = {worker for worker in new if self.admission.is_due(worker)}
        calls = {w: TaskSpec(round_tasks.ready, (self.job, self.setup, self.term(w))) for w in sorted(new)}
        self._joining |= self.submitter.on_each("compile", calls)
        self._invited |= dict.fromkeys(new, time.monotonic())

    def _take_in(self, alive: Mapping[str, Member]) -> None:
        """Those that are ready take part from now on."""
        for worker, future in list(self._joining.items()):
            is_late = time.monotonic() - self._invited[worker] > STEP
            if future.status == "pending" and worker in alive and not is_late:
                continue
            del self._joining[worker]
            if future.status == "finished" and worker in alive:
                self.taking_part[worker] = alive[worker]
                self.moves.request()
                if self.has_weights:
                    self._say(f"worker {worker} joined")
                continue
            error = future.exception() if future.status == "error" else None
            if error is not None and not is_lost(error):
                if (cause := self.excused(worker, error, waits=True)) is not None:
                    raise cause
            elif worker in alive:
                self.admission.failed(worker, f"it did not compile the kernels ({error or future.status})")
            self.submitter.cancel([future])

    def excused(self, worker: str, error: Exception, *, waits: bool = False) -> Exception | None:
        """Leave out a worker that cannot do its part; returns what to raise instead where it cannot be spared.

        It can be where others are there or, once the training has begun, where others may be waited for.
        """
        others = self.liveness.alive.keys() & self.admission.facts.keys() - {worker}
        if others or (waits and self.version > 1):  # 1: the weights of the start
            self.admission.refuse(worker, str(error) if isinstance(error, DaskDLError) else repr(error))
            self.lose([worker], "is left out")
            return None
        if isinstance(error, DaskDLError):
            return error
        return ClusterError(f"worker {worker} cannot do its part: {error!r}.")

    # ---- what they hold ---------------------------------------------------------------------------------------------

    def begin(self, setup: Setup) -> None:
        """Have all workers get ready for a trainer; what was measured of an earlier one is of no use to it."""
        is_first = not self.trained and not self.taking_part
        self.forget_weights()
        self.setup, self.trained, self.is_training = setup, setup.table, True
        self.speeds.clear()
        self.welcome(all_of_them=True)
        if not is_first:  # else workers compile when they begin to take part
            calls = {w: TaskSpec(round_tasks.ready, (self.job, setup, self.term(w))) for w in self.taking_part}
            explain = functools.partial(self.excused, waits=True)
            self.lose(self.submitter.run("compile", calls, explain=explain)[1], "did not answer")

    def end(self) -> None:
        """Have workers let go of what belongs to the trainer; blocks stay with them."""
        self.is_training = False
        self.forget_weights()
        self.submitter.sweep(self._joining.values(), self.moves.futures)
        workers = list(self.taking_part)
        release = functools.partial(self.client.run, round_tasks.release, self.job, workers=workers, on_error="ignore")
        within(PREPARING, release)

    @property
    def of_trainer(self) -> Setup:
        """Settings of the trainer that there is."""
        assert self.setup is not None
        return self.setup

    def forget_weights(self) -> None:
        """Forget who has weights: they are of a trainer that is over."""
        self.has_weights, self.holders, self.kept = False, set(), None
        self._departed.clear()

    def adopt(self, given: NetworkState) -> None:
        """Go on from a network that is here, as soon as workers have it."""
        self.next_version()
        self.has_weights, self.kept = True, given

    def next_version(self) -> None:
        """Weights that no worker has yet are of a version that there never was, even after one went back to another."""
        self._newest += 1
        self.version, self.holders = self._newest, set()

    def bring_weights(self) -> None:
        """Workers without the weights that count get them: from one that has them, or from here. Raises ReplicasLostError."""
        while behind := [worker for worker in self.taking_part if worker not in self.holders]:
            if not self.holders:
                self.find_kept()
            source = min(self.holders or self.taking_part)
            if self.holders:
                given = self.submitter.submit("give", source, round_tasks.give, self.job, self.version)
                is_given = not self.submitter.wait({source: given})
            else:
                given, is_given = self._sent(source)
            done, lost = self.take(given, behind, source) if is_given else ({}, {source})
            self.lose(lost, "did not answer")
            if done:
                self.kept = None

    def _sent(self, worker: str) -> tuple[Any, bool]:
        """The network that is kept here, on its way to a worker, and whether it has arrived."""
        try:
            return self.submitter.send(self.kept, worker), True
        except GoneError:
            return None, False

    def find_kept(self) -> NetworkState:
        """The network that no worker has: kept here, or handed over by closed workers. Raises ReplicasLostError."""
        if self.kept is None:
            workers = [worker for worker, version in self._departed.items() if version == self.version]
            for left in self.handed_over(workers):
                if left.version == self.version and not left.n_rows:
                    self.kept = left.network
        if self.kept is None:
            raise ReplicasLostError("all workers that held the weights are gone.")
        return self.kept

    def handed_over(self, workers: Iterable[str]) -> list[Handover]:
        """Handovers that closed workers have left."""
        return self.inbox.collect(workers, self.liveness, self.submitter.look_after)

    def take(self, given: Any, workers: Iterable[str], source: str) -> tuple[dict[str, Any], set[str]]:
        """Workers go on with a network, a future that lies on `source`; returns those that do, and those that were lost."""
        calls = {
            worker: TaskSpec(
                round_tasks.take, (given, self.job, self.version, self.setup, self.choice(self.taking_part[worker]))
            )
            for worker in workers
        }

        def explain(worker: str, error: Exception) -> Exception | None:
            return self.excused(worker, error, waits=True)

        done, lost = self.submitter.run("take", calls, also=[source], explain=explain)
        self.holders |= done.keys()
        return done, lost

    def clock(self, worker: str, n_rows: int, seconds: float) -> None:
        """Note how fast a worker was."""
        if n_rows and seconds > MIN_SECONDS:
            speed, before = n_rows / seconds, self.speeds.get(worker)
            self.speeds[worker] = speed if before is None else before + NEWNESS * (speed - before)

    def rebalance(self, table: Table) -> None:
        """Have blocks moved from slow workers to fast ones, as soon as it is known which these are."""
        if self.speeds:
            self.moves.rebalance(table)

    def of_shards(self, name: str, table: str, call: Callable[[ShardRows], TaskSpec]) -> list[Any]:
        """Answers of all shards with rows of a table, in the order of the shards; a call is given the rows of one."""
        found: list[Any] = []
        for _ in self.submitter.attempts():
            self.settle()
            rows = self.tables[table]
            hosts = [(worker, shard) for shard, worker in rows.readers().items()]
            done, lost = self.submitter.run(name, {key: call(rows.rows_of(key[1])) for key in hosts})
            found = [done[key] for key in hosts if key in done]
            if not lost:
                break
            self.lose({worker for worker, _ in lost}, "did not answer")
        return found
