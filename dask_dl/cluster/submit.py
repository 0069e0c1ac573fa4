"""Tasks on certain workers, and waiting for them: always with an eye on the workers, and never for ever."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed.scheduler import KilledWorker

from dask_dl.cluster import plugin, round_tasks
from dask_dl.cluster.lost_tasks import LostTasks
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.spans import PREFIX, SENT, in_span, tidy
from dask_dl.cluster.waiting import Reminder, ending, pause_after, started
from dask_dl.errors import ClusterError, NoWorkersError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from dask_dl.cluster.liveness import Liveness

#: Seconds between two looks at interrupts and deadlines while tasks run ...
POLL = 0.1
#: ... and between two looks at the list of workers.
LOOK = 0.5
#: Seconds in which at least one of some tasks must end, where nothing else is said.
STEP = 600.0
#: Seconds between two messages to the workers that their driver is alive: many for each lease.
RENEWAL = plugin.LEASE / 10
#: How often a step is tried again after workers were lost in it.
ATTEMPTS = 20


class TaskSpec(NamedTuple):
    """A task for a certain worker."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Submitter:
    """Submits tasks that are pinned to workers.

    A pin to a worker that is gone would wait for ever, so the workers are watched while tasks are waited for. A task
    whose worker is gone, or knows nothing of the job any more, is *lost*: the caller decides what becomes of it. So is
    one that Dask has lost (`LostTasks`): it is cancelled while anything is waited for.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.
    liveness : Liveness
        The workers that are there.
    job : str
        Identifier of the training.
    timeout : float
        Seconds to wait for a worker when there is none.
    say : callable
        Prints a line of progress.
    """

    def __init__(self, client: Any, liveness: Liveness, job: str, timeout: float, say: Callable[[str], None]) -> None:
        self.client = client
        self.liveness = liveness
        self.job = job
        self.say = say
        self.timeout = timeout  #: seconds to wait for a worker when there is none
        self.on_wait: Callable[[], None] = lambda: (
            None
        )  #: called while anything is waited for; what it raises ends that
        self._n = 0
        self._renewed = time.monotonic()
        self._made: list[Any] = []  #: futures that are not released yet
        self._lost_tasks = LostTasks(client)

    def attempts(self) -> Iterator[None]:
        """Turns of a step that is tried again when workers were lost in it, with growing pauses in between.

        Raises ClusterError after the last one.
        """
        for n_failures in range(ATTEMPTS):
            if n_failures:
                self.pause(pause_after(n_failures))
            yield
        raise ClusterError(
            f"workers were lost {ATTEMPTS} times in a row. See their logs: do they die of too little memory?"
        )

    def pause(self, seconds: float) -> None:
        """Wait, with an eye on interrupts."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.look_after()
            time.sleep(min(POLL, left))

    def key(self, name: str) -> str:
        """A new one, that the dashboard shows as `dask-dl-<name>`."""
        self._n += 1
        return f"{PREFIX}{name}-{self.job}-{self._n}"

    def submit(self, name: str, worker: str | None, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit a task to a worker, or to any.

        Parameters
        ----------
        name : str
            Kind of task, which begins its key.
        worker : str or None
            Address of the worker; None: any.
        function : callable
        *arguments : object
            Arguments of the function.

        Returns
        -------
        distributed.Future

        Raises
        ------
        NoWorkersError
            When the client was closed meanwhile.
        """
        where: dict[str, Any] = {"workers": [worker], "allow_other_workers": False} if worker else {}
        with self._open():
            future = self.client.submit(function, *arguments, key=self.key(name), pure=False, **where)
        self._made.append(future)
        return future

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Submit into the span of trainings. A client that was closed meanwhile has no workers: raises NoWorkersError."""
        try:
            with in_span():
                yield
        except Exception as error:
            if self.client.status in {"closed", "closing"}:
                raise NoWorkersError(
                    f"the client was closed in the middle of the training: {self.client!r}."
                ) from error
            raise

    def send(self, value: Any, worker: str | None = None) -> Any:
        """A future of a value that is sent to a worker, or to any that is alive. Raises GoneError.

        Dask would send it to one that hangs, too, and wait for it.
        """
        if worker is None:
            alive = self.liveness.alive or self.liveness.look()
            if not alive:
                raise GoneError("there is no worker to send anything to.")
            worker = min(alive)
        key = self.key(SENT)
        future = self.ask(lambda: self.client.scatter({key: value}, hash=False, workers=[worker]), [worker])[key]
        self._made.append(future)
        return future

    def compute(self, tasks: Sequence[Any], workers: Sequence[str] | None = None) -> list[Any]:
        """Futures of Delayed objects, which run on some workers, or on any."""
        with self._open():
            futures: list[Any] = self.client.compute(tasks, optimize_graph=False, workers=workers)
        self._made += futures
        return futures

    def sweep(self, *kept: Iterable[Any]) -> None:
        """Release all futures but those of some collections, so that neither scheduler nor workers keep what is over.

        At once, and not when Python happens to collect them.
        """
        keep = {id(future): future for futures in kept for future in futures}
        for future in self._made:
            if id(future) not in keep:
                future.release()
        self._made = list(keep.values())

    def release(self, futures: Iterable[Any]) -> None:
        """Let go of some of what was made."""
        gone = {id(future) for future in futures}
        for future in self._made:
            if id(future) in gone:
                future.release()
        self._made = [future for future in self._made if id(future) not in gone]

    def on_each(self, name: str, calls: Mapping[Any, TaskSpec]) -> dict[Any, Any]:
        """A future for every worker, or for every tuple that begins with one."""
        return {key: self.submit(name, worker_of(key), call.function, *call.arguments) for key, call in calls.items()}

    def run(
        self,
        name: str,
        calls: Mapping[Any, TaskSpec],
        on_poll: Callable[[], None] | None = None,
        *,
        also: Iterable[str] = (),
        limit: float = STEP,
        explain: Callable[[Any, Exception], Exception | None] | None = None,
    ) -> tuple[dict[Any, Any], set[Any]]:
        """Run a task on each of some workers.

        Parameters
        ----------
        name : str
            Kind of task, which begins the keys.
        calls : mapping
            Tasks by worker, or by a tuple that begins with it.
        on_poll : callable, optional
            Called ten times a second; what it raises ends the waiting.
        also : iterable of str
            Workers without which no task can end.
        limit : float
            Seconds after which tasks are given up when not one of them has ended in this time.
        explain : callable, optional
            Given the worker and the error of its task, returns what to raise; None when the task counts as lost.

        Returns
        -------
        results : dict
            What the tasks returned, by key.
        lost : set
            Keys of the tasks that were lost.

        Raises
        ------
        Exception
            As in `wait`.
        """
        futures = self.on_each(name, calls)
        return self.results(futures, self.wait(futures, on_poll, also=also, limit=limit, explain=explain))

    def results(self, futures: Mapping[Any, Any], lost: set[Any]) -> tuple[dict[Any, Any], set[Any]]:
        """Fetch what tasks returned; a result that is lost on the way counts as lost."""
        done = {key: future for key, future in futures.items() if key not in lost}
        while done:
            wanted = list(done.values())
            try:
                found = self.ask(
                    lambda wanted=wanted: self.client.gather(wanted, errors="skip"),  # type: ignore[misc]  # mypy cannot infer a lambda's default
                    [worker_of(key) for key in done],
                )
            except GoneError:
                found = []
            if len(found) == len(done):
                return dict(zip(done, found, strict=True)), lost
            gone = {
                key for key, f in done.items() if worker_of(key) not in self.liveness.alive or f.status != "finished"
            }
            gone = gone or set(done)  # it is not known which of them
            self.cancel([done[key] for key in gone])
            lost = lost | gone
            done = {key: future for key, future in done.items() if key not in gone}
        return {}, lost

    def ask(self, call: Callable[[], Any], workers: Iterable[str]) -> Any:
        """Answer of a call of Dask that may wait for these workers. Raises GoneError when one of them is gone."""
        answer, needed, began = started(call), set(workers), time.monotonic()
        while not answer.done():
            with contextlib.suppress(TimeoutError):
                answer.exception(POLL)
            self.look_after()
            now = time.monotonic()
            if now - self.liveness.looked > LOOK and not self.liveness.look().keys() >= needed:
                raise GoneError("a worker was lost while it was asked.")
            if now - began > STEP:
                raise GoneError(f"a worker did not answer within {STEP:g} s.")
        if (error := answer.exception()) is not None:
            raise GoneError(f"a worker could not be asked: {error}") from error
        return answer.result()

    def cancel(self, futures: list[Any]) -> None:
        """Forget tasks."""
        if not futures:
            return
        with contextlib.suppress(Exception):  # they are of no interest any more, and the client may be closed
            self.client.cancel(futures)

    def look_after(self) -> None:
        """Do what is due now and then, however long something takes."""
        self.on_wait()
        if time.monotonic() - self._renewed > RENEWAL:
            self._renewed = time.monotonic()
            started(self._renew)
        if lost := self._lost_tasks.among(self._made):
            kinds = Counter(future.key.removeprefix(PREFIX).split("-")[0] for future in lost)
            shown = ", ".join(f"{kind} ({n})" for kind, n in sorted(kinds.items()))
            self.say(f"tasks that no worker will run are given up: {shown}")
            self.cancel(lost)

    def _renew(self) -> None:
        """Tell workers that their driver is alive, and keep the scheduler's memory of a long training small."""
        self.client.run(round_tasks.renew, self.job, on_error="ignore")
        self.tidy()

    def tidy(self) -> None:
        """Have the scheduler forget what is over."""
        with contextlib.suppress(Exception):  # it may run no functions, be of another version, or be gone
            self.client.run_on_scheduler(tidy)

    def wait(
        self,
        futures: Mapping[Any, Any],
        on_poll: Callable[[], None] | None = None,
        *,
        also: Iterable[str] = (),
        limit: float = STEP,
        explain: Callable[[Any, Exception], Exception | None] | None = None,
        finish_leaving: bool = False,
    ) -> set[Any]:
        """Wait until every task has ended or is lost.

        Parameters
        ----------
        futures : mapping
            By worker, or by a tuple that begins with it.
        on_poll : callable, optional
            Called ten times a second; what it raises ends the waiting.
        also : iterable of str
            Workers without which no task can end: when one of them is gone, all are lost.
        limit : float
            Seconds after which tasks are given up when not one of them has ended in this time.
        explain : callable, optional
            Given the key and what its task raised, returns what to raise; None when the task counts as lost.
        finish_leaving : bool
            Whether tasks that run on a worker that is being closed are waited for as long as it is there.

        Returns
        -------
        set
            Keys of the tasks that are lost.

        Raises
        ------
        Exception
            What a task raised, or `explain` made of it, and what `on_poll` raises.
        """
        lost: set[Any] = set()
        n_before, since, remind = -1, time.monotonic(), Reminder(self.say)
        with ending(self.client, futures.values()) as end:
            while True:
                lost |= {key for key, future in futures.items() if future.status in {"cancelled", "lost"}}
                waiting = {key: f for key, f in futures.items() if key not in lost and f.status == "pending"}
                if not waiting or any(future.status == "error" for future in futures.values()):
                    break
                self._doze(end)
                if on_poll is not None:
                    on_poll()
                now = time.monotonic()
                if now - self.liveness.looked > LOOK:
                    alive = set(self.liveness.look())
                    there = alive | self.liveness.leaving
                    if not there >= set(also):
                        lost |= waiting.keys()
                    able = there if finish_leaving else alive
                    lost |= {key for key in waiting if worker_of(key) not in able}
                    if paused := self.liveness.paused.keys() & {worker_of(key) for key in waiting}:
                        remind(f"workers that are paused since their memory is full: {', '.join(sorted(paused))}")
                if len(waiting) != n_before:
                    n_before, since = len(waiting), now
                elif now - since > limit:
                    lost |= waiting.keys()
        for key, future in futures.items():
            if key not in lost and future.status == "error":
                error = future.exception()
                if not is_lost(error):
                    found = explain(key, error) if explain else error
                    if found is not None:
                        raise found
                lost.add(key)
        if lost:
            self.cancel([futures[key] for key in lost])
        # One that was pending a moment ago may have failed since.
        if any(future.status != "finished" for key, future in futures.items() if key not in lost):
            rest = {key: future for key, future in futures.items() if key not in lost}
            return lost | self.wait(
                rest, on_poll, also=also, limit=limit, explain=explain, finish_leaving=finish_leaving
            )
        return lost

    def _doze(self, end: Future[None]) -> None:
        """Wait for a moment, or until tasks have ended."""
        if end.done():  # and yet there is something to wait for: one of them was lost, or has begun anew
            time.sleep(POLL)
        else:
            with contextlib.suppress(TimeoutError, CancelledError):
                end.exception(POLL)
        self.look_after()

    def wait_anywhere(self, future: Any, on_poll: Callable[[], None], explain: Callable[[Exception], Exception]) -> Any:
        """The result of tasks that may run on any worker, as long as there is one. Raises GoneError when it is lost."""
        told = 0.0
        while True:
            with ending(self.client, [future]) as end:
                while future.status == "pending":
                    self._doze(end)
                    if time.monotonic() - told > LOOK:
                        on_poll()
                        self.liveness.wait(self.timeout, self.look_after)
                        told = time.monotonic()
            if future.status == "error":
                raise explain(future.exception())
            if future.status != "finished":
                raise GoneError("the cluster was restarted.")
            found = self.ask(lambda: self.client.gather([future], errors="skip"), ())
            if found:
                return found[0]


def is_lost(error: BaseException) -> bool:
    """Whether a task failed because its worker is gone, or knows nothing of the training any more."""
    return isinstance(error, (GoneError, KilledWorker, CancelledError))


def worker_of(key: Any) -> str:
    """Worker of a key: itself, or the first of a tuple."""
    return str(key if isinstance(key, str) else key[0])
