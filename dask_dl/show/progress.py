"""Lines on the client while a training runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from dask_dl.score.history import History

#: Seconds without a line after which one is due.
PATIENCE = 5.0


class Progress:
    """Prints to `stream` unless quiet. One line per scoring; more where those are far apart."""

    def __init__(self, *, quiet: bool, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self._stream = stream
        self._last = time.monotonic()
        self._done = 0
        self._total = 0
        self._before = 0
        self._training_since = 0.0
        self._has_header = False

    def say(self, text: str) -> None:
        """One line, now."""
        self._last = time.monotonic()
        if not self.quiet:
            try:
                print(text, file=self._stream or sys.stdout, flush=True)
            except (OSError, ValueError):  # a full disk, a pipe or a file that was closed: no reason to end a training
                self.quiet = True

    def reading(self, what: str) -> Any:
        """A callback for a pass over partitions: a line where it takes long."""

        def on_partition(done: int, total: int) -> None:
            if time.monotonic() - self._last > PATIENCE:
                self.say(f"{what}: {done:,} of {total:,} partitions")

        return on_partition

    def begin_training(self, total: int, done: int = 0) -> None:
        """Rows to be visited in all, and those that were visited before."""
        self._total, self._done, self._before, self._training_since = total, done, done, time.monotonic()

    def trained(self, n: int) -> None:
        """Rows visited since the last call."""
        self._done += n
        if time.monotonic() - self._last > PATIENCE:
            share = self._done / max(1, self._total)
            self.say(
                f"  ... {share:6.1%} of {self._total:,} rows, {self._speed():,.0f} rows/s, {self._time_left()} left"
            )

    def scored(self, history: History) -> None:
        """The newest scoring event."""
        record, best, column = history.records[-1], history.best, history.loss_column
        loss = column.removeprefix("validation_").removeprefix("training_")
        if not self._has_header:
            columns = [
                f"train {loss}",
                *([f"valid {loss}"] if history.has_validation else []),
                f"best {history.metric}",
            ]
            self.say(f"{'epochs':>8} {'rows/s':>9} " + " ".join(f"{c:>15}" for c in columns) + f" {'time left':>10}")
            self._has_header = True
        losses = [record[f"training_{loss}"], *([record[f"validation_{loss}"]] if history.has_validation else [])]
        shown = [*losses, history.score_of(best) if best else float("nan")]
        mark = " *" if best is record else ""
        self.say(
            f"{record['epochs']:8.2f} {record['training_speed']:9,.0f} "
            + " ".join(f"{value:15.6g}" for value in shown)
            + f" {self._time_left():>10}{mark}"
        )

    def _speed(self) -> float:
        return (self._done - self._before) / max(1e-9, time.monotonic() - self._training_since)

    def _time_left(self) -> str:
        return duration((self._total - self._done) / max(1e-9, self._speed())) if self._done > self._before else "?"


def duration(seconds: float) -> str:
    """Seconds for people."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
