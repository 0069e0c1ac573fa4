"""The partitions of a lazy table, computed in their order while few of them are in memory."""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
from dask.optimization import cull
from dask.system import CPU_COUNT

from dask_dl.cluster.liveness import Liveness
from dask_dl.errors import ClusterError
from dask_dl.frame.prediction import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pandas as pd

#: Seconds between two looks whether the cluster still has workers.
LOOK = 5.0


def computed_partitions(
    frame: Any, client: Any, *, label: str, timeout: float, say: Callable[[str], None]
) -> Iterator[pd.DataFrame]:
    """Each partition of a Dask DataFrame, in order.

    One is computed for each thread, of this process or of the workers, and as many are ready before they are asked for: memory
    does not grow with the table.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    client : distributed.Client or None
        None: the threads of this process compute.
    label : str
        What errors call the table.
    timeout : float
        Seconds to wait for a worker where a cluster has none.
    say : callable
        Called with lines for people, where there is something to wait for.

    Yields
    ------
    pandas.DataFrame

    Raises
    ------
    SchemaError, ClusterError
        What reading raises; NoWorkersError after `timeout`.
    """
    frame = frame.optimize()
    graph, keys = dict(frame.__dask_graph__()), frame.__dask_keys__()
    compute = _computed_here if client is None else _computed_there
    with reading(label), contextlib.closing(compute(graph, keys, client, timeout, say)) as parts:
        yield from parts


def _computed_here(graph: Any, keys: Sequence[Any], *_: Any) -> Generator[pd.DataFrame]:
    with ThreadPoolExecutor(CPU_COUNT) as pool:

        def submit(batch: Sequence[Any]) -> list[Any]:
            return [pool.submit(dask.get, cull(graph, [key])[0], key) for key in batch]

        for future in _in_order(submit, _batches(keys, CPU_COUNT)):
            yield future.result()


def _computed_there(
    graph: Any, keys: Sequence[Any], client: Any, timeout: float, say: Callable[[str], None]
) -> Generator[pd.DataFrame]:
    liveness = Liveness(client, say)
    n = sum(member.n_threads for member in liveness.wait(timeout).values())

    def submit(batch: Sequence[Any]) -> list[Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # a large network, once for many partitions
            return list(client.get(cull(graph, batch)[0], batch, sync=False))

    for future in _in_order(submit, _batches(keys, n)):
        try:
            while not future.done():
                with contextlib.suppress(TimeoutError):
                    future.result(timeout=LOOK)
                if not future.done():
                    liveness.wait(timeout)
            yield future.result()
        except CancelledError as error:
            raise ClusterError(f"the scheduler of {client!r} was restarted, or is gone.") from error


def _batches(keys: Sequence[Any], n: int) -> list[Sequence[Any]]:
    return [keys[start : start + n] for start in range(0, len(keys), n)]


def _in_order(submit: Callable[[Sequence[Any]], Sequence[Any]], batches: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """The future of each key in order; a batch is begun when the one before it is asked for, and no earlier."""
    waiting: deque[Any] = deque()
    try:
        for batch in batches:
            n_before = len(waiting)
            waiting.extend(submit(batch))
            for _ in range(n_before):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()
