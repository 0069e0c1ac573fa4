"""Classifiers with a threshold of the probability of the second of two classes: given, found, kept and saved."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import ParameterError

SMALL = {"hidden": (8,), "epochs": 3, "random_state": 1, "n_jobs": 1}


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
    y = pd.Series(np.where(X["a"] + X["b"] + random.normal(size=600) > 1.2, "yes", "no"), name="y")
    return X, y


@pytest.fixture(scope="module")
def model(table):
    X, y = table
    return DeepLearningClassifier(**SMALL).fit(X[:400], y[:400], eval_set=(X[400:], y[400:]))


def test_the_second_class_is_predicted_from_a_threshold_on(model, table):
    p = model.predict_proba(table[0])[:, 1]
    for threshold in (0.0, 0.2, float(p[3]), 0.9, 1.0):
        expected = model.classes_[(p >= threshold).astype(int)]
        np.testing.assert_array_equal(model.predict(table[0], threshold=threshold), expected)
        lazy = model.predict(dd.from_pandas(table[0], npartitions=3), threshold=threshold).compute()
        np.testing.assert_array_equal(lazy, expected)
    np.testing.assert_array_equal(model.predict(table[0]), model.classes_[(p > 0.5).astype(int)])
    assert model.threshold_ is None


def test_the_largest_f1_is_that_of_the_validation_table(model, table):
    X, y = table
    predicted = model.predict(X[400:], threshold="max_f1")
    f1 = f1_score(y[400:], predicted, pos_label="yes")
    thresholds = np.unique(model.predict_proba(X[400:])[:, 1])
    every = [f1_score(y[400:], model.predict(X[400:], threshold=t), pos_label="yes") for t in thresholds]
    assert f1 == max(every) > f1_score(y[400:], model.predict(X[400:]), pos_label="yes")
    assert model.metrics_["validation"].at("max_f1")["f1"] == pytest.approx(f1)


def test_a_threshold_that_is_set_is_saved_and_used_by_all(table, tmp_path):
    X, y = table
    model = DeepLearningClassifier(**SMALL).fit(X, y)
    plain = model.score(X, y)
    assert model.set_threshold("max_f1") is model and 0 < model.threshold_ < 0.5
    model.save(tmp_path / "m")
    for fitted in (model, load(tmp_path / "m")):
        assert fitted.threshold_ == model.threshold_
        predicted = fitted.predict(X)
        np.testing.assert_array_equal(predicted, model.predict(X, threshold="max_f1"))
        np.testing.assert_array_equal(fitted.predict_table(X)["predict"], predicted)
        assert fitted.score(X, y) == accuracy_score(y, predicted) != plain
        evaluation = fitted.evaluate(X, y)
        assert evaluation["misclassification"] == pytest.approx(1 - fitted.score(X, y))
        assert evaluation.threshold == fitted.threshold_
        counts = pd.crosstab(y, predicted).to_numpy()
        np.testing.assert_array_equal(evaluation.confusion_matrix(), counts)
        errors = [counts[0, 1] / counts[0].sum(), counts[1, 0] / counts[1].sum()]
        assert evaluation["mean_per_class_error"] == pytest.approx(np.mean(errors))
    assert model.set_threshold(None).threshold_ is None and model.score(X, y) == plain
    assert model.fit(X, y).threshold_ is None


@pytest.mark.parametrize("threshold", [1.5, -0.1, "f1", "max_f7", np.nan, True, [0.5]])
def test_what_is_no_threshold_is_refused(model, table, threshold):
    with pytest.raises(ParameterError, match="threshold"):
        model.predict(table[0], threshold=threshold)
    with pytest.raises(ParameterError, match="threshold"):
        model.set_threshold(threshold)


def test_only_two_classes_have_a_threshold(table):
    X, _ = table
    several = DeepLearningClassifier(**SMALL).fit(X, pd.cut(X["a"], 3).astype(str))
    for threshold in (0.5, "max_f1"):
        with pytest.raises(ParameterError, match="two classes"):
            several.predict(X, threshold=threshold)
    with pytest.raises(ParameterError, match="thresholds are of two classes"):
        several.evaluate(X, pd.cut(X["a"], 3).astype(str)).thresholds()
    numbers = DeepLearningRegressor(**SMALL).fit(X[["b", "c"]], X["a"])
    for threshold in (0.5, "max_f1"):
        with pytest.raises(ParameterError, match="threshold: only a model of two classes has one"):
            numbers.predict(X[["b", "c"]], threshold=threshold)
