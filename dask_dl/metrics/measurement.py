"""Measurements of predictions against the truth (algorithm.md#metrics).

The rows may be in several places: each place measures its own, and what it found is merged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

from dask_dl.distribution import Distribution, Residuals
from dask_dl.metrics.classes import ClassErrors, ClassScores, Ranks
from dask_dl.metrics.custom import CustomMetric, CustomValue
from dask_dl.metrics.sample import RowSample
from dask_dl.metrics.scores import ScoreDistribution
from dask_dl.metrics.table import MAX_CURVE_CLASSES, METRICS, columns_of
from dask_dl.metrics.thresholds import Curve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dask_dl.state import UnitActivity

GAUSSIAN = Distribution("gaussian")
#: Classes of the largest confusion matrix that is kept.
MAX_CONFUSION_CLASSES = 50


class Accumulator(Protocol):
    """Figures of some rows, of a size that does not grow with them; those of two sets of rows merge."""

    def merge(self, other: Self, /) -> Self:
        """Both sets of rows together."""


class Means(NamedTuple):
    """Weighted means over rows."""

    weight: float  #: sum of the rows' weights
    values: dict[str, float]  #: by name

    def merge(self, other: Means) -> Means:
        """Both sets of rows together."""
        weight = self.weight + other.weight
        share = other.weight / weight
        return Means(weight, {name: mean + share * (other.values[name] - mean) for name, mean in self.values.items()})


class Spread(NamedTuple):
    """Spread of the truth; for classes, of the class index."""

    weight: float  #: sum of the rows' weights
    center: float  #: weighted mean
    m2: float  #: weighted sum of squared deviations from there

    def merge(self, other: Spread) -> Spread:
        """Both sets of rows together, by Chan's formula, as in the scan."""
        weight = self.weight + other.weight
        share = other.weight / weight
        shift = other.center - self.center
        return Spread(weight, self.center + share * shift, self.m2 + other.m2 + shift * shift * self.weight * share)

    @property
    def variance(self) -> float:
        """Population variance."""
        return self.m2 / self.weight


class Confusion(NamedTuple):
    """Confusion matrix."""

    matrix: NDArray[np.float64]  #: (K, K) weights of rows by class and prediction

    def merge(self, other: Confusion) -> Confusion:
        """Both sets of rows together."""
        return Confusion(self.matrix + other.matrix)

    def to_lists(self) -> list[list[float]]:
        """The matrix as JSON has it."""
        found: list[list[float]] = self.matrix.tolist()
        return found


class HuberLoss(NamedTuple):
    """Huber's loss, which depends on all residuals together: it is linear beyond a quantile of them."""

    residuals: Residuals
    alpha: float  #: of the quantile

    def merge(self, other: HuberLoss) -> HuberLoss:
        """Both sets of rows together."""
        return HuberLoss(self.residuals.merge(other.residuals), self.alpha)

    @property
    def delta(self) -> float:
        """The quantile."""
        return self.residuals.quantile(self.alpha)

    @property
    def deviance(self) -> float:
        """Mean deviance."""
        return self.residuals.deviance(self.alpha)


class Measurement(NamedTuple):
    """Measurement of some rows: accumulators, from which the metrics of these rows and of others together follow."""

    means: Means
    spread: Spread
    confusion: Confusion | None = None  #: of a classification with few enough classes
    errors: ClassErrors | None = None  #: of a classification
    scores: ScoreDistribution | None = None  #: of class 1 of two
    ranks: Ranks | None = None  #: of more than two classes
    class_scores: ClassScores | None = None  #: of more than two classes, where it is asked for
    huber: HuberLoss | None = None  #: of a huber loss
    sample: RowSample | None = None  #: of a regression
    custom: CustomValue | None = None  #: of a user's metric
    activity: UnitActivity | None = None  #: of the network, where it is asked for

    def merge(self, other: Measurement) -> Measurement:
        """Both sets of rows together."""
        pairs: list[tuple[Any, Any]] = list(zip(self, other, strict=True))
        merged = [None if a is None or b is None else a.merge(b) for a, b in pairs]
        return Measurement._make(merged)

    def with_custom(
        self, metric: CustomMetric, truth: NDArray[Any], answers: NDArray[Any], weights: NDArray[np.floating] | None
    ) -> Measurement:
        """Return this measurement with that of a user's metric.

        Parameters
        ----------
        metric : CustomMetric
        truth : (n,) ndarray
            Labels or numbers.
        answers : ndarray
            (n, K) probabilities, or (n,) numbers.
        weights : (n,) float or None
            Weights of the rows; None: all 1.

        Returns
        -------
        Measurement
        """
        return self._replace(custom=CustomValue.of(metric, truth, answers, weights))

    @property
    def curve(self) -> Curve | None:
        """Curve over the thresholds of class 1 of two; None for other problems."""
        return None if self.scores is None else Curve.of(self.scores)

    def metric(self, name: str) -> float:
        """Value of a metric of the table; NaN where what it needs was not measured."""
        return METRICS[name].value(self) if self.has(name) else math.nan

    def has(self, name: str) -> bool:
        """Whether what a metric of the table needs was measured."""
        return all(any(getattr(self, part) is not None for part in needed.split("|")) for needed in METRICS[name].needs)

    def metrics(self, kind: str) -> dict[str, float]:
        """Metrics of a kind of problem by the names of a history's columns, without optional ones that were not measured."""
        return {
            column: self.metric(metric.name)
            for column, metric in columns_of(kind).items()
            if not metric.is_optional or self.has(metric.name)
        }


class MetricSettings(NamedTuple):
    """Settings of a measurement: what is measured beside what always is."""

    distribution: Distribution = GAUSSIAN
    average: str = "none"  #: of areas under curves of several classes: see `ClassScores`; "none": no curves
    custom: CustomMetric | None = None
    counts_activity: bool = False  #: whether the activity of hidden units is counted, at rows of the training table


def merged(parts: Iterable[Measurement | None]) -> Measurement | None:
    """Measurement of all parts together, in their order; None when none of them has a row."""
    total: Measurement | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else total.merge(part)
    return total


def _measured(
    truth: NDArray[np.floating], weights: NDArray[np.floating] | None, means: dict[str, float]
) -> Measurement:
    total = float(len(truth) if weights is None else weights.sum(dtype=np.float64))
    center = average(truth, weights)
    m2 = average((truth - center) ** 2, weights) * total
    return Measurement(Means(total, means), Spread(total, center, m2))


def measure_classes(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    weights: NDArray[np.floating] | None,
    settings: MetricSettings = MetricSettings(),  # noqa: B008  # a frozen value
) -> Measurement:
    """Measure class probabilities against classes; one row or more.

    Parameters
    ----------
    labels : (n,) int
        Index of each row's class.
    probabilities : (n, K) float
    weights : (n,) float or None
        Weights of the rows; None: all 1.
    settings : MetricSettings

    Returns
    -------
    Measurement
    """
    # The floor bounds a row's loss by -ln 1e-15 = 34.54.
    p = np.clip(probabilities, 1e-15, 1.0, dtype=np.float64)
    n, k = p.shape
    right, predicted = p[np.arange(n), labels], probabilities.argmax(axis=1)
    means = {
        "mse": average((1 - right) ** 2, weights),
        "logloss": average(-np.log(right / p.sum(axis=1)), weights),
        "classification_error": average(labels != predicted, weights),
    }
    has_curves = 2 < k <= MAX_CURVE_CLASSES and settings.average != "none"
    return _measured(labels.astype(np.float64), weights, means)._replace(
        confusion=_confusion(labels, predicted, weights, k),
        errors=ClassErrors.of(labels, predicted, weights, k),
        scores=ScoreDistribution.of(probabilities[:, 1], labels, weights) if k == 2 else None,
        ranks=Ranks.of(labels, probabilities, weights) if k > 2 else None,
        class_scores=ClassScores.of(labels, probabilities, weights, settings.average) if has_curves else None,
    )


def average(values: NDArray[Any], weights: NDArray[np.floating] | None) -> float:
    """Weighted mean over rows, (n,) each.

    Elementary metrics are such means, as scikit-learn's are (tests compare them); its checks of arrays from outside would
    take more time than the training of a small table.
    """
    return float(np.average(values, weights=weights))


def _confusion(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], weights: NDArray[np.floating] | None, k: int
) -> Confusion | None:
    """Confusion matrix of k classes; None for more than MAX_CONFUSION_CLASSES."""
    if k > MAX_CONFUSION_CLASSES:
        return None
    return Confusion(np.bincount(labels * k + predicted, weights, minlength=k * k).astype(np.float64).reshape(k, k))


def measurement_of_confusion(matrix: NDArray[np.float64]) -> Measurement:
    """Measurement of what follows from a confusion matrix (K, K) alone."""
    classes, rows = np.arange(len(matrix)), matrix.sum(axis=1)
    total = float(rows.sum()) or 1.0
    center = float(np.average(classes, weights=rows)) if rows.any() else 0.0
    wrong = rows - np.diagonal(matrix)
    means = Means(total, {"classification_error": float(wrong.sum()) / total})
    spread = Spread(total, center, float(((classes - center) ** 2 * rows).sum()))
    return Measurement(means, spread, Confusion(matrix), ClassErrors(rows, wrong))


def measure_inputs(
    truth: NDArray[np.float32], answers: NDArray[np.float32], weights: NDArray[np.floating] | None
) -> Measurement:
    """Measure reconstructed inputs (n, p) against the inputs themselves: means over rows of means over inputs."""
    errors = np.mean((truth.astype(np.float64) - answers) ** 2, axis=1)
    return _measured(errors, weights, {"mse": average(errors, weights)})


def measure_numbers(
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
    weights: NDArray[np.floating] | None,
    settings: MetricSettings = MetricSettings(),  # noqa: B008  # a frozen value
) -> Measurement:
    """Measure predicted numbers, as a distribution judges them.

    Parameters
    ----------
    truth : (n,) float64
        Targets.
    predicted : (n,) float64
        Predictions, in the unit of the target.
    weights : (n,) float or None
        Weights of the rows; None: all 1.
    settings : MetricSettings
        With the distribution of the target.

    Returns
    -------
    Measurement
    """
    distribution = settings.distribution
    errors = np.abs(truth - predicted)
    means = {"mse": average(errors * errors, weights), "mae": average(errors, weights)}
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # of numbers that have no logarithm; of -1 for both it is inf - inf
        means["msle"] = average((np.log1p(truth) - np.log1p(predicted)) ** 2, weights)
    huber = None
    if distribution.name == "huber":
        huber = HuberLoss(Residuals.of(errors, weights), distribution.shape)
    else:
        known = {"gaussian": "mse", "laplace": "mae"}.get(distribution.name)
        means["deviance"] = means[known] if known else distribution.deviance(truth, predicted, weights)
    return _measured(truth, weights, means)._replace(huber=huber, sample=RowSample.of(truth, predicted))
