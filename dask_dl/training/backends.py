"""The backend of a training, by its parameters: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.cluster.local import LocalBackend
from dask_dl.training.settings import PlacementSettings

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
    asked = PlacementSettings.of(requested)
    if client is None:
        n_shards = asked.n_shards or (1 if asked.reproducible else None)
        return LocalBackend(n_shards=n_shards, momentum=asked.momentum, moving_rate=asked.moving_rate)
    from dask_dl.cluster.dask_backend import DaskBackend  # imports distributed

    return DaskBackend(
        client,
        momentum=asked.momentum,
        moving_rate=asked.moving_rate,
        timeout=asked.timeout,
        placement=asked.placement,
        balances=asked.balances,
        n_shards=asked.n_shards,
        by_clock=not asked.reproducible,
        tell=tell,
        cancelled=cancelled,
        strict=strict,
    )
