"""Making of datasets."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Literal

from dask_dl.errors import ClusterError, ParameterError
from dask_dl.estimators.dataset import Dataset, Relay
from dask_dl.estimators.kept_rows import KeptRows, key_of
from dask_dl.estimators.loading import ESTIMATORS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from dask_dl.cluster.backend import Backend
    from dask_dl.parameters import Task


def prepare(
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    offset: Any = None,
    eval_set: Any = None,
    task: Literal["auto", "classification", "regression", "autoencoder"] = "auto",
    **given: Any,
) -> Any:
    """Read a table once, and keep it encoded for any number of trainings.

    Parameters
    ----------
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
        As in `fit`.
    y : str, int, or aligned collection of n values, optional
        The target, as in `fit`; an autoencoder has none.
    sample_weight, offset, eval_set : object, optional
        As in `fit`.
    task : {"auto", "classification", "regression", "autoencoder"}
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
    from dask_dl.cluster.clients import awaitable, find_client
    from dask_dl.frame.target import task_of

    if isinstance(X, Dataset):
        raise ParameterError("X is a Dataset already: pass it to fit.")
    if y is None and task != "autoencoder":
        raise ParameterError(
            "prepare requires y: give the name of the target's column, or its values; or task='autoencoder'."
        )
    if y is not None and task == "autoencoder":
        raise ParameterError("y: an autoencoder has no target; leave it out.")
    if task == "auto":
        task = task_of(X, y)
    if task not in tuple(ESTIMATORS):  # which may not be hashable
        raise ParameterError(f"task is {task!r}; it must be 'auto', 'classification', 'regression' or 'autoencoder'.")
    estimator = ESTIMATORS[task](**given)
    call = {"sample_weight": sample_weight, "offset": offset, "eval_set": eval_set}
    requested = estimator._requested(call)  # noqa: SLF001  # as its own `fit`
    client = find_client(estimator.client)
    work = functools.partial(_prepared, requested, client, task, X, y, sample_weight, offset, eval_set)
    return awaitable(work) if client is not None and client.asynchronous else work()


def _prepared(
    requested: Mapping[str, Any],
    client: Any,
    task: Task,
    X: Any,
    y: Any,
    weight: Any,
    offset: Any,
    eval_set: Any,
    cancelled: Callable[[], bool] = lambda: False,
) -> Dataset:
    """Prepare a dataset, on any thread but that of an asynchronous client.

    Parameters
    ----------
    requested : mapping
        Parameters in canonical form.
    client : distributed.Client or None
        Of the cluster.
    task : str
        Task of the estimators.
    X, y, weight, offset, eval_set : object
        As in `prepare`.
    cancelled : callable
        Whether the caller wants it to end.
    """
    from dask_dl.events import Listeners
    from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, open_source
    from dask_dl.frame.validation import open_validation
    from dask_dl.show.progress import Progress
    from dask_dl.training.backends import backend_for
    from dask_dl.training.engine import Request, encode

    tell = Listeners([Progress(quiet=not requested["verbose"] or requested["quiet_mode"])])
    source = open_source(X, y, weight, offset, warn=tell.warn)
    validation = open_validation(eval_set, source, {TARGET: y, WEIGHT: weight, OFFSET: offset}, tell.warn)
    key, seed = key_of(source, validation, requested, task, client), requested["random_state"]
    if key is not None and isinstance(seed, int | None) and (kept := KeptRows.of(key, seed)) is not None:
        tell.say("the rows are those of a Dataset that is open")
        return Dataset(kept, client)
    relay = Relay(tell, cancelled)
    backend = backend_for(requested, client, relay, relay.cancelled)
    with contextlib.ExitStack() as stack:
        held: AbstractContextManager[Backend] = backend
        stack.enter_context(held)
        encoded = encode(Request(source, task, requested, validation), backend, tell)
        if cancelled():  # no caller waits for it any more
            raise ClusterError("the preparation was cancelled.")
        stack.pop_all()  # it stays open
    kept = KeptRows(backend, encoded, requested, relay)
    if key is not None:
        kept.share(key)
    return Dataset(kept, client)
