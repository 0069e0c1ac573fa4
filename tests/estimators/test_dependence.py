"""Partial dependence asked of estimators: one result or several, on workers, and only where there are answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tables import UNSCORED, make_table

import dask_dl
from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError

SMALL = UNSCORED | {"hidden": (4,), "epochs": 1, "random_state": 1}
TABLE = make_table(300)[["a", "b", "level", "y"]]


def test_a_column_or_a_tuple_gives_one_result_and_a_list_several():
    model = DeepLearningRegressor(**SMALL).fit(TABLE, "y")
    one, two = model.partial_dependence(TABLE, "a"), model.partial_dependence(TABLE, ["a", ("a", "level")])
    assert one.columns == two[0].columns == ("a",) and two[1].columns == ("a", "level")
    assert model.partial_dependence(TABLE, 0).columns == ("a",) and model.partial_dependence(TABLE, -1).columns == (
        "level",
    )
    assert [result.columns for result in model.partial_dependence(TABLE, np.array(["b"]))] == [("b",)]
    assert model.partial_dependence(TABLE, ("a", "b")).average.shape == (1, 20, 20)


def test_threads_change_nothing(monkeypatch):
    model = DeepLearningRegressor(**SMALL | {"n_jobs": 2}).fit(TABLE, "y")
    serial = clone(model).set_params(n_jobs=1)
    serial.model_ = model.model_
    monkeypatch.setattr("dask_dl.frame.prediction.ROWS_PER_SLICE", 50)
    found, expected = (m.partial_dependence(TABLE, ["a", "level"], kind="both") for m in (model, serial))
    for mine, others in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.average, others.average)
        np.testing.assert_array_equal(mine.individual, others.individual)


def test_estimators_without_answers_have_none():
    with pytest.raises(NotFittedError):
        DeepLearningRegressor().partial_dependence(TABLE, "a")
    assert not hasattr(DeepLearningAutoEncoder(), "partial_dependence")
    assert not hasattr(DeepLearningClassifier(), "residuals")


def test_a_dataset_of_other_rows_is_refused():
    model = DeepLearningRegressor(**SMALL).fit(TABLE, "y")
    with dask_dl.prepare(TABLE.drop(columns="b"), "y", **SMALL) as data:
        with pytest.raises(ParameterError, match="the Dataset was encoded with other columns or levels"):
            model.partial_dependence(data, "a")
        with pytest.raises(ParameterError, match="columns: the model has no column 'c'"):
            model.partial_dependence(data, "c")
    with pytest.raises(ParameterError, match="the Dataset is closed"):
        model.partial_dependence(data, "a")
