"""Scoring within a training: an event of its history, and when one is due."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_dl.metrics.history import ScoringEvent
from dask_dl.metrics.stopping import stride_of
from dask_dl.node.layers import layer_stats
from dask_dl.training.schedule import ScoringSchedule, total_rows

if TYPE_CHECKING:
    from dask_dl.cluster.trainer import Trainer
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.state import LayerStats
    from dask_dl.training.problem import Problem
    from dask_dl.training_state import TrainingState

#: Huber's loss turns linear at this share of the target's deviation at least (algorithm.md#delta-of-huber): at 0 it would
#: teach nothing.
MIN_DELTA = 1e-4


@dataclass(frozen=True)
class Scorer:
    """Measures the network on every table."""

    problem: Problem
    trainer: Trainer
    began: float  #: when the training began, by `time.monotonic`

    def __call__(self, state: TrainingState, n: int, communication: float) -> None:
        """Append an event to the history, after a round of n rows; set huber's delta for the rounds to come.

        `communication` is the share of the time since the last event in which no rows were trained.
        """
        problem, trainer, began = self.problem, self.trainer, time.monotonic()
        before = state.history.events[-1].scoring_seconds
        measured = {name: trainer.measure(name) for name in problem.scored}
        huber = measured["training"].huber
        if huber is not None:
            state.delta = max(problem.head.encoded_residual(huber.delta), MIN_DELTA)
        layers = self._layers(state, measured["training"]) if problem.run.scoring.keeps_layers else ()
        state.history.add(
            ScoringEvent(
                duration=state.seconds + time.monotonic() - self.began,
                training_speed=state.n_seen / state.training_seconds if state.n_seen else 0.0,
                epochs=state.epochs(trainer.n_rows),
                iterations=state.n_rounds,
                samples=state.n_seen,
                samples_per_iteration=n,
                communication=communication,
                metrics={name: m.metrics(problem.head.kind) for name, m in measured.items()},
                measured=measured,
                layers=layers,
                scoring_seconds=None if before is None else before + time.monotonic() - began,  # all of the above
            )
        )

    def _layers(self, state: TrainingState, measured: Measurement) -> tuple[LayerStats, ...]:
        """Figures of every layer."""
        flat, states, *_ = self.trainer.weights()
        return layer_stats(self.problem.topology, flat, states, self.problem.optimizer, state.n_seen, measured.activity)


def scoring_schedule(problem: Problem, n_epoch: int, *, is_sent: bool) -> ScoringSchedule:
    """When to score, by what an event costs beside the training."""
    settings, topology, found = problem.run.scoring, problem.topology, problem.found
    n_active = len(problem.encoder.categories) + found.n_entries / found.n_rows
    samples = [(settings.samples[name], scanned.n_used) for name, (_, scanned) in problem.tables.items()]
    n_scored = sum(min(n or maximum, maximum) for n, maximum in samples)
    n_weights = topology.dense_size + n_active * topology.units[0]
    stride = stride_of(n_epoch, each_iteration=settings.each_iteration) if problem.run.stopping.rounds else 0
    n_total = total_rows(problem.run.epochs, n_epoch)
    return ScoringSchedule.of(settings, n_total, n_weights, n_scored, len(samples), stride, is_sent=is_sent)
