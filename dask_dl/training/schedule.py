"""Schedules of a training: its rounds (algorithm.md#size-of-a-round), and when the network is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_dl.training.settings import ScoringSettings

#: Seconds of work in a round whose size is automatic ...
SECONDS_PER_ROUND = 1.0
#: ... and the least number of such rounds in a training.
MIN_ROUNDS = 10
#: Averages in an epoch, at least: one for every replica, within these limits. Fewer learn less (docs/explanation/cluster.md).
AVERAGES_PER_EPOCH = (4, 8)
#: ... and of every replica in a training, at least.
AVERAGES_PER_REPLICA = 5
#: What the automatic size of a round on several workers may be at most, in epochs of every replica.
MAX_EPOCHS = 10
#: Seconds of training in such a round, at least: whatever share averaging may take, most of the time is to be training.
MIN_SECONDS_PER_ROUND = 0.05
#: One step of tuning changes it by this factor at most, and not at all for less than the deadband.
STEP, DEADBAND = 2.0, (0.8, 1.2)
#: Weights that a thread trains in a second, at least: sizes the first round, before anything is measured.
SLOWEST = 1e8


def averages_per_epoch(n_replicas: int) -> int:
    """Averages in an epoch of so many replicas."""
    minimum, enough = AVERAGES_PER_EPOCH
    return min(max(n_replicas, minimum), enough)


def total_rows(epochs: float, n_epoch: int) -> int:
    """Rows to visit in all: one at least, unless none are asked for (algorithm.md#rows-of-a-training)."""
    return max(round(epochs * n_epoch), int(epochs > 0))


@dataclass
class RoundSchedule:
    """Rows of a training and of its rounds; the last round is cut to the rows asked for, unlike H2O's."""

    n_total: int  #: rows to visit in all
    n_epoch: int  #: rows of an epoch
    scoring: ScoringSchedule  #: of scoring
    fixed: int | None  #: rows of every round; None: automatic
    first: int = 1  #: rows of the first automatic round
    maximum: int = 2**63  #: rows of any automatic round
    n_replicas: int = 1
    share: float = 0.05  #: of the time that averaging may take: target_ratio_comm_to_comp
    ends_with_epoch: bool = False  #: whether rounds of a fixed size are cut where an epoch ends
    batch: int = 1  #: rows of a mini-batch: automatic rounds of one replica end where one ends
    shift: int = 0  #: of `TrainingState`
    _wanted: float = field(
        default=0.0, init=False
    )  #: rows of the next automatic round, before limits; 0: nothing is known

    @classmethod
    def of(
        cls,
        epochs: float,
        n_epoch: int,
        per_iteration: int,
        scoring: ScoringSchedule,
        *,
        n_weights: int,
        n_threads: int,
        n_replicas: int = 1,
        n_copies: int = 1,
        share: float = 0.05,
        batch: int = 1,
        shift: int = 0,
        min_rounds: int = MIN_ROUNDS,
    ) -> RoundSchedule:
        """Schedule that follows from the parameters.

        Parameters
        ----------
        epochs : float
            Epochs to train.
        n_epoch : int
            Rows of an epoch.
        per_iteration : int
            Rows of a round; 0 is an epoch, -1 all rows of every replica, -2 is automatic.
        scoring : ScoringSchedule
            Rows at which the network is scored.
        n_weights : int
            Length of the flat vector of weights.
        n_threads : int
            Threads that train, in all.
        n_replicas : int
            Replicas that are averaged.
        n_copies : int
            Replicas that have all rows; 1 where they share them.
        share : float
            Share of the time that averaging may take.
        batch : int
            Rows of a mini-batch.
        shift : int
            Visits that the epochs learned would have been on this table, less the rows learned.
        min_rounds : int
            Automatic rounds of the training, at least.

        Returns
        -------
        RoundSchedule
        """
        n_total = total_rows(epochs, n_epoch) - shift
        fixed = {0: n_epoch, -1: n_epoch * n_copies, -2: None}.get(per_iteration, per_iteration)
        first = max(1, int(SLOWEST * n_threads / n_weights))
        maximum = n_epoch
        if n_replicas > 1:
            n_averages = averages_per_epoch(n_replicas)
            maximum = max(1, min(n_epoch // n_averages, n_total // (AVERAGES_PER_REPLICA * n_replicas)))
        maximum = min(maximum, max(1, n_total // min_rounds))
        return cls(n_total, n_epoch, scoring, fixed, first, maximum, n_replicas, share, batch=batch, shift=shift)

    def rows(self, n_seen: int) -> int:
        """Rows of the round that begins after `n_seen`.

        An automatic one takes about SECONDS_PER_ROUND of one replica, by the speed of the round before; of several, so long
        that averaging takes `share` of the time. It is at most an epoch, less where replicas are averaged, and at most the
        share of the training that leaves some rounds. Of one replica it ends where an event is due.
        """
        rest = self.n_total - n_seen
        if self.fixed is not None:
            return min(
                self.fixed, rest, self.n_epoch - (n_seen + self.shift) % self.n_epoch if self.ends_with_epoch else rest
            )
        wanted = self._wanted or self.first
        n = min(max(1, int(wanted)), self.n_epoch, self.maximum)
        if self.n_replicas > 1:
            return min(n, rest)
        # Where the clock ends a round must not decide where a mini-batch ends: each epoch is cut into batches from its start.
        first = n_seen + self.shift
        epoch, place = divmod(first + min(n, self.scoring.rest(n_seen)), self.n_epoch)
        place = min(-(-place // self.batch) * self.batch, self.n_epoch)
        return min(epoch * self.n_epoch + place - first, rest)

    def took(self, n: int, seconds: float, busy: float) -> None:
        """A round of n rows is over: `busy` of its seconds were training, the others averaging, scheduling and waiting."""
        if n <= 0:
            return
        seconds = max(seconds, 1e-6)
        if self.n_replicas == 1:
            self._wanted = n / seconds * SECONDS_PER_ROUND
            return
        talking = min(max(seconds - busy, 1e-6), seconds)
        if not self._wanted:  # the first measurement of algorithm.md#size-of-a-round
            self._wanted = talking * (1 / self.share - 1) * n / max(busy, 1e-6)
        else:
            correction = min(max(self.share / (talking / seconds), 1 / STEP), STEP)
            if not DEADBAND[0] <= correction <= DEADBAND[1]:
                self._wanted /= correction
        minimum = MIN_SECONDS_PER_ROUND * n / max(busy, 1e-6)
        self._wanted = min(max(self._wanted, minimum, 1.0), MAX_EPOCHS * self.n_epoch * self.n_replicas)


#: Events that a training has where the duty cycle allows: enough for a curve, and for early stopping.
EVENTS = 40
#: Seconds that all events of a training may take, whatever their share: a short one has points to plot, too.
FREE_SECONDS = 0.2
#: What is taken for granted before anything is measured: weights that a thread trains in a second, row by row and in
#: mini-batches, and scores; and seconds that a row that trains, and a table that is scored, take beside.
TRAINED, TRAINED_IN_BATCHES, SCORED, SECONDS_PER_ROW, SECONDS_PER_TABLE = 2.5e9, 8e9, 15e9, 1e-6, 0.005
#: Seconds that a table which workers score takes beside: tasks are sent, and answers come back.
SECONDS_PER_SENT_TABLE = 0.03
#: An event falls out only where the last one took so many times its share of the time, and so many seconds: what is scored,
#: and so which network is kept, shall not hang on the clock.
SLACK, MIN_SECONDS = 3.0, 0.25
#: What the first event of a process may take beside its own time: libraries are loaded, functions compiled.
FIRST_USE = 2.0


@dataclass
class ScoringSchedule:
    """When to score: EVENTS times in a training, at rows known beforehand, and by the clock where that is sooner.

    The rule: algorithm.md#when-it-is-scored. The rows do not depend on the clock, so that trainings of which it asks
    nothing keep the same network every time. The clock alone was made for slow programs: trainings may be over when five
    seconds have passed.
    """

    interval: float  #: seconds between the starts of two events, at most
    duty_cycle: float  #: the last event may have taken at most this share of the time since its start
    each_iteration: bool
    every: int = 2**63  #: rows between two events, at most
    stride: int = 2**63  #: the same early in a training: rows of a value of early stopping
    started: float = -math.inf  #: clock at the start of the last event
    took: float = 0.0  #: seconds of the last event

    @classmethod
    def of(
        cls,
        settings: ScoringSettings,
        n_total: int,
        n_weights: float,
        n_scored: int,
        n_tables: int,
        stride: int = 0,
        *,
        is_sent: bool = False,
    ) -> ScoringSchedule:
        """Schedule of the scorings of a training.

        Parameters
        ----------
        settings : ScoringSettings
            What the parameters say of it.
        n_total : int
            Rows to visit in all.
        n_weights : float
            Weights that a row meets.
        n_scored, n_tables : int
            Rows that are scored at an event, of so many tables.
        stride : int
            Rows of a value of early stopping, 0 where there is none.
        is_sent : bool
            Whether workers score, to which tasks are sent.

        Returns
        -------
        ScoringSchedule
        """
        duty_cycle, speed = settings.duty_cycle, TRAINED if settings.batch == 1 else TRAINED_IN_BATCHES
        event = n_scored * n_weights / SCORED + n_tables * (SECONDS_PER_SENT_TABLE if is_sent else SECONDS_PER_TABLE)
        row = n_weights / speed + SECONDS_PER_ROW
        free = 0.0 if settings.is_frugal else FREE_SECONDS
        affordable = int(max(duty_cycle * n_total * row, free) / event)
        every = -(-n_total // min(max(affordable, 1), EVENTS))
        dear = event > duty_cycle * max(SLACK * stride * row, free)
        if settings.each_iteration or not duty_cycle:
            every = stride = cls.every
        elif dear or not stride:
            stride = cls.stride
        limit = settings.max_seconds / EVENTS if settings.max_seconds else math.inf
        return cls(min(settings.interval, limit), duty_cycle, settings.each_iteration, max(every, 1), stride)

    def scored(self, began: float, now: float) -> None:
        """Note that an event began and ended at these times."""
        took = now - began
        self.took = max(took - FIRST_USE, 0.0) if self.started == -math.inf else took
        self.started = began

    def due_after(self, n: int) -> int:
        """Rows at which the next event is due after `n`.

        Early stopping needs a value every `stride` rows, whatever was asked for; later in a training they may be rarer, a
        tenth of what was trained apart.
        """
        apart = self.stride << max(0, (n // (10 * self.stride)).bit_length() - 1)
        return min(every - n % every + n for every in (self.every, apart))

    def is_due(self, now: float, n_seen: int, n_last: int) -> bool:
        """Whether to score after the iteration that ends at `n_seen` rows, the last event having been at `n_last`."""
        if self.each_iteration:
            return True
        since = now - self.started
        share = self.took / since
        if n_seen >= self.due_after(n_last) and (self.took < MIN_SECONDS or share < SLACK * self.duty_cycle):
            return True
        return since > self.interval and share < self.duty_cycle

    def rest(self, n_seen: int) -> int:
        """Rows from `n_seen` to where the next event is due."""
        return self.due_after(n_seen) - n_seen
