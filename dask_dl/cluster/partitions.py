"""Partitions of a table, read on the workers where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
from dask.core import get_dependencies
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Future
from distributed.protocol import pickle

from dask_dl.cluster import table_tasks
from dask_dl.frame.scan import FAN_IN, scan_partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dask_dl.cluster.submit import Submitter
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.source import Schema

#: In the place of a worker: none in particular.
ANYWHERE = ""
#: How often the tasks of a partition may be needed by others too, on average, where they are done again each time.
MAX_SHARED = 2.0
#: Bytes of the pickled graph of a partition that is read where it is needed.
MAX_PICKLED = 2**18
SAVE = "Save it to Parquet first, and train from there."


class Partitions:
    """The partitions of a Dask collection, of which some can be asked for without the graph of the others.

    Parameters
    ----------
    lazy : sequence of dask.delayed.Delayed
    """

    def __init__(self, lazy: Sequence[Any]) -> None:
        self._keys = [part.key for part in lazy]
        self._graph: dict[Any, Any] = {}
        seen: set[int] = set()
        for part in lazy:
            graph = part.__dask_graph__()
            if id(graph) not in seen:  # they mostly share one
                seen.add(id(graph))
                self._graph.update(graph)

    def __len__(self) -> int:
        return len(self._keys)

    def some(self, wanted: Mapping[str, Iterable[int]]) -> dict[str, dict[int, Any]]:
        """Delayed objects of partitions, by the worker that wants them, with the part of the graph that they need.

        What only one worker needs is run there; what several need, and all that ANYWHERE wants, runs where Dask likes, once.
        """
        owners: dict[Any, str] = {}
        for worker, numbers in wanted.items():
            stack = [self._keys[k] for k in numbers]
            while stack:
                key = stack.pop()
                owner = owners.get(key)
                if owner in {ANYWHERE, worker}:  # and so is all that it needs
                    continue
                is_free = owner is not None or isinstance(
                    self._graph[key], Future
                )  # what is persisted stays where it is
                owners[key] = ANYWHERE if is_free else worker
                stack += get_dependencies(self._graph, key)
        layers: dict[str, dict[Any, Any]] = {}
        for key, owner in owners.items():
            layers.setdefault(_layer(owner), {})[key] = self._graph[key]
        pinned = {
            _layer(worker): MaterializedLayer(layers.get(_layer(worker), {}), annotations=_pinned(worker))
            for worker in {ANYWHERE, *wanted}
        }
        # A few layers under fixed names: what is built on many partitions holds them once.
        needs = {name: {_layer(ANYWHERE)} - {name} for name in pinned}
        graph = HighLevelGraph(pinned, needs)
        return {
            worker: {k: Delayed(self._keys[k], graph, layer=_layer(owners[self._keys[k]])) for k in numbers}
            for worker, numbers in wanted.items()
        }

    def alone(self, k: int) -> tuple[dict[Any, Any], Any]:
        """The graph of one partition, and its key."""
        graph, stack = {}, [self._keys[k]]
        while stack:
            key = stack.pop()
            if key not in graph:
                graph[key] = self._graph[key]
                stack += get_dependencies(self._graph, key)
        return graph, self._keys[k]

    def pickled(self, k: int) -> bytes:
        """Graph and key of a partition, pickled for a worker that reads it by itself."""
        return pickle.dumps(self.alone(k))  # type: ignore[no-any-return]  # distributed has no types

    def not_again(self) -> str | None:
        """Why workers cannot read these partitions again and again, if they cannot."""
        if any(isinstance(task, Future) for task in self._graph.values()):
            return f"the table lies in the memory of the cluster. {SAVE}"
        if text := self.shares_work():
            return text
        if len(self.pickled(0)) > MAX_PICKLED:
            return f"the table is inside its graph, and would travel with it. {SAVE}"
        return None

    def shares_work(self) -> str | None:
        """Reason not to read them again and again, if there is one."""
        maximum, n_tasks = MAX_SHARED * len(self._graph), 0
        for k in range(len(self)):
            n_tasks += len(self.alone(k)[0])
            if n_tasks > maximum:
                return f"its partitions share work (a shuffle, a join?), which would be done again for each. {SAVE}"
        return None


def _layer(worker: str) -> str:
    return f"source-{worker}"


def _pinned(worker: str) -> dict[str, Any]:
    return {"workers": [worker], "allow_other_workers": False} if worker else {}


def scanned(
    submitter: Submitter,
    partitions: Partitions,
    schema: Schema,
    request: ScanRequest,
    workers: Sequence[str] | None = None,
) -> tuple[list[Any], Any]:
    """Futures of the scan of every partition, and of all scans merged, FAN_IN at a time.

    Parameters
    ----------
    submitter : Submitter
        Submits the tasks.
    partitions : Partitions
        Partitions of the table.
    schema : Schema
        Columns of the table and their roles.
    request : ScanRequest
        What the scan shall find out.
    workers : sequence of str, optional
        Addresses of those that may do it; by default any.

    Returns
    -------
    tuple of (list of Future, Future)
        The scans of the partitions, in order, and the merged one.
    """
    parts = partitions.some({ANYWHERE: range(len(partitions))})[ANYWHERE]
    one, merge = (dask.delayed(f, pure=False) for f in (scan_partition, table_tasks.scan_merged))
    layer = [one(parts[k], schema, k, request, dask_key_name=submitter.key("scan")) for k in range(len(partitions))]
    leaves = layer
    while len(layer) > 1:
        layer = [
            merge(layer[k : k + FAN_IN], schema, dask_key_name=submitter.key("scan-merge"))
            for k in range(0, len(layer), FAN_IN)
        ]
    *futures, root = submitter.compute([*leaves, layer[0]], workers)
    return futures, root


def encoded(
    submitter: Submitter, partitions: Partitions, wanted: Mapping[str, Mapping[int, tuple[Any, ...]]], *, again: bool
) -> dict[tuple[str, int], Any]:
    """Futures of partitions that become blocks of workers.

    They are submitted together, so that what several of them need is computed once; or, with `again`, each worker reads
    its partitions by itself, now and again later.

    Parameters
    ----------
    submitter : Submitter
        Submits the tasks.
    partitions : Partitions
        Partitions of the table.
    wanted : mapping of str to mapping of int to tuple
        Arguments of `table_tasks.encode` after the first one, by worker and partition.
    again : bool
        Whether workers read partitions by themselves: `table_tasks.encode_again`.

    Returns
    -------
    dict of (str, int) to Future
        Future of a BlockReceipt for each worker and partition.
    """
    if again:
        return {
            (worker, k): submitter.submit("encode", worker, table_tasks.encode_again, partitions.pickled(k), *arguments)
            for worker, by_partition in wanted.items()
            for k, arguments in by_partition.items()
        }
    parts = partitions.some(wanted)
    make = dask.delayed(table_tasks.encode, pure=False)
    tasks: dict[tuple[str, int], Any] = {}
    for worker, by_partition in wanted.items():
        with dask.annotate(**_pinned(worker)):
            for k, arguments in by_partition.items():
                tasks[worker, k] = make(parts[worker][k], *arguments, dask_key_name=submitter.key("encode"))
    return dict(zip(tasks, submitter.compute(list(tasks.values())), strict=True))
