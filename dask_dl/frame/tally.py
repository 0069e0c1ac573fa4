"""What is counted of the rows that train, and which rows those are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.frame.figures import ManyMoments, Moments, added

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Inquiry(NamedTuple):
    """What a scan shall find out."""

    task: str  #: "classification" or "regression"
    skips: bool = False  #: whether rows with a missing input shall not train
    levels: str = ""  #: what to sum over the rows of every level that train: "response", "weight" or nothing
    sparse: bool = False  #: whether numbers are kept by their non-zeros
    inputs: frozenset[str] | None = None  #: columns without which a row is skipped; None: those that prove to be of use


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
    #: as `Inquiry.levels` asks: weight by class, or n, weight, and sum of weight times target
    levels: LevelSums = field(default_factory=dict)

    def merge(self, other: Tally) -> Tally:
        """Both sets of rows together."""
        leasts = [v for v in (self.least_target, other.least_target) if v is not None]
        return Tally(
            self.n + other.n,
            self.weight + other.weight,
            self.has_one_weight and other.has_one_weight,
            self.target.merge(other.target),
            added(self.classes, other.classes),
            self.is_binary and other.is_binary,
            min(leasts, default=None),
            _merged(self.numbers, other.numbers),
            joined(self.levels, other.levels, functools.partial(joined, join=added)),
        )


def _merged(left: Mapping[str, Moments], right: Mapping[str, Moments]) -> Mapping[str, Moments]:
    if isinstance(left, ManyMoments) and isinstance(right, ManyMoments):
        return left.merge(right)
    return joined(left, right, Moments.merge)


def joined(left: Mapping[Any, Any], right: Mapping[Any, Any], join: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    """All keys of both, in order of appearance; values of both are joined."""
    total = dict(left)
    for key, value in right.items():
        total[key] = join(total[key], value) if key in total else value
    return total


class Response(NamedTuple):
    """What the rows of a partition shall teach, and how much they count."""

    labels: pd.Series[Any] | None
    targets: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None

    def tally(
        self, rows: NDArray[np.int64], levels: Mapping[str, tuple[NDArray[np.intp], list[str]]], *, by_label: bool
    ) -> Tally:
        """Of some rows that train."""
        weights = None if self.weights is None else self.weights[rows]
        classes: dict[Any, int] = {}
        target, is_binary, least = Moments(), self.targets is not None, None
        if self.labels is not None:
            classes = count_labels(self.labels.iloc[rows])
        elif self.targets is not None:
            values = self.targets[rows]
            (target,) = Moments.of(values[None], weights)
            is_binary = bool(np.isin(values, (0, 1)).all())
            least = float(values.min()) if len(values) else None
        total = float(len(rows) if weights is None else weights.sum())
        by = np.ones(len(rows)) if weights is None else weights
        summed = {
            name: self._by_label(codes[rows], texts, by, rows)
            if by_label and self.labels is not None
            else self._by_level(codes[rows], texts, by, rows)
            for name, (codes, texts) in levels.items()
        }
        return Tally(len(rows), total, bool((by == 1).all()), target, classes, is_binary, least, {}, summed)

    def _by_level(
        self, codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> dict[str, dict[Any, float]]:
        """Rows, their weights, and their targets times weight, of every level that occurs."""
        targets = np.zeros(len(codes)) if self.targets is None else self.targets[rows]
        occur, place = np.unique(codes, return_inverse=True)
        sums = {
            "n": np.bincount(place, minlength=len(occur)),
            "weight": np.bincount(place, weights, len(occur)),
            "sum": np.bincount(place, weights * targets, len(occur)),
        }
        return {
            texts[code]: {key: float(values[k]) for key, values in sums.items()}
            for k, code in enumerate(occur.tolist())
            if code >= 0
        }

    def _by_label(
        self, codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> dict[str, dict[Any, float]]:
        """Weight of every class in every level."""
        assert self.labels is not None
        label_codes, labels = pd.factorize(self.labels.iloc[rows])
        pairs, place = np.unique(codes * len(labels) + label_codes, return_inverse=True)
        found: dict[str, dict[Any, float]] = {}
        for pair, weight in zip(pairs.tolist(), np.bincount(place, weights).tolist(), strict=True):
            if pair >= 0:  # else the level is missing
                text, label = divmod(pair, len(labels))
                found.setdefault(texts[text], {})[label_of(labels[label])] = weight
        return found


def count_labels(labels: pd.Series[Any]) -> dict[Any, int]:
    """Rows of every label that occurs."""
    return {label_of(value): int(n) for value, n in labels.value_counts(sort=False).items() if n}


def label_of(value: Any) -> Any:
    """A class as a Python value, so that labels of all partitions compare."""
    return value.item() if isinstance(value, np.generic) else value
