"""Pictures of which columns matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.wording import shortened

if TYPE_CHECKING:
    import pandas as pd


def plot_importances(
    values: pd.Series[Any], deviations: pd.Series[Any] | None, label: str, n: int, ax: Any = None
) -> Any:
    """Draw bars of the most important columns, the largest on top; returns the matplotlib axes.

    Parameters
    ----------
    values : pandas.Series
        Importance by name, the largest first.
    deviations : pandas.Series or None
        Their standard deviations, drawn as whiskers.
    label : str
        What they measure.
    n : int
        Bars at most.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    shown = values.iloc[:n][::-1]
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7, 1.2 + 0.26 * max(4, len(shown))), layout="constrained")
    whiskers = None if deviations is None else deviations.iloc[:n][::-1]
    ax.barh(range(len(shown)), shown, xerr=whiskers, height=0.7, error_kw={"ecolor": "0.5"})
    ax.set_yticks(range(len(shown)), [shortened(str(name)) for name in shown.index])
    if len(values) > n:
        ax.set_title(f"the {n} most important of {len(values):,}", fontsize="medium")
    ax.set_xlabel(label)
    ax.grid(visible=True, axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    return ax
