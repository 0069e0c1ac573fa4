"""The picture of a history as SVG within a page, whose colors it takes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_dl.metrics.history import History

#: Colors that no style has stand for what the page decides: matplotlib knows neither `currentColor` nor variables.
INK, SHEET, TRAINING, VALIDATION = "#010203", "#010204", "#010205", "#010206"
OF_PAGE = {
    INK: "currentColor",
    SHEET: "var(--dask-dl-sheet)",
    TRAINING: "var(--dask-dl-training)",
    VALIDATION: "var(--dask-dl-validation)",
}
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")


def history_svg(history: History) -> str:
    """Draw loss against epochs; a sentence where matplotlib is missing."""
    try:
        import matplotlib.style
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return '<p>The picture needs matplotlib: pip install "dask_dl[plots]".</p>'
    from dask_dl.show.plots import plot_history

    style: dict[str, Any] = {
        **dict.fromkeys(INKED, INK),
        "axes.prop_cycle": f"cycler('color', ['{TRAINING}', '{VALIDATION}'])",
        "legend.facecolor": SHEET,
        "legend.edgecolor": "gray",
        "svg.fonttype": "none",
        "svg.hashsalt": repr(history.records),  # ids that are equal for equal pictures, and for no others in a notebook
    }
    file = io.StringIO()
    with matplotlib.style.context(["default", style]):
        figure = Figure(figsize=(7, 3.6), layout="constrained")  # not pyplot's: nothing is left open in a notebook
        FigureCanvasSVG(figure)
        plot_history(history, figure.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _inlined(file.getvalue())


def _inlined(svg: str) -> str:
    """Make a part of a page of a document: without header, namespaces, rules for all the page, and names of its groups."""
    svg = svg[svg.index("<svg") :]
    for what in (r' xmlns(:\w+)?="[^"]*"', r"<style.*?</style>", r"<!--.*?-->", r' id="[^"]*_[^"]*"'):
        svg = re.sub(what, "", svg, flags=re.DOTALL)
    for color, of_page in OF_PAGE.items():
        svg = svg.replace(color, of_page)
    return svg.replace("<svg", '<svg role="img" aria-label="loss against epochs"', 1)
