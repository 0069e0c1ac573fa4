"""Tasks of targets by their dtype, and the order of labels."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_dl.errors import SchemaError
from dask_dl.frame.target import sorted_labels, task_of

COLUMNS = {
    "classification": {
        "texts": ["u", "v"],
        "flags": [True, False],
        "categories": pd.Categorical([1, 2]),
        "objects": pd.Series(["u", 1], dtype=object),
    },
    "regression": {"integers": [1, 2], "floats": [0.5, 1.0], "nullable": pd.array([1, None], "Int8")},
}
FRAME = pd.DataFrame({name: values for columns in COLUMNS.values() for name, values in columns.items()})


@pytest.mark.parametrize("task", COLUMNS)
def test_texts_categories_and_flags_are_classes(task):
    for name in COLUMNS[task]:
        place = list(FRAME).index(name)
        for table in (FRAME, dd.from_pandas(FRAME, npartitions=1)):
            found = [task_of(table, y) for y in (name, place, table[name], table[[name]])]
            assert found == [task] * 4, name


def test_columns_of_arrays_are_numbers_unless_the_array_holds_texts():
    assert task_of(np.zeros((3, 2)), 1) == "regression" == task_of(np.zeros((3, 2)), [1, 2, 3])
    assert task_of(np.zeros((3, 2)), ["a", "b", "a"]) == "classification" == task_of(np.zeros((3, 2)), np.ones(3, bool))


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(SchemaError, match="textz"):
        task_of(FRAME, "textz")


def test_labels_of_mixed_types_are_in_order_by_type_first():
    assert sorted_labels({3: 1, 1: 2, 2: 1}) == [1, 2, 3]
    assert sorted_labels({"b": 1, 2: 1, "a": 1, 1: 3}) == [1, 2, "a", "b"]
