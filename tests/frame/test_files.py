"""Tables in files: Parquet and CSV, one, many or packed; what cannot be read is named with a way out."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_dl.errors import SchemaError
from dask_dl.frame import csv
from dask_dl.frame.column_choice import KEPT, ColumnChoice
from dask_dl.frame.csv_head import CsvFormat
from dask_dl.frame.files import open_table
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import open_source
from dask_dl.memory import PartitionLimits


@pytest.fixture
def frame():
    return pd.DataFrame({"a": [1.5, 2.0, 3.0], "b": ["x", "y", "z"], "k": [1, 2, 3]})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, and we are in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(path, *, sep=",", encoding=None, decimal=".", header=True, names=(), limit=2**30, **choice):
    form = CsvFormat(sep, encoding, decimal, header, names)
    return open_table(str(path), ColumnChoice(**choice), form, PartitionLimits(limit, limit))


def content(path, **kwargs):
    return opened(path, **kwargs).compute().reset_index(drop=True)


def assert_same(table, frame):
    pd.testing.assert_frame_equal(table, frame, check_dtype=False)


# ---- what can be read ---------------------------------------------------------------------------------------------------


def test_a_parquet_file(here, frame):
    frame.to_parquet("t.parquet")
    assert isinstance(open_table("t.parquet"), dd.DataFrame)
    assert_same(content("t.parquet"), frame)
    assert_same(content(here / "t.parquet"), frame)  # with its whole path, too


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zip", ".csv.bz2", ".csv.xz"])
def test_csv_files_packed_or_not(here, frame, suffix):
    frame.to_csv(f"t{suffix}", index=False)
    table = open_table(f"t{suffix}")
    assert table.npartitions == 1
    assert_same(table.compute(), frame)


def test_plain_files_are_read_in_blocks_and_packed_ones_whole(here, monkeypatch):
    monkeypatch.setattr(csv, "MIN_BLOCK", 500)
    table = pd.DataFrame({"a": np.arange(300) / 4, "b": ["Rome", "Oslo", "Bonn"] * 100})
    for name, low, high in (("t.csv", 2, 9), ("t.csv.gz", 1, 1)):
        table.to_csv(name, index=False)
        found = opened(name, limit=10_000)
        assert low <= found.npartitions <= high
        assert_same(found.compute().reset_index(drop=True), table)


@pytest.mark.parametrize("sep, suffix", [("\t", ".tsv"), (";", ".csv"), ("|", ".txt")])
def test_other_separators(here, frame, sep, suffix):
    frame.to_csv(f"t{suffix}", sep=sep, index=False)
    assert_same(content(f"t{suffix}", sep=sep), frame)


def test_other_encodings(here):
    table = pd.DataFrame({"größe": [1.0, 2.0], "ort": ["Köln", "Orléans"]})
    table.to_csv("t.csv", encoding="latin-1", index=False)
    assert_same(content("t.csv", encoding="latin-1"), table)
    with pytest.raises(SchemaError, match=r"t.csv is not utf-8.*Name its encoding, for example latin-1"):
        open_table("t.csv")
    table.to_csv("bom.csv", encoding="utf-8-sig", index=False)  # as spreadsheets write it
    assert_same(content("bom.csv"), table)


def test_a_header_alone_is_an_empty_table(here):
    (here / "t.csv").write_text("a,b\n")
    table = open_table("t.csv")
    assert list(table.columns) == ["a", "b"]
    assert len(table) == 0


def test_gaps_in_whole_numbers_beyond_the_sample_are_read(here, monkeypatch):
    # From its first rows such a column looks like int64, which has no missing values.
    monkeypatch.setattr(csv, "SAMPLE", 100)
    (here / "t.csv").write_text("n,f\n" + "1,2\n" * 200 + ",0.5\n" + "3,\n")
    table = content("t.csv")
    assert table.dtypes.tolist() == [np.float64, np.float64]
    assert table["n"].tolist()[-1] == 3
    assert table.isna().sum().tolist() == [1, 1]


def test_texts_beyond_the_sample_are_an_error_with_a_remedy(here, monkeypatch):
    monkeypatch.setattr(csv, "SAMPLE", 100)
    monkeypatch.setattr(csv, "SAMPLE_ROWS", 20)
    (here / "t.csv").write_text("n,f\n" + "1,2\n" * 200 + "many,0.5\n")
    source = open_source(open_table("t.csv"), "f")
    with pytest.raises(
        SchemaError, match=r"t.csv: column 'n' holds 'many', which is no number .*--categorical.*Parquet"
    ):
        scan(source, ScanRequest("numbers"))


# ---- URLs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory():
    """A file system that only URLs reach, empty."""
    there = fsspec.filesystem("memory")
    yield there
    there.rm("/", recursive=True) if there.store else None


def test_files_at_urls(memory, frame):
    for k in (1, 0):
        frame.assign(k=k).to_parquet(f"memory://t/part{k}.parquet")
        frame.assign(k=k).to_csv(f"memory://c/day{k}/t.csv.gz", index=False)
    memory.pipe("/t/_SUCCESS", b"")
    memory.pipe("/t/_delta_log/0.json", b"{}")
    memory.pipe("/c/.hidden.csv.gz", b"")
    memory.pipe("/c/day0/.crc", b"")
    for url in (
        "memory://t",
        "memory://t/*.parquet",
        "memory://t/part?.parquet",
        "memory://c",
        "memory://c/day*",
        "memory://c/*/*.gz",
    ):
        table = content(url)
        assert table["k"].tolist() == [0, 0, 0, 1, 1, 1], url
        assert table["b"].tolist() == frame["b"].tolist() * 2
    assert_same(content("memory://t/part0.parquet").drop(columns="k"), frame.drop(columns="k"))


@pytest.mark.parametrize("name", ["t", "t[1]", "day=1 2"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zip", ".parquet"])
def test_one_file_at_a_url(memory, here, frame, name, suffix):
    write = pd.DataFrame.to_parquet if suffix == ".parquet" else pd.DataFrame.to_csv
    write(frame, f"{name}{suffix}", index=False)
    memory.pipe(f"/f/{name}{suffix}", (here / f"{name}{suffix}").read_bytes())
    for url in (f"memory://f/{name}{suffix}", f"file://{here}/{name}{suffix}"):
        assert_same(content(url), frame)
        assert content(url, keep=["k"])[KEPT + "k"].tolist() == frame["k"].tolist()


# ---- columns ------------------------------------------------------------------------------------------------------------


def test_chosen_columns_are_read_in_the_order_asked_for(here, frame):
    frame.to_parquet("t.parquet")
    table = opened("t.parquet", columns=["k", "a", "k"])
    assert list(table.columns) == ["k", "a"]
    assert "columns=['a']" in table[["a"]].optimize(fuse=False).expr.tree_repr()  # Dask reads one column only


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_categorical_turns_numbers_into_texts(here, kind):
    table = pd.DataFrame({"n": [1, 2, 10], "gap": [1.0, None, 2.5], "t": ["a", None, "b"], "x": [1, 2, 3]})
    (table.to_parquet if kind == "parquet" else table.to_csv)(f"t.{kind}", index=False)
    found = opened(f"t.{kind}", categorical=["n", "gap", "t"])
    assert [pd.api.types.is_string_dtype(dtype) for dtype in found.dtypes] == [True, True, True, False]
    got = found.compute()
    assert got["n"].tolist() == ["1", "2", "10"]
    one = "1" if kind == "parquet" else "1.0"  # in CSV it is a string that stays as it is
    assert [got[name].fillna("missing").tolist() for name in ("gap", "t")] == [
        [one, "missing", "2.5"],
        ["a", "missing", "b"],
    ]
    assert found["n"].dtype == got["n"].dtype


def test_categorical_columns_that_are_not_chosen_stay_out(here, frame):
    frame.to_csv("t.csv", index=False)
    assert list(opened("t.csv", columns=["a"], categorical=["k"]).columns) == ["a"]


def test_empty_texts_are_missing_in_csv_and_levels_in_parquet(here):
    (here / "t.csv").write_text('t,n\n"",1\nNA,\n,2\nnull,NaN\nnone,3\n')
    table = content("t.csv")
    assert table["t"].isna().tolist() == [True, True, True, True, False]
    assert table["n"].isna().tolist() == [False, True, False, True, False]
    pd.DataFrame({"t": ["", "NA", None]}).to_parquet("t.parquet")
    assert content("t.parquet")["t"].isna().tolist() == [False, False, True]


def test_days_of_parquet_files_are_milliseconds(here):
    days = pa.array([dt.date(1970, 1, 1), dt.date(2020, 1, 2), None])
    prices = pa.array([Decimal("1.00"), Decimal("2.50"), None])
    pq.write_table(pa.table({"day": days, "price": prices, "y": [1.0, 2, 3]}), "t.parquet")
    found = scan(open_source(open_table("t.parquet"), "y"), ScanRequest("numbers")).columns
    assert (found["day"].maximum, found["day"].n_missing) == (1_577_923_200_000, 1)
    assert (found["price"].maximum, found["price"].n_missing) == (2.5, 1)


@pytest.mark.parametrize(
    "asked", [{"columns": ["zzz"]}, {"categorical": ["zzz"]}, {"columns": ["a"], "categorical": ["zzz"]}]
)
def test_missing_columns_are_named(here, frame, asked):
    frame.to_csv("t.csv", index=False)
    with pytest.raises(SchemaError, match=r"t.csv has no columns \['zzz'.*it has \['a', 'b', 'k'\]"):
        opened("t.csv", **asked)


# ---- what cannot be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, written, message",
    [
        ("t.csv", b"", r"t.csv cannot be read as CSV with separator ','"),
        ("t.csv", b"a,b\n1,2\n1,2,3,4\n", r"t.csv cannot be read as CSV.*Expected 2 fields in line 3, saw 4"),
        ("t.csv.gz", b"a,b\n1,2\n", "t.csv.gz cannot be read as CSV.*gzip"),
        ("t.csv.zip", b"a,b\n1,2\n", "t.csv.zip cannot be read as CSV.*zip"),
        ("t.parquet", b"", r"not all files can be read as Parquet.*t\.parquet"),
        ("t.parquet", b"not Parquet at all", r"not all files can be read as Parquet.*t\.parquet"),
    ],
)
def test_unreadable_files_are_named(here, name, written, message):
    (here / name).write_bytes(written)
    with pytest.raises(SchemaError, match=message) as caught:
        open_table(name)
    assert "Original Message" not in str(caught.value)


def test_a_cut_parquet_file_is_named(here, frame):
    frame.to_parquet("t.parquet")
    (here / "t.parquet").write_bytes((here / "t.parquet").read_bytes()[:-20])
    with pytest.raises(SchemaError, match=r"not all files can be read as Parquet.*t\.parquet"):
        open_table("t.parquet")


def test_an_unknown_encoding_is_refused(here, frame):
    frame.to_csv("t.csv")
    with pytest.raises(SchemaError, match="there is no encoding 'klingon'"):
        opened("t.csv", encoding="klingon")
