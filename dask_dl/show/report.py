"""A fitted model on one page of HTML: for a browser, whole and self-contained, or for a notebook."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from dask_dl.metrics.measurement import MAX_CLASSES
from dask_dl.show.inline_svg import history_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask_dl.metrics.history import History

#: Columns of the table that are described one by one.
MAX_COLUMNS = 40

#: Themes that JupyterLab, VS Code, Sphinx and Colab write into their pages. Without one the browser's preference holds.
LIGHT = (
    '[data-jp-theme-light="true"], .vscode-light, .vscode-high-contrast-light, [data-theme="light"], [theme="light"]'
)
DARK = '[data-jp-theme-light="false"], .vscode-dark, .vscode-high-contrast, [data-theme="dark"], [theme="dark"]'

STYLE = f"""
.dask-dl {{ color-scheme: light dark; --dask-dl-training: #2a7fc0; --dask-dl-validation: #d9660f;
  --dask-dl-ink: var(--jp-content-font-color1, var(--vscode-editor-foreground, CanvasText));
  --dask-dl-sheet: var(--jp-layout-color0, var(--vscode-editor-background, Canvas));
  font: 14px/1.45 system-ui, sans-serif; color: var(--dask-dl-ink); background: var(--dask-dl-sheet);
  max-width: 62em; padding: 0.5em 1em; }}
:is({DARK}) .dask-dl {{ color-scheme: dark; }}
:is({LIGHT}) .dask-dl {{ color-scheme: light; }}
.dask-dl h1 {{ font-size: 1.4em; margin: 0.3em 0; }} .dask-dl h2 {{ font-size: 1.05em; margin: 1.4em 0 0.4em; }}
.dask-dl table {{ border-collapse: collapse; color: inherit; }}
.dask-dl th, .dask-dl td {{ padding: 0.15em 0.8em 0.15em 0; text-align: left; border-bottom: 1px solid #8886; }}
.dask-dl td {{ vertical-align: top; }} .dask-dl tr.changed td {{ font-weight: bold; }}
.dask-dl td.n, .dask-dl th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
.dask-dl details {{ margin-top: 1em; }} .dask-dl summary {{ cursor: pointer; }}
.dask-dl svg {{ max-width: 100%; height: auto; }} .dask-dl svg * {{ stroke-linejoin: round; stroke-linecap: butt; }}
"""


def page(title: str, body: str) -> str:
    """A whole document around `body`; it needs nothing else."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>:root {{ color-scheme: light dark; }}</style>\n<body>\n{body}\n</body>\n</html>\n"
    )


def fragment(
    title: str,
    facts: Mapping[str, Any],
    history: History,
    columns: Sequence[Sequence[Any]],
    settings: Iterable[tuple[str, Any, str]],
    classes: Sequence[str],
    confusion: Mapping[str, Sequence[Sequence[float]]],
) -> str:
    """Report for a notebook.

    Parameters
    ----------
    title : str
    facts : mapping
        Lines on the network and its training.
    history : History
    columns : sequence
        A line for every column: name, kind, and words on what it holds.
    settings : iterable
        A line for every parameter: name, value in effect, and the default where another value was asked for, else "".
    classes : sequence of str
        Labels, in the order of `confusion`; empty for numbers.
    confusion : mapping
        A (K, K) matrix for "training" and perhaps "validation".
    """
    parts = [
        f"<style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        "<h2>Metrics</h2>",
        _metrics(history),
        "<h2>History</h2>",
        history_svg(history),
        "<h2>Network and training</h2>",
        _table([], facts.items()),
    ]
    for name, matrix in confusion.items():
        parts += [f"<h2>Confusion, {name} rows</h2>", _confusion(classes, matrix)]
    if len(classes) > MAX_CLASSES:
        parts += [f"<p>{len(classes):,} classes: a confusion matrix is kept for {MAX_CLASSES} at most.</p>"]
    described = [*columns[:MAX_COLUMNS]]
    if len(columns) > MAX_COLUMNS:
        described.append((f"and {len(columns) - MAX_COLUMNS:,} more", "", ""))
    parts += [_details("Columns", _table(["column", "kind", "values"], described))]
    parts += [_details("Parameters", _settings(settings))]
    return f'<div class="dask-dl">{"".join(parts)}</div>'


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
    return _table(["actual \\ predicted", *map(str, classes), "error"], rows)


def _settings(settings: Iterable[tuple[str, Any, str]]) -> str:
    head = ["parameter", "in effect", "default, if changed"]
    rows = [(name, value if isinstance(value, dict) else str(value), default) for name, value, default in settings]
    return _table(head, rows, is_marked=lambda row: row[-1] != "")


def _details(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    is_marked: Callable[[Sequence[Any]], bool] = lambda _: False,
) -> str:
    """Rows of cells under headings, which stand above numbers as numbers do."""
    rows, lines = list(rows), []
    if head:
        kinds = map(_kind, rows[0] if rows else head)
        cells = (f"<th{kind}>{html.escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    for row in rows:
        mark = ' class="changed"' if is_marked(row) else ""
        lines.append(f"<tr{mark}>{''.join(map(_cell, row))}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _kind(value: Any) -> str:
    """The attribute of a cell that holds a number."""
    return ' class="n"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        text = "<br>".join(html.escape(f"{key}: {item}") for key, item in value.items())
    elif not _kind(value):
        text = html.escape(str(value))
    elif isinstance(value, float) and not (value.is_integer() and abs(value) < 1e15):
        text = "" if math.isnan(value) else f"{value:.6g}"
    else:
        text = f"{int(value):,}"
    return f"<td{_kind(value)}>{text}</td>"
