"""Points of columns at which partial dependence is taken: between quantiles of numbers, or levels by their frequency.

They follow from figures of a table that merge: how many rows have each level, and the numbers of random rows.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.evaluation import LABEL, renamed
from dask_dl.frame.column_stats import added
from dask_dl.frame.dtypes import CATEGORY, as_levels, as_numbers, kind_of
from dask_dl.frame.prediction import reduce_partitions
from dask_dl.frame.source import labels_of, open_source
from dask_dl.frame.sparse import SparsePart
from dask_dl.frame.subset import Subset
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.encoder import Encoder, Number
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Schema
    from dask_dl.model import Model
    from dask_dl.state import Rows

#: Rows of a table of Dask or a Dataset whose numbers give its quantiles; of one in this process all rows do.
MAX_ROWS = 10_000
#: What users are told of points that were given.
GIVEN = "custom_values"


class Axis(NamedTuple):
    """Points of a column."""

    column: str
    values: NDArray[Any]  #: float64, dates where the column has some, or texts of levels, None for a missing one
    deciles: NDArray[np.float64]  #: nine, of a numeric column whose values are known; else none

    @property
    def is_category(self) -> bool:
        """Whether the points are levels."""
        return self.values.dtype == object


class Figures(NamedTuple):
    """Figures of some columns of a part of a table, of which points are made."""

    levels: Mapping[
        str, Mapping[str | None, int]
    ]  #: by column: rows with each level that training has seen; None: missing
    numbers: Mapping[str, NDArray[np.float64]]  #: by column: those of the rows with the least keys, NaN where missing
    keys: NDArray[np.float64]  #: random numbers, uniform from 0 to 1
    dates: frozenset[str] = frozenset()  #: columns whose numbers are milliseconds since 1970, UTC

    def merge(self, other: Figures, *, n: int) -> Figures:
        """Figures of both parts together, with the numbers of n rows at most."""
        keys = np.concatenate([self.keys, other.keys])
        places = least(keys, n)
        numbers = {name: np.concatenate([values, other.numbers[name]])[places] for name, values in self.numbers.items()}
        levels = {name: added(counts, other.levels[name]) for name, counts in self.levels.items()}
        return Figures(levels, numbers, keys[places], self.dates | other.dates)


def least(keys: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Places of the n least keys, ascending."""
    return np.arange(len(keys)) if len(keys) <= n else np.sort(np.argpartition(keys, n)[:n])


def figures_of_table(model: Model, X: Any, columns: Collection[str]) -> Figures:
    """Figures of some columns of a table, in one pass that reads these columns only.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    columns : collection of str
        Of the model's encoder.

    Returns
    -------
    Figures

    Raises
    ------
    SchemaError
        When the table lacks one of them.
    """
    is_named = model.record.is_named and hasattr(X, "columns")
    if is_named and (absent := [name for name in columns if name not in labels_of(X, LABEL).values()]):
        raise SchemaError(f"{LABEL} has no column {listed(absent)}: give its points as {GIVEN}.")
    source = open_source(X, label=LABEL, keep=list(columns) if is_named else None)
    n = MAX_ROWS if source.lazy is not None else sys.maxsize
    names = None if is_named else model.record.feature_names
    count = functools.partial(_of_partition, schema=source.schema, names=names, columns=tuple(columns), n=n)
    found: Figures = reduce_partitions(count, functools.partial(Figures.merge, n=n), source, model.encoder)
    return found


def _of_partition(
    part: Any, k: int, encoder: Encoder, *, schema: Schema, names: Sequence[str] | None, columns: Sequence[str], n: int
) -> Figures:
    """Figures of partition k."""
    part = part if names is None else renamed(part, schema.predictors, names)
    keys = np.random.default_rng((0, k)).random(len(part))
    places = least(keys, n)
    known, levels, numbers, dates = levels_of(encoder), {}, {}, []
    for name in columns:
        column = column_of(part, name)
        where = f"column {name!r} of {LABEL}"
        if name in known:
            levels[name] = _counts(column, known[name], where)
            continue
        column = column.iloc[places]
        if kind_of(column, where) == CATEGORY and column.notna().any():
            raise SchemaError(f"{where} was a number in training and is now {column.dtype}. Convert it.")
        numbers[name] = as_numbers(column)
        dates += [name] * pd.api.types.is_datetime64_any_dtype(column.dtype)
    return Figures(levels, numbers, keys[places], frozenset(dates))


def column_of(part: Any, name: str) -> pd.Series[Any]:
    """Column of a partition of whatever kind."""
    if isinstance(part, SparsePart):
        return pd.Series(part.matrix[:, [part.names.index(name)]].toarray().ravel())
    column: pd.Series[Any] = part[name]
    return column


def _counts(column: pd.Series[Any], known: Levels, where: str) -> dict[str | None, int]:
    """Rows with each level; those that training has not seen count as other levels, or where there is no such input not."""
    codes, texts, _ = as_levels(column, where)
    rows = np.bincount(codes + 1, minlength=len(texts) + 1).tolist()
    found: dict[str | None, int] = {None: rows[0]} if rows[0] else {}
    for text, n in zip(texts, rows[1:], strict=True):
        level = text if text in known.levels else known.other
        if level is not None:
            found[level] = found.get(level, 0) + n
    return found


class Levels(NamedTuple):
    """Levels of a column that an encoder knows."""

    levels: frozenset[str]
    other: str | None  #: what stands for all other levels, where they share an input


def levels_of(encoder: Encoder) -> dict[str, Levels]:
    """Levels by categorical column."""
    known = {code.name: Levels(frozenset(code.levels), None) for code in encoder.codes}
    for category in encoder.categories:
        other = "other" if category.has_others else None
        while other in category.levels:
            other += "_"
        known[category.name] = Levels(frozenset(category.levels), other)
    return known


def figures_of_scan(found: Scan, encoder: Encoder, columns: Collection[str]) -> Figures:
    """Figures of categorical columns of a training table that was scanned."""
    levels: dict[str, dict[str | None, int]] = {}
    known = levels_of(encoder)
    for name in columns:
        column = found.columns.levels[name]
        counts = {level if level in known[name].levels else known[name].other: 0 for level in column.counts}
        for level, n in column.counts.items():
            counts[level if level in known[name].levels else known[name].other] += n
        levels[name] = counts | ({None: column.n_missing} if column.n_missing else {})
    return Figures(levels, {}, np.zeros(0))


def figures_of_blocks(store: Blocks, *, encoder: Encoder, columns: Collection[str]) -> Figures:
    """Figures of numeric columns of encoded rows, of which MAX_ROWS are looked at; rows that do not count are not."""
    places = {number.name: k for k, number in enumerate(encoder.numbers)}
    found = Figures({}, dict.fromkeys(columns, np.zeros(0)), np.zeros(0))
    for k in store.numbers:
        random = np.random.default_rng((0, k))
        for rows in Subset(store, blocks=[k]).slices(MAX_ROWS):
            for lo in range(0, rows.n, MAX_ROWS):
                some = rows.cut(lo, min(lo + MAX_ROWS, rows.n))
                some = some if not len(some.weight) else some.take(some.weight > 0)
                numbers = {name: _decoded(some, encoder, places[name]) for name in columns}
                found = found.merge(Figures({}, numbers, random.random(some.n)), n=MAX_ROWS)
    return found


def _decoded(rows: Rows, encoder: Encoder, k: int) -> NDArray[np.float64]:
    """Numbers of column k of encoded rows, in its unit, without the digits that encoding made up."""
    number: Number = encoder.numbers[k]
    if encoder.is_sparse:
        entries = rows.entries.compact()
        here = entries.slot == encoder.n_level_inputs + k
        encoded = np.zeros(rows.n)
        encoded[np.repeat(np.arange(rows.n), entries.length)[here]] = entries.value[here]
    else:
        encoded = rows.dense[:, k].astype(np.float64)
    values = encoded / number.factor + number.shift
    largest = max(float(np.abs(values).max(initial=0)), abs(number.shift))
    return np.round(values, int(np.floor(-np.log10(largest * 2.0**-21)))) + 0.0 if largest else values


def axis_of(
    column: str, found: Figures, known: Levels | None, n: int, percentiles: tuple[float, float], label: str
) -> Axis:
    """Points of a column by figures of a table (algorithm.md#partial-dependence).

    Parameters
    ----------
    column : str
    found : Figures
    known : Levels or None
        Those of the column; None: it is numeric.
    n : int
        Points of a numeric column, or levels of a categorical one, at most.
    percentiles : (float, float)
        Shares of the rows that have lower numbers than the first point and than the last one.
    label : str
        Name of the table, for errors.

    Returns
    -------
    Axis

    Raises
    ------
    ParameterError
        When all rows have the same value.
    """
    if known is not None:
        counts = found.levels[column]
        levels = sorted((level for level in counts if level is not None), key=lambda level: (-counts[level], level))
        points: list[str | None] = [*levels[:n], *([None] if None in counts else [])]
        _check_several(points, column, label)
        return Axis(column, np.array(points, object), np.zeros(0))
    numbers = found.numbers[column]
    numbers = np.sort(numbers[np.isfinite(numbers)])  # infinite ones are refused where rows are encoded
    distinct = np.unique(numbers)
    _check_several(distinct.tolist(), column, label)
    values = distinct
    if len(distinct) >= n:
        low, high = quantiles(numbers, percentiles)
        if low == high:
            raise ParameterError(
                f"column {column!r} of {label} has the same value, {low:g}, at both percentiles={percentiles}: take wider "
                f"ones, such as (0, 1), or give points as {GIVEN}."
            )
        values = np.linspace(low, high, n)
    deciles = quantiles(numbers, np.arange(1, 10) / 10)
    return Axis(column, values.astype("datetime64[ms]") if column in found.dates else values, deciles)


def _check_several(points: Sequence[Any], column: str, label: str) -> None:
    if len(points) < 2:
        what = f"holds nothing but {points[0]!r}" if points else "holds no value that the model knows"
        raise ParameterError(
            f"column {column!r} of {label} {what}, so there is nothing to compare: give points as {GIVEN}."
        )


def quantiles(ordered: NDArray[np.float64], shares: Any) -> NDArray[np.float64]:
    """Quantiles of numbers in ascending order, as scikit-learn's partial dependence takes them (Cunnane 1978)."""
    n, shares = len(ordered), np.asarray(shares)
    place = np.clip(0.4 + shares * (n + 0.2), 1, n)
    below = np.minimum(np.floor(place).astype(int), max(n - 1, 1))
    part = place - below
    found: NDArray[np.float64] = (1 - part) * ordered[below - 1] + part * ordered[np.minimum(below, n - 1)]
    return found


def given_axis(column: str, points: Any, known: Levels | None) -> Axis:
    """Points that the user gives for a column. Raises ParameterError where they are none."""
    values = np.asarray(points, dtype=object if known is not None else None)
    if values.ndim != 1 or not len(values):
        raise ParameterError(f"{GIVEN}[{column!r}]: give a list of points, one or more, not {points!r:.60}.")
    if known is None:
        if values.dtype.kind not in "biufM":
            raise ParameterError(f"{GIVEN}[{column!r}]: the column is numeric; found {points!r:.60}.")
        return Axis(column, values if values.dtype.kind == "M" else values.astype(np.float64), np.zeros(0))
    codes, texts, _ = as_levels(pd.Series(values, dtype=object), f"{GIVEN}[{column!r}]")
    unknown = [text for text in texts if text not in known.levels and known.other is None]
    if unknown:
        raise ParameterError(
            f"{GIVEN}[{column!r}]: training has not seen the levels {listed(unknown)}; there are "
            f"{listed(sorted(known.levels))}."
        )
    return Axis(column, np.array([*texts, None], object)[codes], np.zeros(0))
