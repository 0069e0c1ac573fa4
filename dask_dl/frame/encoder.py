"""The rule that turns rows of a user's table into network inputs; fitted once on the training table, kept in the model.

Inputs are ordered as in H2O (specification, sections 2.1 and 2.2): categorical columns by decreasing number of levels,
each level a 0/1 input and one more for missing and unseen levels; then the numbers, standardised (section 2.5), a missing
one replaced by the mean of training; then the numbers that encodings make of levels. The same rule serves training and
scoring.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import DaskDLWarning, SchemaError
from dask_dl.frame.columns import CATEGORY, kinds_of, number_chunks
from dask_dl.frame.hashing import Hashing
from dask_dl.frame.levels import AS_NUMBERS, Category, Code, by_response, most_frequent
from dask_dl.frame.scan import Inquiry, Levels, Numbers, Scan
from dask_dl.frame.target import sorted_labels
from dask_dl.state import padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Number:
    """A numeric column: input = (x - shift) * factor."""

    name: str
    fill: float  #: what a missing value becomes, in the units of the column: the (weighted) mean of training
    shift: float
    factor: float
    deviation: float | None = None  #: of training; early files do not know it


class Encoding(NamedTuple):
    """What the parameters say of inputs (specification, sections 2.2 to 2.9)."""

    scheme: str = "one_hot_internal"  #: categorical_encoding, resolved
    use_all_factor_levels: bool = True
    standardize: bool = True
    max_categorical_features: int = 2**31 - 1
    seed: int = 0  #: of the hashing of levels

    def inquiry(self, task: str, *, skips: bool, is_weighted: bool) -> Inquiry:
        """What has to be known of a table."""
        by_weight = "weight" if is_weighted and self.scheme in AS_NUMBERS else ""
        return Inquiry(task, skips, "response" if self.scheme == "sort_by_response" else by_weight)


class Encoded(NamedTuple):
    """Inputs of some rows."""

    dense: NDArray[np.float32]  #: (n, padded numbers)
    active: NDArray[np.int32]  #: (n, categories): one-hot input of every categorical column, or -1
    lacks: NDArray[np.bool_]  #: (n,): whether any column is missing


@dataclass(frozen=True)
class Encoder:
    """Names, kinds, levels and figures of every predictor, in the order of the network's inputs."""

    categories: tuple[Category, ...]  #: with an input for each level
    numbers: tuple[Number, ...]
    codes: tuple[Code, ...] = ()  #: categorical columns as numbers
    hashing: Hashing | None = None  #: where levels share inputs

    @classmethod
    def fit(cls, found: Scan, predictors: Sequence[str], encoding: Encoding) -> Encoder:
        """The rule for `predictors` of a scanned table."""
        categories, codes, numbers = [], [], []
        for name in predictors:
            column = found.columns[name]
            if isinstance(column, Levels) and encoding.scheme in AS_NUMBERS:
                codes.append(_fit_code(found, name, encoding))
            elif isinstance(column, Levels):
                levels, has_others = list(column.ordered), False
                if encoding.scheme == "enum_limited":
                    levels, has_others = most_frequent(levels, column.counts)
                elif encoding.scheme == "sort_by_response":
                    levels = by_response(levels, found.tally.levels.get(name, {}), sorted_labels(found.classes))
                categories.append(Category(name, tuple(levels), encoding.use_all_factor_levels, has_others))
            elif isinstance(column, Numbers):
                moments = found.moments(name)
                mean, deviation = moments.mean, moments.deviation
                scale = (mean, 1 / (deviation or 1.0)) if encoding.standardize else (0.0, 1.0)
                numbers.append(Number(name, mean, *scale, deviation))
        _sort_by_levels(categories)
        most = encoding.max_categorical_features
        hashes = most < sum(category.width for category in categories)
        hashing = Hashing(most, encoding.seed & 0xFFFFFFFF) if hashes else None
        return cls(tuple(categories), tuple(numbers), tuple(codes), hashing)

    @property
    def columns(self) -> tuple[str, ...]:
        """Predictors, categorical ones first."""
        return (*(c.name for c in self.categories), *(n.name for n in self.numbers), *(c.name for c in self.codes))

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """First input of every categorical column, then of the numbers: H2O's catoffsets."""
        return np.cumsum([0, *(c.width for c in self.categories)], dtype=np.int32)

    @property
    def n_onehot(self) -> int:
        """Inputs of levels."""
        return self.hashing.n_inputs if self.hashing else int(self.starts[-1])

    @property
    def n_dense(self) -> int:
        """Numeric inputs."""
        return len(self.numbers) + sum(code.width for code in self.codes)

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

    @property
    def bytes_per_row(self) -> int:
        """Memory of an encoded row."""
        return 4 * (padded(self.n_dense) + len(self.categories))

    def encode(self, part: pd.DataFrame, label: str) -> Encoded:
        """Inputs of every row of `part`.

        Raises
        ------
        SchemaError
            When a column has another kind than in training, or holds infinite values. All faults are listed.
        """
        active = np.empty((len(part), len(self.categories)), np.int32)
        dense = np.zeros((len(part), padded(self.n_dense)), np.float32)
        lacks = np.zeros(len(part), bool)
        faults = []
        for k, category in enumerate(self.categories):
            where = f"column {category.name!r} of {label}"
            try:
                slots, missing = category.slots(part[category.name], where)
            except SchemaError as error:
                faults.append(str(error))
            else:
                active[:, k] = np.where(slots >= 0, slots + self.starts[k], -1)
                lacks |= missing
        at = len(self.numbers)
        for code in self.codes:
            try:
                inputs, missing = code.numbers(part[code.name], f"column {code.name!r} of {label}")
            except SchemaError as error:
                faults.append(str(error))
            else:
                dense[:, at : at + code.width] = inputs
                lacks |= missing
            at += code.width
        names = [number.name for number in self.numbers]
        faults += [
            f"column {name!r} of {label} was a number in training and is now {part[name].dtype}. Convert it."
            for name, kind in kinds_of(part, names, label).items()
            if kind == CATEGORY and part[name].notna().any()
        ]
        if faults:
            raise SchemaError("; ".join(faults))
        fill, shift, factor = (
            np.array([getattr(n, key) for n in self.numbers])[:, None] for key in ("fill", "shift", "factor")
        )
        for place, values in number_chunks(part, names):
            missing = np.isnan(values)
            lacks |= missing.any(axis=0)
            np.copyto(values, fill[place], where=missing)
            with np.errstate(over="ignore"):
                scaled = (values - shift[place]) * factor[place]
                dense[:, place] = scaled.T
            largest = np.maximum(scaled.max(axis=1, initial=0), -scaled.min(axis=1, initial=0))
            for row in np.flatnonzero(largest > np.finfo(np.float32).max):
                count = np.count_nonzero(np.isinf(values[row]))
                beyond = f"values up to {np.abs(values[row]).max():g}, too large for the network"
                found = f"{count:,} infinite values" if count else beyond
                faults.append(f"column {names[place][row]!r} of {label} holds {found}. Make them missing (NaN).")
        if faults:
            raise SchemaError("; ".join(faults))
        return Encoded(dense, active, lacks)

    def match(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks, after a check that it has any at all (section 2.3)."""
        present = set(names)
        missing = [name for name in self.columns if name not in present]
        if len(missing) == len(self.columns):
            raise SchemaError(
                f"{label} has none of the columns of training, {missing[:12]}; it has {list(names)[:12]}."
            )
        return missing

    def to_json(self) -> dict[str, Any]:
        """The same as lists and dicts."""
        return {
            "categories": [asdict(c) for c in self.categories],
            "numbers": [asdict(n) for n in self.numbers],
            "codes": [asdict(c) for c in self.codes],
            "hashing": asdict(self.hashing) if self.hashing else None,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Encoder:
        """`to_json` undone; what early files do not know was not used then."""
        categories = [
            Category(str(c["name"]), tuple(c["levels"]), bool(c["keeps_first"]), bool(c.get("has_others", False)))
            for c in document["categories"]
        ]
        codes = [Code.from_json(c) for c in document.get("codes", ())]
        columns: tuple[Category | Code, ...] = (*categories, *codes)
        for column in columns:
            if len(set(column.levels)) < len(column.levels) or not all(isinstance(v, str) for v in column.levels):
                raise ValueError(f"levels of {column.name!r} are not different texts")
        numbers = [
            Number(str(n["name"]), float(n["fill"]), float(n["shift"]), float(n["factor"]), n.get("deviation"))
            for n in document["numbers"]
        ]
        if not all(
            math.isfinite(getattr(n, figure)) for n in numbers for figure in ("fill", "shift", "factor")
        ) or not all(np.isfinite(code.table).all() for code in codes):
            raise ValueError("figures of numeric columns are not finite")
        hashing = Hashing(**document["hashing"]) if document.get("hashing") else None
        return cls(tuple(categories), tuple(numbers), tuple(codes), hashing)

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
        at = self.n_onehot
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
        shown = table.head(MOST_SHOWN).to_string(na_rep="", float_format="{:.6g}".format).splitlines()
        more = [f"... and {len(table) - MOST_SHOWN} more"] if len(table) > MOST_SHOWN else []
        title = f"Encoder of {len(table)} columns to {self.n_onehot + self.n_dense} inputs:"
        return "\n".join([title, *(f"  {line}".rstrip() for line in (*shown, *more))])


#: Columns that a repr shows.
MOST_SHOWN = 20


def _fit_code(found: Scan, name: str, encoding: Encoding) -> Code:
    """A categorical column as numbers: figures by weight, as those of numeric columns."""
    column = found.columns[name]
    assert isinstance(column, Levels)
    levels = column.ordered
    sums = found.tally.levels.get(name)
    if sums is None:
        counts: list[tuple[float, float]] = [(n, n) for n in (*(column.counts[v] for v in levels), column.n_missing)]
    else:
        nothing = {"n": 0.0, "weight": 0.0}
        known = [sums.get(level, nothing) for level in levels]
        counts = [(level["n"], level["weight"]) for level in known]
        counts.append((found.tally.n - sum(n for n, _ in counts), found.tally.weight - sum(w for _, w in counts)))
    return Code.fit(name, levels, encoding.scheme, counts, standardize=encoding.standardize)


def usable_predictors(found: Scan, *, ignore_const_cols: bool) -> tuple[list[str], list[str]]:
    """(columns to learn from, columns dropped). Columns without any value are useless and always dropped (section 15.2)."""
    kept: list[str] = []
    dropped: list[str] = []
    for name, column in found.columns.items():
        n_present = column.weighted.n if isinstance(column, Numbers) else found.n_rows - column.n_missing
        useless = n_present == 0 or (ignore_const_cols and column.is_constant)
        (dropped if useless else kept).append(name)
    return kept, dropped


def dropped_warning(dropped: Sequence[str]) -> DaskDLWarning:
    """What to tell about dropped columns."""
    shown = ", ".join(repr(name) for name in dropped[:8]) + (
        f" and {len(dropped) - 8} more" if len(dropped) > 8 else ""
    )
    return DaskDLWarning(f"dropped {len(dropped)} columns that are constant or empty: {shown}.")


def _sort_by_levels(categories: list[Category]) -> None:
    """By decreasing number of levels, with H2O's exchange sort: it is not stable, and the order of inputs follows it."""
    for i in range(len(categories)):
        for j in range(i + 1, len(categories)):
            if categories[i].n_levels < categories[j].n_levels:
                categories[i], categories[j] = categories[j], categories[i]
