"""Columns of a few rows are read value by value: their levels are those that many rows have."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from dask_dl.frame.dtypes import FEW_ROWS, as_levels

VALUES = ["b", "a", "", "b", None]
DAYS = pd.to_datetime(["2024-03-01", "2023-01-01", None, "2024-03-01"])
COLUMNS = {
    "str": pd.Series(VALUES),
    "objects": pd.Series([*VALUES, np.nan], dtype=object),
    "numbers as objects": pd.Series([1, 1.0, 2, Decimal(2), None], dtype=object),
    "string": pd.Series(VALUES, dtype="string"),
    "Arrow's string": pd.Series(VALUES, dtype="large_string[pyarrow]"),
    "category": pd.Categorical([*VALUES, "c"], categories=["c", "unused", "b", "a", ""]),
    "category of numbers": pd.Categorical([3, 1, None, 3], categories=[1, 2, 3]),
    "category of floats": pd.Categorical([1.0, 2.5, np.nan]),
    "category of days": pd.Categorical(DAYS),
    "category of intervals": pd.cut(pd.Series([0.5, 1.5, np.nan]), [0, 1, 2]),
    "days": pd.Series(DAYS),
    "days with a zone": pd.Series(DAYS).dt.tz_localize("UTC"),
    "dates": pd.Series([dt.date(2024, 3, 1), None, dt.date(2023, 1, 1)], dtype=object),
    "integers": pd.Series([3, 1, 3]),
    "floats": pd.Series([3.0, 0.5, np.nan]),
    "booleans": pd.Series([True, False]),
    "nullable integers": pd.Series([3, None, 3], dtype="Int64"),
    "nullable booleans": pd.Series([True, None], dtype="boolean"),
    "Arrow's integers": pd.Series([3, None, 3], dtype="int64[pyarrow]"),
    "nothing": pd.Series([None, None], dtype=object),
}


def texts_of(column):
    codes, texts, from_numbers = as_levels(column, "c")
    assert codes.dtype == np.intp
    assert len(set(texts)) == len(texts)
    return [None if code < 0 else texts[code] for code in codes], set(texts), from_numbers


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_levels_of_few_rows_are_those_of_many(column):
    column = pd.Series(column)
    times = FEW_ROWS + 1
    many = pd.concat([column] * times, ignore_index=True)
    of_many, distinct, from_numbers = texts_of(many)
    assert texts_of(column) == (of_many[: len(column)], distinct, from_numbers)
    alone = [text for k in range(len(column)) for text in texts_of(column.iloc[[k]])[0]]
    assert alone * times == of_many
    assert texts_of(column.iloc[:0])[:2] == ([], set())
