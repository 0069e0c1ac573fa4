"""Measurements of predictions against the truth, by scikit-learn's metrics (algorithm.md#metrics).

The rows may be in several places: each place measures its own, and what it found is merged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.distribution import Distribution, Residuals
from dask_dl.metrics.table import METRICS, columns_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAUSSIAN = Distribution("gaussian")
#: Classes of the largest confusion matrix that is kept.
MAX_CLASSES = 50


@dataclass(frozen=True)
class Measurement:
    """Measurement on some rows: a few numbers, from which the metrics of these rows and of others together follow."""

    weight: float  #: sum of the rows' weights
    means: dict[str, float]  #: weighted means over the rows
    center: float  #: weighted mean of the truth (for classes, of the class index)
    m2: float  #: weighted sum of its squared deviations from there
    confusion: NDArray[np.float64] | None = None  #: (K, K) weights of rows by class and answer; None: too many classes
    residuals: Residuals | None = None  #: of a huber loss, whose deviance depends on them all
    alpha: float = 0.0  #: huber_alpha

    def merge(self, other: Measurement) -> Measurement:
        """Both sets of rows together (the spread of the truth by Chan's formula, as in the scan)."""
        weight = self.weight + other.weight
        share = other.weight / weight
        shift = other.center - self.center
        return Measurement(
            weight,
            {name: mean + share * (other.means[name] - mean) for name, mean in self.means.items()},
            self.center + share * shift,
            self.m2 + other.m2 + shift * shift * self.weight * share,
            None if self.confusion is None or other.confusion is None else self.confusion + other.confusion,
            None if self.residuals is None or other.residuals is None else self.residuals.merge(other.residuals),
            self.alpha,
        )

    def __getitem__(self, name: str) -> float:
        """Value of a metric of the table."""
        return METRICS[name].value(self)

    def metrics(self, task: str) -> dict[str, float]:
        """Metrics of a task by the names of a history's columns."""
        return {column: metric.value(self) for column, metric in columns_of(task).items()}


def _measured(
    truth: NDArray[np.floating], weights: NDArray[np.floating] | None, means: dict[str, float], confusion: Any = None
) -> Measurement:
    total = float(len(truth) if weights is None else weights.sum(dtype=np.float64))
    center = float(np.average(truth, weights=weights))
    m2 = float(np.average((truth - center) ** 2, weights=weights)) * total
    return Measurement(total, means, center, m2, confusion)


def measure_classes(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> Measurement:
    """Measure class probabilities (n, K) against class indices (n,); one row or more."""
    from sklearn.metrics import log_loss, zero_one_loss

    # The floor bounds a row's loss by -ln 1e-15 = 34.54.
    p = np.clip(probabilities.astype(np.float64), 1e-15, 1.0)
    means = {
        "mse": float(np.average((1 - p[np.arange(len(labels)), labels]) ** 2, weights=weights)),
        "logloss": float(
            log_loss(labels, p / p.sum(axis=1, keepdims=True), labels=np.arange(p.shape[1]), sample_weight=weights)
        ),
        "classification_error": float(zero_one_loss(labels, p.argmax(axis=1), sample_weight=weights)),
    }
    return _measured(labels.astype(np.float64), weights, means, confusion(labels, probabilities, weights))


def confusion(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> NDArray[np.float64] | None:
    """(K, K) rows, or their weights, by class and by the most probable class; None for more than MAX_CLASSES."""
    from sklearn.metrics import confusion_matrix

    n_classes = probabilities.shape[1]
    if n_classes > MAX_CLASSES:
        return None
    found = confusion_matrix(labels, probabilities.argmax(axis=1), labels=np.arange(n_classes), sample_weight=weights)
    return np.asarray(found, np.float64)


def measure_inputs(
    truth: NDArray[np.float32], answers: NDArray[np.float32], weights: NDArray[np.floating] | None
) -> Measurement:
    """Measure reconstructed inputs (n, p) against the inputs themselves: means over rows of means over inputs."""
    errors = np.mean((truth.astype(np.float64) - answers) ** 2, axis=1)
    return _measured(errors, weights, {"mse": float(np.average(errors, weights=weights))})


def measure_numbers(
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
    weights: NDArray[np.floating] | None,
    distribution: Distribution = GAUSSIAN,
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
    distribution : Distribution
        Distribution of the target.
    """
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    means = {
        "mse": float(mean_squared_error(truth, predicted, sample_weight=weights)),
        "mae": float(mean_absolute_error(truth, predicted, sample_weight=weights)),
    }
    if distribution.name == "huber":
        residuals = Residuals.of(np.abs(truth - predicted), weights)
        return replace(_measured(truth, weights, means), residuals=residuals, alpha=distribution.shape)
    known = {"gaussian": "mse", "laplace": "mae"}.get(distribution.name)
    deviance = means[known] if known else distribution.deviance(truth, predicted, weights)
    return _measured(truth, weights, means | {"deviance": deviance})
