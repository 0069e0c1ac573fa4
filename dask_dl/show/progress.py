"""Lines on the client while a training runs."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from dask_dl.events import Began, Ended, Judged, KeptBest, Message, Reading, Saved, Trained, Warned, WentBack

if TYPE_CHECKING:
    from dask_dl.events import Event
    from dask_dl.metrics.history import History, ScoringEvent

#: Seconds without a line after which one is due.
SECONDS_WITHOUT_LINE = 5.0


@dataclass
class _Clock:
    """Rows trained from one moment to another; the speed between them counts scoring, averaging and saving too."""

    began: float  #: by `time.monotonic`
    done: int  #: rows that were trained before
    now: float = field(init=False)  #: when rows were counted last ...
    n: int = field(default=0, init=False)  #: ... and how many since it began

    def __post_init__(self) -> None:
        self.now = self.began

    def read(self, now: float, done: int) -> None:
        """Note that so many rows are trained by now."""
        self.now, self.n = now, done - self.done

    @property
    def speed(self) -> float:
        """Rows per second; 0 while nothing is known."""
        return self.n / (self.now - self.began) if self.n > 0 and self.now > self.began else 0.0


class Progress:
    """Listener that prints to `stream` unless quiet: a line per scoring, more where those are far apart."""

    def __init__(self, *, quiet: bool, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self._stream = stream
        self._last = time.monotonic()
        self._done = 0
        self._total = 0
        self._deadline = math.inf
        self._may_stop_early = False
        self._measured_from = 0
        self._clock = _Clock(self._last, 0)
        self._has_header = False

    def say(self, text: str) -> None:
        """One line, now."""
        self._last = time.monotonic()
        if not self.quiet:
            try:
                print(text, file=self._stream or sys.stdout, flush=True)
            except (OSError, ValueError):  # a full disk, a pipe or a file that was closed: no reason to end a training
                self.quiet = True

    def __call__(self, event: Event, /) -> None:
        """Print what an event says."""
        match event:
            case Message(text):
                self.say(text)
            case Warned(text, kind):
                if kind:  # Python shows the others
                    self.say(f"{kind}: {text}")
            case Reading(what, done, total):
                if time.monotonic() - self._last > SECONDS_WITHOUT_LINE:
                    self.say(f"{what}: {done:,} of {total:,} partitions")
            case Began():
                self._begin(event)
            case Trained(n):
                self._trained(n)
            case WentBack(done):
                self._clock = _Clock(time.monotonic(), done)
                self._done = done
            case Judged(history, is_last):
                self._judged(history, is_last=is_last)
            case KeptBest(history):
                self._kept_best(history)
            case Saved(path):
                self.say(f"checkpoint: {path}")
            case Ended(stopped_by):
                self.say(f"ended: {stopped_by}")

    def _begin(self, began: Began) -> None:
        """Start the clock."""
        self._total, self._done, self._deadline = began.total, began.done, began.deadline
        self._may_stop_early, self._measured_from = began.may_stop_early, began.done + began.n_first
        self._last = time.monotonic()
        self._clock = _Clock(self._last, began.done)

    def _trained(self, n: int) -> None:
        """Print a line where the last one was long ago."""
        now = time.monotonic()
        if n:
            self._count(now, self._done + n)
        if now - self._last > SECONDS_WITHOUT_LINE:
            self.say(
                f"  ... {min(1.0, self._done / max(1, self._total)):6.1%} of {self._total:,} rows{self._speed_and_time(now)}"
            )

    def _judged(self, history: History, *, is_last: bool) -> None:
        """Print the newest scoring event; after the last one no time is left."""
        now, event, best = time.monotonic(), history.events[-1], history.best
        self._count(now, event.samples)
        losses = _losses(history, event)
        if not self._has_header:
            self._print_header(history, list(losses))
        left = 0.0 if is_last else self._seconds_left(now)
        shown = [*losses.values(), history.score_of(best) if best else math.nan]
        self.say(
            f"{event.epochs:8.2f} {event.training_speed:9,.0f} "
            + " ".join(f"{value:15.6g}" for value in shown)
            + f" {'?' if left is None else duration(left):>{len(self._left)}}{' *' if best is event else ''}"
        )

    def _kept_best(self, history: History) -> None:
        """Say that the network of the best event is the one that is kept."""
        best = history.best
        assert best is not None, "else none could be kept"
        losses = ", ".join(f"{name} {value:.6g}" for name, value in _losses(history, best).items())
        self.say(f"{history.events[-1].epochs:8.2f}  back to the best network, of {best.epochs:.2f} epochs: {losses}")

    def _count(self, now: float, done: int) -> None:
        """Note that so many rows are trained; the clock starts anew until the first round, and its scoring, are over."""
        self._done = done
        if done > self._measured_from:
            self._clock.read(now, done)
        else:
            self._clock = _Clock(now, done)

    def _print_header(self, history: History, losses: list[str]) -> None:
        self._has_header = True
        columns = [*losses, f"best {history.metric}"]
        self.say(
            f"a line for each scoring; * marks the best network so far, by {history.metric} of {history.table} rows"
        )
        self.say(f"{'epochs':>8} {'rows/s':>9} " + " ".join(f"{c:>15}" for c in columns) + f" {self._left}")

    @property
    def _left(self) -> str:
        return "time left, at most" if self._may_stop_early else f"{'time left':>10}"

    def _speed_and_time(self, now: float) -> str:
        """Speed and time left, as far as they are known."""
        speed, left = self._clock.speed, self._seconds_left(now)
        return (f", {speed:,.0f} rows/s" if speed else "") + (
            "" if left is None else f", {'at most ' if self._may_stop_early else ''}{duration(left)} left"
        )

    def _seconds_left(self, now: float) -> float | None:
        """Seconds until all rows were visited, or until the deadline; None while neither is known."""
        rest, speed = max(0, self._total - self._done), self._clock.speed
        end = self._clock.now + (rest / speed if speed else math.inf) if rest else now
        end = min(end, self._deadline)
        return max(0.0, end - now) if end < math.inf else None


def _losses(history: History, event: ScoringEvent) -> dict[str, float]:
    """The loss of each table in a scoring event, by the heading of its column."""
    tables = {"train": "training"} | ({"valid": "validation"} if history.has_validation else {})
    return {f"{word} {history.loss}": event.value(history.loss, table) for word, table in tables.items()}


def duration(seconds: float) -> str:
    """Seconds for people."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
