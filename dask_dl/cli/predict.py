"""`dask-dl predict`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster, csv_format, names
from dask_dl.cli.prediction_files import check_predictions, predictions_file
from dask_dl.errors import ParameterError, SchemaError, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

    from dask_dl.table_metrics import TableMetrics

EXAMPLES = """\
Examples:
  dask-dl predict delayed.zip flights.parquet --output answers.parquet --keep flight_id
  dask-dl predict price.zip 'houses/*.csv' --output prices.csv.gz --workers 4
"""
#: Seconds between two lines of progress.
INTERVAL = 5.0
#: Columns of a table beside those of the model and those that are kept.
TRUTH, WEIGHTS = "__truth__", "__weights__"


def add_predict(commands: Any) -> None:
    """The command and its options."""
    predict = commands.add_parser(
        "predict",
        help="predict a table with a model",
        usage="dask-dl predict MODEL DATA --output OUT [options]   (dask-dl predict --help lists them)",
        description="Predict a table with a model, and measure the predictions where the table has the target.",
        epilog=EXAMPLES,
        required={"output": "--output OUT"},
    )
    predict.add_argument("model", metavar="MODEL", help="file or URL that train wrote")
    add_table(predict)
    group = predict.add_argument_group("What is written")
    group.add_argument("--output", metavar="OUT", help="file .csv or .csv.gz, or folder of Parquet files; or a URL")
    group.add_argument("--keep", type=names, default=[], metavar="A,B", help="columns to write beside the predictions")
    group.add_argument(
        "--threshold",
        type=_threshold,
        metavar="T",
        help="probability from which on the second class is predicted, or max_f1",
    )
    group.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_verbosity(group)
    group = predict.add_argument_group("What is measured")
    group.add_argument(
        "--target", metavar="NAME", help="column of the target (default: as in training, if it is there)"
    )
    group.add_argument("--weights", metavar="NAME", help="column of row weights in the metrics")
    group.add_argument("--offset", metavar="NAME", help="column of offsets (default: as in training)")
    add_cluster(predict)
    predict.set_defaults(run=_predict, command=predict)


def _threshold(text: str) -> float | str:
    """A number, or the name of a criterion."""
    try:
        return float(text)
    except ValueError:
        return text


def _predict(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.frame.csv import LossyNumbers
    from dask_dl.show.progress import Progress

    if "predict" in options.keep:
        raise ParameterError("--keep: 'predict' is the name of the answer. Rename that column of the table first.")
    check_predictions(options.output, "--output", overwrite=options.overwrite, read=[options.data, options.model])
    model, progress = load(options.model), Progress(quiet=options.quiet)
    if options.threshold is not None:
        model.model_ = model.model_.at_threshold(options.threshold)
    keep_as_strings: list[str] = []
    with cluster(options) as client:
        while True:
            try:
                _write(model, options, keep_as_strings, client, progress)
                break
            except LossyNumbers as found:  # further down than the first rows
                keep_as_strings.append(found.column)


def _write(model: Any, options: argparse.Namespace, keep_as_strings: list[str], client: Any, progress: Any) -> None:
    """Write the predictions and say what came out."""
    from dask_dl.cluster.partition_stream import computed_partitions
    from dask_dl.frame.source import TARGET, WEIGHT
    from dask_dl.table_metrics import TableMetrics

    table = _open_table(model, options, keep_as_strings, client)
    target = options.target or model.model_.record.target_name
    roles = {role: column for role, column in ((TARGET, TRUTH), (WEIGHT, WEIGHTS)) if column in table.columns}
    where = f"{target!r} of {options.data}"
    metrics = TableMetrics(model.model_, roles, where) if TARGET in roles else None
    answers = _answers(model, table, options)
    parts = computed_partitions(
        answers, client, label=options.data, timeout=parameters.TABLE["worker_timeout"].default, say=progress.say
    )
    progress.say(f"predicting {options.data} by {options.model}: {answers.npartitions:,} partitions")
    start, n_rows, columns = time.monotonic(), 0, []
    with predictions_file(options.output, "--output") as write:
        for part in _told(parts, answers.npartitions, progress):
            if metrics is not None and not _measure(model, metrics, part):
                metrics = None
            answer = _named(part.drop(columns=list(roles.values())))
            write(answer)
            n_rows, columns = n_rows + len(part), list(answer.columns)
    progress.say(f"predictions: {options.output} ({', '.join(columns)})")
    progress.say(f"{n_rows:,} rows in {time.monotonic() - start:.1f} s")
    found = {} if metrics is None else metrics.result()
    if metrics is not None and found:
        progress.say(f"\nmetrics of {metrics.n_rows:,} rows by {where}")
        for name, value in found.items():
            progress.say(f"{name:22}{value:14.6g}")


def _open_table(model: Any, options: argparse.Namespace, keep_as_strings: list[str], client: Any) -> Any:
    """The files as a lazy table: columns of the model, those to keep, target and weights."""
    from dask_dl.cluster.worker_memory import partition_limits
    from dask_dl.frame.column_choice import ColumnChoice
    from dask_dl.frame.files import open_table

    fitted, encoder = model.model_, model.encoder_
    offset = options.offset or fitted.record.offset_name
    categories = [category.name for category in (*encoder.categories, *encoder.codes)]
    target = options.target or fitted.record.target_name
    if target and target not in encoder.columns and fitted.head.has_text_labels:
        categories.append(target)  # 02134 is no number there either
    choice = ColumnChoice(
        columns=[name for name in (options.target, options.weights, options.offset) if name],
        optional=[*encoder.columns, *(name for name in (target, offset) if name)],
        ignore=options.ignore,
        categorical=categories,
        keep=options.keep,
        keep_as_strings=keep_as_strings,
    )
    table = open_table(options.data, choice, csv_format(options), partition_limits(client))
    if fitted.record.offset_name is not None and offset not in table.columns:
        found = f"{options.data} has no column {offset!r}" if offset else "they stood beside its table"
        raise ParameterError(f"--offset: the model was trained with offsets, and {found}; name their column of DATA.")
    used = {TRUTH: target, WEIGHTS: options.weights}
    return table.assign(**{role: table[name] for role, name in used.items() if name in table.columns})


def _answers(model: Any, table: Any, options: argparse.Namespace) -> Any:
    """Kept columns, target and weights, and the predictions, as a lazy Dask DataFrame."""
    from dask_dl.frame.column_choice import KEPT

    beside = [role for role in (TRUTH, WEIGHTS) if role in table.columns]
    return model.predict_table(table, offset=options.offset, keep=[*(KEPT + name for name in options.keep), *beside])


def _told(parts: Iterator[pd.DataFrame], n: int, progress: Any) -> Iterator[pd.DataFrame]:
    """The partitions; a line now and then."""
    from dask_dl.show.progress import duration

    start = last = time.monotonic()
    n_rows = 0
    for k, part in enumerate(parts, 1):
        yield part
        n_rows += len(part)
        now = time.monotonic()
        if k < n and now - last > INTERVAL:
            last, speed = now, n_rows / (now - start)
            left = duration((now - start) * (n - k) / k)
            progress.say(f"  ... {k:,} of {n:,} partitions, {n_rows:,} rows, {speed:,.0f} rows/s, {left} left")


def _measure(model: Any, metrics: TableMetrics, part: pd.DataFrame) -> bool:
    """Measure a partition; whether its targets are such that they can be compared. Predictions are written in any case."""
    try:
        metrics.add(part, model.model_.head.answers_in(part))
    except SchemaError as error:
        warn(f"no metrics: {error}")
        return False
    return True


def _named(part: pd.DataFrame) -> pd.DataFrame:
    """The columns under the names that they get in the file."""
    from dask_dl.frame.column_choice import KEPT

    names: list[str] = []
    for column in part.columns:
        name = str(column).removeprefix(KEPT)
        while name in names:  # the probability of a class that is called as a kept column
            name = f"p{name}"
        names.append(name)
    return part.set_axis(names, axis=1)
