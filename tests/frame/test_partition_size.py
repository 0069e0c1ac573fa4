"""What is known of the size of partitions before they are read."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dask_dl.frame.partition_size import N_LOOKED_AT, largest_known
from dask_dl.frame.source import open_source

N = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, the second the longest, of four row groups each."""
    place = tmp_path_factory.mktemp("sizes")
    for k, n in enumerate((N // 2, N, N // 3)):
        table = pd.DataFrame({"a": np.arange(n * 1.0), "small": np.arange(n, dtype="i1"), "y": 1.0})
        table.assign(text=[f"text {i}" for i in range(n)]).to_parquet(place / f"{k}.parquet", row_group_size=-(-n // 4))
    return place


def known(frame, target="y"):
    return largest_known(open_source(frame, target).lazy)


@pytest.mark.parametrize("given", [{}, {"filesystem": "arrow"}])
def test_a_file_of_parquet_tells_its_size(folder, given):
    frame = dd.read_parquet(folder, **given)
    largest = known(frame[["a", "small", "y"]])
    sizes = [len(part) * 17 for part in open_read(frame[["a", "small", "y"]])]
    assert largest == (int(np.argmax(sizes)), max(sizes))


def open_read(frame):
    source = open_source(frame, "y")
    return [source.read(k) for k in range(source.n_partitions)]


def test_only_columns_that_are_read_count_and_texts_as_in_the_file(folder):
    few, all_ = known(dd.read_parquet(folder)[["a", "y"]]), known(dd.read_parquet(folder))
    parts = open_read(dd.read_parquet(folder))
    assert few.n_bytes < all_.n_bytes <= max(part.memory_usage(index=False, deep=True).sum() for part in parts)
    assert all_.n_bytes > 17 * N


def test_row_groups_are_partitions_of_their_own(folder):
    assert known(dd.read_parquet(folder, split_row_groups=True)).n_bytes < known(dd.read_parquet(folder)).n_bytes / 3


@pytest.mark.parametrize(
    "make", [lambda f: f.assign(b=f.a * 2), lambda f: f[f.a > 5], lambda f: f.repartition(npartitions=9)]
)
def test_what_is_made_of_a_file_needs_the_file(folder, make):
    assert known(make(dd.read_parquet(folder))).n_bytes == known(dd.read_parquet(folder)).n_bytes


@pytest.mark.parametrize("given", [{}, {"filesystem": "arrow"}])
def test_nothing_is_known_of_rows_that_a_filter_leaves(folder, given):
    assert known(dd.read_parquet(folder, filters=[("a", ">", 5.0)], **given)) is None


def test_nothing_is_known_of_text_files_and_of_what_functions_make(tmp_path):
    pd.DataFrame({"a": [1.0, 2.0], "y": [1.0, 2.0]}).to_csv(tmp_path / "a.csv", index=False)
    assert known(dd.read_csv(tmp_path / "a.csv")) is None
    assert known(dd.from_map(lambda k: pd.DataFrame({"a": [k], "y": [1.0]}), range(3))) is None


def test_files_that_only_workers_see_are_no_error(folder, tmp_path):
    table = pd.DataFrame({"a": np.arange(9.0), "y": 1.0})
    table.to_parquet(tmp_path / "gone.parquet")
    frame = dd.read_parquet(tmp_path / "gone.parquet")
    lazy = open_source(frame, "y").lazy
    (tmp_path / "gone.parquet").unlink()
    assert largest_known(lazy) is None


def test_frames_and_arrays_in_the_graph_are_measured():
    table = pd.DataFrame({"a": np.arange(100.0), "y": 1.0})
    assert known(dd.from_pandas(table, npartitions=4)).n_bytes == 25 * 16
    array = da.from_array(np.zeros((100, 6)), chunks=(50, 6))
    assert known(array, np.arange(100.0)).n_bytes == 50 * 7 * 8
    csr = da.from_array(sparse.random_array((40, 1000), density=0.01, format="csr", rng=0), chunks=(40, 1000))
    assert known(csr, da.zeros(40, chunks=40)).n_bytes >= 400 * 12


def test_of_many_partitions_only_some_are_looked_at(tmp_path, monkeypatch):
    from fsspec.implementations import local

    for k in range(3 * N_LOOKED_AT):
        pd.DataFrame({"a": np.arange(20.0), "y": 1.0}).to_parquet(tmp_path / f"{k:02}.parquet")
    lazy, opened, start = open_source(dd.read_parquet(tmp_path), "y").lazy, [], local.LocalFileSystem.open

    def spy(self, path, *arguments, **more):
        opened.append(path)
        return start(self, path, *arguments, **more)

    monkeypatch.setattr(local.LocalFileSystem, "open", spy)
    assert largest_known(lazy).n_bytes == 20 * 16
    assert len(opened) == N_LOOKED_AT
