"""Trainings of candidates side by side, on rows that are encoded once for all that encode them alike (algorithm.md#search)."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.errors import ArchiveError, DaskDLError
from dask_dl.events import Compared, Listeners, Warned
from dask_dl.frame.source import FOLD
from dask_dl.metrics.stopping import has_converged
from dask_dl.metrics.table import METRICS
from dask_dl.training.engine import Request, encode, train
from dask_dl.training.loop import TIME_IS_UP
from dask_dl.training.settings import beside_others, encoding_key, has_folds
from dask_dl.tuning.candidates import FAILED, INTERRUPTED, TRAINED, Tried
from dask_dl.tuning.leaderboard import leaderboard
from dask_dl.validation.cross_validation import cross_validate

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Event
    from dask_dl.model import Model
    from dask_dl.training.engine import Outcome
    from dask_dl.training.loading import EncodedTables
    from dask_dl.tuning.candidates import Candidate
    from dask_dl.tuning.jobs import Job, Jobs
    from dask_dl.tuning.recovery import SearchFolder

#: Share of a worker's memory that the rows of candidates side by side may take.
SHARE_OF_MEMORY = 0.4


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


@dataclass
class Search:
    """A search: what all of its trainings have in common, and what came of them.

    Parameters
    ----------
    request : Request
        Tables; the parameters are those of the candidates.
    limits : Limits
    jobs_of : callable
        Makes the order of trainings, for candidates that encode rows alike.
    folder : SearchFolder or None
        Where candidates have checkpoints; None: they have none.
    tell : Listeners
        Told of every candidate's end, and of warnings.
    n_jobs : int or None
        Candidates at a time, at most; None: as many as there are threads, or workers that hold the rows.
    cancelled : callable
        True ends the search.
    on_model : callable
        Given the model of a candidate that has ended.
    """

    request: Request
    limits: Limits
    jobs_of: Callable[[Sequence[Candidate]], Jobs]
    folder: SearchFolder | None
    tell: Listeners
    n_jobs: int | None = None
    cancelled: Callable[[], bool] = lambda: False
    on_model: Callable[[Model], object] = lambda _: None
    found: dict[int, Tried] = field(default_factory=dict, init=False)  #: by number of the candidate

    def run(
        self,
        candidates: Sequence[Candidate],
        backend_of: Callable[
            [Mapping[str, Any]], contextlib.AbstractContextManager[tuple[Backend, EncodedTables | None]]
        ],
    ) -> list[Tried]:
        """Train candidates side by side, as far as there are threads or workers.

        Parameters
        ----------
        candidates : sequence of Candidate
        backend_of : callable
            For parameters a context of an open backend, with its encoded tables if it has them already.

        Returns
        -------
        list of Tried
            In the order of the candidates, of those that began. Ctrl-C ends the search, and what was tried is there.

        Raises
        ------
        ParameterError, SchemaError
            Of tables that no candidate can learn from.
        """
        self.found |= {c.number: Tried(c, FAILED, None, 0.0, c.error) for c in candidates if c.error}
        request = self.request
        try:
            for alike in _alike([c for c in candidates if not c.error], request.task):
                parameters_ = alike[0].requested
                with backend_of(parameters_) as (here, kept):
                    encoded = kept or encode(request._replace(parameters=parameters_), here, self.tell)
                    if self.folder is not None:
                        prints = {name: here.fingerprint(name) for name in encoded.data.tables}
                        self.folder.check_rows(encoding_key(parameters_, request.task), prints)
                    _Alike(self, alike, encoded, here).run()
                if self.limits.reason:
                    break
        except KeyboardInterrupt:
            self.limits.reason = INTERRUPTED
        return [self.found[number] for number in sorted(self.found)]


def _alike(candidates: Sequence[Candidate], task: parameters.Task) -> list[list[Candidate]]:
    """Candidates in groups that encode rows alike, in the order of their first ones."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(encoding_key(candidate.requested, task), []).append(candidate)
    return list(groups.values())


class _Alike:
    """Trainings of candidates on the same encoded rows, on several threads."""

    def __init__(self, search: Search, candidates: Sequence[Candidate], encoded: EncodedTables, here: Backend) -> None:
        self._search, self._encoded, self._here, self._candidates = search, encoded, here, candidates
        self._jobs = search.jobs_of(candidates)
        self._n_parts = _n_parts(len(candidates), encoded, here, search.n_jobs)
        self._turn, self._ended, self._n_running = threading.Condition(), threading.Event(), 0

    def run(self) -> None:
        """Train until nothing is due, or the search is over."""
        self._recover()
        with ThreadPoolExecutor(self._n_parts, "candidate") as pool:
            running = {pool.submit(self._work, part) for part in self._here.split(self._n_parts)}
            try:
                while running:
                    done, running = wait(running, timeout=0.1, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    if self._search.cancelled():
                        raise KeyboardInterrupt  # the other way to be interrupted
            finally:
                self._ended.set()  # the others end within a round
        if self._search.folder is not None and self._jobs.goes_on and not self._search.limits.reason:
            for candidate in self._candidates:
                self._search.folder.forget_checkpoints(candidate)

    def _recover(self) -> None:
        """Take what an earlier search has finished."""
        folder = self._search.folder
        for candidate in self._candidates if folder is not None else ():
            assert folder is not None
            try:
                earlier = folder.finished(candidate)
            except (ArchiveError, OSError) as error:
                self._warn(
                    f"recovery_dir: candidate {candidate.number} is trained anew, as what is kept of it is damaged: {error}"
                )
                continue
            if earlier is not None:
                model, values, seconds = earlier
                path = folder.model_of(candidate)
                tried = Tried(candidate, TRAINED, model, seconds, values=tuple(values), path=path)
                self._search.found[candidate.number] = tried
                self._jobs.ended(candidate, values)
                self._search.tell.say(f"{_line(tried, self._search.limits.metric)} (of {path})")

    def _work(self, part: Backend) -> None:
        """Train what is due, one after the other."""
        with part:
            while (job := self._next()) is not None:
                tried = None
                try:
                    tried = self._train(job, part)
                finally:
                    self._done(job, tried)

    def _next(self) -> Job | None:
        """The next training; waits for others where it may depend on what comes of them. None: there is none any more."""
        search = self._search
        with self._turn:
            while not (self._ended.is_set() or search.limits.is_over([*search.found.values()])):
                if (job := self._jobs.next()) is not None:
                    self._n_running += 1
                    return job
                if not (self._n_running and self._jobs.goes_on):
                    return None
                self._turn.wait(0.1)
        return None

    def _done(self, job: Job, tried: Tried | None) -> None:
        """Note what came of a training, and tell of it."""
        search, candidate = self._search, job.candidate
        if tried is not None and tried.model is not None and tried.status == TRAINED:
            tried = self._kept(tried, job)
        with self._turn:
            self._n_running -= 1
            if tried is not None:
                search.found[candidate.number] = tried
                if tried.status != INTERRUPTED:
                    self._jobs.ended(candidate, tried.values)
                search.tell.say(_line(tried, search.limits.metric))
                search.tell(Compared(leaderboard([*search.found.values()], search.limits.metric), search.limits.metric))
            self._turn.notify_all()

    def _kept(self, tried: Tried, job: Job) -> Tried:
        """Keep a model in the folder of the search. What cannot be written is a warning: the search goes on."""
        folder, candidate = self._search.folder, job.candidate
        assert tried.model is not None
        self._search.on_model(tried.model)
        if folder is None:
            return tried
        try:
            path = folder.keep(candidate, tried.model, tried.values, tried.seconds)
        except OSError as error:
            self._warn(f"recovery_dir: the model of candidate {candidate.number} could not be written: {error}")
            return tried
        if not self._jobs.goes_on:
            folder.forget_checkpoints(candidate)
        return tried._replace(path=path)

    def _warn(self, text: str) -> None:
        with self._turn:
            self._search.tell.warn(text)

    def _listen(self, event: Event) -> object:
        """Pass warnings of a training on."""
        if isinstance(event, Warned):
            with self._turn:
                self._search.tell(event)
        return None

    def _train(self, job: Job, part: Backend) -> Tried:
        """Train a candidate; what it raises is its own end, and not that of the search."""
        search, candidate = self._search, job.candidate
        before = search.found.get(candidate.number)
        spent, values = (0.0, ()) if before is None else (before.seconds, before.values)
        began = time.monotonic()

        def over(status: str, model: Model | None = None, error: BaseException | None = None) -> Tried:
            found = Tried(candidate, status, model, spent + time.monotonic() - began, error, values)
            value = found.value(search.limits.metric) if status == TRAINED else math.nan
            return found._replace(values=(*values, value))

        try:
            outcome = self._outcome(job, part)
        except (DaskDLError, ArithmeticError, MemoryError, ValueError, OSError) as error:
            return over(FAILED, error=error)
        except KeyboardInterrupt:  # of folds nothing is kept
            return over(INTERRUPTED)
        record = replace(outcome.model.record, requested={**candidate.requested, "client": None})
        model = replace(outcome.model, record=record)
        if outcome.failure is not None:
            return over(FAILED, model if model.record.n_seen else None, outcome.failure)
        is_cut = model.record.stopped_by == TIME_IS_UP and time.monotonic() > search.limits.deadline
        return over(INTERRUPTED if is_cut or self._ended.is_set() else TRAINED, model)

    def _outcome(self, job: Job, part: Backend) -> Outcome:
        """Train a candidate with its share of the threads, from its checkpoint where there is one."""
        search, requested = self._search, job.candidate.requested
        place = None if search.folder is None else search.folder.place_of(job.candidate)
        n_beside = 1
        if part.is_local:  # the last ones have the threads of those that are not there any more
            n_beside = self._n_parts if self._jobs.n_new else max(1, self._n_running)
        given = beside_others(requested, n_beside, search.limits.seconds_left, place, job.epochs)
        asked = search.request._replace(
            parameters=given,
            encoded=self._encoded,
            began=None,
            resume=place is not None,
            is_frugal=job.epochs is not None,
        )
        if has_folds(given) or FOLD in asked.source.roles:
            return cross_validate(asked, part, [self._listen], cancelled=self._ended.is_set).outcome
        return train(asked, part, [self._listen], cancelled=self._ended.is_set)


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
