"""Metrics of predictions against the truth, computed by scikit-learn (specification, section 9)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Metrics of a task, in the order of the history's columns (section 7.3); `mse` is kept beside them.
NAMES = {
    "classification": ("rmse", "logloss", "r2", "classification_error"),
    "regression": ("rmse", "deviance", "mae", "r2"),
}
#: Classes of the largest confusion matrix that is kept.
MOST_CLASSES = 50
#: What is watched as "the loss".
LOSS = {"classification": "logloss", "regression": "deviance"}


def classification(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> dict[str, float]:
    """Metrics of class probabilities (n, K) against class indices (n,)."""
    from sklearn.metrics import log_loss, zero_one_loss

    # The floor bounds a row's loss by -ln 1e-15 = 34.54.
    p = np.clip(probabilities.astype(np.float64), 1e-15, 1.0)
    mse = float(np.average((1 - p[np.arange(len(labels)), labels]) ** 2, weights=weights))
    return {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "logloss": float(
            log_loss(labels, p / p.sum(axis=1, keepdims=True), labels=np.arange(p.shape[1]), sample_weight=weights)
        ),
        "r2": _r2(mse, labels.astype(np.float64), weights),
        "classification_error": float(zero_one_loss(labels, p.argmax(axis=1), sample_weight=weights)),
    }


def confusion(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """(K, K) rows, or their weights, by class and by the most probable class."""
    from sklearn.metrics import confusion_matrix

    n_classes = probabilities.shape[1]
    found = confusion_matrix(labels, probabilities.argmax(axis=1), labels=np.arange(n_classes), sample_weight=weights)
    return np.asarray(found, np.float64)


def regression(
    truth: NDArray[np.floating], predicted: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> dict[str, float]:
    """Metrics of predicted numbers, in the unit of the target; the deviance of a gaussian is its squared error."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    mse = float(mean_squared_error(truth, predicted, sample_weight=weights))
    return {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "deviance": mse,
        "mae": float(mean_absolute_error(truth, predicted, sample_weight=weights)),
        "r2": _r2(mse, truth, weights),
    }


def _r2(mse: float, truth: NDArray[np.floating], weights: NDArray[np.floating] | None) -> float:
    """1 - MSE / population variance: for classes, of the class index, as H2O has it."""
    variance = float(np.average((truth - np.average(truth, weights=weights)) ** 2, weights=weights))
    return 1 - mse / variance if variance > 0 else math.nan
