"""Early stopping: worked examples (algorithm.md#early-stopping), and what a training does with them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.metrics.stopping import StoppingSettings, has_converged, reason_to_stop, stride_of, values_of
from dask_dl.metrics.table import METRICS
from dask_dl.tasks import HEADS

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "rounds", "tolerance", "stops"),
    [
        # the worked examples
        ([NAN, 0.5, 0.4, 0.4, 0.41], 2, 0.0, False),
        ([NAN, 0.40, 0.41, 0.41, 0.42], 2, 0.0, True),
        ([NAN, 0.4, 0.4, 0.4, 0.4], 2, 0.0, True),
        ([NAN, 0.5, 0.5, 0.499, 0.499], 2, 0.01, True),
        # the rules, one by one
        ([NAN, 0.5, 0.5, 0.499, 0.499], 2, 0.001, False),
        ([NAN, 0.4, 0.4, 0.4], 2, 0.0, False),  # 2k events beside the first
        ([NAN, 0.4, 0.4, 0.4, 0.4], 0, 0.0, False),
        ([NAN, 1.0, 1.0], 1, 0.0, True),
        ([NAN, 1.0, 0.9], 1, 0.0, False),
        ([NAN, 1.0, NAN, 1.0, 1.0], 2, 0.0, False),
        ([NAN, NAN, 1.0, 1.0, 1.0, 1.0], 2, 0.0, True),  # an old gap is forgotten
        ([NAN, 0.0, 0.0], 1, 0.0, True),  # cannot become better than 0
        ([NAN, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0], 2, 0.0, True),
        ([NAN, 9.0, 9.0, 9.0, 4.0, 3.0, 2.0, 1.0], 2, 0.0, False),
    ],
)
def test_converged(values, rounds, tolerance, stops):
    assert has_converged(values, rounds, tolerance, METRICS["logloss"]) is stops


def test_metrics_that_may_be_negative():
    assert not has_converged([NAN, 0.0, 0.0], 1, 0.0, METRICS["deviance"])
    assert not has_converged([NAN, 1.0, -1.0], 1, 0.0, METRICS["deviance"])  # signs differ
    # As documented, the ratio's meaning is turned round for negative values.
    assert has_converged([NAN, -1.0, -2.0], 1, 0.0, METRICS["deviance"])
    assert not has_converged([NAN, -2.0, -1.0], 1, 0.0, METRICS["deviance"])


@pytest.mark.parametrize(
    ("values", "tolerance", "stops"),
    [
        ([0.5, 0.6], 0.0, False),
        ([0.6, 0.6], 0.0, True),
        ([0.6, 0.5], 0.0, True),
        ([0.5, 0.504], 0.01, True),
        ([0.0, 0.0], 0.0, False),
    ],
)
def test_metrics_that_are_better_when_greater(values, tolerance, stops):
    assert has_converged([NAN, *values], 1, tolerance, METRICS["r2"]) is stops


def history_of(task, column, values, *, has_validation=False, every=1, **others):
    history = History({"classification": "binomial"}.get(task, task), has_validation)
    history.start()
    for k, value in enumerate(values):
        measured = {"classification_error": 0.5, "r2": 0.5} | others
        watched = measured | {column: value}
        metrics = {"training": measured if has_validation else watched, "validation": watched}
        history.add(
            ScoringEvent(
                duration=k, training_speed=1.0, epochs=k, iterations=k + 1, samples=k * every, samples_per_iteration=1,
                metrics=metrics,
            )
        )  # fmt: skip
    return history


def rules(metric="deviance", rounds=2, task="regression", limit=-math.inf):
    return StoppingSettings(metric, rounds, 0.0, HEADS[task].enough, limit)


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if not metric.greater_is_better])
@pytest.mark.parametrize("has_validation", [False, True])
def test_every_metric_stops_in_its_direction(metric, has_validation):
    column = METRICS[metric].column or metric
    task = METRICS[metric].tasks[0] if METRICS[metric].in_history else pytest.skip("no history has it")
    e = rules(metric)
    falling, rising = [0.9, 0.8, 0.7, 0.6], [0.6, 0.7, 0.8, 0.9]
    assert reason_to_stop(history_of(task, column, falling, has_validation=has_validation), e) is None
    reason = reason_to_stop(history_of(task, column, rising, has_validation=has_validation), e)
    assert reason == f"stopping_rounds: {metric} has not improved over 2 scorings"


def test_more_scorings_make_no_earlier_end():
    random = np.random.default_rng(0)
    noisy = (0.5 + np.exp(-np.arange(400) / 80) + random.normal(0, 0.02, 400)).tolist()  # events a row apart
    e = rules()

    def end(stride, every):
        for n in range(every, 400, every):
            history = history_of("regression", "deviance", noisy[:n:every], every=every)
            if reason_to_stop(history, e, stride):
                return n
        return math.inf

    assert end(0, 1) < 50  # every event by itself: noise ends the training
    assert min(end(50, 1), end(50, 5), end(50, 25)) >= 250
    assert end(50, 1) >= end(50, 50) - 50


def test_values_are_means_over_rows_and_those_under_way_wait():
    history = history_of("regression", "deviance", [1.0, 3.0, 5.0, 7.0, 9.0, 11.0], every=10)  # at 0, 10, ... rows
    np.testing.assert_equal(values_of(history, "deviance", 0), [NAN, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0])
    np.testing.assert_equal(values_of(history, "deviance", 20), [NAN, 3.0, 8.0])
    np.testing.assert_equal(values_of(history, "deviance", 10**6), [NAN])
    history.events[2] = replace(history.events[2], metrics={})
    np.testing.assert_equal(values_of(history, "deviance", 20), [NAN, NAN, 8.0])


@pytest.mark.parametrize("rounds", [0, 3])
def test_single_events_are_judged_by_the_last_ones_alone(rounds, monkeypatch):
    looked_at = []
    value = ScoringEvent.value
    monkeypatch.setattr(ScoringEvent, "value", lambda *given: looked_at.append(1) or value(*given))
    e = rules(rounds=rounds)
    history = history_of("regression", "deviance", np.linspace(2, 1, 500))
    looked_at.clear()  # the history compares every event with the best
    assert reason_to_stop(history, e) is None
    assert len(looked_at) == 2 * rounds + 1  # and at the newest, whether enough is learned
    for k in (-3, -2, -1):
        history.events[k] = replace(history.events[k], metrics={"training": {"deviance": 5.0}})
    assert (reason_to_stop(history, e) is None) is (rounds == 0)


@pytest.mark.parametrize(("n_epoch", "stride"), [(150, 1_000), (26_000, 26_000), (10**9, 10**6)])
def test_the_stride_is_an_epoch_within_limits(n_epoch, stride):
    assert stride_of(n_epoch, each_iteration=False) == stride
    assert stride_of(n_epoch, each_iteration=True) == 0


def test_classification_stop_looks_at_the_training_table():
    e = rules("logloss", rounds=0, task="classification", limit=0.1)
    assert reason_to_stop(history_of("classification", "classification_error", [0.11]), e) is None
    assert "0.1 of the training rows" in reason_to_stop(history_of("classification", "classification_error", [0.1]), e)
    held = history_of("classification", "classification_error", [0.0], has_validation=True)
    assert reason_to_stop(held, e) is None
    assert (
        reason_to_stop(
            history_of("classification", "classification_error", [0.0]), rules("logloss", 0, "classification")
        )
        is None
    )


def test_regression_stop_is_relative_to_the_variance():
    e = rules(rounds=0, limit=0.01)
    assert reason_to_stop(history_of("regression", "r2", [0.98]), e) is None
    assert reason_to_stop(history_of("regression", "r2", [0.995]), e).startswith(
        "regression_stop: the squared error is 0.005"
    )
    assert reason_to_stop(history_of("regression", "r2", [NAN]), e) is None


@pytest.fixture(scope="module")
def table():
    table = make_table(400, noise=1.0)[list("abcy")]
    return table.assign(z=table["a"] > 0)


SHORT = {"hidden": (20,), "random_state": 0, "score_each_iteration": True, "train_samples_per_iteration": 0}


def test_training_stops_early_and_returns_the_best_network(table):
    train, valid = table[:200], table[200:]
    model = DeepLearningRegressor(epochs=500, stopping_rounds=3, **SHORT)
    model.fit(train[["a", "b", "c", "y"]], "y", eval_set=valid[["a", "b", "c", "y"]])
    history = model.history_
    assert model.stopped_by_ == "stopping_rounds: deviance has not improved over 3 scorings"
    assert 6 <= model.n_iter_ < 500
    measured = history["validation_deviance"]
    assert model.best_iteration_ == history["iterations"][measured.idxmin()]
    assert model.best_score_ == measured.min()
    # The extra event after the best network was put back.
    assert measured.iloc[-1] == model.best_score_ and history["samples_per_iteration"].iloc[-1] == 0
    error = valid["y"] - model.predict(valid)
    assert float((error**2).mean()) == pytest.approx(model.best_score_, rel=1e-4)
    last = DeepLearningRegressor(epochs=500, stopping_rounds=3, overwrite_with_best_model=False, **SHORT)
    last.fit(train[["a", "b", "c", "y"]], "y", eval_set=valid[["a", "b", "c", "y"]])
    error = valid["y"] - last.predict(valid)
    assert float((error**2).mean()) == pytest.approx(measured.iloc[-2], rel=1e-4)


def test_the_best_network_is_judged_by_the_stopping_metric(table):
    model = DeepLearningRegressor(epochs=30, stopping_metric="mae", stopping_rounds=1000, **SHORT)
    model.fit(table[["a", "b", "c", "y"]], "y")
    assert model.best_score_ == model.history_["training_mae"].min()


def test_perfect_training_stops(table):
    model = DeepLearningClassifier(epochs=1000, classification_stop=0.02, stopping_rounds=0, **SHORT)
    model.fit(table[["a", "b", "c", "z"]], "z")
    assert model.stopped_by_.startswith("classification_stop") and model.n_iter_ < 1000
    exact = table[["a"]].assign(y=2 * table["a"])
    model = DeepLearningRegressor(epochs=1000, regression_stop=0.01, stopping_rounds=0, **SHORT).fit(exact, "y")
    assert model.stopped_by_.startswith("regression_stop") and model.score(exact, "y") > 0.985


def test_time_limit(table):
    model = DeepLearningRegressor(hidden=(50,), epochs=1e6, max_runtime_secs=1.0, stopping_rounds=0, regression_stop=-1)
    model.fit(table[["a", "b", "c", "y"]], "y")
    assert model.stopped_by_ == "max_runtime_secs"
    assert model.history_["samples"].iloc[-1] == model.model_.record.n_seen < 1e6 * 400
    assert not np.isnan(model.history_["training_deviance"].iloc[-1])


def test_a_callback_that_fails_loses_nothing(table):
    def fails(record):
        if record["iterations"] == 3:
            raise RuntimeError("no room on the disk")

    model = DeepLearningRegressor(epochs=50, **SHORT)
    with pytest.raises(RuntimeError, match="no room on the disk"):
        model.fit(table[["a", "b", "c", "y"]], "y", callbacks=[fails])
    assert model.n_iter_ == 3 and model.stopped_by_ == "callback" and len(model.predict(table)) == 400


def test_callbacks_of_fit(table):
    seen = []
    model = DeepLearningRegressor(epochs=50, **SHORT)
    model.fit(table[["a", "b", "c", "y"]], "y", callbacks=[seen.append, lambda record: record["iterations"] == 4])
    assert model.stopped_by_ == "callback" and model.n_iter_ == 4
    assert [record["iterations"] for record in seen] == [1, 2, 3, 4]
    assert seen[-1]["training_deviance"] == model.history_["training_deviance"].iloc[4]
