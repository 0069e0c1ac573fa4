"""Scoring within a training: samples, the columns of the history, and what it takes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from training.fifty import QUIET

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster import LocalTrainer
from dask_dl.metrics.history import History
from dask_dl.node import replica


def test_scoring_uses_a_sample_of_the_size_asked_for(table, monkeypatch):
    sizes = []

    def spy(topology, flat, rows, n_threads):
        sizes.append(rows.n)
        return replica.predict(topology, flat, rows, n_threads)

    monkeypatch.setattr("dask_dl.cluster.shard.predict", spy)
    DeepLearningRegressor(
        hidden=(4,),
        epochs=1,
        random_state=1,
        train_samples_per_iteration=0,
        score_training_samples=20,
        score_validation_samples=10,
    ).fit(table, "y", eval_set=table)
    assert sizes == [20, 10]


def test_history_has_the_columns_of_its_page(table):
    times = ["timestamp", "duration", "training_speed", "epochs", "iterations", "samples"]
    times += ["samples_per_iteration", "communication", "scoring_seconds"]
    numbers = ["rmse", "deviance", "mae", "rmsle", "r2"]
    history = DeepLearningRegressor(hidden=(4,), epochs=1).fit(table, "y", eval_set=table).history_
    assert [*history] == [*times, *(f"training_{n}" for n in numbers), *(f"validation_{n}" for n in numbers)]
    classes = ["rmse", "logloss", "r2", "auc", "pr_auc", "lift", "classification_error", "mean_per_class_error"]
    history = DeepLearningClassifier(hidden=(4,), epochs=1).fit(table[["a", "b"]], table["y"] > 3).history_
    assert [*history] == [*times, *(f"training_{n}" for n in classes)]
    assert history["duration"].is_monotonic_increasing


@pytest.mark.parametrize("is_known", [True, False])
def test_seconds_of_scoring_add_up_in_the_history(table, monkeypatch, is_known):
    clock, measure, start = [0.0], LocalTrainer.measure, History.start

    def measured(trainer, name):
        clock[0] += 2.0
        return measure(trainer, name)

    def started(history):  # as that of a training that an early version began
        start(history)
        history.events[0] = replace(history.events[0], scoring_seconds=None)

    monkeypatch.setattr(LocalTrainer, "measure", measured)
    monkeypatch.setattr("dask_dl.training.scoring.time", SimpleNamespace(monotonic=lambda: clock[0]))
    if not is_known:
        monkeypatch.setattr(History, "start", started)
    model = DeepLearningRegressor(hidden=(4,), epochs=3, score_each_iteration=True, train_samples_per_iteration=0)
    seconds = model.set_params(**QUIET).fit(table, "y", eval_set=table).history_.get("scoring_seconds")
    assert (None if seconds is None else seconds.tolist()) == ([0.0, 4.0, 8.0, 12.0] if is_known else None)
