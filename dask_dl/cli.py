"""The command line: `dask-dl train`, `dask-dl predict`, `dask-dl demo`."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl import __version__, parameters
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    train = commands.add_parser(
        "train", help="train a model on a table", description="Train a model on a table.", allow_abbrev=False
    )
    _add_table(train)
    train.add_argument(
        "--target",
        required=True,
        metavar="NAME",
        help="column to predict: texts make a classifier, numbers a regressor",
    )
    train.add_argument("--model", required=True, metavar="OUT", help="file to write the model to")
    train.add_argument("--validation", metavar="DATA", help="table to score on while training")
    train.add_argument("--weights", metavar="NAME", help="column of row weights")
    train.add_argument("--offset", metavar="NAME", help="column of offsets (regression)")
    train.add_argument("--columns", type=_names, metavar="A,B", help="predictors; by default all other columns")
    train.add_argument(
        "--categorical",
        type=_names,
        default=[],
        metavar="A,B",
        help="columns whose numbers are categories, the target too",
    )
    train.add_argument("--plot", metavar="FILE", help="write a picture of the history, for example history.png")
    train.add_argument("--report", metavar="FILE", help="write a page of HTML on the model, for example report.html")
    train.add_argument("--resume", action="store_true", help="go on from the newest state in --checkpoint-dir, if any")
    train.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    _add_cluster(train)
    _add_parameters(train)
    train.set_defaults(run=_train)

    predict = commands.add_parser(
        "predict", help="predict a table with a model", description="Predict a table with a model."
    )
    predict.add_argument("model", metavar="MODEL", help="file that train wrote")
    _add_table(predict)
    predict.add_argument("--output", required=True, metavar="OUT", help="Parquet folder to write")
    predict.add_argument(
        "--keep", type=_names, default=[], metavar="A,B", help="columns to write beside the predictions"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    predict.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    predict.set_defaults(run=_predict)

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


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA", help="Parquet or CSV file, folder, glob or URL")
    command.add_argument("--sep", default=",", help="separator of CSV files (default: comma)")
    command.add_argument("--encoding", default="utf-8", help="encoding of CSV files (default: utf-8)")


def _add_cluster(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("Cluster")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="train on the Dask cluster of this scheduler, tcp://host:8786"
    )
    where.add_argument("--workers", type=int, metavar="N", help="train in N processes of this machine")
    group.add_argument("--threads", type=int, metavar="T", help="threads of each of the --workers (default: 1)")
    group.add_argument("--memory-limit", metavar="S", help="memory of each of the --workers, for example 4GiB")


def _cluster(options: argparse.Namespace) -> Any:
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


def _add_parameters(command: argparse.ArgumentParser) -> None:
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


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[float]:
    """A list such as 200,200 or 0.2,0.5."""
    try:
        return _read_numbers(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 200,200") from None


def _read_numbers(text: str) -> list[float]:
    return [float(part) if "." in part or "e" in part else int(part) for part in _names(text)]


def _train(options: argparse.Namespace) -> None:
    from dask_dl.frame.files import open_table

    given = {name: value for name, value in vars(options).items() if name in parameters.constructor_defaults()}
    parameters.validate(given | {"resume": options.resume}, task=None)
    names = [name for name in (options.target, options.weights, options.offset) if name]
    columns = None if options.columns is None else [*options.columns, *names]
    read = {"columns": columns, "categorical": options.categorical, "sep": options.sep, "encoding": options.encoding}
    table = open_table(options.data, **read)
    held = None if options.validation is None else open_table(options.validation, **read)
    _check_writable(options.model, "--model")
    if options.plot:
        from dask_dl.show.plots import check_picture

        check_picture(options.plot)
        _check_writable(options.plot, "--plot")
    if options.report:
        if "://" in options.report:
            raise ParameterError("--report: not available for URLs; name a local file.")
        _check_writable(options.report, "--report")
    if options.target not in table.columns:
        raise ParameterError(
            f"--target: {options.data} has no column {options.target!r}; it has {list(table.columns)[:30]}."
        )
    with _cluster(options) as client:
        _train_on(options, given | {"client": client}, table, held)


def _train_on(options: argparse.Namespace, given: dict[str, Any], table: Any, held: Any) -> None:
    """Train, save, and say what came out."""
    from dask_dl import DeepLearningClassifier, DeepLearningRegressor

    estimator: Any = DeepLearningClassifier if _is_class(table[options.target]) else DeepLearningRegressor
    model = estimator(**given, verbose=not options.quiet)
    if not options.quiet:
        print(
            f"{'classes' if estimator is DeepLearningClassifier else 'numbers'} of {options.target!r} from {options.data}"
        )
    parts = {"sample_weight": options.weights, "offset": options.offset, "eval_set": held}
    model.fit(table, options.target, **parts, resume=options.resume)
    model.save(options.model)
    if options.plot:
        model.plot_history().figure.savefig(options.plot, dpi=120)
    if options.report:
        model.report(options.report)
    if not options.quiet:
        _print_summary(model)
        written = {"model": options.model, "picture": options.plot, "report": options.report}
        print(", ".join(f"{name}: {path}" for name, path in written.items() if path))
    if model.stopped_by_ == "interrupted":
        raise KeyboardInterrupt


def _is_class(column: Any) -> bool:
    """Whether a target is a label, by its dtype."""
    import pandas as pd

    dtype = column.dtype
    return (
        isinstance(dtype, pd.CategoricalDtype)
        or pd.api.types.is_string_dtype(dtype)
        or pd.api.types.is_bool_dtype(dtype)
    )


def _check_writable(path: str, option: str) -> None:
    """What cannot be written is better known before the training than after it."""
    if "://" in path:
        return
    target = Path(path)
    if not target.name or target.is_dir() or (target.exists() and not target.is_file()):
        raise ParameterError(f"{option}: {path!r} is not the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ParameterError(
            f"{option}: nothing can be written to the folder {str(target.parent)!r}: {error}."
        ) from error


def _print_summary(model: Any) -> None:
    last = model.history_.iloc[-1]
    tables = [t for t in ("training", "validation") if any(name.startswith(f"{t}_r") for name in last.index)]
    names = [
        name.removeprefix("training_")
        for name in last.index
        if name.startswith("training_") and name != "training_speed"
    ]
    print(f"\n{'':22}" + "".join(f"{table:>14}" for table in tables))
    for name in names:
        print(f"{name:22}" + "".join(f"{last[f'{table}_{name}']:14.6g}" for table in tables))


def _predict(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.frame.files import open_table

    if "://" in options.output:
        raise ParameterError("--output: not available yet for URLs; name a local folder.")
    out = Path(options.output)
    _check_replaceable(out, options)
    model = load(options.model)
    table = open_table(options.data, sep=options.sep, encoding=options.encoding, exact=options.keep)
    answers = model.predict_table(table, keep=options.keep)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        try:
            answers.to_parquet(str(unfinished), write_index=False)
        except ValueError as error:
            if "Mismatched dtypes" not in str(error):
                raise
            raise SchemaError(
                f"{options.data} holds values that do not fit the types guessed from its first rows. Convert it to Parquet "
                f"with the right types.\n{error}"
            ) from error
        if out.exists():
            shutil.rmtree(out)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not options.quiet:
        print(f"predictions: {out} ({', '.join(map(str, answers.columns))})")


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


def _demo(options: argparse.Namespace) -> None:
    from dask_dl.demo import run_demo

    run_demo(options.output, quiet=options.quiet)
