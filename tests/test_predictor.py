"""Predictors: answers in two halves, small beside a model, in chunks of bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from predicted import SMALL, N
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import SchemaError


@pytest.fixture(scope="module")
def table():
    return make_table(N, gaps=0.12)[["a", "b", "level"]]


@pytest.fixture(scope="module")
def predictor(table):
    return DeepLearningClassifier(**SMALL).fit(table, np.resize(["no", "yes", "maybe"], N)).model_.predictor


def test_answers_are_probabilities_and_their_form_is_known_without_rows(predictor, table):
    answers = predictor.answers(table, None, "the table")
    assert answers.shape == (N, 3) and answers.dtype == predictor.no_answers.dtype == np.float32
    assert predictor.no_answers.shape == (0, 3) and predictor.probabilities(answers) is answers
    assert predictor.predicted(answers).tolist() == [predictor.head.classes[k] for k in answers.argmax(axis=1)]


def test_the_logarithm_of_nothing_is_infinite(predictor):
    found = predictor.log_probabilities(np.array([[0.0, 1.0]], np.float32))
    assert found.tolist() == [[-np.inf, 0.0]]


def test_one_value_a_row_is_a_series_and_several_are_columns_named_by_class(predictor):
    index = pd.Index([5, 7], name="row")
    series = predictor.framed(np.array(["no", "yes"], object), index)
    assert series.name == "predict" and series.index.equals(index)
    frame = predictor.framed(np.ones((2, 3), np.float32), index)
    assert [*frame] == ["maybe", "no", "yes"] and frame.index.equals(index)


def test_activations_of_a_layer_are_answers_too(predictor, table):
    tapped = replace(predictor, layer=0)
    answers = tapped.answers(table, None, "the table")
    assert answers.shape == (N, 3) and (answers >= 0).all() and tapped.no_answers.shape == (0, 3)  # rectified units


def test_many_classes_take_no_more_memory_than_few(predictor):
    wide = replace(predictor, topology=replace(predictor.topology, n_outputs=3000))
    rows = predictor.rows_per_chunk()
    assert wide.rows_per_chunk() < rows and predictor.rows_per_chunk(4) < rows


def test_offsets_that_do_not_fit_are_refused(table):
    model = DeepLearningRegressor(**SMALL).fit(table.assign(o=1.0), np.arange(N) ** 2, offset="o").model_
    with pytest.raises(SchemaError, match="here has 60 rows and 59 offsets"):
        model.predictor.answers(table, np.zeros(N - 1), "here")
    with pytest.raises(SchemaError, match="1 offsets of here are missing or infinite"):
        model.predictor.answers(table, np.array([np.inf, *np.zeros(N - 1)]), "here")
