"""The rule that turns rows of a user's table into network inputs; fitted once on the training table, kept in the model.

Inputs (algorithm.md#order-of-inputs): categorical columns by decreasing number of levels, each level a 0/1 input and one
more for missing and unseen levels; then the numbers, standardised (algorithm.md#numbers), a missing one replaced by the mean
of training (algorithm.md#missing-values); then the numbers that encodings make of levels. The same rule serves training and
scoring.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.categorical import AS_NUMBERS, CodedColumn, OneHotColumn, by_response, most_frequent
from dask_dl.frame.dtypes import CATEGORY, Places, at, kinds_of, names_of, plain_chunks
from dask_dl.frame.hashing import Hashing
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.sparse import SparsePart
from dask_dl.frame.target import sorted_labels
from dask_dl.state import ENTRY, NO_ENTRIES, Entries, begins, padded
from dask_dl.wording import and_more

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.column_stats import CategoricalStats
    from dask_dl.frame.dense import DensePart
    from dask_dl.frame.row_roles import TargetKind
    from dask_dl.frame.scan import Scan


@dataclass(frozen=True)
class Number:
    """A numeric column: input = (x - shift) * factor."""

    name: str
    fill: float  #: what a missing value becomes, in the units of the column: the (weighted) mean of training
    shift: float
    factor: float
    deviation: float | None = None  #: of training; early files do not know it


class Encoding(NamedTuple):
    """Parameters that concern inputs (algorithm.md#from-a-table-to-inputs)."""

    scheme: str = "one_hot_internal"  #: categorical_encoding, resolved
    use_all_factor_levels: bool = True
    standardize: bool = True
    max_categorical_features: int = 2**31 - 1
    seed: int = 0  #: of the hashing of levels
    sparse: bool = False  #: numbers are scaled, but not centred, and kept by their non-zeros
    by_range: bool = False  #: standardized numbers are divided by their range, and not by their deviation

    def request(self, target: TargetKind, *, skips: bool, is_weighted: bool) -> ScanRequest:
        """Request for a scan that finds what an encoder has to know of a table."""
        by_weight = "weight" if is_weighted and self.scheme in AS_NUMBERS else ""
        levels = "response" if self.scheme == "sort_by_response" else by_weight
        return ScanRequest(target, skips, levels, self.sparse)


class Encoded(NamedTuple):
    """Inputs of some rows."""

    dense: NDArray[np.float32]  #: (n, padded numbers)
    active: NDArray[np.int32]  #: (n, categories): one-hot input of every categorical column, or -1
    entries: Entries


@dataclass(frozen=True)
class Encoder:
    """Names, kinds, levels and figures of every predictor, in the order of the network's inputs."""

    categories: tuple[OneHotColumn, ...]  #: with an input for each level
    numbers: tuple[Number, ...]
    codes: tuple[CodedColumn, ...] = ()  #: categorical columns as numbers
    hashing: Hashing | None = None  #: where levels share inputs
    is_sparse: bool = False  #: whether numbers are kept by their non-zeros

    @classmethod
    def fit(cls, found: Scan, predictors: Sequence[str], encoding: Encoding) -> Encoder:
        """The rule for `predictors` of a scanned table."""
        categories, codes, numbers = [], [], []
        columns = found.columns
        moments = columns.moments
        figures = list(zip(moments.n.tolist(), moments.mean.tolist(), moments.deviation.tolist(), strict=True))
        for name in predictors:
            column = columns.levels.get(name)
            n, mean, deviation = figures[columns.places[name]]
            if column and encoding.scheme in AS_NUMBERS:
                codes.append(_fit_code(found, column, name, encoding))
            elif column:
                levels, has_others = list(column.ordered), False
                if encoding.scheme == "enum_limited":
                    levels, has_others = most_frequent(levels, column.counts)
                elif encoding.scheme == "sort_by_response":
                    levels = by_response(levels, found.row_stats.levels.get(name, {}), sorted_labels(found.classes))
                categories.append(OneHotColumn(name, tuple(levels), encoding.use_all_factor_levels, has_others))
            elif n:
                shift = mean if encoding.standardize and not encoding.sparse else 0.0
                spread = deviation
                if encoding.by_range and deviation:
                    place = columns.places[name]
                    spread = (columns.maximum[place] - columns.minimum[place]).item()
                factor = 1 / (spread or 1.0) if encoding.standardize else 1.0
                numbers.append(Number(name, mean, shift, factor, deviation))
        _sort_by_levels(categories)
        maximum = encoding.max_categorical_features
        hashes = maximum < sum(category.width for category in categories)
        hashing = Hashing(maximum, encoding.seed & 0xFFFFFFFF) if hashes else None
        return cls(tuple(categories), tuple(numbers), tuple(codes), hashing, encoding.sparse)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Predictors, categorical ones first."""
        return (*(c.name for c in self.categories), *(n.name for n in self.numbers), *(c.name for c in self.codes))

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """First input of every categorical column, then of the numbers: H2O's catoffsets."""
        return np.cumsum([0, *(c.width for c in self.categories)], dtype=np.int32)

    @property
    def n_level_inputs(self) -> int:
        """Inputs of levels."""
        return self.hashing.n_inputs if self.hashing else int(self.starts[-1])

    @property
    def n_onehot(self) -> int:
        """Inputs that feed the network as levels do: by what is there, and not by what is absent."""
        return self.n_level_inputs + (len(self.numbers) if self.is_sparse else 0)

    @property
    def n_dense(self) -> int:
        """All other inputs."""
        return (0 if self.is_sparse else len(self.numbers)) + sum(code.width for code in self.codes)

    @property
    def n_active(self) -> int:
        """Inputs that are other than 0 at most rows: numbers, and one of each column of levels."""
        return len(self.categories) + self.n_onehot - self.n_level_inputs + self.n_dense

    @property
    def n_sparse(self) -> int:
        """Columns that come as entries."""
        return (len(self.numbers) if self.is_sparse else 0) + (len(self.categories) if self.hashing else 0)

    @property
    def input_names(self) -> list[str]:
        """Name of every network input."""
        names = [name for c in self.categories for name in c.input_names]
        if self.hashing:
            names = [f"hashed.{k}" for k in range(self.hashing.n_inputs)]
        return [*names, *(n.name for n in self.numbers), *(name for c in self.codes for name in c.input_names)]

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:  # noqa: ARG002  # scikit-learn's
        """Name of every network input, as scikit-learn's transformers give them."""
        return np.array(self.input_names, dtype=object)

    def bytes_per_row(self, n_entries: float) -> float:
        """Memory of an encoded row, with so many non-zero numbers on average."""
        n_active = 0 if self.hashing else len(self.categories)
        hashed = len(self.categories) if self.hashing else 0
        sparse = ENTRY * (n_entries + hashed) + 12 if self.n_sparse else 0
        return 4 * (padded(self.n_dense) + n_active) + sparse

    def encode(self, part: pd.DataFrame | SparsePart | DensePart, label: str, rows: Places = None) -> Encoded:
        """Inputs of every row of `part`; where `rows` says which are of interest, no other is looked at, and it gets zeros.

        Raises
        ------
        SchemaError
            When a column has another kind than in training, or holds infinite values. All faults are listed.
        """
        if isinstance(part, SparsePart):
            return self._encode_matrix(part, label, rows)
        active = np.full((len(part), len(self.categories)), -1, np.int32)
        dense = np.zeros((len(part), padded(self.n_dense)), np.float32)
        here: slice | NDArray[np.int64] = slice(None) if rows is None else rows
        faults = []
        for k, category in enumerate(self.categories):
            where = f"column {category.name!r} of {label}"
            try:
                slots = category.slots(at(part[category.name], rows), where)
            except SchemaError as error:
                faults.append(str(error))
            else:
                active[here, k] = np.where(slots >= 0, slots + self.starts[k], -1)
        names = [number.name for number in self.numbers]
        first = 0 if self.is_sparse else len(self.numbers)
        for code in self.codes:
            try:
                inputs = code.numbers(at(part[code.name], rows), f"column {code.name!r} of {label}")
            except SchemaError as error:
                faults.append(str(error))
            else:
                dense[here, first : first + code.width] = inputs
            first += code.width
        faults += [
            f"column {name!r} of {label} was a number in training and is now {part[name].dtype}. Convert it."
            for name, kind in kinds_of(part, names, label, rows).items()
            if kind == CATEGORY and at(part[name], rows).notna().any()
        ]
        if faults:
            raise SchemaError("; ".join(faults))
        found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        for place, table in plain_chunks(part, names, rows):
            largest = np.zeros(table.shape[1])
            for block, scaled in self._scaled(table, place):
                with np.errstate(over="ignore"):
                    if self.is_sparse:
                        narrow = scaled.astype(np.float32)
                        row, column = np.nonzero(narrow)
                        values = narrow[row, column]
                        row = row + block.start if rows is None else rows[block][row]
                        found.append((row, column + (self.n_level_inputs + place.start), values))
                    else:
                        dense[block if rows is None else rows[block], place] = scaled
                np.maximum(largest, scaled.max(axis=0, initial=0), out=largest)
                np.maximum(largest, -scaled.min(axis=0, initial=0), out=largest)
            faults += [
                _beyond(table[:, k], f"column {names[place][k]!r} of {label}")
                for k in np.flatnonzero(largest > np.finfo(np.float32).max).tolist()
            ]
        if faults:
            raise SchemaError("; ".join(faults))
        entries = NO_ENTRIES
        if self.hashing:
            row, slot, value = self.hashing.entries(active, int(self.starts[-1]))
            found.append((row, slot.astype(np.int64), value))
            active = np.empty((len(part), 0), np.int32)
        if self.n_sparse:
            entries = _by_row(found, len(part))
        return Encoded(dense, active, entries)

    def _scaled(self, table: NDArray[Any], place: slice) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Numbers of the columns at `place` as the network has them, with what was missing: some rows at a time, and which."""
        fill, shift, factor = self._figures[:, place]
        # Odd, for columns that lie a power of two apart would share places of a cache.
        step = NUMBERS_AT_ONCE // max(1, table.shape[1]) | 1
        scratch = np.empty_like(table[:step], np.float64)  # in the order of `table`
        for start in range(0, max(1, len(table)), step):
            block = slice(start, min(start + step, len(table)))
            values = scratch[: block.stop - start]
            with np.errstate(over="ignore"):  # of long doubles
                np.copyto(values, table[block], casting="same_kind")
            if table.dtype.kind == "f" and (missing := np.isnan(values)).any():
                np.copyto(values, fill, where=missing)
            values -= shift
            with np.errstate(over="ignore"):
                values *= factor
            yield block, values

    @cached_property
    def _figures(self) -> NDArray[np.float64]:
        """(3, numbers): what missing ones become, shift, factor."""
        return np.array([(n.fill, n.shift, n.factor) for n in self.numbers]).reshape(-1, 3).T

    def _encode_matrix(self, part: SparsePart, label: str, rows: Places) -> Encoded:
        if not self.is_sparse:
            raise SchemaError(
                f"{label} is a sparse matrix, and the model was trained on numbers that are centred, which leaves no zeros. "
                f"Train with sparse=True, or pass an array."
            )
        if self.categories or self.codes:
            raise SchemaError(f"{label} is a sparse matrix, and the model was trained on categories. Pass a frame.")
        kept = {number.name: k for k, number in enumerate(self.numbers)}
        place = np.array([kept.get(name, -1) for name in part.names], np.int64)
        fill, _, factor = self._figures[:, place]  # those of the last one for columns that are not kept
        length, slot, value = (part if rows is None else part.take(rows)).entries(
            np.where(place < 0, -1, place + self.n_level_inputs).astype(np.int32), fill, factor
        )
        if not np.isfinite(value).all():
            columns = self.numbers[int(slot[~np.isfinite(value)][0]) - self.n_level_inputs].name
            raise SchemaError(
                f"column {columns!r} of {label} holds infinite values, or some that are too large. Make them missing (NaN)."
            )
        if rows is not None:
            length = np.bincount(rows, length, len(part)).astype(np.int32)
        dense = np.zeros((len(part), padded(self.n_dense)), np.float32)
        return Encoded(dense, np.empty((len(part), 0), np.int32), Entries(begins(length), length, slot, value))

    def filled(self, part: Any) -> Any:
        """A partition with the columns that it lacks: of missing values, or of sparse tables 0.

        The rule: algorithm.md#columns-of-other-tables.
        """
        present = set(names_of(part))
        absent = [name for name in self.columns if name not in present]
        if not absent:
            return part
        zeros = {number.name for number in self.numbers} if self.is_sparse else set()
        return part.assign(**{name: 0.0 if name in zeros else np.nan for name in absent})

    def match(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks, after a check that it has any (algorithm.md#columns-of-other-tables)."""
        present = set(names)
        missing = [name for name in self.columns if name not in present]
        if len(missing) == len(self.columns):
            raise SchemaError(
                f"{label} has none of the columns of training, {missing[:12]}; it has {list(names)[:12]}."
            )
        return missing

    def to_json(self) -> dict[str, Any]:
        """Encoder as lists and dicts."""
        return {
            "categories": [asdict(c) for c in self.categories],
            "numbers": {item.name: [getattr(n, item.name) for n in self.numbers] for item in fields(Number)},
            "codes": [asdict(c) for c in self.codes],
            "hashing": asdict(self.hashing) if self.hashing else None,
            "is_sparse": self.is_sparse,
        }

    def describe(self) -> pd.DataFrame:
        """A row for each column, in the order of the network's inputs.

        Returns
        -------
        pandas.DataFrame
            Indexed by the column's name: `kind` (category, number, or the encoding that made numbers of levels), `levels`
            (how many; 0 for numbers), `first_input` and `inputs` (their place among the network's inputs and how many),
            `mean` and `deviation` over the training table, weighted where rows were (missing where levels have inputs of their
            own, or where the model is of a version that did not keep them). Levels that are hashed share all inputs.
        """
        rows: list[tuple[Any, ...]] = []
        at = 0
        for c in self.categories:
            first, width = (0, self.hashing.n_inputs) if self.hashing else (at, c.width)
            rows.append(
                (c.name, "hashed category" if self.hashing else "category", c.n_levels, first, width, None, None)
            )
            at += c.width
        at = self.n_level_inputs
        for n in self.numbers:
            rows.append((n.name, "number", 0, at, 1, n.fill, n.deviation))
            at += 1
        for code in self.codes:
            alone = code.width == 1
            mean, deviation = (code.means[0], code.deviations[0]) if alone else (None, None)
            rows.append((code.name, code.scheme, len(code.levels), at, code.width, mean, deviation))
            at += code.width
        names = ("column", "kind", "levels", "first_input", "inputs", "mean", "deviation")
        table = pd.DataFrame(rows, columns=list(names)).set_index("column")
        return table.astype({"mean": float, "deviation": float})

    def __repr__(self) -> str:
        table = self.describe()
        shown = table.head(MAX_SHOWN).to_string(na_rep="", float_format="{:.6g}".format).splitlines()
        more = [f"...{and_more(table, MAX_SHOWN)}"] if len(table) > MAX_SHOWN else []
        title = f"Encoder of {len(table)} columns to {self.n_onehot + self.n_dense} inputs:"
        return "\n".join([title, *(f"  {line}".rstrip() for line in (*shown, *more))])


def _by_row(found: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]], n: int) -> Entries:
    """Entries of n rows from (row, slot, value) in any order."""
    row, slot, value = (
        np.concatenate([np.zeros(0, kind), *parts])
        for kind, parts in zip((np.int64, np.int64, np.float32), zip(*found, strict=True), strict=True)
    )
    order = np.lexsort((slot, row))
    length = np.bincount(row, minlength=n).astype(np.int32)
    return Entries(begins(length), length, slot[order].astype(np.int32), value[order])


def _beyond(column: NDArray[Any], where: str) -> str:
    """Fault of numbers that are too large for float32, or infinite."""
    with np.errstate(over="ignore"):
        values = column.astype(np.float64)
    count = np.count_nonzero(np.isinf(values))
    beyond = f"values up to {np.nanmax(np.abs(values)):g}, too large for the network"
    return f"{where} holds {f'{count:,} infinite values' if count else beyond}. Make them missing (NaN)."


#: Numbers that are scaled at a time, 256 KiB of them: they stay in a core's second cache from the first step to the last.
NUMBERS_AT_ONCE = 2**15
#: Columns that a repr shows.
MAX_SHOWN = 20


def _fit_code(found: Scan, column: CategoricalStats, name: str, encoding: Encoding) -> CodedColumn:
    """A categorical column as numbers: figures by weight, as those of numeric columns."""
    levels = column.ordered
    weights = column.weights or column.counts
    counts = [(float(column.counts[level]), float(weights[level])) for level in levels]
    n_missing = float(column.n_missing)
    missing = found.row_stats.weight - sum(weight for _, weight in counts) if column.weights else n_missing
    counts.append((n_missing, missing if n_missing else 0.0))
    return CodedColumn.fit(
        name, levels, encoding.scheme, counts, standardize=encoding.standardize, by_range=encoding.by_range
    )


def _sort_by_levels(categories: list[OneHotColumn]) -> None:
    """Sort columns by decreasing number of levels, by an exchange sort that is not stable (algorithm.md#order-of-inputs)."""
    n = [category.n_levels for category in categories]
    for i in range(len(n)):
        for j in range(i + 1, len(n)):
            if n[i] < n[j]:
                n[i], n[j] = n[j], n[i]
                categories[i], categories[j] = categories[j], categories[i]
