"""From a table to a model: scan, encode, then rounds. It alone knows all rooms."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl import jit, memory, parameters
from dask_dl.cluster.twin import Twin
from dask_dl.course import Course
from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError, SchemaError
from dask_dl.frame.blocks import Blocks, encode_blocks, gather, used_rows
from dask_dl.frame.encoder import Encoder, dropped_warning, usable_predictors
from dask_dl.frame.order import uniform_sample
from dask_dl.frame.scan import Scan, check_target, scan
from dask_dl.frame.source import OFFSET, Source
from dask_dl.frame.target import Target
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.network import train_rows
from dask_dl.kernels.steps import ADADELTA, MOMENTUM, N_STATES, PLAIN, Optimizer
from dask_dl.model import Model
from dask_dl.node.blas import one_blas_thread
from dask_dl.node.parallelism import Parallelism, choose, overshoots
from dask_dl.node.replica import Replica
from dask_dl.node.stability import instability
from dask_dl.plan import Plan
from dask_dl.resume import Identity, Keeper, open_folder
from dask_dl.rounds import DIVERGED, EPOCHS, INTERRUPTED, TERMINATED, TIME_IS_UP, Rounds, Trainer
from dask_dl.score import metrics
from dask_dl.score.history import History, Pace
from dask_dl.score.stopping import metric_of, reason_to_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.show.progress import Progress
    from dask_dl.state import Rows


def fit_model(
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    progress: Progress,
    *,
    callbacks: Sequence[Callable[[Mapping[str, Any]], object]] = (),
    resume: bool = False,
    order: Callable[[int], NDArray[np.int64]] | None = None,
) -> tuple[Model, Exception | None]:
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
    callbacks : sequence of callable
        Called with the record of every scoring event; True stops the training.
    resume : bool
        Whether to go on from the newest checkpoint in `checkpoint_dir`, if there is one.
    order : callable, optional
        Rows to visit in an epoch, given its number, instead of the order that the parameters ask for: for tests.

    Returns
    -------
    model : Model
        The last good one.
    failure : Exception or None
        Why training could not go on: it diverged, or a callback raised.
    """
    began = time.monotonic()
    folder, saved = open_folder(requested["checkpoint_dir"], resume=resume)
    for text in parameters.warnings_for(requested):
        warnings.warn(DaskDLWarning(text), stacklevel=3)
    progress.say(f"scanning {source.label}: {source.n_partitions:,} partitions, {len(source.predictors):,} columns")
    found = scan(source, task=task, progress=progress.reading("scan"))
    check_target(found, source, task)
    if found.is_binary:
        text = "the target holds only 0 and 1 and is learned as a number; for classes use a classifier, or make it a category."
        warnings.warn(DaskDLWarning(text), stacklevel=3)
    target = Target.fit(found, task=task, standardize=requested["standardize"])
    parameters.validate(requested, task=task, n_classes=len(target.classes) or None)
    effective = parameters.effective(requested, task=task, n_classes=len(target.classes) or None)
    encoder = _fit_encoder(found, effective)
    topology = Topology(
        n_onehot=encoder.n_onehot,
        n_dense=len(encoder.numbers),
        hidden=effective["hidden"],
        n_outputs=len(target.classes) or 1,
        activation=effective["activation"],
        output="softmax" if target.classes else "linear",
    )
    if topology.n_parameters > MOST_PARAMETERS:
        raise ParameterError(
            f"hidden={effective['hidden']} and {topology.n_inputs:,} inputs make {topology.n_parameters:,} weights and biases, "
            f"more than {MOST_PARAMETERS:,}. Use fewer units, or fewer levels."
        )
    optimizer = _optimizer(effective)
    seed = saved.seed if saved else effective["random_state"]
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    effective["random_state"] = seed

    threads = choose(
        topology,
        optimizer,
        n_rows=found.n_used,
        n_jobs=effective["n_jobs"],
        parallelism=effective["parallelism"],
        interval=effective["exchange_interval"],
        reproducible=effective["reproducible"],
    )
    for text in overshoots(threads, optimizer):
        warnings.warn(DaskDLWarning(text), stacklevel=3)
    seen_in_validation = None
    if validation is not None:
        seen_in_validation = _scan_validation(validation, encoder, task, progress)
    identity = Identity(
        source.predictors,
        dict(source.roles),
        found.n_rows,
        found.n_used,
        seen_in_validation.n_rows if seen_in_validation else 0,
        encoder,
        target,
        topology,
        Identity.settings_of(requested),
    )
    if saved:
        asked = requested["random_state"]
        if asked is not None and asked != saved.seed:
            raise ParameterError(
                f"random_state={asked}, but {saved.path} is of a training with {saved.seed}. Leave it as it was."
            )
        saved.check(identity)
        encoder, target = saved.encoder, saved.target
    need = _memory(found, seen_in_validation, source, encoder, topology, optimizer, threads, effective)
    progress.say(f"{found.n_rows:,} rows to {topology.n_inputs:,} inputs, {topology.n_parameters:,} weights and biases")
    progress.say(str(need))

    def say_threads(now: Parallelism) -> None:
        for layer, way in now.by_layer(topology).items():
            progress.say(f"{layer}: {way}")

    say_threads(threads)
    store = encode_blocks(
        source, found, encoder, target, mean_weight=found.mean_weight, progress=progress.reading("encode")
    )

    metric = metric_of(effective["stopping_metric"], task)
    course = Course(History(task, validation is not None, metric=metric))
    course.history.start()
    flat = _start(topology, effective, seed)
    states: list[NDArray[np.float32]] = []
    if saved:
        course = saved.course(topology, metric)
        flat, states = saved.vectors(topology)
        optimizer = optimizer._replace(scale=0.5**course.n_halvings)
        progress.say(f"going on from {saved.path}: {course.n_seen:,} rows, {course.n_rounds:,} rounds")
    elif resume:
        progress.say(
            f"resume: there is no checkpoint in {requested['checkpoint_dir']} yet, starting from the beginning"
        )
    history = course.history
    replica = Replica(topology, optimizer, flat, states, course.n_seen, threads, say_threads)
    unsound = instability(topology, replica.flat)
    if unsound:
        raise DivergedError(f"{unsound} before the first row. Start from smaller weights: lower initial_weight_scale.")
    trainer = Twin(store, replica, seed=seed, shuffle=effective["shuffle_training_data"], order=order)
    tables = {"training": _sample(store, effective["score_training_samples"], seed, "training sample")}
    held = None
    if validation is not None and seen_in_validation is not None:
        held = encode_blocks(
            validation,
            seen_in_validation,
            encoder,
            target,
            mean_weight=found.mean_weight,
            progress=progress.reading("encode"),
        )
        tables["validation"] = _sample(held, effective["score_validation_samples"], seed, "validation sample")
        _check_validation(held, seen_in_validation, validation)

    def score(course: Course, n: int) -> None:
        measured = {}
        for name, blocks in tables.items():
            outputs, truth, weights = _outputs(trainer, blocks)
            if task == "classification":
                measured[name] = metrics.classification(truth.astype(np.int64), outputs, weights)
                if len(target.classes) <= metrics.MOST_CLASSES:
                    course.confusion[name] = metrics.confusion(truth.astype(np.int64), outputs, weights).tolist()
            else:
                actual, predicted = (
                    v.astype(np.float64) / target.factor + target.shift for v in (truth, outputs[:, 0])
                )
                measured[name] = metrics.regression(actual, predicted, weights)
        history.add(
            seconds=course.seconds + time.monotonic() - began,
            speed=course.n_seen / course.training_seconds if course.n_seen else 0.0,
            epochs=course.n_seen / trainer.n_rows,
            iterations=course.n_rounds,
            samples=course.n_seen,
            samples_per_iteration=n,
            training=measured["training"],
            validation=measured.get("validation", {}),
        )
        progress.scored(history)

    if not jit.is_cached(train_rows):
        kept = "once for this machine" if jit.cache_folder() else "no folder can be written to keep them"
        progress.say(f"compiling the kernels, {kept} (about 20 s) ...")
    plan = Plan.of(
        effective["epochs"],
        trainer.n_rows,
        effective["train_samples_per_iteration"],
        Pace(effective["score_interval"], effective["score_duty_cycle"], effective["score_each_iteration"]),
        n_weights=topology.size,
        n_threads=threads.n_threads,
    )
    prints = {"training": store.fingerprint()} | ({"validation": held.fingerprint()} if held else {}) if folder else {}
    if saved:
        saved.check_rows(prints)
    keeper = Keeper(folder, identity, task, seed, began, prints) if folder else None

    def save(course: Course) -> None:
        assert keeper is not None
        progress.say(f"checkpoint: {keeper.save(course, replica.flat, replica.states)}")

    limit = effective["max_runtime_secs"]
    rounds = Rounds(
        trainer,
        plan,
        course,
        score,
        lambda: reason_to_stop(history, effective),
        progress,
        keeps_best=effective["overwrite_with_best_model"],
        deadline=began + limit if limit else math.inf,
        callbacks=callbacks,
        save=save if keeper else None,
        save_interval=effective["checkpoint_interval"],
    )
    if course.best is None and effective["overwrite_with_best_model"]:
        history.best = None  # its network was not kept
    if course.stopped_by in BROKEN_OFF or (course.stopped_by == EPOCHS and course.n_seen < plan.n_total):
        course.stopped_by = None
    elif course.stopped_by != EPOCHS:
        course.stopped_by = reason_to_stop(history, effective)  # by the parameters of now
    with one_blas_thread():
        trainer.compile()
        rounds.run()
    _report_threads(effective, replica)
    progress.say(f"ended: {course.stopped_by}")
    model = Model(
        task=task,
        encoder=encoder,
        target=target,
        topology=topology,
        flat=replica.flat,
        states=tuple(replica.states),
        requested=dict(requested),
        effective=effective,
        history=history,
        n_seen=replica.n_seen,
        n_rounds=course.n_rounds,
        n_rows=trainer.n_rows,
        feature_names=source.predictors,
        is_named=source.is_named,
        offset_name=_offset_name(source),
        stopped_by=course.stopped_by,
        confusion=course.confusion,
    )
    return model, course.failure


#: A training that ended for one of these reasons goes on when it is resumed; all others are final.
BROKEN_OFF = {None, INTERRUPTED, TERMINATED, TIME_IS_UP, DIVERGED, "callback"}

#: A network may have as many weights and biases as in H2O (specification, section 1.8).
MOST_PARAMETERS = 100_000_000


def _fit_encoder(found: Scan, effective: Mapping[str, Any]) -> Encoder:
    kept, dropped = usable_predictors(found, ignore_const_cols=effective["ignore_const_cols"])
    if not kept:
        raise SchemaError(
            f"no column is left to learn from: {dropped[:12]} are constant or empty (n_samples={found.n_rows})."
        )
    if dropped:
        warnings.warn(dropped_warning(dropped), stacklevel=4)
    return Encoder.fit(
        found, kept, use_all_factor_levels=effective["use_all_factor_levels"], standardize=effective["standardize"]
    )


def _scan_validation(validation: Source, encoder: Encoder, task: str, progress: Progress) -> Scan:
    missing = encoder.match(validation.predictors, validation.label)
    if missing:
        raise SchemaError(
            f"{validation.label} lacks columns of training: {missing[:12]}. Score on a table with the same columns."
        )
    found = scan(validation, task=task, progress=progress.reading("scan validation"))
    if found.n_used == 0:
        raise SchemaError(f"{validation.label} has no row with a target.")
    return found


def _check_validation(held: Blocks, found: Scan, validation: Source) -> None:
    """Rows of the validation table whose label training never saw cannot be scored."""
    n_scored = len(used_rows(held))
    if n_scored == 0:
        raise SchemaError(f"no label of {validation.label} was seen in training.")
    if n_scored < found.n_used:
        text = (
            f"{found.n_used - n_scored:,} rows of {validation.label} have labels that training never saw: not scored."
        )
        warnings.warn(DaskDLWarning(text), stacklevel=4)


def _optimizer(e: Mapping[str, Any]) -> Optimizer:
    has_momentum = e["momentum_start"] or e["momentum_stable"]
    kind = ADADELTA if e["adaptive_rate"] else MOMENTUM if has_momentum else PLAIN
    return Optimizer(
        kind=kind,
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
    )


def _start(topology: Topology, e: Mapping[str, Any], seed: int) -> NDArray[np.float32]:
    """Start values: the user's (inputs x units a layer, as `coefs_`) where given, else drawn."""
    weights = initial_weights(topology, e["initial_weight_distribution"], e["initial_weight_scale"], seed)
    biases = initial_biases(topology)
    for name, drawn, shapes in (
        ("initial_weights", weights, [(n_in, n_out) for n_out, n_in in topology.shapes]),
        ("initial_biases", biases, [(n,) for n in topology.units]),
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


def _sample(store: Blocks, n: int, seed: int, purpose: str) -> Sequence[Rows]:
    """Encoded rows to score on: a uniform sample, gathered once, or all blocks as they are."""
    rows = used_rows(store)
    chosen = uniform_sample(rows, n, seed, purpose)
    return store.blocks if len(chosen) == len(rows) else [gather(store, chosen)]


def _outputs(
    trainer: Trainer, blocks: Sequence[Rows]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Outputs, targets and weights of encoded rows, those of weight 0 left out."""
    outputs = trainer.outputs(blocks)
    truth = np.concatenate([b.target for b in blocks])
    if not any(len(b.weight) for b in blocks):
        return outputs, truth, None
    weights = np.concatenate([b.weight for b in blocks])
    used = weights > 0
    return outputs[used], truth[used], weights[used]


def _memory(
    found: Scan,
    validation: Scan | None,
    source: Source,
    encoder: Encoder,
    topology: Topology,
    optimizer: Optimizer,
    threads: Parallelism,
    e: Mapping[str, Any],
) -> memory.Memory:
    n_validation = validation.n_rows if validation else 0
    samples = [(e["score_training_samples"], found.n_used), (e["score_validation_samples"], n_validation)]
    return memory.estimate(
        n_rows=found.n_rows,
        n_validation=n_validation,
        n_scored=max(min(n or most, most) for n, most in samples),
        bytes_per_row=encoder.bytes_per_row + 4 * (2 + (OFFSET in source.roles)),
        n_weights=topology.size,
        n_dense=topology.dense_size,
        n_buffer=topology.buffer_size,
        n_states=N_STATES[optimizer.kind],
        n_threads=threads.n_threads,
        n_copies=threads.n_copies,
        # A checkpoint is written from copies, and what is written is laid out in memory first.
        n_kept=(1 + e["overwrite_with_best_model"]) * (3 if e["checkpoint_dir"] else 1),
        n_outputs=topology.n_outputs,
        compiles=not jit.is_cached(train_rows),
        largest_partition=max(found.largest_partition, validation.largest_partition if validation else 0),
    )


def _report_threads(effective: dict[str, Any], replica: Replica) -> None:
    """Put what the threads did in place of what was asked; it may have changed on the way."""
    threads = replica.parallelism
    effective["n_jobs"] = threads.n_threads
    effective["exchange_interval"] = threads.interval if threads.way == "staleness" else None
    effective["parallelism"] = threads.by_layer(replica.topology)


def _offset_name(source: Source) -> str | None:
    name = source.roles.get(OFFSET)
    return "" if name == f"__{OFFSET}__" else name
