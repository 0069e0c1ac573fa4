"""The source: one frame of predictors, target, weight and offset, from whatever the user has."""

from __future__ import annotations

import io
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from frame.sources import N, assert_same_columns, read_all, table_of_roles

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.frame import source as module
from dask_dl.frame.source import open_source


@pytest.fixture
def frame():
    return table_of_roles()


# ---- names and aligned values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda f: f, lambda f: dd.from_pandas(f, npartitions=3)], ids=["pandas", "dask"])
def test_roles_by_name(frame, make):
    source = open_source(make(frame), "y", "w", "o")
    assert source.predictors == ("a", "b")
    assert source.roles == {"target": "y", "weight": "w", "offset": "o"}
    assert source.is_named
    assert_same_columns(source, frame)


@pytest.mark.parametrize("make", [lambda f: f, lambda f: dd.from_pandas(f, npartitions=3)], ids=["pandas", "dask"])
def test_roles_beside_the_table(frame, make):
    table = make(frame)
    source = open_source(table[["a", "b"]], table["y"], table["w"], table["o"])
    assert source.predictors == ("a", "b")
    assert source.roles == {"target": "__target__", "weight": "__weight__", "offset": "__offset__"}
    expected = frame.rename(columns={"y": "__target__", "w": "__weight__", "o": "__offset__"})
    assert_same_columns(source, expected)


def test_names_and_values_mix(frame):
    source = open_source(frame[["a", "b", "y"]], "y", frame["w"].to_numpy())
    assert source.predictors == ("a", "b")
    assert_same_columns(source, frame[["a", "b", "y"]].assign(__weight__=frame["w"]))


@pytest.mark.parametrize(
    "values",
    [
        list(range(N)),
        tuple(range(N)),
        np.arange(N),
        range(N),
        pd.Series(np.arange(N), index=np.arange(N)[::-1]),
        pd.Series(np.arange(N), index=[f"row {k}" for k in range(N)]),
        pd.array(np.arange(N), "Int64"),
        pd.Index(np.arange(N)),
    ],
    ids=lambda values: type(values).__name__,
)
def test_position_counts_and_not_the_index(frame, values):
    # As in scikit-learn: what stands beside a row belongs to it.
    assert_same_columns(open_source(frame[["a"]], values), {"a": frame["a"], "__target__": range(N)})


def test_missing_values_in_a_list_of_texts_stay_missing(frame):
    labels = ["a", None, float("nan"), *["b"] * (N - 3)]
    target = read_all(open_source(frame[["a"]], labels))["__target__"]
    assert target.isna().tolist() == [label not in {"a", "b"} for label in labels]


def test_categorical_values_keep_their_type(frame):
    labels = pd.Categorical(["p", "q", None] * 10)
    for values in (labels, pd.Series(labels)):
        target = read_all(open_source(frame[["a"]], values))["__target__"]
        assert target.dtype == labels.dtype
        assert target.isna().sum() == 10


def test_one_column_serves_as_values(frame):
    table = dd.from_pandas(frame, npartitions=3)
    source = open_source(table[["a"]], table[["y"]])
    assert_same_columns(source, {"a": frame["a"], "__target__": frame["y"]})


# ---- arrays -------------------------------------------------------------------------------------------------------------


def test_columns_of_arrays_get_names():
    source = open_source(np.arange(6).reshape(3, 2), [1, 2, 3])
    assert source.predictors == ("x0", "x1")
    assert not source.is_named
    assert_same_columns(source, {"x0": [0, 2, 4], "x1": [1, 3, 5], "__target__": [1, 2, 3]})


def test_numbers_beside_texts_stay_numbers():
    table = read_all(open_source([[1, "a"], [2.5, "b"]]))
    assert table["x0"].tolist() == [1, 2.5]
    assert table["x1"].tolist() == ["a", "b"]


def test_masked_values_are_missing():
    table = read_all(open_source(np.ma.masked_equal([[1.0, 2.0], [3.0, 4.0]], 2)))
    assert table["x1"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    "X, message",
    [
        (np.arange(3.0), r"two dimensions.*shape \(3,\).*X.reshape\(1, -1\).*X.reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2)), r"two dimensions.*shape \(2, 2, 2\)"),
        (pd.Series([1.0, 2]), "two dimensions"),
        ("table.csv", "is a str, not a table.*Read it first"),
        (np.zeros((3, 0)), "no column to learn from"),
        (pd.DataFrame(index=[1, 2]), "no column to learn from"),
    ],
    ids=["vector", "cube", "series", "path", "no columns", "no columns in a frame"],
)
def test_what_is_no_table_is_refused(X, message):
    with pytest.raises(SchemaError, match=f"the training table.*{message}"):
        open_source(X)


def test_a_dask_series_is_no_table(frame):
    with pytest.raises(SchemaError, match=r"not a table.*X\.to_frame\(\)"):
        open_source(dd.from_pandas(frame, npartitions=2)["a"])


# ---- local slices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_slice, n_partitions", [(1000, 1), (30, 1), (29, 2), (7, 5), (1, 30)])
def test_local_tables_are_read_in_slices(frame, monkeypatch, rows_per_slice, n_partitions):
    monkeypatch.setattr(module, "ROWS_PER_SLICE", rows_per_slice)
    source = open_source(frame[["a", "b"]], frame["y"])
    assert source.n_partitions == n_partitions
    assert_same_columns(source, frame[["a", "b"]].assign(__target__=frame["y"]))


def test_an_empty_table_has_one_empty_slice(frame):
    source = open_source(frame.iloc[:0], "y")
    assert source.n_partitions == 1
    assert read_all(source).shape == (0, 5)


def test_reading_leaves_the_users_table_alone(frame):
    copy = frame.copy(deep=True)
    read_all(open_source(frame, "y", np.ones(N)))
    pd.testing.assert_frame_equal(frame, copy)


def test_values_beside_a_local_table_must_be_local(frame):
    y = dd.from_pandas(frame["y"], npartitions=2)
    with pytest.raises(SchemaError, match=r"the target of a local table must be local too: pass target.compute\(\)"):
        open_source(frame, y)


def columns_asked_for():
    """A Dask frame that can read single columns, and the list of what was read."""
    asked = []

    def read(k, columns=None):
        part = pd.DataFrame({name: [float(k)] for name in "abcdefy"})
        asked.append(list(part.columns if columns is None else columns))
        return part if columns is None else part[columns]

    meta = pd.DataFrame({name: pd.Series(dtype=float) for name in "abcdefy"})
    return dd.from_map(read, [0, 1, 2], meta=meta), asked


def test_only_needed_columns_are_read():
    table, asked = columns_asked_for()
    source = open_source(table, "y", keep=["c", "a"])
    assert source.predictors == ("a", "c")
    read_all(source)
    assert asked == [["a", "c", "y"]] * 3


def test_columns_of_a_parquet_file_are_not_read_in_vain(tmp_path, frame, monkeypatch):
    frame.to_parquet(tmp_path / "t.parquet")
    plans, to_delayed = [], dd.DataFrame.to_delayed
    monkeypatch.setattr(dd.DataFrame, "to_delayed", lambda table: plans.append(table) or to_delayed(table))
    source = open_source(dd.read_parquet(tmp_path / "t.parquet"), "y", keep=["a"])
    assert_same_columns(source, frame[["a", "y"]])
    (plan,) = plans
    assert "columns=['a', 'y']" in plan.optimize(fuse=False).expr.tree_repr()


def test_partitions_are_read_in_this_thread_one_by_one(frame):
    import threading

    seen = []
    table = dd.from_pandas(frame, npartitions=3)
    table = table.map_partitions(lambda part: seen.append(threading.get_ident()) or part, meta=table._meta)
    source = open_source(table, "y")
    seen.clear()
    source.read(1)
    assert seen == [threading.get_ident()]


# ---- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda f: f, lambda f: dd.from_pandas(f, npartitions=2)], ids=["pandas", "dask"])
def test_columns_named_by_numbers_are_known_by_their_text(make):
    table = pd.DataFrame({0: [1.0, 2.0], 1: [3.0, 4.0], (2, "b"): [5.0, 6.0]})
    source = open_source(make(table), "1")
    assert source.predictors == ("0", "(2, 'b')")
    assert_same_columns(source, {"0": [1, 2], "1": [3, 4], "(2, 'b')": [5, 6]})


def labelled(frame, labels):
    return frame.set_axis(labels, axis=1)


BY_POSITION = {
    "pandas": lambda f: f,
    "Dask": lambda f: dd.from_pandas(f, npartitions=3),
}
ARRAYS = {
    "NumPy": lambda f: f.drop(columns="b").to_numpy(),
    "a list": lambda f: f.drop(columns="b").to_numpy().tolist(),
    "Dask Array": lambda f: da.from_array(f.drop(columns="b").to_numpy(), chunks=(7, 2)),
    "Dask Array of unknown length": lambda f: dd.from_pandas(f.drop(columns="b"), npartitions=3).to_dask_array(),
}


@pytest.mark.parametrize("make", BY_POSITION)
@pytest.mark.parametrize("positions", [(2, 3, 4), (-3, np.int64(-2), np.int8(4))])
def test_roles_by_position(frame, make, positions):
    source = open_source(BY_POSITION[make](frame), *positions)
    assert source.roles == {"target": "y", "weight": "w", "offset": "o"}
    assert_same_columns(source, frame)


@pytest.mark.parametrize("make", ARRAYS)
@pytest.mark.parametrize("positions", [(1, 2, 3), (-3, np.int64(-2), -1)])
def test_roles_by_position_in_an_array(frame, make, positions):
    source = open_source(ARRAYS[make](frame), *positions)
    assert source.roles == {"target": "x1", "weight": "x2", "offset": "x3"}
    assert source.predictors == ("x0",)
    assert_same_columns(source, {"x0": frame["a"], "x1": frame["y"], "x2": frame["w"], "x3": frame["o"]})


@pytest.mark.parametrize("make", BY_POSITION)
def test_a_label_comes_before_a_position(frame, make):
    table = BY_POSITION[make](labelled(frame, [2, "a", "b", "c", 7]))
    assert open_source(table, 2, 7).roles == {"target": "2", "weight": "7"}
    for wrong in (1, 3, -1):  # a position, or a label that is not there? Nobody knows.
        with pytest.raises(
            SchemaError, match=rf"named by numbers, and none is {wrong}, for the target: give the name.*'7'"
        ):
            open_source(table, wrong)
    assert open_source(BY_POSITION[make](labelled(frame, range(5))), -1).roles == {"target": "4"}


@pytest.mark.parametrize("make", [*BY_POSITION, *ARRAYS])
@pytest.mark.parametrize("role", ["target", "weight", "offset"])
def test_positions_beyond_the_table_are_refused(frame, make, role):
    table = {**BY_POSITION, **ARRAYS}[make](frame)
    p = 5 if make in BY_POSITION else 4
    for wrong in (p, -p - 1):
        with pytest.raises(
            SchemaError, match=rf"has {p} columns, at the positions 0 to {p - 1}, and none at {wrong} for the {role}"
        ):
            open_source(table, **{role: wrong})


@pytest.mark.parametrize("make", BY_POSITION)
def test_labels_of_several_levels_are_names(frame, make):
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "")])
    source = open_source(BY_POSITION[make](labelled(frame, columns)), ("b", "x"), ("b", "y"))
    assert source.roles == {"target": "('b', 'x')", "weight": "('b', 'y')"}
    assert read_all(source)["('b', 'x')"].tolist() == frame["y"].tolist()


@pytest.mark.parametrize("value", [True, 3.5, np.float64(1)])
def test_what_is_neither_name_nor_position_nor_values(frame, value):
    with pytest.raises(
        SchemaError, match=r"the target is .*: give the name or position of a column, or as many values"
    ):
        open_source(frame, value)


@pytest.mark.parametrize(
    "columns, repeated", [(["a", "a", "b", "y"], "'a'"), (["a", "b", "b", "a"], "'a', 'b'"), ([1, "1", 2, "y"], "'1'")]
)
def test_repeated_names_are_refused(columns, repeated):
    with pytest.raises(SchemaError, match=f"several columns named {repeated}. Rename or drop all but one"):
        open_source(pd.DataFrame(np.zeros((2, 4)), columns=columns))


@pytest.mark.parametrize("make", [lambda f: f, lambda f: dd.from_pandas(f, npartitions=2)], ids=["pandas", "dask"])
@pytest.mark.parametrize("role", ["target", "weight", "offset"])
def test_a_misspelled_name_gets_the_near_one(frame, make, role):
    table = frame.rename(columns={"y": "survived"})
    names = {"target": "survived", role: "survivd"}
    with pytest.raises(
        SchemaError, match=f"no column 'survivd' for the {role}. Did you mean 'survived'.*columns are 'a', 'b'"
    ):
        open_source(make(table), **names)
    with pytest.raises(SchemaError, match=f"no column 'zzz' for the {role}. Its columns"):
        open_source(make(table), **names | {role: "zzz"})


def test_many_columns_are_not_all_listed():
    with pytest.raises(SchemaError, match="'c11' and 88 more"):
        open_source(pd.DataFrame(np.zeros((1, 100)), columns=[f"c{k}" for k in range(100)]), "zzz")


def test_one_column_plays_one_part(frame):
    with pytest.raises(ParameterError, match="must be different columns; found target 'y', weight 'y'"):
        open_source(frame, "y", "y")


def test_reserved_names_are_refused_where_they_are_needed(frame):
    table = frame.assign(__target__=1.0)
    with pytest.raises(SchemaError, match=r"columns named '__target__' are reserved. Rename them"):
        open_source(table, frame["y"])
    assert "__target__" in open_source(table, "y").predictors  # by name, nothing is in its way


@pytest.mark.parametrize("make", [lambda f: f, lambda f: dd.from_pandas(f, npartitions=2)], ids=["pandas", "dask"])
def test_a_target_alone_leaves_nothing_to_learn_from(frame, make):
    with pytest.raises(SchemaError, match=r"no column to learn from.*its columns are 'y'"):
        open_source(make(frame[["y"]]), "y")


@pytest.mark.parametrize("values", [np.zeros(N - 1), np.zeros(N + 1), []])
def test_values_that_are_too_few_or_too_many_are_refused(frame, values):
    with pytest.raises(
        SchemaError, match=f"the training table has 30 rows and its weight {len(values)}. Their lengths must"
    ):
        open_source(frame, "y", values)


def test_values_of_two_dimensions_are_refused(frame):
    with pytest.raises(SchemaError, match=r"the target must have one dimension; found shape \(30, 2\)"):
        open_source(frame, np.zeros((N, 2)))


def bytes_read():
    """By this process, of whatever files, from their page cache too."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


def test_only_the_needed_columns_of_parquet_are_read(tmp_path):
    n = 50_000
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=n), "y": np.arange(n) % 7.0})
    frame["fat"] = [f"{k:07} " * 20 for k in range(n)]
    frame.to_parquet(tmp_path / "t.parquet", compression=None)
    table = dd.read_parquet(tmp_path / "t.parquet")
    of_file = (tmp_path / "t.parquet").stat().st_size
    source = open_source(table, "y", keep=["a"])
    whole = open_source(table, "y")
    whole.read(0)  # imports
    before = bytes_read()
    whole.read(0)
    all_of_it = bytes_read() - before
    before = bytes_read()
    part = source.read(0)
    needed = bytes_read() - before
    assert list(part.columns) == ["a", "y"]
    assert all_of_it > 0.9 * of_file
    assert needed < 0.2 * of_file


def test_the_source_is_read_twice(monkeypatch):
    # Once for all that has to be known, whatever is asked for, and once to be encoded.
    from dask_dl import DeepLearningClassifier

    frame = pd.DataFrame({"a": [1.0, None, 3, 4] * 10, "c": list("uvwx") * 10, "y": ["n", "n", "n", "p"] * 10})
    reads = []

    def noted(part):
        reads.append(len(part))
        return part

    table = dd.from_pandas(frame, npartitions=2).map_partitions(noted, meta=frame)
    reads.clear()
    given = {"missing_values_handling": "skip", "balance_classes": True, "categorical_encoding": "sort_by_response"}
    DeepLearningClassifier(hidden=(3,), epochs=2, **given).fit(table, "y")
    assert reads == [20] * 4


def test_a_frame_of_many_blocks_is_cut_without_a_warning():
    names = [f"c{k}" for k in range(150)]
    frame = pd.read_csv(io.StringIO("\n".join(",".join(row) for row in (names, ["1.5"] * 150, ["2"] * 150))))
    source = open_source(frame, np.array([0.0, 1.0]))
    assert source.read(0).shape == (2, 151)
