"""Prediction over tables.

It is lazy over Dask frames and arrays, with the predictor once in the graph, and goes slice by slice over local tables.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from dask_dl.errors import DaskDLError, SchemaError, WorkerMemoryError
from dask_dl.frame.dask_frames import READING_ERRORS, matched, unreadable
from dask_dl.frame.partition_size import DEFAULT_SIZE, remedies
from dask_dl.frame.row_roles import numeric
from dask_dl.frame.source import OFFSET
from dask_dl.memory import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from dask_dl.frame.dense import DensePart
    from dask_dl.frame.source import Source
    from dask_dl.frame.sparse import SparsePart


T = TypeVar("T")

#: Rows that are encoded and predicted at a time: few enough for the caches and for sharing among threads, and so many that
#: what a slice takes by itself, a millisecond of pandas, is little beside its rows.
ROWS_PER_SLICE = 8192


def offsets_of(table: pd.DataFrame | SparsePart | DensePart, offset: Any) -> Any:
    """Offsets of the rows of a local table, by position. Raises SchemaError when they are more or fewer than rows."""
    if offset is None:
        return None
    offsets = offset_numbers(offset, "the table to predict") if isinstance(offset, pd.Series) else np.asarray(offset)
    if len(offsets) != len(table):
        raise SchemaError(
            f"the table to predict has {len(table):,} rows and {len(offsets):,} offsets. Their lengths must match."
        )
    return offsets


def offset_numbers(offset: Any, label: str) -> NDArray[np.float64]:
    """Offsets of rows of the table that is called `label`, as float64. Raises SchemaError for strings and dates."""
    column = offset if isinstance(offset, pd.Series) else pd.Series(offset)
    where = f"offset of {label}" if column.name is None else f"offset {column.name!r} of {label}"
    return numeric(column, where, "a partition")


def n_slices(n_rows: int, n: int) -> int:
    """How many slices of n rows at most, and of ROWS_PER_SLICE, a table has; 1 without rows."""
    return max(1, -(-n_rows // min(n, ROWS_PER_SLICE)))


def slices_of(
    table: pd.DataFrame | SparsePart | DensePart, offset: Any, n: int
) -> Iterator[tuple[pd.DataFrame | SparsePart | DensePart, Any]]:
    """Slices of about equal length with their offsets: `n_slices`.

    Parameters
    ----------
    table : pandas.DataFrame, SparsePart or DensePart
    offset : ndarray, pandas.Series or None
        Offsets of the rows, by position.
    n : int
        Rows of a slice, at most; 1 or more.

    Yields
    ------
    rows : pandas.DataFrame, SparsePart or DensePart
    offset : ndarray, pandas.Series or None
    """
    count = n_slices(len(table), n)
    if count == 1:
        yield table, offset
        return
    for k in range(count):
        rows = slice(len(table) * k // count, len(table) * (k + 1) // count)
        part = table.iloc[rows] if isinstance(table, pd.DataFrame) else table.take(rows)
        yield part, offset.iloc[rows] if isinstance(offset, pd.Series) else None if offset is None else offset[rows]


def map_rows(
    function: Callable[..., Any],
    X: Any,
    predictor: Any,
    offset: Any,
    meta: pd.Series[Any] | pd.DataFrame,
) -> Any:
    """`function(partition, predictor, offset)` over the partitions of a Dask DataFrame, with its index and divisions.

    Parameters
    ----------
    function : callable
        Returns a Series or DataFrame with the index of its first argument.
    X : dask.dataframe.DataFrame
    predictor : object
        Travels once, as a task of its own, and not with every partition.
    offset : dask.dataframe.Series or None
        Partitioned as `X`.
    meta : pandas.Series or pandas.DataFrame
        Empty result, with its dtypes and the index of `X._meta`.

    Returns
    -------
    dask.dataframe.Series or dask.dataframe.DataFrame
        As `meta`.
    """
    import dask
    import dask.dataframe as dd

    shared = dask.delayed(predictor, pure=False, traverse=False)
    others = [] if offset is None else [matched(X, offset, OFFSET, "the table to predict")]
    return dd.map_partitions(function, X, shared, *others, meta=meta, align_dataframes=False, enforce_metadata=False)


def map_partitions(function: Callable[..., Any], source: Source, shared: Any) -> list[Any]:
    """`function(partition, k, shared)` of every partition, computed now: here or, for a lazy table, by Dask.

    Parameters
    ----------
    function : callable
        Returns what is small beside a partition.
    source : Source
    shared : object
        Travels once, as a task of its own, and not with every partition.

    Returns
    -------
    list
        Results in the order of the partitions.
    """
    if source.lazy is None:
        return [function(source.read(k), k, shared) for k in range(source.n_partitions)]
    import dask

    once, work = dask.delayed(shared, pure=False, traverse=False), dask.delayed(function, pure=False)
    with reading(source.label):
        return list(dask.compute(*(work(part, k, once) for k, part in enumerate(source.lazy))))


#: Results that are merged by one task.
FAN_IN = 8


def reduce_partitions(function: Callable[..., T], merge: Callable[[T, T], T], source: Source, shared: Any) -> T:
    """`merge` of `function(partition, k, shared)` of every partition, in their order: here, or for a lazy table by Dask.

    Parameters
    ----------
    function : callable
        Returns what is small beside a partition.
    merge : callable
        Joins two results of it; in a tree, on the workers, so that no process ever has many.
    source : Source
    shared : object
        Travels once, as a task of its own, and not with every partition.

    Returns
    -------
    object
        What the last call of `merge` returned.
    """
    if source.lazy is None:
        return functools.reduce(merge, (function(source.read(k), k, shared) for k in range(source.n_partitions)))
    import dask

    once, work = dask.delayed(shared, pure=False, traverse=False), dask.delayed(function, pure=False)
    level = [work(part, k, once) for k, part in enumerate(source.lazy)]
    join = dask.delayed(functools.partial(_joined, merge), pure=False)
    while len(level) > 1:
        level = [join(level[lo : lo + FAN_IN]) for lo in range(0, len(level), FAN_IN)]
    with reading(source.label):
        (found,) = dask.compute(level[0])
    joined: T = found
    return joined


def _joined(merge: Callable[[T, T], T], parts: list[T]) -> T:
    return functools.reduce(merge, parts)


@contextlib.contextmanager
def reading(label: str) -> Iterator[None]:
    """Say what could not be read where Dask, in the body, fails to compute partitions of a table."""
    from distributed.scheduler import KilledWorker

    try:
        yield
    except DaskDLError:
        raise
    except READING_ERRORS as error:
        raise unreadable(error, label) from error
    except KilledWorker as error:
        raise _died_reading(error, label) from error


def _died_reading(error: Any, label: str) -> WorkerMemoryError:
    """Error for when Dask gave up since workers died again and again."""
    key, limit = error.task, getattr(error.last_worker, "memory_limit", 0)
    what = f"partition {key[-1]} of {label}" if isinstance(key, tuple) and isinstance(key[-1], int) else label
    may = f", the last one of which had {size(limit)} of memory" if limit else ""
    return WorkerMemoryError(
        f"workers died again and again while they read {what}{may}. Dask does not say why, and mostly it is their memory: see "
        f"their logs. {remedies(DEFAULT_SIZE)}"
    )
