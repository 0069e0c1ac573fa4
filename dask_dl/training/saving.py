"""Checkpoints as a listener to the training: every so often, and when the rounds are over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_dl.events import Learned, Saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_dl.events import Event, Listeners
    from dask_dl.training_state import Snapshot, TrainingState


@dataclass
class PeriodicCheckpoints:
    """Listener that writes checkpoints."""

    write: Callable[[TrainingState, Snapshot], str]  #: writes one and returns its path; may fail
    place: str  #: folder or URL of them
    interval: float  #: seconds between two of them, at least
    tell: Listeners
    _written_at: float = field(default_factory=time.monotonic, init=False)
    _failed: set[object] = field(default_factory=set, init=False)  #: causes that the user was warned of

    def __call__(self, event: Event, /) -> None:
        """Write a checkpoint, if it is time for one."""
        if isinstance(event, Learned) and (event.is_last or time.monotonic() - self._written_at > self.interval):
            self._write(event.state, event.network())

    def _write(self, state: TrainingState, network: Snapshot) -> None:
        """Write a checkpoint. What prevents that is a warning, once for every cause: the training is worth more."""
        try:
            self.tell(Saved(self.write(state, network)))
        except Exception as error:  # noqa: BLE001  # file systems behind URLs raise whatever they like
            cause = type(error), getattr(error, "errno", None)
            if cause not in self._failed:
                self._failed.add(cause)
                what = f"no checkpoint could be written to {self.place}: {type(error).__name__}: {error}"
                again = f"every {self.interval:g} s and at the end"
                self.tell.warn(f"{what}. The training goes on without; it is tried again {again}.", "not saved")
        self._written_at = time.monotonic()
