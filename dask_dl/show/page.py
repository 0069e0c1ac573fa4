"""Parts that pages of HTML have in common: their templates, and tables of figures."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from jinja2 import Template

#: Rows that are shown of a table of an evaluation.
MAX_TABLE_ROWS = 50


class Table(NamedTuple):
    """Rows of cells under headings."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@functools.cache
def template(name: str) -> Template:
    """Template of a file of this folder."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("dask_dl", "show"), autoescape=True)
    environment.filters["figure"] = _figure
    return environment.get_template(name)


def _figure(value: Any) -> str:
    """A cell's text; numbers as people write them, and nothing for NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 1e15):
        return "" if math.isnan(value) else f"{value:.6g}"
    return f"{int(value):,}"


def confusion_table(classes: Sequence[Any], matrix: Sequence[Sequence[float]]) -> Table:
    """Confusion matrix with the error of every class."""
    rows: list[Sequence[Any]] = []
    for label, row in zip(classes, matrix, strict=True):
        total, right = sum(row), row[len(rows)]
        rows.append((label, *row, f"{1 - right / total:.1%}" if total else ""))
    return Table(["actual \\ predicted", *map(str, classes), "error"], rows)


def frame_table(frame: pd.DataFrame) -> Table:
    """A frame with its index, if that has a name, as the first column."""
    frame = frame.reset_index() if frame.index.name is not None else frame
    shown = frame.head(MAX_TABLE_ROWS).astype(object)
    return Table([str(name) for name in frame.columns], shown.where(shown.notna(), math.nan).to_numpy(object).tolist())
