"""Scoring within a training: an event of its history, and when one is due."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_dl.metrics.history import ScoringSchedule
from dask_dl.metrics.stopping import stride_of
from dask_dl.training.schedule import total_rows

if TYPE_CHECKING:
    from dask_dl.cluster.backend import Backend
    from dask_dl.training.preparation import Problem
    from dask_dl.training.state import TrainingState

#: Huber's loss turns linear at this share of the target's deviation at least (algorithm.md#delta-of-huber): at 0 it would
#: teach nothing.
MIN_DELTA = 1e-4


@dataclass(frozen=True)
class Scorer:
    """Measures the network on every table."""

    problem: Problem
    backend: Backend
    began: float  #: when the training began, by `time.monotonic`

    def __call__(self, state: TrainingState, n: int, communication: float) -> None:
        """Append an event to the history, after a round of n rows; set huber's delta for the rounds to come.

        `communication` is the share of the time since the last event in which no rows were trained.
        """
        problem, backend = self.problem, self.backend
        measured = {name: backend.measure(name) for name in problem.tables}
        found = {name: m.metrics(problem.task) for name, m in measured.items()}
        residuals = measured["training"].residuals
        if residuals is not None:
            delta = problem.head.encoded_residual(residuals.quantile(problem.distribution.shape))
            state.delta = max(delta, MIN_DELTA)
        state.history.add(
            seconds=state.seconds + time.monotonic() - self.began,
            speed=state.n_seen / state.training_seconds if state.n_seen else 0.0,
            epochs=state.n_seen / backend.n_rows,
            iterations=state.n_rounds,
            samples=state.n_seen,
            samples_per_iteration=n,
            communication=communication,
            training=found["training"],
            validation=found.get("validation", {}),
            confusion={name: m.confusion.tolist() for name, m in measured.items() if m.confusion is not None},
        )


def scoring_schedule(problem: Problem, n_epoch: int) -> ScoringSchedule:
    """When to score, by what an event costs beside the training."""
    e, topology, found = problem.effective, problem.topology, problem.found
    n_active = len(problem.encoder.categories) + found.n_entries / found.n_rows
    samples = [(e[f"score_{name}_samples"], scanned.n_used) for name, (_, scanned) in problem.tables.items()]
    n_scored = sum(min(n or maximum, maximum) for n, maximum in samples)
    n_weights = topology.dense_size + n_active * topology.units[0]
    stride = stride_of(e, n_epoch) if problem.run.may_stop_early else 0
    return ScoringSchedule.of(e, total_rows(problem.run.epochs, n_epoch), n_weights, n_scored, len(samples), stride)
