"""Pictures as SVG within a page, whose colors they take."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_dl.metrics.history import History

#: Colors that no style has stand for what the page decides: matplotlib knows neither `currentColor` nor variables.
INK, SHEET, TRAINING, VALIDATION = "#010203", "#010204", "#010205", "#010206"
OF_PAGE = {
    INK: "currentColor",
    SHEET: "var(--dask-dl-sheet)",
    TRAINING: "var(--dask-dl-training)",
    VALIDATION: "var(--dask-dl-validation)",
}
#: More lines than two have colors that can be told apart on light and on dark sheets.
OTHERS = ("#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")


def history_svg(history: History) -> str:
    """Draw loss against epochs; a sentence where matplotlib is missing."""

    def draw(ax: Any) -> None:
        from dask_dl.show.plots import plot_history

        plot_history(history, ax)

    return inline_svg(draw, "loss against epochs", (7, 3.6), repr(history.records))


def inline_svg(draw: Callable[[Any], object], label: str, size: tuple[float, float], salt: str) -> str:
    """Draw a picture; a sentence where matplotlib is missing.

    Parameters
    ----------
    draw : callable
        Called with the matplotlib axes.
    label : str
        What the picture shows, for those who do not see it.
    size : (width, height)
        Inches.
    salt : str
        Makes ids that are equal for equal pictures, and for no others in a notebook.

    Returns
    -------
    str
        An element of HTML.
    """
    try:
        import matplotlib.style
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return '<p>The picture needs matplotlib: pip install "dask_dl[plots]".</p>'
    style: dict[str, Any] = {
        **dict.fromkeys(INKED, INK),
        "axes.prop_cycle": f"cycler('color', {[TRAINING, VALIDATION, *OTHERS]})",
        "legend.facecolor": SHEET,
        "legend.edgecolor": "gray",
        "svg.fonttype": "none",
        "svg.hashsalt": label + salt,
    }
    file = io.StringIO()
    with matplotlib.style.context(["default", style]):
        figure = Figure(figsize=size, layout="constrained")  # not pyplot's: nothing is left open in a notebook
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _inlined(file.getvalue(), label)


def _inlined(svg: str, label: str) -> str:
    """Make a part of a page of a document: without header, namespaces, rules for all the page, and names of its groups."""
    svg = svg[svg.index("<svg") :]
    for what in (r' xmlns(:\w+)?="[^"]*"', r"<style.*?</style>", r"<!--.*?-->", r' id="[^"]*_[^"]*"'):
        svg = re.sub(what, "", svg, flags=re.DOTALL)
    for color, of_page in OF_PAGE.items():
        svg = svg.replace(color, of_page)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
