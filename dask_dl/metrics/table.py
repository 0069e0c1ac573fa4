"""The metrics: the only place where one is named, with its tasks, its direction and how it follows from a measurement.

A history has a column for each metric of its task (algorithm.md#history); `stopping_metric` takes the names; `Measurement` has
the figures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Task = Literal["classification", "regression", "autoencoder"]
_CLASSES, _NUMBERS, _INPUTS = ("classification",), ("regression",), ("autoencoder",)


def _mean(name: str) -> Callable[[Any], float]:
    return lambda measured: float(measured.means.values[name])


def _rmse(measured: Any) -> float:
    return math.sqrt(measured.means.values["mse"])


def _r2(measured: Any) -> float:
    """1 - MSE / population variance: for classes, of the class index, as H2O has it; NaN without variance."""
    variance = measured.spread.variance
    return 1 - measured.means.values["mse"] / variance if variance > 0 else math.nan


def _deviance(measured: Any) -> float:
    """Mean deviance; that of a huber loss depends on all residuals."""
    return float(measured.means.values["deviance"] if measured.huber is None else measured.huber.deviance)


class Metric(NamedTuple):
    """A metric."""

    name: str  #: as `stopping_metric` takes it
    tasks: tuple[str, ...]  #: in which it is measured
    value: Callable[[Any], float]  #: of a `Measurement`
    needs: tuple[str, ...] = ("means",)  #: accumulators of a `Measurement` that it follows from
    greater_is_better: bool = False
    lower_bound: float = 0.0  #: that it never falls below
    loss_of: tuple[str, ...] = ()  #: tasks whose training minimises it, and in which "auto" stands for it
    column: str = ""  #: of the history, after the table, where it is not the name
    of_column: Callable[[float], float] | None = None  #: by which it follows from another metric's column


#: In the order of a history's columns.
TABLE: Final = (
    Metric("rmse", _CLASSES + _NUMBERS + _INPUTS, _rmse),
    Metric("logloss", _CLASSES, _mean("logloss"), loss_of=_CLASSES),
    Metric("deviance", _NUMBERS, _deviance, lower_bound=-math.inf, loss_of=_NUMBERS),
    Metric("mae", _NUMBERS, _mean("mae")),
    Metric("r2", _CLASSES + _NUMBERS, _r2, ("means", "spread"), greater_is_better=True, lower_bound=-math.inf),
    Metric("misclassification", _CLASSES, _mean("classification_error"), column="classification_error"),
    Metric(
        "mse",
        _CLASSES + _NUMBERS + _INPUTS,
        _mean("mse"),
        loss_of=_INPUTS,
        column="rmse",
        of_column=lambda rmse: rmse * rmse,
    ),
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in TABLE}


def columns_of(task: str) -> dict[str, Metric]:
    """Columns of a history of this task, without the table, each with its metric."""
    return {m.column or m.name: m for m in TABLE if task in m.tasks and m.of_column is None}


def loss_of(task: str) -> str:
    """Name of the metric that training minimises."""
    return next(metric.name for metric in TABLE if task in metric.loss_of)


def is_better(name: str, value: float, other: float) -> bool:
    """Whether a value of a metric is better than another; NaN never is, and nothing is better than NaN."""
    return value > other if METRICS[name].greater_is_better else value < other
