"""Curves over the thresholds of a score, and the tables that follow from them (algorithm.md#curves)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.metrics.scores import ScoreDistribution

#: Shares of rows at which the groups of the gains table end, unless a number of groups is asked for.
GROUPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Criteria of a table of thresholds, of which the largest value is told.
CRITERIA = (
    "f1", "f2", "f0point5", "accuracy", "precision", "recall", "specificity", "absolute_mcc", "min_per_class_accuracy",
    "mean_per_class_accuracy", "tns", "fns", "fps", "tps", "tnr", "fnr", "fpr", "tpr",
)  # fmt: skip


class Curve(NamedTuple):
    """Weights of positive and negative rows whose score is a threshold or more, for all thresholds."""

    threshold: NDArray[np.float64]  #: (n,) scores, decreasing
    tps: NDArray[np.float64]  #: (n,) weights of true positives
    fps: NDArray[np.float64]  #: (n,) weights of false positives

    @classmethod
    def of(cls, scores: ScoreDistribution, positive: int = 1, negative: int | None = None) -> Self:
        """Curve of one class against another, or against all others."""
        classes = scores.classes
        keep = np.ones(len(classes), bool) if negative is None else (classes == positive) | (classes == negative)
        values, classes, weights = scores.scores[keep][::-1], classes[keep][::-1], scores.weights[keep][::-1]
        if not len(values):
            return cls(values, weights, weights)
        is_positive = classes == positive
        last = np.flatnonzero(np.diff(values, append=-1.0))
        return cls(
            values[last],
            np.cumsum(np.where(is_positive, weights, 0))[last],
            np.cumsum(np.where(is_positive, 0, weights))[last],
        )

    @property
    def n_positive(self) -> float:
        """Weight of the positive rows."""
        return float(self.tps[-1]) if len(self.tps) else 0.0

    @property
    def n_negative(self) -> float:
        """Weight of the negative rows."""
        return float(self.fps[-1]) if len(self.fps) else 0.0

    @property
    def auc(self) -> float:
        """Area under the ROC curve, scikit-learn's `roc_auc_score`; NaN where one of the classes has no rows."""
        if not (self.n_positive > 0 and self.n_negative > 0):
            return math.nan
        tps = np.concatenate([[0.0], self.tps])
        area = np.sum(np.diff(self.fps, prepend=0.0) * (tps[1:] + tps[:-1])) / 2
        return float(area / (self.n_positive * self.n_negative))

    @property
    def auc_error(self) -> float:
        """Bound of the error of `auc` where scores were made coarse: rows of one threshold may have any order."""
        if not (self.n_positive > 0 and self.n_negative > 0):
            return math.nan
        ties = np.sum(np.diff(self.tps, prepend=0.0) * np.diff(self.fps, prepend=0.0)) / 2
        return float(ties / (self.n_positive * self.n_negative))

    @property
    def aucpr(self) -> float:
        """Area under the curve of precision over recall, NaN where one of the classes has no rows.

        Between two thresholds true and false positives grow in proportion (Davis and Goadrich, 2006), of which the area is
        known; scikit-learn's `average_precision_score` is the sum of rectangles instead.
        """
        if not (self.n_positive > 0 and self.n_negative > 0):
            return math.nan
        tps, fps = (np.concatenate([[0.0], a]) for a in (self.tps, self.fps))
        grows = np.diff(tps) > 0
        t0, t1, f0, f1 = tps[:-1][grows], tps[1:][grows], fps[:-1][grows], fps[1:][grows]
        ratio = (f1 - f0) / (t1 - t0)
        # Precision at t true positives is t / (a t + b): ratio false positives come with each.
        a, b = 1 + ratio, f0 - ratio * t0
        known = b != 0
        area = (t1 - t0) / a
        a, b, t0, t1 = a[known], b[known], t0[known], t1[known]
        area[known] -= b / a**2 * (np.log(a * t1 + b) - np.log(a * t0 + b))
        return float(area.sum() / self.n_positive)

    def criteria(self) -> dict[str, NDArray[np.float64]]:
        """All of CRITERIA at every threshold, (n,) each; a ratio of nothing to nothing is 0."""
        p, n, tps, fps = self.n_positive, self.n_negative, self.tps, self.fps
        fns, tns = p - tps, n - fps
        tpr, fpr, tnr, fnr = (_ratio(a, b) for a, b in ((tps, p), (fps, n), (tns, n), (fns, p)))
        spread = np.sqrt(tps + fps) * np.sqrt(tps + fns) * np.sqrt(tns + fps) * np.sqrt(tns + fns)
        f = {b: _ratio((1 + b * b) * tps, (1 + b * b) * tps + b * b * fns + fps) for b in (1, 2, 0.5)}
        return dict(
            zip(
                CRITERIA,
                (f[1], f[2], f[0.5], _ratio(tps + tns, p + n), _ratio(tps, tps + fps), tpr, tnr,
                 np.abs(_ratio(tps * tns - fps * fns, spread)), np.minimum(tpr, tnr), (tpr + tnr) / 2,
                 tns, fns, fps, tps, tnr, fnr, fpr, tpr),
                strict=True,
            )
        )  # fmt: skip

    def best_threshold(self, criterion: str = "f1") -> float:
        """Threshold of the largest value of one of CRITERIA, the highest of equals; 0.5 where there are no positive rows."""
        if not self.n_positive > 0:
            return 0.5
        return float(self.threshold[self.criteria()[criterion].argmax()])

    def table(self) -> pd.DataFrame:
        """All of CRITERIA at every threshold, a row each, the highest threshold first."""
        import pandas as pd

        return pd.DataFrame({"threshold": self.threshold, **self.criteria()})

    def largest(self) -> pd.DataFrame:
        """Largest value of each of CRITERIA, a row each: where it is (`threshold`, the highest of equals), how large (`value`)
        and in which row of `table` (`idx`).
        """
        import pandas as pd

        names = pd.Index([f"max {name}" for name in CRITERIA], name="criterion")
        if not len(self.threshold):
            return pd.DataFrame({"threshold": math.nan, "value": math.nan, "idx": -1}, index=names)
        values = list(self.criteria().values())
        at = np.array([v.argmax() for v in values])
        top = [v[i] for v, i in zip(values, at, strict=True)]
        return pd.DataFrame({"threshold": self.threshold[at], "value": top, "idx": at}, index=names)

    def confusion(self, threshold: float) -> NDArray[np.float64]:
        """(2, 2) weights of rows by class and prediction, which is positive from `threshold` on."""
        k = int(np.searchsorted(-self.threshold, -threshold, side="right"))
        tp, fp = (float(self.tps[k - 1]), float(self.fps[k - 1])) if k else (0.0, 0.0)
        return np.array([[self.n_negative - fp, fp], [self.n_positive - tp, tp]])

    def errors(self, threshold: float) -> dict[str, float]:
        """Metrics of the predicted classes at a threshold, which are positive from it on."""
        confusion = self.confusion(threshold)
        rows, wrong = confusion.sum(axis=1), np.array([confusion[0, 1], confusion[1, 0]])
        shares = wrong[rows > 0] / rows[rows > 0]
        return {"misclassification": float(wrong.sum() / rows.sum()), "mean_per_class_error": float(shares.mean())}

    def resolve(self, threshold: float | str) -> float:
        """Return a threshold as a number.

        Parameters
        ----------
        threshold : float or str
            From 0 to 1; or "max_" and one of CRITERIA: the threshold of its largest value.

        Returns
        -------
        float

        Raises
        ------
        ParameterError
            When it is neither.
        """
        if isinstance(threshold, str):
            name = threshold.removeprefix("max_")
            if name not in CRITERIA or name == threshold:
                known = [f"max_{name}" for name in CRITERIA[:10]]
                raise ParameterError(f"threshold={threshold!r}: give a number from 0 to 1, or one of {known}.")
            return self.best_threshold(name)
        return check_threshold(threshold)

    # ---- groups of rows by their score ------------------------------------------------------------------------------

    def quantiles(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Scores that these shares of the rows lie below, with linear interpolation between two of them.

        A row of weight w counts as w rows; for weights of 1 it is NumPy's default quantile.
        """
        ascending, weights = self.threshold[::-1], np.diff(self.tps + self.fps, prepend=0.0)[::-1]
        ends = np.cumsum(weights)
        places = np.asarray(shares) * max(ends[-1] - 1, 0)
        below, above = np.floor(places), np.ceil(places)
        low, high = (
            ascending[np.minimum(np.searchsorted(ends, place, side="right"), len(ends) - 1)] for place in (below, above)
        )
        found: NDArray[np.float64] = low + (places - below) * (high - low)
        return found

    def groups(self, n_groups: int = -1) -> Groups:
        """Rows in groups of about equal size by their score, the highest first; -1: by GROUPS."""
        shares = GROUPS if n_groups < 1 else [(k + 1) / n_groups for k in range(n_groups)]
        edges = self.quantiles([1 - share for share in shares])
        edges[-1] = min(edges[-1], self.threshold[-1])
        edges = edges[np.flatnonzero(np.diff(edges, prepend=math.inf))]
        end = np.searchsorted(-self.threshold, -edges, side="right")  # of the scores that reach an edge
        sums = np.cumsum(np.diff(self.tps + self.fps, prepend=0.0) * self.threshold)
        cumulated = [np.where(end > 0, a[end - 1], 0.0) for a in (self.tps, self.fps, sums)]
        return Groups(edges, *cumulated)

    def gains_lift(self, n_groups: int = -1) -> pd.DataFrame:
        """Table of gains and lift by groups of rows, the highest scores first (algorithm.md#gains-and-lift).

        Parameters
        ----------
        n_groups : int
            Groups of equal size; -1: of 1 % of the rows up to 5 %, of 5 % up to 20 %, and of 10 %.

        Returns
        -------
        pandas.DataFrame
            One row for each group; equal scores are in one group.
        """
        return self.groups(n_groups).table() if len(self.threshold) else Groups(*[np.zeros(0)] * 4).table()


def check_threshold(threshold: Any) -> float:
    """Return a threshold that is a probability; raises ParameterError otherwise."""
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)) or not 0 <= threshold <= 1:
        raise ParameterError(f"threshold={threshold!r}: a probability from 0 to 1 is needed.")
    return float(threshold)


class Groups(NamedTuple):
    """Groups of rows by their score, the highest first: cumulated weights."""

    edge: NDArray[np.float64]  #: (g,) least score of a group
    positive: NDArray[np.float64]  #: (g,) weights of positive rows down to there
    negative: NDArray[np.float64]  #: (g,) of negative ones
    scores: NDArray[np.float64]  #: (g,) weighted sums of scores

    @property
    def lift(self) -> NDArray[np.float64]:
        """(g,) share of positive rows in each group over that in all rows."""
        positive, rows = (np.diff(a, prepend=0.0) for a in (self.positive, self.positive + self.negative))
        return _ratio(positive, rows) * _ratio(self._total, self.positive[-1:])

    @property
    def _total(self) -> NDArray[np.float64]:
        """(1,) weight of all rows."""
        return (self.positive + self.negative)[-1:]

    @property
    def kolmogorov_smirnov(self) -> NDArray[np.float64]:
        """(g,) share of all positive rows down to a group, less that of the negative ones."""
        return _ratio(self.positive, self.positive[-1:]) - _ratio(self.negative, self.negative[-1:])

    def table(self) -> pd.DataFrame:
        """The groups as a frame, a row each."""
        import pandas as pd

        positive, scores, rows = self.positive, self.scores, self.positive + self.negative
        mine, own, summed = (np.diff(a, prepend=0.0) for a in (rows, positive, scores))
        lift = self.lift
        cumulated = _ratio(positive, rows) * _ratio(self._total, positive[-1:])
        columns: dict[str, Any] = {
            "group": np.arange(1, len(rows) + 1),
            "cumulative_data_fraction": _ratio(rows, self._total),
            "lower_threshold": self.edge,
            "lift": lift,
            "cumulative_lift": cumulated,
            "response_rate": _ratio(own, mine),
            "score": _ratio(summed, mine),
            "cumulative_response_rate": _ratio(positive, rows),
            "cumulative_score": _ratio(scores, rows),
            "capture_rate": _ratio(own, positive[-1:]),
            "cumulative_capture_rate": _ratio(positive, positive[-1:]),
            "gain": 100 * (lift - 1),
            "cumulative_gain": 100 * (cumulated - 1),
            "kolmogorov_smirnov": self.kolmogorov_smirnov,
        }
        return pd.DataFrame(columns)


def _ratio(a: Any, b: Any) -> NDArray[np.float64]:
    """Ratio of a to b; 0 where b is."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    found: NDArray[np.float64] = np.divide(a, b, out=np.zeros(a.shape), where=b != 0)
    return found
