"""How large the partitions of a Dask collection will be in memory, as far as that is known before they are read.

The graph of a partition tells: frames and arrays inside it are measured, and files of Parquet say how many rows they hold and
what their columns take. No row is read. Of CSV files, and of what a function of the user's makes, nothing is known.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError, Warn
from dask_dl.frame import sparse
from dask_dl.memory import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dask_dl.memory import PartitionLimits

#: Partitions that are looked at, spread over the table: each may cost the reading of a file's metadata.
N_LOOKED_AT = 8
#: Bytes of a partition that fits nearly everywhere, where nothing is known.
DEFAULT_SIZE = 50_000_000
#: No error recommends partitions of fewer bytes.
MIN_SIZE = 4_000_000
#: What can always be done.
MORE_MEMORY = "give every worker more memory (memory_limit), or fewer threads"


class PartitionSize(NamedTuple):
    """A partition and its bytes in memory."""

    partition: int
    n_bytes: int


def check_size(what: str, n_bytes: float, limits: PartitionLimits, remedy: str, warn: Warn) -> None:
    """Compare the size of a partition that cannot be cut any further with the limits; warns when it may not fit.

    Parameters
    ----------
    what : str
        What it is, for the user.
    n_bytes : float
        Its bytes as a frame.
    limits : PartitionLimits
        Bytes that a partition may take.
    remedy : str
        What to do about it; more memory is always one.
    warn : callable
        Warns of a partition that may not fit.

    Raises
    ------
    SchemaError
        When it surely does not fit.
    """
    if n_bytes <= limits.fits:
        return
    room, verb = (limits.max, "is too large") if n_bytes > limits.max else (limits.fits, "may be too large")
    text = (
        f"{what} takes about {size(n_bytes)} in memory, which {verb}: there is room for {size(room)}. {remedy}, or allow more "
        f"memory (a higher memory limit, fewer threads)."
    )
    if n_bytes > limits.max:
        raise SchemaError(text)
    warn(text)


def remedies(n_bytes: int) -> str:
    """Advice on partitions that are larger than this."""
    if n_bytes < MIN_SIZE:
        return f"Hardly anything fits beside the imports: {MORE_MEMORY}."
    maximum = f"{n_bytes / 1e6:.3g}MB"
    return (
        f"Make partitions of {maximum} in memory at most: dd.read_parquet(..., split_row_groups=True), "
        f"dd.read_csv(..., blocksize='{maximum}'), rechunk() of a Dask Array, or repartition(partition_size='{maximum}') "
        f"before a table is saved. Or {MORE_MEMORY}."
    )


def largest_known(lazy: Sequence[Any]) -> PartitionSize | None:
    """The largest of some partitions, given as Delayed objects; None when nothing is known of them.

    It is a lower bound: texts count as in the file, where equal ones are stored once.
    """
    last = len(lazy) - 1
    looked_at = sorted({round(last * k / max(1, N_LOOKED_AT - 1)) for k in range(N_LOOKED_AT)}) if len(lazy) else []
    sizes = [PartitionSize(k, sum(_node_sizes(_needed(lazy[k])))) for k in looked_at]
    largest = max(sizes, key=lambda size: size.n_bytes, default=None)
    return largest if largest is not None and largest.n_bytes else None


def _needed(part: Any) -> Iterator[Any]:
    """The tasks on which a partition depends, and its own."""
    from dask.core import get_dependencies

    graph = part.__dask_graph__()
    seen, stack = {part.key}, [part.key]
    while stack:
        key = stack.pop()
        yield graph[key]
        new = get_dependencies(graph, key) - seen
        seen |= new
        stack += new


def _node_sizes(nodes: Iterable[Any], task: Any = None) -> Iterator[int]:
    """Bytes of what is in a graph, and of the files that it reads; `task` is the one whose arguments these are."""
    nodes = list(nodes)
    for at, node in enumerate(nodes):
        if isinstance(node, dict) and "piece" in node:
            yield _piece_bytes(node["piece"], task.func)
        elif isinstance(node, dict):  # tasks that are fused
            yield from _node_sizes(node.values(), task)
        elif isinstance(node, (list, tuple)):
            yield from _node_sizes(node, task)
        elif hasattr(node, "func") and hasattr(node, "args"):
            yield from _node_sizes((*node.args, *node.kwargs.values()), node)
        elif hasattr(node, "fragment"):
            is_filtered = nodes[at + 1] is not None  # a fragment is followed by what rows of it have to fulfil
            yield 0 if is_filtered else _fragment_bytes(node.fragment, (*task.args, *task.kwargs.values()))
        else:
            yield _value_bytes(getattr(node, "value", node))


def _value_bytes(value: Any) -> int:
    """Bytes of a table; 0 of anything else."""
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(index=False, deep=True).sum())
    if isinstance(value, (pd.Series, np.ndarray)):
        return int(value.nbytes)
    if sparse.is_sparse(value) and hasattr(value, "indptr"):
        return int(value.data.nbytes + value.indices.nbytes + value.indptr.nbytes)
    return 0


def _piece_bytes(piece: Any, read: Any) -> int:
    """Bytes of a piece of a Parquet file, (path, row groups, partition keys); 0 when it cannot be known here."""
    import pyarrow.parquet

    with contextlib.suppress(
        Exception
    ):  # files may be where only the workers see them; then reading says what is wrong
        if not read.common_kwargs.get("filters"):
            path, groups, _ = piece
            with read.fs.open(path) as file:
                metadata = pyarrow.parquet.ParquetFile(file).metadata
            return _row_group_bytes(metadata, groups or range(metadata.num_row_groups), set(read.columns))
    return 0


def _fragment_bytes(fragment: Any, beside: Sequence[Any]) -> int:
    """Bytes of a fragment of a Parquet file; 0 when it cannot be known here. Beside it stand the columns that are read."""
    with contextlib.suppress(Exception):
        (columns,) = (a for a in beside if isinstance(a, list) and a and all(isinstance(name, str) for name in a))
        groups = [group.id for group in fragment.row_groups]
        return _row_group_bytes(fragment.metadata, groups, set(columns))
    return 0


def _row_group_bytes(metadata: Any, groups: Iterable[int], columns: set[str]) -> int:
    """Bytes of columns in memory: rows times the width of their type or, of texts, what the file holds uncompressed."""
    schema, total = metadata.schema.to_arrow_schema(), 0
    used = [(k, schema.field(name).type) for k, name in enumerate(schema.names) if name in columns]
    if len(schema.names) != metadata.num_columns:  # columns of columns, which are not counted
        used = []
    for group in (metadata.row_group(k) for k in groups):
        for k, kind in used:
            try:
                total += group.num_rows * kind.bit_width // 8
            except ValueError:  # its values differ in length
                total += group.column(k).total_uncompressed_size
    return total
