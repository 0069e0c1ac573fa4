"""Pictures of residuals against predictions and columns, with their mean and spread, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.show.dependence_plots import set_ticks
from dask_dl.show.evaluation_plots import axes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bins of numbers that have equal weight ...
MAX_BINS = 20
#: ... and as many rows as this, at least.
MIN_ROWS = 30
#: Levels that are shown, those of the most rows.
MAX_LEVELS = 20


class Bins(NamedTuple):
    """Weighted mean and deviation of residuals in bins of equal weight."""

    middle: NDArray[np.float64]  #: weighted means of what they are set against
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def binned(values: NDArray[np.float64], residuals: NDArray[np.float64], weights: NDArray[np.float64]) -> Bins:
    """Figures of residuals in bins of values; equal values are never parted (algorithm.md#residuals).

    Parameters
    ----------
    values : (n,) float64
        What residuals are set against.
    residuals : (n,) float64
    weights : (n,) float64
        Above 0.

    Returns
    -------
    Bins
    """
    n_bins = max(1, min(MAX_BINS, len(values) // MIN_ROWS))
    _, place = np.unique(values, return_inverse=True)
    share = np.cumsum(np.bincount(place, weights))
    before = np.concatenate([[0.0], share[:-1]])
    of_value = np.minimum(((before + share) / 2 / share[-1] * n_bins).astype(int), n_bins - 1)
    bins = np.unique(of_value, return_inverse=True)[1][place]
    total = np.bincount(bins, weights)
    mean = np.bincount(bins, weights * residuals) / total
    square = np.bincount(bins, weights * (residuals - mean[bins]) ** 2) / total
    return Bins(np.bincount(bins, weights * values) / total, mean, np.sqrt(square))


def plot_residuals(rows: pd.DataFrame, against: str, title: str = "", ax: Any = None) -> Any:
    """Draw residuals against predictions or a column. See `DeepLearningRegressor.plot_residuals`.

    Parameters
    ----------
    rows : pandas.DataFrame
        `residual`, `weight` where there are weights, and what they are set against.
    against : str
        Name of that column.
    title : str
        What the rows are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_of(ax, (7, 4.5))
    column, residuals = rows[against], rows["residual"].to_numpy(float)
    weights = rows["weight"].to_numpy(float) if "weight" in rows else np.ones(len(rows))
    dots = {"s": 8, "alpha": 0.35, "linewidths": 0, "color": "0.5"}
    is_date = pd.api.types.is_datetime64_any_dtype(column.dtype)
    if is_date or (pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)):
        known = column.notna().to_numpy(bool)
        stamps = column[known].astype("datetime64[ms]").astype("int64") if is_date else column[known]
        values: NDArray[np.float64] = np.asarray(stamps, float)
        shown = column[known].to_numpy() if is_date else values
        ax.scatter(shown, residuals[known], **dots)
        if len(values):
            bins = binned(values, residuals[known], weights[known])
            middle = bins.middle.astype("datetime64[ms]") if is_date else bins.middle
            low, high = bins.mean - bins.deviation, bins.mean + bins.deviation
            ax.plot(middle, bins.mean, marker="o", markersize=4, label="mean")
            ax.fill_between(middle, low, high, alpha=0.2, label="mean and deviation")
        title = "\n".join(
            filter(None, (title, f"{(~known).sum():,} rows without a value left out" * bool((~known).any())))
        )
    else:
        title = _draw_levels(column, residuals, weights, title, dots, ax)
    ax.axhline(0, linestyle=":", color=ax.xaxis.label.get_color())
    ax.set(xlabel=against, ylabel="actual less predicted", title=title)
    ax.legend(loc="best")
    return ax


def _draw_levels(
    column: pd.Series[Any],
    residuals: NDArray[np.float64],
    weights: NDArray[np.float64],
    title: str,
    dots: dict[str, Any],
    ax: Any,
) -> str:
    """Residuals of each level, the most frequent first, with mean and deviation; returns the title."""
    texts = column.astype(object).map(str).where(column.notna(), None).to_numpy(object)
    codes, levels = pd.factorize(texts, use_na_sentinel=False)
    order = np.argsort(-np.bincount(codes), kind="stable")
    shown = order[:MAX_LEVELS]
    if len(shown) < len(order):
        title = "\n".join(filter(None, (f"the {len(shown)} most frequent of {len(order):,} levels", title)))
    rank = np.full(len(order), -1)
    rank[shown] = np.arange(len(shown))
    place = rank[codes]
    kept = place >= 0
    place, residuals, weights = place[kept], residuals[kept], weights[kept]
    jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(place))
    ax.scatter(place + jitter, residuals, **dots)
    total = np.bincount(place, weights)
    mean = np.bincount(place, weights * residuals) / total
    deviation = np.sqrt(np.bincount(place, weights * (residuals - mean[place]) ** 2) / total)
    ax.errorbar(np.arange(len(mean)), mean, deviation, fmt="o", capsize=3, label="mean and deviation")
    set_ticks(ax, np.array([None if pd.isna(levels[k]) else levels[k] for k in shown], object), upwards=False)
    return title
