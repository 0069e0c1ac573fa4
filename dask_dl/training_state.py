"""How far a training has come: everything of it that a checkpoint has to hold beside the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.state import AveragingState, TrainedWeights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.metrics.history import History, ScoringEvent


class Snapshot(NamedTuple):
    """Weights and optimizer state at some moment, copied."""

    flat: NDArray[np.float32]
    states: Sequence[NDArray[np.float32]]
    n_seen: int
    n_rounds: int
    event: ScoringEvent | None = None  #: its scoring, if it was scored, whole: the history gives up measurements
    averaging: AveragingState | None = None  #: of several replicas, where the training may go on from here
    delta: float | None = None  #: of `RoundSettings`

    @property
    def weights(self) -> TrainedWeights:
        """Weights as a trainer takes them."""
        return TrainedWeights(self.flat, self.states, self.n_seen, self.averaging)


@dataclass
class TrainingState:
    """Counters, history and best model of a training that may go on."""

    history: History
    n_seen: int = 0  #: rows learned
    n_rounds: int = 0
    training_seconds: float = 0.0  #: of the rounds
    seconds: float = 0.0  #: since `fit` began, in earlier processes
    n_halvings: int = 0  #: of the step, after divergence
    delta: float | None = field(default=None, kw_only=True)  #: of `RoundSettings`
    #: visits that the epochs learned would have been on this table, less the rows learned: other than 0 where earlier
    #: trainings had tables of other sizes
    shift: int = field(default=0, kw_only=True)
    best: Snapshot | None = None  #: of the history's best event
    stopped_by: str | None = None  #: why training ended, in words
    failure: BaseException | None = field(default=None)  #: why it could not go on; the last good weights are there

    def epochs(self, n_rows: int) -> float:
        """Epochs learned, by the rows of one."""
        return (self.n_seen + self.shift) / n_rows

    def to_json(self) -> dict[str, Any]:
        """State as JSON, without weights."""
        return {
            "history": self.history.to_json(),
            "has_validation": self.history.has_validation,
            "metric": self.history.metric,
            "n_seen": self.n_seen,
            "n_rounds": self.n_rounds,
            "training_seconds": self.training_seconds,
            "seconds": self.seconds,
            "n_halvings": self.n_halvings,
            "delta": self.delta,
            "shift": self.shift,
            "n_earlier": self.history.n_earlier,
            "stopped_by": self.stopped_by,
            "best": None if self.best is None else [self.best.n_seen, self.best.n_rounds],
        }
