"""Loop of a training with what it needs to score, to judge and to save."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dask_dl import jit
from dask_dl.events import Listeners
from dask_dl.metrics.stopping import reason_to_stop, stride_of
from dask_dl.training.loop import DIVERGED, EPOCHS, FAILED, INTERRUPTED, NO_WORKERS, TERMINATED, TIME_IS_UP, Rounds
from dask_dl.training.saving import PeriodicCheckpoints
from dask_dl.training.schedule import MIN_ROUNDS, RoundSchedule, ScoringSchedule, averages_per_epoch
from dask_dl.training.scoring import Scorer, scoring_schedule

if TYPE_CHECKING:
    from dask_dl.cluster.trainer import Trainer
    from dask_dl.training.checkpoints import CheckpointWriter
    from dask_dl.training.problem import Problem
    from dask_dl.training_state import TrainingState


def make_rounds(
    problem: Problem,
    state: TrainingState,
    writer: CheckpointWriter | None,
    began: float,
    tell: Listeners,
    trainer: Trainer,
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
    trainer : Trainer
        Trains and measures.

    Returns
    -------
    Rounds
    """
    run, history = problem.run, state.history

    if writer is not None:
        tell = Listeners([*tell, PeriodicCheckpoints(writer.save, run.checkpoint_dir, run.checkpoint_interval, tell)])
    if not jit.is_cached(problem.kernel):
        kept = "once for this machine" if jit.cache_folder() else "no folder can be written to keep them"
        tell.say(f"compiling the kernels, {kept} (about 20 s) ...")
    # What costs a round trip to workers is done less often, unless they shall do the same as one process does.
    is_sent = not (trainer.is_local or run.reproducible)
    schedule = RoundSchedule.of(
        run.epochs,
        trainer.n_rows,
        run.per_iteration,
        scoring_schedule(problem, trainer.n_rows, is_sent=is_sent),
        n_weights=problem.topology.size,
        n_threads=trainer.n_threads,
        n_replicas=trainer.n_replicas,
        n_copies=trainer.n_copies,
        share=run.share,
        batch=run.batch,
        shift=state.shift,
        min_rounds=1 if is_sent and trainer.n_replicas == 1 else MIN_ROUNDS,
    )
    each_iteration = run.scoring.each_iteration
    if trainer.n_replicas > 1 and run.reproducible and run.chooses_rounds:
        # Replicas need several averages in an epoch, and no clock may say how many; one scoring is enough.
        # Nor may the epochs: a training that is asked for more of them goes on with the same rounds.
        schedule.fixed, schedule.ends_with_epoch = -(-trainer.n_rows // averages_per_epoch(trainer.n_replicas)), True
        each_iteration = run.asked_each_iteration
        problem.effective |= {"train_samples_per_iteration": schedule.fixed, "score_each_iteration": each_iteration}
        if not each_iteration:
            schedule.scoring = ScoringSchedule(math.inf, math.inf, each_iteration, every=trainer.n_rows)
    stride = stride_of(trainer.n_rows, each_iteration=each_iteration)

    def judge() -> str | None:
        return reason_to_stop(history, run.stopping, stride)

    rounds = Rounds(
        trainer,
        schedule,
        state,
        Scorer(problem, trainer, began),
        judge,
        tell,
        keeps_best=run.keeps_best,
        deadline=began + run.max_seconds if run.max_seconds else math.inf,
        may_stop_early=run.stopping.rounds > 0,
        ends_at_sigterm=writer is not None,
        copies_by_rows=run.reproducible,
    )
    if state.best is None and run.keeps_best:
        history.best = None  # its network was not kept
    if state.stopped_by in BROKEN_OFF or (state.stopped_by == EPOCHS and state.n_seen < schedule.n_total):
        state.stopped_by = None
    elif state.stopped_by != EPOCHS:
        state.stopped_by = judge()  # by the parameters of now
    return rounds


#: A training that ended for one of these reasons goes on when it is resumed; all others are final.
BROKEN_OFF = {None, INTERRUPTED, TERMINATED, TIME_IS_UP, DIVERGED, NO_WORKERS, FAILED, "callback"}
