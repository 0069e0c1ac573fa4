"""Tables that are encoded once, for any number of trainings."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from dask_dl import parameters
from dask_dl.cluster.clients import awaitable
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dask_dl.cluster.backend import Backend
    from dask_dl.estimators.kept_rows import KeptRows
    from dask_dl.events import Listeners
    from dask_dl.training.loading import EncodedTables


class Relay:
    """Listeners and the wish to end of whichever training uses a backend now."""

    def __init__(self, tell: Listeners, cancelled: Callable[[], bool]) -> None:
        self.tell, self.is_cancelled = tell, cancelled

    def say(self, text: str) -> None:
        """Tell the listeners of a training."""
        self.tell.say(text)

    def warn(self, text: str, kind: str = "") -> None:
        """Warn the user of a training, and its listeners."""
        self.tell.warn(text, kind)

    def cancelled(self) -> bool:
        """Whether the caller of a training wants it to end."""
        return self.is_cancelled()


class Dataset:
    """A table whose encoded rows are kept, for any number of trainings; made by `prepare`.

    It takes the place of `X` in `fit` and `evaluate`. Its rows are in memory or on the local disk, of this process or of the
    workers of a cluster, until `close` or the end of a `with` block. Datasets of equal preparations of one Dask collection
    share their rows, until the last of them is closed.

    Attributes
    ----------
    task : str
        "classification" or "regression".
    n_rows : int
        Rows of the training table.
    n_inputs : int
        Inputs of a network.
    nbytes : int
        Bytes of encoded rows in the process that has most of them.
    storage : str
        Where they are: "memory", "disk" or "stream", which reads and encodes the source again in every epoch.

    Parameters
    ----------
    kept : KeptRows
        The rows, with a reference for this dataset.
    client : distributed.Client or None
        Of the cluster.
    """

    def __init__(self, kept: KeptRows, client: Any) -> None:
        self.client, self._kept, encoded = client, kept, kept.encoded
        self._closing = threading.Lock()
        self._release = weakref.finalize(self, _forget, kept)  # a forgotten one counts no more
        self._release.atexit = kept.backend.is_local
        self.task, self.storage, self.nbytes = encoded.data.task, encoded.storage.mode, encoded.n_bytes
        self.n_rows = encoded.rows["training"][0]
        self.n_inputs = encoded.data.encoder.n_onehot + encoded.data.encoder.n_dense

    def close(self) -> Any:
        """Release the rows, here and on workers, and what was written of them; harmless when that was done before.

        Returns
        -------
        None
            An awaitable of it where the client is asynchronous.

        Raises
        ------
        ParameterError
            When a training uses the rows.
        """
        return awaitable(self._leave) if self.is_asynchronous else self._leave()

    def _leave(self, cancelled: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002  # it is not broken off
        with self._closing:  # of several threads one gives the reference back
            if self._is_open:
                self._kept.release()
                self._release.detach()

    @property
    def _is_open(self) -> bool:
        return self._release.alive

    @property
    def is_asynchronous(self) -> bool:
        """Whether its client is, so that what takes long is awaited."""
        return self.client is not None and self.client.asynchronous

    def __enter__(self) -> Self:
        if self.is_asynchronous:
            raise ParameterError("the client of the Dataset is asynchronous: use `async with`.")
        return self

    def __getstate__(self) -> None:
        """Refuse to be pickled or copied."""
        raise TypeError(
            "a Dataset cannot be pickled or copied: its rows are in this process, or on workers. Prepare the table where it is "
            "needed."
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = self.close()
        if closing is not None:
            await closing

    def __repr__(self) -> str:
        from dask_dl.memory import size

        where = {"memory": "in memory", "disk": "on disk", "stream": "streamed from its source"}[self.storage]
        place = where if self._kept.backend.is_local else f"{where} of the workers"
        state = f"{size(self.nbytes)} {place}" if self._is_open else "closed"
        return f"<dask_dl.Dataset: {self.task}, {self.n_rows:,} rows, {self.n_inputs:,} inputs, {state}>"

    def check_alone(self, call: Mapping[str, Any], client: Any) -> None:
        """Refuse what was given beside a dataset, which has it already, or another client. Raises ParameterError."""
        given = [name for name, value in call.items() if value is not None]
        if given:
            raise ParameterError(f"a Dataset has its own {', '.join(given)}: give them to prepare.")
        if client is not None and client is not self.client:
            raise ParameterError("the Dataset was prepared with another client: leave client out, or prepare it anew.")

    @contextlib.contextmanager
    def used(
        self, task: str, requested: Mapping[str, Any], tell: Listeners, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Backend, EncodedTables]]:
        """Give a training the backend and the rows that it keeps.

        Parameters
        ----------
        task : str
            Of the estimator.
        requested : mapping
            Parameters of the estimator.
        tell : Listeners
            Told what becomes of workers meanwhile.
        cancelled : callable
            Asked while workers are waited for.

        Yields
        ------
        backend : Backend
        encoded : EncodedTables

        Raises
        ------
        ParameterError
            When the dataset is closed, in use, of another task, or was prepared with other parameters.
        """
        if task != self.task:
            raise ParameterError(
                f"the Dataset was prepared for {self.task}; for {task} use prepare(..., task={task!r})."
            )
        kept = self._kept
        then, now = (parameters.prepared(values, task) for values in (kept.requested, requested))
        other = {name: (then[name], now[name]) for name in then if then[name] != now[name]}
        if other:
            what = "; ".join(
                f"{name}={parameters.show(prepared)}, and the estimator has {parameters.show(given)}"
                for name, (prepared, given) in other.items()
            )
            raise ParameterError(
                f"the Dataset was prepared with {what}. These decide how rows are encoded: make them equal."
            )
        with self.claimed(tell, cancelled) as rows:
            yield rows

    @contextlib.contextmanager
    def claimed(self, tell: Listeners, cancelled: Callable[[], bool]) -> Iterator[tuple[Backend, EncodedTables]]:
        """Keep the rows from others meanwhile; see `used`. Raises ParameterError when the dataset is closed or in use."""
        kept = self._kept
        if not self._is_open:
            raise ParameterError("the Dataset is closed: prepare the table anew.")
        if not kept.in_use.acquire(blocking=False):
            raise ParameterError("another training uses the rows of the Dataset. Use them one after the other.")
        try:
            kept.relay.tell, kept.relay.is_cancelled = tell, cancelled
            yield kept.backend, kept.encoded
        finally:
            kept.in_use.release()


def _forget(kept: KeptRows) -> None:
    """Let go of the rows of a dataset that was not closed."""
    with contextlib.suppress(ParameterError):
        kept.release(is_forgotten=True)
