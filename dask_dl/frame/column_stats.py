"""Statistics of columns: of numbers their moments, of levels their counts.

Means and sums of squares are merged by Chan's formula in float64 (Chan, Golub, LeVeque 1979), so that a table gives the
same figures however it is cut, to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import CATEGORY, NUMBER
from dask_dl.frame.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: A column may have as many levels (algorithm.md#limits): some 300 bytes of memory each while they are counted.
MAX_LEVELS = 10_000_000


class Moments(NamedTuple):
    """Weighted count, mean and sum of squared deviations of some numbers, or of those of p columns: arrays, (p,) each."""

    n: Any = 0  #: int64: numbers with a positive weight
    weight: Any = 0.0  #: float64: their weights' sum
    mean: Any = 0.0  #: float64
    m2: Any = 0.0  #: float64: weighted sum of squared deviations from the mean

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Moments:
        """Moments of every row of `values` (p, n), NaN where missing; `weights` (n,)."""
        if not values.shape[1]:
            return cls.zeros(len(values))
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
        return cls(np.count_nonzero(w, axis=1), total, mean, m2)

    @classmethod
    def zeros(cls, p: int) -> Moments:
        """Moments of p columns without a number."""
        return cls(np.zeros(p, np.int64), *np.zeros((3, p)))

    def column(self, k: int) -> Moments:
        """Moments of one of the columns, as Python's numbers."""
        return Moments(*(figure[k].item() for figure in self))

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of numbers together."""
        weight = self.weight + other.weight
        has_both = np.logical_and(self.n, other.n)
        with np.errstate(all="ignore"):  # no numbers, or some near the end of float64: seen in the result
            shift = other.mean - self.mean
            mean = self.mean + np.divide(shift * other.weight, weight)
            m2 = self.m2 + other.m2 + np.divide(shift * shift * self.weight * other.weight, weight)
        return Moments(
            self.n + other.n,
            weight,
            _plain(np.where(has_both, mean, np.where(self.n, self.mean, other.mean))),
            _plain(np.where(has_both, m2, np.where(self.n, self.m2, other.m2))),
        )

    @property
    def deviation(self) -> Any:
        """Standard deviation with n - 1 below, rows counting as one each (algorithm.md#means-and-deviations)."""
        with np.errstate(all="ignore"):
            deviation = np.sqrt(np.divide(self.m2, self.weight) * self.n / np.subtract(self.n, 1))
        return _plain(np.where(np.greater(self.n, 1), deviation, 0.0))


def _plain(figures: NDArray[Any]) -> Any:
    """Figures of columns, or the figure of a single one as Python's number."""
    return figures if figures.ndim else figures.item()


@dataclass(frozen=True, slots=True)
class NumericStats:
    """Statistics of a numeric column, from the rows that count."""

    n_missing: int
    minimum: float
    maximum: float
    moments: Moments  #: by weight
    is_blurred: bool = False  #: see `dtypes.is_blurred`
    first: int = field(default=0, compare=False)  #: the partition in which it was first seen, for errors


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


Column = NumericStats | CategoricalStats | EmptyStats


@dataclass(frozen=True, eq=False)
class ColumnStats(Mapping[str, Column]):
    """Statistics of the p columns of a table, from the rows that count: of numbers as arrays, (p,) each.

    A column holds numbers where `moments.n` is not 0, levels where `levels` has it, and else nothing so far. There may be
    hundreds of thousands of columns: statistics of a single one are made when they are asked for by its name.
    """

    names: tuple[str, ...]
    n_rows: int
    moments: Moments  #: by weight
    minimum: NDArray[np.float64]  #: NaN where there is no number
    maximum: NDArray[np.float64]
    is_blurred: NDArray[np.bool_]  #: see `dtypes.is_blurred`
    first: NDArray[np.int64]  #: the partition in which a number was first seen, for errors
    levels: Mapping[str, CategoricalStats]

    @classmethod
    def empty(cls, names: tuple[str, ...], n_rows: int) -> ColumnStats:
        """Statistics of columns without a single value."""
        p = len(names)
        minimum, maximum = np.full((2, p), np.nan)
        return cls(names, n_rows, Moments.zeros(p), minimum, maximum, np.zeros(p, bool), np.zeros(p, np.int64), {})

    def select(self, names: tuple[str, ...]) -> ColumnStats:
        """Statistics of the columns of these names, in their order; those that are not here have no value."""
        places = np.array([self.places.get(name, -1) for name in names], np.intp)

        def of_names(figures: NDArray[Any], without: float = 0) -> NDArray[Any]:
            return np.append(figures, np.array(without, figures.dtype))[places]

        return ColumnStats(
            names,
            self.n_rows,
            Moments(*map(of_names, self.moments)),
            of_names(self.minimum, np.nan),
            of_names(self.maximum, np.nan),
            of_names(self.is_blurred),
            of_names(self.first),
            {name: self.levels[name] for name in names if name in self.levels},
        )

    def merge(self, other: ColumnStats, label: str, faults: list[Fault] | None = None) -> ColumnStats:
        """Statistics of two neighbouring parts of a table together.

        Parameters
        ----------
        other : ColumnStats
            Those of the second part.
        label : str
            What errors call the table.
        faults : list of Fault, optional
            Receives what is wrong; the column then has levels, if any, of the first part alone.

        Returns
        -------
        ColumnStats

        Raises
        ------
        SchemaError
            When the parts hold values of different kinds in a column, or too many levels, and there is no such list.
        """
        levels = dict(self.levels)
        for name in {**self.levels, **other.levels}:
            try:
                levels[name] = _merged_levels(name, self, other, label)
            except SchemaError as error:
                if faults is None:
                    raise
                first = other.levels[name].first if name in other.levels else other.first[other.places[name]].item()
                faults.append(Fault(str(error), name, (first,)))
        return ColumnStats(
            self.names,
            self.n_rows + other.n_rows,
            self.moments.merge(other.moments),
            np.fmin(self.minimum, other.minimum),
            np.fmax(self.maximum, other.maximum),
            self.is_blurred | other.is_blurred,
            np.where(self.moments.n, self.first, other.first),
            levels,
        )

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Place of every column in the arrays."""
        return {name: k for k, name in enumerate(self.names)}

    @property
    def has_values(self) -> NDArray[np.bool_]:
        """Whether each column holds anything, (p,)."""
        has_values: NDArray[np.bool_] = self.moments.n > 0
        has_values[[self.places[name] for name in self.levels]] = True
        return has_values

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Whether all values that are present in each column are one, as far as their deviation tells, (p,)."""
        is_constant: NDArray[np.bool_] = (self.minimum == self.maximum) | (self.moments.m2 == 0)
        for name, column in self.levels.items():
            is_constant[self.places[name]] = len(column.counts) < 2
        return is_constant

    def __getitem__(self, name: str) -> Column:
        if name in self.levels:
            return self.levels[name]
        k = self.places[name]
        moments = self.moments.column(k)
        if not moments.n:
            return EmptyStats(self.n_rows)
        lowest, highest, blurred, first = (
            a[k].item() for a in (self.minimum, self.maximum, self.is_blurred, self.first)
        )
        return NumericStats(self.n_rows - moments.n, lowest, highest, moments, blurred, first)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _merged_levels(name: str, left: ColumnStats, right: ColumnStats, label: str) -> CategoricalStats:
    """Levels of a column that has some in either of two neighbouring parts of a table. Raises SchemaError."""
    where = f"column {name!r} of {label}"
    found, others = left.levels.get(name), right
    if found is None:
        found, others = right.levels[name], left
    elif name in right.levels:
        both = found.merge(right.levels[name])
        if len(both.counts) > MAX_LEVELS:
            raise SchemaError(
                f"{where} has more than {MAX_LEVELS:,} levels. Is it an identifier, or a number stored as text? Drop or "
                f"convert it."
            )
        return both
    k = others.places[name]
    if others.moments.n[k]:
        kinds = [(others.first[k], NUMBER), (found.first, CATEGORY)]
        (second, kind), (first, other) = kinds if others is right else kinds[::-1]
        raise SchemaError(
            f"{where}: partition {second} holds a {kind}, partition {first} a {other}. Give the column one type."
        )
    return replace(found, n_missing=found.n_missing + others.n_rows)
