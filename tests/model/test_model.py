"""Fitted values: another threshold, columns that a table lacks, and the confusion matrix of the last scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from saved import TABLE

from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError
from dask_dl.model.files import load_model

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def model(model_file):
    return load_model(model_file)


def test_another_threshold_is_another_model(model):
    given = model.at_threshold(0.25)
    assert (given.head.threshold, model.head.threshold) == (0.25, None)
    assert given.network is model.network and given.at_threshold(None).head == model.head
    found = model.at_threshold("max_f1").head.threshold
    assert found == model.record.history.measured["validation"].curve.resolve("max_f1")


def test_an_early_file_has_no_thresholds_to_choose_from():
    early = load_model(DATA / "format-2-balanced.zip")
    with pytest.raises(ParameterError, match="threshold='max_f1': the file of this model is of an early version"):
        early.at_threshold("max_f1")


def test_columns_that_a_table_lacks_are_warned_of(model):
    assert model.missing_columns(["b", "more", "a"], "the table") == []
    with pytest.warns(DaskDLWarning, match=r"the table lacks 1 columns of training, taken as missing: \['b'\]"):
        assert model.missing_columns(["a"], "the table") == ["b"]
    with pytest.raises(SchemaError):
        model.missing_columns(["c"], "the table")


def test_the_confusion_matrix_counts_the_rows_of_the_validation_table(model):
    found = model.confusion_matrix()
    assert found.index.name == "actual (validation)" and list(found.index) == list(found.columns) == ["p", "q"]
    np.testing.assert_array_equal(found.sum(axis=1), TABLE["y"].value_counts().loc[["p", "q"]])
