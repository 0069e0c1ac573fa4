"""Files of a table, by a path, a folder, a glob or a URL."""

from __future__ import annotations

import sys
import zipfile

import dask.dataframe as dd
import fsspec
import pandas as pd
import pytest
from frame.test_files import assert_same, content

from dask_dl.errors import SchemaError
from dask_dl.frame.files import open_table


@pytest.fixture
def frame():
    return pd.DataFrame({"a": [1.5, 2.0, 3.0], "b": ["x", "y", "z"], "k": [1, 2, 3]})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, and we are in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_parquet_folder_as_dask_or_spark_write_it(here, frame):
    dd.from_pandas(pd.concat([frame] * 4, ignore_index=True), npartitions=3).to_parquet("t", write_index=False)
    (here / "t" / "_SUCCESS").touch()
    (here / "t" / ".part.0.parquet.crc").write_bytes(b"1234")
    assert open_table("t").npartitions == 3
    assert_same(content("t"), pd.concat([frame] * 4, ignore_index=True))


def test_a_folder_of_folders(here, frame):
    frame.to_parquet("t", partition_cols=["b"])
    table = content("t")
    assert sorted(table["b"]) == ["x", "y", "z"]  # from the folders' names
    assert sorted(table["a"]) == [1.5, 2.0, 3.0]


def test_what_writers_keep_for_themselves_is_no_table(here, frame):
    (here / "t" / "_delta_log").mkdir(parents=True)
    (here / "t" / ".checkpoints").mkdir()
    (here / "t" / "_delta_log" / "0.json").write_text("{}")
    (here / "t" / ".checkpoints" / "old.csv").write_text("a\n1\n")
    frame.to_parquet("t/1.parquet")
    assert_same(content("t"), frame)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_globs_in_the_order_of_names(here, frame, kind):
    write = pd.DataFrame.to_parquet if kind == "parquet" else pd.DataFrame.to_csv
    for k in (2, 0, 1):
        write(frame.assign(k=k), f"part{k}.{kind}", index=False)
    (here / "other.txt").write_text("not a table")
    (here / f".hidden.{kind}").write_text("not a table")
    for glob in (f"part*.{kind}", f"*.{kind}", f"part[0-9].{kind}", str(here / f"part?.{kind}")):
        assert content(glob)["k"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_glob_of_folders(here, frame):
    for k in range(2):
        (here / f"day{k}").mkdir()
        frame.assign(k=k).to_parquet(f"day{k}/t.parquet")
    assert content("day*")["k"].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["t[1]", "t?", "t*"])
def test_a_name_that_looks_like_a_glob_is_a_name(here, frame, name):
    frame.to_csv(f"{name}.csv", index=False)
    frame.to_parquet(f"{name}.parquet")
    assert_same(content(f"{name}.csv"), frame)
    assert_same(content(f"{name}.parquet"), frame)


def test_files_packed_in_different_ways_are_refused(here, frame):
    # Dask would read all of them as it reads the first.
    (here / "t").mkdir()
    frame.to_csv("t/1.csv", index=False)
    frame.to_csv("t/2.csv.gz", index=False)
    with pytest.raises(SchemaError, match=r"packed in different ways, \['', '.gz'\]. Give a glob that names one kind"):
        open_table("t")
    assert_same(content("t/*.gz"), frame)


@pytest.fixture
def memory():
    """A file system that only URLs reach, empty."""
    there = fsspec.filesystem("memory")
    yield there
    there.rm("/", recursive=True) if there.store else None


def test_local_urls_may_be_globs(here, frame):
    for k in range(2):
        frame.assign(k=k).to_csv(f"part{k}.csv", index=False)
    assert content(f"file://{here}/part*.csv")["k"].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_file_within_a_file(memory, here, frame):
    with zipfile.ZipFile("t.zip", "w") as archive:
        archive.writestr("a.csv", frame.to_csv(index=False))
        archive.writestr("b.csv", "")
    assert_same(content(f"zip://a.csv::file://{here}/t.zip"), frame)


@pytest.mark.parametrize(
    "url, error, message",
    [
        ("memory://nowhere", FileNotFoundError, "memory://nowhere: no such file, or no files in it"),
        ("memory://nowhere/*.csv", FileNotFoundError, "no such file, or no files in it"),
        ("file:///nowhere/t.csv", FileNotFoundError, "file:///nowhere/t.csv: no such file"),
        ("nope://bucket/t.csv", SchemaError, "nope://bucket/t.csv cannot be read: Protocol not known: nope"),
        ("memory://mixed", SchemaError, "holds Parquet files and others, for example z.csv"),
        ("memory://two.zip", SchemaError, r"two.zip holds 2 files, \['1.csv', '2.csv'\]"),
        ("memory://broken.parquet", SchemaError, "not all files can be read as Parquet"),
        ("memory://latin.csv", SchemaError, "latin.csv is not utf-8"),
    ],
)
def test_urls_that_are_refused(memory, here, url, error, message):
    with zipfile.ZipFile("two.zip", "w") as archive:
        archive.writestr("1.csv", "a\n1\n")
        archive.writestr("2.csv", "a\n2\n")
    memory.pipe("/two.zip", (here / "two.zip").read_bytes())
    memory.pipe("/mixed/a.parquet", b"")
    memory.pipe("/mixed/z.csv", b"")
    memory.pipe("/broken.parquet", b"no")
    memory.pipe("/latin.csv", "größe\n1\n".encode("latin-1"))
    with pytest.raises(error, match=message):
        open_table(url)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SchemaError, match=r"s3://bucket/t.csv cannot be read: Install s3fs"):
        open_table("s3://bucket/t.csv")


@pytest.mark.parametrize("path", ["nowhere.csv", "nowhere/*.parquet", "*.csv", "nowhere"])
def test_a_missing_path_is_named(here, path):
    with pytest.raises(
        FileNotFoundError, match=r"no such file, or no files in it. Give a Parquet or CSV file"
    ) as caught:
        open_table(path)
    assert str(caught.value).startswith(path)


def test_an_empty_folder_is_named(here):
    (here / "t").mkdir()
    with pytest.raises(FileNotFoundError, match="t: no such file, or no files in it"):
        open_table("t")


@pytest.mark.parametrize("path", ["t", "t/*"])
def test_a_mixed_folder_is_refused(here, frame, path):
    (here / "t").mkdir()
    frame.to_parquet("t/a.parquet")
    frame.to_csv("t/z.csv")
    with pytest.raises(SchemaError, match=r"holds Parquet files and others, for example z.csv. Give a glob"):
        open_table(path)


def test_a_zip_of_several_files_is_refused(here):
    # Only the first would be read, without a word.
    with zipfile.ZipFile("t.zip", "w") as archive:
        archive.writestr("1.csv", "a\n1\n")
        archive.writestr("2.csv", "a\n2\n")
    with pytest.raises(SchemaError, match=r"t.zip holds 2 files, \['1.csv', '2.csv'\]. Unpack it"):
        open_table("t.zip")
