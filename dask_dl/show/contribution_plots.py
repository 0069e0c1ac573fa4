"""Pictures of contributions, with matplotlib: to the answer to one row, and on average over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.show.evaluation_plots import axes_of
from dask_dl.show.reconstruction_plots import MAX_INPUTS, MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Colors of what raises an answer, and of what lowers it.
UP, DOWN = "C3", "C0"


def _order(sizes: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the largest, and of those that share a bar; it takes more than one."""
    order = np.argsort(-sizes, kind="stable")
    n = MAX_INPUTS if len(order) <= MAX_INPUTS else MAX_INPUTS - 1
    return order[:n], order[n:]


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..."


def _bars(labels: Sequence[str], xlabel: str, ax: Any) -> Any:
    """Axes for horizontal bars, the first one on top."""
    ax = axes_of(ax, (7, 1.2 + 0.25 * len(labels)))
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlabel(xlabel)
    return ax


def plot_row(
    contributions: NDArray[np.float64], bias: float, labels: Sequence[str], what: str, title: str = "", ax: Any = None
) -> Any:
    """Draw how the answer to one row comes about, from that to the background on: the largest contribution from the top.

    Parameters
    ----------
    contributions : (G,) float64
    bias : float
        Mean answer to the background rows.
    labels : sequence of str
        Names of the columns, with the values of the row.
    what : str
        What is explained.
    title : str
        What the row is compared with.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    shown, others = _order(np.abs(contributions))
    parts, names = contributions[shown], [_short(labels[k]) for k in shown]
    if len(others):
        parts, names = np.append(parts, contributions[others].sum()), [*names, f"{len(others):,} others"]
    edges = bias + np.concatenate([[0.0], np.cumsum(parts)])
    ax = _bars(names, what, ax)
    ax.barh(range(len(parts)), parts, left=edges[:-1], color=[UP if part > 0 else DOWN for part in parts])
    for k, part in enumerate(parts):
        ax.annotate(
            f"{part:+.3g}", (edges[k : k + 2].max(), k), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    ink = ax.xaxis.label.get_color()
    ax.axvline(bias, linestyle=":", color=ink, label=f"background: {bias:.4g}")
    ax.axvline(edges[-1], linestyle="--", color=ink, label=f"this row: {edges[-1]:.4g}")
    room = 0.12 * (np.ptp(edges) or 1.0)
    ax.set_xlim(edges.min() - room, edges.max() + room)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    if title:
        ax.set_title(title, pad=30)
    return ax


def plot_means(means: NDArray[np.float64], names: Sequence[str], what: str, title: str = "", ax: Any = None) -> Any:
    """Draw mean absolute contributions, the largest from the top.

    Parameters
    ----------
    means : (G,) float64
    names : sequence of str
        Of the columns.
    what : str
        What is explained.
    title : str
        What the rows are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    order = np.argsort(-means, kind="stable")[:MAX_INPUTS]
    if len(order) < len(means):
        title = "\n".join(filter(None, (f"the {len(order)} largest of {len(means):,}", title)))
    ax = _bars([_short(names[k]) for k in order], f"mean absolute contribution to {what}", ax)
    ax.barh(range(len(order)), means[order])
    ax.set_title(title)
    return ax
