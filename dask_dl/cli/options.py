"""Options that commands share."""

from __future__ import annotations

import argparse
from typing import Any

from dask_dl import parameters
from dask_dl.errors import ParameterError

#: Constructor parameters that a command line cannot hold, or that have an option of another name.
NO_OPTION = {
    "verbose",
    "quiet_mode",
    "client",
    "on_interrupt",
    "custom_metric_func",
    "pretrained_autoencoder",
    "initial_weights",
    "initial_biases",
}


def add_table(command: argparse.ArgumentParser) -> None:
    """Options that say which files are read, and how."""
    command.add_argument("data", metavar="DATA", help="Parquet or CSV file, folder, glob or URL")
    command.add_argument(
        "--ignore", type=names, default=[], metavar="A,B", help="columns to leave out, also where files differ in them"
    )
    group = command.add_argument_group("CSV files")
    group.add_argument("--sep", default=",", help=r"separator, for example ';' or '\t' (default: comma)")
    group.add_argument("--decimal", default=".", help="decimal point, for example ',' (default: point)")
    group.add_argument(
        "--encoding", help="encoding, for example latin-1 (default: utf-8, or utf-16 where files look like it)"
    )
    group.add_argument(
        "--no-header", action="store_true", help="the first line is a row; columns are x0, x1, ..., or those of --names"
    )
    group.add_argument(
        "--names", type=names, default=[], metavar="A,B", help="names of all columns, in place of those in the header"
    )


def csv_format(options: argparse.Namespace) -> Any:
    """The CSV format that the options describe."""
    from dask_dl.frame.csv_head import CsvFormat

    sep = options.sep.replace("\\t", "\t")  # as people type it
    return CsvFormat(sep, options.encoding, options.decimal, not options.no_header, tuple(options.names))


def add_cluster(command: argparse.ArgumentParser) -> None:
    """Options that say where to train."""
    group = command.add_argument_group("Cluster")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="train on the Dask cluster of this scheduler, tcp://host:8786"
    )
    where.add_argument("--workers", type=int, metavar="N", help="train in N processes of this machine")
    group.add_argument("--threads", type=int, metavar="T", help="threads of each of the --workers (default: 1)")
    group.add_argument("--memory-limit", metavar="S", help="memory of each of the --workers, for example 4GiB")


def cluster(options: argparse.Namespace) -> Any:
    """A context of the client that the options ask for, or of None."""
    from dask_dl.cluster.clients import made_client

    for name in ("workers", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ParameterError(f"--{name}: {value} is less than 1.")
    if options.workers is None and (options.threads is not None or options.memory_limit is not None):
        raise ParameterError(
            "--threads and --memory-limit are of the --workers that are started here; add --workers N."
        )
    return made_client(options.scheduler, options.workers, options.threads, options.memory_limit)


def add_parameters(command: argparse.ArgumentParser) -> None:
    """An option per constructor parameter, from the table."""
    groups: dict[str, Any] = {}
    for name, row in parameters.TABLE.items():
        if row.place != "constructor" or name in NO_OPTION:
            continue
        if row.group not in groups:
            groups[row.group] = command.add_argument_group(row.group)
        group = groups[row.group]
        text = f"{row.doc} (default: {parameters.show(row.default)})".replace("%", "%%")
        option = "--" + name.replace("_", "-")
        kind = row.kind.text
        if kind == "bool":
            group.add_argument(
                option, dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
            continue
        word = kind.split()[0] if kind[0] != "{" else "word"
        read = {"int": int, "float": float, "list": _numbers}.get(word, str)
        group.add_argument(option, dest=name, type=read, metavar=word.upper(), default=argparse.SUPPRESS, help=text)


def names(text: str) -> list[str]:
    """A list such as age,pay."""
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[float]:
    """A list such as 200,200 or 0.2,0.5."""
    try:
        return _read_numbers(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 200,200") from None


def _read_numbers(text: str) -> list[float]:
    return [float(part) if "." in part or "e" in part else int(part) for part in names(text)]
