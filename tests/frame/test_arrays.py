"""Dask Arrays as tables, and what stands beside their rows."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from frame.sources import N, assert_same_columns, read_all, table_of_roles

from dask_dl.errors import SchemaError
from dask_dl.frame.source import open_source


class Other(np.lib.mixins.NDArrayOperatorsMixin):
    """A block that is neither an array of NumPy nor a matrix of SciPy."""

    ndim, shape, dtype = 2, (0, 0), np.dtype(float)

    def __array_function__(self, *_):
        return self

    def __array_ufunc__(self, *_):
        return self

    def __getitem__(self, _):
        return self


@pytest.fixture
def frame():
    return table_of_roles()


def numbers_of(frame):
    return frame[["a", "w"]].to_numpy()


def of_unknown_length(array):
    """The same blocks, whose lengths nobody has written down."""
    return da.Array(array.dask, array.name, ((np.nan,) * array.numblocks[0], *array.chunks[1:]), meta=array._meta)


CHUNKS = {
    "whole": (N, 2),
    "rows": (7, 2),
    "rows and columns": (7, 1),
    "uneven": ((1, 19, 10), (1, 1)),
    "empty ones": ((0, 20, 0, 10, 0), 2),
}


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_dask_arrays_are_tables(frame, chunks, known):
    X = da.from_array(numbers_of(frame), chunks=CHUNKS[chunks])
    y = da.from_array(frame["y"].to_numpy(), chunks=(X.chunks[0],))
    if not known:
        X, y = of_unknown_length(X), of_unknown_length(y)
    source = open_source(X, y)
    assert source.predictors == ("x0", "x1")
    assert not source.is_named
    assert len(source.lazy) == source.n_partitions == X.numblocks[0]
    assert_same_columns(source, {"x0": frame["a"], "x1": frame["w"], "__target__": frame["y"]})


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y.to_numpy(),
        lambda y: y,
        lambda y: y.to_numpy().tolist(),
        lambda y: da.from_array(y.to_numpy(), chunks=11),
        lambda y: da.from_array(y.to_numpy(), chunks=11)[:, None],
        lambda y: of_unknown_length(da.from_array(y.to_numpy(), chunks=10)),
        lambda y: dd.from_pandas(y, npartitions=3),
        lambda y: pd.array(y, dtype="Float64"),
    ],
    ids=["NumPy", "pandas", "list", "other chunks", "a column", "unknown", "Dask Series", "extension"],
)
@pytest.mark.filterwarnings("ignore:A column-vector")
def test_values_beside_a_dask_array(frame, make):
    X = da.from_array(numbers_of(frame), chunks=(10, 1))
    source = open_source(X, make(frame["y"]), make(frame["w"]))
    expected = {"x0": frame["a"], "x1": frame["w"], "__target__": frame["y"], "__weight__": frame["w"]}
    assert_same_columns(source, expected)


def test_labels_beside_a_dask_array_keep_their_type(frame):
    X = da.from_array(numbers_of(frame), chunks=(10, 1))
    labels = np.array(["no", None, True, 7, "yes"] * 6, dtype=object)
    for y in (labels, da.from_array(labels, chunks=4), pd.Series(labels)):
        target = read_all(open_source(X, y))["__target__"]
        assert [None if pd.isna(value) else value for value in target] == labels.tolist()


def test_objects_in_dask_arrays_stay_what_they_are():
    table = read_all(open_source(da.from_array(np.array([[1, "a"], [2.5, None]], dtype=object), chunks=1)))
    assert table["x0"].tolist() == [1, 2.5]
    assert table["x1"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "X, y, message",
    [
        (da.zeros(N), None, r"two dimensions.*shape \(30,\).*X\[:, None\]"),
        (da.zeros((N, 2, 2)), None, r"two dimensions.*shape \(30, 2, 2\)"),
        (da.zeros((N, 0)), None, "no column to learn from"),
        (da.zeros((N, 2), chunks=10), da.zeros(N - 1, chunks=10), "30 rows and its target 29. Their lengths must match"),
        (da.zeros((N, 2), chunks=10), np.zeros(N + 1), "30 rows and its target 31. Their lengths must match"),
        (da.zeros((N, 2), chunks=10), da.zeros((N, 2), chunks=10), r"one dimension; found a Dask Array of shape \(30, 2\)"),
        (da.zeros((N, 2), chunks=10), 2.5, "the target is 2.5: give the name or position"),
        (of_unknown_length(da.zeros((N, 2), chunks=10)), np.zeros(N), r"unknown length.*found ndarray.*compute_chunk_sizes"),
        (
            of_unknown_length(da.zeros((N, 2), chunks=10)),
            da.zeros(N, chunks=15),
            r"3 blocks of rows and its target one of 2 blocks.*compute_chunk_sizes\(\) of both",
        ),
        (
            da.zeros((N, 2), chunks=10),
            dd.from_pandas(pd.Series(np.zeros(N)), npartitions=2),
            "its target one of 2 blocks, some of unknown length",
        ),
        (np.zeros((N, 2)), da.zeros(N), r"the target of a local table must be local too: pass target.compute\(\)"),
        (da.zeros((2, N)).map_blocks(Other, dtype=float, meta=Other()), None, "Use blocks of NumPy arrays or of CSR"),
        (da.zeros((N, 2), dtype=[("a", float)]), None, "a Dask Array of records"),
        (da.zeros((N, 4))[:, da.zeros(4) > 0], None, "number of columns is unknown"),
    ],
    ids=[
        "a vector", "a cube", "no columns", "too few", "too many", "two columns", "a number", "unknown beside NumPy",
        "unknown of other blocks", "a Series of other partitions", "local beside Dask", "sparse", "records", "unknown columns",
    ],
)  # fmt: skip
def test_dask_arrays_that_are_refused(X, y, message):
    with pytest.raises(SchemaError, match=message):
        open_source(X, y)


def test_blocks_of_unlike_lengths_are_refused_when_they_are_read():
    X, y = (of_unknown_length(da.zeros(shape, chunks=chunks)) for shape, chunks in [((N, 2), 10), (N, ((20, 5, 5),))])
    source = open_source(X, y)
    with pytest.raises(SchemaError, match="block 0 of the training table has 10 rows and its target 20"):
        source.read(0)


def test_x_and_y_of_one_array_are_read_once():
    read = []

    def load(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.ones((10, 3))

    data = da.map_blocks(load, chunks=((10, 10), (3,)), dtype=float, meta=np.zeros((0, 0)))
    source = open_source(data[:, :2], data[:, 2])
    for k in range(2):
        assert source.read(k).shape == (10, 3)
    assert read == [(0, 0), (1, 0)]
