"""`dask-dl train`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster, csv_format, names
from dask_dl.cli.outputs import check_file
from dask_dl.cli.parameter_options import add_parameters, instead_of
from dask_dl.errors import ParameterError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    import argparse


EXAMPLES = """\
Examples:
  dask-dl train flights.parquet --target delayed --validation later.parquet --model delayed.zip
  dask-dl train houses.csv --target price --hidden 50,50 --epochs 20 --workers 4 --model price.zip
"""


def add_train(commands: Any) -> None:
    """The command and its options."""
    train = commands.add_parser(
        "train",
        help="train a model on a table",
        usage="dask-dl train DATA --target NAME --model OUT [options]   (dask-dl train --help lists them)",
        description="Train a model on a table.",
        epilog=EXAMPLES,
        answer=instead_of,
        required={"target": "--target NAME", "model": "--model OUT"},
    )
    group = train.add_argument_group("What is learned")
    group.add_argument(
        "--target", metavar="NAME", help="column to predict: strings make a classifier, numbers a regressor"
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
    group.add_argument("--validation", metavar="DATA", help="table to score on while training")
    add_table(train)
    group = train.add_argument_group("What is written")
    group.add_argument("--model", metavar="OUT", help="file or URL to write the model to")
    group.add_argument("--overwrite", action="store_true", help="replace the model if it exists")
    group.add_argument("--plot", metavar="FILE", help="picture of the history, for example history.png")
    group.add_argument("--report", metavar="FILE", help="page of HTML on the model, for example report.html")
    group.add_argument("--resume", action="store_true", help="go on from the newest state in --checkpoint-dir, if any")
    add_verbosity(group)
    add_cluster(train)
    add_parameters(train)
    train.set_defaults(run=_train, command=train)


def _train(options: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(options).items() if name in parameters.constructor_defaults()}
    parameters.validate(given | {"resume": options.resume}, task=None)
    _check_outputs(options)
    with cluster(options) as client:
        table, held = _open_tables(options, client)
        _train_on(options, given | {"client": client}, table, held)


def _check_outputs(options: argparse.Namespace) -> None:
    """Check before the training that its files can be written."""
    others = [name for name in (options.data, options.validation) if name]
    check_file(options.model, "--model", overwrite=options.overwrite, others=others)
    others.append(options.model)
    if options.plot:
        from dask_dl.show.plots import check_picture

        check_picture(options.plot)
        check_file(options.plot, "--plot", overwrite=True, others=others)
        others.append(options.plot)
    if options.report:
        if is_url(options.report):
            raise ParameterError("--report: not available for URLs; name a local file.")
        check_file(options.report, "--report", overwrite=True, others=others)


def _open_tables(options: argparse.Namespace, client: Any) -> tuple[Any, Any]:
    """(the training table, the validation table or None)."""
    from dask_dl.cluster.worker_memory import partition_limits
    from dask_dl.frame.column_choice import ColumnChoice
    from dask_dl.frame.files import open_table

    used = [name for name in (options.target, options.weights, options.offset) if name]
    if ignored := [name for name in used if name in options.ignore]:
        raise ParameterError(f"--ignore: {ignored} cannot be left out, as they are target, weights or offset.")
    # One partition is read after the other here, and one by every thread of a worker.
    form, limits = csv_format(options), partition_limits(client, n_readers=1)
    choice = ColumnChoice(
        None if options.columns is None else [*options.columns, *used],
        ignore=options.ignore,
        categorical=options.categorical,
        target=options.target,
    )
    table = open_table(options.data, choice, form, limits)
    if options.target not in table.columns:
        raise ParameterError(
            f"--target: {options.data} has no column {options.target!r}; it has {list(table.columns)[:30]}."
        )
    if options.validation is None:
        return table, None
    optional = [options.weights] if options.weights else []
    columns = [name for name in table.columns if name not in optional]
    # What is a category here is one there, even if all of its values read as numbers.
    choice = ColumnChoice(columns, optional, categorical=[name for name in columns if _is_category(table[name].dtype)])
    return table, open_table(options.validation, choice, form, limits)


def _train_on(options: argparse.Namespace, given: dict[str, Any], table: Any, held: Any) -> None:
    """Train, save, and say what came out."""
    from dask_dl import DeepLearningClassifier, DeepLearningRegressor
    from dask_dl.checkpoint.whole_file import replaced

    estimator: Any = DeepLearningClassifier if _is_class(table[options.target].dtype) else DeepLearningRegressor
    model = estimator(**given, verbose=not options.quiet)
    if not options.quiet:
        print(
            f"{'classes' if estimator is DeepLearningClassifier else 'numbers'} of {options.target!r} from {options.data}"
        )
    parts = {"sample_weight": options.weights, "offset": options.offset, "eval_set": held}
    model.fit(table, options.target, **parts, resume=options.resume)
    model.save(options.model)
    if options.plot:
        with replaced(options.plot) as file:
            model.plot_history().figure.savefig(file, format=PurePath(options.plot).suffix[1:], dpi=120)
    if options.report:
        model.report(options.report)
    if not options.quiet:
        _print_summary(model)
        written = {"model": options.model, "picture": options.plot, "report": options.report}
        print(", ".join(f"{name}: {path}" for name, path in written.items() if path))
    if model.stopped_by_ == "interrupted":
        raise KeyboardInterrupt


def _is_category(dtype: Any) -> bool:
    import pandas as pd

    return isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)


def _is_class(dtype: Any) -> bool:
    """Whether a target of this dtype is a label."""
    import pandas as pd

    return _is_category(dtype) or pd.api.types.is_bool_dtype(dtype)


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
