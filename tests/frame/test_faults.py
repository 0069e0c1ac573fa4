"""Faults of a table that a scan collects, in the words of the errors that training raises."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from dask_dl.errors import SchemaError
from dask_dl.frame.faults import Fault, found_and_remedy, gathered
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import FAN_IN, merged, scan, scan_partition
from dask_dl.frame.source import open_source


def table(n=40):
    return pd.DataFrame(
        {
            "a": np.arange(n, dtype=float),
            "b": np.arange(n, dtype=float),
            "odd": np.arange(n) * 1j,
            "w": 1.0,
            "o": 0.0,
            "y": np.arange(n, dtype=float),
        }
    )


def faulty():
    frame = table()
    frame.loc[3, "a"] = np.inf
    frame.loc[[5, 25, 35], "b"] = -np.inf
    frame.loc[12, "w"] = -1.0
    frame.loc[30, "o"] = np.nan
    return frame


def source_of(frame, n_rows=10):
    parts = [frame[k : k + n_rows] for k in range(0, len(frame), n_rows)]
    with_meta = dd.from_map(lambda k: parts[k], range(len(parts)), meta=frame[:0])
    return open_source(with_meta, "y", "w", "o")


REQUEST = ScanRequest("numbers", collects=True)


def test_a_scan_goes_on_at_faults_and_notes_each_once():
    source = source_of(faulty())
    found = scan(source, REQUEST)
    assert {(fault.column, fault.partitions) for fault in found.faults} == {
        ("a", (0,)),
        ("b", (0, 2, 3)),
        ("odd", (0, 1, 2, 3)),
        ("w", (1,)),
        ("o", (3,)),
    }
    assert found.rows == (10, 10, 10, 10) and found.n_used == 40
    assert not found.columns  # every predictor has a fault
    with pytest.raises(SchemaError) as error:
        scan(source, REQUEST._replace(collects=False))
    assert str(error.value) in {fault.text for fault in found.faults}


def test_sound_columns_have_the_figures_of_a_table_without_the_others():
    frame = faulty().assign(good=np.linspace(0, 1, 40), word="u")
    found = scan(source_of(frame), REQUEST)
    sound = scan(source_of(frame[["good", "word", "w", "o", "y"]].assign(w=1.0, o=0.0)), ScanRequest("numbers"))
    assert found.columns == sound.columns
    assert found.row_stats.target == sound.row_stats.target


@pytest.mark.parametrize("skips", [False, True])
def test_a_sound_table_gives_the_same_scan(skips):
    source, request = source_of(table().drop(columns="odd")), ScanRequest("numbers", skips=skips)
    strict, found = scan(source, request), scan(source, request._replace(collects=True))
    assert found.faults == () and strict.faults is None
    assert replace(found, faults=None, unlabelled=()) == strict


def test_faults_do_not_depend_on_how_scans_are_merged():
    source = source_of(faulty().loc[np.arange(40).repeat(2)].reset_index(drop=True), 2)
    parts = [scan_partition(source.read(k), source.schema, k, REQUEST) for k in range(source.n_partitions)]
    one = merged(iter(parts), source.schema)
    groups = (merged(iter(parts[k : k + FAN_IN]), source.schema) for k in range(0, len(parts), FAN_IN))
    assert merged(groups, source.schema).faults == one.faults


def test_kinds_that_differ_between_partitions_are_a_fault_of_the_column():
    parts = [
        pd.DataFrame({"c": [1.0, 2.0], "x": [1.0, 2.0], "y": 1.0}),
        pd.DataFrame({"c": ["u", "v"], "x": 3.0, "y": 2.0}),
    ]
    found = scan(open_source(dd.from_map(lambda k: parts[k], [0, 1, 1], meta=parts[0][:0]), "y"), REQUEST)
    (fault,) = found.faults
    assert (fault.column, fault.partitions) == ("c", (1, 2))
    assert "partition 1 holds a category, partition 0 a number" in fault.text
    assert list(found.columns) == ["x"]


def test_partitions_that_cannot_be_read_do_not_hide_others():
    def part(k):
        return table(10).assign(a=np.inf) if k == 2 else table(10).drop(columns=["b"] if k == 1 else [])

    frame = dd.from_map(part, range(3), meta=table(10)[:0])
    found = scan(open_source(frame[["a", "b", "y"]], "y"), REQUEST)
    assert [(fault.column, fault.partitions) for fault in found.faults] == [(None, (1,)), ("a", (2,))]
    assert found.rows == (10, 0, 10)


def test_a_target_that_is_no_number_and_labels_that_are_missing():
    frame = table(10).assign(y=[None, "u"] * 5)
    found = scan(source_of(frame), REQUEST)
    assert [fault.column for fault in found.faults] == ["y", "odd"]
    assert found.unlabelled == (5,)


def test_columns_of_sparse_matrices():
    matrix = scipy.sparse.random(20, 6, density=0.5, format="lil", random_state=np.random.default_rng(0))
    matrix[2, 1], matrix[15, 3] = np.inf, 1e300
    matrix = matrix.tocsr()
    for X in (matrix, da.from_array(matrix, chunks=(10, 6), asarray=False)):
        source = open_source(X, np.arange(20.0) if X is matrix else da.arange(20.0, chunks=10))
        found = scan(source, REQUEST._replace(sparse=True))
        assert [fault.column for fault in found.faults] == ["x1", "x3"]
        assert list(found.columns) == ["x0", "x2", "x4", "x5"]


@pytest.mark.parametrize(
    ("text", "found", "remedy"),
    [
        (
            "column 'a': 3 infinite values in partition 0. Clip them.",
            "column 'a': 3 infinite values in partition 0.",
            "Clip them.",
        ),
        ("labels such as 'St. Gallen. Oh'. Convert. Or drop.", "labels such as 'St. Gallen. Oh'.", "Convert. Or drop."),
        (
            "a worker's limit of 1.5 GB. Raise it, or the client's.",
            "a worker's limit of 1.5 GB.",
            "Raise it, or the client's.",
        ),
        ("nothing to do", "nothing to do", ""),
    ],
)
def test_the_first_sentence_is_what_was_found(text, found, remedy):
    assert found_and_remedy(text) == (found, remedy)


def test_faults_of_another_kind_stay_apart():
    faults = [
        Fault("bad 1. Clip.", "a", (0,)),
        Fault("bad 2. Clip.", "a", (3,)),
        Fault("odd. Drop.", "a", (4,)),
        Fault("bad. Clip.", "b", (5,)),
    ]
    assert gathered(faults) == (faults[0]._replace(partitions=(0, 3)), faults[2], faults[3])
