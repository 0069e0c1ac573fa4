"""Encoded rows that datasets keep; those of equal preparations of one table share them."""

from __future__ import annotations

import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_dl.cluster.backend import Backend
    from dask_dl.frame.source import Source
    from dask_dl.parameters import Task
    from dask_dl.training.loading import EncodedTables

#: Rows that datasets hold, by what they were prepared from and how.
_shared: weakref.WeakValueDictionary[Any, KeptRows] = weakref.WeakValueDictionary()
_lock = threading.RLock()  # a forgotten dataset may be collected at any moment, on any thread


class KeptRows:
    """Rows of a backend, for as long as a dataset refers to them.

    Parameters
    ----------
    backend : Backend
        Open; it keeps the rows.
    encoded : EncodedTables
        What it keeps.
    requested : mapping
        Parameters by which they were prepared.
    relay : object
        Listeners of the backend.
    """

    def __init__(self, backend: Backend, encoded: EncodedTables, requested: Mapping[str, Any], relay: Any) -> None:
        self.backend, self.encoded, self.requested, self.relay = backend, encoded, requested, relay
        self.in_use = threading.Lock()  #: while a training uses them
        self.n_references = 1  #: datasets that hold them
        # Forgotten ones of this process are closed with their last reference, or at exit; workers forget theirs by themselves.
        leave = functools.partial(backend.__exit__, None, None, None)
        self._close: Callable[[], object] = weakref.finalize(self, leave) if backend.is_local else leave

    def share(self, key: Any) -> None:
        """Let equal preparations find these rows: those that ask for the same seed, or for any."""
        with _lock:
            for seed in (self.encoded.data.seed, None):
                found = _shared.get((key, seed))
                if found is None or found.n_references == 0:
                    _shared[key, seed] = self

    def release(self, *, is_forgotten: bool = False) -> None:
        """Let go of one reference; with the last one the rows go. Raises ParameterError while a training uses them.

        Workers forget by themselves what is forgotten here: they are not spoken to while objects are collected.
        """
        with _lock:
            if self.n_references == 1 and not self.in_use.acquire(blocking=False):
                raise ParameterError("a training uses the Dataset: close it when that has ended.")
            self.n_references -= 1
            is_last = self.n_references == 0
        if is_last and (self.backend.is_local or not is_forgotten):
            self._close()

    @classmethod
    def of(cls, key: Any, seed: object) -> KeptRows | None:
        """Rows of an equal preparation, one reference more; None where there are none, or with another seed."""
        with _lock:
            found = _shared.get((key, seed))
            if found is None or found.n_references == 0:
                return None
            found.n_references += 1
            return found


def key_of(
    source: Source, validation: Source | None, requested: Mapping[str, Any], task: Task, client: Any
) -> tuple[Any, ...] | None:
    """Key by which equal preparations find each other; None for tables of which it is not known whether they are equal.

    Parameters
    ----------
    source, validation : Source
        Tables. Dask names partitions by what they are made of; of others it is not known what has become of them.
    requested : mapping
        Parameters, of which those that decide about the rows count.
    task : str
        Task of the estimators.
    client : distributed.Client or None
        Of the cluster.

    Returns
    -------
    tuple or None
    """
    tables = []
    for table in (source, validation):
        if table is not None:
            if table.lazy is None or not table.is_named:  # an array may have been changed in place
                return None
            names = table.schema.predictors, tuple(sorted(table.schema.roles.items())), table.is_named
            tables.append((*names, tuple(str(part.key) for part in table.lazy)))
    values = tuple(repr(value) for value in parameters.prepared(requested, task).values())
    return (None if client is None else client.id, task, *tables, values)
