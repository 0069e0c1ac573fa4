"""What CSV files hold reaches the table as it stands: strings, numbers, names; and what is odd is pointed out."""

from __future__ import annotations

import pickle
import warnings

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.errors import DaskDLWarning, SchemaError
from dask_dl.frame import csv
from dask_dl.frame.column_choice import KEPT, ColumnChoice
from dask_dl.frame.csv import LossyNumbers
from dask_dl.frame.csv_head import CsvFormat
from dask_dl.frame.files import open_table
from dask_dl.memory import PartitionLimits


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table_of(path, limit=2**30, form=None, **choice):
    return open_table(str(path), ColumnChoice(**choice), form, PartitionLimits(limit, limit))


def rows(path, **kwargs):
    return table_of(path, **kwargs).compute().reset_index(drop=True)


def written(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


# ---- strings that read as numbers -----------------------------------------------------------------------------------------

LOOKALIKES = [
    "02134",
    "2134",
    "3.1",
    "3.10",
    "1e3",
    "1000",
    "1000.0",
    "True",
    "true",
    " 7",
    "7 ",
    "7",
    "-0",
    "0",
    "inf",
    "1_0",
]
LOOKALIKES += [str(2**60), str(2**60 + 1), "9" * 30]


def test_categories_are_read_as_they_stand(here):
    pd.DataFrame({"code": LOOKALIKES, "x": 1.5}).to_csv("t.csv", index=False)
    assert rows("t.csv", categorical=["code"])["code"].tolist() == LOOKALIKES


def test_kept_columns_stand_beside_the_same_columns_as_numbers(here):
    content = "id,code,price,day,gap\n1,02134,3.10,2020-01-01,NA\n2,2134,3.1,,\n"
    found = rows(written(here / "t.csv", content), keep=["id", "code", "price", "day", "gap"])
    assert found["price"].tolist() == [3.1, 3.1]
    assert found[KEPT + "id"].dtype == "Int64" and found[KEPT + "id"].tolist() == [1, 2]
    assert found[KEPT + "code"].tolist() == ["02134", "2134"]
    assert found[KEPT + "price"].tolist() == ["3.10", "3.1"]
    assert found[KEPT + "day"].fillna("missing").tolist() == ["2020-01-01", "missing"]
    assert found[KEPT + "gap"].fillna("missing").tolist() == ["NA", "missing"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("0123456789.-e +", min_size=1, max_size=21), min_size=1, max_size=5))
def test_kept_values_written_again_are_the_same_strings(texts):
    # Whichever dtype is chosen for a column: what it writes is what was read.
    column = pd.Series(texts, dtype="str")
    for kind in ("Int64", "float64", "str"):
        try:
            found = csv.as_written(column, kind)
        except LossyNumbers:
            continue
        assert [str(value) for value in found.tolist()] == texts


def test_a_kept_column_that_is_not_all_numbers_says_so(here, monkeypatch):
    monkeypatch.setattr(csv, "SAMPLE", 64)
    path = written(here / "t.csv", "id\n" + "12\n" * 100 + "012\n")
    with pytest.raises(LossyNumbers) as caught:
        rows(path, keep=["id"])
    assert pickle.loads(pickle.dumps(caught.value)).column == "id"
    assert rows(path, keep=["id"], keep_as_strings=["id"])[KEPT + "id"].tolist() == ["12"] * 100 + ["012"]


def test_booleans_may_have_gaps_and_are_strings_as_a_target(here):
    path = written(here / "t.csv", "a,b\nTrue,x\n,y\nfalse,z\n")
    assert rows(path)["a"].tolist() == [True, pd.NA, False]
    assert rows(path, target="a")["a"].fillna("missing").tolist() == ["True", "missing", "false"]


# ---- line breaks and separators inside quotes -----------------------------------------------------------------------------

CELLS = st.text(st.sampled_from('ab",;\n\r \u00fc'), max_size=6)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=15),
    st.sampled_from([",", ";"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_file_in_blocks_is_the_file_as_a_whole(tmp_path_factory, cells, sep, newline):
    here = tmp_path_factory.mktemp("t")
    frame = pd.DataFrame(cells, columns=["s", 'a "name"']).assign(k=np.arange(len(cells)) + 0.5)
    frame.to_csv(here / "t.csv", index=False, sep=sep, lineterminator=newline)
    expected = pd.read_csv(here / "t.csv", sep=sep, dtype={"s": "str", 'a "name"': "str"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "MIN_BLOCK", 16)
        table = table_of(here / "t.csv", limit=100, form=CsvFormat(sep), categorical=["s", 'a "name"'])
    found = dask.compute(table, scheduler="synchronous")[0].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_files_of_one_column_keep_their_rows(here):
    assert rows(written(here / "t.csv", 'a\n1\n""\n\n3\n'))["a"].fillna(0).tolist() == [1, 0, 3]


def test_lines_that_end_with_carriage_returns_are_lines(here, monkeypatch):
    monkeypatch.setattr(csv, "MIN_BLOCK", 16)
    table = table_of(written(here / "t.csv", "a,b\r" + "1,2\r" * 50), limit=64)
    assert table.npartitions > 2
    assert table["b"].compute().tolist() == [2.0] * 50


@pytest.mark.parametrize(
    "content, message",
    [
        ("a,b\nr1,1,2\nr2,3,4\n", r"has 2 columns in its header and 3 in the first row after it"),
        ("a,b\n1,2\n1,2,3\n", r"Expected 2 fields in line 3, saw 3"),
        ('a,b\n1,"x\n', r"EOF inside string"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
    ],
)
def test_records_that_do_not_fit_the_header_are_refused(here, content, message):
    with pytest.raises(SchemaError, match=message):
        rows(written(here / "t.csv", content))


def test_a_separator_at_the_end_of_lines_makes_no_column(here):
    assert rows(written(here / "t.csv", "a,b\n1,2,\n3,4,\n")).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_empty_files_among_others_hold_nothing(here):
    written(here / "0.csv", "")
    written(here / "1.csv", "a,b\n1,2\n")
    written(here / "2.csv", "a,b\n")
    assert rows("*.csv").to_dict("list") == {"a": [1], "b": [2]}


# ---- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sep, shown", [(";", "';'"), ("\t", r"'\\t'"), ("|", "'\\|'")])
def test_one_column_suggests_another_separator(here, sep, shown):
    path = written(here / "t.csv", f"a{sep}b{sep}y\n1{sep}2{sep}3\n")
    with pytest.raises(SchemaError, match=rf"has one column, .*Add --sep {shown}"):
        rows(path)
    assert rows(path, form=CsvFormat(sep)).to_dict("list") == {"a": [1], "b": [2], "y": [3]}


def test_one_column_without_a_header_suggests_another_separator(here):
    path = written(here / "t.csv", "1;2;3\n4;5;6\n")
    for names in ((), ("a", "b", "y")):
        with pytest.raises(SchemaError, match=r"has one column, '1;2;3'.*Add --sep ';'"):
            rows(path, form=CsvFormat(has_header=False, names=names))
    assert rows(path, form=CsvFormat(has_header=False, names=("a",)))["a"].tolist() == ["1;2;3", "4;5;6"]


def test_one_column_may_hold_separators_of_other_files(here):
    assert rows(written(here / "t.csv", "a;b\n1\n"))["a;b"].tolist() == [1]


def test_numbers_with_a_decimal_comma(here):
    path = written(here / "t.csv", "a;s\n1,5;x\n-2,25;y\n;z\n")
    with pytest.warns(DaskDLWarning, match=r"decimal comma, for example '1,5' in 'a': 'a'.*add --decimal ,"):
        table_of(path, form=CsvFormat(";"))
    found = rows(path, form=CsvFormat(";", decimal=","), keep=["a"])
    assert found["a"].tolist()[:2] == [1.5, -2.25] and found[KEPT + "a"].tolist()[:2] == ["1,5", "-2,25"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table_of(path, form=CsvFormat(";"), categorical=["a"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sep": "||"}, "not a single ASCII character"),
        ({"sep": ""}, "not a single ASCII character"),
        ({"sep": '"'}, "not a single ASCII character"),
        ({"decimal": "e"}, "decimal point 'e'"),
        ({"sep": ",", "decimal": ","}, "cannot be both separator and decimal point"),
        ({"names": ("a", "b", "a")}, r"names that repeat: \['a'\]"),
    ],
)
def test_formats_that_cannot_be(options, message):
    with pytest.raises(SchemaError, match=message):
        CsvFormat(**options)


# ---- types, and sizes ------------------------------------------------------------------------------------------------


def test_strings_in_a_later_file_make_strings_of_all(here):
    written(here / "0.csv", "y,x\n01,1\n2,2\n")
    written(here / "1.csv", "x,y\n3,two\n")
    with pytest.warns(DaskDLWarning, match=r"read as strings.*'y' \(float64 in 0.csv, str in 1.csv\)"):
        table = table_of("*.csv")
    assert table.compute().to_dict("list") == {"y": ["01", "2", "two"], "x": [1, 2, 3]}


@pytest.mark.parametrize("first, later, kind", [("1.5", "bad", "number"), ("True", "maybe", "True or False")])
def test_a_later_value_of_another_kind_is_named(here, monkeypatch, first, later, kind):
    monkeypatch.setattr(csv, "SAMPLE", 64)
    path = written(here / "t.csv", "a,b\n" + f"{first},1\n" * 100 + f"{later},1\n")
    with pytest.raises(SchemaError, match=rf"column 'a' holds '{later}', which is no {kind} .*--categorical"):
        rows(path)
    assert rows(path, categorical=["a"])["a"].tolist() == [first] * 100 + [later]


def test_what_cannot_be_cut_and_is_too_large_is_named(here, monkeypatch):
    monkeypatch.setattr(csv, "SAMPLE", 2**13)
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=10_000)})
    frame.to_csv("t.csv.gz", index=False)
    frame.to_csv("wide.csv", index=False, encoding="utf-16")
    for path, remedy in (
        ("t.csv.gz", "packed, takes about .* Unpack it"),
        ("wide.csv", "in utf-16, takes about .* Convert it to UTF-8"),
    ):
        with pytest.raises(SchemaError, match=rf"{path}, which cannot be read in parts as it is {remedy}"):
            table_of(path, limit=2**16)
        assert table_of(path).npartitions == 1


def test_a_changed_file_makes_other_tasks(here):
    path = written(here / "t.csv", "a\n1\n")
    before = table_of(path).__dask_keys__()
    assert table_of(path).__dask_keys__() == before
    written(path, "a\n22\n")
    assert table_of(path).__dask_keys__() != before
