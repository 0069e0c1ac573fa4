"""A fitted model on one page of HTML: for a browser, whole and self-contained, or for a notebook."""

from __future__ import annotations

import base64
import html
import io
import math
from typing import TYPE_CHECKING, Any

from dask_dl.score.metrics import MOST_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dask_dl.score.history import History

#: Columns of the table that are described one by one.
MOST_COLUMNS = 40

STYLE = """
.dask-dl { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62em; padding: 0.5em 1em; }
.dask-dl h1 { font-size: 1.4em; margin: 0.3em 0; } .dask-dl h2 { font-size: 1.05em; margin: 1.4em 0 0.4em; }
.dask-dl table { border-collapse: collapse; } .dask-dl img { max-width: 100%; }
.dask-dl th, .dask-dl td { padding: 0.15em 0.8em 0.15em 0; text-align: left; border-bottom: 1px solid #e4e4e4; }
.dask-dl td { vertical-align: top; }
.dask-dl td.n, .dask-dl th.n { text-align: right; font-variant-numeric: tabular-nums; }
.dask-dl details { margin-top: 1em; } .dask-dl summary { cursor: pointer; }
"""


def page(title: str, body: str) -> str:
    """A whole document around `body`; it needs nothing else."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def fragment(
    title: str,
    facts: Mapping[str, Any],
    history: History,
    columns: Sequence[Sequence[Any]],
    settings: Mapping[str, Any],
    classes: Sequence[str],
    confusion: Mapping[str, Sequence[Sequence[float]]],
) -> str:
    """What a notebook shows.

    Parameters
    ----------
    title : str
    facts : mapping
        Lines at the head.
    history : History
    columns : sequence
        A line for every column: name, kind, and words on what it holds.
    settings : mapping
        Parameters in effect.
    classes : sequence of str
        Labels, in the order of `confusion`; empty for numbers.
    confusion : mapping
        A (K, K) matrix for "training" and perhaps "validation".
    """
    parts = [
        f"<style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        _table([], facts.items()),
        "<h2>History</h2>",
        picture(history),
        "<h2>Metrics at the last scoring</h2>",
        _metrics(history),
    ]
    for name, matrix in confusion.items():
        parts += [f"<h2>Confusion, {name} rows</h2>", _confusion(classes, matrix)]
    if len(classes) > MOST_CLASSES:
        parts += [f"<p>{len(classes):,} classes: a confusion matrix is kept for {MOST_CLASSES} at most.</p>"]
    described = [*columns[:MOST_COLUMNS]]
    if len(columns) > MOST_COLUMNS:
        described.append((f"and {len(columns) - MOST_COLUMNS:,} more", "", ""))
    parts += [_details("Columns", _table(["column", "kind", "values"], described))]
    parts += [_details("Parameters in effect", _table([], settings.items()))]
    return f'<div class="dask-dl">{"".join(parts)}</div>'


def picture(history: History) -> str:
    """Loss against epochs as an image in the page; a sentence without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return '<p>The picture needs matplotlib: pip install "dask_dl[plots]".</p>'
    from dask_dl.show.plots import plot_history

    figure = Figure(figsize=(7, 3.6), layout="constrained")  # not pyplot's: nothing is left open in a notebook
    FigureCanvasAgg(figure)
    plot_history(history, figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img alt="loss against epochs" src="data:image/png;base64,{data}">'


def _metrics(history: History) -> str:
    record = history.records[-1]
    tables = ["training", *(["validation"] if history.has_validation else [])]
    names = [key.removeprefix("training_") for key in record if key.startswith("training_") and key != "training_speed"]
    return _table(["", *tables], [(name, *(record[f"{table}_{name}"] for table in tables)) for name in names])


def _confusion(classes: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    rows: list[Sequence[Any]] = []
    for label, row in zip(classes, matrix, strict=True):
        total = sum(row)
        right = row[len(rows)]
        rows.append((label, *row, f"{1 - right / total:.1%}" if total else ""))
    return _table(["actual \\ predicted", *classes, "error"], rows)


def _details(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = []
    if head:
        lines.append("<tr>" + "".join(f"<th>{html.escape(str(cell))}</th>" for cell in head) + "</tr>")
    lines += ["<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"<td>{'<br>'.join(html.escape(f'{key}: {item}') for key, item in value.items())}</td>"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{html.escape(str(value))}</td>"
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 1e15):
        return f'<td class="n">{"" if math.isnan(value) else f"{value:.6g}"}</td>'
    return f'<td class="n">{int(value):,}</td>'
