"""The command line: `dask-dl train`, `dask-dl predict`, `dask-dl demo`."""

from __future__ import annotations

import argparse
import difflib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl import __version__, parameters
from dask_dl.cli.options import NO_OPTION
from dask_dl.cli.predict import add_predict
from dask_dl.cli.train import add_train
from dask_dl.errors import DaskDLError, DaskDLWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NO_OPTION", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 not possible, 2 wrong usage, 130 interrupted.

    A training that is interrupted saves its best model first. Ended by SIGTERM it exits with 143, after writing a checkpoint
    where there is a --checkpoint-dir.
    """
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unknown arguments: {' '.join(unknown)}{_near(unknown[0])}")
    with warnings.catch_warnings():
        warnings.simplefilter("always", DaskDLWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # fewer names than the stub insists on
        try:
            options.run(options)
        except (DaskDLError, OSError) as error:
            print(f"dask-dl: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("dask-dl: interrupted", file=sys.stderr)
            return 130
    return 0


def _near(word: str) -> str:
    """The option that was perhaps meant."""
    known = ["--" + name.replace("_", "-") for name in parameters.constructor_defaults()]
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    kind = "warning" if issubclass(category, DaskDLWarning) else category.__name__
    print(f"{kind}: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dask-dl", description="Multi-layer perceptrons for tables of any size.")
    parser.add_argument("--version", action="version", version=f"dask-dl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_train(commands)
    add_predict(commands)
    demo = commands.add_parser(
        "demo",
        help="train on images of digits",
        description="Train on some 50,000 images of digits, less than a minute.",
    )
    demo.add_argument(
        "output", nargs="?", type=Path, default=Path("demo"), metavar="DIR", help="folder for it all (default: demo)"
    )
    demo.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    demo.set_defaults(run=_demo)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from dask_dl.demo import run_demo

    run_demo(options.output, quiet=options.quiet)
