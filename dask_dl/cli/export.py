"""`dask-dl export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.cli.options import add_verbosity
from dask_dl.cli.outputs import check_file
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

#: Format -> method of an estimator that writes it.
FORMATS: Mapping[str, str] = {"onnx": "export_onnx", "mojo": "export_mojo", "pojo": "export_pojo"}
EXAMPLES = """\
Examples:
  dask-dl export delayed.zip --to onnx --output delayed.onnx
  dask-dl export delayed.zip --to mojo --output delayed-mojo.zip
  dask-dl export delayed.zip --to pojo --output Delayed.java --package com.example
"""


def add_export(commands: Any) -> None:
    """The command and its options."""
    export = commands.add_parser(
        "export",
        help="write a model for other programs",
        usage="dask-dl export MODEL --to FORMAT --output OUT [options]   (dask-dl export --help lists them)",
        description="Write a model for other programs.",
        epilog=EXAMPLES,
        required={"to": "--to FORMAT", "output": "--output OUT"},
    )
    export.add_argument("model", metavar="MODEL", help="file or URL that train wrote, or a MOJO of H2O")
    export.add_argument("--to", choices=list(FORMATS), help=f"format: {', '.join(FORMATS)}")
    export.add_argument("--output", metavar="OUT", help="file or URL to write")
    export.add_argument("--package", metavar="NAME", help="package of the class of Java (pojo)")
    export.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_verbosity(export)
    export.set_defaults(run=_export, command=export)


def _export(options: argparse.Namespace) -> None:
    from dask_dl import load

    more = {} if options.package is None else {"package": options.package}
    if more and options.to != "pojo":
        raise ParameterError("--package is of --to pojo only; leave it out.")
    check_file(options.output, "--output", overwrite=options.overwrite, others=[options.model])
    getattr(load(options.model), FORMATS[options.to])(options.output, **more)
    if not options.quiet:
        print(f"{options.to}: {options.output}")
