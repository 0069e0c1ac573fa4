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
    """
    if client is None:
        return LocalBackend()
    from dask_dl.cluster.dask_backend import DaskBackend  # imports distributed

    replicates = requested["replicate_training_data"] and not requested["reproducible"]
    return DaskBackend(
        client,
        momentum=requested["averaging_momentum"],
        moving_rate=requested["elastic_averaging_moving_rate"] if requested["elastic_averaging"] else None,
        timeout=requested["worker_timeout"],
        placement="sharded" if not replicates else "single" if requested["single_node_mode"] else "replicated",
        balances=requested["force_load_balance"],
        by_clock=not requested["reproducible"],
        tell=tell,
        cancelled=cancelled,
        strict=strict,
    )
