"""Pictures of a search: what each parameter does to a metric, all of them together, and the candidates' histories."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS
from dask_dl.parameters import show
from dask_dl.wording import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.metrics.history import History

#: Numbers of a parameter that span so many times the smallest are drawn by their logarithm.
WIDE = 50.0
#: Pictures beside one another.
N_COLUMNS = 3


def plot_parameters(table: pd.DataFrame, names: Sequence[str], metric: str) -> Any:
    """Draw a metric of candidates against each parameter; returns the matplotlib figure.

    Parameters
    ----------
    table : pandas.DataFrame
        Candidates that have a value of the metric, the best first.
    names : sequence of str
        Parameters: columns of the table.
    metric : str
        Column of the table.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        When there is no candidate.
    """
    from matplotlib import pyplot as plt

    _check(table)
    n_columns = min(N_COLUMNS, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(3.6 * n_columns, 3.0 * n_rows), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, name in zip(grid.flat, names, strict=False):
        places, ticks = _places(table[name].tolist())
        ax.scatter(places, table[metric], s=18, alpha=0.7)
        ax.scatter(places[:1], table[metric].iloc[:1], s=60, facecolors="none", edgecolors="C3", label="best")
        if ticks is None:
            ax.set_xscale("log" if _is_wide(places) else "linear")
        else:
            ax.set_xticks(range(len(ticks)), ticks, rotation=30 if sum(map(len, ticks)) > 30 else 0, ha="center")
            ax.set_xlim(-0.5, len(ticks) - 0.5)
        ax.set_xlabel(name)
        ax.grid(visible=True, alpha=0.3)
    for ax in list(grid.flat)[len(names) :]:
        ax.set_visible(False)
    for row in grid:
        row[0].set_ylabel(metric)
    grid[0][0].legend(fontsize="small")
    return figure


def plot_parallel_coordinates(table: pd.DataFrame, names: Sequence[str], metric: str, ax: Any = None) -> Any:
    """Draw a line through the parameters of each candidate to a metric, the best ones dark; returns the matplotlib axes.

    Parameters
    ----------
    table : pandas.DataFrame
        Candidates that have a value of the metric, the best first.
    names : sequence of str
        Parameters: columns of the table.
    metric : str
        Column of the table.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        When there is no candidate.
    """
    from matplotlib import colormaps
    from matplotlib import pyplot as plt

    _check(table)
    if ax is None:
        _, ax = plt.subplots(figsize=(1.8 * (len(names) + 1) + 1, 4.5), layout="constrained")
    axes, heights = [*names, metric], []
    for k, name in enumerate(axes):
        places, ticks = _places(table[name].tolist())
        height, marks = _scaled(places, ticks)
        heights.append(height)
        ax.axvline(k, color="0.6", linewidth=1)
        for at, text in marks:
            ax.annotate(text, (k, at), (3, 0), textcoords="offset points", fontsize="x-small", va="center", zorder=5)
    order = table[metric].rank(ascending=not METRICS[metric].greater_is_better).to_numpy()
    colors = colormaps["viridis"]((order - 1) / max(1, len(table) - 1))
    for k in reversed(range(len(table))):  # the best on top
        ax.plot(range(len(axes)), [height[k] for height in heights], color=colors[k], linewidth=1.2, alpha=0.8)
    ax.set_xticks(range(len(axes)), axes)
    ax.set_yticks([])
    ax.set_xlim(-0.2, len(axes) - 0.3)
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_title("candidates, the best dark", fontsize="medium")
    return ax


def plot_curves(histories: Mapping[int, History], order: Sequence[int], metric: str, ax: Any = None) -> Any:
    """Draw a metric of candidates over their epochs, the best one thick; returns the matplotlib axes.

    Parameters
    ----------
    histories : mapping of int to History
        By number of the candidate.
    order : sequence of int
        Numbers, the best first.
    metric : str
        Metric that the histories have, of the table that judges.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        When no history has such a metric.
    """
    from matplotlib import pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    drawn = [number for number in order if number in histories]
    table, is_drawn = "training", False
    for rank, number in reversed(list(enumerate(drawn))):
        history = histories[number]
        table = history.table
        values = [event.value(metric, table) for event in history.events]
        if np.isnan(values).all():
            continue
        is_drawn, is_best = True, rank == 0
        style = (
            {"color": "C3", "linewidth": 2.2, "zorder": 3}
            if is_best
            else {"color": "C0", "linewidth": 0.9, "alpha": 0.5}
        )
        label = f"candidate {number}, the best" if is_best else "others" if rank == 1 else None
        ax.plot([event.epochs for event in history.events], values, marker=".", markersize=3, label=label, **style)
    if not is_drawn:
        raise ParameterError(f"metric={metric!r}: no candidate has a history of it.")
    ax.set_xlabel("epochs")
    ax.set_ylabel(f"{table} {metric}")
    ax.grid(visible=True, alpha=0.3)
    ax.legend(fontsize="small")
    return ax


def _check(table: pd.DataFrame) -> None:
    if table.empty:
        raise ParameterError("no candidate was trained: see the column error of leaderboard_.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _places(values: Sequence[Any]) -> tuple[NDArray[np.float64], list[str] | None]:
    """Numbers to draw values at, and the words that stand there where they are no numbers."""
    if all(_is_number(value) and math.isfinite(value) for value in values):
        return np.asarray(values, np.float64), None
    words = ["default" if _is_missing(value) else shortened(show(value).strip('"')) for value in values]
    known = sorted(set(words))
    return np.array([known.index(word) for word in words], np.float64), known


def _is_missing(value: Any) -> bool:
    """Whether a candidate of another sub-space has no such parameter."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_wide(values: NDArray[np.float64]) -> bool:
    return bool(values.min() > 0 and values.max() > WIDE * values.min())


def _scaled(
    places: NDArray[np.float64], ticks: list[str] | None
) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """Heights between 0 and 1, and marks with their texts."""
    if ticks is not None:
        top = max(1, len(ticks) - 1)
        return places / top, [(k / top, text) for k, text in enumerate(ticks)]
    values = np.log10(places) if _is_wide(places) else places
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.full(len(values), 0.5), [(0.5, f"{places[0]:.4g}")]
    ends = [(0.0, f"{places.min():.4g}"), (1.0, f"{places.max():.4g}")]
    return (values - low) / (high - low), ends
