"""Evaluation of a model on the rows of a Dataset, where they lie; and methods that need the table itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.estimators.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_dl.model import Model
    from dask_dl.show.evaluation import Evaluation


def evaluate_dataset(model: Model, data: Dataset, beside: Mapping[str, Any], custom: Any, n_jobs: int | None) -> Any:
    """Evaluation on the rows of a Dataset that train, in one pass.

    Parameters
    ----------
    model : Model
    data : Dataset
    beside : mapping
        What was given beside the Dataset, which has it already.
    custom : scorer, str, CustomMetric or None
        The user's own metric; None: that of the training.
    n_jobs : int or None
        Threads of each process, as the parameter of that name.

    Returns
    -------
    Evaluation
        An awaitable of one where the client is asynchronous.

    Raises
    ------
    ParameterError
        When the rows are not encoded as those of the model, or the Dataset is closed or in use.
    """
    from dask_dl.cluster.clients import awaitable

    data.check_alone(beside, None)
    work = functools.partial(_evaluated, model, data, custom, n_jobs)
    return awaitable(work) if data.is_asynchronous else work()


def _evaluated(
    model: Model, data: Dataset, custom: Any, n_jobs: int | None, cancelled: Callable[[], bool] = lambda: False
) -> Evaluation:
    from dask_dl.evaluation import measure_encoded
    from dask_dl.events import Listeners
    from dask_dl.show.evaluation import Evaluation

    with data.claimed(Listeners(), cancelled) as (backend, encoded):
        prepared, (source, found) = encoded.data, encoded.data.tables["training"]
        over, threads = functools.partial(backend.over, "training"), functools.partial(threads_of, n_jobs)
        measured = measure_encoded(model, source, found, prepared.encoder, prepared.head, over, custom, threads)
    return Evaluation.of(model, measured, label=source.label, n_rows=encoded.rows["training"][1])


def threads_of(n_jobs: int | None) -> int:
    """Threads of this process; on a worker all of its own, since it has one such task."""
    from dask_dl.cluster.clients import slot
    from dask_dl.node.parallelism import cores

    return (slot() or cores(n_jobs))[0]


def check_table(X: Any) -> None:
    """Refuse a Dataset where rows are to be answered one by one. Raises ParameterError."""
    if isinstance(X, Dataset):
        raise ParameterError(
            "X is a Dataset, which holds encoded rows and not the table that predictions and scores are of: pass the table "
            "itself. evaluate takes the Dataset, and measures the model on its rows."
        )
