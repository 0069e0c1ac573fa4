"""Steps of a check, those of a training up to its first round; a step that fails does not keep others from being tried."""

from __future__ import annotations

import contextlib
import functools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.preflight import resources, tables, trial
from dask_dl.preflight.findings import CheckListeners, CheckReport, Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_dl.cluster.backend import Backend
    from dask_dl.frame.inputs import Inputs
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.storage import Decision
    from dask_dl.training.problem import PreparedTables, Problem

#: Seed of what is drawn, where none was given.
SEED = 0


def check(
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    offset: Any = None,
    eval_set: Any = None,
    task: Literal["auto", "classification", "regression", "autoencoder"] = "auto",
    client: Any = None,
    **given: Any,
) -> Any:
    """Look for everything that is wrong with a training before it begins, and for what it will take.

    Parameters
    ----------
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
        The training table, as `fit` takes it.
    y : str, int, or aligned collection of n values, optional
        The target, as `fit` takes it; an autoencoder has none.
    sample_weight, offset : str, int or aligned collection, optional
        As `fit` takes them.
    eval_set : (X, y), (X, y, weight), (X, y, weight, offset), or a frame, optional
        The validation table, as `fit` takes it.
    task : {"auto", "classification", "regression", "autoencoder"}
        What is learned: that of `DeepLearningClassifier`, `DeepLearningRegressor` or `DeepLearningAutoEncoder`. "auto"
        classifies strings, categoricals and booleans, and learns everything else as a number.
    client : distributed.Client, optional
        Of the cluster; by default the active client, without one this process.
    **given : object
        Parameters of the estimators, such as `hidden` or `storage`.

    Returns
    -------
    CheckReport
        All findings. With an asynchronous client, an awaitable of it.

    Raises
    ------
    ClusterError
        When `client` is no running client.

    Notes
    -----
    Nothing is trained but a network that is thrown away, for about a second, on at most 32,768 rows. The table is read once, as
    by the scan of `fit`, and the first rows of at most eight partitions a second time.
    """
    from dask_dl.cluster.clients import awaitable, find_client

    asked = _Asked(X, y, sample_weight, offset, eval_set, task, find_client(client), given)
    work = functools.partial(_check, asked)
    return awaitable(work) if asked.client is not None and asked.client.asynchronous else work()


@dataclass
class _Asked:
    """Arguments of a check."""

    X: Any
    y: Any
    weight: Any
    offset: Any
    eval_set: Any
    task: str
    client: Any
    given: Mapping[str, Any]


@dataclass
class _Case:
    """A training that is checked, as far as it is known."""

    task: parameters.Task
    requested: dict[str, Any]
    source: Source
    validation: Source | None
    collector: Collector
    tell: CheckListeners
    seed: int = SEED
    scan_seconds: float = field(default=0.0)


def _check(asked: _Asked, cancelled: Callable[[], bool] = lambda: False) -> CheckReport:
    from dask_dl.show.progress import Progress
    from dask_dl.training.backends import backend_for

    collector = Collector()
    source: Source | None = None
    with collector.catching():
        source = _open(asked, collector)
    task = _task(asked, source, collector)
    requested = _parameters(asked.given, task, collector)
    if source is None:
        return CheckReport(collector.findings)
    validation: Source | None = None
    with collector.catching():
        validation = _open_validation(asked, source, collector)
    tell = CheckListeners([Progress(quiet=not requested["verbose"] or requested["quiet_mode"])], collector)
    seed = requested["random_state"]
    case = _Case(task, requested, source, validation, collector, tell, seed if isinstance(seed, int) else SEED)
    backend = backend_for(requested, asked.client, tell, cancelled, strict=False)
    with contextlib.ExitStack() as stack:
        with collector.apart() as entering, collector.catching():
            stack.enter_context(backend)  # what differs between hosts is told with their names instead
        is_unfit = resources.on_hosts(backend, collector)
        if errors := [finding for finding in entering if finding.level == "error"]:
            collector.findings += [] if is_unfit else errors
            collector.add("note", f"{source.label} was not read: there is no worker that could.")
        else:
            _check_tables(case, backend, may_train=not is_unfit)
    return CheckReport(collector.findings)


# ---- what was asked for -------------------------------------------------------------------------------------------------


def _open(asked: _Asked, collector: Collector) -> Source:
    from dask_dl.frame.source import open_source

    of_inputs = asked.task == "autoencoder"
    if asked.y is None and not of_inputs:
        raise ParameterError("y is None: give the name of the target's column, or its values; or task='autoencoder'.")
    if asked.y is not None and of_inputs:
        raise ParameterError("y: an autoencoder has no target; leave it out.")
    return open_source(asked.X, asked.y, asked.weight, asked.offset, warn=collector.warn)


def _open_validation(asked: _Asked, source: Source, collector: Collector) -> Source | None:
    from dask_dl.frame.source import OFFSET, TARGET, WEIGHT
    from dask_dl.frame.validation import open_validation

    roles = {TARGET: asked.y, WEIGHT: asked.weight, OFFSET: asked.offset}
    return open_validation(asked.eval_set, source, roles, warn=collector.warn)


def _task(asked: _Asked, source: Source | None, collector: Collector) -> parameters.Task:
    from dask_dl.frame.target import task_of

    if asked.task in {"classification", "regression", "autoencoder"}:
        return asked.task  # type: ignore[return-value]  # one of them
    if asked.task != "auto":
        text = f"task={asked.task!r}: must be 'auto', 'classification', 'regression' or 'autoencoder'."
        collector.add("error", text, parameter="task")
    if source is None:
        return "regression"
    task = task_of(asked.X, asked.y)
    what = (
        "classes, as DeepLearningClassifier does"
        if task == "classification"
        else "a number, as DeepLearningRegressor does"
    )
    collector.add("note", f"the target is checked as {what}.", "Say otherwise with task=...", parameter="task")
    return task


def _parameters(given: Mapping[str, Any], task: parameters.Task, collector: Collector) -> dict[str, Any]:
    """Parameters as `validate` returns them; those that it refuses are left out."""
    try:
        valid = parameters.validate(given, task=task)
    except ParameterError as error:
        collector.error(error)
        wrong = {finding.parameter for finding in collector.findings if finding.level == "error"}
        try:
            valid = parameters.validate({k: v for k, v in given.items() if k not in wrong}, task=task)
        except ParameterError:  # what is left contradicts the defaults
            valid = parameters.validate({}, task=task)
    for text in parameters.warnings_for(valid):
        collector.words("warning", text)
    return {name: valid[name] for name in parameters.constructor_defaults()}


# ---- tables -------------------------------------------------------------------------------------------------------------


def _check_tables(case: _Case, here: Backend, *, may_train: bool) -> None:
    """Scan both tables, and see what comes of them."""
    from dask_dl.training.preparation import plan, prepare_training, scan_training, training_checks

    collector, began = case.collector, time.monotonic()
    n_errors = collector.n_errors
    inputs: Inputs | None = None
    with collector.catching():
        inputs = scan_training(case.source, case.requested, case.task, case.seed, case.tell, here, collects=True)
    case.scan_seconds = time.monotonic() - began
    data: PreparedTables | None = None
    if inputs is not None and _is_usable(case, inputs.found):
        _describe(case, inputs, here)
        checks = training_checks(inputs, case.source, case.requested, case.task)
        for n_done, check_one in enumerate(checks):
            with collector.catching():
                check_one()
            if n_done == 0 and inputs.found.n_used == 0:
                break
        else:
            if collector.n_errors == n_errors + len(inputs.found.faults or ()):
                with collector.catching():
                    data = prepare_training(inputs, case.source, case.requested, case.task, case.seed, case.tell)
    if case.validation is not None:
        _check_validation(case, case.validation, data, here)
    problem: Problem | None = None
    if data is not None:
        with collector.catching():
            problem = plan(data, case.requested, case.seed, case.tell, here)
    if problem is not None:
        _check_training(case, problem, here, may_train=may_train)


def _is_usable(case: _Case, found: Scan) -> bool:
    """Take the faults of the training table; returns whether something can be said of the rest, without roles at fault."""
    from dask_dl.frame.source import TARGET

    for fault in found.faults or ():
        case.collector.fault(fault)
    tables.on_partitions(found, case.source, case.collector)
    tables.on_target(found, case.source, case.collector)
    at_fault = {fault.column for fault in found.faults or ()}
    is_usable = case.source.roles.get(TARGET, "") not in at_fault and found.n_rows > 0
    case.source = _without(case.source, at_fault)
    return is_usable


def _without(source: Source, at_fault: set[str | None]) -> Source:
    """A source without roles at fault: what depends on them is not known."""
    roles = {role: name for role, name in source.roles.items() if name not in at_fault}
    return replace(source, schema=replace(source.schema, roles=roles))


def _describe(case: _Case, inputs: Inputs, here: Backend) -> None:
    tables.on_columns(inputs, case.source, case.collector)
    with case.collector.catching("warning"):
        resources.on_largest_partition(inputs.found, case.source, here, case.collector)


def _check_validation(case: _Case, validation: Source, data: PreparedTables | None, here: Backend) -> None:
    """Scan the validation table, and see whether it fits the training table, as far as that is known."""
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.tasks import HEADS
    from dask_dl.training.loading import check_scored
    from dask_dl.training.preparation import check_columns, check_validation, validation_request

    collector = case.collector
    request = ScanRequest(HEADS[case.task].target_kind, sparse=validation.is_sparse)
    if data is not None:
        request = validation_request(data)
        with collector.catching():
            check_columns(data, validation)
    n_errors = collector.n_errors
    with collector.catching():
        found = here.scan(validation, request._replace(collects=True), case.tell.reading("scan validation"))
        for fault in found.faults or ():
            collector.fault(fault)
        tables.on_partitions(found, validation, collector)
        tables.on_target(found, validation, collector)
        if data is not None and collector.n_errors == n_errors:
            check_scored(check_validation(data, validation, found), found, validation, case.tell)
            data.tables["validation"] = validation, found


# ---- the training -------------------------------------------------------------------------------------------------------


def _check_training(case: _Case, problem: Problem, here: Backend, *, may_train: bool) -> None:
    """See what a training would take: memory, disk and time."""
    from dask_dl.training.loading import storage_needs
    from dask_dl.training.start import Start

    collector = case.collector
    _check_checkpoints(case, problem, here)
    topology, without = problem.topology, ""
    if collector.n_errors:
        without = " What follows leaves out columns with errors, and takes the defaults of parameters with errors."
    collector.add(
        "note", f"network: {topology.n_inputs:,} inputs, {topology.n_parameters:,} weights and biases.{without}"
    )
    chosen: Decision | None = None
    with collector.catching(parameter="storage"):
        needs = storage_needs(problem, here)
        chosen = resources.on_storage(needs, problem.run.storage, here, collector)
    n_errors = collector.n_errors
    with collector.catching():
        Start.fresh(problem)
    parts: list[Any] = []
    with collector.catching("note"):
        parts = here.head(problem.tables["training"][0], trial.sample_rows(problem.found))
        predictors = [name for name in problem.encoder.columns if name in problem.found.columns]
        tables.numeric_identifiers(parts, problem.found, predictors, collector)
        tables.far_values(parts, problem.found, problem.encoder.numbers, collector)
    if chosen is None or not parts or collector.n_errors > n_errors:
        return
    if not may_train or 0 < needs.budget.memory < chosen.memory.peak:
        why = "some workers cannot take part" if not may_train else "it may need more memory than there is"
        collector.add("note", f"the time of the training was not measured: {why}.")
        return
    with collector.apart() as trying, collector.catching():
        measured = trial.train_on_sample(problem, parts, here, CheckListeners([], collector))
        collector.add("note", trial.expected_time(problem, measured, case.scan_seconds, chosen.storage.mode))
    collector.findings += [finding for finding in trying if finding.level == "note"]
    for finding in trying:
        if finding.level == "error":  # warnings are of the sample
            collector.words(
                "warning", f"a trial on {sum(map(len, parts)):,} rows failed: {finding.text} {finding.remedy}"
            )


def _check_checkpoints(case: _Case, problem: Problem, here: Backend) -> None:
    """See whether checkpoints can be written, and whether there is room for one."""
    from dask_dl.training.checkpoints import open_folder
    from dask_dl.training.loading import size_of_checkpoint

    with case.collector.catching(parameter="checkpoint_dir"):
        folder, _ = open_folder(case.requested["checkpoint_dir"], resume=False, warn=case.tell.warn)
        if folder:
            folder.check_room(size_of_checkpoint(problem, here))
