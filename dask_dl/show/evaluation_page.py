"""Figures, tables and pictures of an evaluation on a page of HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.show.inline_svg import inline_svg
from dask_dl.show.page import Table, confusion_table, frame_table, template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

#: Pictures of an evaluation: heading, method, and the accumulator that it needs.
PICTURES = (
    ("ROC curve", "plot_roc", "curve", (4.5, 4.5)),
    ("ROC curves, each class against the rest", "plot_roc", "class_scores", (7, 4.5)),
    ("Precision and recall", "plot_pr", "curve", (4.5, 4.5)),
    ("Precision and recall, each class against the rest", "plot_pr", "class_scores", (7, 4.5)),
    ("Lift", "plot_lift", "curve", (7, 3.6)),
    ("Thresholds", "plot_thresholds", "curve", (7, 3.6)),
    ("Calibration", "plot_calibration", "curve", (4.5, 4.5)),
    ("Confusion", "plot_confusion", "confusion", (5.5, 5.5)),
    ("Residuals", "plot_residuals", "sample", (7, 3.6)),
)


def page(
    title: str,
    heading: str,
    figures: Mapping[str, float],
    confusion: pd.DataFrame | None,
    tables: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, tuple[Callable[[Any], object], tuple[float, float]]],
    notes: Sequence[str] = (),
) -> str:
    """Render a page.

    Parameters
    ----------
    title : str
        Title of the document; "": a fragment for a notebook.
    heading : str
        First heading.
    figures : mapping of str to float
        Metrics by name.
    confusion : pandas.DataFrame or None
        Weights of rows by class and prediction.
    tables : mapping of str to pandas.DataFrame
        Tables by their headings.
    pictures : mapping of str to (callable, (width, height))
        What draws on matplotlib axes, and inches, by heading.
    notes : sequence of str
        Sentences above the tables.

    Returns
    -------
    str
    """
    shown = [] if confusion is None else [
        ("Confusion", confusion_table(confusion.index.tolist(), confusion.to_numpy().tolist()))
    ]  # fmt: skip
    shown += [(name, frame_table(frame)) for name, frame in tables.items()]
    return template("evaluation.html").render(
        title=title,
        heading=heading,
        figures=Table(["metric", "value"], list(figures.items())),
        tables=shown,
        notes=notes,
        pictures=[(name, inline_svg(draw, name, size, repr(figures))) for name, (draw, size) in pictures.items()],
    )
