"""The table that a model answers to, as the options name it, and the lines that say what it is worth there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl.cli.options import csv_format
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from dask_dl.show.evaluation import Evaluation

#: Seconds between two lines of progress.
INTERVAL = 5.0
#: Classes of the largest confusion matrix that is printed.
MAX_PRINTED_CLASSES = 10


def add_measured(command: argparse.ArgumentParser, *, is_measured: str) -> None:
    """Options that say which columns stand beside the predictors; `is_measured` is the default of the target."""
    group = command.add_argument_group("What is measured")
    group.add_argument("--target", metavar="NAME", help=f"column of the target (default: {is_measured})")
    group.add_argument("--weights", metavar="NAME", help="column of row weights in the metrics")
    group.add_argument("--offset", metavar="NAME", help="column of offsets (default: as in training)")


def open_for_model(
    model: Any,
    options: argparse.Namespace,
    client: Any,
    *,
    keep: Sequence[str] = (),
    keep_as_strings: Sequence[str] = (),
) -> Any:
    """Files as a lazy table: columns of the model, those to keep, target, weights and offset.

    Parameters
    ----------
    model : DeepLearningClassifier or DeepLearningRegressor
        Fitted.
    options : argparse.Namespace
        Of `add_table` and `add_measured`.
    client : distributed.Client or None
    keep : sequence of str
        Columns to hand on as they are.
    keep_as_strings : sequence of str
        Those of them that must not become numbers.

    Returns
    -------
    dask.dataframe.DataFrame

    Raises
    ------
    ParameterError, SchemaError
        When columns are missing that an option or the model asks for, or files do not fit together.
    """
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
        keep=keep,
        keep_as_strings=keep_as_strings,
    )
    table = open_table(options.data, choice, csv_format(options), partition_limits(client))
    if fitted.record.offset_name is not None and offset not in table.columns:
        found = f"{options.data} has no column {offset!r}" if offset else "they stood beside its table"
        raise ParameterError(f"--offset: the model was trained with offsets, and {found}; name their column of DATA.")
    return table


def as_written(work: Callable[[list[str]], None]) -> None:
    """Do work with columns that are kept, given the names of those that must not become numbers: again, when one is found."""
    from dask_dl.frame.csv import LossyNumbers

    keep_as_strings: list[str] = []
    while True:
        try:
            return work(keep_as_strings)
        except LossyNumbers as found:  # further down than the first rows
            keep_as_strings.append(found.column)


def told(parts: Iterator[pd.DataFrame], n: int, progress: Any) -> Iterator[pd.DataFrame]:
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


def unkept(part: pd.DataFrame) -> pd.DataFrame:
    """The columns under the names that they get in the file."""
    from dask_dl.frame.column_choice import KEPT

    found: list[str] = []
    for column in part.columns:
        name = str(column).removeprefix(KEPT)
        while name in found:  # the probability of a class that is called as a kept column
            name = f"p{name}"
        found.append(name)
    return part.set_axis(found, axis=1)


def say_figures(say: Callable[[str], None], evaluation: Evaluation, where: str) -> None:
    """Print an evaluation: every metric, the largest F1 of two classes, and a confusion matrix that is not too large.

    Parameters
    ----------
    say : callable
        Called with every line.
    evaluation : Evaluation
    where : str
        Column and table of the truth.
    """
    say(f"\nmetrics of {evaluation.n_rows:,} rows by {where}")
    for name, value in evaluation.items():
        say(f"{name:24}{value:14.6g}")
    if evaluation.has("curve"):
        best = evaluation.at("max_f1")
        say(
            f"\nlargest F1 {best['f1']:.6g}, where {evaluation.classes[1]!r} is predicted from {best['threshold']:.6g} on"
        )
    if evaluation.has("confusion") and len(evaluation.classes) <= MAX_PRINTED_CLASSES:
        matrix = evaluation.confusion_matrix()
        say("\nrows by class (down) and prediction (across)")
        head = [*map(str, matrix.columns), "error"]
        errors = evaluation.class_errors()["error"]
        lines = [
            [str(label), *(f"{count:,.6g}" if count % 1 else f"{count:,.0f}" for count in row), f"{error:.2%}"]
            for label, row, error in zip(matrix.index, matrix.to_numpy(), errors, strict=True)
        ]
        widths = [max(map(len, column)) + 2 for column in zip(["", *head], *lines, strict=True)]
        for first, *others in (["", *head], *lines):
            cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
            say(f"{first:{widths[0]}}{''.join(cells)}")
