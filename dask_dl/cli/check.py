"""`dask-dl check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import add_cluster, add_learned, add_table, add_verbosity, cluster
from dask_dl.cli.parameter_options import add_parameters, instead_of
from dask_dl.cli.training_tables import open_tables, task_of

if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Examples:
  dask-dl check flights.parquet --target delayed --validation later.parquet
  dask-dl check houses.csv --target price --hidden 50,50 --workers 4 && dask-dl train houses.csv ...
"""


def add_check(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser(
        "check",
        help="say what is wrong with a training, and what it will take",
        usage="dask-dl check DATA --target NAME [options]   (dask-dl check --help lists them)",
        description="Say what is wrong with a training, and what it will take; the options are those of `dask-dl train`.",
        epilog=EXAMPLES,
        answer=instead_of,
        required={"target": "--target NAME or --autoencoder"},
    )
    add_learned(command)
    add_table(command)
    add_verbosity(command)
    add_cluster(command)
    add_parameters(command)
    command.set_defaults(run=_check, command=command)


def _check(options: argparse.Namespace) -> int:
    """Print the findings; returns 1 if one is an error, else 0."""
    from dask_dl import check

    given = {name: value for name, value in vars(options).items() if name in parameters.constructor_defaults()}
    with cluster(options) as client:
        table, held = open_tables(options, client)
        report = check(
            table,
            options.target or None,
            sample_weight=options.weights,
            offset=options.offset,
            eval_set=held,
            task=task_of(options, table),
            client=client,
            **given,
        )
    if not options.quiet:
        print(report)
    elif report.of("error", "warning"):
        print(report.text("error", "warning"))
    return 0 if report.ok else 1
