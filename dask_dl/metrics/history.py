"""History of a training: its scoring events (algorithm.md#history)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from dask_dl.metrics.table import METRICS, TASK_OF, columns_of, is_better, loss_of
from dask_dl.state import LayerStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from dask_dl.metrics.measurement import Measurement

#: Fields of an event that are more than a number or a time.
NO_COUNTERS = {"metrics", "measured", "layers"}


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class ScoringEvent:
    """Scoring of the network at some moment of its training."""

    timestamp: str = field(default_factory=_now)  #: local time, "YYYY-MM-DD hh:mm:ss"
    duration: float  #: seconds since the training began
    training_speed: float  #: rows per second of training
    epochs: float  #: learned
    iterations: int  #: rounds
    samples: int  #: rows learned
    samples_per_iteration: int | None = None  #: rows of the last round; early files know neither this ...
    #: ... nor this: share of the time since the last event in which no rows were trained, from 0 to 1; ...
    communication: float | None = None
    scoring_seconds: float | None = None  #: ... nor this: that scoring has taken since the training began
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  #: table -> column -> value
    measured: Mapping[str, Measurement] = field(default_factory=dict)  #: by table; of most events only metrics are kept
    layers: tuple[LayerStats, ...] = ()  #: from the input side on, the output last; where `layer_history` is asked for

    def value(self, metric: str, table: str) -> float:
        """Value of a metric of `table`, "training" or "validation"; NaN where it was not measured."""
        row = METRICS[metric]
        value = self.metrics.get(table, {}).get(row.column or metric, math.nan)
        return value if row.of_column is None else row.of_column(value)


@dataclass
class History:
    """Scoring events of a training, oldest first."""

    kind: str  #: of the problem: a key of `TASK_OF`
    has_validation: bool
    events: list[ScoringEvent] = field(default_factory=list)
    metric: str = ""
    """What the best event is judged by, of the validation table if there is one; the loss of the task when empty."""
    n_earlier: int = 0
    """Events of earlier trainings, from whose model this one goes on: none is the best, none counts for early stopping.

    Its own begin with that of the network from which it goes on, measured on its own tables.
    """
    best: ScoringEvent | None = field(default=None, init=False)
    """The event with the best value of it so far, the first of equals (algorithm.md#best-network)."""

    def __post_init__(self) -> None:
        self.metric = self.metric or loss_of(self.task)
        for event in self.own:
            self._compare(event)

    @property
    def own(self) -> list[ScoringEvent]:
        """Events of this training; the first one is of the network with which it began."""
        return self.events[self.n_earlier :]

    def start(self) -> None:
        """The leading row of a new history: nothing trained, nothing measured."""
        if not self.events:
            self.add(
                ScoringEvent(
                    duration=0.0,
                    training_speed=math.nan,
                    epochs=0.0,
                    iterations=0,
                    samples=0,
                    samples_per_iteration=0,
                    communication=0.0,
                    scoring_seconds=0.0,
                )
            )

    def add(self, event: ScoringEvent) -> None:
        """Append an event. Measurements are kept of it, and of the best one."""
        before = {id(other): other for other in (self.best, *self.events[-1:]) if other is not None}
        self.events.append(event)
        self._compare(event)
        for other in before.values():
            if other is not self.best and other.measured:
                self.set_measured(other, {})

    def set_measured(self, event: ScoringEvent, measured: Mapping[str, Measurement]) -> None:
        """Replace the measurements of an event."""
        k = next(k for k in reversed(range(len(self.events))) if self.events[k] is event)  # mostly the last but one
        self.events[k] = replace(event, measured=measured)
        if event is self.best:
            self.best = self.events[k]

    def repeat_best(self, *, duration: float, epochs: float, iterations: int, samples: int) -> None:
        """Append an event for the best network, which was put back: its measurements are known.

        Parameters
        ----------
        duration : float
            Seconds since the training began.
        epochs : float
            Epochs learned.
        iterations : int
            Rounds.
        samples : int
            Rows learned.
        """
        assert self.best is not None
        self.events.append(
            replace(
                self.best,
                timestamp=_now(),
                duration=duration,
                epochs=epochs,
                iterations=iterations,
                samples=samples,
                samples_per_iteration=0,
                scoring_seconds=self.events[-1].scoring_seconds,
            )
        )

    @property
    def measured(self) -> Mapping[str, Measurement]:
        """Measurements of the newest event, by table."""
        return self.events[-1].measured if self.events else {}

    @property
    def best_measured(self) -> Mapping[str, Measurement]:
        """Measurements of the best event, by table."""
        return {} if self.best is None else self.best.measured

    def set_best_measured(self, measured: Mapping[str, Measurement]) -> None:
        """Give the best event, if there is one, its measurements, which a file has apart."""
        if self.best is not None and measured:
            self.set_measured(self.best, measured)

    def cut(self, samples: int, kept: Iterable[ScoringEvent] = ()) -> None:
        """Forget events after so many rows, whose network is gone; those that were kept have measurements again."""
        whole, own = {event.samples: event for event in kept}, self.own
        self.events[self.n_earlier :] = [whole.get(event.samples, event) for event in own if event.samples <= samples]
        self.best = None
        for event in self.own:
            self._compare(event)

    @property
    def repeats_best(self) -> bool:
        """Whether the newest event is the best one again, as `repeat_best` adds it: no network was measured for it."""
        last, best = self.events[-1], self.best
        if best is None or last is best:
            return False
        same = repr(last.metrics) == repr(best.metrics)  # NaN is NaN again
        return same and not last.samples_per_iteration

    @property
    def loss(self) -> str:
        """The metric that training minimises, as columns name it after the table."""
        return loss_of(self.task)

    @property
    def task(self) -> str:
        """Task of the problem."""
        return TASK_OF[self.kind]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are scored."""
        return ("training", "validation") if self.has_validation else ("training",)

    @property
    def table(self) -> str:
        """The table that is watched."""
        return self.tables[-1]

    def score_of(self, event: ScoringEvent) -> float:
        """Value of the metric that an event is judged by; NaN is no measurement."""
        return event.value(self.metric, self.table)

    def is_as_good_as_best(self, event: ScoringEvent) -> bool:
        """Whether an event is the best one, or no worse."""
        score, best = self.score_of(event), math.nan if self.best is None else self.score_of(self.best)
        return score == best or is_better(self.metric, score, best)

    def _compare(self, event: ScoringEvent) -> None:
        score = self.score_of(event)
        if not math.isnan(score) and (self.best is None or is_better(self.metric, score, self.score_of(self.best))):
            self.best = event

    def record(self, event: ScoringEvent) -> dict[str, Any]:
        """An event as a flat record, as callbacks, files and `to_pandas` have it: counters, then metrics of each table."""
        counters = {f.name: getattr(event, f.name) for f in fields(event) if f.name not in NO_COUNTERS}
        record = {name: value for name, value in counters.items() if value is not None}
        for table in self.tables:
            given = event.metrics.get(table, {})
            record |= {f"{table}_{name}": given.get(name, math.nan) for name in self._columns(given)}
        return record

    def _columns(self, given: Mapping[str, float]) -> list[str]:
        """Columns of a table: optional ones where they were measured."""
        return [name for name, metric in columns_of(self.kind).items() if name in given or not metric.is_optional]

    @property
    def records(self) -> list[dict[str, Any]]:
        """All events as flat records."""
        return [self.record(event) for event in self.events]

    def to_json(self) -> list[dict[str, Any]]:
        """All events as files have them: flat records, and figures of layers where they were kept."""
        layers = [[layer._asdict() for layer in event.layers] for event in self.events]
        return [
            record | ({"layers": figures} if figures else {})
            for record, figures in zip(self.records, layers, strict=True)
        ]

    def layers_to_pandas(self) -> pd.DataFrame:
        """Figures of layers: a row for each event that has them and each layer, numbered from 2 on, as in H2O."""
        import pandas as pd

        rows = [
            {"epochs": event.epochs, "samples": event.samples, "layer": k, **layer._asdict()}
            for event in self.events
            for k, layer in enumerate(event.layers, 2)
        ]
        return pd.DataFrame(rows, columns=["epochs", "samples", "layer", *LayerStats._fields]).rename(
            columns={"n_dead": "dead_units"}
        )

    def last_metrics(self) -> pd.DataFrame:
        """Metrics of the last event: a row each, a column for each table."""
        import pandas as pd

        last = self.events[-1]
        names = self._columns(dict.fromkeys((name for table in last.metrics.values() for name in table), 0.0))
        values = {table: [last.metrics.get(table, {}).get(name, math.nan) for name in names] for table in self.tables}
        return pd.DataFrame(values, index=pd.Index(names, name="metric"), dtype=float)

    def to_pandas(self) -> pd.DataFrame:
        """One row per event."""
        import pandas as pd

        frame = pd.DataFrame(self.records)
        order = [f"{table}_{name}" for table in self.tables for name in columns_of(self.kind)]
        counters = [name for name in frame if name not in order]
        frame = frame[counters + [name for name in order if name in frame]]  # optional ones came with a later event
        return frame.assign(timestamp=pd.to_datetime(frame["timestamp"]))
