"""Statistics of columns: of numbers their moments, of levels their counts.

Means and sums of squares are merged by Chan's formula in float64 (Chan, Golub, LeVeque 1979), so that a table gives the
same figures however it is cut, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import CATEGORY, NUMBER
from dask_dl.frame.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.frame.sparse import Sums

#: A column may have as many levels (algorithm.md#limits): some 300 bytes of memory each while they are counted.
MAX_LEVELS = 10_000_000


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted count, mean and sum of squared deviations of some numbers."""

    n: int = 0  #: numbers with a positive weight
    weight: float = 0.0  #: their weights' sum
    mean: float = 0.0
    m2: float = 0.0  #: weighted sum of squared deviations from the mean

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> list[Moments]:
        """Moments of every row of `values` (columns, n), NaN where missing; `weights` (n,)."""
        if not values.shape[1]:
            return [cls() for _ in values]
        present = ~np.isnan(values)
        w = present.astype(np.float64) if weights is None else present * weights
        total = w.sum(axis=1)
        # Counted from one of the values: equal values then have exactly that mean, and no deviation at all.
        origin = np.where(total > 0, values[np.arange(len(values)), (w > 0).argmax(axis=1)], 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # values near the end of float64: seen in the result
            values = np.where(present, values - origin[:, None], 0.0)
            mean = np.divide((w * values).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
            m2 = (w * (values - mean[:, None]) ** 2).sum(axis=1)
            mean += origin
        n = np.count_nonzero(w, axis=1)
        figures = zip(n.tolist(), total.tolist(), mean.tolist(), m2.tolist(), strict=True)
        return [cls(*row) for row in figures]

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of numbers together."""
        weight = self.weight + other.weight
        if weight == 0 or not self.n or not other.n:
            return other if not self.n else self
        shift = other.mean - self.mean
        return Moments(
            self.n + other.n,
            weight,
            self.mean + shift * other.weight / weight,
            self.m2 + other.m2 + shift * shift * self.weight * other.weight / weight,
        )

    @property
    def deviation(self) -> float:
        """Standard deviation with n - 1 below, rows counting as one each (algorithm.md#means-and-deviations)."""
        return math.sqrt(self.m2 / self.weight * self.n / (self.n - 1)) if self.n > 1 and self.weight > 0 else 0.0


@dataclass(frozen=True, slots=True)
class NumericStats:
    """Statistics of a numeric column, from the rows that count."""

    n_missing: int
    minimum: float
    maximum: float
    moments: Moments  #: by weight
    is_blurred: bool = False  #: see `columns.is_blurred`
    first: int = field(default=0, compare=False)  #: the partition in which it was first seen, for errors

    def merge(self, other: NumericStats) -> NumericStats:
        """Both partitions together."""
        return NumericStats(
            self.n_missing + other.n_missing,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.moments.merge(other.moments),
            self.is_blurred or other.is_blurred,
            self.first,
        )

    @property
    def is_constant(self) -> bool:
        """Whether all values that are present are one, as far as their deviation tells."""
        return self.minimum == self.maximum or self.moments.m2 == 0


@dataclass(frozen=True, slots=True)
class CategoricalStats:
    """Statistics of a categorical column, from the rows that count."""

    n_missing: int
    counts: Mapping[str, int]
    from_numbers: bool  #: levels were numbers, and are ordered as such
    weights: Mapping[str, float] = field(default_factory=dict)  #: by level; empty where not asked for
    first: int = field(default=0, compare=False)  #: the partition in which one was first seen, for errors

    def merge(self, other: CategoricalStats) -> CategoricalStats:
        """Both partitions together."""
        return CategoricalStats(
            self.n_missing + other.n_missing,
            added(self.counts, other.counts),
            self.from_numbers and other.from_numbers,
            added(self.weights, other.weights),
            self.first,
        )

    @property
    def is_constant(self) -> bool:
        """Whether all values that are present are one."""
        return len(self.counts) < 2

    @property
    def ordered(self) -> list[str]:
        """The levels: as numbers where they were numbers, else as texts (algorithm.md#levels)."""
        if self.from_numbers:
            try:
                return sorted(self.counts, key=float)
            except ValueError:  # booleans and dates
                pass
        return sorted(self.counts)


def added(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> dict[Any, Any]:
    """Sums of both; keys in order of appearance."""
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, 0) + value
    return total


@dataclass(frozen=True, slots=True)
class EmptyStats:
    """Statistics of a column without a single value, whatever its dtype: it may still turn out to be of any kind."""

    n_missing: int
    is_constant = True

    def merge(self, other: Column) -> Column:
        """Both partitions together."""
        return replace(other, n_missing=other.n_missing + self.n_missing)


Column = NumericStats | CategoricalStats | EmptyStats


@dataclass(frozen=True)
class ManyMoments(Mapping[str, Moments]):
    """Moments of the columns of a sparse matrix, of which there may be hundreds of thousands."""

    names: tuple[str, ...]
    sums: Sums

    def merge(self, other: ManyMoments) -> ManyMoments:
        """Both sets of rows together."""
        return ManyMoments(self.names, self.sums.merge(other.sums))

    def one_by_one(self) -> dict[str, Moments]:
        """Moments of every column, by name."""
        rows = zip(*(part.tolist() for part in self.sums), strict=True)
        return {name: Moments(*row) for name, row in zip(self.names, rows, strict=True)}

    def __getitem__(self, name: str) -> Moments:
        k = self.names.index(name)
        return Moments(*(part[k].item() for part in self.sums))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ManyNumbers(Mapping[str, "Column"]):
    """Statistics of the columns of a sparse matrix: arrays, (p,) each."""

    n_rows: int
    low: NDArray[np.float64]  #: least number; NaN where there is none
    high: NDArray[np.float64]
    moments: ManyMoments
    first: int  #: the partition in which they were first seen

    def merge(self, other: ManyNumbers) -> ManyNumbers:
        """Both partitions together."""
        return ManyNumbers(
            self.n_rows + other.n_rows,
            np.fmin(self.low, other.low),
            np.fmax(self.high, other.high),
            self.moments.merge(other.moments),
            self.first,
        )

    def one_by_one(self) -> dict[str, Column]:
        """Statistics of every column, by name."""
        figures = zip(self.moments.one_by_one().items(), self.low.tolist(), self.high.tolist(), strict=True)
        return {name: self._column(low, high, moments) for (name, moments), low, high in figures}

    def _column(self, low: float, high: float, moments: Moments) -> Column:
        n_missing = self.n_rows - moments.n
        return NumericStats(n_missing, low, high, moments, first=self.first) if moments.n else EmptyStats(n_missing)

    def __getitem__(self, name: str) -> Column:
        k = self.moments.names.index(name)
        return self._column(self.low[k].item(), self.high[k].item(), self.moments[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.moments)

    def __len__(self) -> int:
        return len(self.moments)


def merge_columns(
    left: Mapping[str, Column], right: Mapping[str, Column], source: Schema, faults: list[Fault] | None = None
) -> Mapping[str, Column]:
    """Merge the columns of neighbouring parts of a table.

    Parameters
    ----------
    left, right : mapping of str to Column
        Statistics of the columns in the first and in the second part.
    source : Schema
        Schema of the table, for errors.
    faults : list of Fault, optional
        Receives what is wrong; the column is then that of the first part.

    Raises
    ------
    SchemaError
        When columns do not fit together, and there is no such list.
    """
    if isinstance(left, ManyNumbers) and isinstance(right, ManyNumbers):
        return left.merge(right)
    if faults is None:
        return {name: merge_column(name, left[name], right[name], source=source) for name in left}
    merged: dict[str, Column] = {}
    for name, column in left.items():
        try:
            merged[name] = merge_column(name, column, right[name], source=source)
        except SchemaError as error:
            other = right[name]
            faults.append(Fault(str(error), name, () if isinstance(other, EmptyStats) else (other.first,)))
            merged[name] = column
    return merged


def merge_column(name: str, left: Column, right: Column, *, source: Schema) -> Column:
    """Merge the statistics of a column in two neighbouring parts of a table.

    Parameters
    ----------
    name : str
        Name of the column.
    left, right : Column
        Its statistics in the first and in the second part.
    source : Schema
        Schema of the table, for errors.

    Raises
    ------
    SchemaError
        When the parts hold values of different kinds, or too many levels.
    """
    if isinstance(right, EmptyStats):
        return right.merge(left)
    if isinstance(left, EmptyStats):
        return left.merge(right)
    if isinstance(left, NumericStats) and isinstance(right, NumericStats):
        return left.merge(right)
    if isinstance(left, CategoricalStats) and isinstance(right, CategoricalStats):
        both = left.merge(right)
        if len(both.counts) > MAX_LEVELS:
            raise SchemaError(
                f"column {name!r} of {source.label} has more than {MAX_LEVELS:,} levels. Is it an identifier, or a number "
                f"stored as text? Drop or convert it."
            )
        return both
    kinds = {NumericStats: NUMBER, CategoricalStats: CATEGORY}
    raise SchemaError(
        f"column {name!r} of {source.label}: partition {right.first} holds a {kinds[type(right)]}, partition {left.first} a "
        f"{kinds[type(left)]}. Give the column one type."
    )
