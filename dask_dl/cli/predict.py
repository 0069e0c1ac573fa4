"""`dask-dl predict`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.model_tables import add_measured, as_written, open_for_model, say_figures, told, unkept
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster, names
from dask_dl.cli.prediction_files import check_predictions, predictions_file
from dask_dl.errors import ParameterError, SchemaError, warn
from dask_dl.wording import listed

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from dask_dl.model import Model
    from dask_dl.truth import MeasuredTable

EXAMPLES = """\
Examples:
  dask-dl predict delayed.zip flights.parquet --output answers.parquet --keep flight_id
  dask-dl predict price.zip 'houses/*.csv' --output prices.csv.gz --workers 4
"""
#: Columns that are named when they are written.
MAX_NAMES = 30
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
    add_measured(predict, is_measured="as in training, if it is there")
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
    from dask_dl.show.progress import Progress

    if "predict" in options.keep:
        raise ParameterError("--keep: 'predict' is the name of the answer. Rename that column of the table first.")
    check_predictions(options.output, "--output", overwrite=options.overwrite, read=[options.data, options.model])
    model, progress = load(options.model), Progress(quiet=options.quiet)
    if options.threshold is not None:
        model.model_ = model.model_.at_threshold(options.threshold)
    with cluster(options) as client:
        as_written(lambda strings: _write(model, options, strings, client, progress))


def _write(model: Any, options: argparse.Namespace, keep_as_strings: list[str], client: Any, progress: Any) -> None:
    """Write the predictions and say what came out."""
    from dask_dl.cluster.partition_stream import computed_partitions
    from dask_dl.show.evaluation import Evaluation

    table = open_for_model(model, options, client, keep=options.keep, keep_as_strings=keep_as_strings)
    target = options.target or model.model_.record.target_name
    used = {TRUTH: target, WEIGHTS: options.weights}
    table = table.assign(**{role: table[name] for role, name in used.items() if name in table.columns})
    where = f"{target!r} of {options.data}"
    metrics = _Metrics(model.model_, [role for role in used if role in table.columns], where)
    answers = _answers(model, table, options)
    parts = computed_partitions(
        answers, client, label=options.data, timeout=parameters.TABLE["worker_timeout"].default, say=progress.say
    )
    progress.say(f"predicting {options.data} by {options.model}: {answers.npartitions:,} partitions")
    start, n_rows, columns = time.monotonic(), 0, []
    with predictions_file(options.output, "--output") as write:
        for part in told(parts, answers.npartitions, progress):
            metrics.add(part)
            answer = unkept(part.drop(columns=metrics.columns))
            write(answer)
            n_rows, columns = n_rows + len(part), list(answer.columns)
    progress.say(f"predictions: {options.output} ({listed(columns, MAX_NAMES, str)})")
    progress.say(f"{n_rows:,} rows in {time.monotonic() - start:.1f} s")
    found = metrics.result()
    if found is not None:
        say_figures(progress.say, Evaluation.of(model.model_, found.measured, n_rows=found.n_rows), where)


class _Metrics:
    """Measurement of predictions whose target is known; predictions are written whatever becomes of it.

    Parameters
    ----------
    model : Model
    columns : list of str
        TRUTH, WEIGHTS or both, as far as the partitions have them.
    label : str
        Name of the truth, for errors.
    """

    def __init__(self, model: Model, columns: list[str], label: str) -> None:
        from dask_dl.frame.source import TARGET, WEIGHT, Schema

        self.columns = columns
        self._model, self._settings = model, model.record.metric_settings(model.head)
        roles = {role: name for role, name in ((TARGET, TRUTH), (WEIGHT, WEIGHTS)) if name in columns}
        self._schema = Schema((), roles, label)
        self._is_measured, self._n_partitions = TARGET in roles, 0
        self._found: MeasuredTable | None = None

    def add(self, part: pd.DataFrame) -> None:
        """Measure the next partition; a warning where its targets are such that they cannot be compared."""
        from dask_dl.evaluation import measure_answers

        if not self._is_measured:
            return
        head, k = self._model.head, self._n_partitions
        self._n_partitions += 1
        try:
            found = measure_answers(part, head.answers_in(part), k, head, self._schema, self._settings)
            self._found = found if self._found is None else self._found.merge(found)
        except (ParameterError, SchemaError) as error:  # the former of a user's metric that cannot see so many rows
            warn(f"no metrics: {error}")
            self._is_measured = False

    def result(self) -> MeasuredTable | None:
        """The measurement; None where no target is known. Warns of labels that training never saw."""
        if not self._is_measured or self._found is None:
            return None
        self._found.warn_of_unseen(self._schema.label)
        return None if self._found.measured is None else self._found


def _answers(model: Any, table: Any, options: argparse.Namespace) -> Any:
    """Kept columns, target and weights, and the predictions, as a lazy Dask DataFrame."""
    from dask_dl.frame.column_choice import KEPT

    beside = [role for role in (TRUTH, WEIGHTS) if role in table.columns]
    return model.predict_table(table, offset=options.offset, keep=[*(KEPT + name for name in options.keep), *beside])
