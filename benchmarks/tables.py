"""Quality and seconds on four real tables, beside H2O's: [64, 64], 10 epochs, medians of three seeds.

Rows whose number is divisible by 5 are the test set. H2O's figures are constants, quoted and not measured by this script.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from real import adult, airlines, covtype, housing
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A figure to reach."""

    metric: str
    figure: float
    h2o: float  #: quoted

    def is_reached(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return value >= self.figure if self.metric == "AUC" else value <= self.figure

    def __str__(self) -> str:
        return f"{'>=' if self.metric == 'AUC' else '<='} {self.figure:g}"


@dataclass(frozen=True)
class Table:
    """A real table and what is to be reached on it."""

    read: Callable[[Path], tuple[pd.DataFrame, str]]  #: folder -> (rows, name of the target)
    targets: tuple[Target, ...]
    h2o_seconds: float | None  #: quoted


TABLES = {
    "covtype_20k": Table(covtype, (Target("logloss", 0.58, h2o=0.755),), h2o_seconds=9.0),
    "cal_housing": Table(housing, (Target("MSE", 0.35, h2o=0.550),), h2o_seconds=None),
    "airlines": Table(airlines, (Target("logloss", 0.61, h2o=0.615), Target("AUC", 0.73, h2o=0.719)), h2o_seconds=7.6),
    "adult": Table(adult, (Target("logloss", 0.316, h2o=0.312),), h2o_seconds=10.5),
}


def measure(rows: pd.DataFrame, target: str, epochs: float, seed: int) -> dict[str, float]:
    """Seconds of one training and metrics of its model on the rows left out."""
    is_test = np.arange(len(rows)) % 5 == 0
    train, test = rows[~is_test], rows[is_test]
    is_number = pd.api.types.is_numeric_dtype(rows[target])
    estimator = DeepLearningRegressor if is_number else DeepLearningClassifier
    model = estimator(hidden=(64, 64), epochs=epochs, random_state=seed, **ALL_EPOCHS)
    began = time.perf_counter()
    model.fit(train, target)
    measured = {"seconds": time.perf_counter() - began, "rows/s": model.history_["training_speed"].iloc[-1]}
    if is_number:
        return measured | {"MSE": mean_squared_error(test[target], model.predict(test))}
    p = model.predict_proba(test).astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)  # float32 rows sum to 1 within 1e-7, which log_loss does not take for 1
    measured["logloss"] = log_loss(test[target], p, labels=model.classes_)
    if len(model.classes_) == 2:
        measured["AUC"] = roc_auc_score(test[target] == model.classes_[1], p[:, 1])
    return measured


def main() -> None:
    arguments = options(__doc__).parse_args()
    seeds, epochs = ((1,), 1) if arguments.quick else ((1, 2, 3), 10)
    print_machine("pandas", "scikit-learn")
    folder = real_tables()
    if folder is None:
        return
    lines = []
    for name, table in TABLES.items():
        rows, target = table.read(folder)
        measure(rows[:100], target, 1, 0)  # compiles
        found = [measure(rows, target, epochs, seed) for seed in seeds]
        middle = {key: median(run[key] for run in found) for key in found[0]}
        for goal in table.targets:
            value = middle[goal.metric]
            spread = f"{min(run[goal.metric] for run in found):.4f}-{max(run[goal.metric] for run in found):.4f}"
            reached = "yes" if goal.is_reached(value) else "NO"
            lines.append(
                (name, goal.metric, f"{value:.4f}", spread, goal, reached, f"{goal.h2o:.3f}",
                 f"{middle['seconds']:.1f}", table.h2o_seconds or "-", f"{middle['rows/s']:,.0f}")
            )  # fmt: skip
    columns = ["table", "metric", "median", "range", "target", "reached", "H2O, quoted", "seconds"]
    print_table([*columns, "H2O's seconds, quoted", "rows/s in the loop"], lines)


if __name__ == "__main__":
    main()
