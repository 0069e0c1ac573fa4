"""One training, from tables to a model: prepare, load, start, train in rounds."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl import parameters
from dask_dl.cluster.environment import versions
from dask_dl.errors import ParameterError
from dask_dl.events import Ended, Listeners
from dask_dl.frame.source import OFFSET, TARGET, Source
from dask_dl.model import Model, TrainedNetwork, TrainingRecord
from dask_dl.node.layers import layer_faults
from dask_dl.training.checkpoints import Checkpoint, CheckpointWriter, open_folder
from dask_dl.training.continuing import (
    Prior,
    adopted,
    check_network,
    check_offset,
    check_pretrained,
    prepare_more,
    restarted,
)
from dask_dl.training.loading import EncodedTables, load, say_needs, say_threads, size_of_checkpoint
from dask_dl.training.loop import INTERRUPTED, TERMINATED
from dask_dl.training.preparation import plan, prepare
from dask_dl.training.settings import ResumeSettings, check_epochs, seed_of
from dask_dl.training.start import HOLDOUT, Start, drawn_seed
from dask_dl.training.wiring import make_rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listener
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.training.problem import PreparedTables, Problem
    from dask_dl.training_state import Snapshot, TrainingState


class Request(NamedTuple):
    """A training that is asked for."""

    source: Source
    task: parameters.Task
    parameters: Mapping[str, Any]  #: of the constructor, as `parameters.validate` returns them
    validation: Source | None = None  #: only scored
    encoded: EncodedTables | None = None  #: both, where the backend keeps them already
    resume: bool = False  #: whether to go on from the newest checkpoint in `checkpoint_dir`, if there is one
    began: float | None = None  #: when the time of `max_runtime_secs` begins, by `time.monotonic`; None: now
    model: Model | None = None  #: from which training goes on
    adds: float | None = None  #: epochs beyond those of the model; None: as many in all as the parameter says
    #: parameters of this training alone: what is asked for another time, and what files tell, are those above
    overrides: Mapping[str, Any] = {}  # nobody changes it
    classes: Sequence[Any] = ()  #: labels that the table may not have yet; empty: it has them all
    more_follow: bool = False  #: whether other rows will be trained on, with the inputs that this table gives
    #: whether scoring takes no more than its share however short the training is: as one of many, or if it is to go on
    is_frugal: bool = False
    pretrained: Model | None = None  #: autoencoder whose inputs and hidden layers the network begins with


class Outcome(NamedTuple):
    """Outcome of a training."""

    model: Model  #: the last good one
    failure: BaseException | None  #: why it could not go on: it diverged, no worker was left, or a callback raised
    holdout: Measurement | None = None  #: of the rows that a fold of a cross-validation holds out

    def settle(self, tell: Listeners, on_interrupt: str = "return") -> None:
        """Raise what the end of the training is to its caller, who has the model in place by now.

        Parameters
        ----------
        tell : Listeners
            Those of the training.
        on_interrupt : {"return", "raise"}
            What Ctrl-C is: a warning, or KeyboardInterrupt.

        Raises
        ------
        BaseException
            The failure; SystemExit(143) after SIGTERM; KeyboardInterrupt, where it is asked for.
        """
        if self.failure is not None:
            raise self.failure
        if self.model.record.stopped_by == TERMINATED:
            raise SystemExit(SIGTERM_STATUS)
        if self.model.record.stopped_by == INTERRUPTED:
            text = f"training was interrupted after {self.model.record.n_epochs:.2f} epochs; the best model so far is there."
            if on_interrupt == "raise":
                raise KeyboardInterrupt(text)
            tell.warn(text)


#: Exit status of a process that wrote a checkpoint because of SIGTERM: 128 + 15, as a shell reports that signal.
SIGTERM_STATUS = 143


def train(
    request: Request,
    backend: Backend,
    listeners: Sequence[Listener] = (),
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a network on a table.

    Parameters
    ----------
    request : Request
        What to train.
    backend : Backend
        Where; it is opened and closed here, unless it keeps the tables already.
    listeners : sequence of Listener
        Told of everything that happens; one may stop the training.
    cancelled : callable
        Asked ten times a second while rounds are trained; True ends the training as Ctrl-C does.

    Returns
    -------
    Outcome
        The last good model, and why training could not go on, if so.

    Raises
    ------
    ParameterError, SchemaError
        Parameters or tables that nothing can be learned with; what ends the rounds is in the outcome instead.
    """
    tell = Listeners(listeners)
    source, encoded, task, model = request.source, request.encoded, request.task, request.model
    pretrained = request.pretrained if model is None else None
    requested = dict(request.parameters) if model is None else restarted(model, request.parameters, task, tell)
    in_force = _in_force(request, requested)
    asked = ResumeSettings.of(in_force)
    began = time.monotonic() if request.began is None else request.began
    folder, checkpoint = open_folder(asked.checkpoint_dir, resume=request.resume, warn=tell.warn)
    for text in parameters.warnings_for(requested):
        tell.warn(text)
    outlives = encoded is not None
    with contextlib.nullcontext(backend) if outlives else backend as here, contextlib.ExitStack() as after:
        seed = _seed(asked.random_state, checkpoint, model)
        prior = Prior.of(model, checkpoint) or Prior.pretrained(pretrained)
        if not isinstance(asked.random_state, int | None):  # a model knows the number that a generator gave
            requested, in_force = ({**values, "random_state": seed} for values in (requested, in_force))
        data = _prepared(request, in_force, prior, seed, tell, here)
        if folder and data.seed != seed:
            raise ParameterError(
                f"random_state={seed}, but the Dataset was prepared with {data.seed}, which draws its samples. Give both the "
                f"same where checkpoints are written."
            )
        if checkpoint and checkpoint.n_shards and asked.reproducible:
            checkpoint.check_shards(here.n_shards if encoded else asked.n_shards)
            here.n_shards = checkpoint.n_shards
        problem = plan(data, in_force, seed, tell, here)
        problem.requested = requested
        problem.run = problem.run.frugal if request.is_frugal else problem.run
        if model:
            check_network(model, problem)
        elif pretrained:
            check_pretrained(pretrained, problem, tell)
        if folder:
            folder.check_room(size_of_checkpoint(problem, here))
        if checkpoint:
            checkpoint.check(problem.fingerprint)
            problem.encoder, problem.head = checkpoint.encoder, checkpoint.head  # to the last bit
        if encoded is None:
            encoded = load(problem, tell, here, has_checksums=folder is not None)
        else:
            say_needs(problem, encoded.storage, tell, here)
        problem.effective |= {"storage": encoded.storage.mode}
        start = _start(problem, checkpoint, model, pretrained, tell)
        trainer = start.begin(problem, here, lambda now: say_threads(tell, problem.topology, now))
        if model and not checkpoint:
            start.align(trainer, model.record.n_epochs)
        trainer.shift = start.state.shift
        if outlives:
            after.callback(trainer.close)
        prints = {name: here.fingerprint(name) for name in problem.tables} if folder else {}
        if checkpoint:
            checkpoint.check_rows(prints)
        if request.resume and not checkpoint:
            first = "the model" if model else "the beginning"
            tell.say(f"resume: there is no checkpoint in {problem.run.checkpoint_dir} yet, starting from {first}")
        writer = None
        if folder:
            writer = CheckpointWriter(folder, problem.fingerprint, task, problem.seed, began, prints, here.n_shards)
        rounds = make_rounds(problem, start.state, writer, began, tell, trainer)
        rounds.cancelled, rounds.good = cancelled, None if trainer.is_local else start.snapshot
        trainer.compile()
        rounds.run()
        _warn_of_layers(problem, start.state, tell)
        assert rounds.final is not None
        effective = problem.effective | trainer.report() | {"client": None, "n_shards": here.n_shards}
        n_rows, holdout, final = trainer.n_rows, None, rounds.final
        if problem.fold is not None and start.state.failure is None:
            trainer.restore(final.weights._replace(averaging=None))
            holdout = trainer.measure(HOLDOUT)
    state = start.state
    tell(Ended(state.stopped_by))
    names = source.predictors if model is None else model.record.feature_names
    return Outcome(
        _model(problem, source, names, final, state, effective, encoded.rows, n_rows, model), state.failure, holdout
    )


def _warn_of_layers(problem: Problem, state: TrainingState, tell: Listeners) -> None:
    """Warn of what the last scoring says of layers, where it kept their figures."""
    stats = state.history.events[-1].layers if state.history.events else ()
    for fault in layer_faults(problem.topology, stats, problem.encoder.n_active) if stats else ():
        tell.warn(fault, "layers")


def _start(
    problem: Problem, checkpoint: Checkpoint | None, model: Model | None, pretrained: Model | None, tell: Listeners
) -> Start:
    """Begin where a training broke off, where a model ended, with an autoencoder, or anew: the first that there is.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    checkpoint : Checkpoint or None
    model : Model or None
    pretrained : Model or None
        An autoencoder.
    tell : Listeners
        Told from where training goes on.

    Returns
    -------
    Start
    """
    if checkpoint is None and model is None:
        return Start.fresh(problem) if pretrained is None else Start.pretrained(pretrained, problem)
    if checkpoint is not None:
        start, place = Start.resumed(checkpoint, problem), checkpoint.path
    else:
        assert model is not None
        start, place = Start.continued(model, problem), "a model"
    tell.say(f"going on from {place}: {start.state.n_seen:,} rows, {start.state.n_rounds:,} rounds")
    return start


def _in_force(request: Request, requested: dict[str, Any]) -> dict[str, Any]:
    """Parameters of this training. Raises ParameterError when it would train nothing beyond its model."""
    model, adds, values = request.model, request.adds, {**requested, **request.overrides}
    if model is None:
        return values
    check_offset(model, request.source)
    values |= {} if adds is None else {"epochs": model.record.n_epochs + adds}
    check_epochs(model.record.n_epochs, values)
    return values


def _prepared(
    request: Request, requested: Mapping[str, Any], prior: Prior | None, seed: int, tell: Listeners, here: Backend
) -> PreparedTables:
    """Tables of a training, with encoder and head of the one from which it goes on, if there is one.

    Parameters
    ----------
    request : Request
        What is trained.
    requested : mapping
        Parameters that are in force.
    prior : Prior or None
        Encoder and head of an earlier training.
    seed : int
        Seed of all random numbers.
    tell : Listeners
        Told what happens.
    here : Backend
        Scans the tables.
    """
    source, validation, task = request.source, request.validation, request.task
    if request.encoded:
        return request.encoded.data if prior is None else adopted(prior, request.encoded.data)
    if prior:
        return prepare_more(prior, source, validation, requested, task, seed, tell, here)
    return prepare(
        source, validation, requested, task, seed, tell, here, request.classes, more_follow=request.more_follow
    )


def encode(request: Request, backend: Backend, listeners: Sequence[Listener] = ()) -> EncodedTables:
    """Scan and encode the tables of a request, for as many trainings as the backend stays open.

    Parameters
    ----------
    request : Request
        Tables and parameters; those of the network decide how much memory is left for rows.
    backend : Backend
        Where; it is open.
    listeners : sequence of Listener
        Told of what happens.

    Returns
    -------
    EncodedTables

    Raises
    ------
    ParameterError, SchemaError
        See `train`.
    """
    tell, seed = Listeners(listeners), _seed(ResumeSettings.of(request.parameters).random_state)
    data = _prepared(request, request.parameters, Prior.pretrained(request.pretrained), seed, tell, backend)
    return load(plan(data, request.parameters, seed, tell, backend), tell, backend, has_checksums=True)


def _model(
    problem: Problem,
    source: Source,
    names: tuple[str, ...],
    network: Snapshot,
    state: TrainingState,
    effective: dict[str, Any],
    table_rows: dict[str, tuple[int, int]],
    n_rows: int,
    earlier: Model | None,
) -> Model:
    """Model of a training that is over.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    source : Source
        The training table.
    names : tuple of str
        Its predictors, or those of the table of the model from which training went on.
    network : Snapshot
        The network that came out.
    state : TrainingState
        Counters and history.
    effective : dict
        Parameters as they came to be.
    table_rows : dict of str to tuple of (int, int)
        Rows of each table, and how many of them train or are scored.
    n_rows : int
        Rows of an epoch.
    earlier : Model or None
        The model from which training went on.
    """
    levels = problem.found.columns.levels
    complete = frozenset(
        c.name for c in problem.encoder.categories if c.name in levels and not levels[c.name].n_missing
    )
    record = TrainingRecord(
        requested=problem.requested | {"client": None},  # a model knows nothing of where it was trained
        effective=effective,
        history=state.history,
        n_seen=network.n_seen,
        n_rounds=network.n_rounds,
        n_rows=n_rows,
        feature_names=names,
        is_named=source.is_named,
        offset_name=_offset_name(source),
        target_name=_target_name(source),
        stopped_by=state.stopped_by,
        table_rows=table_rows,
        versions=versions(),
        complete_columns=complete if earlier is None else complete & earlier.record.complete_columns,
    )
    trained = TrainedNetwork(problem.topology, network.flat, tuple(network.states))
    return Model(problem.encoder, trained, problem.head, record)


def _seed(
    asked: int | np.random.RandomState | np.random.Generator | None,
    checkpoint: Checkpoint | None = None,
    model: Model | None = None,
) -> int:
    """The seed of this training: asked for, of the training that broke off or of the model, or drawn."""
    if checkpoint and isinstance(asked, int) and asked != checkpoint.seed:
        raise ParameterError(
            f"random_state={asked}, but {checkpoint.path} is of a training with {checkpoint.seed}. Leave it as it was."
        )
    if checkpoint:
        return checkpoint.seed
    if asked is None and model and (known := seed_of(model.record.effective)) is not None:
        return known
    return drawn_seed(asked)


def _target_name(source: Source) -> str | None:
    name = source.roles.get(TARGET)
    return None if name == f"__{TARGET}__" else name


def _offset_name(source: Source) -> str | None:
    name = source.roles.get(OFFSET)
    return "" if name == f"__{OFFSET}__" else name
