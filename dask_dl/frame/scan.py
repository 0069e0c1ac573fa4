"""One pass over the partitions: counts, means, deviations and levels, merged in partition order.

Means and sums of squares are merged by Chan's formula in float64 (Chan, Golub, LeVeque 1979), so that a table gives the
same figures however it is cut, to rounding. The result is small and JSON.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import (
    CATEGORY,
    EXACT,
    NUMBER,
    as_levels,
    as_numbers,
    is_blurred,
    kind_of,
    kinds_of,
    number_chunks,
)
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

#: Scans that are merged in one task: a power of two, so that the tree of pairs stays the same.
FAN_IN = 16
#: A target may have as many classes as H2O allows a factor to have (specification, section 1.1).
MOST_CLASSES = 2**20


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
        counts = dict(self.counts)
        for level, count in other.counts.items():
            counts[level] = counts.get(level, 0) + count
        return Levels(self.n_missing + other.n_missing, counts, self.from_numbers and other.from_numbers, self.first)

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


@dataclass(frozen=True, slots=True)
class Nothing:
    """What the scan knows of a column without a single value, whatever its dtype: it may still turn out to be of any kind."""

    n_missing: int
    is_constant = True

    def merge(self, other: Column) -> Column:
        """Both partitions together."""
        return replace(other, n_missing=other.n_missing + self.n_missing)


Column = Numbers | Levels | Nothing


@dataclass(frozen=True)
class Scan:
    """What one pass over a table found."""

    rows: tuple[int, ...]  #: of every partition; partition k holds rows [sum(rows[:k]), sum(rows[:k + 1]))
    columns: Mapping[str, Column]  #: every predictor, in the order of the table
    n_used: int  #: rows with a target and a positive weight: those that train
    weight_sum: float  #: of those rows
    target: Moments = field(default_factory=Moments)  #: of those rows; nothing for classes
    classes: Mapping[Any, int] = field(default_factory=dict)  #: label -> rows of those; nothing for numbers
    largest_partition: int = 0  #: bytes of the largest partition in memory
    is_binary: bool = False  #: whether a numeric target holds nothing but 0 and 1
    first: int = 0  #: number of its first partition: not 0 while parts of a table are merged
    least_target: float | None = None  #: of the rows that train; nothing for classes

    @property
    def n_rows(self) -> int:
        """Rows of the table, used or not."""
        return sum(self.rows)

    @property
    def mean_weight(self) -> float:
        """Mean weight of the rows that train."""
        return self.weight_sum / self.n_used

    def to_json(self) -> dict[str, Any]:
        """The same as numbers, texts, lists and dicts."""
        document = asdict(self)
        document["classes"] = [[str(label), count] for label, count in self.classes.items()]
        return document


def scan(source: Source, *, task: str, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Read every partition of `source` once, at most one in memory at a time.

    Parameters
    ----------
    source : Source
    task : {"classification", "regression"}
        Whether the target is a label or a number.
    progress : callable, optional
        Told (partitions done, partitions) after each.

    Raises
    ------
    SchemaError
        Infinite numbers, objects that are neither texts nor numbers, kinds that differ between partitions, missing or
        negative weights, missing offsets, a target that is missing everywhere or always the same, an empty table.
    """

    def scans() -> Iterator[Scan]:
        for k in range(source.n_partitions):
            yield scan_partition(source.read(k), source.schema, k, task)
            if progress is not None:
                progress(k + 1, source.n_partitions)

    return checked(merged(scans(), source.schema), source.label)


def checked(found: Scan | None, label: str) -> Scan:
    """The scan of a table that has rows. Raises SchemaError."""
    if found is None or found.n_rows == 0:
        raise SchemaError(f"{label} has no rows.")
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


def check_target(found: Scan, source: Source, task: str) -> None:
    """Whether there is something to learn: raises SchemaError when there is not."""
    target = source.roles.get(TARGET, "target")
    name = "the target" if target.startswith("__") else f"target {target!r}"
    if found.n_used == 0:
        has_weight = " and a weight above zero" if WEIGHT in source.roles else ""
        raise SchemaError(f"{name} of {source.label}: none of {found.n_rows:,} rows has a value{has_weight}.")
    if task == "classification":
        if len(found.classes) < 2:
            raise SchemaError(f"{name} has one class only, {next(iter(found.classes))!r}. Two or more are needed.")
        fraction = next((lab for lab in found.classes if isinstance(lab, float) and not lab.is_integer()), None)
        if fraction is not None:
            raise SchemaError(
                f"{name} is continuous, for example {fraction!r} (Unknown label type: continuous): use "
                f"DeepLearningRegressor, or make it a text or category."
            )
        texts = [label for label in found.classes if isinstance(label, str)]
        if texts and len(texts) < len(found.classes):
            other = next(label for label in found.classes if not isinstance(label, str))
            raise SchemaError(
                f"{name} has labels of different types, {texts[0]!r} of type str and {other!r} of type "
                f"{type(other).__name__}. Convert it to one type, in all partitions."
            )
        odd = next((label for label in found.classes if not isinstance(label, (str, int, float))), None)
        if odd is not None:
            raise SchemaError(
                f"{name} has labels of type {type(odd).__name__}, for example {odd!r}. Make them texts, whole numbers or "
                f"booleans."
            )
        if len(found.classes) > MOST_CLASSES:
            raise SchemaError(f"{name} has {len(found.classes):,} classes, more than {MOST_CLASSES:,}. Is it a number?")
    elif not math.isfinite(found.target.m2):
        raise SchemaError(f"{name} holds values that are too large for a mean. Make them missing or scale them.")
    elif found.target.m2 == 0 and found.n_used > 1:
        raise SchemaError(f"{name} is constant ({found.target.mean:g}): there is nothing to learn.")


def role_numbers(part: pd.DataFrame, source: Schema, role: str, k: int) -> NDArray[np.float64] | None:
    """Weights or offsets of a partition: present, finite, weights not negative."""
    name = source.roles.get(role)
    if name is None:
        return None
    where = f"{role} of {source.label}" if name.startswith("__") else f"{role} {name!r} of {source.label}"
    is_text = kind_of(part[name], where) == CATEGORY and part[name].notna().any()
    if is_text or part[name].dtype.kind in "Mm":
        raise SchemaError(f"{where} is not numeric: partition {k} holds {part[name].dtype}.")
    values = as_numbers(part[name])
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise SchemaError(
            f"{where}: {bad:,} of {len(values):,} values in partition {k} are missing or infinite. Fill or drop those rows."
        )
    if role == WEIGHT and (values < 0).any():
        raise SchemaError(
            f"{where}: partition {k} holds negative weights, the least {values.min():g}. Weights are 0 or more."
        )
    return values


def target_numbers(part: pd.DataFrame, source: Schema, k: int) -> NDArray[np.float64]:
    """A numeric target, NaN where missing."""
    column = part[source.roles[TARGET]]
    where = _target_where(source)
    if kind_of(column, where) == CATEGORY and column.notna().any():  # Dask makes texts of what an empty partition holds
        raise SchemaError(f"{where} holds {column.dtype}, not numbers: use DeepLearningClassifier, or convert it.")
    values = as_numbers(column)
    if np.isinf(values).any():
        raise SchemaError(f"{where}: partition {k} holds infinite values. Make them missing or drop those rows.")
    return values


def _target_where(source: Schema) -> str:
    name = source.roles[TARGET]
    return f"the target of {source.label}" if name.startswith("__") else f"target {name!r} of {source.label}"


def scan_partition(part: pd.DataFrame, source: Schema, k: int, task: str) -> Scan:
    """What there is to know of partition k."""
    weights = role_numbers(part, source, WEIGHT, k)
    role_numbers(part, source, OFFSET, k)
    used = np.ones(len(part), bool) if weights is None else weights > 0
    classes: dict[Any, int] = {}
    target, is_binary, least = Moments(), False, None
    if TARGET in source.roles:
        if task == "classification":
            column = part[source.roles[TARGET]]
            kind_of(column, _target_where(source))
            used &= column.notna().to_numpy()
            counts = column[used].value_counts(sort=False)
            classes = {_label(value): int(count) for value, count in counts.items() if count}
        else:
            values = target_numbers(part, source, k)
            used &= ~np.isnan(values)
            (target,) = Moments.of(np.where(used, values, np.nan)[None], weights)
            is_binary = bool(np.isin(values[used], (0, 1)).all())
            least = float(values[used].min()) if used.any() else None
    return Scan(
        rows=(len(part),),
        columns=_scan_columns(part, weights, source, k),
        n_used=int(used.sum()),
        weight_sum=float(used.sum() if weights is None else weights[used].sum()),
        target=target,
        classes=classes,
        largest_partition=int(part.memory_usage(index=False, deep=True).sum()),
        is_binary=is_binary,
        first=k,
        least_target=least,
    )


def _label(value: Any) -> Any:
    """A class as a Python value, so that labels of all partitions compare."""
    return value.item() if isinstance(value, np.generic) else value


def _scan_columns(part: pd.DataFrame, weights: NDArray[np.float64] | None, source: Schema, k: int) -> dict[str, Column]:
    found: dict[str, Column] = {}
    numeric = []
    for name, kind in kinds_of(part, source.predictors, source.label).items():
        if kind == NUMBER:
            numeric.append(name)
        elif kind == CATEGORY:
            codes, texts, from_numbers = as_levels(part[name], f"column {name!r} of {source.label}")
            counts = np.bincount(codes + 1, minlength=len(texts) + 1)
            seen = {text: int(count) for text, count in zip(texts, counts[1:], strict=True) if count}
            found[name] = Levels(int(counts[0]), seen, from_numbers, k) if seen else Nothing(len(part))
        else:
            found[name] = Nothing(len(part))
    for place, values in number_chunks(part, numeric):
        infinite = np.isinf(values).sum(axis=1)
        for name, count in zip(numeric[place], infinite, strict=True):
            if count:
                raise SchemaError(
                    f"column {name!r} of {source.label}: {count:,} infinite values in partition {k}. "
                    f"Make them missing (NaN) or clip them."
                )
        plain = Moments.of(values, None)
        weighted = plain if weights is None else Moments.of(values, weights)
        lows = np.fmin.reduce(values, axis=1, initial=np.nan)
        highs = np.fmax.reduce(values, axis=1, initial=np.nan)
        for name, p, w, low, high, row in zip(numeric[place], plain, weighted, lows, highs, values, strict=True):
            if not math.isfinite(p.m2):
                largest = max(abs(low), abs(high))
                raise SchemaError(
                    f"column {name!r} of {source.label}: values up to {largest:g} in partition {k} are too large for a mean. "
                    f"Make them missing (NaN) or scale them."
                )
            if not p.n:
                found[name] = Nothing(len(part))
                continue
            blurred = high - low > EXACT and is_blurred(part[name], row)
            found[name] = Numbers(len(part) - p.n, float(low), float(high), p, w, bool(blurred), k)
    return {name: found[name] for name in source.predictors}


def _merge(left: Scan, right: Scan, source: Schema) -> Scan:
    classes = dict(left.classes)
    for label, count in right.classes.items():
        classes[label] = classes.get(label, 0) + count
    merge = functools.partial(_merge_column, source=source)
    return Scan(
        rows=left.rows + right.rows,
        columns={name: merge(name, left.columns[name], right.columns[name]) for name in left.columns},
        n_used=left.n_used + right.n_used,
        weight_sum=left.weight_sum + right.weight_sum,
        target=left.target.merge(right.target),
        classes=classes,
        largest_partition=max(left.largest_partition, right.largest_partition),
        is_binary=left.is_binary and right.is_binary,
        first=left.first,
        least_target=min((v for v in (left.least_target, right.least_target) if v is not None), default=None),
    )


def _merge_column(name: str, left: Column, right: Column, *, source: Schema) -> Column:
    if isinstance(right, Nothing):
        return right.merge(left)
    if isinstance(left, Nothing):
        return left.merge(right)
    if isinstance(left, Numbers) and isinstance(right, Numbers):
        return left.merge(right)
    if isinstance(left, Levels) and isinstance(right, Levels):
        return left.merge(right)
    kinds = {Numbers: NUMBER, Levels: CATEGORY}
    raise SchemaError(
        f"column {name!r} of {source.label}: partition {right.first} holds a {kinds[type(right)]}, partition {left.first} a "
        f"{kinds[type(left)]}. Give the column one type."
    )
