"""`dask-dl evaluate`."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.model_tables import add_measured, open_for_model, say_figures
from dask_dl.cli.options import add_cluster, add_table, add_verbosity, cluster
from dask_dl.cli.outputs import check_file
from dask_dl.errors import ParameterError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    import argparse

    from dask_dl.show.evaluation import Evaluation

EXAMPLES = """\
Examples:
  dask-dl evaluate delayed.zip flights.parquet --target delayed --report worth.html
  dask-dl evaluate price.zip 'houses/*.csv' --weights area --json worth.json --workers 4
"""


def add_evaluate(commands: Any) -> None:
    """The command and its options."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model on a table",
        usage="dask-dl evaluate MODEL DATA --target NAME [options]   (dask-dl evaluate --help lists them)",
        description="Measure a model on a table, in one pass: on Dask where the rows lie.",
        epilog=EXAMPLES,
    )
    evaluate.add_argument("model", metavar="MODEL", help="file or URL that train wrote")
    add_table(evaluate)
    add_measured(evaluate, is_measured="as in training")
    group = evaluate.add_argument_group("What is written")
    group.add_argument("--report", metavar="FILE", help="page of HTML: figures, tables and pictures")
    group.add_argument("--json", metavar="FILE", help="figures as JSON, to a file or URL")
    add_verbosity(group)
    add_cluster(evaluate)
    evaluate.set_defaults(run=_evaluate, command=evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from dask_dl import load
    from dask_dl.show.progress import Progress

    _check_outputs(options)
    model, progress = load(options.model), Progress(quiet=options.quiet)
    with cluster(options) as client:
        evaluation, where = _evaluation(model, options, client, progress)
    if options.json:
        _write_json(evaluation, options)
    if options.report:
        evaluation.report(options.report)
    say_figures(progress.say, evaluation, where)
    if written := [f"{name}: {path}" for name, path in (("report", options.report), ("JSON", options.json)) if path]:
        progress.say("\n" + ", ".join(written))


def _check_outputs(options: argparse.Namespace) -> None:
    """Check before the pass that its files can be written."""
    others = [options.data, options.model]
    if options.report:
        if is_url(options.report):
            raise ParameterError("--report: not available for URLs; name a local file.")
        check_file(options.report, "--report", overwrite=True, others=others)
        others.append(options.report)
    if options.json:
        check_file(options.json, "--json", overwrite=True, others=others)


def _evaluation(model: Any, options: argparse.Namespace, client: Any, progress: Any) -> tuple[Evaluation, str]:
    """The evaluation, and words on which column of which table is the truth."""
    from dask_dl.cluster.liveness import Liveness

    is_supervised = model.model_.task != "autoencoder"
    target = options.target or model.model_.record.target_name
    if not is_supervised and options.target:
        raise ParameterError(f"--target: {options.model} is an autoencoder, whose truth is its inputs. Leave it out.")
    if is_supervised and target is None:
        raise ParameterError("--target: the model does not know which column it was trained on; name that of DATA.")
    table = open_for_model(model, options, client)
    if is_supervised and target not in table.columns:
        raise ParameterError(f"--target: {options.data} has no column {target!r}; name the one that holds the truth.")
    if client is not None:
        Liveness(client, progress.say).wait(parameters.TABLE["worker_timeout"].default)
    progress.say(f"evaluating {options.model} on {options.data}: {table.npartitions:,} partitions")
    start = time.monotonic()
    evaluation = model.evaluate(table, target, sample_weight=options.weights, offset=options.offset)
    evaluation.label = options.data
    progress.say(f"{evaluation.n_rows:,} rows in {time.monotonic() - start:.1f} s")
    return evaluation, f"{target!r} of {options.data}" if is_supervised else f"the inputs of {options.data}"


def _write_json(evaluation: Evaluation, options: argparse.Namespace) -> None:
    from dask_dl.checkpoint.whole_file import replaced

    content: dict[str, Any] = {
        "model": options.model,
        "data": options.data,
        "kind": evaluation.kind,
        "rows": evaluation.n_rows,
        "metrics": {name: value if math.isfinite(value) else None for name, value in evaluation.items()},
    }
    if evaluation.has("curve"):
        best = evaluation.at("max_f1")
        content["largest_f1"] = {"f1": float(best["f1"]), "threshold": float(best["threshold"])}
    if evaluation.classes:
        content["classes"] = [label.item() if hasattr(label, "item") else label for label in evaluation.classes]
    if evaluation.has("confusion"):
        content["confusion_matrix"] = evaluation.confusion_matrix().to_numpy().tolist()
    with replaced(options.json) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
