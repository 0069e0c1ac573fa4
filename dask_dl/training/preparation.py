"""Decisions about the network that follow from the columns of the tables and the parameters."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.distribution import Distribution
from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import blurred_warning
from dask_dl.frame.encoder import Encoder
from dask_dl.frame.inputs import Inputs, dropped_warning, settle
from dask_dl.frame.row_roles import where_of
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import Scan, check_used, name_of_target
from dask_dl.frame.source import TARGET, WEIGHT, Source
from dask_dl.kernels.optimizers import Optimizer
from dask_dl.node.parallelism import overshoots
from dask_dl.tasks import HEADS
from dask_dl.training.class_balance import balance_of
from dask_dl.training.problem import PreparedTables, Problem
from dask_dl.training.settings import (
    NetworkSettings,
    Preparation,
    RunSettings,
    limit_batches,
    skips_of,
    threads_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners


def prepare(
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    tell: Listeners,
    here: Backend,
    classes: Sequence[Any] = (),
    *,
    more_follow: bool = False,
) -> PreparedTables:
    """Read the tables once, and decide what their columns and the parameters make of them.

    Parameters
    ----------
    source : Source
        The training table.
    validation : Source or None
        The validation table, if there is one.
    requested : mapping
        Parameters as the user gave them.
    task : str
        "classification" or "regression".
    seed : int
        Seed of samples, visits and the hashing of levels.
    tell : Listeners
        Told what happens.
    here : Backend
        Scans the tables.
    classes : sequence
        Labels of which the table may have none yet; empty: it has all that there are.
    more_follow : bool
        Whether inputs stay as they are now for other rows.

    Returns
    -------
    PreparedTables

    Raises
    ------
    SchemaError
        When a table is of no use, or no column is left to learn from.
    ParameterError
        When a parameter does not fit the table.
    """
    inputs = scan_training(source, requested, task, seed, tell, here)
    if classes:
        inputs = inputs._replace(found=inputs.found.with_classes(classes, name_of_target(source)))
    for check in training_checks(inputs, source, requested, task):
        check()
    data = prepare_training(inputs, source, requested, task, seed, tell)
    if inputs.dropped:
        tell.warn(dropped_warning(inputs.dropped, more_follow=more_follow))
    blurred = [name for name in inputs.predictors if getattr(inputs.found.columns[name], "is_blurred", False)]
    if blurred:
        tell.warn(blurred_warning(blurred))
    if validation is not None:
        scan_validation(data, validation, tell, here)
    return data


def scan_training(
    source: Source,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    tell: Listeners,
    here: Backend,
    *,
    collects: bool = False,
) -> Inputs:
    """Read the training table once, or twice where rows are skipped.

    Parameters
    ----------
    source : Source
        The training table.
    requested : mapping
        Parameters as the user gave them.
    task : str
        "classification" or "regression".
    seed : int
        Seed of all random numbers.
    tell : Listeners
        Told what happens.
    here : Backend
        Scans the table.
    collects : bool
        Whether faults are collected in the scan.

    Returns
    -------
    Inputs

    Raises
    ------
    SchemaError
        When the table is of no use, and faults are not collected.
    """
    preparation = preparation_of(source, requested, task, seed)
    tell.say(f"scanning {source.label}: {source.n_partitions:,} partitions, {len(source.predictors):,} columns")
    request = preparation.encoding.request(
        HEADS[task].target_kind, skips=preparation.skips, is_weighted=WEIGHT in source.roles
    )._replace(distribution=preparation.distribution, collects=collects)

    def scan(request: ScanRequest) -> Scan:
        if request.inputs is not None:
            tell.say("scanning it again: columns that are no inputs have gaps, for which no row is skipped")
        return here.scan(source, request, tell.reading("scan"))

    return settle(scan, request, ignore_const_cols=preparation.ignores_constants)


def preparation_of(source: Source, requested: Mapping[str, Any], task: parameters.Task, seed: int) -> Preparation:
    """Settings of how a table becomes inputs and targets.

    Parameters
    ----------
    source : Source
        The table.
    requested : mapping
        Parameters as the user gave them.
    task : str
        Key of HEADS.
    seed : int
        Seed of the hashing of levels.

    Returns
    -------
    Preparation
    """
    starts_at_constant = HEADS[task].starts_at_constant
    distribution = Distribution.of(parameters.effective(requested, task=task)) if starts_at_constant else None
    return Preparation.of(requested, task, seed, distribution, is_sparse=source.is_sparse)


def training_checks(
    inputs: Inputs, source: Source, requested: Mapping[str, Any], task: parameters.Task
) -> tuple[Callable[[], None], ...]:
    """Checks whether anything can be learned from a scanned table; all but the first are for tables that pass that one.

    Parameters
    ----------
    inputs : Inputs
        What is known of the table.
    source : Source
        The training table.
    requested : mapping
        Parameters as the user gave them.
    task : str
        "classification" or "regression".

    Returns
    -------
    tuple of callables
        Without arguments; each raises SchemaError or ParameterError when the answer is no.
    """
    found, n_classes = inputs.found, len(inputs.found.classes) or None
    skips = ScanRequest(HEADS[task].target_kind, skips=skips_of(requested))

    def check_predictors() -> None:
        if not inputs.predictors:
            shown = inputs.dropped[:12]
            text = f"no column is left to learn from: {shown} are constant or empty (n_samples={found.n_rows})."
            raise SchemaError(text)

    def check_classes() -> None:
        parameters.validate(requested, task=task, n_classes=n_classes)

    def check_targets() -> None:
        check_range(found, source, Distribution.of(parameters.effective(requested, task=task, n_classes=n_classes)))

    return (
        lambda: check_used(found, source, skips),
        lambda: HEADS[task].check(found, name_of_target(source)),
        check_classes,
        check_targets,
        check_predictors,
    )


def prepare_training(
    inputs: Inputs,
    source: Source,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    tell: Listeners,
) -> PreparedTables:
    """Decide what the columns of the training table and the parameters make of its inputs and targets.

    Parameters
    ----------
    inputs : Inputs
        What is known of the table, which has passed `training_checks`.
    source : Source
        The training table.
    requested : mapping
        Parameters as the user gave them.
    task : str
        "classification" or "regression".
    seed : int
        Seed of samples, visits and the hashing of levels.
    tell : Listeners
        Told what happens.

    Returns
    -------
    PreparedTables

    Raises
    ------
    ParameterError
        When a parameter does not fit the table.
    """
    found = inputs.found
    if found.row_stats.is_binary:
        tell.warn(
            "the target holds only 0 and 1 and is learned as a number; for classes use DeepLearningClassifier, or make it a "
            "category (on the command line with --categorical)."
        )
    preparation = preparation_of(source, requested, task, seed)
    n_classes = len(found.classes) or None
    effective = parameters.effective(requested, task=task, n_classes=n_classes) | {"random_state": seed}
    distribution = Distribution.of(effective)
    head = HEADS[task].fit(found, standardize=preparation.standardizes, link=distribution.link)
    balance, head = balance_of(found, head, effective, tell)
    encoder = Encoder.fit(found, inputs.predictors, preparation.encoding)
    return PreparedTables(
        task, {"training": (source, found)}, inputs.required, encoder, head, balance, distribution,
        preparation.encoding.sparse, seed,
    )  # fmt: skip


def plan(data: PreparedTables, requested: Mapping[str, Any], seed: int, tell: Listeners, here: Backend) -> Problem:
    """Plan a network for prepared tables, and how it is trained.

    Parameters
    ----------
    data : PreparedTables
        The tables.
    requested : mapping
        Parameters as the user gave them.
    seed : int
        Seed of all random numbers of the training.
    tell : Listeners
        Told what happens.
    here : Backend
        Chooses what threads do.

    Returns
    -------
    Problem

    Raises
    ------
    ParameterError
        When a parameter does not fit the tables, or the network is too large.
    """
    n_classes = len(data.head.classes) or None
    parameters.validate(requested, task=data.task, n_classes=n_classes)
    effective = parameters.effective(requested, task=data.task, n_classes=n_classes) | {
        "random_state": seed,
        "sparse": data.is_sparse,
    }
    network = NetworkSettings.of(effective)
    topology = network.topology(data.encoder, data.head)
    n_min = data.balance.n_min(data.class_counts) if data.balance else data.found.n_used
    effective = limit_batches(effective, n_min)
    optimizer = Optimizer.of_parameters(effective)
    threads = here.choose(topology, optimizer, data.found.n_used, threads_of(effective))
    for text in overshoots(threads, optimizer):
        tell.warn(text)
    shared = {field.name: getattr(data, field.name) for field in fields(PreparedTables)} | {"seed": seed}
    run = RunSettings.of(effective, requested, data.task)
    effective |= run.resolved
    return Problem(
        **shared, topology=topology, network=network, optimizer=optimizer, run=run, effective=effective,
        requested=dict(requested), threads=threads,
    )  # fmt: skip


def scan_validation(data: PreparedTables, validation: Source, tell: Listeners, here: Backend) -> None:
    """Read the validation table once, and prepare it beside the training table.

    Parameters
    ----------
    data : PreparedTables
        The training table, prepared; gets the validation table too.
    validation : Source
        The validation table.
    tell : Listeners
        Told what happens.
    here : Backend
        Scans the table.

    Raises
    ------
    SchemaError
        When the training cannot be scored on it.
    """
    check_columns(data, validation)
    found = here.scan(validation, validation_request(data), tell.reading("scan validation"))
    check_validation(data, validation, found)
    data.tables["validation"] = validation, found


def check_columns(data: PreparedTables, validation: Source) -> None:
    """Whether a validation table has the columns of training. Raises SchemaError."""
    known = set(data.tables["training"][0].predictors)  # a table with which training goes on may lack some, too
    missing = [name for name in data.encoder.match(validation.predictors, validation.label) if name in known]
    if missing:
        raise SchemaError(
            f"{validation.label} lacks columns of training: {missing[:12]}. Score on a table with the same columns."
        )


def validation_request(data: PreparedTables) -> ScanRequest:
    """Request for the scan of a validation table."""
    return ScanRequest(data.head.target_kind, sparse=data.encoder.is_sparse)


def check_validation(data: PreparedTables, validation: Source, found: Scan) -> int:
    """Rows of a scanned table on which the training can be scored, by their labels. Raises SchemaError when it cannot be."""
    if found.n_used == 0:
        needs = [
            name for role, name in ((TARGET, "a target"), (WEIGHT, "a weight above zero")) if role in validation.roles
        ]
        raise SchemaError(f"{validation.label} has no row{' with ' if needs else ''}{' and '.join(needs)}.")
    unseen = data.head.check_scored(found.classes, where_of(validation.schema, TARGET))
    check_range(found, validation, data.distribution)
    return found.n_used - sum(unseen.values())


def check_range(found: Scan, source: Source, distribution: Distribution) -> None:
    """Whether the distribution allows these targets. Raises SchemaError."""
    if wrong := distribution.forbids(found.row_stats.min_target, found.target.mean):
        raise SchemaError(f"the target of {source.label} {wrong}")
