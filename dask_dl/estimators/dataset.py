"""Tables that are encoded once, for any number of trainings."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any, Literal, Self

from dask_dl import parameters
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.training.loading import EncodedTables


class Relay:
    """Listeners and the wish to end of whichever training uses a backend now."""

    def __init__(self, tell: Listeners, cancelled: Callable[[], bool]) -> None:
        self.tell, self.is_cancelled = tell, cancelled

    def say(self, text: str) -> None:
        """Tell the listeners of a training."""
        self.tell.say(text)

    def cancelled(self) -> bool:
        """Whether the caller of a training wants it to end."""
        return self.is_cancelled()


class Dataset:
    """A table whose encoded rows are kept, for any number of trainings; made by `prepare`.

    It takes the place of `X` in `fit`. Its rows are in memory or on the local disk, of this process or of the workers of a
    cluster, until `close` or the end of a `with` block.

    Attributes
    ----------
    task : {"classification", "regression"}
    n_rows : int
        Rows of the training table.
    n_inputs : int
        Inputs of a network.
    nbytes : int
        Bytes of encoded rows in the process that has most of them.
    storage : {"memory", "disk", "stream"}
        Where they are; "stream" reads and encodes the source again in every epoch.
    """

    def __init__(
        self, backend: Backend, encoded: EncodedTables, requested: Mapping[str, Any], relay: Relay, client: Any
    ) -> None:
        self.client = client
        self._backend, self._encoded, self._requested, self._relay = backend, encoded, requested, relay
        self._in_use = threading.Lock()
        self._is_open = True
        self.task, self.storage, self.nbytes = encoded.data.task, encoded.storage, encoded.n_bytes
        self.n_rows = encoded.rows["training"][0]
        self.n_inputs = encoded.data.encoder.n_onehot + encoded.data.encoder.n_dense

    def close(self) -> None:
        """Release the rows, here and on workers, and what was written of them; harmless when that was done before."""
        if self._is_open:
            self._is_open = False
            self._backend.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        from dask_dl.memory import size

        where = {"memory": "in memory", "disk": "on disk", "stream": "streamed from its source"}[self.storage]
        place = where if self._backend.is_local else f"{where} of the workers"
        state = f"{size(self.nbytes)} {place}" if self._is_open else "closed"
        return f"<dask_dl.Dataset: {self.task}, {self.n_rows:,} rows, {self.n_inputs:,} inputs, {state}>"

    def check_alone(self, call: Mapping[str, Any], client: Any) -> None:
        """Refuse what was given to `fit` beside a dataset, which has it already, or another client. Raises ParameterError."""
        given = [name for name, value in call.items() if value is not None]
        if given:
            raise ParameterError(f"a Dataset has its own {', '.join(given)}: give them to prepare, not to fit.")
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

        Raises
        ------
        ParameterError
            When the dataset is closed, in use, of another task, or was prepared with other parameters.
        """
        if not self._is_open:
            raise ParameterError("the Dataset is closed: prepare the table anew.")
        if task != self.task:
            raise ParameterError(
                f"the Dataset was prepared for {self.task}; for {task} use prepare(..., task={task!r})."
            )
        other = {
            name: (self._requested[name], requested[name])
            for name in parameters.PREPARED
            if self._requested[name] != requested[name]
        }
        if other:
            what = "; ".join(
                f"{name}={parameters.show(then)}, and the estimator has {parameters.show(now)}"
                for name, (then, now) in other.items()
            )
            raise ParameterError(
                f"the Dataset was prepared with {what}. These decide how rows are encoded: make them equal."
            )
        if not self._in_use.acquire(blocking=False):
            raise ParameterError("another training uses the Dataset. Train one after the other, or prepare it twice.")
        try:
            self._relay.tell, self._relay.is_cancelled = tell, cancelled
            yield self._backend, self._encoded
        finally:
            self._in_use.release()


def prepare(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    offset: Any = None,
    eval_set: Any = None,
    task: Literal["auto", "classification", "regression"] = "auto",
    **given: Any,
) -> Any:
    """Read a table once, and keep it encoded for any number of trainings.

    Parameters
    ----------
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
        As in `fit`.
    y : str, int, or aligned collection of n values
        The target, as in `fit`.
    sample_weight, offset, eval_set : object, optional
        As in `fit`.
    task : {"auto", "classification", "regression"}
        "auto": texts, categories and booleans are classes, numbers are numbers, as on the command line.
    **given : object
        Parameters of the estimators. Those that decide how rows are encoded (`standardize`, `categorical_encoding`, `storage`,
        `client`, ...) must be those of the estimators that are fitted later; those of the network (`hidden`) decide how
        much memory is left for rows.

    Returns
    -------
    Dataset
        An awaitable of one where the client is asynchronous.

    Raises
    ------
    ParameterError, SchemaError
        As `fit` would raise them.

    Examples
    --------
    >>> import dask_dl, pandas as pd
    >>> table = pd.DataFrame({"a": range(100), "y": ["yes", "no"] * 50})
    >>> with dask_dl.prepare(table, "y") as data:
    ...     models = [dask_dl.DeepLearningClassifier(hidden=(n,)).fit(data) for n in (5, 10)]
    """
    from dask_dl.cluster.clients import find_client
    from dask_dl.estimators.base import _awaitable
    from dask_dl.estimators.supervised import DeepLearningClassifier, DeepLearningRegressor

    if y is None:
        raise ParameterError("prepare requires y: give the name of the target's column, or its values.")
    if task == "auto":
        task = task_of(X, y)
    kinds = {"classification": DeepLearningClassifier, "regression": DeepLearningRegressor}
    if task not in kinds:
        raise ParameterError(f"task is {task!r}; it must be 'auto', 'classification' or 'regression'.")
    estimator = kinds[task](**given)
    call = {"sample_weight": sample_weight, "offset": offset, "eval_set": eval_set}
    requested = estimator._requested(call)  # noqa: SLF001  # as its own `fit`
    client = find_client(estimator.client)
    work = functools.partial(_prepared, requested, client, task, X, y, sample_weight, offset, eval_set)
    return _awaitable(work) if client is not None and client.asynchronous else work()


def _prepared(
    requested: Mapping[str, Any],
    client: Any,
    task: Literal["classification", "regression"],
    X: Any,
    y: Any,
    weight: Any,
    offset: Any,
    eval_set: Any,
    cancelled: Callable[[], bool] = lambda: False,
) -> Dataset:
    """Prepare a dataset, on any thread but that of an asynchronous client."""
    from dask_dl.events import Listeners
    from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, open_source
    from dask_dl.frame.validation import open_validation
    from dask_dl.show.progress import Progress
    from dask_dl.training.backends import backend_for
    from dask_dl.training.engine import Request, encode

    source = open_source(X, y, weight, offset)
    validation = open_validation(eval_set, source, {TARGET: y, WEIGHT: weight, OFFSET: offset})
    tell = Listeners([Progress(quiet=not requested["verbose"] or requested["quiet_mode"])])
    relay = Relay(tell, cancelled)
    backend = backend_for(requested, client, relay.say, relay.cancelled)
    with contextlib.ExitStack() as stack:
        held: AbstractContextManager[Backend] = backend
        stack.enter_context(held)
        encoded = encode(Request(source, task, requested, validation), backend, tell)
        stack.pop_all()  # it stays open
    return Dataset(backend, encoded, requested, relay, client)


def task_of(X: Any, y: Any) -> Literal["classification", "regression"]:
    """Task of a target, by its dtype."""
    import numpy as np
    import pandas as pd

    from dask_dl.frame.interchange import as_table
    from dask_dl.frame.source import is_column, labels_of, named

    label = "the training table"
    table = as_table(X, label)
    labels, column = labels_of(table, label), y
    if is_column(y, labels):
        name = named(y, labels, "target", label)
        place = list(labels.values()).index(name)
        column = table.iloc[:, place] if hasattr(table, "iloc") else table[:, place]
    dtype = column.dtype if hasattr(column, "dtype") else np.asarray(column).dtype
    is_number = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    return "regression" if is_number else "classification"
