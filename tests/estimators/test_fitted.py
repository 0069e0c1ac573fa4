"""What a fitted estimator tells of its last scoring: metrics of both tables, and the confusion matrix of the one watched."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix, log_loss, mean_absolute_error
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load

SMALL = {"hidden": (6,), "epochs": 3, "random_state": 1, "n_jobs": 1, "score_each_iteration": True}
N = 90


@pytest.fixture(scope="module")
def table():
    frame = make_table(N, labels=("down", "flat", "up"))
    return frame[list("abc")], frame["label"]


@pytest.fixture(scope="module")
def held(table):
    X, y = table
    return X[60:], y[60:]


@pytest.fixture(scope="module")
def validated(table, held):
    X, y = table
    return DeepLearningClassifier(**SMALL).fit(X[:60], y[:60], eval_set=held)


def saved_and_loaded(model, folder):
    model.save(folder / "model")
    return load(folder / "model")


def test_metrics_of_both_tables(validated, table, held, tmp_path):
    for model in (validated, saved_and_loaded(validated, tmp_path)):
        metrics = model.metrics_
        assert list(metrics) == ["training", "validation"]
        for name, (X, y) in {"training": (table[0][:60], table[1][:60]), "validation": held}.items():
            np.testing.assert_allclose(metrics[name]["logloss"], log_loss(y, model.predict_proba(X)), rtol=1e-5)
            np.testing.assert_allclose(metrics[name]["misclassification"], 1 - model.score(X, y))


def test_confusion_matrix_of_the_validation_table(validated, held, tmp_path):
    for model in (validated, saved_and_loaded(validated, tmp_path)):
        found = model.confusion_matrix_
        assert (found.index.name, found.columns.name) == ("actual (validation)", "predicted")
        assert list(found.index) == list(found.columns) == list(model.classes_)
        assert set(found.dtypes) == {np.dtype(np.int64)}
        np.testing.assert_array_equal(found, confusion_matrix(held[1], model.predict(held[0])))


def test_confusion_matrix_of_the_training_table_by_weight(table, tmp_path):
    X, y = table
    weight = np.resize([0.5, 1.25, 0.0], N)
    model = DeepLearningClassifier(**SMALL).fit(X, y, sample_weight=weight)
    expected = confusion_matrix(y, model.predict(X), sample_weight=weight) / weight[weight > 0].mean()
    for fitted in (model, saved_and_loaded(model, tmp_path)):
        found = fitted.confusion_matrix_
        assert found.index.name == "actual (training)"
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert list(fitted.metrics_) == ["training"]


def test_labels_keep_their_type(table):
    model = DeepLearningClassifier(**SMALL).fit(table[0], table[0]["a"] > 0)
    assert model.confusion_matrix_.loc[True, True] + model.confusion_matrix_.loc[False, False] > 0


def test_metrics_of_numbers(table, tmp_path):
    X = table[0]
    model = DeepLearningRegressor(**SMALL).fit(X, X["a"] * 10)
    for fitted in (model, saved_and_loaded(model, tmp_path)):
        assert list(fitted.metrics_["training"]) == ["rmse", "deviance", "mae", "rmsle", "r2", "mse"]
        expected = mean_absolute_error(X["a"] * 10, fitted.predict(X))
        np.testing.assert_allclose(fitted.metrics_["training"]["mae"], expected, rtol=1e-5)
        assert not hasattr(fitted, "confusion_matrix_")


def test_metrics_are_those_of_the_network_that_was_put_back(table, held):
    model = DeepLearningClassifier(**SMALL | {"epochs": 60, "hidden": (30,)}, stopping_rounds=0)
    model.fit(table[0][:60], table[1][:60], eval_set=held)
    assert model.history_["validation_logloss"].iloc[-2] > model.best_score_  # the last network was worse
    assert model.metrics_["validation"]["logloss"] == model.best_score_
    np.testing.assert_array_equal(model.confusion_matrix_, confusion_matrix(held[1], model.predict(held[0])))


def test_no_matrix_of_too_many_classes(table):
    model = DeepLearningClassifier(**SMALL).fit(table[0], np.arange(N) % 51)
    assert model.confusion_matrix_ is None
    assert np.isfinite(model.metrics_["training"]["logloss"])


@pytest.mark.parametrize("name", ["metrics_", "confusion_matrix_"])
def test_nothing_is_measured_before_fit(name):
    model = DeepLearningClassifier()
    assert not hasattr(model, name)
    with pytest.raises(NotFittedError):
        getattr(model, name)
