"""From a table to a model: scan, encode, then rounds. It alone imports all packages."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl import jit, memory, parameters
from dask_dl.cluster.environment import versions
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.shard import Setup
from dask_dl.distribution import Distribution
from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError, SchemaError
from dask_dl.frame.balance import Balance
from dask_dl.frame.blocks import BlockOptions, Recipe
from dask_dl.frame.dtypes import blurred_warning
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.inputs import dropped_warning, settle
from dask_dl.frame.row_roles import where_of
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import Scan, check_target, unseen_labels
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Source
from dask_dl.frame.target import Target
from dask_dl.kernels.batches import buffer_size, train_batches
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import KINDS, Objective
from dask_dl.kernels.network import train_rows
from dask_dl.kernels.optimizers import N_STATES, Optimizer, kind_of
from dask_dl.model import Model
from dask_dl.node.blas import one_blas_thread
from dask_dl.node.parallelism import Parallelism, overshoots
from dask_dl.node.replica import ROWS_TO_PREDICT
from dask_dl.node.stability import instability
from dask_dl.resume import Checkpoint, CheckpointWriter, TrainingFingerprint, open_folder
from dask_dl.rounds import DIVERGED, EPOCHS, FAILED, INTERRUPTED, NO_WORKERS, TERMINATED, TIME_IS_UP, Rounds
from dask_dl.schedule import RoundSchedule, total_rows
from dask_dl.score.history import History, ScoringSchedule
from dask_dl.score.stopping import metric_of, reason_to_stop, stride_of
from dask_dl.storage import Decision, decide
from dask_dl.training_state import Snapshot, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.cluster.backend import Backend
    from dask_dl.show.progress import Progress


def fit_model(
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    progress: Progress,
    *,
    place: Backend | None = None,
    callbacks: Sequence[Callable[[Mapping[str, Any]], object]] = (),
    resume: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
    began: float | None = None,
) -> tuple[Model, BaseException | None]:
    """Train a network on a table.

    Parameters
    ----------
    source, validation : Source
        The tables; the second, if any, is only scored.
    requested : mapping
        Constructor parameters as `parameters.validate` returns them.
    task : {"classification", "regression"}
        What the target is.
    progress : Progress
        Told of everything that takes time.
    place : Backend, optional
        Where to train: by default in this process.
    callbacks : sequence of callable
        Called with the record of every scoring event; True stops the training.
    resume : bool
        Whether to go on from the newest checkpoint in `checkpoint_dir`, if there is one.
    cancelled : callable
        Asked ten times a second while rounds are trained; True ends the training as Ctrl-C does.
    began : float, optional
        When the time of `max_runtime_secs` begins, by `time.monotonic`: by default now.

    Returns
    -------
    model : Model
        The last good one.
    failure : BaseException or None
        Why training could not go on: it diverged, no worker was left, or a callback raised.
    """
    began = time.monotonic() if began is None else began
    folder, checkpoint = open_folder(requested["checkpoint_dir"], resume=resume)
    for text in parameters.warnings_for(requested):
        warnings.warn(DaskDLWarning(text), stacklevel=4)
    with place or LocalBackend() as here:
        seed = _seed(requested["random_state"], checkpoint)
        if not isinstance(requested["random_state"], int | None):  # a model knows the number that a generator gave
            requested = {**requested, "random_state": seed}
        problem = _understood(source, validation, requested, task, seed, progress, here)
        if folder:
            n_states, keeps_best = N_STATES[problem.optimizer.kind], requested["overwrite_with_best_model"]
            folder.check_room(CheckpointWriter.size(problem.topology, n_states, keeps_best=keeps_best))
        if checkpoint:
            checkpoint.check(problem.fingerprint)
            problem.encoder, problem.target = checkpoint.encoder, checkpoint.target  # to the last bit
        table_rows = _load(problem, progress, here, has_folder=folder is not None)
        state, start = _begin(problem, checkpoint, progress, here)
        prints = {name: here.fingerprint(name) for name in problem.tables} if folder else {}
        if checkpoint:
            checkpoint.check_rows(prints)
        if resume and not checkpoint:
            place_of_state = requested["checkpoint_dir"]
            progress.say(f"resume: there is no checkpoint in {place_of_state} yet, starting from the beginning")
        writer = CheckpointWriter(folder, problem.fingerprint, task, problem.seed, began, prints) if folder else None
        rounds = _rounds(problem, state, writer, began, progress, here)
        rounds.callbacks, rounds.cancelled, rounds.good = callbacks, cancelled, start
        with one_blas_thread():
            here.compile()
            rounds.run()
        assert rounds.final is not None
        final, effective = rounds.final, problem.effective | here.report() | {"client": None}
    progress.say(f"ended: {state.stopped_by}")
    model = Model(
        task=task,
        encoder=problem.encoder,
        target=problem.target,
        topology=problem.topology,
        flat=final.flat,
        states=final.states,
        requested=dict(requested) | {"client": None},  # a model knows nothing of where it was trained
        effective=effective,
        history=state.history,
        n_seen=final.n_seen,
        n_rounds=final.n_rounds,
        n_rows=here.n_rows,
        feature_names=source.predictors,
        is_named=source.is_named,
        offset_name=_offset_name(source),
        target_name=_target_name(source),
        stopped_by=state.stopped_by,
        confusion=state.confusion,
        table_rows=table_rows,
        versions=versions(),
    )
    return model, state.failure


@dataclass
class _Problem:
    """Tables that are understood, and the network that shall learn them."""

    task: parameters.Task
    tables: dict[str, tuple[Source, Scan]]  #: "training", and "validation" if there is one
    required: frozenset[str]  #: columns without which a row does not train
    encoder: Encoder
    target: Target
    balance: Balance | None
    distribution: Distribution
    topology: Topology
    optimizer: Optimizer
    effective: dict[str, Any]
    seed: int
    threads: Parallelism
    fingerprint: TrainingFingerprint

    @property
    def kernel(self) -> Any:
        """What trains."""
        return train_rows if self.optimizer.batch == 1 else train_batches

    @property
    def found(self) -> Scan:
        """What is known of the training table."""
        return self.tables["training"][1]


def _understood(
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    progress: Progress,
    here: Backend,
) -> _Problem:
    """Read the tables once, and decide what their columns and the parameters make of the network."""
    progress.say(f"scanning {source.label}: {source.n_partitions:,} partitions, {len(source.predictors):,} columns")
    encoding = Encoding(
        "one_hot_internal" if requested["categorical_encoding"] == "auto" else requested["categorical_encoding"],
        requested["use_all_factor_levels"],
        requested["standardize"],
        requested["max_categorical_features"],
        seed,
        requested["sparse"] or source.is_sparse,
    )
    skips = requested["missing_values_handling"] == "skip"
    request = encoding.request(task, skips=skips, is_weighted=WEIGHT in source.roles)
    if task == "regression":
        request = request._replace(distribution=Distribution.of(parameters.effective(requested, task=task)))

    def scan(request: ScanRequest) -> Scan:
        if request.inputs is not None:
            progress.say("scanning it again: columns that are no inputs have gaps, for which no row is skipped")
        return here.scan(source, request, progress.reading("scan"))

    found, predictors, dropped, required = settle(scan, request, ignore_const_cols=requested["ignore_const_cols"])
    check_target(found, source, request)
    if found.row_stats.is_binary:
        text = (
            "the target holds only 0 and 1 and is learned as a number; for classes use DeepLearningClassifier, or make it a "
            "category (on the command line with --categorical)."
        )
        warnings.warn(DaskDLWarning(text), stacklevel=5)
    n_classes = len(found.classes) or None
    parameters.validate(requested, task=task, n_classes=n_classes)
    effective = parameters.effective(requested, task=task, n_classes=n_classes) | {
        "random_state": seed,
        "sparse": encoding.sparse,
    }
    distribution = Distribution.of(effective)
    _check_range(found, source, distribution)
    target = Target.fit(found, task=task, standardize=requested["standardize"], link=distribution.link)
    balance = _balance(found, target, effective) if effective["balance_classes"] else None
    for k in balance.rarely_visited(_counts(found, target)) if balance else ():
        text = f"balance_classes: rows of class {target.classes[k]!r} are visited rarely or never. Raise its factor."
        warnings.warn(DaskDLWarning(text), stacklevel=5)
    if balance:
        target = replace(target, correction=balance.correction(_counts(found, target)))
    if not predictors:
        raise SchemaError(
            f"no column is left to learn from: {dropped[:12]} are constant or empty (n_samples={found.n_rows})."
        )
    if dropped:
        warnings.warn(dropped_warning(dropped), stacklevel=5)
    blurred = [name for name in predictors if getattr(found.columns[name], "is_blurred", False)]
    if blurred:
        warnings.warn(blurred_warning(blurred), stacklevel=5)
    encoder = Encoder.fit(found, predictors, encoding)
    topology = Topology(
        n_onehot=encoder.n_onehot,
        n_dense=encoder.n_dense,
        n_sparse=encoder.n_sparse,
        hidden=effective["hidden"],
        n_outputs=len(target.classes) or 1,
        activation=effective["activation"].removesuffix("_with_dropout"),
        output="softmax" if target.classes else "linear",
        dropout=effective["hidden_dropout_ratios"] if any(effective["hidden_dropout_ratios"]) else (),
    )
    if topology.n_parameters > MAX_PARAMETERS:
        raise ParameterError(
            f"hidden={effective['hidden']} and {topology.n_inputs:,} inputs make {topology.n_parameters:,} weights and biases, "
            f"more than {MAX_PARAMETERS:,}. Use fewer units, or fewer inputs: max_categorical_features limits those of levels."
        )
    n_min = balance.n_min(_counts(found, target)) if balance else found.n_used
    effective["mini_batch_size"] = min(effective["mini_batch_size"], n_min)
    optimizer = _optimizer(effective)
    threads = here.choose(topology, optimizer, found.n_used, effective)
    for text in overshoots(threads, optimizer):
        warnings.warn(DaskDLWarning(text), stacklevel=5)
    tables = {"training": (source, found)}
    if validation is not None:
        scanned = _scan_validation(validation, encoder, target, task, progress, here)
        _check_range(scanned, validation, distribution)
        tables["validation"] = validation, scanned
    fingerprint = TrainingFingerprint(
        source.predictors,
        dict(source.roles),
        found.n_rows,
        found.n_used,
        tables["validation"][1].n_rows if validation else 0,
        encoder,
        target,
        topology,
        TrainingFingerprint.settings_of(requested),
        balance.ratios if balance else (),
    )
    return _Problem(
        task,
        tables,
        required,
        encoder,
        target,
        balance,
        distribution,
        topology,
        optimizer,
        effective,
        seed,
        threads,
        fingerprint,
    )


def _seed(asked: int | np.random.RandomState | np.random.Generator | None, checkpoint: Checkpoint | None) -> int:
    """The seed of this training: asked for, of the training that broke off, or drawn."""
    if checkpoint and isinstance(asked, int) and asked != checkpoint.seed:
        raise ParameterError(
            f"random_state={asked}, but {checkpoint.path} is of a training with {checkpoint.seed}. Leave it as it was."
        )
    if checkpoint:
        return checkpoint.seed
    if asked is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(asked, int):
        return asked
    draw = asked.integers if isinstance(asked, np.random.Generator) else asked.randint
    return int(draw(2**31 - 1))  # as much as scikit-learn draws


def _load(problem: _Problem, progress: Progress, here: Backend, *, has_folder: bool) -> dict[str, tuple[int, int]]:
    """Decide where the rows shall be, say what it will take, and read the tables a second time.

    Returns the rows of each table, and how many of them train or are scored.
    """
    topology, found, effective = problem.topology, problem.found, problem.effective
    progress.say(f"{found.n_rows:,} rows to {topology.n_inputs:,} inputs, {topology.n_parameters:,} weights and biases")
    storage, need, why = _decided(problem, here)
    effective["storage"] = storage.mode
    progress.say(f"storage: {storage.mode}, {why}")
    progress.say(f"memory{'' if here.is_local else ' of a worker'}: {need}")
    text = here.too_small(need.peak)
    if text:
        warnings.warn(DaskDLWarning(text), stacklevel=5)
    say_threads(progress, topology, problem.threads)
    table_rows = {}
    for name, (source, scanned) in problem.tables.items():
        required = problem.required if name == "training" else frozenset[str]()
        recipe = Recipe.of(source, scanned, problem.encoder, problem.target, found.mean_weight, required=required)
        n_sample = effective[f"score_{name}_samples"]
        balance = problem.balance if name == "training" else None
        options = BlockOptions(problem.seed, f"{name} sample", n_sample, scanned.n_used, has_folder, balance)
        n_used = here.load(name, source, scanned, recipe, options, storage, progress.reading("encode"))
        if name == "validation":
            _check_validation(n_used, scanned, source)
        elif n_used == 0:
            raise ParameterError(
                "balance_classes=True: no row was drawn. Raise class_sampling_factors or max_after_balance_size."
            )
        # What is loaded of the training table are visits, which balancing makes more or fewer than rows.
        table_rows[name] = scanned.n_rows, scanned.n_used if name == "training" else n_used
    return table_rows


def say_threads(progress: Progress, topology: Topology, threads: Parallelism) -> None:
    """A line for every layer."""
    for layer, way in threads.by_layer(topology).items():
        progress.say(f"{layer}: {way}")


def _begin(
    problem: _Problem, checkpoint: Checkpoint | None, progress: Progress, here: Backend
) -> tuple[TrainingState, Snapshot | None]:
    """The network as it starts, or as it was saved; and a copy of it, where others train."""
    topology, effective = problem.topology, problem.effective
    metric = metric_of(effective["stopping_metric"], problem.task)
    states: list[NDArray[np.float32]] = []
    if checkpoint:
        state, flat, states = checkpoint.state(metric), checkpoint.flat, checkpoint.states
        progress.say(f"going on from {checkpoint.path}: {state.n_seen:,} rows, {state.n_rounds:,} rounds")
    else:
        state = TrainingState(History(problem.task, "validation" in problem.tables, metric=metric))
        state.history.start()
        flat = _start(problem)
    unsound = instability(topology, flat)
    if unsound:
        raise DivergedError(f"{unsound} before the first row. Start from smaller weights: lower initial_weight_scale.")
    setup = Setup(
        problem.target,
        topology,
        problem.optimizer,
        _objective(problem.distribution, effective),
        problem.distribution,
        problem.seed,
        effective["shuffle_training_data"],
    )
    here.delta = state.delta
    here.start(setup, flat, states, state.n_seen, state.n_halvings, lambda now: say_threads(progress, topology, now))
    copy = None if here.is_local else Snapshot(flat, tuple(states), state.n_seen, state.n_rounds)
    return state, copy


def _rounds(
    problem: _Problem,
    state: TrainingState,
    writer: CheckpointWriter | None,
    began: float,
    progress: Progress,
    here: Backend,
) -> Rounds:
    """The loop, with what it needs to score, to judge and to save."""
    effective, history = problem.effective, state.history

    def score(state: TrainingState, n: int, communication: float) -> None:
        measured = {name: here.measure(name) for name in problem.tables}
        state.confusion = {name: m.confusion.tolist() for name, m in measured.items() if m.confusion is not None}
        found = {name: m.metrics() for name, m in measured.items()}
        residuals = measured["training"].residuals
        if residuals is not None:
            delta = residuals.quantile(problem.distribution.shape) * problem.target.factor
            state.delta = here.delta = max(delta, MIN_DELTA)
        history.add(
            seconds=state.seconds + time.monotonic() - began,
            speed=state.n_seen / state.training_seconds if state.n_seen else 0.0,
            epochs=state.n_seen / here.n_rows,
            iterations=state.n_rounds,
            samples=state.n_seen,
            samples_per_iteration=n,
            communication=communication,
            training=found["training"],
            validation=found.get("validation", {}),
        )

    def save(state: TrainingState, network: Snapshot) -> None:
        assert writer is not None
        progress.say(f"checkpoint: {writer.save(state, network.flat, network.states)}")

    if not jit.is_cached(problem.kernel):
        kept = "once for this machine" if jit.cache_folder() else "no folder can be written to keep them"
        progress.say(f"compiling the kernels, {kept} (about 20 s) ...")
    schedule = RoundSchedule.of(
        effective["epochs"],
        here.n_rows,
        effective["train_samples_per_iteration"],
        _pace(problem, here.n_rows),
        n_weights=problem.topology.size,
        n_threads=here.n_threads,
        n_replicas=here.n_replicas,
        n_copies=here.n_copies,
        share=effective["target_ratio_comm_to_comp"],
        batch=effective["mini_batch_size"],
    )
    limit, stride = effective["max_runtime_secs"], stride_of(effective, here.n_rows)
    rounds = Rounds(
        here,
        schedule,
        state,
        score,
        lambda: reason_to_stop(history, effective, stride),
        progress,
        keeps_best=effective["overwrite_with_best_model"],
        deadline=began + limit if limit else math.inf,
        may_stop_early=effective["stopping_rounds"] > 0,
        save=save if writer else None,
        save_place=effective["checkpoint_dir"] or "",
        save_interval=effective["checkpoint_interval"],
    )
    if state.best is None and effective["overwrite_with_best_model"]:
        history.best = None  # its network was not kept
    if state.stopped_by in BROKEN_OFF or (state.stopped_by == EPOCHS and state.n_seen < schedule.n_total):
        state.stopped_by = None
    elif state.stopped_by != EPOCHS:
        state.stopped_by = reason_to_stop(history, effective, stride)  # by the parameters of now
    return rounds


def _pace(problem: _Problem, n_epoch: int) -> ScoringSchedule:
    """When to score, by what an event costs beside the training."""
    e, topology, found = problem.effective, problem.topology, problem.found
    n_active = len(problem.encoder.categories) + found.n_entries / found.n_rows
    samples = [(e[f"score_{name}_samples"], scanned.n_used) for name, (_, scanned) in problem.tables.items()]
    n_scored = sum(min(n or maximum, maximum) for n, maximum in samples)
    n_weights = topology.dense_size + n_active * topology.units[0]
    stride = stride_of(e, n_epoch) if e["stopping_rounds"] else 0
    return ScoringSchedule.of(e, total_rows(e["epochs"], n_epoch), n_weights, n_scored, len(samples), stride)


#: A training that ended for one of these reasons goes on when it is resumed; all others are final.
BROKEN_OFF = {None, INTERRUPTED, TERMINATED, TIME_IS_UP, DIVERGED, NO_WORKERS, FAILED, "callback"}

#: Huber's loss turns linear at this share of the target's deviation at least (algorithm.md#delta-of-huber): at 0 it would
#: teach nothing.
MIN_DELTA = 1e-4

#: A network may have as many weights and biases (algorithm.md#limits): as many as in H2O.
MAX_PARAMETERS = 100_000_000


def _balance(found: Scan, target: Target, e: Mapping[str, Any]) -> Balance:
    """How often rows of every class are visited. Raises ParameterError."""
    if not found.row_stats.has_one_weight:
        raise ParameterError(
            "balance_classes=True: rows have weights other than 0 and 1. Leave them out, or multiply those of every class by a "
            "factor instead."
        )
    return Balance.of(
        _counts(found, target), e["class_sampling_factors"], e["max_after_balance_size"], e["random_state"]
    )


def _counts(found: Scan, target: Target) -> list[int]:
    """Rows of every class."""
    return [found.classes[label] for label in target.classes]


def _scan_validation(
    validation: Source, encoder: Encoder, target: Target, task: str, progress: Progress, here: Backend
) -> Scan:
    missing = encoder.match(validation.predictors, validation.label)
    if missing:
        raise SchemaError(
            f"{validation.label} lacks columns of training: {missing[:12]}. Score on a table with the same columns."
        )
    found = here.scan(validation, ScanRequest(task, sparse=encoder.is_sparse), progress.reading("scan validation"))
    if found.n_used == 0:
        needs = " and a weight above zero" if WEIGHT in validation.roles else ""
        raise SchemaError(f"{validation.label} has no row with a target{needs}.")
    if target.classes:
        unseen_labels(found.classes, target.classes, where_of(validation.schema, TARGET))
    return found


def _check_validation(n_scored: int, found: Scan, validation: Source) -> None:
    """Rows of the validation table whose label training never saw cannot be scored."""
    if n_scored == 0:
        raise SchemaError(f"no label of {validation.label} was seen in training.")
    if n_scored < found.n_used:
        text = (
            f"{found.n_used - n_scored:,} rows of {validation.label} have labels that training never saw: not scored."
        )
        warnings.warn(DaskDLWarning(text), stacklevel=6)


def _check_range(found: Scan, source: Source, distribution: Distribution) -> None:
    """Whether the distribution allows these targets. Raises SchemaError."""
    wrong = distribution.forbids(found.row_stats.min_target, found.target.mean)
    if wrong is not None:
        raise SchemaError(f"the target of {source.label} {wrong}")


def _objective(distribution: Distribution, e: Mapping[str, Any]) -> Objective:
    """What the kernels make small; huber starts at 1, in standardised units."""
    name = e["loss"] if distribution.name in {"bernoulli", "multinomial"} else distribution.name
    return Objective(KINDS[name], 1.0 if distribution.name == "huber" else distribution.shape)


def _optimizer(e: Mapping[str, Any]) -> Optimizer:
    return Optimizer(
        kind=kind_of(e),
        rho=e["rho"],
        epsilon=e["epsilon"],
        rate=e["rate"],
        rate_annealing=e["rate_annealing"],
        rate_decay=e["rate_decay"],
        momentum_start=e["momentum_start"],
        momentum_ramp=float(e["momentum_ramp"]),
        momentum_stable=e["momentum_stable"],
        nesterov=e["nesterov_accelerated_gradient"],
        l1=e["l1"],
        l2=e["l2"],
        fast_mode=e["fast_mode"],
        pull=e["elastic_averaging_regularization"] if e["elastic_averaging"] else 0.0,
        batch=e["mini_batch_size"],
        max_w2=e["max_w2"],
        input_kept=1.0 - e["input_dropout_ratio"],
        average_activation=e["average_activation"],
        sparsity_beta=e["sparsity_beta"],
    )


def _start(problem: _Problem) -> NDArray[np.float32]:
    """Start values: the user's (inputs x units a layer, as `coefs_`) where given, else drawn, with the output at the data."""
    topology, e, intercept = problem.topology, problem.effective, problem.found.row_stats.intercept
    weights = initial_weights(topology, e["initial_weight_distribution"], e["initial_weight_scale"], problem.seed)
    has_offset = OFFSET in problem.tables["training"][0].roles
    start = problem.target.sum_of(intercept.value, has_offset=has_offset) if intercept else 0.0
    biases = initial_biases(topology, start)
    for name, drawn, shapes in (
        ("initial_weights", weights, [(n_in, n_out) for n_out, n_in in topology.shapes]),
        ("initial_biases", biases, [(n,) for n, _ in topology.shapes]),
    ):
        for k, (given, shape) in enumerate(zip(e[name] or (), shapes, strict=False)):
            if given is None:
                continue
            try:
                array = np.asarray(given, np.float32)
            except (TypeError, ValueError) as error:
                raise ParameterError(f"{name}[{k}] is not an array of numbers: {error}.") from error
            if array.shape != shape:
                raise ParameterError(f"{name}[{k}] has shape {array.shape}; this network needs {shape}.")
            if not np.isfinite(array).all():
                raise ParameterError(f"{name}[{k}] holds values that are not finite.")
            drawn[k] = array.T
    return topology.pack(weights, biases)


def _decided(problem: _Problem, here: Backend) -> Decision:
    """Where the rows shall be, and the memory of the process with most of them."""
    e, topology, threads, found = problem.effective, problem.topology, problem.threads, problem.found
    source, validation = problem.tables["training"][0], problem.tables.get("validation")
    workload = here.workload(found, validation[1] if validation else None)
    n_validation = validation[1].n_rows if validation else 0
    blocks = workload.largest_blocks
    # With sparse inputs a mean.
    row = math.ceil(problem.encoder.bytes_per_row(found.n_entries / found.n_rows)) + 4 * (2 + (OFFSET in source.roles))
    samples = [(e["score_training_samples"], found.n_used), (e["score_validation_samples"], n_validation)]
    drawn = [n for n, maximum in samples if 0 < n < maximum]

    def n_scored(storage: memory.Storage) -> int:
        """Rows that are scored at a time: a sample, or all; where those are not in memory, a slice or a block of them."""
        piece = None if storage.mode == "memory" else max(memory.SLICE // row, *blocks)
        whole = [maximum if piece is None else min(maximum, piece) for n, maximum in samples if not 0 < n < maximum]
        return int(workload.share * max(drawn + whole))

    largest = max(scanned.largest_partition for _, scanned in problem.tables.values())
    n_bytes = (workload.n_rows + workload.n_validation) * row
    n_active = len(problem.encoder.categories) + found.longest  # at most, in a row
    # Of an array, or of a table that is here, no file describes the columns.
    n_columns = len(found.columns) if source.lazy is not None and source.is_named else 0

    def n_readers(storage: memory.Storage) -> int:
        """Partitions read at a time; the thread that reads ahead has memory of its own, which others do not share."""
        return workload.n_readers + (storage.mode == "stream")

    need = partial(
        memory.estimate,
        n_rows=workload.n_rows,
        visits_per_row=problem.balance.n_visits(_counts(found, problem.target)) / found.n_rows
        if problem.balance
        else 1.0,
        n_columns=len(found.columns),
        planned_columns=n_columns if here.is_local else 0,
        n_levels=found.n_levels,
        n_validation=workload.n_validation,
        n_samples=round(workload.share * sum(drawn)),
        bytes_per_row=row,
        n_weights=topology.size,
        n_dense=topology.dense_size,
        n_buffer=buffer_size(topology, problem.optimizer, n_active)
        + ROWS_TO_PREDICT * (2 * topology.buffers[0] + 3 * n_active),
        n_states=N_STATES[problem.optimizer.kind],
        n_threads=threads.n_threads,
        n_copies=threads.n_copies,
        # A checkpoint is written from copies, and what is written is laid out in memory first.
        n_kept=workload.n_kept or (1 + e["overwrite_with_best_model"]) * (3 if e["checkpoint_dir"] else 1),
        n_outputs=topology.n_outputs,
        compiles=not jit.is_cached(problem.kernel),
        largest_block=blocks[0],
        batch=problem.optimizer.batch,
    )
    return decide(
        e["storage"],
        lambda storage: need(
            storage=storage,
            n_scored=n_scored(storage),
            read_bytes=n_readers(storage) * largest,
            read_columns=n_readers(storage) * n_columns,
        ),
        here.budget(source),
        n_bytes=n_bytes,
        bytes_per_row=row,
        largest_block=blocks[0] * row,
        fixed=e["reproducible"],
    )


def _target_name(source: Source) -> str | None:
    name = source.roles[TARGET]
    return None if name == f"__{TARGET}__" else name


def _offset_name(source: Source) -> str | None:
    name = source.roles.get(OFFSET)
    return "" if name == f"__{OFFSET}__" else name
