"""Figures of classifications into several classes: errors of each class, ranks of the true one, curves of each."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from dask_dl.metrics.scores import MAX_SCORES, ScoreDistribution
from dask_dl.metrics.table import AVERAGES, MAX_RANK
from dask_dl.metrics.thresholds import Curve

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class ClassErrors(NamedTuple):
    """Weights of rows by their class."""

    weight: NDArray[np.float64]  #: (K,) of all rows
    wrong: NDArray[np.float64]  #: (K,) of those for which another class is predicted

    @classmethod
    def of(
        cls, classes: NDArray[np.integer], predicted: NDArray[np.integer], weights: NDArray[np.floating] | None, k: int
    ) -> Self:
        """Errors of some rows.

        Parameters
        ----------
        classes, predicted : (n,) int
            True and predicted class of each row.
        weights : (n,) float or None
            Weights of the rows; None: all 1.
        k : int
            Number of classes.

        Returns
        -------
        ClassErrors
        """
        wrong = classes != predicted
        errors = np.bincount(classes[wrong], None if weights is None else weights[wrong], minlength=k)
        return cls(np.bincount(classes, weights, minlength=k).astype(np.float64), errors.astype(np.float64))

    def merge(self, other: Self) -> Self:
        """Both sets of rows together."""
        return self._replace(weight=self.weight + other.weight, wrong=self.wrong + other.wrong)

    @property
    def mean(self) -> float:
        """Mean of the errors of all classes that have rows, whatever their number of rows."""
        there = self.weight > 0
        return float(np.mean(self.wrong[there] / self.weight[there])) if there.any() else math.nan


class Ranks(NamedTuple):
    """Weights of rows by the rank of their class among the predicted probabilities, the largest first."""

    weights: NDArray[np.float64]  #: (r,) of rank 1, 2, ...: up to MAX_RANK, or the number of classes
    total: float  #: of all rows

    @classmethod
    def of(
        cls, classes: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
    ) -> Self:
        """Ranks of the classes (n,) by the probabilities (n, K); of equal ones the first is the larger, as in `argmax`."""
        n, k = probabilities.shape
        own = probabilities[np.arange(n), classes][:, np.newaxis]
        before = np.arange(k) < np.asarray(classes)[:, np.newaxis]
        rank = np.count_nonzero((probabilities > own) | ((probabilities == own) & before), axis=1)
        counts = np.bincount(np.minimum(rank, MAX_RANK), weights, minlength=MAX_RANK + 1).astype(np.float64)
        return cls(counts[: min(k, MAX_RANK)], float(counts.sum()))

    def merge(self, other: Self) -> Self:
        """Both sets of rows together."""
        return self._replace(weights=self.weights + other.weights, total=self.total + other.total)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(r,) share of the rows whose class is among the k most probable, k = 1, 2, ...: hit ratios."""
        found: NDArray[np.float64] = np.cumsum(self.weights) / self.total
        return found


class ClassScores(NamedTuple):
    """Scores of every class: each has a distribution, by the true class."""

    distributions: tuple[ScoreDistribution, ...]  #: of the probabilities of class 0, 1, ...
    average: str  #: one of AVERAGES, which stands for all in a history

    @classmethod
    def of(
        cls,
        classes: NDArray[np.integer],
        probabilities: NDArray[np.floating],
        weights: NDArray[np.floating] | None,
        average: str,
    ) -> Self:
        """Scores of some rows.

        Parameters
        ----------
        classes : (n,) int
            True class of each row.
        probabilities : (n, K) float
        weights : (n,) float or None
            Weights of the rows; None: all 1.
        average : str
            One of AVERAGES.

        Returns
        -------
        ClassScores
        """
        limit = max(2 * MAX_SCORES // probabilities.shape[1], 2**13)
        columns = np.ascontiguousarray(probabilities.T)
        return cls(tuple(ScoreDistribution.of(column, classes, weights, limit) for column in columns), average)

    def merge(self, other: Self) -> Self:
        """Both sets of rows together."""
        pairs = zip(self.distributions, other.distributions, strict=True)
        return self._replace(distributions=tuple(mine.merge(others) for mine, others in pairs))

    def areas(self) -> pd.DataFrame:
        """Areas under the curves of every class and every pair of classes, a row each.

        Returns
        -------
        pandas.DataFrame
            Columns `first` and `second` (indices of the classes; -1: all others), `auc`, `aucpr` and `weight` of the positive
            rows. A pair's area is the mean of both directions (Hand and Till, 2001).
        """
        import pandas as pd

        k = len(self.distributions)
        rest = [Curve.of(scores, i) for i, scores in enumerate(self.distributions)]
        rows = [(i, -1, curve.auc, curve.aucpr, curve.n_positive) for i, curve in enumerate(rest)]
        for i, j in combinations(range(k), 2):
            both = Curve.of(self.distributions[i], i, j), Curve.of(self.distributions[j], j, i)
            auc, aucpr = (sum(values) / 2 for values in zip(*((c.auc, c.aucpr) for c in both), strict=True))
            rows.append((i, j, auc, aucpr, rest[i].n_positive + rest[j].n_positive))
        return pd.DataFrame(rows, columns=["first", "second", "auc", "aucpr", "weight"])

    def averages(self) -> pd.DataFrame:
        """Averages of the areas: rows AVERAGES, columns `auc` and `aucpr`.

        What is undefined, as a class without rows has no curve, is left out.
        """
        import pandas as pd

        areas = self.areas()
        rest = areas["second"] < 0
        found = {}
        for name, of in (("ovr", areas[rest]), ("ovo", areas[~rest])):
            for how in ("macro", "weighted"):
                weight = np.ones(len(of)) if how == "macro" else of["weight"].to_numpy()
                found[f"{how}_{name}"] = [_mean(of[column].to_numpy(), weight) for column in ("auc", "aucpr")]
        return pd.DataFrame.from_dict(found, orient="index", columns=["auc", "aucpr"]).loc[list(AVERAGES)]

    def value(self, column: str, average: str = "") -> float:
        """One of the averages; by default the one that stands for all."""
        return float(self.averages()[column][average or self.average])


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    known = ~np.isnan(values)
    total = weights[known].sum()
    return float((values[known] * weights[known]).sum() / total) if total > 0 else math.nan
