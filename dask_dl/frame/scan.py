"""One pass over the partitions: what is known of every column, and of the rows that train, merged in partition order.

The result is small and JSON.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import CATEGORY, as_numbers, kind_of
from dask_dl.frame.figures import Column, Levels, ManyMoments, ManyNumbers, Moments, Numbers, merge_columns
from dask_dl.frame.lacks import MOST_DOUBTS
from dask_dl.frame.matrix import SparsePart
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source
from dask_dl.frame.survey import moments_of, survey
from dask_dl.frame.tally import Inquiry, Response, Tally, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

#: Scans that are merged in one task: a power of two, so that the tree of pairs stays the same.
FAN_IN = 16
#: A target may have as many classes as H2O allows a factor to have (specification, section 1.1).
MOST_CLASSES = 2**20


@dataclass(frozen=True)
class Scan:
    """What one pass over a table found.

    Where rows with a missing input are skipped, columns without use, which nobody knows before the end of the pass, are no
    inputs: rows that lack nothing else are counted apart, by the columns that they lack.
    """

    rows: tuple[int, ...]  #: of every partition; partition k holds rows [sum(rows[:k]), sum(rows[:k + 1]))
    columns: Mapping[str, Column]  #: every predictor, in the order of the table
    tally: Tally  #: of the rows that train
    #: of rows that train if these columns are no inputs; None: there were too many combinations of them
    doubtful: Mapping[frozenset[str], Tally] | None = field(default_factory=dict)
    all_targets: Moments = field(default_factory=Moments)  #: of rows that are skipped, too
    is_weighted: bool = False
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
        """Of all columns."""
        return sum(len(column.counts) for column in self.columns.values() if isinstance(column, Levels))

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
        assert self.doubtful is not None
        useless = frozenset(dropped)
        tallies = (tally for lacks, tally in self.doubtful.items() if lacks <= useless)
        tally = functools.reduce(Tally.merge, tallies, self.tally)
        if isinstance(tally.numbers, ManyMoments):
            tally = replace(tally, numbers=tally.numbers.one_by_one())
        return replace(self, tally=tally, doubtful={})

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
    return replace(found, columns=found.columns.one_by_one()) if isinstance(found.columns, ManyNumbers) else found


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
        gaps = sorted(found.columns.items(), key=lambda item: -item[1].n_missing)[: 5 if inquiry.skips else 0]
        most = ", ".join(f"{column!r} {figures.n_missing:,}" for column, figures in gaps if figures.n_missing)
        hint = f" Most are missing of {most}: drop such columns, or do not skip." if most else ""
        raise SchemaError(f"{name} of {source.label}: none of {found.n_rows:,} rows has {' and '.join(needs)}.{hint}")
    if inquiry.task == "classification":
        if len(found.classes) < 2:
            raise SchemaError(f"{name} has one class only, {next(iter(found.classes))!r}. Two or more are needed.")
        check_labels(found.classes, name)
        if len(found.classes) > MOST_CLASSES:
            raise SchemaError(f"{name} has {len(found.classes):,} classes, more than {MOST_CLASSES:,}. Is it a number?")
    elif not math.isfinite(found.target.m2):
        raise SchemaError(f"{name} holds values that are too large for a mean. Make them missing or scale them.")
    elif found.target.m2 == 0 and found.n_used > 1:
        raise SchemaError(f"{name} is constant ({found.target.mean:g}): there is nothing to learn.")


def check_labels(labels: Mapping[Any, int], name: str) -> None:
    """Whether labels can be classes: raises SchemaError when they cannot."""
    fraction = next((lab for lab in labels if isinstance(lab, float) and not lab.is_integer()), None)
    if fraction is not None:
        raise SchemaError(
            f"{name} is continuous, for example {fraction!r} (Unknown label type: continuous): use "
            f"DeepLearningRegressor, or make it a text or category."
        )
    texts = [label for label in labels if isinstance(label, str)]
    if texts and len(texts) < len(labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise SchemaError(
            f"{name} has labels of different types, {texts[0]!r} of type str and {other!r} of type "
            f"{type(other).__name__}. Convert it to one type, in all partitions."
        )
    odd = next((label for label in labels if not isinstance(label, (str, int, float))), None)
    if odd is not None:
        raise SchemaError(
            f"{name} has labels of type {type(odd).__name__}, for example {odd!r}. Make them texts, whole numbers or "
            f"booleans."
        )


def role_numbers(part: pd.DataFrame | SparsePart, source: Schema, role: str, k: int) -> NDArray[np.float64] | None:
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


def target_numbers(part: pd.DataFrame | SparsePart, source: Schema, k: int) -> NDArray[np.float64]:
    """A numeric target, NaN where missing."""
    column = part[source.roles[TARGET]]
    where = target_where(source)
    if kind_of(column, where) == CATEGORY and column.notna().any():  # Dask makes texts of what an empty partition holds
        raise SchemaError(f"{where} holds {column.dtype}, not numbers: use DeepLearningClassifier, or convert it.")
    values = as_numbers(column)
    if np.isinf(values).any():
        raise SchemaError(f"{where}: partition {k} holds infinite values. Make them missing or drop those rows.")
    return values


def target_labels(part: pd.DataFrame | SparsePart, source: Schema) -> pd.Series[Any]:
    """Labels of a partition, of a type that can be a class."""
    labels = part[source.roles[TARGET]]
    kind_of(labels, target_where(source))
    return labels


def target_where(source: Schema) -> str:
    """Name of the target, for errors."""
    name = source.roles[TARGET]
    return f"the target of {source.label}" if name.startswith("__") else f"target {name!r} of {source.label}"


def scan_partition(part: pd.DataFrame | SparsePart, source: Schema, k: int, inquiry: Inquiry) -> Scan:
    """What there is to know of partition k."""
    weights = role_numbers(part, source, WEIGHT, k)
    role_numbers(part, source, OFFSET, k)
    used = np.ones(len(part), bool) if weights is None else weights > 0
    labels, targets, all_targets = None, None, Moments()
    if TARGET in source.roles and inquiry.task == "classification":
        labels = target_labels(part, source)
        used &= labels.notna().to_numpy()
    elif TARGET in source.roles:
        targets = target_numbers(part, source, k)
        used &= ~np.isnan(targets)
        (all_targets,) = Moments.of(np.where(used, targets, np.nan)[None], weights)
    columns, coded, lacks, n_entries = survey(part, weights, source, k, inquiry)
    response = Response(labels, targets, weights)
    whole = [(frozenset[str](), np.arange(len(part)))]
    lacking = lacks.groups() if lacks else whole
    groups = {missing: rows[used[rows]] for missing, rows in lacking or [(frozenset(), np.zeros(0, np.int64))]}
    tallies = {
        missing: response.tally(rows, coded, by_label=inquiry.levels == "response") for missing, rows in groups.items()
    }
    if inquiry.skips and weights is not None:
        moments = moments_of(part, columns, weights, groups)
        tallies = {missing: replace(tally, numbers=moments[missing]) for missing, tally in tallies.items()}
    return Scan(
        rows=(len(part),),
        columns=columns,
        tally=tallies.pop(frozenset()),
        doubtful=None if lacking is None else {missing: tally for missing, tally in tallies.items() if tally.n},
        all_targets=all_targets,
        is_weighted=weights is not None,
        largest_partition=part.nbytes
        if isinstance(part, SparsePart)
        else int(part.memory_usage(index=False, deep=True).sum()),
        n_entries=int(n_entries.sum()),
        longest=int(n_entries.max(initial=0)),
        first=k,
    )


def _merge(left: Scan, right: Scan, source: Schema) -> Scan:
    columns = merge_columns(left.columns, right.columns, source)
    doubtful = None
    if left.doubtful is not None and right.doubtful is not None:
        doubtful = joined(left.doubtful, right.doubtful, Tally.merge)
        doubtful = {m: tally for m, tally in doubtful.items() if all(columns[name].is_constant for name in m)}
        doubtful = doubtful if len(doubtful) <= MOST_DOUBTS else None
    return Scan(
        rows=left.rows + right.rows,
        columns=columns,
        tally=left.tally.merge(right.tally),
        doubtful=doubtful,
        all_targets=left.all_targets.merge(right.all_targets),
        is_weighted=left.is_weighted,
        largest_partition=max(left.largest_partition, right.largest_partition),
        n_entries=left.n_entries + right.n_entries,
        longest=max(left.longest, right.longest),
        first=left.first,
    )
