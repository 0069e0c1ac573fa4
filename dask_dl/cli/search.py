"""`dask-dl search`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import add_cluster, add_learned, add_table, add_verbosity, cluster
from dask_dl.cli.outputs import check_file
from dask_dl.cli.parameter_options import add_parameters, instead_of, option_of
from dask_dl.cli.space import read_space
from dask_dl.cli.training_tables import estimator_of, open_tables
from dask_dl.errors import ParameterError
from dask_dl.tuning.options import OPTIONS

if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
Examples:
  dask-dl search flights.parquet --target delayed --validation later.parquet --space space.toml --model best.zip
  dask-dl search houses.csv --target price --space space.toml --method halving --max-models 30 --leaderboard board.csv

space.toml:
  hidden = [[32, 32], [100]]
  input_dropout_ratio = [0.0, 0.1]
  l1 = { loguniform = [1e-6, 1e-3] }      # or uniform, randint; by --method random or halving
"""
#: Candidates that are printed.
N_SHOWN = 20


def add_search(commands: Any) -> None:
    """The command and its options."""
    search = commands.add_parser(
        "search",
        help="try many choices of parameters",
        usage="dask-dl search DATA --target NAME --space FILE [options]   (dask-dl search --help lists them)",
        description="Train a model with many choices of parameters, on a table that is read once.",
        epilog=EXAMPLES,
        answer=instead_of,
        required={"target": "--target NAME or --autoencoder", "space": "--space FILE"},
    )
    add_learned(search, folds=True)
    add_table(search)
    group = search.add_argument_group("What is tried")
    group.add_argument("--space", metavar="FILE", help="values of each parameter, in TOML: see below")
    for name, option in OPTIONS.items():
        kind = option.kind.text.split()[0]
        read = {"int": int, "float": float}.get(kind, str)
        default = "none" if option.default is None else option.default
        legal = option.kind.text.replace('"', "").replace("int", "INT").replace("float", "FLOAT")
        group.add_argument(
            search_option(name), dest=f"search_{name}", type=read, default=option.default,
            metavar=f"{legal} (default: {default})", help=option.brief,
        )  # fmt: skip
    group = search.add_argument_group("What is written")
    group.add_argument("--model", metavar="OUT", help="file or URL to write the best model to")
    group.add_argument("--leaderboard", metavar="FILE", help="table of all candidates, .csv")
    group.add_argument(
        "--plot", metavar="FILE", help="picture of the metric against each parameter, such as search.png"
    )
    group.add_argument("--overwrite", action="store_true", help="replace the model if it exists")
    add_verbosity(group)
    add_cluster(search)
    add_parameters(search)
    search.set_defaults(run=_search, command=search)


def search_option(name: str) -> str:
    """Option of the command line for an option of a search; those of a training keep theirs."""
    return option_of(f"search_{name}" if name in parameters.TABLE else name)


def _search(options: argparse.Namespace) -> None:
    from dask_dl.tuning.options import SearchSettings

    given = {name: value for name, value in vars(options).items() if name in parameters.constructor_defaults()}
    parameters.validate(given, task=None)
    asked = {name: getattr(options, f"search_{name}") for name in OPTIONS}
    SearchSettings.of(asked)
    space = read_space(options.space)
    _check_outputs(options)
    with cluster(options) as client:
        table, held = open_tables(options, client)
        _search_on(options, given | {"client": client}, asked, space, table, held)


def _check_outputs(options: argparse.Namespace) -> None:
    """Check before the search that its files can be written."""
    others = [name for name in (options.data, options.validation, options.space) if name]
    if options.model:
        check_file(options.model, "--model", overwrite=options.overwrite, others=others)
        others.append(options.model)
    if options.leaderboard:
        if not options.leaderboard.endswith(".csv"):
            raise ParameterError(f"--leaderboard: {options.leaderboard} is no name of a table; let it end with .csv.")
        check_file(options.leaderboard, "--leaderboard", overwrite=True, others=others)
        others.append(options.leaderboard)
    if options.plot:
        from dask_dl.show.plots import check_picture

        check_picture(options.plot)
        check_file(options.plot, "--plot", overwrite=True, others=others)


def _search_on(
    options: argparse.Namespace, given: dict[str, Any], asked: dict[str, Any], space: Any, table: Any, held: Any
) -> None:
    """Search, write, and say what came out.

    Parameters
    ----------
    options : argparse.Namespace
    given : dict
        Parameters of the estimator.
    asked : dict
        Options of the search.
    space : list of dict
    table, held : dask.dataframe.DataFrame
        Training and validation table; the latter may be None.
    """
    from dask_dl import GridSearch
    from dask_dl.checkpoint.whole_file import replaced

    kind, learned = estimator_of(options, table)
    if not options.quiet:
        print(f"{learned} from {options.data}")
    parts = {"sample_weight": options.weights, "offset": options.offset, "eval_set": held, "folds": options.folds}
    found = GridSearch(kind(**given, verbose=not options.quiet), space, **asked)
    found.fit(table, options.target or None, **parts)
    written = {}
    if options.leaderboard:
        with replaced(options.leaderboard) as file:
            file.write(found.leaderboard_.to_csv().encode())
        written["leaderboard"] = options.leaderboard
    if not options.quiet:
        board = found.leaderboard_.drop(columns=["error", "model"], errors="ignore")
        print(f"\n{board.head(N_SHOWN).to_string(max_colwidth=40)}")
        if len(board) > N_SHOWN:
            print(f"... and {len(board) - N_SHOWN:,} more")
        if found.ended_by_:
            print(f"ended by {found.ended_by_}")
    if options.model:
        found.best_model_.save(options.model)
        written["model"] = options.model
    if options.plot:
        with replaced(options.plot) as file:
            found.plot_parameters().savefig(file, format=PurePath(options.plot).suffix[1:], dpi=120)
        written["picture"] = options.plot
    if written and not options.quiet:
        print(", ".join(f"{name}: {path}" for name, path in written.items()))
    if found.ended_by_ == "interrupted":
        raise KeyboardInterrupt
