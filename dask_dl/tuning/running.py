"""Trainings of candidates side by side, on rows that are encoded once for all that encode them alike (algorithm.md#search)."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl import parameters
from dask_dl.errors import DaskDLError
from dask_dl.events import Listeners, Warned
from dask_dl.frame.source import FOLD
from dask_dl.metrics.stopping import has_converged
from dask_dl.metrics.table import METRICS
from dask_dl.training.engine import Request, encode, train
from dask_dl.training.settings import beside_others, encoding_key, has_folds
from dask_dl.validation.cross_validation import cross_validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Event, Listener
    from dask_dl.model import Model
    from dask_dl.training.loading import EncodedTables
    from dask_dl.tuning.candidates import Candidate

#: Share of a worker's memory that the rows of candidates side by side may take.
SHARE_OF_MEMORY = 0.4
TRAINED, FAILED, INTERRUPTED = "trained", "failed", "interrupted"


class Tried(NamedTuple):
    """A candidate, and what became of it."""

    candidate: Candidate
    status: str  #: TRAINED, FAILED or INTERRUPTED
    model: Model | None  #: of a failed one what it had learned, if anything
    seconds: float
    error: BaseException | None = None

    def value(self, metric: str) -> float:
        """Value of a metric on the rows that judge: held out ones, else those of validation, else of training."""
        if self.model is None:
            return math.nan
        record = self.model.record
        if record.folds is not None:
            return record.folds.combined.metric(metric)
        last = record.history.events[-1]
        measured = last.measured.get(record.history.table)
        return last.value(metric, record.history.table) if measured is None else measured.metric(metric)


@dataclass
class Limits:
    """When a search ends before its last candidate."""

    metric: str
    deadline: float = math.inf  #: of `time.monotonic`
    rounds: int = 0  #: k: the search ends when the k best no longer get better; 0: never
    tolerance: float = 1e-3
    reason: str | None = field(default=None, init=False)  #: why it ended, in words

    def is_over(self, tried: Sequence[Tried]) -> bool:
        """Whether no other candidate is to begin."""
        if time.monotonic() > self.deadline:
            self.reason = "max_runtime_secs"
        row = METRICS[self.metric]
        values = [v for one in tried if one.status == TRAINED and not math.isnan(v := one.value(self.metric))]
        values.sort(reverse=not row.greater_is_better)  # the best are last, as if they had come one after another
        if self.rounds and has_converged([math.nan, *values], self.rounds, self.tolerance, row):
            self.reason = self.reason or f"stopping_rounds: the best {self.rounds} {self.metric} no longer improve"
        return self.reason is not None

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 where there is none, as `max_runtime_secs` has it."""
        return 0.0 if math.isinf(self.deadline) else max(1e-3, self.deadline - time.monotonic())


def run(
    candidates: Sequence[Candidate],
    request: Request,
    backend_of: Callable[[Mapping[str, Any]], contextlib.AbstractContextManager[tuple[Backend, EncodedTables | None]]],
    limits: Limits,
    listeners: Sequence[Listener] = (),
    *,
    n_jobs: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Tried]:
    """Train candidates side by side, as far as there are threads or workers.

    Parameters
    ----------
    candidates : sequence of Candidate
    request : Request
        Tables; the parameters are those of the candidates.
    backend_of : callable
        For parameters a context of an open backend, with its encoded tables if it has them already.
    limits : Limits
    listeners : sequence of Listener
        Told of every candidate's end, and of warnings.
    n_jobs : int or None
        Candidates at a time, at most; None: as many as there are threads, or workers that hold the rows.
    cancelled : callable
        True ends the search.

    Returns
    -------
    list of Tried
        In the order of the candidates, of those that began. Ctrl-C ends the search, and what was tried is there.

    Raises
    ------
    ParameterError, SchemaError
        Of tables that no candidate can learn from.
    """
    tell, found = Listeners(listeners), {c.number: Tried(c, FAILED, None, 0.0, c.error) for c in candidates if c.error}
    try:
        for alike in _alike([c for c in candidates if not c.error], request.task):
            with backend_of(alike[0].requested) as (here, kept):
                encoded = kept or encode(request._replace(parameters=alike[0].requested), here, tell)
                _run_alike(alike, request, encoded, here, limits, tell, n_jobs, cancelled, found)
            if limits.reason:
                break
    except KeyboardInterrupt:
        limits.reason = INTERRUPTED
    return [found[number] for number in sorted(found)]


def _alike(candidates: Sequence[Candidate], task: parameters.Task) -> list[list[Candidate]]:
    """Candidates in groups that encode rows alike, in the order of their first ones."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(encoding_key(candidate.requested, task), []).append(candidate)
    return list(groups.values())


def _run_alike(
    candidates: Sequence[Candidate],
    request: Request,
    encoded: EncodedTables,
    here: Backend,
    limits: Limits,
    tell: Listeners,
    n_jobs: int | None,
    cancelled: Callable[[], bool],
    found: dict[int, Tried],
) -> None:
    """Train candidates on the same encoded rows; what became of each is put into `found` by its number.

    Parameters
    ----------
    candidates : sequence of Candidate
    request : Request
    encoded : EncodedTables
        Rows that the backend keeps.
    here : Backend
        Is divided.
    limits : Limits
    tell : Listeners
        Told of every candidate's end, and of warnings.
    n_jobs : int or None
        Candidates at a time, at most.
    cancelled : callable
        True ends the trainings.
    found : dict of int to Tried
    """
    n_parts = _n_parts(len(candidates), encoded, here, n_jobs)
    ended, lock = threading.Event(), threading.Lock()
    todo: queue.SimpleQueue[Candidate] = queue.SimpleQueue()
    for candidate in candidates:
        todo.put(candidate)

    def listen(event: Event) -> object:
        if isinstance(event, Warned):
            with lock:
                tell(event)
        return None

    def next_one() -> Candidate | None:
        with lock, contextlib.suppress(queue.Empty):
            return None if ended.is_set() or limits.is_over([*found.values()]) else todo.get_nowait()
        return None

    def work(part: Backend) -> None:
        with part:
            while (candidate := next_one()) is not None:
                tried = _train(candidate, request, encoded, part, listen, limits, n_parts, ended.is_set)
                with lock:
                    found[candidate.number] = tried
                    tell.say(_line(tried, limits.metric))

    with ThreadPoolExecutor(n_parts, "candidate") as pool:
        running = {pool.submit(work, part) for part in here.split(n_parts)}
        try:
            while running:
                done, running = wait(running, timeout=0.1, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if cancelled():
                    raise KeyboardInterrupt  # the other way to be interrupted
        finally:
            ended.set()  # the others end within a round


def _train(
    candidate: Candidate,
    request: Request,
    encoded: EncodedTables,
    part: Backend,
    listen: Callable[[Event], object],
    limits: Limits,
    n_parts: int,
    cancelled: Callable[[], bool],
) -> Tried:
    """Train a candidate; what it raises is its own end, and not that of the search.

    Parameters
    ----------
    candidate : Candidate
    request : Request
    encoded : EncodedTables
    part : Backend
        Threads or workers of this candidate.
    listen : callable
        Listener of its events.
    limits : Limits
    n_parts : int
        Candidates side by side, which share the threads of a process.
    cancelled : callable
        True ends the training.

    Returns
    -------
    Tried
    """
    began, n_beside = time.monotonic(), n_parts if part.is_local else 1
    given = beside_others(candidate.requested, n_beside, limits.seconds_left)
    asked = request._replace(parameters=given, encoded=encoded, began=None)
    try:
        if has_folds(given) or FOLD in request.source.roles:
            outcome = cross_validate(asked, part, [listen], cancelled=cancelled).outcome
        else:
            outcome = train(asked, part, [listen], cancelled=cancelled)
    except (DaskDLError, ArithmeticError, MemoryError, ValueError) as error:
        return Tried(candidate, FAILED, None, time.monotonic() - began, error)
    except KeyboardInterrupt:  # of folds nothing is kept
        return Tried(candidate, INTERRUPTED, None, time.monotonic() - began)
    seconds = time.monotonic() - began
    if outcome.failure is not None:
        model = outcome.model if outcome.model.record.n_seen else None
        return Tried(candidate, FAILED, model, seconds, outcome.failure)
    return Tried(candidate, INTERRUPTED if cancelled() else TRAINED, outcome.model, seconds)


def _n_parts(n: int, encoded: EncodedTables, here: Backend, n_jobs: int | None) -> int:
    """Candidates to train at a time: as many as there are threads, or workers that can each hold more rows than their share."""
    n = min(n, here.n_parts, n_jobs or n)
    if here.is_local:
        return max(1, n)
    if encoded.storage.mode != "memory":
        return 1
    room = here.budget(encoded.data.tables["training"][0]).memory * SHARE_OF_MEMORY
    return max(1, min(n, int(room / max(encoded.n_bytes, 1))))


def _line(tried: Tried, metric: str) -> str:
    """Line on a candidate that ended."""
    shown = ", ".join(f"{name}={parameters.show(value)}" for name, value in tried.candidate.chosen.items())
    if tried.model is None or tried.status == FAILED:
        return f"candidate {tried.candidate.number}: {tried.status}, {tried.error or ''}; {shown}"
    value, epochs = tried.value(metric), tried.model.record.n_epochs
    return (
        f"candidate {tried.candidate.number}: {metric} {value:.6g}, {epochs:.2f} epochs, {tried.seconds:.1f} s; {shown}"
    )
