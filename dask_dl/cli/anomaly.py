"""`dask-dl anomaly`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.model_tables import as_written, open_for_model, told, unkept
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster, names
from dask_dl.cli.prediction_files import check_predictions, predictions_file
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

EXAMPLES = """\
Examples:
  dask-dl anomaly usual.zip flights.parquet --output errors.parquet --keep flight_id
  dask-dl anomaly usual.zip 'sensors/*.csv' --output unusual.csv --threshold-quantile 0.999 --sort --per-feature
"""
#: Column of the number of a row in DATA, from 0.
ROW = "row"


def add_anomaly(commands: Any) -> None:
    """The command and its options."""
    anomaly = commands.add_parser(
        "anomaly",
        help="find unusual rows of a table with an autoencoder",
        usage="dask-dl anomaly MODEL DATA --output OUT [options]   (dask-dl anomaly --help lists them)",
        description="Write how badly an autoencoder gives each row of a table back: large errors are unusual rows.",
        epilog=EXAMPLES,
        required={"output": "--output OUT"},
    )
    anomaly.add_argument("model", metavar="MODEL", help="file or URL that train --autoencoder wrote")
    add_table(anomaly)
    group = anomaly.add_argument_group("What is written")
    group.add_argument("--output", metavar="OUT", help="file .csv or .csv.gz, or folder of Parquet files; or a URL")
    group.add_argument("--keep", type=names, default=[], metavar="A,B", help="columns to write beside the errors")
    group.add_argument("--per-feature", action="store_true", help="the error of every input, too")
    group.add_argument(
        "--threshold-quantile",
        type=float,
        metavar="Q",
        help="only rows with an error above this quantile of all, such as 0.99",
    )
    group.add_argument("--sort", action="store_true", help="most unusual rows first; what is written is in memory then")
    group.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_verbosity(group)
    add_cluster(anomaly)
    anomaly.set_defaults(run=_anomaly, command=anomaly, target=None, weights=None, offset=None)


def _anomaly(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.show.progress import Progress

    quantile = options.threshold_quantile
    if quantile is not None and not 0 <= quantile < 1:
        raise ParameterError(f"--threshold-quantile: {quantile:g} is not a quantile: give 0 or more, and less than 1.")
    if ROW in options.keep:
        raise ParameterError(
            f"--keep: {ROW!r} is the name of a column that is written. Rename that of the table first."
        )
    check_predictions(options.output, "--output", overwrite=options.overwrite, read=[options.data, options.model])
    model, progress = load(options.model), Progress(quiet=options.quiet)
    if model.model_.task != "autoencoder":
        raise ParameterError(
            f"{options.model} learned a {model.model_.task}: errors are those of an autoencoder. Train one with --autoencoder."
        )
    with cluster(options) as client:
        as_written(lambda strings: _write(model, options, strings, client, progress))


def _write(model: Any, options: argparse.Namespace, keep_as_strings: list[str], client: Any, progress: Any) -> None:
    """Write the errors, and say what came out."""
    import numpy as np
    import pandas as pd

    from dask_dl.cluster.partition_stream import computed_partitions
    from dask_dl.frame.column_choice import KEPT
    from dask_dl.metrics.error_counts import ErrorCounts

    table = open_for_model(model, options, client, keep=options.keep, keep_as_strings=keep_as_strings)
    n_partitions, start = table.npartitions, time.monotonic()
    wait = parameters.TABLE["worker_timeout"].default

    def computed(answers: Any) -> Iterator[pd.DataFrame]:
        parts = computed_partitions(answers, client, label=options.data, timeout=wait, say=progress.say)
        return told(parts, n_partitions, progress)

    progress.say(f"errors of {options.data} by {options.model}: {n_partitions:,} partitions")
    limit, errors_of = -np.inf, model.anomaly(table)
    name = errors_of.name
    if options.threshold_quantile is not None:
        counts = ErrorCounts()
        for part in computed(errors_of.to_frame()):
            counts.add(part[name].to_numpy())
        limit = counts.quantile(options.threshold_quantile)
        progress.say(f"the quantile {options.threshold_quantile:g} of {counts.n:,} errors is {limit:.6g}")
    answers = model.anomaly_table(table, per_feature=options.per_feature, keep=[KEPT + name for name in options.keep])
    keeps_order, n_rows, n_written, largest, total = not (options.sort or limit > -np.inf), 0, 0, 0.0, 0.0
    sorted_later = []
    with predictions_file(options.output, "--output") as write:
        for part in computed(answers):
            errors = part[name].to_numpy()
            total, largest = total + float(errors.sum()), max(largest, float(errors.max(initial=0.0)))
            answer = unkept(part)
            if not keeps_order:
                answer.insert(0, ROW, np.arange(n_rows, n_rows + len(part)))
                answer = answer[errors > limit]
            n_rows, n_written = n_rows + len(part), n_written + len(answer)
            if options.sort:
                sorted_later.append(answer)
            else:
                write(answer)
        if options.sort:
            write(pd.concat(sorted_later).sort_values(name, ascending=False, kind="stable"))
    progress.say(f"errors: {options.output} ({n_written:,} of {n_rows:,} rows)")
    progress.say(f"mean error {total / max(n_rows, 1):.6g}, largest {largest:.6g}, in {time.monotonic() - start:.1f} s")
