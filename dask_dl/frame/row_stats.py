"""Statistics of the rows that train."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.distribution import Intercept
from dask_dl.frame.column_stats import Moments, added

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dask_dl.distribution import Distribution
    from dask_dl.frame.row_roles import RowRoles, TargetKind


class ScanRequest(NamedTuple):
    """Questions that a scan shall answer."""

    target: TargetKind  #: how the column of the target is read
    skips: bool = False  #: whether rows with a missing input shall not train
    levels: str = ""  #: what to sum over the rows of every level that train: "response", "weight" or nothing
    sparse: bool = False  #: whether numbers are kept by their non-zeros
    inputs: frozenset[str] | None = None  #: columns without which a row is skipped; None: all of them
    distribution: Distribution | None = None  #: of a numeric target, of which the best constant is asked for
    collects: bool = False  #: whether faults of the table are collected, where the first would else be raised


#: Sums over rows that train, for columns, their levels, and what is summed: the weight of a class, say.
LevelSums = Mapping[str, Mapping[str, Mapping[Any, float]]]


class Weighed(NamedTuple):
    """A weight, and the partition that holds it."""

    weight: float
    partition: int


@dataclass(frozen=True)
class RowStats:
    """Statistics of the rows that train: their number, weight, target and levels."""

    n: int = 0
    weight: float = 0.0
    has_one_weight: bool = True  #: whether all weights are 1
    lightest: Weighed | None = None  #: nothing without weights
    heaviest: Weighed | None = None
    target: Moments = field(default_factory=Moments)  #: nothing for classes
    classes: Mapping[Any, int] = field(default_factory=dict)  #: label -> rows; nothing for numbers
    is_binary: bool = True  #: whether a numeric target holds nothing but 0 and 1
    min_target: float | None = None  #: nothing for classes
    #: as `ScanRequest.levels` asks: weight by class, or weight, and sum of weight times target
    levels: LevelSums = field(default_factory=dict)
    intercept: Intercept | None = None  #: as `ScanRequest.distribution` asks
    folds: Mapping[Any, int] = field(default_factory=dict)  #: value of the column of folds -> rows

    @classmethod
    def of(
        cls,
        roles: RowRoles,
        k: int,
        levels: Mapping[str, tuple[NDArray[np.intp], list[str]]],
        distribution: Distribution | None = None,
    ) -> RowStats:
        """Statistics of the rows of a partition.

        Parameters
        ----------
        roles : RowRoles
            Targets, weights and offsets of the rows, n of them.
        k : int
            Number of the partition.
        levels : mapping of str to tuple of ((n,) intp, list of str)
            Code of the level of every row, -1 where missing, and the levels, by column whose response is asked for.
        distribution : Distribution, optional
            Distribution of a numeric target, of which the best constant is asked for.

        Returns
        -------
        RowStats
        """
        n, weights = roles.n, roles.weights
        classes: dict[Any, int] = {}
        target, is_binary, minimum = Moments(), roles.targets is not None, None
        if roles.labels is not None:
            classes = count_labels(roles.labels)
        elif roles.targets is not None:
            target = Moments.of(roles.targets[None], weights).column(0)
            is_binary = bool(np.isin(roles.targets, (0, 1)).all())
            minimum = float(roles.targets.min()) if n else None
        by = np.ones(n) if weights is None else weights
        lightest, heaviest = None, None
        if weights is not None and n:
            lightest, heaviest = Weighed(float(weights.min()), k), Weighed(float(weights.max()), k)
        summed = {name: _response(codes, texts, by, roles) for name, (codes, texts) in levels.items()}
        has_one_weight = bool((by == 1).all())
        intercept = None
        if distribution is not None and roles.targets is not None:
            intercept = Intercept.of(distribution, roles.targets, roles.offsets, weights)
        return cls(
            n,
            float(by.sum()),
            has_one_weight,
            lightest,
            heaviest,
            target,
            classes,
            is_binary,
            minimum,
            summed,
            intercept,
            {} if roles.folds is None else count_labels(roles.folds),
        )

    def merge(self, other: RowStats) -> RowStats:
        """Both sets of rows together."""
        return RowStats(
            self.n + other.n,
            self.weight + other.weight,
            self.has_one_weight and other.has_one_weight,
            min(present(self.lightest, other.lightest), default=None),
            max(present(self.heaviest, other.heaviest), default=None),
            self.target.merge(other.target),
            added(self.classes, other.classes),
            self.is_binary and other.is_binary,
            min(present(self.min_target, other.min_target), default=None),
            joined(self.levels, other.levels, functools.partial(joined, join=added)),
            self.intercept and other.intercept and self.intercept.merge(other.intercept),
            added(self.folds, other.folds),
        )


def present(*values: Any) -> list[Any]:
    """Those that are not None."""
    return [value for value in values if value is not None]


def joined(left: Mapping[Any, Any], right: Mapping[Any, Any], join: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    """All keys of both, in order of appearance; values of both are joined."""
    total = dict(left)
    for key, value in right.items():
        total[key] = join(total[key], value) if key in total else value
    return total


def _response(
    codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], roles: RowRoles
) -> dict[str, dict[Any, float]]:
    """Response of every level: the weight of each class in it, or its weight and its targets times weight."""
    if roles.labels is not None:
        return _by_label(codes, texts, weights, roles.labels)
    targets = np.zeros(len(codes)) if roles.targets is None else roles.targets
    occur, place = np.unique(codes, return_inverse=True)
    sums = {
        "weight": np.bincount(place, weights, len(occur)),
        "sum": np.bincount(place, weights * targets, len(occur)),
    }
    return {
        texts[code]: {key: float(values[k]) for key, values in sums.items()}
        for k, code in enumerate(occur.tolist())
        if code >= 0
    }


def _by_label(
    codes: NDArray[np.intp], texts: list[str], weights: NDArray[np.float64], labels: pd.Series[Any]
) -> dict[str, dict[Any, float]]:
    """Weight of every class in every level."""
    label_codes, distinct = pd.factorize(labels)
    pairs, place = np.unique(codes * len(distinct) + label_codes, return_inverse=True)
    found: dict[str, dict[Any, float]] = {}
    for pair, weight in zip(pairs.tolist(), np.bincount(place, weights).tolist(), strict=True):
        if pair >= 0:  # else the level is missing
            text, label = divmod(pair, len(distinct))
            found.setdefault(texts[text], {})[label_of(distinct[label])] = weight
    return found


def count_labels(labels: pd.Series[Any]) -> dict[Any, int]:
    """Rows of every label that occurs."""
    return {label_of(value): int(n) for value, n in labels.value_counts(sort=False).items() if n}


def label_of(value: Any) -> Any:
    """A class as a Python value, so that labels of all partitions compare."""
    return value.item() if isinstance(value, np.generic) else value
