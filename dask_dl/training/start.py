"""Network with which a training begins: drawn, given, or of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dask_dl.cluster.shard import Setup
from dask_dl.errors import DivergedError, ParameterError
from dask_dl.frame.source import OFFSET
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.metrics.history import History
from dask_dl.metrics.stopping import metric_of
from dask_dl.node.stability import instability
from dask_dl.training.loading import say_threads
from dask_dl.training.state import Snapshot, TrainingState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.training.checkpoints import Checkpoint
    from dask_dl.training.preparation import Problem


def begin(
    problem: Problem, checkpoint: Checkpoint | None, tell: Listeners, here: Backend
) -> tuple[TrainingState, Snapshot | None]:
    """Start the backend with the network as it is drawn or given, or as it was saved.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    checkpoint : Checkpoint or None
        The checkpoint to go on from.
    tell : Listeners
        Told what happens.
    here : Backend
        Receives the network.

    Returns
    -------
    tuple of (TrainingState, Snapshot or None)
        Counters and history; and the network, where the weights are in other processes.

    Raises
    ------
    DivergedError
        When the weights are not finite or too large before the first row.
    ParameterError
        When given start values do not fit the network.
    """
    topology, effective = problem.topology, problem.effective
    metric = metric_of(effective["stopping_metric"], problem.task)
    states: list[NDArray[np.float32]] = []
    if checkpoint:
        state, flat, states = checkpoint.state(metric), checkpoint.flat, checkpoint.states
        tell.say(f"going on from {checkpoint.path}: {state.n_seen:,} rows, {state.n_rounds:,} rounds")
    else:
        state = TrainingState(History(problem.task, "validation" in problem.tables, metric=metric))
        state.history.start()
        flat = _start_values(problem)
    unsound = instability(topology, flat)
    if unsound:
        raise DivergedError(f"{unsound} before the first row. Start from smaller weights: lower initial_weight_scale.")
    setup = Setup(
        problem.head,
        topology,
        problem.optimizer,
        problem.head.objective(effective["loss"], problem.distribution),
        problem.distribution,
        problem.seed,
        effective["shuffle_training_data"],
    )
    here.start(setup, flat, states, state.n_seen, lambda now: say_threads(tell, topology, now))
    copy = None if here.is_local else Snapshot(flat, tuple(states), state.n_seen, state.n_rounds)
    return state, copy


def _start_values(problem: Problem) -> NDArray[np.float32]:
    """Start values: the user's (inputs x units a layer, as `coefs_`) where given, else drawn, with the output at the data."""
    topology, e, intercept = problem.topology, problem.effective, problem.found.row_stats.intercept
    weights = initial_weights(topology, e["initial_weight_distribution"], e["initial_weight_scale"], problem.seed)
    has_offset = OFFSET in problem.tables["training"][0].roles
    start = problem.head.start_of_bias(intercept.value, has_offset=has_offset) if intercept else 0.0
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
