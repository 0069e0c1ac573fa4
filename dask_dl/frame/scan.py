"""Scan of a table in one pass over its partitions: of every column and of the rows that train, merged in their order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.partition_scan import check_figures, scan_columns, too_large, without_sums
from dask_dl.frame.row_roles import MIN_RATIO, RowRoles, check_labels, counting_rows, where_of
from dask_dl.frame.row_stats import RowStats, ScanRequest
from dask_dl.frame.source import TARGET, WEIGHT, Schema, Source
from dask_dl.frame.sparse import SparsePart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd

    from dask_dl.frame.column_stats import ColumnStats, Moments

#: Scans that are merged in one task: a power of two, so that the tree of pairs stays the same.
FAN_IN = 16


@dataclass(frozen=True)
class Scan:
    """Result of one pass over a table, in the rows that train: see `frame.row_roles`."""

    rows: tuple[int, ...]  #: of every partition; partition k holds rows [sum(rows[:k]), sum(rows[:k + 1]))
    columns: ColumnStats  #: every predictor, in the order of the table
    row_stats: RowStats
    #: every predictor in all rows with target and weight, where those that lack any predictor do not train in this pass
    candidates: ColumnStats | None = None
    largest_partition: int = 0  #: bytes of the largest partition in memory
    n_entries: int = 0  #: numbers that are not 0, where only those are kept
    longest: int = 0  #: of a row
    first: int = 0  #: number of its first partition: not 0 while parts of a table are merged

    @property
    def n_rows(self) -> int:
        """Rows of the table, used or not."""
        return sum(self.rows)

    @property
    def n_levels(self) -> int:
        """Number of levels of all columns."""
        return sum(len(column.counts) for column in self.columns.levels.values())

    @property
    def n_used(self) -> int:
        """Rows that train."""
        return self.row_stats.n

    @property
    def classes(self) -> Mapping[Any, int]:
        """Label -> rows that train; nothing for numbers."""
        return self.row_stats.classes

    @property
    def target(self) -> Moments:
        """Moments of a numeric target."""
        return self.row_stats.target

    @property
    def mean_weight(self) -> float:
        """Mean weight of the rows that train."""
        return self.row_stats.weight / self.row_stats.n


def scan(source: Source, request: ScanRequest, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Read every partition of `source` once, at most one in memory at a time.

    Parameters
    ----------
    source : Source
    request : ScanRequest
    progress : callable, optional
        Told (partitions done, partitions) after each.

    Raises
    ------
    SchemaError
        Infinite numbers, objects that are neither texts nor numbers, kinds that differ between partitions, missing or
        negative weights, missing offsets, texts that are not valid Unicode, an empty table. Rows that do not train may hold
        anything.
    """

    def scans() -> Iterator[Scan]:
        for k in range(source.n_partitions):
            yield scan_partition(source.read(k), source.schema, k, request)
            if progress is not None:
                progress(k + 1, source.n_partitions)

    return checked(merged(scans(), source.schema), source.schema)


def checked(found: Scan | None, source: Schema) -> Scan:
    """The scan of a table that has rows, and figures that a mean can be made of. Raises SchemaError."""
    if found is None or found.n_rows == 0:
        raise SchemaError(f"{source.label} has no rows.")
    for name, low, high in without_sums(found.columns):
        raise too_large(f"column {name!r} of {source.label}", low, high)
    return found


def merged(parts: Iterable[Scan], schema: Schema) -> Scan | None:
    """Scans of neighbouring partitions as one, in pairs of equal size: as a tree of 2, 4, 8, ... partitions.

    Merged one by one, or FAN_IN at a time on different workers and then those: the figures are the same to the last bit.
    """
    heaps: list[tuple[int, Scan]] = []  # (height, scan): heights fall from left to right
    for part in parts:
        height, scan_ = 0, part
        while heaps and heaps[-1][0] == height:
            scan_ = _merge(heaps.pop()[1], scan_, schema)
            height += 1
        heaps.append((height, scan_))
    total: Scan | None = None
    while heaps:
        left = heaps.pop()[1]
        total = left if total is None else _merge(left, total, schema)
    return total


def check_used(found: Scan, source: Source, request: ScanRequest) -> None:
    """Whether any row trains, and by weights that can be told apart: raises SchemaError when not."""
    if found.n_used == 0:
        needs = ["a value", *(["a weight above zero"] if WEIGHT in source.roles else [])]
        needs += ["no missing input, without which it is skipped (missing_values_handling)"] if request.skips else []
        gaps = sorted((found.candidates or {}).items(), key=lambda item: -item[1].n_missing)[:5]
        maximum = ", ".join(f"{column!r} {figures.n_missing:,}" for column, figures in gaps if figures.n_missing)
        hint = f" Most are missing of {maximum}: drop such columns, or do not skip." if maximum else ""
        name = name_of_target(source)
        raise SchemaError(f"{name} of {source.label}: none of {found.n_rows:,} rows has {' and '.join(needs)}.{hint}")
    check_weights(found, source.schema)


def name_of_target(source: Source) -> str:
    """Name, for errors, of the target of a table."""
    name = source.roles.get(TARGET, "target")
    return "the target" if name.startswith("__") else f"target {name!r}"


def check_weights(found: Scan, source: Schema) -> None:
    """Whether the lightest row counts at all beside the others, in float32. Raises SchemaError."""
    lightest, heaviest = found.row_stats.lightest, found.row_stats.heaviest
    if lightest and heaviest and lightest.weight / found.mean_weight < MIN_RATIO:
        raise SchemaError(
            f"{where_of(source, WEIGHT)}: {heaviest.weight:g} in partition {heaviest.partition} and {lightest.weight:g} in "
            f"partition {lightest.partition} are too far apart: the lighter row would count nothing. Clip the weights, or "
            f"make those 0 that shall not count."
        )


def scan_partition(part: pd.DataFrame | SparsePart, source: Schema, k: int, request: ScanRequest) -> Scan:
    """Scan a partition.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    source : Schema
        Columns of the table and their roles.
    k : int
        Number of the partition.
    request : ScanRequest
        What the scan shall find out.

    Raises
    ------
    SchemaError
        When a value is of no use.
    """
    counts = counting_rows(part, source, k)
    trains = counts
    if request.skips:
        trains = counting_rows(part, source, k, source.predictors if request.inputs is None else request.inputs)
    roles = RowRoles.of(part, source, k, trains, request.target)
    columns, coded, n_entries = scan_columns(part, roles.places, roles.weights, source, k, request)
    check_figures(columns, part, roles.places, source, k)
    candidates = None
    if request.skips and request.inputs is None:
        others = np.flatnonzero(counts)
        candidates = columns if len(others) == roles.n else scan_columns(part, others, None, source, k, request).columns
    row_stats = RowStats.of(roles, k, coded, request.distribution)
    if roles.labels is not None:
        check_labels(row_stats.classes, where_of(source, TARGET), k)
    elif not math.isfinite(row_stats.target.m2) and roles.targets is not None:
        raise too_large(where_of(source, TARGET), roles.targets.min(), roles.targets.max(), f" in partition {k}")
    return Scan(
        rows=(len(part),),
        columns=columns,
        row_stats=row_stats,
        candidates=candidates,
        largest_partition=part.nbytes
        if isinstance(part, SparsePart)
        else int(part.memory_usage(index=False, deep=True).sum()),
        n_entries=int(n_entries.sum()),
        longest=int(n_entries.max(initial=0)),
        first=k,
    )


def _merge(left: Scan, right: Scan, source: Schema) -> Scan:
    columns = left.columns.merge(right.columns, source.label)
    candidates = None
    if left.candidates is left.columns and right.candidates is right.columns:
        candidates = columns
    elif left.candidates is not None and right.candidates is not None:
        candidates = left.candidates.merge(right.candidates, source.label)
    return Scan(
        rows=left.rows + right.rows,
        columns=columns,
        row_stats=left.row_stats.merge(right.row_stats),
        candidates=candidates,
        largest_partition=max(left.largest_partition, right.largest_partition),
        n_entries=left.n_entries + right.n_entries,
        longest=max(left.longest, right.longest),
        first=left.first,
    )
