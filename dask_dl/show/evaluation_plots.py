"""Pictures of curves, thresholds and residuals, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from dask_dl.metrics.thresholds import Curve

    Curves = Mapping[str, Curve]

#: Classes whose cells are labelled with numbers.
MAX_LABELLED = 20
#: Curves in a picture: those of the classes with the most rows.
MAX_CURVES = 10


def _axes(ax: Any, *, is_square: bool = False) -> Any:
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(5, 5) if is_square else (7, 4), layout="constrained")
    ax.grid(visible=True, alpha=0.3)
    return ax


def _largest(curves: Curves) -> Curves:
    """Curves to draw."""
    return dict(sorted(curves.items(), key=lambda item: -item[1].n_positive)[:MAX_CURVES])


def plot_roc(curves: Curves, ax: Any = None) -> Any:
    """Draw true against false positives; returns the axes. See `Evaluation.plot_roc`."""
    ax = _axes(ax, is_square=True)
    for name, curve in _largest(curves).items():
        fpr = np.concatenate([[0.0], curve.fps / (curve.n_negative or 1)])
        tpr = np.concatenate([[0.0], curve.tps / (curve.n_positive or 1)])
        ax.plot(fpr, tpr, label=f"{name}: AUC {curve.auc:.4f}")
    ax.plot([0, 1], [0, 1], linestyle=":", color=ax.xaxis.label.get_color(), label="chance")
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    ax.legend(loc="lower right")
    return ax


def plot_pr(curves: Curves, ax: Any = None) -> Any:
    """Draw precision against recall; returns the axes. See `Evaluation.plot_pr`."""
    ax = _axes(ax, is_square=True)
    for name, curve in _largest(curves).items():
        found = curve.criteria()
        (line,) = ax.plot(found["recall"], found["precision"], label=f"{name}: AUC {curve.aucpr:.4f}")
        share = curve.n_positive / ((curve.n_positive + curve.n_negative) or 1)
        ax.axhline(share, linestyle=":", color=line.get_color())
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    ax.legend(loc="lower left")
    return ax


def plot_lift(table: pd.DataFrame, ax: Any = None) -> Any:
    """Draw lift and captured responses by share of the rows; returns the axes. See `Evaluation.plot_lift`."""
    ax = _axes(ax)
    share = table["cumulative_data_fraction"]
    (line,) = ax.plot(share, table["cumulative_lift"], marker="o", markersize=3, label="cumulative lift")
    ax.axhline(1, linestyle=":", color=line.get_color())
    other = ax.twinx()
    other.plot(
        np.concatenate([[0.0], share]), np.concatenate([[0.0], table["cumulative_capture_rate"]]),
        color="C1", marker="o", markersize=3, label="captured responses",
    )  # fmt: skip
    ax.set(
        xlabel="share of the rows, highest probabilities first", ylabel="cumulative lift", xlim=(0, 1), ylim=(0, None)
    )
    other.set(ylabel="share of all responses", ylim=(0, 1.01))
    handles, labels = (
        a + b for a, b in zip(ax.get_legend_handles_labels(), other.get_legend_handles_labels(), strict=True)
    )
    ax.legend(handles, labels, loc="center right")
    return ax


def plot_confusion(matrix: pd.DataFrame, ax: Any = None) -> Any:
    """Draw the confusion matrix; returns the axes. See `Evaluation.plot_confusion`."""
    counts = matrix.to_numpy(float)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    ax = _axes(ax, is_square=True)
    ax.grid(visible=False)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks, names = range(len(counts)), [str(name) for name in matrix.index]
    if len(counts) <= MAX_LABELLED:
        for (i, j), count in np.ndenumerate(counts):
            ink = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, f"{count:,.0f}", ha="center", va="center", color=ink, fontsize=8)
        ax.set_xticks(ticks, names, rotation=45 if max(map(len, names)) > 3 else 0)
        ax.set_yticks(ticks, names)
    ax.set(xlabel="predicted", ylabel="actual")
    return ax


def plot_thresholds(
    table: pd.DataFrame, criteria: Sequence[str], marks: Mapping[str, float], name: str, ax: Any = None
) -> Any:
    """Draw criteria against the threshold. See `Evaluation.plot_thresholds`.

    Parameters
    ----------
    table : pandas.DataFrame
        As `Curve.table` gives it.
    criteria : sequence of str
        Columns to draw.
    marks : mapping of str to float
        Thresholds that are marked, by what they are.
    name : str
        Label of the class.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _axes(ax)
    for criterion in criteria:
        ax.plot(table["threshold"], table[criterion], label=criterion)
    for style, (what, value) in zip((":", "--"), marks.items(), strict=False):
        ax.axvline(value, linestyle=style, color=ax.xaxis.label.get_color(), label=f"{what}: {value:.4f}")
    ax.set(xlabel=f"threshold of the probability of {name}", ylabel="value", xlim=(0, 1), ylim=(0, 1.01))
    ax.legend()
    return ax


def plot_calibration(table: pd.DataFrame, name: str, ax: Any = None) -> Any:
    """Draw observed against predicted probability; returns the axes. See `Evaluation.plot_calibration`."""
    ax = _axes(ax, is_square=True)
    top = float(table[["predicted", "observed"]].to_numpy().max()) * 1.05
    ax.plot([0, top], [0, top], linestyle=":", color=ax.xaxis.label.get_color(), label="perfect")
    ax.plot(table["predicted"], table["observed"], marker="o", label=f"{len(table)} bins of equal weight")
    ax.set(xlabel="mean predicted probability", ylabel=f"share of {name}", xlim=(0, top), ylim=(0, top))
    ax.legend()
    return ax


def plot_residuals(rows: pd.DataFrame, ax: Any = None) -> Any:
    """Draw residuals against predictions; returns the axes. See `Evaluation.plot_residuals`."""
    ax = _axes(ax)
    ax.scatter(rows["predicted"], rows["residual"], s=8, alpha=0.5)
    ax.axhline(0, linestyle=":", color=ax.xaxis.label.get_color())
    ax.set(xlabel="predicted", ylabel="actual less predicted", title=f"{len(rows):,} rows")
    return ax
