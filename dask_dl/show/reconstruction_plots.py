"""Pictures of what an autoencoder makes of rows, with matplotlib: errors by row and by input, codes in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.show.evaluation_plots import axes_of
from dask_dl.show.plots import LOG_RATIOS, MAX_MARKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

#: Inputs in a picture, those with the largest errors: as many as have room for their names.
MAX_INPUTS = 20
#: Characters of a name that are shown.
MAX_NAME = 40
#: Levels with a color of their own, those of the most rows: as many as `tab20` has, without its two grays.
MAX_LEVELS = 18
#: What stands for rows without a level, and for those of levels that have no color.
MISSING, OTHERS = "missing", "other levels"
GRAYS = {OTHERS: "0.7", MISSING: "0.4"}


def check_quantile(quantile: Any) -> None:
    """Raise ParameterError for what is no share of the rows."""
    if not isinstance(quantile, (int, float, np.number)) or not 0 <= quantile <= 1:
        raise ParameterError(f"quantile={quantile!r}: give a share of the rows, from 0 to 1, such as 0.99.")


def plot_anomaly(errors: NDArray[np.float64], quantile: float, title: str = "", ax: Any = None) -> Any:
    """Draw errors of rows, sorted. See `DeepLearningAutoEncoder.plot_anomaly`.

    Parameters
    ----------
    errors : (n,) float64
    quantile : float
        Share of the rows below the threshold.
    title : str
        What the rows are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_of(ax)
    errors = np.sort(errors)
    threshold = float(np.quantile(errors, quantile))
    places, is_above = np.arange(1, len(errors) + 1), errors > threshold
    n_above = int(is_above.sum())
    few = {"marker": "o", "markersize": 4} if len(errors) <= MAX_MARKERS else {}
    ax.plot(places[~is_above], errors[~is_above], **few)
    above = f"{n_above:,} row{'s' * (n_above != 1)} above"
    ax.plot(places[is_above], errors[is_above], marker="o", markersize=4, linestyle="none", color="C1", label=above)
    label = f"quantile {quantile:g}: {threshold:.4g}"
    ax.axhline(threshold, linestyle=":", color=ax.xaxis.label.get_color(), label=label)
    if LOG_RATIOS[0] * np.median(errors) < errors[-1] and errors[0] > 0:
        ax.set_yscale("log")  # else the rows that are usual lie on the axis
        ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="rows, by their error", ylabel="mean squared error of the reconstruction", title=title)
    ax.legend(loc="upper left")
    return ax


def plot_anomaly_by_feature(means: NDArray[np.float64], names: Sequence[str], title: str = "", ax: Any = None) -> Any:
    """Draw mean errors of inputs, the largest first. See `DeepLearningAutoEncoder.plot_anomaly_by_feature`.

    Parameters
    ----------
    means : (inputs,) float64
    names : sequence of str
        Of the inputs.
    title : str
        What the rows are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    order = np.argsort(-means, kind="stable")[:MAX_INPUTS]
    if len(order) < len(means):
        title = "\n".join(filter(None, (f"the {len(order)} largest of {len(means):,} inputs", title)))
    ax = axes_of(ax, (7, 1.2 + 0.25 * len(order)))
    labels = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..." for name in (names[k] for k in order)]
    ax.barh(range(len(order)), means[order])
    ax.set_yticks(range(len(order)), labels)
    ax.invert_yaxis()
    ax.set(xlabel="mean squared error", ylabel="input", title=title)
    return ax


def plot_codes(
    codes: NDArray[np.floating],
    names: Sequence[str],
    color: pd.Series[Any] | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw codes of rows in two dimensions. See `DeepLearningAutoEncoder.plot_codes`.

    Parameters
    ----------
    codes : (n, units) ndarray
    names : sequence of str
        Of the units.
    color : pandas.Series, optional
        A number or a level for each row.
    title : str
        What the rows are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    import pandas as pd

    ax = axes_of(ax, (7, 5))
    places, labels = in_two_dimensions(codes, names)
    style = {"s": 8, "alpha": 0.6, "linewidths": 0}
    if color is None:
        ax.scatter(*places.T, **style)
    elif pd.api.types.is_numeric_dtype(color.dtype) and not pd.api.types.is_bool_dtype(color.dtype):
        values = color.to_numpy(float, na_value=np.nan)
        known = np.isfinite(values)
        if not known.all():
            ax.scatter(*places[~known].T, color=GRAYS[MISSING], label=MISSING, **style)
            ax.legend(loc="best")
        image = ax.scatter(*places[known].T, c=values[known], **style)
        ax.figure.colorbar(image, ax=ax, label=_shown(color.name))
    else:
        shown = levels_shown(color)
        levels = sorted({*shown} - {*GRAYS})
        for level, ink in {**GRAYS, **dict(zip(levels, _palette(len(levels)), strict=True))}.items():
            if (shown == level).any():
                ax.scatter(*places[shown == level].T, color=ink, label=level, **style)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title=_shown(color.name), markerscale=2)
    ax.set(xlabel=labels[0], ylabel=labels[1], title=title)
    return ax


def _shown(name: Any) -> str | None:
    """Name of a column; None for that of values which had none."""
    return None if name is None or str(name).startswith("__") else str(name)


def _palette(n: int) -> Sequence[Any]:
    """Colors for n levels: a style may have fewer."""
    from matplotlib import colormaps

    ten: Any = colormaps["tab10"]
    if n <= ten.N:
        return [*ten.colors[:7], *ten.colors[8:], ten.colors[7]][:n]  # gray comes last
    twenty: Any = colormaps["tab20"]
    return [color for shade in (0, 1) for k, color in enumerate(twenty.colors[shade::2]) if k != 7][:n]


def levels_shown(color: pd.Series[Any]) -> NDArray[Any]:
    """Text of the level of each row; one for all that are not among the MAX_LEVELS largest."""
    texts = color.astype(object).map(str).where(color.notna(), MISSING).to_numpy(object)
    levels, counts = np.unique(texts[texts != MISSING].astype(str), return_counts=True)
    largest = {MISSING, *levels[np.argsort(-counts, kind="stable")][:MAX_LEVELS].tolist()}
    return np.array([text if text in largest else OTHERS for text in texts], object)


def in_two_dimensions(codes: NDArray[np.floating], names: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Places of rows in a plane, (n, 2), and what its axes are: two units, or the first principal components of more.

    Of one unit the second axis is the share of the rows with a smaller code.
    """
    n, d = codes.shape
    exact: NDArray[np.float64] = codes.astype(np.float64)
    if d == 1:
        ranks = np.argsort(np.argsort(exact[:, 0], kind="stable"), kind="stable")
        return np.column_stack([exact[:, 0], (ranks + 0.5) / n]), [names[0], "share of the rows with a smaller code"]
    if d == 2:
        return exact, list(names)
    centered = exact - exact.mean(axis=0)
    variances, axes = np.linalg.eigh(centered.T @ centered)  # ascending
    axes = axes[:, [-1, -2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # else their signs depend on the library
    shares = np.maximum(variances[[-1, -2]], 0) / (variances.sum() or 1.0)
    places: NDArray[np.float64] = centered @ axes
    return places, [
        f"{which} principal component: {share:.0%} of the variance"
        for which, share in zip(("first", "second"), shares, strict=True)
    ]
