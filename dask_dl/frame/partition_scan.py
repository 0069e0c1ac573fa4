"""Scan of the columns of one partition, in the rows that count: of a frame, and of a sparse matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import CategoricalStats, ColumnStats, Moments
from dask_dl.frame.dtypes import (
    CATEGORY,
    EXACT,
    NUMBER,
    as_levels,
    as_numbers,
    at,
    check_unicode,
    is_blurred,
    kinds_of,
    number_chunks,
)
from dask_dl.frame.sparse import SparsePart

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.dtypes import Places
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.source import Schema

#: The level of every row, -1 where missing, and the levels.
Coded = tuple["NDArray[np.intp]", list[str]]


class PartitionScan(NamedTuple):
    """Result of the scan of a partition's columns."""

    columns: ColumnStats  #: every predictor
    coded: dict[str, Coded]  #: levels of every row, where they are asked for
    n_entries: NDArray[np.int64]  #: numbers of every row that are not 0, where only those are kept


def scan_columns(
    part: pd.DataFrame | SparsePart,
    rows: Places,
    weights: NDArray[np.float64] | None,
    source: Schema,
    k: int,
    request: ScanRequest,
) -> PartitionScan:
    """Look at some rows of a partition, and their weights.

    Infinite values go into the figures: `check_figures` refuses them where they matter.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    rows : (m,) int64 or None
        Places of the rows; None: all rows.
    weights : (m,) float64 or None
        Weights of these rows; None: all 1.
    source : Schema
        Columns of the table and their roles.
    k : int
        Number of the partition.
    request : ScanRequest
        What the scan shall find out.

    Returns
    -------
    PartitionScan

    Raises
    ------
    SchemaError
        When a column is of no use, or a sparse matrix was not announced.
    """
    if isinstance(part, SparsePart) and not request.sparse:
        raise SchemaError(
            f"{source.label}: partition {k} is a sparse matrix, but the table was declared dense. Use sparse=True, or "
            f"tell Dask: meta=scipy.sparse.csr_matrix((0, 0))."
        )
    if isinstance(part, SparsePart):
        return _of_matrix(part if rows is None else part.take(rows), weights, k)
    return _of_frame(part, rows, weights, source, k, request)


def _of_frame(
    part: pd.DataFrame,
    rows: Places,
    weights: NDArray[np.float64] | None,
    source: Schema,
    k: int,
    request: ScanRequest,
) -> PartitionScan:
    n, names = len(part) if rows is None else len(rows), source.predictors
    levels: dict[str, CategoricalStats] = {}
    coded: dict[str, Coded] = {}
    n_entries = np.zeros(n, np.int64)
    kinds = kinds_of(part, names, source.label, rows)
    for name in [name for name, kind in kinds.items() if kind == CATEGORY]:
        where = f"column {name!r} of {source.label}"
        codes, texts, from_numbers = as_levels(at(part[name], rows), where)
        check_unicode(texts, f"{where}: partition {k} holds the level")
        n_missing, *counts = np.bincount(codes + 1, minlength=len(texts) + 1).tolist()
        by_level: dict[str, float] = {}
        if request.levels == "weight" and weights is not None:
            sums = np.bincount(codes + 1, weights, len(texts) + 1)[1:].tolist()
            by_level = dict(zip(texts, sums, strict=True))
        if texts:
            seen = dict(zip(texts, counts, strict=True))
            levels[name] = CategoricalStats(n_missing, seen, from_numbers, by_level, k)
        if request.levels == "response":
            coded[name] = codes, texts
    moments = Moments.zeros(len(names))
    minimum, maximum = np.full((2, len(names)), np.nan)
    blurred = np.zeros(len(names), bool)
    numeric = np.array([c for c, name in enumerate(names) if kinds[name] == NUMBER], np.intp)
    for place, values in number_chunks(part, [names[c] for c in numeric], rows):
        chunk = numeric[place]
        for figure, found in zip(moments, Moments.of(values, weights), strict=True):
            figure[chunk] = found
        minimum[chunk] = np.fmin.reduce(values, axis=1, initial=np.nan)
        maximum[chunk] = np.fmax.reduce(values, axis=1, initial=np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite numbers
            spread = maximum[chunk] - minimum[chunk]
        for c in np.flatnonzero((spread > EXACT) & np.isfinite(spread)).tolist():
            blurred[chunk[c]] = is_blurred(at(part[names[chunk[c]]], rows), values[c])
        if request.sparse:
            n_entries += np.count_nonzero(values, axis=0)
    first = np.full(len(names), k)
    return PartitionScan(ColumnStats(names, n, moments, minimum, maximum, blurred, first, levels), coded, n_entries)


def _of_matrix(part: SparsePart, weights: NDArray[np.float64] | None, k: int) -> PartitionScan:
    p = len(part.names)
    figures = part.moments(weights), *part.extremes(), np.zeros(p, bool), np.full(p, k)
    columns = ColumnStats(part.names, len(part), *figures, levels={})
    return PartitionScan(columns, {}, np.asarray(np.diff(part.matrix.indptr), np.int64))


def check_figures(columns: ColumnStats, part: pd.DataFrame | SparsePart, rows: Places, source: Schema, k: int) -> None:
    """Check that numbers of a partition can be learned from: they are finite, and so are their sums.

    Parameters
    ----------
    columns : ColumnStats
        Statistics of the columns.
    part : pandas.DataFrame or SparsePart
        The partition.
    rows : (m,) int64 or None
        Places of the rows that count; None: all rows.
    source : Schema
        Columns of the table and their roles.
    k : int
        Number of the partition.

    Raises
    ------
    SchemaError
        When they are not.
    """
    for _, error in errors_of_figures(columns, part, rows, source, k):
        raise error


def errors_of_figures(
    columns: ColumnStats, part: pd.DataFrame | SparsePart, rows: Places, source: Schema, k: int
) -> Iterable[tuple[str, SchemaError]]:
    """Columns of a partition whose numbers cannot be learned from, and the reasons.

    Parameters
    ----------
    columns : ColumnStats
        Statistics of the columns.
    part : pandas.DataFrame or SparsePart
        The partition.
    rows : (m,) int64 or None
        Places of the rows that count; None: all rows.
    source : Schema
        Columns of the table and their roles.
    k : int
        Number of the partition.

    Yields
    ------
    name : str
    reason : SchemaError
    """
    for name, low, high in without_sums(columns):
        where = f"column {name!r} of {source.label}"
        if math.isinf(low) or math.isinf(high):
            if isinstance(part, SparsePart):
                n = (part if rows is None else part.take(rows)).infinite()[name]
            else:
                n = int(np.isinf(as_numbers(at(part[name], rows))).sum())
            text = f"{where}: {n:,} infinite values in partition {k}. Make them missing (NaN) or clip them."
            yield name, SchemaError(text)
        else:
            yield name, too_large(where, low, high, f" in partition {k}")


def without_sums(columns: ColumnStats) -> Iterable[tuple[str, float, float]]:
    """Numeric columns, and their range, whose sum of squares is not finite."""
    for c in np.flatnonzero(~np.isfinite(columns.moments.m2)).tolist():
        yield columns.names[c], columns.minimum[c].item(), columns.maximum[c].item()


def too_large(where: str, low: float, high: float, there: str = "") -> SchemaError:
    """Error for numbers whose squares leave float64.

    Parameters
    ----------
    where : str
        What errors call the column.
    low, high : float
        Minimum and maximum of the numbers.
    there : str
        Place of the numbers, with a leading space, or nothing.

    Returns
    -------
    SchemaError
    """
    return SchemaError(
        f"{where}: values up to {max(abs(low), abs(high)):g}{there} are too large for a mean. Make them missing (NaN) or scale "
        f"them."
    )
