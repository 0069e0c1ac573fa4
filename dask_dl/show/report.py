"""A fitted model on one page of HTML: for a browser, whole and self-contained, or for a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.explain.importances import importances
from dask_dl.explain.layers import faults, summary
from dask_dl.metrics.measurement import MAX_CONFUSION_CLASSES
from dask_dl.show.evaluation import Evaluations
from dask_dl.show.importance_plots import plot_importances
from dask_dl.show.inline_svg import history_svg, inline_svg
from dask_dl.show.page import Table, confusion_table, frame_table, template
from dask_dl.show.plots import plot_folds
from dask_dl.show.progress import duration
from dask_dl.wording import and_more

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dask_dl.frame.categorical import CodedColumn, OneHotColumn
    from dask_dl.metrics.history import History
    from dask_dl.model import Model

#: Columns of the table that are described one by one.
MAX_COLUMNS = 40
#: Columns in the picture of importances.
MAX_BARS = 15
#: Folds that are shown one by one.
MAX_FOLDS = 10


def report(model: Model, title: str = "") -> str:
    """Report on a model as HTML: a whole document under `title`, or without one a fragment for a notebook."""
    classes = model.head.classes
    note = f"{len(classes):,} classes: a confusion matrix is kept for {MAX_CONFUSION_CLASSES} at most."
    return template("report.html").render(
        title=title,
        model=model,
        metrics=_metrics(model.record.history),
        picture=history_svg(model.record.history),
        facts=list(facts(model).items()),
        confusion=[
            (name, confusion_table(classes, measured.confusion.to_lists()))
            for name, measured in model.record.history.measured.items()
            if measured.confusion is not None
        ],
        tables=[
            (f"{heading}, {name} rows", frame_table(frame))
            for name, evaluation in Evaluations.of(model).items()
            for heading, frame in evaluation.tables().items()
        ],
        folds=_folds(model),
        importances=_importances(model),
        layers=frame_table(summary(model)),
        faults=faults(model),
        note=note if len(classes) > MAX_CONFUSION_CLASSES else "",
        columns=_columns(model),
        settings=list(_settings(model)),
    )


def _folds(model: Model) -> tuple[Table, str] | None:
    """Metrics of the folds of a cross-validation, and a picture of their losses."""
    folds, loss = model.record.folds, model.record.history.loss
    if folds is None:
        return None
    frame = folds.to_pandas()
    picture = inline_svg(
        lambda ax: plot_folds(frame.loc[loss], ax), f"{loss} of each fold", (7, 3), repr(folds.metrics)
    )
    return frame_table(frame.iloc[:, : 2 + MAX_FOLDS]), picture


def _importances(model: Model) -> str:
    """Picture of the most important columns."""
    shares = importances(model, per_input=False)["share"]
    n = min(MAX_BARS, len(shares))
    return inline_svg(
        lambda ax: plot_importances(shares, None, "share of the importance, by the weights", n, ax),
        "importances of columns",
        (7, 1 + 0.26 * max(n, 3)),
        repr(shares.iloc[:n].to_dict()),
    )


def facts(model: Model) -> dict[str, str]:
    """Lines on the network and its training, without what an early file does not know."""
    record, topology = model.record, model.network.topology
    history = record.history
    best, last = history.best, history.events[-1]
    changed = [
        f"{name}={'<arrays>' if name in parameters.ARRAYS else parameters.show(record.requested[name])}"
        for name in record.changed_parameters
    ]
    found = {"task": f"{model.task}, {record.effective.get('distribution')}"}
    for table, (n_rows, n_used) in record.table_rows.items():
        use = "trained on" if table == "training" else "scored"
        found[f"{table} table"] = f"{n_rows:,} rows" + (f", {n_used:,} of them {use}" if n_used < n_rows else "")
    found |= {
        "rows of an epoch": f"{record.n_rows:,}",
        "network": f"{topology.n_inputs:,} inputs, hidden {list(topology.hidden)} {topology.activation}, "
        f"{topology.n_outputs:,} outputs: {topology.n_parameters:,} weights and biases",
        "changed parameters": ", ".join(changed) or "none",
        "trained": f"{record.n_epochs:.2f} epochs in {record.n_rounds:,} rounds",
        "ended by": record.stopped_by or "",
        "date": str(last.timestamp),
    }
    if math.isfinite(last.duration):
        found["duration"] = duration(last.duration)
        if last.scoring_seconds is not None and last.duration > 0:
            found["scoring"] = f"{last.scoring_seconds:.3g} s, {last.scoring_seconds / last.duration:.0%} of that time"
    if best is not None:
        found[f"best {history.metric}"] = (
            f"{history.score_of(best):.6g} on {history.table} rows, round {best.iterations:,}"
        )
    if record.versions:
        found["versions"] = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return found


def _metrics(history: History) -> Table:
    table = history.last_metrics()
    return Table(
        ["", *table.columns], [(name, *row) for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)]
    )


def _columns(model: Model) -> list[Sequence[str]]:
    """A line for every column: name, kind, and words on what it holds."""
    encoder = model.encoder
    levelled: tuple[OneHotColumn | CodedColumn, ...] = (*encoder.categories, *encoder.codes)
    columns: list[Sequence[str]] = [
        (c.name, "category", f"{len(c.levels):,} levels: {', '.join(c.levels[:6])}") for c in levelled
    ]
    columns += [
        (n.name, "number", f"mean {n.fill:.6g}" + (f", deviation {1 / n.factor:.6g}" if n.factor != 1 else ""))
        for n in encoder.numbers
    ]
    more = [(and_more(columns, MAX_COLUMNS).strip(), "", "")] if len(columns) > MAX_COLUMNS else []
    return [*columns[:MAX_COLUMNS], *more]


def _settings(model: Model) -> Iterable[tuple[str, Any, str]]:
    """A line for every parameter: name, value in effect, and the default where another value was asked for, else ""."""
    defaults = model.record.changed_parameters
    for name, value in model.record.effective.items():
        if name not in parameters.ARRAYS:
            default = parameters.show(defaults[name]) if name in defaults else ""
            yield name, value if isinstance(value, dict) else str(value), default
