"""`dask-dl train`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import add_cluster, add_learned, add_table, add_verbosity, cluster
from dask_dl.cli.outputs import check_file
from dask_dl.cli.parameter_options import add_parameters, instead_of
from dask_dl.cli.training_tables import estimator_of, open_tables
from dask_dl.errors import ParameterError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


EXAMPLES = """\
Examples:
  dask-dl train flights.parquet --target delayed --validation later.parquet --model delayed.zip
  dask-dl train houses.csv --target price --hidden 50,50 --epochs 20 --workers 4 --model price.zip
  dask-dl train flights.parquet --autoencoder --ignore delayed --hidden 50,5,50 --activation tanh --model usual.zip
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
        required={"target": "--target NAME or --autoencoder", "model": "--model OUT"},
    )
    add_learned(train, folds=True)
    add_table(train)
    group = train.add_argument_group("What is written")
    group.add_argument("--model", metavar="OUT", help="file or URL to write the model to")
    group.add_argument("--overwrite", action="store_true", help="replace the model if it exists")
    group.add_argument("--plot", metavar="FILE", help="picture of the history, for example history.png")
    group.add_argument("--report", metavar="FILE", help="page of HTML on the model, for example report.html")
    group.add_argument(
        "--checkpoint",
        metavar="MODEL",
        help="go on from a saved model, to --epochs in all",
    )
    group.add_argument("--resume", action="store_true", help="go on from the newest state in --checkpoint-dir, if any")
    add_verbosity(group)
    add_cluster(train)
    add_parameters(train)
    train.set_defaults(run=_train, command=train)


def _train(options: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(options).items() if name in parameters.constructor_defaults()}
    parameters.validate(given | {"resume": options.resume}, task=None)
    _check_outputs(options)
    start = None
    if options.checkpoint:
        from dask_dl import load

        start = load(options.checkpoint)
        given = {**_fixed(start.get_params()), **given}
    with cluster(options) as client:
        table, held = open_tables(options, client)
        _train_on(options, given | {"client": client}, table, held, start)


def _fixed(known: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a model that must not change where training goes on, so that they need not be given again."""
    return {
        name: value for name, value in known.items() if parameters.TABLE[name].restart in {"no", "equal", "ignored"}
    }


def _check_outputs(options: argparse.Namespace) -> None:
    """Check before the training that its files can be written."""
    others = [name for name in (options.data, options.validation, options.checkpoint) if name]
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


def _train_on(options: argparse.Namespace, given: dict[str, Any], table: Any, held: Any, start: Any = None) -> None:
    """Train, save, and say what came out."""
    from dask_dl.checkpoint.whole_file import replaced

    estimator, learned = estimator_of(options, table)
    model = estimator(**given, verbose=not options.quiet)
    if not options.quiet:
        print(f"{learned} from {options.data}")
    parts = {"sample_weight": options.weights, "offset": options.offset, "eval_set": held, "folds": options.folds}
    model.fit(table, options.target or None, **parts, checkpoint=start, resume=options.resume)
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


def _print_summary(model: Any) -> None:
    folds = model.model_.record.folds
    if folds is not None:
        print("\nrows held out            mean            sd   of the folds")
        for name, mean, deviation, *_ in folds.to_pandas().itertuples():
            print(f"{name:22}{mean:14.6g}{deviation:14.6g}")
    metrics = model.model_.record.history.last_metrics()
    print(f"\n{'':22}" + "".join(f"{table:>14}" for table in metrics))
    for name, *values in metrics.itertuples():
        print(f"{name:22}" + "".join(f"{value:14.6g}" for value in values))
