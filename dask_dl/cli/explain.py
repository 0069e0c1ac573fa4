"""`dask-dl explain`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.model_tables import add_measured, as_written, open_for_model, told, unkept
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster, names
from dask_dl.cli.outputs import check_file
from dask_dl.cli.prediction_files import check_predictions, predictions_file
from dask_dl.errors import ParameterError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    import argparse

    import pandas as pd

EXAMPLES = """\
Examples:
  dask-dl explain delayed.zip flights.parquet --report why.html
  dask-dl explain price.zip 'houses/*.csv' --target price --columns area,city --contributions why.parquet --keep house
"""
#: Lines of a table that is printed.
MAX_LINES = 12


def add_explain(commands: Any) -> None:
    """The command and its options."""
    explain = commands.add_parser(
        "explain",
        help="say why a model answers to a table as it does",
        usage="dask-dl explain MODEL DATA [--report FILE] [options]   (dask-dl explain --help lists them)",
        description="Say which columns matter to a model's answers to a table, and how the answers move with them.",
        epilog=EXAMPLES,
    )
    explain.add_argument("model", metavar="MODEL", help="file or URL that train wrote")
    add_table(explain)
    add_measured(explain, is_measured="as in training")
    group = explain.add_argument_group("What is explained")
    group.add_argument("--columns", type=names, metavar="A,B", help="columns to move (default: the 6 that matter most)")
    group.add_argument("--metric", metavar="NAME", help="what shuffled columns make worse (default: the loss)")
    group.add_argument("--repeats", type=int, default=3, metavar="N", help="shuffles of each column (default: 3)")
    group = explain.add_argument_group("What is written")
    group.add_argument("--report", metavar="FILE", help="page of HTML: tables and pictures")
    group.add_argument("--contributions", metavar="OUT", help="those of every row: .csv, .csv.gz, or folder of Parquet")
    group.add_argument("--keep", type=names, default=[], metavar="A,B", help="columns to write beside contributions")
    group.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_verbosity(group)
    add_cluster(explain)
    explain.set_defaults(run=_explain, command=explain)


def _explain(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.show.progress import Progress

    _check_outputs(options)
    model, progress = load(options.model), Progress(quiet=options.quiet)
    if model.model_.task == "autoencoder":
        raise ParameterError(
            f"{options.model} is an autoencoder, whose answers are its inputs: dask-dl anomaly --per-feature explains them."
        )
    with cluster(options) as client:
        _say(model, options, client, progress)
        if options.contributions:
            as_written(lambda strings: _write(model, options, strings, client, progress))


def _check_outputs(options: argparse.Namespace) -> None:
    """Check before the first pass that files can be written, and that options go together."""
    read = [options.data, options.model]
    if options.report:
        if is_url(options.report):
            raise ParameterError("--report: not available for URLs; name a local file.")
        check_file(options.report, "--report", overwrite=True, others=read)
    if options.contributions:
        check_predictions(options.contributions, "--contributions", overwrite=options.overwrite, read=read)
    elif options.keep:
        raise ParameterError("--keep: columns are kept beside --contributions; name a file for these.")
    if options.repeats < 1:
        raise ParameterError(f"--repeats: {options.repeats} is less than 1.")


def _say(model: Any, options: argparse.Namespace, client: Any, progress: Any) -> None:
    """Print what matters, and write the report."""
    from dask_dl.cluster.liveness import Liveness

    table = open_for_model(model, options, client)
    if client is not None:
        Liveness(client, progress.say).wait(parameters.TABLE["worker_timeout"].default)
    progress.say(f"explaining {options.model} on {options.data}: {table.npartitions:,} partitions")
    start = time.monotonic()
    found = model.explain(
        table, options.target, columns=options.columns, metric=options.metric, sample_weight=options.weights,
        offset=options.offset, n_repeats=options.repeats, label=options.data,
    )  # fmt: skip
    progress.say(f"explained in {time.monotonic() - start:.1f} s")
    if found.permutation is not None:
        progress.say(f"\n{found.permutation.attrs['metric']} {found.permutation.attrs['value']:.6g}; worse without")
        _say_lines(progress.say, found.permutation["importance"], found.permutation["deviation"])
    progress.say("\nmean size of contributions" + (f", {found.sample}" if found.sample else ""))
    _say_lines(progress.say, found.contributions)
    progress.say("\nshare of the importance, by the weights")
    _say_lines(progress.say, found.importances["share"])
    for warning in found.warnings:
        progress.say(f"\n{warning}")
    if options.report:
        found.report(options.report)
        progress.say(f"\nreport: {options.report}")


def _say_lines(say: Any, values: pd.Series[Any], deviations: pd.Series[Any] | None = None) -> None:
    """Print the largest values by name."""
    shown = values.iloc[:MAX_LINES]
    width = max([24, *(len(str(name)) + 1 for name in shown.index)])
    for k, (name, value) in enumerate(shown.items()):
        spread = "" if deviations is None else f"  +- {deviations.iloc[k]:.2g}"
        say(f"{name!s:{width}}{value:14.6g}{spread}")
    if len(values) > MAX_LINES:
        say(f"... and {len(values) - MAX_LINES:,} more")


def _write(model: Any, options: argparse.Namespace, keep_as_strings: list[str], client: Any, progress: Any) -> None:
    """Write the contributions to every answer, beside columns that are kept."""
    import pandas as pd

    from dask_dl.cluster.partition_stream import computed_partitions
    from dask_dl.frame.column_choice import KEPT

    table = open_for_model(model, options, client, keep=options.keep, keep_as_strings=keep_as_strings)
    kept = [KEPT + name for name in options.keep]
    offset, wait = options.offset, parameters.TABLE["worker_timeout"].default
    answers = model.contributions(table, table, offset=offset, background_offset=offset)
    joined = table[kept].map_partitions(
        lambda left, right: pd.concat([left, right], axis=1), answers, meta=pd.concat([table[kept]._meta, answers._meta], axis=1),  # noqa: E501, SLF001  # Dask's name
    ) if kept else answers  # fmt: skip
    start, n_rows = time.monotonic(), 0
    parts = computed_partitions(joined, client, label=options.data, timeout=wait, say=progress.say)
    with predictions_file(options.contributions, "--contributions") as write:
        for part in told(parts, table.npartitions, progress):
            write(unkept(part))
            n_rows += len(part)
    progress.say(f"contributions: {options.contributions} ({n_rows:,} rows, {time.monotonic() - start:.1f} s)")
