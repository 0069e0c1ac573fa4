"""Options that commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse


#: Target of an autoencoder.
NO_TARGET = ""


def add_learned(command: argparse.ArgumentParser, *, folds: bool = False) -> None:
    """Options that say what a training learns from which columns."""
    group = command.add_argument_group("What is learned")
    what = group.add_mutually_exclusive_group()
    what.add_argument(
        "--target", metavar="NAME", help="column to predict: strings make a classifier, numbers a regressor"
    )
    what.add_argument(
        "--autoencoder",
        dest="target",
        action="store_const",
        const=NO_TARGET,
        help="learn to give all columns back: codes, anomalies",
    )
    group.add_argument("--columns", type=names, metavar="A,B", help="predictors (default: all other columns)")
    group.add_argument(
        "--categorical",
        type=names,
        default=[],
        metavar="A,B",
        help="columns whose numbers are categories, --target too",
    )
    group.add_argument("--weights", metavar="NAME", help="column of row weights")
    group.add_argument("--offset", metavar="NAME", help="column of offsets (regression)")
    if folds:
        group.add_argument("--folds", metavar="NAME", help="column whose values are held out, in place of --nfolds")
    else:
        command.set_defaults(folds=None)
    group.add_argument("--validation", metavar="DATA", help="table to score on while training")


def add_table(command: argparse.ArgumentParser) -> None:
    """Options that say which files are read, and how."""
    command.add_argument("data", metavar="DATA", help="Parquet or CSV file, folder, glob or URL")
    group = command.add_argument_group("Reading DATA")
    group.add_argument(
        "--ignore", type=names, default=[], metavar="A,B", help="columns to leave out, also where files differ in them"
    )
    group.add_argument("--sep", default=",", help=r"separator of CSV, for example ';' or '\t' (default: comma)")
    group.add_argument("--decimal", default=".", help="decimal point of CSV, for example ',' (default: point)")
    group.add_argument("--encoding", help="encoding of CSV, for example latin-1 (default: utf-8 or utf-16)")
    group.add_argument(
        "--no-header", action="store_true", help="the first line is a row; columns are x0, x1, ..., or --names"
    )
    group.add_argument(
        "--names", type=names, default=[], metavar="A,B", help="names of all columns, in place of those in the header"
    )


def csv_format(options: argparse.Namespace) -> Any:
    """The CSV format that the options describe."""
    from dask_dl.frame.csv_head import CsvFormat

    sep = options.sep.replace("\\t", "\t")  # as people type it
    return CsvFormat(sep, options.encoding, options.decimal, not options.no_header, tuple(options.names))


def add_verbosity(command: Any) -> None:
    """Options that say how much is printed."""
    group = command.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    group.add_argument("--verbose", dest="quiet", action="store_false", help="print progress and results (the default)")


def add_cluster(command: argparse.ArgumentParser) -> None:
    """Options that say where the work is done."""
    group = command.add_argument_group("Cluster (without these, the work is done in this process)")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="address of a Dask scheduler, such as tcp://host:8786")
    where.add_argument("--scheduler-file", metavar="FILE", help="file that `dask scheduler --scheduler-file` wrote")
    where.add_argument("--workers", type=int, metavar="N", help="start N processes on this machine")
    group.add_argument("--threads", type=int, metavar="T", help="threads of each of the --workers (default: 1)")
    group.add_argument("--memory-limit", metavar="S", help="memory of each of the --workers, for example 4GiB")
    group.add_argument("--tls-ca-file", metavar="FILE", help="certificate of the authority, for tls:// (PEM)")
    group.add_argument("--tls-cert", metavar="FILE", help="certificate of this client, for tls:// (PEM)")
    group.add_argument("--tls-key", metavar="FILE", help="its private key (PEM; default: in the file of --tls-cert)")


def cluster(options: argparse.Namespace) -> Any:
    """A context of the client that the options ask for, or of None."""
    from contextlib import nullcontext

    from dask_dl.cluster.clients import address_in, connected, local_cluster
    from dask_dl.cluster.tls import TlsFiles

    for name in ("workers", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ParameterError(f"--{name}: {value} is less than 1.")
    if options.workers is None and (options.threads is not None or options.memory_limit is not None):
        raise ParameterError(
            "--threads and --memory-limit are of the --workers that are started here; add --workers N."
        )
    tls = TlsFiles(options.tls_ca_file, options.tls_cert, options.tls_key)
    address = options.scheduler
    if options.scheduler_file is not None:
        address = address_in(options.scheduler_file)
    if address is not None:
        return connected(address, tls.security(address))
    if any(tls):
        raise ParameterError("--tls-ca-file, --tls-cert and --tls-key are for a --scheduler at tls://; leave them out.")
    if options.workers is None:
        return nullcontext()
    return local_cluster(options.workers, options.threads or 1, options.memory_limit)


def names(text: str) -> list[str]:
    """A list such as age,pay."""
    return [name for name in text.split(",") if name]
