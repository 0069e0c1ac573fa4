"""Columns and metrics by what a model knows of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningClassifier
from dask_dl.errors import ParameterError
from dask_dl.explain.choices import groups_of, metric_of, named_column


@pytest.fixture(scope="module")
def model():
    frame = pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) % 7, "one": 1.0, "y": ["u", "v"] * 30})
    with pytest.warns(Warning, match="dropped"):
        return DeepLearningClassifier(hidden=(3,), epochs=1, random_state=1).fit(frame, "y").model_


def test_columns_by_name_and_by_position(model):
    assert [named_column(model, column) for column in ("a", 1, -3, np.int64(0))] == ["a", "b", "a", "a"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (3, "there are 3 columns, and none at 3"),
        ("y", "'y' is the target of the training"),
        ("bb", "Did you mean 'b'"),
        ("one", "'one' was left out of the training"),
    ],
)
def test_what_no_answer_depends_on_is_refused(model, column, message):
    with pytest.raises(ParameterError, match=message):
        named_column(model, column)


def test_groups(model):
    assert groups_of(model, None) == {"a": ("a",), "b": ("b",)}
    assert groups_of(model, "a") == {"a": ("a",)}
    assert groups_of(model, {"both": [0, "b"], "first": "a"}) == {"both": ("a", "b"), "first": ("a",)}


def test_metrics(model):
    assert metric_of(model, None)[0] == "logloss"
    assert metric_of(model, "auc")[0] == "auc"
    name, settings = metric_of(model, "neg_log_loss")
    assert name == "custom_increasing" and settings.custom is not None
    with pytest.raises(ParameterError, match="metric='rmsle'"):
        metric_of(model, "rmsle")
    with pytest.raises(ParameterError, match="metric=3"):
        metric_of(model, 3)
