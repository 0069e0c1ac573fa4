"""Every exception and warning of the package. All survive pickling, so that they arrive whole from a worker."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable


class DaskDLError(Exception):
    """Base of every error raised on purpose."""


class ParameterError(DaskDLError, ValueError):
    """One or more parameters are unknown, out of range, contradictory or not available yet; all are listed."""

    mistakes: tuple[str, ...] = ()  #: the list, where there is one


class SchemaError(DaskDLError, ValueError):
    """A table does not have the columns, types or values that the work needs; all faults found are listed."""


class ArchiveError(DaskDLError, ValueError):
    """A saved model is truncated, damaged, foreign, or newer than this version can read."""


class DivergedError(DaskDLError, ArithmeticError):
    """Weights became non-finite or exploded."""


class ClusterError(DaskDLError, RuntimeError):
    """The workers of a cluster, or what is installed on them, do not fit the work."""


class NoWorkersError(ClusterError):
    """A cluster had no worker for longer than a training waits."""


class WorkerMemoryError(ClusterError):
    """A partition is too large for the memory of the workers that have to read it."""


class ReplicasLostError(ClusterError):
    """All workers that held the weights are gone; the driver goes on from its own copy."""


class StorageError(DaskDLError, OSError):
    """Rows could not be kept on the local disk, or read from it."""


class DaskDLWarning(UserWarning):
    """Something was changed or ignored that the user should know of."""


class Aborted(KeyboardInterrupt):
    """A second Ctrl-C: threads ended in the middle of a row."""


#: What warns the user: `warn`, or `events.Listeners.warn`, which tells the listeners to a training as well.
Warn = Callable[[str | Warning], None]


def warn(message: str | Warning) -> None:
    """Warn of something, as a `DaskDLWarning` unless it is a warning already, at the line outside the package that led here."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001  # warnings.warn has no other way before Python 3.12
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(message if isinstance(message, Warning) else DaskDLWarning(message), stacklevel=level)
