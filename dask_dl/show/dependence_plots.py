"""Pictures of partial dependence, with matplotlib: lines over numbers, bars over levels, maps over two columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.show.evaluation_plots import MAX_CURVES, axes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Panels side by side.
N_ACROSS = 3
#: Characters of a level that are shown.
MAX_LEVEL = 24
MISSING = "missing"
#: Bars begin at 0; where all answers differ by less than this part of the largest, marks are drawn instead, without a 0.
FLAT = 0.1
#: The picture is at least this part of the deviation of the rows' answers high: what moves less does not move.
LEAST = 0.2
#: Part of the range that is left free below and above.
MARGIN = 0.05
N_CONTOURS = 13
#: Characters to an inch.
PER_INCH = 6


def plot_partial_dependence(results: Sequence[Any], *, centered: bool = False, ax: Any = None) -> Any:
    """Draw partial dependence, a panel for each result. See `Explaining.plot_partial_dependence`.

    Parameters
    ----------
    results : sequence of PartialDependence
    centered : bool
        Whether curves are drawn less what they are at the first point.
    ax : matplotlib.axes.Axes or sequence of them, optional
        As many as there are results.

    Returns
    -------
    matplotlib.axes.Axes, or ndarray of them where there are several results

    Raises
    ------
    ParameterError
        When there are fewer axes, or a map or individual curves of several classes.
    """
    for result in results:
        if len(result.targets) > 1 and (len(result.columns) == 2 or result.individual is not None):
            what = "maps of two columns" if len(result.columns) == 2 else "individual curves"
            raise ParameterError(
                f"{what} are of one class at a time: give target=, one of {list(result.targets)[:12]}."
            )
        if len(result.columns) == 2 and result.average is None:
            raise ParameterError("maps of two columns show averages: leave kind out.")
    panels = _panels(len(results), ax)
    low, high = _range([result for result in results if len(result.columns) == 1], centered=centered)
    has_bars = high - low > FLAT * max(abs(low), abs(high))
    if has_bars and any(_is_levels(result.grid_values[0]) for result in results if len(result.columns) == 1):
        low, high = min(low, 0.0), max(high, 0.0)
    margin = MARGIN * (high - low)
    for result, panel in zip(results, panels, strict=True):
        if len(result.columns) == 2:
            _draw_map(result, panel)
            continue
        if _is_levels(result.grid_values[0]):
            _draw_levels(result, panel, centered=centered, has_bars=has_bars)
        else:
            _draw_line(result, panel, centered=centered)
        panel.set_ylim(low - margin * (low != 0), high + margin * (high != 0))
    return panels[0] if len(results) == 1 else np.array(panels, object)


def _panels(n: int, ax: Any) -> list[Any]:
    """Axes for n panels: those given, or of a new figure."""
    if ax is not None:
        given = list(np.ravel(np.array(ax, object)))
        if len(given) != n:
            raise ParameterError(f"ax holds {len(given)} axes, and there are {n} results to draw.")
        return given
    if n == 1:
        return [axes_of(None)]
    from matplotlib import pyplot as plt

    across = min(n, N_ACROSS)
    down = -(-n // across)
    figure, panels = plt.subplots(down, across, figsize=(4.2 * across, 3.4 * down), layout="constrained", squeeze=False)
    for panel in panels.ravel()[n:]:
        figure.delaxes(panel)
    return list(panels.ravel()[:n])


def _range(results: Sequence[Any], *, centered: bool) -> tuple[float, float]:
    """Lowest and highest answer of all panels, which so can be compared."""
    drawn = [
        values
        for result in results
        for values in (_moved(result.average, centered=centered), _moved(result.individual, centered=centered))
        if values is not None
    ]
    if not drawn:
        return 0.0, 1.0
    low, high = min(float(values.min()) for values in drawn), max(float(values.max()) for values in drawn)
    deviations = [float(result.deviation.max()) for result in results if result.deviation is not None]
    return _widened(low, high, max(deviations, default=0.0))


def _widened(low: float, high: float, deviation: float) -> tuple[float, float]:
    """Range that does not make much of differences which are small beside the deviation of the rows' answers."""
    lacking = max(LEAST * deviation, 1e-9 * max(abs(low), abs(high), 1e-9)) - (high - low)
    return (low - lacking / 2, high + lacking / 2) if lacking > 0 else (low, high)


def _is_levels(values: NDArray[Any]) -> bool:
    return bool(values.dtype == object)


def _title(result: Any) -> str:
    return f"probability of {result.targets[0]}" if len(result.targets) == 1 else ""


def _answer(result: Any, *, centered: bool) -> str:
    """Name of what is drawn upwards."""
    kind = "probability" if result.targets else "prediction"
    return f"change of the {kind}" if centered else f"mean {kind}" if result.individual is None else kind


def _moved(values: NDArray[np.float64] | None, *, centered: bool) -> NDArray[np.float64] | None:
    """Curves, (outputs, ..., points), less what they are at the first point if that is asked for."""
    return values - values[..., :1] if centered and values is not None else values


def _outputs(result: Any) -> list[int]:
    """Outputs to draw, those that move most where they are many."""
    shown = result.average
    if shown is None or len(shown) <= MAX_CURVES:
        return list(range(len(shown if shown is not None else result.individual)))
    return sorted(np.argsort(-np.ptp(shown, axis=1), kind="stable")[:MAX_CURVES].tolist())


def _decorate(result: Any, ax: Any, outputs: Sequence[int], *, centered: bool) -> None:
    ax.set(xlabel=result.columns[0], ylabel=_answer(result, centered=centered), title=_title(result))
    if len(result.targets) > 1:
        more = len(result.targets) - len(outputs)
        title = f"class ({more} more move less)" if more else "class"
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title=title)
    elif result.individual is not None and result.average is not None:
        ax.legend(loc="best")


def _draw_line(result: Any, ax: Any, *, centered: bool) -> None:
    """Lines over the points of a numeric column, with its deciles as ticks."""
    ax.grid(visible=True, alpha=0.3)
    points = result.grid_values[0]
    average, curves = (_moved(values, centered=centered) for values in (result.average, result.individual))
    marker = "o" if len(points) <= 30 else ""
    outputs = _outputs(result)
    if curves is not None:
        ax.plot(points, curves[0].T, color="0.6", linewidth=0.5, alpha=0.5, zorder=1)
    if average is not None:
        for k in outputs:
            label = str(result.targets[k]) if len(result.targets) > 1 else "mean"
            ax.plot(points, average[k], marker=marker, markersize=3, linewidth=1.8, label=label)
    deciles = result.deciles[0]
    if len(deciles):
        inside = deciles[(deciles >= points.astype(float).min()) & (deciles <= points.astype(float).max())]
        inside = inside.astype("datetime64[ms]") if points.dtype.kind == "M" else inside
        ax.vlines(inside, 0, 0.04, transform=ax.get_xaxis_transform(), color="0.3", linewidth=1)
    _decorate(result, ax, outputs, centered=centered)


def _draw_levels(result: Any, ax: Any, *, centered: bool, has_bars: bool) -> None:
    """Bars over the levels of a column; marks where they would all be as high, or stand for several classes."""
    ax.grid(visible=True, axis="y", alpha=0.3)
    average, curves = (_moved(values, centered=centered) for values in (result.average, result.individual))
    places, outputs = np.arange(len(result.grid_values[0])), _outputs(result)
    if average is not None and len(average) == 1:
        label = None if curves is None else "mean"
        if has_bars:
            ax.bar(places, average[0], alpha=0.8, label=label)
        else:
            ax.plot(places, average[0], marker="o", linestyle="none", label=label)
    elif average is not None:
        for k in outputs:
            ax.plot(places, average[k], marker="o", linewidth=0.8, label=str(result.targets[k]))
    if curves is not None:
        ax.plot(places, curves[0].T, color="0.4", marker=".", markersize=3, linewidth=0.3, alpha=0.4)
    set_ticks(ax, result.grid_values[0], upwards=False)
    _decorate(result, ax, outputs, centered=centered)


def set_ticks(ax: Any, values: NDArray[Any], *, upwards: bool) -> None:
    """Points by their places on an axis: levels as they are called, numbers in short."""
    if _is_levels(values):
        names = [MISSING if value is None else str(value) for value in values]
        names = [name if len(name) <= MAX_LEVEL else f"{name[: MAX_LEVEL - 3]}..." for name in names]
        places = list(range(len(names)))
    else:
        places = sorted({*np.linspace(0, len(values) - 1, min(6, len(values))).round().astype(int).tolist()})
        names = [f"{values[k]:.4g}" if values.dtype.kind == "f" else str(values[k])[:10] for k in places]
    if upwards:
        ax.set_yticks(places, names)
    else:
        width = ax.figure.get_figwidth() * ax.get_position().width
        ax.set_xticks(places, names, rotation=90 if sum(map(len, names)) + len(names) > PER_INCH * width else 0)


def _draw_map(result: Any, ax: Any) -> None:
    """Map of two columns: contours over numbers, cells where one of them has levels."""
    ax.grid(visible=False)
    x, y = result.grid_values
    heights = result.average[0].T
    low, high = _widened(float(heights.min()), float(heights.max()), float(result.deviation.max()))
    if _is_levels(x) or _is_levels(y) or min(heights.shape) < 2:
        image = ax.imshow(heights, origin="lower", aspect="auto", cmap="viridis", vmin=low, vmax=high)
        set_ticks(ax, x, upwards=False)
        set_ticks(ax, y, upwards=True)
    else:
        image = ax.contourf(x, y, heights, levels=np.linspace(low, high, N_CONTOURS), cmap="viridis")
        lines = ax.contour(x, y, heights, levels=image.levels, colors="white", linewidths=0.4)
        ax.clabel(lines, fontsize=7, fmt="%.3g")
    ax.figure.colorbar(image, ax=ax, label=_title(result) or "mean prediction")
    ax.set(xlabel=result.columns[0], ylabel=result.columns[1])
