"""The loop of a training: train a round, average, score when due; and every way in which it ends."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_dl.cluster.setup import RoundSettings
from dask_dl.errors import (
    Aborted,
    DivergedError,
    NoWorkersError,
    ReplicasLostError,
    SchemaError,
    StorageError,
)
from dask_dl.events import Began, Judged, KeptBest, Learned, Scored, Trained, WentBack
from dask_dl.training.signals import Signals
from dask_dl.training_state import Snapshot, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_dl.cluster.trainer import Trainer
    from dask_dl.events import Listeners
    from dask_dl.state import AveragingState, TrainedWeights
    from dask_dl.training.schedule import RoundSchedule

#: Seconds between two copies of the weights that a diverging round may be rolled back to, at least: in this process, and ...
SECONDS_PER_COPY = 1.0
#: ... from a cluster, which can lose them only when all of its workers are gone at once ...
SECONDS_PER_FETCH = 10.0
#: ... and how much longer than the last copy took: copying is to take a small share of the time.
TIMES_PER_COPY = 50.0
#: How often the step is halved before a training that diverges is given up.
MAX_HALVINGS = 4
#: Seconds that workers get to score the last network, at least, and times the last event took: they may be gone.
MIN_SECONDS_TO_SCORE, TIMES_TO_SCORE = 30.0, 3.0
INTERRUPTED, TERMINATED, TIME_IS_UP, EPOCHS, DIVERGED, NO_WORKERS, FAILED = (
    "interrupted", "terminated", "max_runtime_secs", "epochs", "diverged", "no workers", "failed",
)  # fmt: skip


class Halt(BaseException):
    """Ends a round between two rows, for the reason that it carries."""


@dataclass
class Rounds:
    """A training, round after round, until there is a reason to stop.

    `score(state, n, share)` measures the network after a round of n rows, when a share of the time of the rounds since the
    last event was not training, and appends an event to the history; `judge()` says why the newest event ends the training,
    if it does.
    """

    trainer: Trainer
    schedule: RoundSchedule
    state: TrainingState
    score: Callable[[TrainingState, int, float], None]
    judge: Callable[[], str | None]
    tell: Listeners
    keeps_best: bool = True
    deadline: float = math.inf  #: of `time.monotonic`
    may_stop_early: bool = False  #: whether `judge` looks for a loss that no longer improves
    ends_at_sigterm: bool = False  #: as where checkpoints are written; else SIGTERM ends the process
    copies_by_rows: bool = False  #: whether divergence goes back to the last epoch, and not by the clock
    cancelled: Callable[[], bool] = lambda: False  #: whether the caller wants it to end as Ctrl-C does
    good: Snapshot | None = None  #: sound weights, copied: what a round that fails is rolled back to
    final: Snapshot | None = field(default=None, init=False)  #: the network that came out
    _worked: float = field(
        default=0.0, init=False
    )  #: seconds of rounds since the last event in which rows were trained ...
    _talked: float = field(default=0.0, init=False)  #: ... and others
    _copied_at: float = field(default=-math.inf, init=False)
    _copy_took: float = field(default=0.0, init=False)
    _began: float | None = field(default=None, init=False)  #: when the round that is under way began
    _n: int = field(default=0, init=False)  #: rows of the last round
    _is_torn: bool = field(default=False, init=False)  #: whether threads may have ended in the middle of a row
    #: what a round that diverges is rolled back to, where no clock may say how far
    _sound: Snapshot | None = field(default=None, init=False)
    _signals: Signals = field(default_factory=Signals, init=False)
    _pending: str | None = field(default=None, init=False)  #: why the round that is under way is the last

    def run(self) -> None:
        """Train to the end, write a last checkpoint, and take the better one of the last network and the best.

        The first Ctrl-C ends the training, wherever it is. A second one ends the scoring of the last network; at any other
        moment it is the caller's, as KeyboardInterrupt.
        """
        n_first = self.schedule.rows(self.state.n_seen) if self.schedule.fixed is None else 0
        self.tell(Began(self.schedule.n_total, self.state.n_seen, self.deadline, self.may_stop_early, n_first))
        is_done = self.state.stopped_by is not None
        with self._signals.listening(to_sigterm=self.ends_at_sigterm):
            while self.state.stopped_by is None:
                try:
                    self._recovering(self._round)
                except KeyboardInterrupt as interrupt:
                    self._first(interrupt)
                    self._recovering(self._settle)
            self._uninterrupted(lambda: self._finish(saves=not is_done))
            if self._signals.terminated and self.state.failure is None:  # it may have come in the last moments
                self.state.stopped_by = TERMINATED

    def _uninterrupted(self, work: Callable[[], None]) -> None:
        """Do it again, when a first interrupt came in between."""
        try:
            work()
        except KeyboardInterrupt as interrupt:
            self._first(interrupt)
            work()

    def _first(self, interrupt: KeyboardInterrupt) -> None:
        """Note a first interrupt; a second one, and one that tore the weights, is raised."""
        if self._pending == INTERRUPTED or isinstance(interrupt, Aborted):
            raise interrupt
        self._pending = INTERRUPTED
        if self.state.failure is None or self.state.stopped_by is None:
            self.state.stopped_by = INTERRUPTED

    def _settle(self) -> None:
        """Bring replicas to their average, which is what may be scored and saved, and count the round that it ends."""
        state, trainer = self.state, self.trainer
        try:
            trainer.average()
        except Halt as halt:  # shards of lost workers were trained again, for too long
            self._pending = self._pending or str(halt)
        if self._began is None:  # an interrupt came after the round
            return
        now, began, self._began = time.monotonic(), self._began, None
        n = self._n = trainer.n_seen - state.n_seen
        busy = min(trainer.busy_seconds, now - began)
        self.schedule.took(n, now - began, busy)
        self._worked, self._talked = self._worked + busy, self._talked + now - began - busy
        state.n_seen, state.n_rounds = state.n_seen + n, state.n_rounds + 1
        state.training_seconds += now - began

    def _finish(self, *, saves: bool) -> None:
        """Fetch the network, if it can be fetched; save it; score it; take the best one instead, if that is better.

        It is saved first, because a process that is to end may not get the time for both, and as it was trained: a training
        that goes on from there is one that never ended.
        """
        fetched = self._fetched()
        last = fetched or self._newest_copy()
        if fetched is None:
            self._rewind(last)
        self._note_best(last)  # an interrupt may have come before that
        if saves:
            self._recovering(lambda: self.tell(Learned(self.state, lambda: last, is_last=True)))
        self._score_last(last, is_copy=fetched is None)
        self._note_best(last)
        self._keep_best(last)

    def _fetched(self) -> Snapshot | None:
        """The network that is trained; None where it is lost, or not known to be sound."""
        state = self.state
        if self._is_torn and self.trainer.is_local:
            return None
        try:  # a cluster without workers may have been handed the network by the last one
            if state.stopped_by != NO_WORKERS and self._began is not None:  # a round that broke off between two rows
                self._settle()
            return self._trained_network()
        except (ReplicasLostError, NoWorkersError):
            return None
        except Exception as error:  # noqa: BLE001  # raised by `fit`, with the newest copy in place
            self._give_up(FAILED, error)
            return None

    def _score_last(self, last: Snapshot, *, is_copy: bool) -> None:
        """Score the last network, unless it was: what was learned since the last event shall count.

        Whatever prevents that hides no failure and loses no network: the best one that was scored is taken.
        """
        history, trainer, scoring = self.state.history, self.trainer, self.schedule.scoring
        if history.events[-1].samples == last.n_seen or not trainer.is_reachable:
            return
        deadline = time.monotonic() + max(MIN_SECONDS_TO_SCORE, TIMES_TO_SCORE * scoring.took)

        def in_time() -> None:
            if time.monotonic() > deadline:
                raise Halt("workers did not answer in time")

        before, trainer.on_wait = trainer.on_wait, in_time
        try:
            if is_copy:
                self._return_to(last)
            self._measure()
            self.tell(Judged(history, is_last=True))
        except (Exception, KeyboardInterrupt, Halt) as error:  # noqa: BLE001  # a lost worker, a damaged file, a second Ctrl-C
            self.tell.say(f"the last network could not be scored: {error!r}")
        finally:
            trainer.on_wait = before

    def _recovering(self, work: Callable[[], object]) -> None:
        """Do it, or go back to a network that is known to be sound."""
        try:
            try:
                work()
            except DivergedError as error:
                self._roll_back(error)
            except ReplicasLostError as error:
                self._go_back(error)
        except NoWorkersError as error:
            self._give_up(NO_WORKERS, error)
        except Exception as error:  # noqa: BLE001  # a full disk, a source that changed: `fit` raises it, with what was learned
            self._give_up(FAILED, error)

    def _round(self) -> None:
        """Train a round, average the replicas, score if that is due, and see whether to go on."""
        state, scoring = self.state, self.schedule.scoring
        self._copy()
        if not state.history.own:
            self._score_start()
        self._train()
        self._settle()
        now, reason = time.monotonic(), self._pending
        if reason is None and state.n_seen >= self.schedule.n_total:
            reason = EPOCHS
        is_due = scoring.is_due(now, state.n_seen, state.history.events[-1].samples)
        if reason not in {INTERRUPTED, TERMINATED} and (reason or is_due):
            reason = self._event(now) or reason
        state.stopped_by = TERMINATED if self._signals.terminated else reason
        if not state.stopped_by:
            self.tell(Learned(state, self._trained_network, is_last=False))

    def _score_start(self) -> None:
        """Score the network of a model from which the training goes on: on these tables it is the best one so far."""
        began = time.monotonic()
        self._measure()
        self.schedule.scoring.scored(began, time.monotonic())
        if self.keeps_best:
            self._note_best(self._snapshot())

    def _train(self) -> None:
        """Train the rows of a round; note why it is the last one, where something ended it."""
        state, trainer = self.state, self.trainer
        self._began, self._is_torn = time.monotonic(), True
        try:
            settings = RoundSettings(state.delta, 0.5**state.n_halvings)
            trainer.train(self.schedule.rows(state.n_seen), settings, self._on_rows)
        except Aborted:
            raise
        except KeyboardInterrupt:
            self._pending = INTERRUPTED
        except Halt as halt:
            self._pending = str(halt)
        except (StorageError, SchemaError):  # rows that cannot be read: threads have ended between two of them
            self._is_torn = False
            raise
        self._is_torn = False

    def _trained_network(self) -> Snapshot:
        """The network of the last round, which may be the arrays that are trained; from a cluster it is the newest copy."""
        if self.trainer.is_local:
            return self._now(self.trainer.weights())
        self.good, self._copied_at = self._snapshot(), time.monotonic()
        return self.good

    def _measure(self) -> None:
        """Score the network of the last round."""
        self.score(self.state, self._n, self._talked / max(self._worked + self._talked, 1e-9))
        self._worked = self._talked = 0.0

    def _note_best(self, network: Snapshot) -> None:
        """Keep a network, if the newest event is its own and the best one."""
        state, history = self.state, self.state.history
        event = history.events[-1]
        if self.keeps_best and history.best is event and event.samples == network.n_seen:
            state.best = network._replace(event=event)

    def _event(self, began: float) -> str | None:
        """Score; returns why to stop, if there is a reason."""
        state, scoring = self.state, self.schedule.scoring
        self._measure()
        scoring.scored(began, time.monotonic())
        history = state.history
        if self.keeps_best and history.best is history.events[-1]:
            if self.trainer.is_local:
                state.best = None  # the old copy makes room for the new one
            self._note_best(self._snapshot())
        reason = self.judge()
        try:
            if self.tell(Scored(history)):
                reason = reason or "callback"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # SystemExit too is raised by `fit`, when what was learned is safe
            state.failure, reason = error, "callback"
        finally:
            self.tell(Judged(history, is_last=reason is not None))
        return reason

    def _keep_best(self, last: Snapshot) -> None:
        """The best network instead of the last one, on every way out."""
        state, history = self.state, self.state.history
        if self.final is not None:
            return  # an interrupt came after it was chosen
        event = history.events[-1]
        if (
            not self.keeps_best
            or state.best is None
            or history.best is None
            or (event.samples == state.n_seen and history.is_as_good_as_best(event))
        ):
            self.final = last
            return
        self.final = state.best._replace(n_seen=state.n_seen, n_rounds=state.n_rounds)
        history.repeat_best(
            duration=max(event.duration, state.seconds),
            epochs=state.epochs(self.trainer.n_rows),
            iterations=state.n_rounds,
            samples=state.n_seen,
        )
        self.tell(KeptBest(history))

    # ---- going back -------------------------------------------------------------------------------------------------

    def _snapshot(self) -> Snapshot:
        state, event = self.state, self.state.history.events[-1]
        scored = event if event.samples == state.n_seen else None
        return self._now(self.trainer.snapshot())._replace(event=scored)

    def _now(self, learned: TrainedWeights) -> Snapshot:
        flat, states, _, averaging = learned
        state = self.state
        return Snapshot(flat, states, state.n_seen, state.n_rounds, averaging=averaging, delta=state.delta)

    def _copy(self) -> None:
        """Remember weights that are known to be sound, now and then: copying must not outweigh short rounds."""
        if self.copies_by_rows:
            n_epoch = self.trainer.n_rows
            if self._sound is None or self.state.n_seen // n_epoch > self._sound.n_seen // n_epoch:
                self.good = self._sound = self._snapshot()
            if self.trainer.is_local:
                return
        since = time.monotonic() - self._copied_at
        minimum = SECONDS_PER_COPY
        if not self.trainer.is_local:  # in the beginning more often: never more than half of what was learned gets lost
            minimum = min(SECONDS_PER_FETCH, max(minimum, self.state.training_seconds / 2))
        if self.good is None or since > max(minimum, TIMES_PER_COPY * self._copy_took):
            if self.trainer.is_local:
                self.good = None
            began = time.monotonic()
            self.good = self._snapshot()
            self._copied_at = time.monotonic()
            self._copy_took = self._copied_at - began

    def _newest_copy(self, *, is_sound: bool = False) -> Snapshot:
        good = self._sound if is_sound and self.copies_by_rows else self.good
        copies = [copy for copy in (good, self.state.best) if copy is not None]
        if not copies and self.state.failure is not None:
            raise self.state.failure  # nothing was learned
        return max(copies, key=lambda copy: copy.n_seen)

    def _rewind(self, good: Snapshot) -> None:
        """Forget what came after a copy."""
        state = self.state
        state.n_seen, state.n_rounds, state.delta = good.n_seen, good.n_rounds, good.delta
        state.history.cut(good.n_seen, [copy.event for copy in (good, state.best) if copy and copy.event])
        self.tell(WentBack(good.n_seen))

    def _return_to(self, good: Snapshot, averaging: AveragingState | None = None) -> None:
        """Go on from a copy."""
        self._rewind(good)
        self.trainer.restore(good.weights._replace(averaging=averaging))
        self._began, self._is_torn = None, False

    def _roll_back(self, error: DivergedError) -> None:
        """Go back to sound weights and take half the step; too often is an error, with those weights in place."""
        state, good = self.state, self._newest_copy(is_sound=True)
        state.n_halvings += 1
        self._return_to(good)
        state.stopped_by = self._ending()
        if state.n_halvings > MAX_HALVINGS:
            state.stopped_by = DIVERGED
            state.failure = DivergedError(f"{error} The step was halved {MAX_HALVINGS} times, in vain.")
            return
        text = f"{error} Went back to {good.n_seen:,} rows; steps are {2**state.n_halvings} times smaller from there."
        self.tell.warn(text, "diverged")

    def _go_back(self, error: ReplicasLostError) -> None:
        """Go on, on other workers, from the newest copy that this process has."""
        state, good = self.state, self._newest_copy()
        lost = state.n_seen - good.n_seen
        self._return_to(good, good.averaging)
        state.stopped_by = self._ending()
        self.tell.warn(f"{error} Went back to {good.n_seen:,} rows, {lost:,} less than were learned.", "lost")

    def _ending(self) -> str | None:
        """Why a round that broke off was to be the last, if it was."""
        return self._pending or (TERMINATED if self._signals.terminated else None)

    def _give_up(self, why: str, error: Exception) -> None:
        """End for this reason; what comes of an earlier failure does not hide it."""
        if self.state.failure is None or self.state.stopped_by is None:
            self.state.stopped_by, self.state.failure = why, self.state.failure or error

    # ---- ends from outside ----------------------------------------------------------------------------------------------

    def _on_rows(self, n: int) -> None:
        """Called ten times a second while a round is trained."""
        self.tell(Trained(n))
        if self.cancelled() or (self._signals.interrupted and self._pending != INTERRUPTED):
            raise Halt(INTERRUPTED)
        if self._signals.terminated:
            raise Halt(TERMINATED)
        if time.monotonic() > self.deadline:
            raise Halt(TIME_IS_UP)
