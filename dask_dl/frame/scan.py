"""One pass over the partitions: counts, means, deviations and levels, merged in partition order.

Means and sums of squares are merged by Chan's formula in float64 (Chan, Golub, LeVeque 1979), so that a table gives the
same figures however it is cut, to rounding. The result is small and JSON.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import CATEGORY, NUMBER, as_levels, as_numbers, kind_of, kinds_of, number_chunks
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd
    from numpy.typing import NDArray

#: Scans that are merged in one task: a power of two, so that the tree of pairs stays the same.
FAN_IN = 16
#: A target may have as many classes as H2O allows a factor to have (specification, section 1.1).
MOST_CLASSES = 2**20
#: A column may have as many levels: some 300 bytes of memory each while they are counted.
MOST_LEVELS = 10_000_000


class Inquiry(NamedTuple):
    """What a scan shall find out."""

    task: str  #: "classification" or "regression"
    skips: bool = False  #: whether rows with a missing input shall not train
    levels: str = ""  #: what to sum over the rows of every level that train: "response", "weight" or nothing


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

    def merge(self, other: Numbers) -> Numbers:
        """Both partitions together."""
        return Numbers(
            self.n_missing + other.n_missing,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.plain.merge(other.plain),
            self.weighted.merge(other.weighted),
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

    def merge(self, other: Levels) -> Levels:
        """Both partitions together."""
        from_numbers = self.from_numbers and other.from_numbers
        return Levels(self.n_missing + other.n_missing, _added(self.counts, other.counts), from_numbers)

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


#: Sums over rows that train, for columns, their levels, and what is summed: the weight of a class, say.
LevelSums = Mapping[str, Mapping[str, Mapping[Any, float]]]


@dataclass(frozen=True)
class Tally:
    """What is known of some rows that train: those with a target and a positive weight."""

    n: int = 0
    weight: float = 0.0
    has_one_weight: bool = True  #: whether all weights are 1
    target: Moments = field(default_factory=Moments)  #: nothing for classes
    classes: Mapping[Any, int] = field(default_factory=dict)  #: label -> rows; nothing for numbers
    is_binary: bool = True  #: whether a numeric target holds nothing but 0 and 1
    least_target: float | None = None  #: nothing for classes
    numbers: Mapping[str, Moments] = field(default_factory=dict)  #: by weight, where rows are weighted and some skipped
    levels: LevelSums = field(
        default_factory=dict
    )  #: as `Inquiry.levels` asks: of classes by label, else n, weight, sum

    def merge(self, other: Tally) -> Tally:
        """Both sets of rows together."""
        leasts = [v for v in (self.least_target, other.least_target) if v is not None]
        return Tally(
            self.n + other.n,
            self.weight + other.weight,
            self.has_one_weight and other.has_one_weight,
            self.target.merge(other.target),
            _added(self.classes, other.classes),
            self.is_binary and other.is_binary,
            min(leasts, default=None),
            {
                name: self.numbers.get(name, Moments()).merge(other.numbers.get(name, Moments()))
                for name in [*self.numbers, *(other.numbers.keys() - self.numbers.keys())]
            },
            _joined(self.levels, other.levels, functools.partial(_joined, join=_added)),
        )


def _added(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> dict[Any, Any]:
    """Sums of both; keys in order of appearance."""
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, 0) + value
    return total


def _joined(left: Mapping[Any, Any], right: Mapping[Any, Any], join: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    total = dict(left)
    for key, value in right.items():
        total[key] = join(total[key], value) if key in total else value
    return total


@dataclass(frozen=True)
class Scan:
    """What one pass over a table found.

    Where rows with a missing input are skipped, columns without use, which nobody knows before the end of the pass, are no
    inputs: rows that lack nothing else are counted apart, by the columns that they lack.
    """

    rows: tuple[int, ...]  #: of every partition; partition k holds rows [sum(rows[:k]), sum(rows[:k + 1]))
    columns: Mapping[str, Column]  #: every predictor, in the order of the table
    tally: Tally  #: of the rows that train
    doubtful: Mapping[frozenset[str], Tally] = field(default_factory=dict)  #: that do if these columns are no inputs
    all_targets: Moments = field(default_factory=Moments)  #: of rows that are skipped, too
    is_weighted: bool = False
    largest_partition: int = 0  #: bytes of the largest partition in memory
    first: int = 0  #: number of its first partition: not 0 while parts of a table are merged

    @property
    def n_rows(self) -> int:
        """Rows of the table, used or not."""
        return sum(self.rows)

    @property
    def n_used(self) -> int:
        """Rows that train."""
        return self.tally.n

    @property
    def classes(self) -> Mapping[Any, int]:
        """Label -> rows that train; nothing for numbers."""
        return self.tally.classes

    @property
    def target(self) -> Moments:
        """Of a numeric target; without weights of skipped rows too, as other means (section 2.5)."""
        return self.tally.target if self.is_weighted else self.all_targets

    @property
    def mean_weight(self) -> float:
        """Mean weight of the rows that train."""
        return self.tally.weight / self.tally.n

    def moments(self, name: str) -> Moments:
        """By which a numeric column is standardised: weighted ones leave out skipped rows, others do not (section 2.5)."""
        column = self.columns[name]
        assert isinstance(column, Numbers)
        return self.tally.numbers.get(name, column.weighted)

    def without(self, dropped: Iterable[str]) -> Scan:
        """The same, these columns being no inputs: rows that lack only them train, all others that were in doubt do not."""
        useless = frozenset(dropped)
        tallies = (tally for lacks, tally in self.doubtful.items() if lacks <= useless)
        return replace(self, tally=functools.reduce(Tally.merge, tallies, self.tally), doubtful={})

    def to_json(self) -> dict[str, Any]:
        """The same as numbers, texts, lists and dicts."""
        document = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "doubtful"}
        document["columns"] = {name: asdict(column) for name, column in self.columns.items()}
        document["tally"] = asdict(self.tally) | {
            "classes": [[str(label), count] for label, count in self.classes.items()],
            "levels": {
                name: {level: [[str(key), value] for key, value in sums.items()] for level, sums in levels.items()}
                for name, levels in self.tally.levels.items()
            },
        }
        document["all_targets"] = asdict(self.all_targets)
        return document


def scan(source: Source, inquiry: Inquiry, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Read every partition of `source` once, at most one in memory at a time.

    Parameters
    ----------
    source : Source
    inquiry : Inquiry
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
            yield scan_partition(source.read(k), source.schema, k, inquiry)
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


def check_target(found: Scan, source: Source, inquiry: Inquiry) -> None:
    """Whether there is something to learn: raises SchemaError when there is not."""
    target = source.roles.get(TARGET, "target")
    name = "the target" if target.startswith("__") else f"target {target!r}"
    if found.n_used == 0:
        needs = ["a value", *(["a weight above zero"] if WEIGHT in source.roles else [])]
        needs += ["no missing input, without which it is skipped (missing_values_handling)"] if inquiry.skips else []
        raise SchemaError(f"{name} of {source.label}: none of {found.n_rows:,} rows has {' and '.join(needs)}.")
    if inquiry.task == "classification":
        if len(found.classes) < 2:
            raise SchemaError(f"{name} has one class only, {next(iter(found.classes))!r}. Two or more are needed.")
        fraction = next((lab for lab in found.classes if isinstance(lab, float) and not lab.is_integer()), None)
        if fraction is not None:
            raise SchemaError(
                f"{name} is continuous, for example {fraction!r} (Unknown label type: continuous): use "
                f"DeepLearningRegressor, or make it a text or category."
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
    if kind_of(part[name], where) == CATEGORY:
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
    if kind_of(column, where) == CATEGORY:
        raise SchemaError(f"{where} holds {column.dtype}, not numbers: use DeepLearningClassifier, or convert it.")
    values = as_numbers(column)
    if np.isinf(values).any():
        raise SchemaError(f"{where}: partition {k} holds infinite values. Make them missing or drop those rows.")
    return values


def _target_where(source: Schema) -> str:
    name = source.roles[TARGET]
    return f"the target of {source.label}" if name.startswith("__") else f"target {name!r} of {source.label}"


def scan_partition(part: pd.DataFrame, source: Schema, k: int, inquiry: Inquiry) -> Scan:
    """What there is to know of partition k."""
    weights = role_numbers(part, source, WEIGHT, k)
    role_numbers(part, source, OFFSET, k)
    used = np.ones(len(part), bool) if weights is None else weights > 0
    labels, targets, all_targets = None, None, Moments()
    if TARGET in source.roles and inquiry.task == "classification":
        labels = part[source.roles[TARGET]]
        kind_of(labels, _target_where(source))
        used &= labels.notna().to_numpy()
    elif TARGET in source.roles:
        targets = target_numbers(part, source, k)
        used &= ~np.isnan(targets)
        (all_targets,) = Moments.of(np.where(used, targets, np.nan)[None], weights)
    columns, codes, lacks = _scan_columns(part, weights, source, k, inquiry)
    response = _Response(labels, targets, weights)
    counted = codes if inquiry.levels else {}
    groups = _by_missing(lacks, len(part))
    tallies = {
        missing: response.tally(used & rows, counted, by_label=inquiry.levels == "response") for missing, rows in groups
    }
    if inquiry.skips and weights is not None:
        numeric = [name for name, column in columns.items() if isinstance(column, Numbers)]
        for missing, rows in groups:
            moments = {
                name: found
                for place, values in number_chunks(part, numeric)
                for name, found in zip(numeric[place], Moments.of(values, weights * (used & rows)), strict=True)
            }
            tallies[missing] = replace(tallies[missing], numbers=moments)
    return Scan(
        rows=(len(part),),
        columns=columns,
        tally=tallies.pop(frozenset()),
        doubtful={missing: tally for missing, tally in tallies.items() if tally.n},
        all_targets=all_targets,
        is_weighted=weights is not None,
        largest_partition=int(part.memory_usage(index=False, deep=True).sum()),
        first=k,
    )


class _Response(NamedTuple):
    """What the rows of a partition shall teach, and how much they count."""

    labels: pd.Series[Any] | None
    targets: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None

    def tally(
        self, rows: NDArray[np.bool_], levels: Mapping[str, tuple[NDArray[np.intp], list[str]]], *, by_label: bool
    ) -> Tally:
        """Of the marked rows."""
        weights = np.ones(len(rows)) if self.weights is None else self.weights
        classes: dict[Any, int] = {}
        target, is_binary, least = Moments(), self.targets is not None, None
        if self.labels is not None:
            counts = self.labels[rows].value_counts(sort=False)
            classes = {_label(value): int(count) for value, count in counts.items() if count}
        elif self.targets is not None:
            (target,) = Moments.of(np.where(rows, self.targets, np.nan)[None], self.weights)
            values = self.targets[rows]
            is_binary = bool(np.isin(values, (0, 1)).all())
            least = float(values.min()) if len(values) else None
        total = float(rows.sum() if self.weights is None else weights[rows].sum())
        summed = {
            name: self._by_label(codes[rows], texts, weights[rows], rows)
            if by_label and self.labels is not None
            else self._by_level(codes[rows], texts, weights[rows], rows)
            for name, (codes, texts) in levels.items()
        }
        one = self.weights is None or bool((weights[rows] == 1).all())
        return Tally(int(rows.sum()), total, one, target, classes, is_binary, least, {}, summed)

    def _by_level(
        self, codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], rows: NDArray[np.bool_]
    ) -> dict[str, dict[Any, float]]:
        """Rows, their weights, and their targets times weight, of every level."""
        targets = np.zeros(len(codes)) if self.targets is None else self.targets[rows]
        sums = {
            "n": np.bincount(codes + 1, minlength=len(texts) + 1),
            "weight": np.bincount(codes + 1, weights, len(texts) + 1),
            "sum": np.bincount(codes + 1, weights * targets, len(texts) + 1),
        }
        return {
            text: {key: float(values[k]) for key, values in sums.items()}
            for k, text in enumerate(texts, 1)
            if sums["n"][k]
        }

    def _by_label(
        self, codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], rows: NDArray[np.bool_]
    ) -> dict[str, dict[Any, float]]:
        """Weight of every class in every level."""
        import pandas as pd

        assert self.labels is not None
        label_codes, labels = pd.factorize(self.labels[rows])
        pairs, place = np.unique(codes * len(labels) + label_codes, return_inverse=True)
        found: dict[str, dict[Any, float]] = {}
        for pair, weight in zip(pairs.tolist(), np.bincount(place, weights).tolist(), strict=True):
            if pair >= 0:  # else the level is missing
                text, label = divmod(pair, len(labels))
                found.setdefault(texts[text], {})[_label(labels[label])] = weight
        return found


def _by_missing(
    lacks: Mapping[str, NDArray[np.bool_]] | None, n: int
) -> list[tuple[frozenset[str], NDArray[np.bool_]]]:
    """Rows by the columns that they lack, first those that lack nothing; without rows that lack what surely is an input.

    lacks : which rows lack a column that may turn out to be useless, and under "" which lack any other; None: nobody asks.
    """
    if lacks is None:
        return [(frozenset(), np.ones(n, bool))]
    surely = lacks.get("", np.zeros(n, bool))
    names = [name for name, rows in lacks.items() if name and rows.any()]
    whole = np.column_stack([np.zeros((n, 0), bool), *(lacks[name] for name in names)])
    groups = [(frozenset[str](), ~surely & ~whole.any(axis=1))]
    rest = np.flatnonzero(~surely & whole.any(axis=1))
    patterns, place = np.unique(np.packbits(whole[rest], axis=1), axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        rows = np.zeros(n, bool)
        rows[rest[place.ravel() == k]] = True
        marks = np.unpackbits(pattern, count=len(names)).astype(bool)
        groups.append((frozenset(np.array(names, object)[marks].tolist()), rows))
    return groups


def _label(value: Any) -> Any:
    """A class as a Python value, so that labels of all partitions compare."""
    return value.item() if isinstance(value, np.generic) else value


_Coded = tuple["NDArray[np.intp]", list[str]]


def _scan_columns(
    part: pd.DataFrame, weights: NDArray[np.float64] | None, source: Schema, k: int, inquiry: Inquiry
) -> tuple[dict[str, Column], dict[str, _Coded], dict[str, NDArray[np.bool_]] | None]:
    """Columns; level and levels of every row, as far as they are asked for; and which rows lack what: see `_by_missing`."""
    found: dict[str, Column] = {}
    coded: dict[str, _Coded] = {}
    lacks: dict[str, NDArray[np.bool_]] | None = {} if inquiry.skips else None
    numeric = []

    def note(name: str, missing: NDArray[np.bool_]) -> None:
        if lacks is not None and found[name].is_constant:  # it may be so in the whole table, and then it is dropped
            lacks[name] = missing
        elif lacks is not None:
            lacks[""] = lacks.get("", np.zeros(len(part), bool)) | missing

    for name, kind in kinds_of(part, source.predictors, source.label).items():
        if kind == NUMBER:
            numeric.append(name)
        elif kind == CATEGORY:
            codes, texts, from_numbers = as_levels(part[name], f"column {name!r} of {source.label}")
            counts = np.bincount(codes + 1, minlength=len(texts) + 1)
            seen = {text: int(count) for text, count in zip(texts, counts[1:], strict=True) if count}
            found[name] = Levels(int(counts[0]), seen, from_numbers) if seen else Nothing(len(part))
            note(name, codes < 0)
            if inquiry.levels:
                coded[name] = codes, texts
        else:
            found[name] = Nothing(len(part))
            note(name, np.ones(len(part), bool))
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
        for name, p, w, low, high in zip(numeric[place], plain, weighted, lows, highs, strict=True):
            if not math.isfinite(p.m2):
                largest = max(abs(low), abs(high))
                raise SchemaError(
                    f"column {name!r} of {source.label}: values up to {largest:g} in partition {k} are too large for a mean. "
                    f"Make them missing (NaN) or scale them."
                )
            found[name] = Numbers(len(part) - p.n, float(low), float(high), p, w) if p.n else Nothing(len(part))
        if lacks is not None:
            for name, row in zip(numeric[place], values, strict=True):
                note(name, np.isnan(row))
    return {name: found[name] for name in source.predictors}, coded, lacks


def _merge(left: Scan, right: Scan, source: Schema) -> Scan:
    here, last = right.first, right.first + len(right.rows) - 1
    where = f"partition {here}" if here == last else f"one of the partitions {here} to {last}"
    merge = functools.partial(_merge_column, source=source, where=where)
    columns = {name: merge(name, left.columns[name], right.columns[name]) for name in left.columns}
    doubtful = _joined(left.doubtful, right.doubtful, Tally.merge)
    return Scan(
        rows=left.rows + right.rows,
        columns=columns,
        tally=left.tally.merge(right.tally),
        doubtful={m: tally for m, tally in doubtful.items() if all(columns[name].is_constant for name in m)},
        all_targets=left.all_targets.merge(right.all_targets),
        is_weighted=left.is_weighted,
        largest_partition=max(left.largest_partition, right.largest_partition),
        first=left.first,
    )


def _merge_column(name: str, left: Column, right: Column, *, source: Schema, where: str) -> Column:
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
        f"column {name!r} of {source.label}: {where} holds a {kinds[type(right)]}, those before it a "
        f"{kinds[type(left)]}. Give the column one type."
    )
