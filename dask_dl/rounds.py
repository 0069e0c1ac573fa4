"""The loop of a training: train a round, average, score when due; and every way in which it ends."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
import warnings
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from dask_dl.course import Course, Snapshot
from dask_dl.errors import Aborted, DaskDLWarning, DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.plan import Plan
    from dask_dl.show.progress import Progress
    from dask_dl.state import Rows

#: Seconds between two copies of the weights that a diverging round may be rolled back to, at least.
SECONDS_PER_COPY = 1.0
#: How often the step is halved before a training that diverges is given up.
MOST_HALVINGS = 4
INTERRUPTED, TERMINATED, TIME_IS_UP, EPOCHS, DIVERGED = (
    "interrupted", "terminated", "max_runtime_secs", "epochs", "diverged",
)  # fmt: skip


class Trainer(Protocol):
    """What the loop asks of a place that trains: the in-process twin, or a cluster."""

    n_rows: int
    """Rows of an epoch."""

    @property
    def n_seen(self) -> int:
        """Rows learned."""

    def compile(self) -> None:
        """Get the kernels ready, so that no round waits for the compiler."""

    def train(self, n: int, on_rows: Callable[[int], None] | None = None) -> float:
        """One round: visit the next `n` rows, return the sum of their losses. Raises DivergedError."""

    def average(self) -> None:
        """Bring all replicas to their average. Raises DivergedError when a layer has exploded."""

    def outputs(self, blocks: Iterable[Rows]) -> NDArray[np.float32]:
        """The network's outputs for encoded rows."""

    def snapshot(self) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
        """Copies of the weights and of the optimizer state."""

    def restore(
        self, flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]], n_seen: int, n_halvings: int
    ) -> None:
        """Go back to a snapshot, and take steps halved so many times from there."""


class Halt(BaseException):
    """Ends a round between two rows, for the reason that it carries."""


@dataclass
class Rounds:
    """A training, round after round, until there is a reason to stop.

    `score(course, n)` measures the network after a round of n rows and appends an event to the history; `judge()` says why the
    newest event ends the training, if it does.
    """

    trainer: Trainer
    plan: Plan
    course: Course
    score: Callable[[Course, int], None]
    judge: Callable[[], str | None]
    progress: Progress
    keeps_best: bool = True
    deadline: float = math.inf  #: of `time.monotonic`
    callbacks: Sequence[Callable[[Mapping[str, Any]], object]] = ()
    save: Callable[[Course], None] | None = None  #: writes a checkpoint
    save_interval: float = 60.0  #: seconds between two of them, at least
    _good: Snapshot | None = field(default=None, init=False)  #: what a diverging round is rolled back to
    _copied_at: float = field(default=-math.inf, init=False)
    _saved_at: float = field(default_factory=time.monotonic, init=False)
    _halt: str | None = field(default=None, init=False)  #: a signal's reason to stop
    _pending: str | None = field(default=None, init=False)  #: why the round that is under way is the last

    def run(self) -> None:
        """Train to the end, put back the best network if it is not the last, and write a last checkpoint.

        The first Ctrl-C ends the training, wherever it is; a second one, KeyboardInterrupt, is the caller's.
        """
        self.progress.begin_training(self.plan.n_total, self.course.n_seen)
        is_done = self.course.stopped_by is not None
        with self._listening():
            while self.course.stopped_by is None:
                try:
                    self._copy()
                    self._sound_round()
                except KeyboardInterrupt as interrupt:
                    self._first(interrupt)
                    self._settle()
            if self.save is not None and not is_done:
                try:
                    self.save(self.course)
                except KeyboardInterrupt as interrupt:
                    self._first(interrupt)
                    self.save(self.course)
        try:
            self._keep_best()
        except KeyboardInterrupt as interrupt:
            self._first(interrupt)
            self._keep_best()

    def _first(self, interrupt: KeyboardInterrupt) -> None:
        """Note a first interrupt; a second one, and one that tore the weights, is raised."""
        if self._pending == INTERRUPTED or isinstance(interrupt, Aborted):
            raise interrupt
        self._pending = self.course.stopped_by = INTERRUPTED

    def _settle(self) -> None:
        """After an interrupt outside of training: what is saved now must be sound, and an average."""
        try:
            self.trainer.average()
        except DivergedError as error:
            self._roll_back(error)
        self.course.n_seen = self.trainer.n_seen

    def _sound_round(self) -> None:
        try:
            self._round()
        except DivergedError as error:
            self._roll_back(error)

    def _round(self) -> None:
        course, trainer = self.course, self.trainer
        n, began = self.plan.rows(course.n_seen), time.monotonic()
        try:
            trainer.train(n, self._on_rows)
        except Aborted:
            raise
        except KeyboardInterrupt:
            self._pending = INTERRUPTED
        except Halt as halt:
            self._pending = str(halt)
        trainer.average()
        now = time.monotonic()
        n = trainer.n_seen - course.n_seen
        self.plan.took(n, now - began)
        course.n_seen, course.n_rounds = course.n_seen + n, course.n_rounds + 1
        course.training_seconds += now - began
        reason = self._pending
        if reason is None and course.n_seen >= self.plan.n_total:
            reason = EPOCHS
        if reason not in {INTERRUPTED, TERMINATED} and (reason or self.plan.pace.is_due(now)):
            reason = self._event(n, now) or reason
        course.stopped_by = self._halt or reason
        if self.save is not None and not course.stopped_by and time.monotonic() - self._saved_at > self.save_interval:
            self.save(course)
            self._saved_at = time.monotonic()

    def _event(self, n: int, began: float) -> str | None:
        """Score; returns why to stop, if there is a reason."""
        course, pace = self.course, self.plan.pace
        self.score(course, n)
        pace.started, pace.took = began, time.monotonic() - began
        history = course.history
        if self.keeps_best and history.best is history.records[-1]:
            course.best = None  # the old copy makes room for the new one
            course.best = self._snapshot()
            course.best_confusion = dict(course.confusion)
        reason = self.judge()
        record = MappingProxyType(dict(history.records[-1]))
        try:
            wishes = [callback(record) for callback in self.callbacks]  # all of them are called
            if True in wishes:
                reason = reason or "callback"
        except Exception as error:  # noqa: BLE001  # raised by `fit`, when what was learned is safe
            course.failure, reason = error, "callback"
        return reason

    def _keep_best(self) -> None:
        """The best network instead of the last one, on every way out."""
        course, history = self.course, self.course.history
        if not self.keeps_best or course.best is None or history.best is None:
            return
        last = history.records[-1]
        if last["samples"] == course.n_seen and not history.score_of(history.best) < history.score_of(last):
            return
        self.trainer.restore(course.best.flat, course.best.states, course.n_seen, course.n_halvings)
        history.repeat_best(
            seconds=max(last["duration"], course.seconds),
            epochs=course.n_seen / self.trainer.n_rows,
            iterations=course.n_rounds,
            samples=course.n_seen,
        )
        course.confusion = course.best_confusion
        self.progress.scored(history)

    # ---- divergence ---------------------------------------------------------------------------------------------------

    def _snapshot(self) -> Snapshot:
        return Snapshot(*self.trainer.snapshot(), self.course.n_seen, self.course.n_rounds)

    def _copy(self) -> None:
        """Remember weights that are known to be sound, now and then: copying must not outweigh short rounds."""
        if self._good is None or time.monotonic() - self._copied_at > SECONDS_PER_COPY:
            self._good = None
            self._good, self._copied_at = self._snapshot(), time.monotonic()

    def _roll_back(self, error: DivergedError) -> None:
        """Go back to sound weights and take half the step; too often is an error, with those weights in place."""
        course = self.course
        good = max((copy for copy in (self._good, course.best) if copy is not None), key=lambda copy: copy.n_seen)
        course.n_halvings += 1
        self.trainer.restore(good.flat, good.states, good.n_seen, course.n_halvings)
        course.n_seen, course.n_rounds = good.n_seen, good.n_rounds
        course.history.cut(good.n_seen)
        course.stopped_by = self._pending or self._halt
        if course.n_halvings > MOST_HALVINGS:
            course.stopped_by = DIVERGED
            course.failure = DivergedError(f"{error} The step was halved {MOST_HALVINGS} times, in vain.")
            return
        text = f"{error} Went back to {good.n_seen:,} rows; steps are {2**course.n_halvings} times smaller from there."
        warnings.warn(DaskDLWarning(text), stacklevel=5)
        self.progress.say(f"diverged: {text}")

    # ---- ends from outside ----------------------------------------------------------------------------------------------

    def _on_rows(self, n: int) -> None:
        """Called ten times a second while a round is trained."""
        self.progress.trained(n)
        if self._halt is not None:
            raise Halt(self._halt)
        if time.monotonic() > self.deadline:
            raise Halt(TIME_IS_UP)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Where checkpoints are written, SIGTERM (the end of a job's wall time) ends the training after writing one."""
        if self.save is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(_number: int, _frame: Any) -> None:
            self._halt = TERMINATED

        before = signal.signal(signal.SIGTERM, on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
