"""Events of a training, in the order in which they happen, and those who listen to them.

Progress lines, users' callbacks, and every other view of a training are listeners: none of them is known to what trains.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dask_dl.errors import ParameterError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from dask_dl.metrics.history import History
    from dask_dl.training_state import Snapshot, TrainingState


class Message(NamedTuple):
    """A step of the preparation, a decision, or something about workers, in words."""

    text: str


class Warned(NamedTuple):
    """A warning, which Python's `warnings` have as well."""

    text: str
    kind: str = ""  #: of what happened: "diverged", "lost" or "not saved", "left out" of a worker; else empty


class Reading(NamedTuple):
    """Partitions of a table that were read."""

    what: str  #: "scan", "scan validation" or "encode"
    done: int
    total: int


class Began(NamedTuple):
    """Kernels are compiled, and the rounds begin."""

    total: int  #: rows to visit in all
    done: int = 0  #: rows that were visited before
    deadline: float = math.inf  #: when training ends at the latest, by `time.monotonic`
    may_stop_early: bool = False  #: whether it may end before, when it no longer improves
    #: rows of a first round that is much smaller than the others, and slow for its size; 0: there is none
    n_first: int = 0


class Compared(NamedTuple):
    """A candidate of a search has ended."""

    leaderboard: pd.DataFrame  #: of all that have, the best first
    metric: str  #: by which they are sorted


class Trained(NamedTuple):
    """Rows visited since the last such event."""

    n: int


class WentBack(NamedTuple):
    """Training goes on from an earlier network."""

    done: int  #: rows that it has learned


class Scored(NamedTuple):
    """A network was scored: the newest event of the history. A listener that answers True stops the training."""

    history: History


class Judged(NamedTuple):
    """Training goes on after the newest record, or ends."""

    history: History
    is_last: bool  #: whether training ends


class KeptBest(NamedTuple):
    """The network of the best record was put back."""

    history: History


class Learned(NamedTuple):
    """A round is over, or all of them are."""

    state: TrainingState
    network: Callable[[], Snapshot]  #: fetches the network as it was trained
    is_last: bool  #: whether training ends; the network may yet be replaced by the best one


class Saved(NamedTuple):
    """A checkpoint was written."""

    path: str


class Ended(NamedTuple):
    """The training is over."""

    stopped_by: str | None


Event = (
    Message
    | Warned
    | Reading
    | Began
    | Trained
    | WentBack
    | Scored
    | Judged
    | KeptBest
    | Learned
    | Saved
    | Ended
    | Compared
)


class Listener(Protocol):
    """Listener to a training; called on the thread that drives it, between rounds and ten times a second in them."""

    def __call__(self, event: Event, /) -> object:
        """Take note of an event; True stops the training, where the event is `Scored`."""


class Listeners(tuple[Listener, ...]):
    """Some listeners, told one after another."""

    __slots__ = ()

    def __call__(self, event: Event, /) -> bool:
        """Tell all of them of an event; returns whether any wants the training to stop."""
        return True in [listener(event) for listener in self]

    def say(self, text: str) -> None:
        """Tell them something in words."""
        self(Message(text))

    def warn(self, message: str | Warning, kind: str = "") -> None:
        """Warn the user, and tell them."""
        warn(message)
        self(Warned(str(message), kind))

    def reading(self, what: str) -> Callable[[int, int], None]:
        """Return a callback for a pass over partitions."""

        def on_partition(done: int, total: int) -> None:
            self(Reading(what, done, total))

        return on_partition


class Callbacks(tuple["Callable[[Mapping[str, Any]], object]", ...]):
    """Listener that calls a user's functions with every record of the history, read-only; True from any stops the training."""

    __slots__ = ()

    def __call__(self, event: Event, /) -> bool:
        """Call all of them, where the event is `Scored`."""
        if not isinstance(event, Scored):
            return False
        record = MappingProxyType(event.history.record(event.history.events[-1]))
        answers = [(callback, callback(record)) for callback in self]
        return True in [_is_true(answer, callback) for callback, answer in answers]


def _is_true(answer: object, callback: Callable[..., object]) -> bool:
    """Whether a callback answered True. Raises ParameterError for an answer that does not tell, as an array."""
    try:
        return bool(answer == 1)  # as True is, and NumPy's
    except Exception as error:
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        raise ParameterError(
            f"callbacks: {name} returned a {type(answer).__name__}, of which it cannot be told whether it is True "
            f"({error}). Return True to stop the training, False or None to go on."
        ) from error
