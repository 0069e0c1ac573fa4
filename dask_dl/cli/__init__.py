"""The command line: `dask-dl check`, `train`, `predict`, `evaluate`, `explain`, `anomaly`, `search`, `export`, `demo`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl import __version__
from dask_dl.cli.anomaly import add_anomaly
from dask_dl.cli.check import add_check
from dask_dl.cli.console import unbreakable_streams
from dask_dl.cli.evaluate import add_evaluate
from dask_dl.cli.explain import add_explain
from dask_dl.cli.export import add_export
from dask_dl.cli.options import add_verbosity
from dask_dl.cli.parameter_options import NO_OPTION
from dask_dl.cli.parser import Parser
from dask_dl.cli.predict import add_predict
from dask_dl.cli.search import add_search
from dask_dl.cli.train import add_train
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["NO_OPTION", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 not possible or an error found, 2 wrong usage, 130 interrupted.

    A training that is interrupted saves its best model first. Ended by SIGTERM it exits with 143, after writing a checkpoint
    where there is a --checkpoint-dir.
    """
    with unbreakable_streams():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    options, unknown = _parser().parse_known_args(arguments)
    command: Parser = options.command
    command.check(options, unknown)
    with warnings.catch_warnings():
        warnings.simplefilter("always", DaskDLWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # fewer names than the stub insists on
        try:
            status = options.run(options)
        except (DaskDLError, OSError) as error:
            print(f"dask-dl: {_text(error)}", file=sys.stderr)
            if isinstance(error, ParameterError):  # of options, and not of tables or files
                print(command.usage_line(), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("dask-dl: interrupted", file=sys.stderr)
            return 130
    return status or 0


def _text(error: Exception) -> str:
    """The message of an error: what the system says of a file begins with the file, and has no number."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    kind = "warning" if issubclass(category, DaskDLWarning) else category.__name__
    print(f"{kind}: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="dask-dl",
        usage="dask-dl {check,train,predict,evaluate,explain,anomaly,search,export,demo} ...   "
        "(dask-dl COMMAND --help lists options)",
        description="Multi-layer perceptrons for tables of any size.",
    )
    parser.add_argument("--version", action="version", version=f"dask-dl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog="dask-dl")

    add_check(commands)
    add_train(commands)
    add_predict(commands)
    add_evaluate(commands)
    add_explain(commands)
    add_anomaly(commands)
    add_search(commands)
    add_export(commands)
    demo = commands.add_parser(
        "demo",
        help="train on images of digits",
        usage="dask-dl demo [DIR] [options]",
        description="Train on some 50,000 images of digits, less than a minute.",
    )
    demo.add_argument(
        "output", nargs="?", type=Path, default=Path("demo"), metavar="DIR", help="folder for it all (default: demo)"
    )
    add_verbosity(demo)
    demo.set_defaults(run=_demo, command=demo)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from dask_dl.demo import run_demo

    run_demo(options.output, quiet=options.quiet)
