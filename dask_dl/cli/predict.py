"""`dask-dl predict`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.cli.options import add_table, csv_format, names
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse


def add_predict(commands: Any) -> None:
    """The command and its options."""
    predict = commands.add_parser(
        "predict", help="predict a table with a model", description="Predict a table with a model."
    )
    predict.add_argument("model", metavar="MODEL", help="file that train wrote")
    add_table(predict)
    predict.add_argument("--output", required=True, metavar="OUT", help="Parquet folder to write")
    predict.add_argument(
        "--keep", type=names, default=[], metavar="A,B", help="columns to write beside the predictions"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    predict.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.frame.csv import LossyNumbers

    if "://" in options.output:
        raise ParameterError("--output: not available yet for URLs; name a local folder.")
    if "predict" in options.keep:
        raise ParameterError("--keep: 'predict' is the name of the answer. Rename that column of the table first.")
    out = Path(options.output)
    _check_replaceable(out, options)
    model = load(options.model)
    unfinished = out.with_name(f".{out.name}.unfinished")
    keep_as_strings: list[str] = []
    while True:
        answers = _answers(model, options, keep_as_strings)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            answers.to_parquet(str(unfinished), write_index=False)
            if out.exists():
                shutil.rmtree(out)
            unfinished.rename(out)
            break
        except LossyNumbers as found:  # further down than the first rows
            keep_as_strings.append(found.column)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    if not options.quiet:
        print(f"predictions: {out} ({', '.join(map(str, answers.columns))})")


def _answers(model: Any, options: argparse.Namespace, keep_as_strings: list[str]) -> Any:
    """The kept columns and the predictions, as a lazy Dask DataFrame."""
    from dask_dl.cluster.worker_memory import partition_limits
    from dask_dl.frame.column_choice import KEPT, ColumnChoice
    from dask_dl.frame.files import open_table

    encoder = model.encoder_
    choice = ColumnChoice(
        columns=[],
        optional=encoder.columns,
        ignore=options.ignore,
        categorical=[category.name for category in (*encoder.categories, *encoder.codes)],
        keep=options.keep,
        keep_as_strings=keep_as_strings,
    )
    table = open_table(options.data, choice, csv_format(options), partition_limits(None))
    answers = model.predict_table(table, keep=[KEPT + name for name in options.keep])
    names: list[str] = []
    for column in answers.columns:
        name = str(column).removeprefix(KEPT)
        while name in names:  # the probability of a class that is called as a kept column
            name = f"p{name}"
        names.append(name)
    answers.columns = names
    return answers


def _check_replaceable(out: Path, options: argparse.Namespace) -> None:
    """An existing OUT is replaced on request only, and only if it holds nothing but earlier predictions."""
    if not out.name:
        raise ParameterError(f"--output: {options.output!r} is not the name of a folder.")
    if not out.exists():
        return
    if not options.overwrite:
        raise ParameterError(f"--output: {out} exists; name another folder, or add --overwrite.")
    here = out.resolve()
    for name in (options.data, options.model):
        if "://" in name and not name.startswith("file://"):
            continue
        place = Path(name.removeprefix("file://")).resolve()
        if here == place or here in place.parents or place in here.parents:
            raise ParameterError(f"--output: {out} holds or is part of {name}, which is read. Name another folder.")
    if not out.is_dir() or any(not file.name.endswith(".parquet") for file in out.iterdir()):
        raise ParameterError(f"--output: {out} holds other things than predictions. Name another folder.")
