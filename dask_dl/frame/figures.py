"""What is known of a column: of numbers their moments, of levels their counts; and of all columns of a partition.

Means and sums of squares are merged by Chan's formula in float64 (Chan, Golub, LeVeque 1979), so that a table gives the
same figures however it is cut, to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import CATEGORY, EXACT, NUMBER, as_levels, is_blurred, kinds_of, number_chunks
from dask_dl.frame.lacks import Lacks
from dask_dl.frame.matrix import SparsePart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.frame.tally import Inquiry

#: A column may have as many levels: some 300 bytes of memory each while they are counted.
MOST_LEVELS = 10_000_000


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
        n = np.count_nonzero(w, axis=1)
        figures = zip(n.tolist(), total.tolist(), (origin + mean).tolist(), m2.tolist(), strict=True)
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
        """Standard deviation with n - 1 below, weighted as in the specification, section 2.5."""
        return math.sqrt(self.m2 / self.weight * self.n / (self.n - 1)) if self.n > 1 and self.weight > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the scan knows of a numeric column."""

    n_missing: int
    minimum: float
    maximum: float
    plain: Moments  #: every row counts once
    weighted: Moments  #: rows count by their weight; the same as `plain` without weights
    is_blurred: bool = False  #: see `columns.is_blurred`
    first: int = field(default=0, compare=False)  #: the partition in which it was first seen, for errors

    def merge(self, other: Numbers) -> Numbers:
        """Both partitions together."""
        return Numbers(
            self.n_missing + other.n_missing,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.plain.merge(other.plain),
            self.weighted.merge(other.weighted),
            self.is_blurred or other.is_blurred,
            self.first,
        )

    @property
    def is_constant(self) -> bool:
        """Whether all values that are present, in rows that count, are one."""
        return self.minimum == self.maximum or self.weighted.m2 == 0


@dataclass(frozen=True, slots=True)
class Levels:
    """What the scan knows of a categorical column."""

    n_missing: int
    counts: Mapping[str, int]
    from_numbers: bool  #: levels were numbers, and are ordered as such
    first: int = field(default=0, compare=False)  #: the partition in which one was first seen, for errors

    def merge(self, other: Levels) -> Levels:
        """Both partitions together."""
        from_numbers = self.from_numbers and other.from_numbers
        return Levels(self.n_missing + other.n_missing, added(self.counts, other.counts), from_numbers, self.first)

    @property
    def is_constant(self) -> bool:
        """Whether all values that are present are one."""
        return len(self.counts) < 2

    @property
    def ordered(self) -> list[str]:
        """The levels: as numbers where they were numbers, else as texts."""
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
class Nothing:
    """What the scan knows of a column without a single value, whatever its dtype: it may still turn out to be of any kind."""

    n_missing: int
    is_constant = True

    def merge(self, other: Column) -> Column:
        """Both partitions together."""
        return replace(other, n_missing=other.n_missing + self.n_missing)


Column = Numbers | Levels | Nothing


class Chunk(NamedTuple):
    """Some numeric columns of a partition, as numbers or as what is stored of a sparse matrix."""

    names: Sequence[str]
    values: NDArray[np.float64] | None  #: (columns, n)
    part: SparsePart | None = None

    def take(self, rows: NDArray[np.int64]) -> Chunk:
        """The same columns of some rows."""
        if self.values is not None:
            return self._replace(values=self.values[:, rows])
        assert self.part is not None
        return self._replace(part=SparsePart(self.part.matrix[rows], self.part.names, self.part.frame.iloc[rows]))

    def moments(self, weights: NDArray[np.float64] | None) -> list[Moments]:
        """Of every column."""
        if self.part is None:
            assert self.values is not None
            return Moments.of(self.values, weights)
        sums = self.part.sums(weights)
        return [Moments(*row) for row in zip(*(part.tolist() for part in sums), strict=True)]

    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest number of every column, NaN where it has none."""
        if self.values is None:
            assert self.part is not None
            return self.part.extremes()
        return np.fmin.reduce(self.values, axis=1, initial=np.nan), np.fmax.reduce(self.values, axis=1, initial=np.nan)

    def infinite(self) -> dict[str, int]:
        """How many infinite numbers a column holds, where there are any."""
        if self.values is None:
            assert self.part is not None
            return self.part.infinite()
        counts = np.isinf(self.values).sum(axis=1)
        return {self.names[k]: int(counts[k]) for k in np.flatnonzero(counts).tolist()}

    def lacks(self, constant: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """(column, which rows lack it) of the columns that are marked, ("", which rows lack any) of the others."""
        if self.part is not None:
            yield "", self.part.lacks(~constant)
            for k in np.flatnonzero(constant & (self.part.n_missing() > 0)).tolist():
                yield self.names[k], self.part.lacks(np.arange(len(constant)) == k)
            return
        assert self.values is not None
        missing = np.isnan(self.values)
        yield "", np.logical_or.reduce(missing[~constant], axis=0)
        for k in np.flatnonzero(constant).tolist():
            yield self.names[k], missing[k]

    def is_blurred(self, part: pd.DataFrame | SparsePart, name: str) -> bool:
        """See `columns.is_blurred`; nobody looks at sparse matrices."""
        if self.values is None or isinstance(part, SparsePart):
            return False
        return bool(is_blurred(part[name], self.values[self.names.index(name)]))

    def n_entries(self) -> NDArray[np.int64]:
        """Numbers of every row that are not 0."""
        if self.values is None:
            assert self.part is not None
            return np.asarray(np.diff(self.part.matrix.indptr), np.int64)
        return np.asarray(np.count_nonzero(self.values, axis=0), np.int64)


def chunks_of(part: pd.DataFrame | SparsePart, names: Sequence[str]) -> Iterator[Chunk]:
    """The numeric columns of a partition, some at a time."""
    if isinstance(part, SparsePart):
        yield Chunk(part.names, None, part)
        return
    for place, values in number_chunks(part, names):
        yield Chunk(names[place], values)


#: The level of every row, -1 where missing, and the levels.
Coded = tuple["NDArray[np.intp]", list[str]]


def columns_of(
    part: pd.DataFrame | SparsePart, weights: NDArray[np.float64] | None, source: Schema, k: int, inquiry: Inquiry
) -> tuple[dict[str, Column], dict[str, Coded], Lacks | None, NDArray[np.int64]]:
    """Every predictor; levels of every row, as far as they are asked for; which rows lack what; numbers that are not 0, by row.

    Nobody looks for what rows lack where that is not asked.
    """
    found: dict[str, Column] = {}
    coded: dict[str, Coded] = {}
    lacks = Lacks(len(part)) if inquiry.skips else None
    numeric, n_entries = list(source.predictors), np.zeros(len(part), np.int64)

    if not isinstance(part, SparsePart):
        kinds = kinds_of(part, source.predictors, source.label)
        numeric = [name for name, kind in kinds.items() if kind == NUMBER]
        for name, kind in kinds.items():
            if kind == CATEGORY:
                codes, texts, from_numbers = as_levels(part[name], f"column {name!r} of {source.label}")
                counts = np.bincount(codes + 1, minlength=len(texts) + 1)
                seen = {text: int(count) for text, count in zip(texts, counts[1:], strict=True) if count}
                found[name] = Levels(int(counts[0]), seen, from_numbers, k) if seen else Nothing(len(part))
                if lacks is not None:
                    lacks.note(name, codes < 0, may_be_useless=found[name].is_constant)
                if inquiry.levels:
                    coded[name] = codes, texts
            elif kind != NUMBER:
                found[name] = Nothing(len(part))
                if lacks is not None:
                    lacks.note(name, np.ones(len(part), bool), may_be_useless=True)
    for chunk in chunks_of(part, numeric):
        for name, count in chunk.infinite().items():
            raise SchemaError(
                f"column {name!r} of {source.label}: {count:,} infinite values in partition {k}. "
                f"Make them missing (NaN) or clip them."
            )
        plain = chunk.moments(None)
        weighted = plain if weights is None else chunk.moments(weights)
        lows, highs = chunk.extremes()
        for name, p, w, low, high in zip(chunk.names, plain, weighted, lows, highs, strict=True):
            if not math.isfinite(p.m2):
                largest = max(abs(low), abs(high))
                raise SchemaError(
                    f"column {name!r} of {source.label}: values up to {largest:g} in partition {k} are too large for a mean. "
                    f"Make them missing (NaN) or scale them."
                )
            if not p.n:
                found[name] = Nothing(len(part))
                continue
            blurred = bool(high - low > EXACT) and chunk.is_blurred(part, name)
            found[name] = Numbers(len(part) - p.n, float(low), float(high), p, w, blurred, k)
        if lacks is not None:
            constant = np.array([found[name].is_constant for name in chunk.names], bool)
            for name, missing in chunk.lacks(constant):
                lacks.note(name, missing, may_be_useless=bool(name))
        if inquiry.sparse:
            n_entries += chunk.n_entries()
    return {name: found[name] for name in source.predictors}, coded, lacks, n_entries


def merge_column(name: str, left: Column, right: Column, *, source: Schema) -> Column:
    """A column of neighbouring parts of a table. Raises SchemaError."""
    if isinstance(right, Nothing):
        return right.merge(left)
    if isinstance(left, Nothing):
        return left.merge(right)
    if isinstance(left, Numbers) and isinstance(right, Numbers):
        return left.merge(right)
    if isinstance(left, Levels) and isinstance(right, Levels):
        both = left.merge(right)
        if len(both.counts) > MOST_LEVELS:
            raise SchemaError(
                f"column {name!r} of {source.label} has more than {MOST_LEVELS:,} levels. Is it an identifier, or a number "
                f"stored as text? Drop or convert it."
            )
        return both
    kinds = {Numbers: NUMBER, Levels: CATEGORY}
    raise SchemaError(
        f"column {name!r} of {source.label}: partition {right.first} holds a {kinds[type(right)]}, partition {left.first} a "
        f"{kinds[type(left)]}. Give the column one type."
    )
