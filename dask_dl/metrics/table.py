"""The metrics: the only place where one is named, with its tasks, its direction and how it follows from a measurement.

A history has a column for each metric of its task (algorithm.md#history); `stopping_metric` takes the names; `Measurement` has
the figures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How areas under curves of several classes are averaged: one class against the rest, or each pair of them; over classes or
#: pairs as they are, or weighted by their rows.
AVERAGES: Final = ("macro_ovr", "weighted_ovr", "macro_ovo", "weighted_ovo")
#: Classes of the largest problem whose curves are measured.
MAX_CURVE_CLASSES: Final = 50
#: Ranks of a row's class that are told apart.
MAX_RANK: Final = 10
#: Kinds of problems, each with its task: what is measured of two classes is not what is measured of more.
TASK_OF: Final[Mapping[str, str]] = {
    "binomial": "classification",
    "multinomial": "classification",
    "regression": "regression",
    "autoencoder": "autoencoder",
}
_TWO, _MORE, _NUMBERS, _INPUTS = ("binomial",), ("multinomial",), ("regression",), ("autoencoder",)
_CLASSES = _TWO + _MORE


def _mean(name: str) -> Callable[[Any], float]:
    return lambda measured: float(measured.means.values.get(name, math.nan))


def _root(name: str) -> Callable[[Any], float]:
    """Root of a mean; that of squared logarithms is NaN where any target or prediction is below -1."""
    return lambda measured: math.sqrt(measured.means.values.get(name, math.nan))


def _r2(measured: Any) -> float:
    """1 - MSE / population variance: for classes, of the class index, as H2O has it; NaN without variance."""
    variance = measured.spread.variance
    return 1 - measured.means.values.get("mse", math.nan) / variance if variance > 0 else math.nan


def _deviance(measured: Any) -> float:
    """Mean deviance; that of a huber loss depends on all residuals."""
    return float(measured.means.values.get("deviance", math.nan) if measured.huber is None else measured.huber.deviance)


def _area(column: str) -> Callable[[Any], float]:
    """Area under a curve of two classes, or the average that is asked for of more."""

    def value(measured: Any) -> float:
        if measured.scores is not None:
            return float(getattr(measured.curve, column))
        return float(measured.class_scores.value(column))

    return value


def _lift(measured: Any) -> float:
    """Lift of the 1 % of the rows with the highest scores."""
    return float(measured.curve.groups().lift[0])


def _kolmogorov_smirnov(measured: Any) -> float:
    """Largest difference between the shares of positive and of negative rows that reach a threshold."""
    curve = measured.curve
    if not (curve.n_positive > 0 and curve.n_negative > 0):
        return math.nan
    return float((curve.tps / curve.n_positive - curve.fps / curve.n_negative).max(initial=0.0))


def _average(column: str, average: str) -> Callable[[Any], float]:
    return lambda measured: float(measured.class_scores.value(column, average))


def _hits(k: int) -> Callable[[Any], float]:
    """Share of the rows whose class is among the k most probable; NaN where there are fewer classes."""

    def value(measured: Any) -> float:
        ratios = measured.ranks.ratios
        return float(ratios[k - 1]) if k <= len(ratios) else math.nan

    return value


class Metric(NamedTuple):
    """A metric."""

    name: str  #: as `stopping_metric` takes it
    kinds: tuple[str, ...]  #: kinds of problems of which it is measured: see TASK_OF
    value: Callable[[Any], float]  #: of a `Measurement`
    needs: tuple[str, ...] = ("means",)  #: accumulators of a `Measurement` that it follows from; "a|b": one of them
    greater_is_better: bool = False
    lower_bound: float = 0.0  #: that it never falls below
    loss_of: tuple[str, ...] = ()  #: tasks whose training minimises it, and in which "auto" stands for it
    column: str = ""  #: of the history, after the table, where it is not the name
    of_column: Callable[[float], float] | None = None  #: by which it follows from another metric's column
    is_optional: bool = False  #: a history has its column only where it was measured
    in_history: bool = True  #: whether every scoring has it

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks in which it may be measured."""
        return tuple(dict.fromkeys(TASK_OF[kind] for kind in self.kinds))


def _derived(name: str, kinds: tuple[str, ...], of: str, by: Callable[[float], float], **more: Any) -> Metric:
    """A metric that follows from another's column."""
    metric = next(metric for metric in _MEASURED if metric.name == of)
    return metric._replace(name=name, kinds=kinds, column=metric.column or of, of_column=by,
                           value=lambda measured: by(metric.value(measured)), loss_of=(), **more)  # fmt: skip


_MEASURED = (
    Metric("rmse", _CLASSES + _NUMBERS + _INPUTS, _root("mse")),
    Metric("logloss", _CLASSES, _mean("logloss"), loss_of=("classification",)),
    Metric("deviance", _NUMBERS, _deviance, lower_bound=-math.inf, loss_of=("regression",)),
    Metric("mae", _NUMBERS, _mean("mae")),
    Metric("rmsle", _NUMBERS, _root("msle")),
    Metric("r2", _CLASSES + _NUMBERS, _r2, ("means", "spread"), greater_is_better=True, lower_bound=-math.inf),
    Metric("auc", _CLASSES, _area("auc"), ("scores|class_scores",), greater_is_better=True, is_optional=True),
    Metric("aucpr", _CLASSES, _area("aucpr"), ("scores|class_scores",), greater_is_better=True, column="pr_auc",
           is_optional=True),
    Metric("lift_top_group", _TWO, _lift, ("scores",), greater_is_better=True, column="lift"),
    Metric("misclassification", _CLASSES, _mean("classification_error"), column="classification_error"),
    Metric("mean_per_class_error", _CLASSES, lambda measured: float(measured.errors.mean), ("errors",)),
    Metric("custom", _CLASSES + _NUMBERS, lambda measured: float(measured.custom.value), ("custom",),
           lower_bound=-math.inf, is_optional=True),
)  # fmt: skip
#: In the order of a history's columns; then those that no history has.
TABLE: Final = (
    *_MEASURED,
    _derived("mse", _CLASSES + _NUMBERS + _INPUTS, "rmse", lambda rmse: rmse * rmse)._replace(loss_of=_INPUTS),
    _derived("brier", _TWO, "rmse", lambda rmse: rmse * rmse),
    _derived("gini", _TWO, "auc", lambda auc: 2 * auc - 1, lower_bound=-math.inf),
    _derived("custom_increasing", _CLASSES + _NUMBERS, "custom", lambda value: value, greater_is_better=True),
    Metric("kolmogorov_smirnov", _TWO, _kolmogorov_smirnov, ("scores",), greater_is_better=True, in_history=False),
    *(Metric(f"{name}_{average}", _MORE, _average(name, average), ("class_scores",), greater_is_better=True, in_history=False)
      for name in ("auc", "aucpr") for average in AVERAGES),
    *(Metric(f"hit_ratio_{k}", _MORE, _hits(k), ("ranks",), greater_is_better=True, in_history=False)
      for k in range(2, MAX_RANK + 1)),
)  # fmt: skip
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in TABLE}


def columns_of(kind: str) -> dict[str, Metric]:
    """Columns of a history of this kind of problem, without the table, each with its metric."""
    return {m.column or m.name: m for m in TABLE if kind in m.kinds and m.in_history and m.of_column is None}


def figures_of(kind: str) -> dict[str, Metric]:
    """All metrics of this kind of problem by name, each under one name."""
    return {m.name: m for m in TABLE if kind in m.kinds and m.name != "custom_increasing"}


def loss_of(task: str) -> str:
    """Name of the metric that training minimises."""
    return next(metric.name for metric in TABLE if task in metric.loss_of)


def is_better(name: str, value: float, other: float) -> bool:
    """Whether a value of a metric is better than another; NaN never is, and nothing is better than NaN."""
    return value > other if METRICS[name].greater_is_better else value < other
