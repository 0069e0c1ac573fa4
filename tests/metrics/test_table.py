"""The table of metrics: histories and parameters take their names from it, and every metric is what scikit-learn says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from dask_dl import parameters
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.metrics.measurement import measure_classes, measure_inputs, measure_numbers
from dask_dl.metrics.table import METRICS, TABLE, columns_of, is_better, loss_of

NAN = math.nan
RANDOM = np.random.default_rng(0)
LABELS, WEIGHTS = RANDOM.integers(3, size=300), RANDOM.random(300)
PROBABILITIES = RANDOM.dirichlet(np.ones(3), 300)
TRUTH = RANDOM.normal(5, 2, 300)
PREDICTED = TRUTH + RANDOM.normal(0, 1, 300)
INPUTS = RANDOM.normal(0, 1, (300, 4))
GIVEN = {
    "classification": (LABELS, PROBABILITIES),
    "regression": (TRUTH, PREDICTED),
    "autoencoder": (INPUTS, INPUTS + RANDOM.normal(0, 0.3, INPUTS.shape)),
}
MEASURED = {
    "classification": measure_classes(*GIVEN["classification"], WEIGHTS),
    "regression": measure_numbers(*GIVEN["regression"], WEIGHTS),
    "autoencoder": measure_inputs(*GIVEN["autoencoder"], WEIGHTS),
}


def event_of(k, training):
    return ScoringEvent(
        duration=k, training_speed=1, epochs=k, iterations=k, samples=k, samples_per_iteration=1,
        metrics={"training": training},
    )  # fmt: skip


def error_of_the_right_class(truth, p, sample_weight):
    return np.average((1 - p[np.arange(len(truth)), truth]) ** 2, weights=sample_weight)


def misclassified(truth, p, sample_weight):
    return sklearn_metrics.zero_one_loss(truth, p.argmax(axis=1), sample_weight=sample_weight)


EXPECTED = {
    ("classification", "mse"): error_of_the_right_class,
    ("classification", "rmse"): lambda *a, **k: math.sqrt(error_of_the_right_class(*a, **k)),
    ("classification", "logloss"): sklearn_metrics.log_loss,
    ("classification", "misclassification"): misclassified,
    ("regression", "mse"): sklearn_metrics.mean_squared_error,
    ("regression", "rmse"): sklearn_metrics.root_mean_squared_error,
    ("regression", "deviance"): sklearn_metrics.mean_squared_error,
    ("regression", "mae"): sklearn_metrics.mean_absolute_error,
    ("regression", "r2"): sklearn_metrics.r2_score,
    ("autoencoder", "mse"): sklearn_metrics.mean_squared_error,
    ("autoencoder", "rmse"): lambda *a, **k: math.sqrt(sklearn_metrics.mean_squared_error(*a, **k)),
}


@pytest.mark.parametrize(("task", "name"), EXPECTED)
def test_values_are_those_of_scikit_learn(task, name):
    assert MEASURED[task].metric(name) == pytest.approx(
        EXPECTED[task, name](*GIVEN[task], sample_weight=WEIGHTS), rel=1e-9
    )


def test_r2_of_classes_is_of_the_class_index():
    variance = np.average((LABELS - np.average(LABELS, weights=WEIGHTS)) ** 2, weights=WEIGHTS)
    measured = MEASURED["classification"]
    assert measured.metric("r2") == pytest.approx(1 - measured.metric("mse") / variance)
    assert math.isnan(measure_numbers(np.ones(3), np.ones(3), None).metric("r2"))  # no variance


def test_every_metric_is_compared_with_another_implementation():
    compared = {*EXPECTED, ("classification", "r2")}
    assert {(task, metric.name) for metric in TABLE for task in metric.tasks} == compared


@pytest.mark.parametrize("task", MEASURED)
def test_histories_have_the_columns_of_the_table(task):
    history = History(task, has_validation=True)
    history.start()
    found = MEASURED[task].metrics(task)
    assert [*found] == [*columns_of(task)]
    event = event_of(1, found)
    history.add(event)
    record = history.records[-1]
    columns = [f"{table}_{name}" for table in ("training", "validation") for name in found]
    assert [*record][-len(columns) :] == columns
    for metric in TABLE:
        if task in metric.tasks:  # those without a column follow from one
            assert event.value(metric.name, "training") == pytest.approx(MEASURED[task].metric(metric.name))
            assert math.isnan(event.value(metric.name, "validation"))
    assert history.metric == loss_of(task) and task in METRICS[loss_of(task)].loss_of


def test_the_best_event_is_the_best_in_the_direction_of_its_metric():
    assert is_better("r2", 0.6, 0.5) and is_better("mse", 0.5, 0.6)
    assert not any(is_better(name, a, b) for name in METRICS for a, b in ((NAN, 0.5), (0.5, NAN), (0.5, 0.5)))
    for metric, best in (("r2", 0.9), ("rmse", 0.1)):
        history = History("regression", has_validation=False, metric=metric)
        for k, value in enumerate((0.5, 0.9, 0.1, 0.9, NAN)):
            history.add(event_of(k, {metric: value}))
        assert history.score_of(history.best) == best
        goodness = [history.is_as_good_as_best(event) for event in history.events]
        assert goodness == [value == best for value in (0.5, 0.9, 0.1, 0.9, NAN)]


def test_every_metric_that_stopping_may_watch_is_in_the_table():
    row = parameters.TABLE["stopping_metric"]
    assert {*row.available} <= {*METRICS}
    assert {metric.name for metric in TABLE} - {*row.available} == {"r2"}  # H2O knows no such word


@pytest.mark.parametrize("early", [False, True])
def test_a_repetition_of_the_best_event_is_known_from_a_scoring_that_came_out_alike(early):
    history = History("regression", has_validation=False)
    for k in (1, 2):
        history.add(event_of(k, MEASURED["regression"].metrics("regression")))
    assert not history.repeats_best  # a network that did not change was scored again
    history.repeat_best(duration=3, epochs=2, iterations=2, samples=2)
    if early:  # files of the first versions have no such column
        history.events[:] = [replace(event, samples_per_iteration=None) for event in history.events]
        history.cut(2)
    assert history.repeats_best
