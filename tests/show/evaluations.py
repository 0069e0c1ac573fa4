"""Evaluations of every kind of problem, without a model."""

from __future__ import annotations

import numpy as np

from dask_dl.metrics.measurement import MetricSettings, measure_classes, measure_numbers
from dask_dl.show.evaluation import Evaluation

PLOTS = {
    "binomial": ("plot_roc", "plot_pr", "plot_lift", "plot_thresholds", "plot_calibration", "plot_confusion"),
    "multinomial": ("plot_roc", "plot_pr", "plot_confusion"),
    "regression": ("plot_residuals",),
}


def of_classes(k, n=2000, names=None):
    """Evaluation of k classes, of which the first ones have fewer rows."""
    random = np.random.default_rng(k)
    classes = np.sort(random.integers(0, k, (2, n)), axis=0)[1]
    p = random.dirichlet(np.ones(k), n).astype(np.float32)
    p[np.arange(n), classes] += 0.5
    p /= p.sum(axis=1, keepdims=True)
    measured = measure_classes(classes, p, None, MetricSettings(average="macro_ovr"))
    kind = "binomial" if k == 2 else "multinomial"
    return Evaluation(kind, measured, {}, names or [f"kind {j:02}" for j in range(k)], label="held rows", n_rows=n)


def of_numbers():
    random = np.random.default_rng(0)
    y = random.normal(size=3000)
    measured = measure_numbers(y, y + random.normal(size=3000) / 3, None)
    return Evaluation("regression", measured, {}, label="held rows", n_rows=3000)


EVALUATIONS = {"two": of_classes(2), "seven": of_classes(7), "thirty": of_classes(30), "numbers": of_numbers()}
