"""The head of classes: indices on the way in, labels on the way out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tasks.rows import TOPOLOGY, roles_of, rows_of

from dask_dl.errors import SchemaError
from dask_dl.frame.encoder import Encoder
from dask_dl.tasks import Classes

NO_COLUMNS = Encoder((), ())


def test_classes_are_their_indices_on_the_way_in_and_labels_on_the_way_out():
    head = Classes(("a", "b", "c"))
    encoded = head.encode(roles_of(labels=pd.Series(["c", "a", "never"])))
    assert encoded.tolist()[:2] == [2, 0] and np.isnan(encoded[2]) and head.has_unseen({"a": 1, "never": 1})
    assert head.scored_truth(roles_of(labels=pd.Series(["c", "never"]))).tolist() == [2, -1]
    answers = head.answers(np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]], np.float32))
    assert head.predicted(answers).tolist() == ["c", "a"] and head.scored_as(answers).tolist() == [2, 0]
    assert head.truth(rows_of(np.array([2, 0])), TOPOLOGY).dtype == np.int64
    assert head.table(answers, pd.RangeIndex(2), {"a": [1, 2]}, NO_COLUMNS).columns.tolist() == [
        "a",
        "predict",
        "pa",
        "b",
        "c",
    ]


def test_corrected_probabilities_are_those_of_classes_as_they_are():
    outputs = np.array([[0.5, 0.5], [0.2, 0.8]], np.float32)
    head = Classes(("a", "b")).corrected([1.0, 3.0])
    np.testing.assert_allclose(head.answers(outputs), [[1 / 4, 3 / 4], [1 / 13, 12 / 13]], rtol=1e-6)
    assert Classes(("a", "b")).answers(outputs) is outputs


def test_of_two_classes_the_second_is_predicted_from_the_threshold_on():
    answers = np.array([[0.5, 0.5], [0.7, 0.3], [0.71, 0.29]], np.float32)
    assert Classes(("a", "b")).scored_as(answers).tolist() == [0, 0, 0]  # the first of equals
    assert Classes(("a", "b")).with_threshold(0.3).scored_as(answers).tolist() == [1, 1, 0]
    assert Classes(("a", "b", "c")).scored_as(np.zeros((0, 3), np.float32)).tolist() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": 3}, r"one class only, 'a'"),
        ({0.5: 1, 1.0: 1}, "is continuous, for example 0.5 .*Regressor"),
        ({"a": 1, 2: 1}, "different types, 'a' of type str and 2 of type int"),
        ({(1,): 1, (2,): 1}, r"labels of type tuple, for example \(1,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(SchemaError, match=f"the target .*{message}|the target has {message}"):
        Classes.check(SimpleNamespace(classes=labels), "the target")


def test_labels_of_another_type_are_refused_and_new_ones_are_counted():
    head = Classes((1, 2))
    assert head.check_scored({1: 5, 3: 2}, "the table") == {3: 2}
    with pytest.raises(SchemaError, match=r"labels of type str, for example '1'.*learned labels of type int"):
        head.check_scored({"1": 5}, "the table")
