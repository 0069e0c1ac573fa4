"""Pictures of curves, thresholds and residuals, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.wording import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from dask_dl.metrics.thresholds import Curve

    Curves = Mapping[str, Curve]

#: Classes whose cells are labelled with numbers.
MAX_LABELLED = 20
#: Curves in a picture, those of the classes with the most rows: as many as every style has colors.
MAX_CURVES = 8
#: Characters under a picture that stand side by side; more stand upright.
MAX_CHARACTERS = 40
#: Characters of the name of a class there.
MAX_NAME = 24
#: Lines of a legend that find room within a picture.
MAX_INSIDE = 2


def axes_of(ax: Any, size: tuple[float, float] = (7, 4)) -> Any:
    """Axes with a grid: those given, or of a new figure."""
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.grid(visible=True, alpha=0.3)
    return ax


def _largest(curves: Curves, ax: Any) -> Curves:
    """Curves to draw; a title says so where they are not all."""
    if len(curves) > MAX_CURVES:
        ax.set_title(f"the {MAX_CURVES} largest of {len(curves)} classes")
    return dict(sorted(curves.items(), key=lambda item: -item[1].n_positive)[:MAX_CURVES])


def _legend(ax: Any, n_lines: int, loc: str) -> None:
    """A legend within the picture, or beside it where it would hide lines."""
    if n_lines > MAX_INSIDE:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        ax.legend(loc=loc)


def plot_roc(curves: Curves, ax: Any = None) -> Any:
    """Draw true against false positives; returns the axes. See `Evaluation.plot_roc`."""
    ax = axes_of(ax, (5, 5) if len(curves) == 1 else (7, 4.5))
    for name, curve in _largest(curves, ax).items():
        fpr = np.concatenate([[0.0], curve.fps / (curve.n_negative or 1)])
        tpr = np.concatenate([[0.0], curve.tps / (curve.n_positive or 1)])
        ax.plot(fpr, tpr, label=f"{shortened(str(name))}: area {curve.auc:.4f}")
    ax.plot([0, 1], [0, 1], linestyle=":", color=ax.xaxis.label.get_color(), label="chance: area 0.5")
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    _legend(ax, 1 + len(curves), "lower right")
    return ax


def plot_pr(curves: Curves, ax: Any = None) -> Any:
    """Draw precision against recall; returns the axes. See `Evaluation.plot_pr`."""
    ax = axes_of(ax, (5, 5) if len(curves) == 1 else (7, 4.5))
    for name, curve in _largest(curves, ax).items():
        found = curve.criteria()
        precision = found["precision"]
        recall, precision = np.append(0.0, found["recall"]), np.append(precision[:1], precision)
        ax.plot(recall, precision, label=f"{shortened(str(name))}: area {curve.aucpr:.4f}")
        share = curve.n_positive / ((curve.n_positive + curve.n_negative) or 1)
    if len(curves) == 1:  # of several it would be as many lines again
        ax.axhline(share, linestyle=":", color=ax.xaxis.label.get_color(), label=f"chance: area {share:.4g}")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    _legend(ax, 1 + len(curves), "lower left")
    return ax


def plot_lift(table: pd.DataFrame, ax: Any = None) -> Any:
    """Draw lift and captured responses by share of the rows; returns the axes. See `Evaluation.plot_lift`."""
    ax = axes_of(ax)
    share = table["cumulative_data_fraction"]
    (line,) = ax.plot(share, table["cumulative_lift"], marker="o", markersize=3, label="cumulative lift")
    ax.axhline(1, linestyle=":", color=line.get_color())
    other = ax.twinx()
    other.plot(
        np.concatenate([[0.0], share]), np.concatenate([[0.0], table["cumulative_capture_rate"]]),
        color="C1", marker="o", markersize=3, label="captured responses",
    )  # fmt: skip
    ax.set(
        xlabel="share of the rows, highest probabilities first",
        ylabel="cumulative lift",
        xlim=(0, 1),
        ylim=(0, 1.08 * max(1.0, float(table["cumulative_lift"].max()))),
    )
    other.set(ylabel="share of all responses", ylim=(0, 1.08))
    handles, labels = (
        a + b for a, b in zip(ax.get_legend_handles_labels(), other.get_legend_handles_labels(), strict=True)
    )
    ax.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax


def plot_confusion(matrix: pd.DataFrame, ax: Any = None) -> Any:
    """Draw the confusion matrix; returns the axes. See `Evaluation.plot_confusion`."""
    counts = matrix.to_numpy(float)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    ax = axes_of(ax, (5, 5))
    ax.grid(visible=False)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [str(name) for name in matrix.index]
    ticks = range(0, len(names), 1 + (len(names) - 1) // MAX_LABELLED)
    shown = [shortened(names[k], MAX_NAME) for k in ticks]
    if len(names) <= MAX_LABELLED:
        for (i, j), count in np.ndenumerate(counts):
            ink = "white" if shares[i, j] > 0.5 else "black"
            ax.text(
                j,
                i,
                f"{count:,.0f}" if count % 1 == 0 else f"{count:,.4g}",
                ha="center",
                va="center",
                color=ink,
                fontsize=8,
            )
    else:
        ax.figure.colorbar(image, ax=ax, label="share of the actual class", shrink=0.8)
    ax.set_xticks(ticks, shown, rotation=90 if sum(map(len, shown)) > MAX_CHARACTERS else 0)
    ax.set_yticks(ticks, shown)
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
    ax = axes_of(ax)
    threshold = np.append(table["threshold"], 0.0)  # below the least score nothing changes
    for criterion in criteria:
        ax.plot(threshold, np.append(table[criterion], table[criterion].iloc[-1:]), label=criterion)
    for style, (what, value) in zip((":", "--"), marks.items(), strict=False):
        ax.axvline(value, linestyle=style, color=ax.xaxis.label.get_color(), label=f"{what}: {value:.4f}")
    ax.set(
        xlabel=f"threshold of the probability of {shortened(str(name))}", ylabel="value", xlim=(0, 1), ylim=(0, 1.01)
    )
    _legend(ax, len(criteria) + len(marks), "best")
    return ax


def plot_calibration(table: pd.DataFrame, name: str, ax: Any = None) -> Any:
    """Draw observed against predicted probability; returns the axes. See `Evaluation.plot_calibration`."""
    ax = axes_of(ax, (5, 5))
    top = min(1.02, 1.05 * float(table[["predicted", "observed"]].to_numpy().max(initial=0.01)))
    ax.plot([0, top], [0, top], linestyle=":", color=ax.xaxis.label.get_color(), label="perfect")
    ax.plot(table["predicted"], table["observed"], marker="o", label=f"{len(table)} bins of equal weight")
    ax.set(xlabel="mean predicted probability", ylabel=f"share of {shortened(str(name))}", xlim=(0, top), ylim=(0, top))
    ax.legend()
    return ax


def plot_residuals(rows: pd.DataFrame, ax: Any = None) -> Any:
    """Draw residuals against predictions; returns the axes. See `Evaluation.plot_residuals`."""
    ax = axes_of(ax)
    ax.scatter(rows["predicted"], rows["residual"], s=8, alpha=0.5)
    ax.axhline(0, linestyle=":", color=ax.xaxis.label.get_color())
    ax.set(xlabel="predicted", ylabel="actual less predicted", title=f"a sample of {len(rows):,} rows")
    return ax
