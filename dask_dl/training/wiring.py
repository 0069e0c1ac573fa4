"""Loop of a training with what it needs to score, to judge and to save."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from dask_dl import jit
from dask_dl.events import Saved
from dask_dl.metrics.history import ScoringSchedule
from dask_dl.metrics.stopping import reason_to_stop, stride_of
from dask_dl.training.loop import DIVERGED, EPOCHS, FAILED, INTERRUPTED, NO_WORKERS, TERMINATED, TIME_IS_UP, Rounds
from dask_dl.training.schedule import RoundSchedule, total_rows

if TYPE_CHECKING:
    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.training.checkpoints import CheckpointWriter
    from dask_dl.training.preparation import Problem
    from dask_dl.training.state import Snapshot, TrainingState


def make_rounds(
    problem: Problem,
    state: TrainingState,
    writer: CheckpointWriter | None,
    began: float,
    tell: Listeners,
    here: Backend,
) -> Rounds:
    """Make the loop, with what it needs to score, to judge and to save.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    state : TrainingState
        Counters and history of the training so far.
    writer : CheckpointWriter or None
        Writes checkpoints, where they are asked for.
    began : float
        Time by `time.monotonic` at which the training began.
    tell : Listeners
        Told what happens.
    here : Backend
        Trains and measures.
    """
    effective, history = problem.effective, state.history

    def score(state: TrainingState, n: int, communication: float) -> None:
        measured = {name: here.measure(name) for name in problem.tables}
        found = {name: m.metrics(problem.task) for name, m in measured.items()}
        residuals = measured["training"].residuals
        if residuals is not None:
            delta = problem.head.encoded_residual(residuals.quantile(problem.distribution.shape))
            state.delta = max(delta, MIN_DELTA)
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
            confusion={name: m.confusion.tolist() for name, m in measured.items() if m.confusion is not None},
        )

    def save(state: TrainingState, network: Snapshot) -> None:
        assert writer is not None
        tell(Saved(writer.save(state, network.flat, network.states)))

    if not jit.is_cached(problem.kernel):
        kept = "once for this machine" if jit.cache_folder() else "no folder can be written to keep them"
        tell.say(f"compiling the kernels, {kept} (about 20 s) ...")
    schedule = RoundSchedule.of(
        effective["epochs"],
        here.n_rows,
        effective["train_samples_per_iteration"],
        _scoring_schedule(problem, here.n_rows),
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
        tell,
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


def _scoring_schedule(problem: Problem, n_epoch: int) -> ScoringSchedule:
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
