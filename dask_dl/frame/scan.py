"""Scan of a table in one pass over its partitions: of every column and of the rows that train, merged in their order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import ColumnStats
from dask_dl.frame.dtypes import is_missing
from dask_dl.frame.faults import Fault, gathered
from dask_dl.frame.partition_scan import check_figures, errors_of_figures, scan_columns, too_large, without_sums
from dask_dl.frame.row_roles import MIN_RATIO, RowRoles, check_labels, counting_rows, where_of
from dask_dl.frame.row_stats import RowStats, ScanRequest
from dask_dl.frame.source import TARGET, WEIGHT, Schema, Source
from dask_dl.frame.sparse import SparsePart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from dask_dl.frame.column_stats import Moments

#: Scans that are merged in one task: a power of two, so that the tree of pairs stays the same.
FAN_IN = 16
#: Numbers of a sparse matrix beyond this are left out where faults are collected: the sums of their squares may not be finite.
LARGE = 1e140


@dataclass(frozen=True)
class Scan:
    """Result of one pass over a table, in the rows that train: see `frame.row_roles`."""

    rows: tuple[int, ...]  #: of every partition; partition k holds rows [sum(rows[:k]), sum(rows[:k + 1]))
    columns: ColumnStats  #: every predictor, in the order of the table
    row_stats: RowStats
    #: every predictor in all rows with target and weight, where those that lack any predictor do not train in this pass
    candidates: ColumnStats | None = None
    sizes: tuple[int, ...] = ()  #: bytes of every partition in memory
    n_entries: int = 0  #: numbers that are not 0, where only those are kept
    longest: int = 0  #: of a row
    first: int = 0  #: number of its first partition: not 0 while parts of a table are merged
    unlabelled: tuple[int, ...] = ()  #: rows of every partition without a target, where faults are collected
    faults: tuple[Fault, ...] | None = None  #: those that were collected; their columns and roles count as absent

    @property
    def n_rows(self) -> int:
        """Rows of the table, used or not."""
        return sum(self.rows)

    @property
    def largest_partition(self) -> int:
        """Bytes of the largest partition in memory."""
        return max(self.sizes, default=0)

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

    def with_classes(self, classes: Sequence[Any], name: str) -> Scan:
        """Scan of a table whose target, called `name`, may have these labels. Raises SchemaError where it has others."""
        if strange := [label for label in self.classes if label not in set(classes)]:
            raise SchemaError(
                f"{name} has labels that are not in classes: {strange[:8]}. Give all labels that there are."
            )
        counts = {label: self.classes.get(label, 0) for label in classes}
        return replace(self, row_stats=replace(self.row_stats, classes=counts))

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

    Returns
    -------
    Scan

    Raises
    ------
    SchemaError
        Infinite numbers, objects that are neither texts nor numbers, kinds that differ between partitions, missing or
        negative weights, missing offsets, texts that are not valid Unicode, an empty table. Rows that do not train may hold
        anything.
    """

    def scans() -> Iterator[Scan]:
        for k in range(source.n_partitions):
            yield _scan_read(source, k, request)
            if progress is not None:
                progress(k + 1, source.n_partitions)

    return checked(merged(scans(), source.schema), source.schema)


def _scan_read(source: Source, k: int, request: ScanRequest) -> Scan:
    try:
        part = source.read(k)
    except SchemaError as error:
        if not request.collects:
            raise
        return _nothing_of(source.schema, k, 0, str(error))
    return scan_partition(part, source.schema, k, request)


def checked(found: Scan | None, source: Schema) -> Scan:
    """The scan of a table that has rows, and figures that a mean can be made of. Raises SchemaError."""
    if found is None or (found.n_rows == 0 and not found.faults):
        raise SchemaError(f"{source.label} has no rows.")
    faults = list(found.faults or ())
    for name, low, high in without_sums(found.columns):
        error = too_large(f"column {name!r} of {source.label}", low, high)
        if found.faults is None:
            raise error
        faults.append(Fault(str(error), name))
    if not faults:
        return found
    at_fault = {fault.column for fault in faults}
    sound = tuple(name for name in found.columns if name not in at_fault)
    return replace(_of_columns(found, sound), faults=tuple(faults))


def _of_columns(found: Scan, names: tuple[str, ...]) -> Scan:
    """A scan with statistics of the columns of these names alone."""
    columns, candidates = found.columns.select(names), found.candidates
    if candidates is not None:
        candidates = columns if candidates is found.columns else candidates.select(names)
    return replace(found, columns=columns, candidates=candidates)


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

    Returns
    -------
    Scan

    Raises
    ------
    SchemaError
        When a value is of no use, and faults are not collected.
    """
    if not request.collects:
        return _scan_partition(part, source, k, request)
    try:
        found = replace(_scan_partition(part, source, k, request), faults=())
    except SchemaError:
        found = _scan_around_faults(part, source, k, request)
    n_unlabelled = int(is_missing(part[source.roles[TARGET]]).sum()) if TARGET in source.roles else 0
    return replace(found, unlabelled=(n_unlabelled,))


def _scan_partition(part: pd.DataFrame | SparsePart, source: Schema, k: int, request: ScanRequest) -> Scan:
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
        sizes=(part.nbytes if isinstance(part, SparsePart) else int(part.memory_usage(index=False, deep=True).sum()),),
        n_entries=int(n_entries.sum()),
        longest=int(n_entries.max(initial=0)),
        first=k,
    )


def _nothing_of(source: Schema, k: int, n: int, why: str) -> Scan:
    """The scan of a partition of n rows of which nothing can be used."""
    columns = ColumnStats.empty(source.predictors, 0)
    return Scan((n,), columns, RowStats(), columns, (0,), first=k, unlabelled=(0,), faults=(Fault(why, None, (k,)),))


def _scan_around_faults(part: pd.DataFrame | SparsePart, source: Schema, k: int, request: ScanRequest) -> Scan:
    """Scan a partition that `_scan_partition` refuses, without the roles and columns at fault, all of which are noted."""
    faults: list[Fault] = []
    bare = part.bare() if isinstance(part, SparsePart) else part
    roles: dict[str, str] = {}
    for role, name in source.roles.items():
        try:
            _scan_partition(
                bare, replace(source, predictors=(), roles={**roles, role: name}), k, request._replace(sparse=True)
            )
        except SchemaError as error:
            faults.append(Fault(str(error), name, (k,)))
        else:
            roles[role] = name
    schema = replace(source, roles=roles)
    required = source.predictors if request.inputs is None else request.inputs
    counts = counting_rows(part, schema, k, required if request.skips else ())
    places = None if counts.all() else np.flatnonzero(counts)
    names: Iterable[tuple[str, ...]] = (
        [source.predictors] if isinstance(part, SparsePart) else [(n,) for n in source.predictors]
    )
    for some in names:
        alone = replace(schema, predictors=some)
        try:
            columns = scan_columns(part, places, None, alone, k, request).columns
        except SchemaError as error:
            if isinstance(part, SparsePart):
                return _nothing_of(source, k, len(part), str(error))
            faults.append(Fault(str(error), some[0], (k,)))
        else:
            wrong = errors_of_figures(columns, part, places, alone, k)
            faults += [Fault(str(error), name, (k,)) for name, error in wrong]
    at_fault = {fault.column for fault in faults}
    if isinstance(part, SparsePart):
        found = _scan_partition(part.without_numbers_beyond(LARGE), schema, k, request)
    else:
        sound = tuple(name for name in source.predictors if name not in at_fault)
        found = _of_columns(_scan_partition(part, replace(schema, predictors=sound), k, request), source.predictors)
    return replace(found, faults=tuple(faults))


def _merge(left: Scan, right: Scan, source: Schema) -> Scan:
    faults = None if left.faults is None or right.faults is None else [*left.faults, *right.faults]
    columns = left.columns.merge(right.columns, source.label, faults)
    candidates = None
    if left.candidates is left.columns and right.candidates is right.columns:
        candidates = columns
    elif left.candidates is not None and right.candidates is not None:
        candidates = left.candidates.merge(right.candidates, source.label, None if faults is None else [])
    return Scan(
        rows=left.rows + right.rows,
        columns=columns,
        row_stats=left.row_stats.merge(right.row_stats),
        candidates=candidates,
        sizes=left.sizes + right.sizes,
        n_entries=left.n_entries + right.n_entries,
        longest=max(left.longest, right.longest),
        first=left.first,
        unlabelled=left.unlabelled + right.unlabelled,
        faults=None if faults is None else gathered(faults),
    )
