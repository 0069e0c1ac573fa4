"""Scan of the columns of a partition: values of every dtype, and those that no figure can be made of."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from frame.sources import scan_column, source_of

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import CategoricalStats, NumericStats
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan


@pytest.mark.parametrize(
    "values, expected",
    [
        ([3, None, 5], [3, 5]),
        (pd.array([3, None, 5], "Int8"), [3, 5]),
        (pd.array([1.5, None], "Float32"), [1.5]),
        (np.array([1.5, np.nan], np.float16), [1.5]),
        (np.array([1.5, 2], np.float32), [1.5, 2]),
        ([True, False], [1, 0]),
        (pd.array([True, None], "boolean"), [1]),
        (pd.Series([True, None], dtype=object), [1]),
        (pd.Series([1, pd.NA, 2.5], dtype=object), [1, 2.5]),
        (pd.Series([Decimal("1.5"), None], dtype=object), [1.5]),
        (pd.array([3, None], "int64[pyarrow]"), [3]),
        (pd.array([1.5, None], "float[pyarrow]"), [1.5]),
        (pd.array([True, None], "bool[pyarrow]"), [1]),
        (pd.array([Decimal("1.5"), None], pd.ArrowDtype(pa.decimal128(5, 2))), [1.5]),
        (pd.arrays.SparseArray([0.0, 1.5]), [0, 1.5]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_numbers_of_every_dtype(values, expected):
    found = scan_column(values)
    assert isinstance(found, NumericStats)
    assert (found.moments.n, found.n_missing) == (len(expected), len(values) - len(expected))
    assert found.moments.mean == pytest.approx(np.mean(expected))


NOON = pd.Timestamp("2020-01-02 12:00")
MILLISECONDS = 1_577_966_400_000  # from 1970 to that noon in Greenwich


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([NOON, "NaT"], "M8[ns]"), MILLISECONDS),
        (np.array([NOON, "NaT"], "M8[s]"), MILLISECONDS),
        (pd.Series([NOON, pd.NaT]).dt.tz_localize("Asia/Tokyo"), MILLISECONDS - 9 * 3_600_000),
        (pd.Series([NOON, None]).astype(pd.ArrowDtype(pa.timestamp("us"))), MILLISECONDS),
        (
            pd.Series([NOON, None])
            .dt.tz_localize("Asia/Tokyo")
            .astype(pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo"))),
            MILLISECONDS - 9 * 3_600_000,
        ),
        (pd.Series([dt.date(2020, 1, 2), None], dtype=pd.ArrowDtype(pa.date32())), MILLISECONDS - 12 * 3_600_000),
        (pd.Series([dt.date(2020, 1, 2), None], dtype=object), MILLISECONDS - 12 * 3_600_000),
        (pd.Series([dt.datetime(2020, 1, 2, 12), None], dtype=object), MILLISECONDS),  # noqa: DTZ001  # without a zone
        (np.array(["1969-12-31T23:59:59", "NaT"], "M8[ns]"), -1000),
    ],
    ids=["ns", "s", "zone", "arrow", "arrow zone", "arrow day", "day", "objects", "before 1970"],
)
def test_dates_are_milliseconds_since_1970(values, expected):
    found = scan_column(values)
    assert (found.moments.mean, found.n_missing) == (expected, 1)


@pytest.mark.parametrize(
    "values",
    [
        pd.array(["b", "a", None], "string"),
        pd.array(["b", "a", None], "string[pyarrow]"),
        pd.array(["b", "a", None], pd.ArrowDtype(pa.large_string())),
        pd.Series(["b", "a", None], dtype=object),
        pd.array(["b", "a", None], pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    ],
    ids=lambda values: str(values.dtype),
)
def test_texts_of_every_dtype(values):
    assert scan_column(values) == CategoricalStats(1, {"b": 1, "a": 1}, from_numbers=False)


def test_many_columns_are_taken_in_chunks():
    values = np.random.default_rng(0).normal(size=(5, 150))
    found = scan(source_of(pd.DataFrame(values).rename(columns=str)), ScanRequest("numbers")).columns
    assert [column.moments.mean for column in found.values()] == pytest.approx(values.mean(axis=0).tolist())


def test_infinite_and_enormous_values_are_errors():
    with pytest.raises(SchemaError, match="column 'x' of the table: 2 infinite values in partition 1"):
        scan_column([1.0], [np.inf, 0, -np.inf])
    with pytest.raises(SchemaError, match=r"column 'x'.*values up to 1.79769e\+308 in partition 0 are too large"):
        scan_column([1.0, np.finfo(np.float64).max])
