"""Statistics of the rows that train: their classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frame.sources import roles_table

from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan


@pytest.mark.parametrize(
    "labels, classes",
    [
        (["b", "a", "b", None], {"b": 2, "a": 1}),
        ([1, 0, 1, 1], {1: 3, 0: 1}),
        ([1, np.nan, 0, 1], {1: 2, 0: 1}),
        ([True, False, True, True], {True: 3, False: 1}),
        (pd.Categorical(["b", "a", "b", "b"], categories=["b", "never", "a"]), {"b": 3, "a": 1}),
        (pd.array([1, None, 1, 2], "Int8"), {1: 2, 2: 1}),
    ],
)
def test_classes_are_counted_as_python_values(labels, classes):
    found = scan(roles_table(y=labels), ScanRequest("labels"))
    assert dict(found.classes) == classes
    assert {type(label) for label in found.classes} <= {str, int, float, bool}


def test_classes_of_weight_zero_do_not_exist():
    found = scan(roles_table(y=["a", "b", "c", "a"], w=[1.0, 1, 0, 1]), ScanRequest("labels"))
    assert dict(found.classes) == {"a": 2, "b": 1}
