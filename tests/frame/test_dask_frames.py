"""Dask DataFrames, and what stands beside their rows in other partitions."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from frame.sources import N, assert_same_columns, table_of_roles

from dask_dl.errors import SchemaError
from dask_dl.frame.source import open_source


@pytest.fixture
def frame():
    return table_of_roles()


def recut(series, lengths):
    """A Dask Series in partitions of these lengths, divisions unknown."""
    edges = np.cumsum([0, *lengths])
    return dd.from_map(lambda k: series.iloc[edges[k] : edges[k + 1]], range(len(lengths)), meta=series.iloc[:0])


def test_other_partitions_with_known_divisions_are_recut(frame):
    X = dd.from_pandas(frame[["a", "b"]], npartitions=3)
    for n in (1, 2, 7):
        y = dd.from_pandas(frame["y"], npartitions=n)
        source = open_source(X, y)
        assert source.n_partitions == X.npartitions
        assert_same_columns(source, frame[["a", "b"]].assign(__target__=frame["y"]))


def test_as_many_partitions_with_other_divisions_are_recut(frame):
    X = dd.from_pandas(frame[["a"]], npartitions=3)
    y = dd.from_pandas(frame["y"], npartitions=2).repartition(divisions=(0, 50, 60, 290))
    assert (y.npartitions, y.divisions != X.divisions) == (3, True)
    assert_same_columns(open_source(X, y), {"a": frame["a"], "__target__": frame["y"]})


def test_as_many_partitions_of_unknown_divisions_belong_together(frame):
    X, y = (recut(part, [10, 0, 20]) for part in (frame[["a"]], frame["y"]))
    assert not X.known_divisions
    source = open_source(X, y)
    assert [len(source.read(k)) for k in range(3)] == [10, 0, 20]
    assert_same_columns(source, {"a": frame["a"], "__target__": frame["y"]})


def test_other_partitions_of_unknown_divisions_are_refused(frame):
    X, y = recut(frame[["a"]], [10, 20]), recut(frame["y"], [10, 10, 10])
    with pytest.raises(SchemaError, match=r"2 partitions and its target 3.*unknown.*Put the target into the frame"):
        open_source(X, y)


def test_partitions_of_other_lengths_are_refused_when_they_are_read(frame):
    source = open_source(recut(frame[["a"]], [10, 20]), recut(frame["y"], [20, 10]))
    with pytest.raises(
        SchemaError, match=r"partition 0 of the training table has 10 rows and its target 20.*one frame"
    ):
        source.read(0)


def test_a_series_of_the_same_frame_belongs_to_it_whatever_was_done(frame):
    table = dd.from_pandas(frame, npartitions=4)
    table = table[table["a"] % 3 > 0].assign(z=table["a"] * 2)
    source = open_source(table[["a", "z"]], table["y"], table["w"])
    kept = frame[frame["a"] % 3 > 0]
    expected = {"a": kept["a"], "z": kept["a"] * 2, "__target__": kept["y"], "__weight__": kept["w"]}
    assert_same_columns(source, expected)


@pytest.mark.parametrize(
    "values",
    [np.arange(N), pd.Series(np.arange(N)), list(range(N)), dask.array.arange(N)],
    ids=["numpy", "pandas", "list", "dask array"],
)
def test_values_beside_a_dask_frame_must_be_a_dask_series(frame, values):
    with pytest.raises(
        SchemaError, match="the target of a Dask DataFrame must be a Dask Series or the name of a column"
    ):
        open_source(dd.from_pandas(frame, npartitions=2), values)
