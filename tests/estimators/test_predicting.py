"""Predictions by estimators: refused before fit, by the names of columns, and under names of their own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

SMALL = UNSCORED | {"hidden": (8,), "epochs": 5, "random_state": 1}


def test_offset_is_asked_for_where_it_is_needed(table):
    X, offset = table[["a", "b"]], np.ones(len(table))
    model = DeepLearningRegressor(**SMALL).fit(X, table["number"], offset=offset)
    with pytest.raises(ParameterError, match="trained with offsets and none was given"):
        model.predict(X)
    named = DeepLearningRegressor(**SMALL).fit(X.assign(o=offset, n=table["number"]), "n", offset="o")
    with pytest.raises(ParameterError, match="column 'o' is not in the table"):
        named.predict(X)
    plain = DeepLearningRegressor(**SMALL).fit(X, table["number"])
    with pytest.raises(ParameterError, match="trained without offsets"):
        plain.predict(X, offset=offset)
    with pytest.raises(SchemaError, match="missing or infinite"):
        model.predict(X, offset=np.full(len(X), np.nan))


def test_prediction_before_fit_is_refused(table):
    model = DeepLearningClassifier()
    for ask in (model.predict, model.predict_proba, lambda X: model.score(X, "label"), lambda _: model.history_):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask(table)


def test_columns_are_matched_by_name(table):
    model = DeepLearningClassifier(**SMALL).fit(table[["a", "b", "c"]], table["label"])
    expected = model.predict_proba(table[["a", "b", "c"]])
    np.testing.assert_array_equal(model.predict_proba(table[["number", "c", "a", "b"]]), expected)
    with pytest.warns(DaskDLWarning, match="lacks 1 columns of training, taken as missing: \\['b'\\]"):
        lacking = model.predict_proba(table[["a", "c"]])
    np.testing.assert_array_equal(lacking, model.predict_proba(table[["a", "b", "c"]].assign(b=np.nan)))


def test_names_of_answers_never_collide(table):
    labels = np.where(table["a"] > 0, "predict", "p1")
    labels[:50] = "1"
    model = DeepLearningClassifier(**SMALL).fit(table[["a"]], labels)
    answers = model.predict_table(table, keep=["a"])
    assert [*answers] == ["a", "predict", "p1", "pp1", "ppredict"]
    np.testing.assert_array_equal(answers.iloc[:, 2:], model.predict_proba(table))
    with pytest.raises(SchemaError, match="'predict' is the name of the answer"):
        model.predict_table(table.assign(predict=1), keep=["predict"])
