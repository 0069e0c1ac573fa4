"""History of a training as plain records, and the schedule of its scoring (algorithm.md#history)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dask_dl.metrics.table import columns_of, is_better, loss_of, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass
class History:
    """Scoring events of a training, oldest first."""

    task: str
    has_validation: bool
    records: list[dict[str, Any]] = field(default_factory=list)
    metric: str = ""
    """What the best event is judged by, of the validation table if there is one; the loss of the task when empty."""
    confusion: Mapping[str, Any] = field(default_factory=dict)
    """Of the newest event: (K, K) weights of rows by class and prediction, for each table that has few enough classes."""
    best_confusion: Mapping[str, Any] = field(default_factory=dict)  #: of the best event
    best: dict[str, Any] | None = field(default=None, init=False)
    """The event with the best value of it so far, the first of equals (algorithm.md#best-network)."""

    def __post_init__(self) -> None:
        self.metric = self.metric or loss_of(self.task)
        for record in self.records:
            self._compare(record)

    def start(self) -> None:
        """The leading row of a new history: nothing trained, nothing measured."""
        if not self.records:
            nothing: Mapping[str, float] = {}
            self.add(
                seconds=0.0,
                speed=math.nan,
                epochs=0.0,
                iterations=0,
                samples=0,
                samples_per_iteration=0,
                communication=0.0,
                training=nothing,
                validation=nothing,
            )

    def add(
        self,
        *,
        seconds: float,
        speed: float,
        epochs: float,
        iterations: int,
        samples: int,
        samples_per_iteration: int,
        communication: float = 0.0,
        training: Mapping[str, float],
        validation: Mapping[str, float],
        confusion: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Append one event and return it.

        Parameters
        ----------
        seconds : float
            Seconds since the training began.
        speed : float
            Rows per second of training.
        epochs : float
            Epochs learned.
        iterations : int
            Rounds.
        samples : int
            Rows learned.
        samples_per_iteration : int
            Rows of the last round.
        communication : float
            Share of the time since the last event in which no rows were trained, from 0 to 1.
        training, validation : mapping of str to float
            Metrics on each table, by name; what is missing becomes NaN.
        confusion : mapping, optional
            (K, K) weights of rows by class and prediction, for each table that has them.
        """
        record: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%d %H:%M:%S"),
            "duration": seconds,
            "training_speed": speed,
            "epochs": epochs,
            "iterations": iterations,
            "samples": samples,
            "samples_per_iteration": samples_per_iteration,
            "communication": communication,
        }
        record |= {f"training_{name}": training.get(name, math.nan) for name in columns_of(self.task)}
        if self.has_validation:
            record |= {f"validation_{name}": validation.get(name, math.nan) for name in columns_of(self.task)}
        self.records.append(record)
        self.confusion = confusion or {}
        self._compare(record)
        if self.best is record:
            self.best_confusion = self.confusion
        return record

    def repeat_best(self, *, seconds: float, epochs: float, iterations: int, samples: int) -> None:
        """Append an event for the best network, which was put back: its metrics and confusion matrices are known.

        Parameters
        ----------
        seconds : float
            Seconds since the training began.
        epochs : float
            Epochs learned.
        iterations : int
            Rounds.
        samples : int
            Rows learned.
        """
        assert self.best is not None
        now = {"timestamp": time.strftime("%Y-%m-%d %H:%M:%S"), "duration": seconds, "epochs": epochs}
        self.records.append(
            self.best | now | {"iterations": iterations, "samples": samples, "samples_per_iteration": 0}
        )
        self.confusion = self.best_confusion

    def cut(self, samples: int) -> None:
        """Forget events after so many rows, whose network is gone."""
        self.records[:] = [record for record in self.records if record["samples"] <= samples]
        self.best = None
        for record in self.records:
            self._compare(record)

    @property
    def repeats_best(self) -> bool:
        """Whether the newest event is the best one again, as `repeat_best` adds it: no network was measured for it."""
        last, best = self.records[-1], self.best
        if best is None or last is best:
            return False
        measured = [name for name in best if name.startswith(("training_", "validation_"))]
        same = all(repr(last[name]) == repr(best[name]) for name in measured)  # NaN is NaN again
        return same and not last.get("samples_per_iteration")  # early files lack it

    @property
    def loss(self) -> str:
        """The metric that training minimises, as columns name it after the table."""
        return loss_of(self.task)

    @property
    def table(self) -> str:
        """The table that is watched."""
        return "validation" if self.has_validation else "training"

    def score_of(self, record: Mapping[str, Any]) -> float:
        """Value of the metric that an event is judged by; NaN is no measurement."""
        return value_of(record, self.metric, self.table)

    def is_as_good_as_best(self, record: Mapping[str, Any]) -> bool:
        """Whether an event is the best one, or no worse."""
        score, best = self.score_of(record), math.nan if self.best is None else self.score_of(self.best)
        return score == best or is_better(self.metric, score, best)

    def _compare(self, record: dict[str, Any]) -> None:
        score = self.score_of(record)
        if not math.isnan(score) and (self.best is None or is_better(self.metric, score, self.score_of(self.best))):
            self.best = record

    def last_metrics(self) -> pd.DataFrame:
        """Metrics of the last event: a row each, a column for each table."""
        import pandas as pd

        last, names = self.records[-1], tuple(columns_of(self.task))
        tables = ["training", "validation"] if self.has_validation else ["training"]
        values = {table: [last[f"{table}_{name}"] for name in names] for table in tables}
        return pd.DataFrame(values, index=pd.Index(names, name="metric"), dtype=float)

    def to_pandas(self) -> pd.DataFrame:
        """One row per event."""
        import pandas as pd

        frame = pd.DataFrame(self.records)
        return frame.assign(timestamp=pd.to_datetime(frame["timestamp"]))


#: Events that a training has where the duty cycle allows: enough for a curve, and for early stopping.
EVENTS = 40
#: Seconds that all events of a training may take, whatever their share: a short one has points to plot, too.
FREE_SECONDS = 0.2
#: What is taken for granted before anything is measured: weights that a thread trains in a second, row by row and in
#: mini-batches, and scores; and seconds that a row that trains, and a table that is scored, take beside.
TRAINED, TRAINED_IN_BATCHES, SCORED, SECONDS_PER_ROW, SECONDS_PER_TABLE = 2.5e9, 8e9, 15e9, 1e-6, 0.005
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
        cls, e: Mapping[str, Any], n_total: int, n_weights: float, n_scored: int, n_tables: int, stride: int = 0
    ) -> ScoringSchedule:
        """Schedule of the scorings of a training.

        Parameters
        ----------
        e : mapping
            Effective parameters.
        n_total : int
            Rows to visit in all.
        n_weights : float
            Weights that a row meets.
        n_scored, n_tables : int
            Rows that are scored at an event, of so many tables.
        stride : int
            Rows of a value of early stopping, 0 where there is none.
        """
        speed = TRAINED if e["mini_batch_size"] == 1 else TRAINED_IN_BATCHES
        event = n_scored * n_weights / SCORED + n_tables * SECONDS_PER_TABLE
        row = n_weights / speed + SECONDS_PER_ROW
        affordable = int(max(e["score_duty_cycle"] * n_total * row, FREE_SECONDS) / event)
        every = -(-n_total // min(max(affordable, 1), EVENTS))
        dear = event > e["score_duty_cycle"] * max(SLACK * stride * row, FREE_SECONDS)
        if e["score_each_iteration"] or not e["score_duty_cycle"]:
            every = stride = cls.every
        elif dear or not stride:
            stride = cls.stride
        interval, limit = e["score_interval"], e["max_runtime_secs"]
        interval = min(interval, limit / EVENTS) if limit else interval
        return cls(interval, e["score_duty_cycle"], e["score_each_iteration"], max(every, 1), stride)

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
