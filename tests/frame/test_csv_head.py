"""The first records of CSV files: encodings, headers, and what in them is pointed out."""

from __future__ import annotations

import gzip
import warnings

import pytest
from frame.test_csv import rows, table_of, written

from dask_dl.errors import DaskDLWarning, SchemaError
from dask_dl.frame import csv
from dask_dl.frame.csv_head import CsvFormat
from dask_dl.frame.files import open_table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


MARKED = ["utf-16", "utf-32", "utf-8-sig"]


@pytest.mark.parametrize("encoding", [*MARKED, "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_wide_encodings_are_recognised(here, encoding, packed):
    content = 'größe,"ort"\n1,"Köln\n2"\n3,x\n'.encode(encoding)
    path = here / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    for form in (None, CsvFormat(encoding=encoding)):
        assert rows(path, form=form).to_dict("list") == {"größe": [1, 3], "ort": ["Köln\n2", "x"]}


@pytest.mark.parametrize("encoding", MARKED)
def test_another_encoding_than_the_file_has_is_named(here, encoding):
    path = written(here / "t.csv", "a,b\n1,2\n", encoding)
    with pytest.raises(SchemaError, match=rf"looks like {encoding[:5]}.* not like latin-1. Add --encoding {encoding}"):
        rows(path, form=CsvFormat(encoding="latin-1"))


def test_a_zero_byte_alone_is_no_wide_encoding(here):
    assert rows(written(here / "t.csv", "a,b\n1,x\0\n2,y\n"))["a"].tolist() == [1, 2]


def test_an_encoding_not_based_on_ascii_is_read_whole(here, monkeypatch):
    monkeypatch.setattr(csv, "MIN_BLOCK", 16)
    table = table_of(
        written(here / "t.csv", "a,b\n" + "1,2\n" * 50, "cp037"), limit=2**14, form=CsvFormat(encoding="cp037")
    )
    assert table.npartitions == 1 and table["a"].compute().sum() == 50


# ---- headers ---------------------------------------------------------------------------------------------------------


def test_files_without_a_header(here):
    path = written(here / "t.csv", "\ufeff1,x\n2,y\n")
    assert rows(path, form=CsvFormat(has_header=False)).to_dict("list") == {"x0": [1, 2], "x1": ["x", "y"]}
    form = CsvFormat(has_header=False, names=("n", "s"))
    assert rows(path, form=form, columns=["s"]).to_dict("list") == {"s": ["x", "y"]}
    with pytest.raises(SchemaError, match=r"3 names are given \(--names\), and .*t.csv has 2 columns"):
        rows(path, form=CsvFormat(has_header=False, names=("a", "b", "c")))


def test_names_replace_those_of_a_header(here):
    written(here / "0.csv", "a,b\n1,x\n")
    assert rows("0.csv", form=CsvFormat(names=("n", "s"))).to_dict("list") == {"n": [1], "s": ["x"]}
    written(here / "1.csv", "b,a\nx,1\n")
    with pytest.raises(SchemaError, match="different headers, so that --names cannot replace them"):
        rows("*.csv", form=CsvFormat(names=("n", "s")))


@pytest.mark.parametrize(
    "content",
    ["1,2\n3,4\n", "5.1,3.5,setosa\n4.9,3.0,setosa\n", "sunny,no\nrain,yes\nsunny,no\n", "Rome,0.5\nOslo,1.5\n"],
)
def test_a_header_that_looks_like_data_is_pointed_out(here, content):
    with pytest.warns(DaskDLWarning, match=r"header of .*t.csv looks like data: .*add --no-header"):
        table_of(written(here / "t.csv", content))


def test_a_caller_may_take_all_warnings_of_a_table(here):
    """Those of the header, of decimal commas, and of kinds that differ between files."""
    written(here / "0.csv", "1,2,3\n" + "4,5,'6,5'\n".replace("'", '"') * 3)
    written(here / "1.csv", "1,2,3\n" + "x,5,'6,5'\n".replace("'", '"') * 3)
    found = []
    open_table("*.csv", warn=found.append)
    for text in ("looks like data", "decimal comma", "some files begin with numbers"):
        assert sum(text in message for message in found) == 1, text


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "country,2019,2020\nIT,1.5,2\n", "label,0,1\n7,0.5,0.1\n", "a,b\n", "s,t\nx,y\n"]
)
def test_a_header_of_names_is_not(here, content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table_of(written(here / "t.csv", content))


@pytest.mark.parametrize(
    "values, example, remedy",
    [
        (["10", "12", "9,5", "7"], "9,5", "add --decimal ,"),  # few have a fraction
        (["1.234,5", "12.345.678,25"], "1.234,5", "without separators of thousands and add --decimal ,"),
        (["1'234,5", "8"], "1'234,5", "without separators of thousands and add --decimal ,"),
    ],
)
def test_decimal_commas_among_other_numbers_are_pointed_out(here, values, example, remedy):
    path = written(here / "t.csv", "a;s\n" + "".join(f"{value};x\n" for value in values))
    with pytest.warns(DaskDLWarning, match=rf"decimal comma, for example '?\"?{example}.* in 'a': 'a'.*{remedy}"):
        table_of(path, form=CsvFormat(";"))


@pytest.mark.parametrize("values", ["1.234 5.678", "a,b c,5", "2024-01-01 1,2,3", "10 1,5,2"])
def test_other_texts_are_no_numbers_with_a_decimal_comma(here, values):
    path = written(here / "t.csv", "a;s\n" + "".join(f"{value};x\n" for value in ["x", *values.split()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table_of(path, form=CsvFormat(";"))


def test_another_separator_is_suggested_where_rows_hold_decimal_commas(tmp_path):
    (tmp_path / "t.csv").write_text("a;b;y\n1;0,5;2\n2;1,5;3\n")
    with pytest.raises(SchemaError, match=r"t.csv has one column, 'a;b;y'.*--sep ';'"):
        open_table(str(tmp_path / "t.csv"))
