"""The rule that turns rows of a user's table into network inputs; fitted once on the training table, kept in the model.

Inputs are ordered as in H2O (specification, sections 2.1 and 2.2): categorical columns by decreasing number of levels,
each level a 0/1 input and one more for missing and unseen levels; then the numbers, standardised (section 2.5), a missing
one replaced by the mean of training. The same rule serves training and scoring.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import DaskDLWarning, SchemaError
from dask_dl.frame.columns import CATEGORY, as_levels, kinds_of, number_chunks
from dask_dl.frame.scan import Levels, Numbers, Scan
from dask_dl.state import padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Category:
    """A categorical column: its block of one-hot inputs."""

    name: str
    levels: tuple[str, ...]
    keeps_first: bool  #: whether the first level has an input of its own (use_all_factor_levels)

    @cached_property
    def _index(self) -> pd.Index[Any]:
        return pd.Index(self.levels, dtype=object)

    @property
    def width(self) -> int:
        """Inputs: kept levels and the missing one."""
        return len(self.levels) + self.keeps_first

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, as in H2O."""
        kept = self.levels if self.keeps_first else self.levels[1:]
        return [*(f"{self.name}.{level}" for level in kept), f"{self.name}.missing(NA)"]

    def slots(self, column: pd.Series[Any], where: str) -> NDArray[np.int32]:
        """Input of every row, counted from the block's start; -1 = none (the first level, when it is not kept)."""
        codes, texts, _ = as_levels(column, where)
        known = self._index.get_indexer(pd.Index(texts, dtype=object))
        missing = self.width - 1
        slot = np.where(known < 0, missing, known if self.keeps_first else known - 1)
        return np.append(slot, missing).astype(np.int32)[codes]


@dataclass(frozen=True)
class Number:
    """A numeric column: input = (x - shift) * factor."""

    name: str
    fill: float  #: what a missing value becomes, in the units of the column: the (weighted) mean of training
    shift: float
    factor: float


@dataclass(frozen=True)
class Encoder:
    """Names, kinds, levels and figures of every predictor, in the order of the network's inputs."""

    categories: tuple[Category, ...]
    numbers: tuple[Number, ...]

    @classmethod
    def fit(cls, found: Scan, predictors: Sequence[str], *, use_all_factor_levels: bool, standardize: bool) -> Encoder:
        """The rule for `predictors` of a scanned table."""
        categories = [
            Category(name, tuple(column.ordered), use_all_factor_levels)
            for name in predictors
            if isinstance(column := found.columns[name], Levels)
        ]
        _sort_by_levels(categories)
        numbers = []
        for name in predictors:
            column = found.columns[name]
            if isinstance(column, Numbers):
                mean, deviation = column.weighted.mean, column.weighted.deviation
                numbers.append(
                    Number(name, mean, mean, 1 / (deviation or 1.0)) if standardize else Number(name, mean, 0.0, 1.0)
                )
        return cls(tuple(categories), tuple(numbers))

    @property
    def columns(self) -> tuple[str, ...]:
        """Predictors, categorical ones first."""
        return (*(c.name for c in self.categories), *(n.name for n in self.numbers))

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """First input of every categorical column, then of the numbers: H2O's catoffsets."""
        return np.cumsum([0, *(c.width for c in self.categories)], dtype=np.int32)

    @property
    def n_onehot(self) -> int:
        """One-hot inputs."""
        return int(self.starts[-1])

    @property
    def input_names(self) -> list[str]:
        """Name of every network input."""
        return [*(name for c in self.categories for name in c.input_names), *(n.name for n in self.numbers)]

    @property
    def bytes_per_row(self) -> int:
        """Memory of an encoded row."""
        return 4 * (padded(len(self.numbers)) + len(self.categories))

    def encode(self, part: pd.DataFrame, label: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Inputs of every row of `part`.

        Returns
        -------
        dense : (n, padded numbers) float32
        active : (n, categories) int32
            One-hot input of every categorical column, or -1.

        Raises
        ------
        SchemaError
            When a column has another kind than in training, or holds infinite values. All faults are listed.
        """
        active = np.empty((len(part), len(self.categories)), np.int32)
        dense = np.zeros((len(part), padded(len(self.numbers))), np.float32)
        faults = []
        for k, category in enumerate(self.categories):
            where = f"column {category.name!r} of {label}"
            try:
                slots = category.slots(part[category.name], where)
            except SchemaError as error:
                faults.append(str(error))
            else:
                active[:, k] = np.where(slots >= 0, slots + self.starts[k], -1)
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
            np.copyto(values, fill[place], where=np.isnan(values))
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
        return dense, active

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
        return {"categories": [asdict(c) for c in self.categories], "numbers": [asdict(n) for n in self.numbers]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Encoder:
        """`to_json` undone."""
        categories = [
            Category(str(c["name"]), tuple(c["levels"]), bool(c["keeps_first"])) for c in document["categories"]
        ]
        for category in categories:
            if len(set(category.levels)) < len(category.levels) or not all(isinstance(v, str) for v in category.levels):
                raise ValueError(f"levels of {category.name!r} are not different texts")
        figures = ("fill", "shift", "factor")
        numbers = [Number(str(n["name"]), *(float(n[figure]) for figure in figures)) for n in document["numbers"]]
        if not all(math.isfinite(getattr(n, figure)) for n in numbers for figure in figures):
            raise ValueError("figures of numeric columns are not finite")
        return cls(tuple(categories), tuple(numbers))

    def __repr__(self) -> str:
        rows = [
            f"  {c.name}: {len(c.levels)} levels, inputs {s}..{s + c.width - 1}"
            for c, s in zip(self.categories, self.starts, strict=False)
        ]
        rows += [f"  {n.name}: number, mean {n.fill:.6g}, factor {n.factor:.6g}" for n in self.numbers]
        shown = rows if len(rows) <= 20 else [*rows[:20], f"  ... and {len(rows) - 20} more"]
        return "\n".join([f"Encoder of {len(rows)} columns to {self.n_onehot + len(self.numbers)} inputs:", *shown])


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
            if len(categories[i].levels) < len(categories[j].levels):
                categories[i], categories[j] = categories[j], categories[i]
