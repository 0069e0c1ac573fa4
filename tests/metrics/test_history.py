"""Histories of trainings: the best event, and its repetition when its network was put back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.metrics.measurement import measure_numbers

NAN = math.nan


def event_of(k, training):
    return ScoringEvent(
        duration=k, training_speed=1, epochs=k, iterations=k, samples=k, samples_per_iteration=1,
        metrics={"training": training},
    )  # fmt: skip


@pytest.mark.parametrize("early", [False, True])
def test_a_repetition_of_the_best_event_is_known_from_a_scoring_that_came_out_alike(early):
    history = History("regression", has_validation=False)
    for k in (1, 2):
        history.add(event_of(k, measure_numbers(np.arange(3.0), np.ones(3), None).metrics("regression")))
    assert not history.repeats_best  # a network that did not change was scored again
    history.repeat_best(duration=3, epochs=2, iterations=2, samples=2)
    if early:  # files of the first versions have no such column
        history.events[:] = [replace(event, samples_per_iteration=None) for event in history.events]
        history.cut(2)
    assert history.repeats_best


def test_the_best_event_is_the_best_in_the_direction_of_its_metric():
    for metric, best in (("r2", 0.9), ("rmse", 0.1)):
        history = History("regression", has_validation=False, metric=metric)
        for k, value in enumerate((0.5, 0.9, 0.1, 0.9, NAN)):
            history.add(event_of(k, {metric: value}))
        assert history.score_of(history.best) == best
        goodness = [history.is_as_good_as_best(event) for event in history.events]
        assert goodness == [value == best for value in (0.5, 0.9, 0.1, 0.9, NAN)]


def test_best_event_is_the_first_with_the_least_loss():
    history = History("regression", has_validation=True)
    history.start()
    assert history.best is None
    for k, loss in enumerate([3.0, 1.0, 2.0, 1.0]):
        metrics = {"training": {"deviance": -k}, "validation": {"deviance": loss}}
        counters = {"duration": k, "epochs": k, "iterations": k, "samples": k, "scoring_seconds": k / 8}
        history.add(ScoringEvent(training_speed=1.0, **counters, metrics=metrics))
    assert history.best.iterations == 1
    history.repeat_best(duration=4, epochs=3, iterations=3, samples=3)
    assert history.events[-1].metrics == history.best.metrics and history.events[-1].scoring_seconds == 3 / 8
