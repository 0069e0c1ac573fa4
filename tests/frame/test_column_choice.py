"""Files that do not have the same columns are found before work, with their names."""

from __future__ import annotations

import pandas as pd
import pytest

from dask_dl.errors import SchemaError
from dask_dl.frame.column_choice import ColumnChoice
from dask_dl.frame.files import open_table
from dask_dl.frame.paths import File

FILES = {"0": "a b y", "1": "y a b", "2": "b y a"}


def resolve(choice=None, **changed):
    layouts = [(File(name), columns.split()) for name, columns in {**FILES, **changed}.items()]
    return (choice or ColumnChoice()).resolve("folder", layouts)


def test_order_does_not_matter():
    assert resolve() == ["a", "b", "y"]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"0": "a y"}, "Unlike 1: 0 lacks 'b'"),
        ({"2": "a y"}, "Unlike 0: 2 lacks 'b'"),
        ({"1": "a c y"}, "Unlike 0: 1 lacks 'b' and has 'c' instead"),
        ({"2": "a b y more"}, "Unlike 0: 2 has 'more' besides"),
        ({"1": "a y", "2": "a b y more"}, "Unlike 0: 1 lacks 'b'; 2 has 'more' besides"),
    ],
)
def test_files_that_differ_are_named_with_their_columns(changed, message):
    changed = {name.lstrip("_"): columns for name, columns in changed.items()}
    with pytest.raises(SchemaError, match=message + r"\. Give them the same columns"):
        resolve(**changed)


def test_a_column_that_the_other_files_have_stands_in_for_none():
    with pytest.raises(SchemaError, match=r"Unlike 0: 2 lacks 'b'\. Give them"):
        resolve(ColumnChoice(columns=[], optional=["a", "b"]), **{"2": "a y"})


def test_only_columns_that_are_read_have_to_be_everywhere():
    assert resolve(ColumnChoice(columns=["a", "y"]), **{"1": "a c y"}) == ["a", "y"]
    assert resolve(ColumnChoice(ignore=["b", "c"]), **{"1": "a c y"}) == ["a", "y"]
    assert resolve(ColumnChoice(columns=[], optional=["y", "z", "a"]), **{"1": "a y"}) == ["y", "a"]
    for choice in (ColumnChoice(columns=[], optional=["a", "b"]), ColumnChoice(columns=["a"], keep=["b"])):
        with pytest.raises(SchemaError, match="1 lacks 'b'"):
            resolve(choice, **{"1": "a y"})


@pytest.mark.parametrize("part", ["columns", "keep", "ignore", "categorical"])
def test_columns_that_no_file_has_are_named(part):
    with pytest.raises(SchemaError, match=r"folder has no columns \['z'\]; it has \['a', 'b', 'y'\]"):
        resolve(ColumnChoice(**{part: ["z"]}))


def test_of_many_files_few_are_named():
    with pytest.raises(SchemaError, match=r"f4 lacks 'b'; so do 15 more files"):
        resolve(
            **{f"f{k}": "a y" for k in range(2)},
            **{f"e{k}": "a b y" for k in range(30)},
            **{f"f{k}": "a y" for k in range(2, 20)},
        )


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_headers_and_schemas_are_compared_before_anything_is_read(tmp_path, kind):
    def write(frame, name):
        path = tmp_path / f"{name}.{kind}"
        frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)

    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    write(frame, 0)
    write(frame[["b", "a"]], 1)
    pd.testing.assert_frame_equal(open_table(str(tmp_path)).compute(), pd.concat([frame, frame]))
    write(frame.rename(columns={"b": "c"}), 2)
    with pytest.raises(SchemaError, match=rf"2.{kind} lacks 'b' and has 'c' instead"):
        open_table(str(tmp_path))
