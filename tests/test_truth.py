"""Targets of a partition, and measurements of answers beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningClassifier
from dask_dl.errors import DaskDLWarning
from dask_dl.evaluation import opened
from dask_dl.truth import MeasuredTable, read_truth, warn_of_unseen

TABLE = pd.DataFrame({"a": np.arange(12.0), "w": [0.0, 2.0] * 6, "y": ["n", "y", None, "y", "n", "new"] * 2})


@pytest.fixture(scope="module")
def read():
    model = DeepLearningClassifier(hidden=(3,), epochs=1, random_state=1).fit(TABLE[["a"]], ["n", "y"] * 6).model_
    source, _ = opened(model, TABLE, "y", "w", None, "DeepLearningClassifier")
    settings = model.record.metric_settings(model.head)
    return model.head, settings, read_truth(source.read(0), 0, model.head, source.schema, settings)


def test_rows_that_count_and_their_classes(read):
    _, _, truth = read
    assert truth.roles.places.tolist() == [1, 3, 5, 7, 9, 11]
    assert truth.truth.tolist() == [1, 1, -1, 1, 1, -1]
    assert truth.unseen == {"new": 2}


def test_chunks_are_measured_as_the_whole(read):
    head, settings, truth = read
    answers = np.array([[0.3, 0.7], [0.9, 0.1], [0.5, 0.5]] * 2, np.float32)
    whole = truth.measure([answers], head, settings)
    parts = truth.measure([answers[:2], answers[2:]], head, settings)
    assert whole.n_rows == parts.n_rows == 4
    assert parts.measured.metric("logloss") == pytest.approx(whole.measured.metric("logloss"))
    wanted = -np.mean(np.log([0.7, 0.1, 0.7, 0.1]))
    assert whole.measured.metric("logloss") == pytest.approx(wanted, rel=1e-6)
    assert truth.measure_chunk(2, answers[:1], head, settings) is None  # a label that is not known


def test_parts_of_a_table_merge(read):
    head, settings, truth = read
    found = truth.measure([np.full((6, 2), 0.5, np.float32)], head, settings)
    both = found.merge(found)
    assert (both.n_rows, dict(both.unseen)) == (8, {"new": 4})
    assert MeasuredTable("t", None, 0, {}).merge(found).measured is found.measured


def test_unseen_labels_are_warned_of():
    with pytest.warns(DaskDLWarning, match="y: 3 of 9 rows have labels that the model has never seen, 'q'; they go"):
        warn_of_unseen({"q": 3}, 9, "y", "they go")
    warn_of_unseen({}, 9, "y", "they go")
