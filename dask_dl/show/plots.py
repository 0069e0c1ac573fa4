"""Pictures of a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dask_dl.metrics.history import History

#: The axis is logarithmic where the largest loss is more than so many times the smallest, outliers aside, and less than ...
LOG_RATIOS = 10.0, 1e100
#: Outliers are events above the others which, shown, would leave the others less than this share of the picture ...
FLATTENED = 0.25
#: ... and they are at most this share of all events, but one may always be one: the first is measured after a few rows.
MAX_OUTLIERS = 0.1
#: Part of the range that is left free below and above.
MARGIN = 0.05
#: More events than that are a line without markers.
MAX_MARKERS = 200


def check_picture(path: str) -> None:
    """Raise ParameterError where a picture of that name could not be drawn."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ParameterError('pictures need matplotlib: pip install "dask_dl[plots]".') from error
    kinds = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lstrip(".") not in kinds:
        raise ParameterError(
            f"{path!r} ends in none of {', '.join(sorted(kinds))}, the kinds of picture that can be written."
        )


def plot_history(history: History, ax: Any = None) -> Any:
    """Loss against epochs, training and validation, the best event marked; returns the matplotlib axes.

    The range is chosen by `range_of`, unless the axes hold something already; events above it are marked at the edge.
    """
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    is_empty, color = not ax.has_data(), ax.xaxis.label.get_color()
    # The best network put back is one measurement shown twice: joined, it would look like progress of the last rows.
    events = history.events[:-1] if history.repeats_best else history.events
    epochs, tables = [event.epochs for event in events], history.tables
    losses = [[event.value(history.loss, table) for table in tables] for event in events]
    for table, curve in zip(tables, zip(*losses, strict=True), strict=True):
        ax.plot(epochs, curve, marker="o" if len(events) <= MAX_MARKERS else "", markersize=3, label=table)
    best = history.best
    if best is not None:
        ring = {"marker": "o", "markersize": 10, "fillstyle": "none", "linestyle": "none", "color": color}
        label = f"best {history.metric}: {history.score_of(best):.4g}"
        ax.plot(best.epochs, best.value(history.loss, history.table), **ring, label=label)
    if is_empty:
        _set_range(ax, epochs, losses, color)
    ax.set_xlabel("epochs")
    ax.set_ylabel(history.loss)
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def plot_folds(figures: Any, ax: Any = None) -> Any:
    """Draw a metric of each fold, and its mean; returns the matplotlib axes.

    `figures` is a row of `FoldMetrics.to_pandas`: the mean, the deviation, and each fold.
    """
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    color, values = ax.xaxis.label.get_color(), figures.iloc[2:]
    places = range(len(values))
    mean, deviation = figures["mean"], figures["sd"]
    ax.axhspan(mean - deviation, mean + deviation, alpha=0.15)
    ax.axhline(mean, linestyle=":", color=color, label=f"mean {mean:.4g}, deviation {deviation:.2g}")
    ax.plot(places, values, marker="o", linestyle="none")
    if len(values) <= MAX_MARKERS:
        ax.set_xticks(places, [name.removeprefix("fold ") for name in values.index])
    ax.set(xlabel="fold", ylabel=str(figures.name))
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def range_of(losses: Iterable[Sequence[float]]) -> tuple[float, float, bool] | None:
    """Lowest and highest loss to show, and whether on a logarithmic axis; None where that makes no range.

    `losses` has those of all tables for each event. A few events far above the others are left out (FLATTENED).
    """
    events = [finite for event in losses if (finite := [loss for loss in event if math.isfinite(loss)])]
    if not events:
        return None
    low, tops = min(map(min, events)), sorted(map(max, events), reverse=True)
    high = _without_outliers(low, tops)
    is_log = LOG_RATIOS[0] * low < high < LOG_RATIOS[1] * low
    if is_log:
        high = _without_outliers(low, tops, math.log)
    return (low, high, is_log) if low < high else None


def _without_outliers(low: float, tops: Sequence[float], scale: Callable[[float], float] = float) -> float:
    """The greatest of the losses, which descend, that does not flatten the others."""
    high = tops[0]
    n_outliers = max(1, int(MAX_OUTLIERS * len(tops))) if len(tops) > 2 else 0
    for top in tops[1 : 1 + n_outliers]:
        if 0 < scale(top) - scale(low) < FLATTENED * (scale(high) - scale(low)):
            high = top
    return high


def _set_range(ax: Any, epochs: Sequence[float], losses: Sequence[Sequence[float]], color: Any) -> None:
    """Show what `range_of` chooses, and where events lie above it."""
    ax.set_xlim(left=0)
    chosen = range_of(losses)
    if chosen is None:
        return
    low, high, is_log = chosen
    if is_log:
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** MARGIN
        ax.set_ylim(low / margin, high * margin)
    else:
        margin = MARGIN * (high - low)
        ax.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    above = [(epoch, loss) for epoch, event in zip(epochs, losses, strict=True) for loss in event if loss > high]
    if above:
        ax.plot(
            [epoch for epoch, _ in above],
            [1.0] * len(above),
            transform=ax.get_xaxis_transform(),  # 1 is the upper edge
            marker="^", linestyle="none", clip_on=False, color=color,
            label=f"above the picture: up to {max(loss for _, loss in above):.4g}",
        )  # fmt: skip
