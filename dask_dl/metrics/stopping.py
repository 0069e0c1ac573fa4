"""Rules of early stopping, as functions of what was measured (algorithm.md#early-stopping)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.metrics.table import METRICS, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dask_dl.metrics.history import History
    from dask_dl.metrics.table import Metric


def metric_of(stopping_metric: str | None, task: str) -> str:
    """The metric that decides: the one asked for, or the loss of the task."""
    return loss_of(task) if stopping_metric in {None, "auto"} else str(stopping_metric)


def has_converged(values: Sequence[float], rounds: int, tolerance: float, metric: Metric) -> bool:
    """Whether a metric no longer improves.

    Parameters
    ----------
    values : sequence of float
        The metric at every scoring event, the leading row without a measurement included.
    rounds : int
        k: means of k consecutive events are compared; 0 is never.
    tolerance : float
        Improvements smaller than this, relatively, are ignored.
    metric : Metric
        Its direction, and whether it can be below 0.

    Returns
    -------
    bool

    Notes
    -----
    Of the last 2k events k + 1 means are taken. The first is the reference; training has converged when the best of the
    others is not less than (1 - tolerance) times that, or not more than (1 + tolerance) times that where greater is better.
    For metrics of changing sign nothing is decided.
    """
    if rounds == 0 or len(values) - 1 < 2 * rounds:
        return False
    last = np.asarray(values[-2 * rounds :], np.float64)
    means = np.convolve(last, np.full(rounds, 1 / rounds), mode="valid")
    if np.isnan(means).any():
        return False
    reference = float(means[0])
    if metric.lower_bound == reference == 0 and not metric.greater_is_better:
        return True
    signs = {math.copysign(1, value) if value else 0.0 for value in (means.max(), means.min(), reference)}
    if len(signs) > 1 or reference == 0:
        return False
    if metric.greater_is_better:
        return bool(means[1:].max() / reference <= 1 + tolerance)
    return bool(means[1:].min() / reference >= 1 - tolerance)


#: Rows between two values that early stopping compares: an epoch, within these limits. A short epoch says little, and of a
#: long one a part says enough.
MIN_STRIDE, MAX_STRIDE = 1_000, 1_000_000


def stride_of(n_epoch: int, *, each_iteration: bool) -> int:
    """Rows that lie between two values of early stopping at least; 0 where every event counts by itself."""
    return 0 if each_iteration else min(max(n_epoch, MIN_STRIDE), MAX_STRIDE)


def values_of(history: History, metric: str, stride: int, n_last: int = 0) -> list[float]:
    """Values for `has_converged`: means of a metric over consecutive events.

    There is at most one value for each `stride` rows of training, so that frequent scorings end no training sooner.

    Parameters
    ----------
    history : History
        The scoring events.
    metric : str
        Name of the metric.
    stride : int
        Rows of training for each value; 0: every event is a value.
    n_last : int
        Number of last events that suffice when every event is a value, for the sake of trainings with thousands of
        them; 0: all.

    Returns
    -------
    list of float
        NaN first, then a mean for each value.
    """
    own = history.own
    means, values, since = [math.nan], [], own[0].samples if own else 0
    for event in own[1:] if stride or not n_last else own[1:][-n_last:]:
        values.append(event.value(metric, history.table))
        if event.samples - since >= stride:
            means.append(sum(values) / len(values))
            values, since = [], event.samples
    return means


class Enough(NamedTuple):
    """Rule that ends a training whose training rows are learned well enough."""

    parameter: str  #: that has the limit
    metric: str
    shortfall: Callable[[float], float]  #: of a value of the metric: 0 is perfect
    words: str


class StoppingSettings(NamedTuple):
    """Settings of early stopping."""

    metric: str
    rounds: int  #: 0: a training does not end because the metric no longer improves
    tolerance: float
    enough: Enough | None = None  #: rule of the task, which looks at the training table
    limit: float = -math.inf  #: of that rule


def reason_to_stop(history: History, settings: StoppingSettings, stride: int = 0) -> str | None:
    """Why the newest event ends the training, in words; None when it does not.

    `stride` as of `values_of`. The metric is of the validation table if there is one.
    """
    enough, metric, rounds = settings.enough, settings.metric, settings.rounds
    if enough is not None:
        left = enough.shortfall(history.events[-1].value(enough.metric, "training"))
        if left <= settings.limit:
            return f"{enough.parameter}: {enough.words.format(left)}"
    if rounds == 0:
        return None
    values = values_of(history, metric, stride, 2 * rounds)
    if has_converged(values, rounds, settings.tolerance, METRICS[metric]):
        means = f"means of scorings, {stride:,} rows or more each" if stride else "scorings"
        return f"stopping_rounds: {metric} has not improved over {rounds} {means}"
    return None
