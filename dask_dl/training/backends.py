"""The backend of a training, by its parameters: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.cluster.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_dl.cluster.backend import Backend, Reporter


def backend_for(
    requested: Mapping[str, Any],
    client: Any,
    tell: Reporter,
    cancelled: Callable[[], bool],
    *,
    strict: bool = True,
) -> Backend:
    """Return the backend that a training runs on.

    Parameters
    ----------
    requested : mapping
        Constructor parameters as `parameters.validate` returns them.
    client : distributed.Client or None
        Of the cluster; None trains in this process.
    tell : Reporter
        Told of what happens to workers.
    cancelled : callable
        Asked while workers are waited for; True ends the waiting.
    strict : bool
        Whether a worker that cannot do the work is an error; else it is left out.

    Returns
    -------
    Backend
        Not open yet.
    """
    momentum = requested["averaging_momentum"]
    moving_rate = requested["elastic_averaging_moving_rate"] if requested["elastic_averaging"] else None
    if client is None:
        n_shards = requested["n_shards"] or (1 if requested["reproducible"] else None)
        return LocalBackend(n_shards=n_shards, momentum=momentum, moving_rate=moving_rate)
    from dask_dl.cluster.dask_backend import DaskBackend  # imports distributed

    replicates = requested["replicate_training_data"] and not requested["reproducible"]
    return DaskBackend(
        client,
        momentum=momentum,
        moving_rate=moving_rate,
        timeout=requested["worker_timeout"],
        placement="sharded" if not replicates else "single" if requested["single_node_mode"] else "replicated",
        balances=requested["force_load_balance"],
        n_shards=requested["n_shards"],
        by_clock=not requested["reproducible"],
        tell=tell,
        cancelled=cancelled,
        strict=strict,
    )
