"""Parquet files of several schemas: columns by name and of one type, row groups that fit, and what is handed on as it is."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_dl.errors import SchemaError
from dask_dl.frame.column_choice import KEPT, ColumnChoice
from dask_dl.frame.files import open_table
from dask_dl.frame.parquet import BUFFER
from dask_dl.frame.paths import File
from dask_dl.memory import PartitionLimits


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table_of(path, limit=2**30, **choice):
    return open_table(str(path), ColumnChoice(**choice), limits=PartitionLimits(limit, limit))


def rows(path, **kwargs):
    return table_of(path, **kwargs).compute().reset_index(drop=True)


def write(*columns):
    """0.parquet, 1.parquet, ...: each with a column k, and another one in another order."""
    for i, values in enumerate(columns):
        pairs = [("k", values), ("x", pa.array([float(i)] * len(values)))]
        pq.write_table(pa.table(dict(pairs if i % 2 else pairs[::-1])), f"{i}.parquet")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "first, second, expected",
    [
        (pa.array([1, 2]), pa.array([0.5, None]), [1, 2, 0.5, None]),
        (pa.array([1, 2**40]), pa.array([3], pa.int32()), [1, 2**40, 3]),
        (pa.array([0.5], pa.float32()), pa.array([2**53]), [0.5, 2**53]),
        (pa.array([None, None]), pa.array(["a"]), [None, None, "a"]),
        (pa.array([None]), pa.array([1.5]), [None, 1.5]),
        (pa.array(["a", "b"]), pa.array(["c", "a"]).dictionary_encode(), ["a", "b", "c", "a"]),
        (pa.array(["a"], pa.large_string()), pa.array(["b"]), ["a", "b"]),
        (pa.array([Decimal("1.50")]), pa.array([2.5]), [1.5, 2.5]),
    ],
)
def test_types_that_fit_each_other_become_one(here, first, second, expected, turned):
    write(*((second, first) if turned else (first, second)))
    table = table_of("*.parquet")
    found = table.compute()
    n = len(second if turned else first)
    values = found["k"].astype(object).where(found["k"].notna(), None).tolist()
    assert (values[n:] + values[:n] if turned else values) == expected
    assert found["x"].tolist() == [0.0] * n + [1.0] * (len(expected) - n)
    assert str(found.dtypes["k"]) == str(table.dtypes["k"])


@pytest.mark.parametrize(
    "first, second",
    [
        (pa.array([1]), pa.array(["a"])),
        (pa.array([True]), pa.array([1.5])),
        (pa.array([np.datetime64(0, "s")]), pa.array([1])),
        (pa.array([1, 2]).dictionary_encode(), pa.array(["a"])),
    ],
)
def test_types_that_do_not_are_named_with_their_files(here, first, second):
    write(first, second)
    with pytest.raises(SchemaError, match=r"'k' is .* in 0.parquet, .* in 1.parquet.*--categorical.*--ignore"):
        table_of("*.parquet")
    assert rows("*.parquet", ignore=["k"])["x"].tolist()[-1] == 1.0


def test_categories_may_be_numbers_in_one_file_and_strings_in_another(here):
    write(pa.array([2**60 + 1, None]), pa.array(["02134"]))
    found = rows("*.parquet", categorical=["k"])["k"]
    assert found.fillna("missing").tolist() == [str(2**60 + 1), "missing", "02134"]


def test_dictionaries_stay_categories(here):
    write(pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode())
    assert isinstance(table_of("*.parquet").dtypes["k"], pd.CategoricalDtype)
    assert rows("*.parquet")["k"].tolist() == ["a", "b", "c"]


def test_an_index_of_pandas_is_no_column(here):
    pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 7], name="row")).to_parquet("t.parquet")
    pd.DataFrame({"a": [1, 2]}, index=[5, 7]).to_parquet("u.parquet")
    assert [[*table_of(name).columns] for name in ("t.parquet", "u.parquet")] == [["a"], ["a"]]


def test_columns_in_the_names_of_folders(here):
    frame = pd.DataFrame({"a": [1.0, 2, 3], "year": [2020, 2021, 2020], "city": ["a b", "c", None]})
    frame.to_parquet("t", partition_cols=["year", "city"])
    found = rows("t", keep=["year"])
    assert isinstance(found.dtypes["year"], pd.CategoricalDtype)
    assert sorted(zip(found["a"], found["year"], found["city"].astype("str").fillna("-"), strict=True)) == [
        (1, 2020, "a b"),
        (2, 2021, "c"),
        (3, 2020, "-"),
    ]
    assert found[KEPT + "year"].tolist() == found["year"].tolist()
    assert set(rows("t", categorical=["year"])["year"]) == {"2020", "2021"}


def test_kept_columns_are_exact_and_can_be_read_back(here):
    columns = {
        "id": pa.array([2**60 + 1, None]),
        "price": pa.array([Decimal("3.10"), None]),
        "day": pa.array([dt.date(2020, 1, 2), None]),
        "at": pa.array([pd.Timestamp("2020-01-02 03:00"), None]),
        "code": pa.array(["02134", ""]),
        "flag": pa.array([True, None]),
        "lists": pa.array([[1], None]),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), "t.parquet")
    keep = [name for name in columns if name != "lists"]
    table = table_of("t.parquet", columns=["flag"], keep=keep)
    table.to_parquet("out")
    found = pd.read_parquet("out")[[KEPT + name for name in keep]]
    assert found.iloc[0].tolist() == [
        2**60 + 1, "3.10", dt.date(2020, 1, 2), pd.Timestamp("2020-01-02 03:00"), "02134", True, "a",
    ]  # fmt: skip
    assert found.iloc[1].isna().tolist() == [True, True, True, True, False, True, False]
    with pytest.raises(SchemaError, match=r"'lists' of type list.* cannot be kept"):
        table_of("t.parquet", keep=["lists"])


def test_row_groups_share_partitions_as_far_as_there_is_room(here):
    frame = pd.DataFrame(np.arange(40_000.0).reshape(10_000, 4), columns=[*"abcd"])
    frame.to_parquet("t.parquet", row_group_size=1000)  # 32 kB each
    for limit, n in ((2**30, 1), (2 * 64_000, 5), (40_000, 10)):
        table = table_of("t.parquet", limit=limit)
        assert table.npartitions == n
        pd.testing.assert_frame_equal(table.compute().reset_index(drop=True), frame)
    assert table_of("t.parquet", limit=2 * 64_000, columns=["a"]).npartitions == 2  # a quarter as wide


def test_row_groups_that_do_not_fit_are_cut(here, monkeypatch):
    monkeypatch.setattr("dask_dl.frame.parquet.BATCH_ROWS", 300)
    frame = pd.DataFrame(np.arange(10_000.0).reshape(2_500, 4), columns=[*"abcd"])
    frame["s"] = pd.Series([f"text {k % 7}" for k in range(2_500)], dtype="str")
    frame.to_parquet("t.parquet", row_group_size=1000)
    for limit, n in ((20_000, 4 + 4 + 1), (10_000, 7 + 7 + 4)):  # 32 bytes a row, parts of half the limit
        table = table_of("t.parquet", limit=limit, columns=[*"abcd"])
        assert table.npartitions == n
        pd.testing.assert_frame_equal(table.compute().reset_index(drop=True), frame[[*"abcd"]])
    for given in ({}, {"categorical": ["s"]}, {"keep": ["s"]}, {"columns": ["s", "b"]}):
        cut, whole = (table_of("t.parquet", limit=limit, **given) for limit in (9_000, 2**30))
        assert cut.npartitions > 2 and whole.npartitions == 1
        pd.testing.assert_frame_equal(cut.compute().reset_index(drop=True), whole.compute().reset_index(drop=True))


def test_a_part_of_a_row_group_is_read_in_pieces(here, monkeypatch):
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=1_000_000)})
    frame.to_parquet("t.parquet", row_group_size=len(frame))  # 8 MB
    sizes = []

    class Counting(io.FileIO):
        def read(self, n=-1):
            sizes.append(n)
            return super().read(n)

    monkeypatch.setattr(File, "open", lambda self: Counting(here / "t.parquet"))
    assert len(table_of("t.parquet", limit=2**20).partitions[5].compute()) == 2**16
    assert 0 < max(sizes) < 3 * BUFFER
    sizes.clear()
    assert len(table_of("t.parquet").compute()) == len(frame)
    assert max(sizes) > 6 * BUFFER


def test_strings_count_by_their_length_not_by_that_of_their_codes(here):
    pd.DataFrame({"s": ["x" * 1000, "y" * 1000] * 500}).to_parquet("t.parquet")
    assert (here / "t.parquet").stat().st_size < 20_000
    assert table_of("t.parquet", limit=500_000).npartitions == 5


def test_a_file_without_rows_is_an_empty_table(here):
    pd.DataFrame({"a": [1.0], "s": ["x"]}).iloc[:0].to_parquet("t.parquet")
    assert rows("t.parquet").shape == (0, 2)
