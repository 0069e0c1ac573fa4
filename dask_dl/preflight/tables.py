"""Findings on a table that was scanned: its partitions, its target, and its columns."""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dask_dl.frame.column_stats import CategoricalStats, EmptyStats, NumericStats
from dask_dl.frame.dtypes import as_numbers, blurred_warning
from dask_dl.frame.source import TARGET, WEIGHT
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Number
    from dask_dl.frame.inputs import Inputs
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.preflight.findings import Collector, Level

#: Columns that are named one by one for the same reason.
MAX_COLUMNS = 30
#: A partition is called large with so many times the rows of the median one, and more than so many rows.
SKEWED, MIN_SKEWED = 5.0, 1000
#: Share of the rows without a target from which on that is more likely a mistake than intent.
MANY_UNLABELLED = 0.1
#: Levels by rows from which on a column is suspected to be an identifier, and rows with which that can be told.
IDENTIFYING, MIN_ROWS = 0.9, 20
#: Share of the different values of a sample that are different in float32, below which a column is said to lose them.
LEFT_IN_FLOAT32 = 0.5
#: Different whole numbers of a sample from which on their name or their range need not tell too that they are identifiers.
MANY_DISTINCT = 10_000

_IDENTIFIER = re.compile(
    r"(?i)(?:^|[_\W])(?:id|key|guid|uuid|index|rownum|row_?number|number|no|nr)$|(?<=[a-z])(?:ID|Id)$"
)


def on_partitions(found: Scan, source: Source, collector: Collector) -> None:
    """Find empty partitions, and those that are much larger than others."""
    unread = {k for fault in found.faults or () if fault.column is None for k in fault.partitions}
    empty = [k for k, n in enumerate(found.rows) if n == 0 and k not in unread]
    if empty:
        collector.add(
            "warning",
            f"{source.label}: {len(empty):,} of {len(found.rows):,} partitions have no rows: {listed(empty, 8, str)}.",
            "Harmless if a filter emptied them; else see whether files are missing. repartition() merges them with others.",
            partition=empty[0],
        )
    rows = [n for n in found.rows if n]
    if source.lazy is None or len(rows) < 3:
        return
    middle, largest = median(rows), max(rows)
    if largest > max(SKEWED * middle, MIN_SKEWED):
        skewed = [k for k, n in enumerate(found.rows) if n > max(SKEWED * middle, MIN_SKEWED)]
        collector.add(
            "warning",
            f"{source.label}: partition {found.rows.index(largest)} has {largest:,} rows, and the median partition "
            f"{middle:,.0f}; {listed(skewed, 8, str)} are larger than {SKEWED:g} times that.",
            "A worker reads a partition whole: make them alike with repartition(partition_size=...) before the table is saved.",
            partition=found.rows.index(largest),
        )


def on_target(found: Scan, source: Source, collector: Collector) -> None:
    """Find rows that do not train, since they have no target or no weight."""
    if TARGET not in source.roles:
        return
    name = source.roles[TARGET]
    column = None if name.startswith("__") else name
    n, n_rows = sum(found.unlabelled), found.n_rows
    if n:
        level: Level = "warning" if n > MANY_UNLABELLED * n_rows else "note"
        without = [k for k, (m, rows) in enumerate(zip(found.unlabelled, found.rows, strict=True)) if 0 < rows == m]
        whole = f" Partitions without any target: {listed(without, 8, str)}." if without else ""
        collector.add(
            level,
            f"{source.label}: {n:,} of {n_rows:,} rows ({n / n_rows:.1%}) have no target; they do not train.{whole}",
            "Nothing, if these are the rows to predict; else see where their targets are lost.",
            column=column,
            partition=next(k for k, m in enumerate(found.unlabelled) if m),
        )
    left_out = n_rows - n - found.n_used
    if left_out > 0 and not found.faults:
        why = "have weight 0" if WEIGHT in source.roles else "lack an input"
        collector.add("note", f"{source.label}: {left_out:,} rows with a target {why}, and do not train.")


def on_columns(inputs: Inputs, source: Source, collector: Collector) -> None:
    """Find columns that are constant or empty, lose digits, or have as many levels as rows; count kinds and levels."""
    columns = inputs.found.columns

    def useless(name: str) -> str:
        column = columns[name]
        if isinstance(column, EmptyStats):
            return f"column {name!r} holds no value in the rows that train, and is no input."
        value = next(iter(column.counts), "") if isinstance(column, CategoricalStats) else f"{column.minimum:g}"
        return f"column {name!r} is constant ({value}), and is no input."

    _each(
        inputs.dropped,
        useless,
        "are constant or empty too",
        "Leave it out, or see where its values are lost.",
        collector,
    )
    kept = [(name, columns[name]) for name in inputs.predictors]
    blurred = [name for name, column in kept if isinstance(column, NumericStats) and column.is_blurred]
    for name in blurred[:MAX_COLUMNS]:
        collector.words("warning", blurred_warning([name]), column=name)
    named = [name for name, column in kept if isinstance(column, CategoricalStats) and _identifies(column)]

    def many(name: str) -> str:
        column = columns[name]
        n = len(column.counts) if isinstance(column, CategoricalStats) else 0
        return (
            f"column {name!r} looks like an identifier: {n:,} levels in {inputs.found.n_used - column.n_missing:,} rows, so "
            f"nothing is learned from them for other rows."
        )

    _each(named, many, "look like identifiers too", LEAVE_OUT, collector)
    levels = {name: len(column.counts) for name, column in kept if isinstance(column, CategoricalStats)}
    largest = max(levels, key=lambda name: levels[name], default=None)
    detail = (
        "" if largest is None else f" with {sum(levels.values()):,} levels, {levels[largest]:,} of them in {largest!r}"
    )
    collector.add(
        "note",
        f"{source.label}: {inputs.found.n_rows:,} rows, {inputs.found.n_used:,} of which train; partitions: "
        f"{len(inputs.found.rows):,}; {len(kept) - len(levels):,} numeric and {len(levels):,} categorical columns{detail}.",
    )


LEAVE_OUT = "Leave it out (X.drop(columns=...), --ignore), or derive from it what other rows share."


def _identifies(column: CategoricalStats) -> bool:
    n = sum(column.counts.values())
    return n >= MIN_ROWS and len(column.counts) >= IDENTIFYING * n


def numeric_identifiers(parts: Sequence[object], found: Scan, predictors: Iterable[str], collector: Collector) -> None:
    """Find columns of whole numbers that look like identifiers, by the rows of a sample.

    Parameters
    ----------
    parts : sequence of pandas.DataFrame or SparsePart
        First rows of some partitions.
    found : Scan
        Scan of the whole table.
    predictors : iterable of str
        Columns to learn from.
    collector : Collector
        Receives the findings.
    """
    n_distinct = {}
    for name in predictors:
        column, values = found.columns[name], _numbers_of(parts, name)
        if not isinstance(column, NumericStats):
            continue
        spread = column.maximum - column.minimum
        is_whole = len(values) >= MIN_ROWS and bool((values == np.rint(values)).all())
        is_telling = _IDENTIFIER.search(name) or spread < 2 * found.n_rows or len(values) >= MANY_DISTINCT
        if is_whole and is_telling and spread >= column.moments.n - 1 and len(np.unique(values)) == len(values):
            n_distinct[name] = len(values)

    def alike(name: str) -> str:
        n = n_distinct[name]
        return f"column {name!r} looks like an identifier: whole numbers, all different in a sample of {n:,} rows."

    _each(list(n_distinct), alike, "look like identifiers too", LEAVE_OUT, collector)


def far_values(parts: Sequence[object], found: Scan, numbers: Iterable[Number], collector: Collector) -> None:
    """Find columns in which few values are so far out that the others, in deviations, become one in float32.

    Parameters
    ----------
    parts : sequence of pandas.DataFrame or SparsePart
        First rows of some partitions.
    found : Scan
        Scan of the whole table.
    numbers : iterable of Number
        Numeric inputs.
    collector : Collector
        Receives the findings.
    """
    texts = {}
    for number in numbers:
        column = found.columns.get(number.name)
        if (number.shift, number.factor) == (0.0, 1.0) or not isinstance(column, NumericStats):
            continue
        values = np.unique(_numbers_of(parts, number.name))
        left = len(np.unique(((values - number.shift) * number.factor).astype(np.float32)))
        if len(values) >= MIN_ROWS and left < LEFT_IN_FLOAT32 * len(values):
            texts[number.name] = (
                f"column {number.name!r} has values so far apart ({column.minimum:g} to {column.maximum:g}, deviation "
                f"{column.moments.deviation:g}) that float32 leaves {left:,} of {len(values):,} different ones in a sample."
            )
    remedy = "Clip what is far out, or take logarithms."
    _each(list(texts), texts.__getitem__, "lose values in float32 too", remedy, collector)


def _numbers_of(parts: Sequence[object], name: str) -> NDArray[np.float64]:
    """Values of a column in a sample that are there; none of a sparse table, and of what cannot be whole numbers."""
    frames = [part for part in parts if isinstance(part, pd.DataFrame)]
    if len(frames) < max(1, len(parts)) or not all(_counts(frame[name].dtype) for frame in frames):
        return np.zeros(0)
    values: NDArray[np.float64] = np.concatenate([as_numbers(frame[name]) for frame in frames])
    return values[~np.isnan(values)]


def _counts(dtype: object) -> bool:
    """Whether values of a dtype may be whole numbers; dates are moments."""
    return bool(pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_float_dtype(dtype))  # type: ignore[arg-type]


def _each(names: Sequence[str], text: Callable[[str], str], others: str, remedy: str, collector: Collector) -> None:
    """Take a warning for each of some columns, and one for all beyond a limit."""
    for name in names[:MAX_COLUMNS]:
        collector.add("warning", text(name), remedy, column=name)
    if len(names) > MAX_COLUMNS:
        collector.add(
            "warning", f"{len(names) - MAX_COLUMNS:,} more columns {others}.", remedy, column=names[MAX_COLUMNS]
        )
