"""The scan: figures of a table that do not depend on how it is cut, found with one partition in memory."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from frame.sources import cut, exact, roles_table, scan_column, source_of
from hypothesis import given
from hypothesis import strategies as st

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import CategoricalStats, EmptyStats, Moments
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import FAN_IN, check_used, merged, name_of_target, scan, scan_partition
from dask_dl.frame.source import Schema, Source
from dask_dl.tasks import HEADS


def by_the_book(values, weights):
    """Mean and deviation (algorithm.md#means-and-deviations) in extended precision."""
    used = (weights > 0) & ~np.isnan(values)
    x, w, n = values[used].astype(np.longdouble), weights[used].astype(np.longdouble), used.sum()
    mean = (w * x).sum() / w.sum()
    return float(mean), float(np.sqrt(n / (n - 1) * (w * (x - mean) ** 2).sum() / w.sum()))


# ---- moments ------------------------------------------------------------------------------------------------------------


@exact
@given(
    n=st.integers(3, 60),
    seed=st.integers(0, 2**32 - 1),
    edges=st.lists(st.integers(0, 60), max_size=6),
    shift=st.sampled_from([0.0, 1.0, -1e6, 1e9]),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
    zeros=st.sampled_from([0.0, 0.5]),
    gaps=st.sampled_from([0.0, 0.3]),
)
def test_moments_are_those_of_numpy_whatever_the_cut(n, seed, edges, shift, scale, zeros, gaps):
    random = np.random.default_rng(seed)
    values = shift + scale * random.normal(size=n)
    weights = random.uniform(0.1, 5, n) * (random.uniform(size=n) >= zeros)
    values[random.uniform(size=n) < gaps] = np.nan
    values[:2], weights[:2] = (shift, shift + scale), 1  # at least two rows count, and they differ
    frame = pd.DataFrame({"x": values, "w": weights})

    found = scan(source_of(*cut(frame, np.minimum(edges, n).tolist()), weight="w"), ScanRequest("numbers")).columns["x"]

    used = (weights > 0) & ~np.isnan(values)
    mean, deviation = by_the_book(values, weights)
    assert found.moments.n == used.sum()
    assert found.moments.weight == pytest.approx(weights[used].sum(), rel=1e-14)
    assert found.moments.mean == pytest.approx(mean, rel=1e-14, abs=1e-14 * scale)
    # Beside 1e9, noise of 0.001 has four digits left in float64: the tolerance is that of the values themselves.
    assert found.moments.deviation == pytest.approx(deviation, rel=1e-12, abs=1e-15 * abs(shift))
    assert found.n_missing == np.isnan(values[weights > 0]).sum()
    assert (found.minimum, found.maximum) == (values[used].min(), values[used].max())


# ---- partitions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    random = np.random.default_rng(3)
    n = 700
    frame = pd.DataFrame(
        {
            "number": random.normal(1e9, 1, n),
            "integer": random.integers(0, 9, n),
            "text": random.choice(["b", "a", "c"], n),
            "flag": random.uniform(size=n) < 0.5,
            "w": random.choice([0.0, 0.5, 2.0], n),
            "y": random.choice(["no", "yes"], n),
        }
    )
    frame.loc[::7, "number"] = np.nan
    frame.loc[::11, "text"] = None
    frame.loc[::13, "y"] = None
    return frame


def test_one_partition_or_seven_give_the_same(frame):
    one, seven = (
        scan(source_of(*cut(frame, edges), target="y", weight="w"), ScanRequest("labels"))
        for edges in ([], [1, 100, 101, 350, 600, 699])
    )
    assert one.rows == (700,)
    assert seven.rows == (1, 99, 1, 249, 250, 99, 1)
    assert (one.n_rows, one.n_used, one.classes) == (seven.n_rows, seven.n_used, seven.classes)
    assert one.mean_weight == pytest.approx(seven.mean_weight, rel=1e-14)
    np.testing.assert_array_equal(one.columns.is_constant, seven.columns.is_constant)
    for name, column in one.columns.items():
        other = seven.columns[name]
        assert column.n_missing == other.n_missing
        if isinstance(column, CategoricalStats):
            assert (dict(column.counts), column.ordered) == (dict(other.counts), other.ordered)
        else:
            assert (column.minimum, column.maximum) == (other.minimum, other.maximum)
            a, b = column.moments, other.moments
            assert (a.n, a.weight) == (b.n, b.weight)
            assert a.mean == pytest.approx(b.mean, rel=1e-15)
            assert a.deviation == pytest.approx(b.deviation, rel=2e-8)  # a mean of 1e9 is known to 1e-7


def test_partitions_are_merged_in_their_order(frame):
    parts = cut(frame, [10, 300, 301])
    found = scan(source_of(*parts), ScanRequest("labels")).columns["number"]
    each = [Moments.of(part["number"].to_numpy()[None], None).column(0) for part in parts]
    assert found.moments == each[0].merge(each[1]).merge(each[2].merge(each[3]))  # to the last bit


@pytest.mark.parametrize("n", [1, 2, 5, 16, 17, 40, 257])
def test_a_tree_of_tasks_gives_the_bits_of_one_pass(n):
    random = np.random.default_rng(n)
    table = source_of(
        *(pd.DataFrame({"x": random.normal(size=3), "t": random.choice(list("abcd"), 3)}) for _ in range(n))
    )
    parts = [scan_partition(table.read(k), table.schema, k, ScanRequest("numbers")) for k in range(n)]
    while len(parts) > 1:
        parts = [merged(parts[k : k + FAN_IN], table.schema) for k in range(0, len(parts), FAN_IN)]
    whole = scan(table, ScanRequest("numbers"))
    assert parts == [whole] and list(parts[0].columns["t"].counts) == list(whole.columns["t"].counts)


def test_one_partition_is_alive_at_a_time(frame):
    alive = []

    def read(k):
        assert not [part for part in alive if part() is not None]
        part = pd.DataFrame({"x": np.arange(10.0) + k, "t": list("ab") * 5})
        alive.append(weakref.ref(part))
        return part

    scan(Source(Schema(("x", "t"), {}, "the table"), 5, read), ScanRequest("numbers"))
    assert len(alive) == 5


def test_every_partition_is_read_once_and_told_of():
    reads, told = [], []
    parts = [pd.DataFrame({"x": [1.0, 2.0]})] * 3
    source = Source(Schema(("x",), {}, "the table"), 3, lambda k: reads.append(k) or parts[k])
    found = scan(source, ScanRequest("numbers"), progress=lambda done, of: told.append((done, of)))
    assert reads == [0, 1, 2]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found.rows == (2, 2, 2)


def test_size_of_the_largest_partition_counts_texts():
    short, long = (pd.DataFrame({"t": pd.Series([text] * 100, dtype=object)}) for text in ("a", "a" * 1000))
    assert scan(source_of(short, long), ScanRequest("numbers")).largest_partition > 100_000


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("dtype", [None, object, "as it was"])
def test_empty_partitions_change_nothing(frame, at, dtype):
    parts = cut(frame, [300])
    empty = frame.iloc[:0] if dtype == "as it was" else pd.DataFrame(columns=frame.columns, dtype=dtype)
    full = scan(source_of(*parts, target="y", weight="w"), ScanRequest("labels"))
    with_gap = [*parts[:at], empty, *parts[at:]]
    gap = scan(source_of(*with_gap, target="y", weight="w"), ScanRequest("labels"))
    assert gap.rows == tuple(len(part) for part in with_gap)
    assert (gap.columns, gap.classes, gap.n_used, gap.row_stats.weight) == (
        full.columns,
        full.classes,
        full.n_used,
        full.row_stats.weight,
    )


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_a_table_without_rows_is_refused(frame, n_partitions):
    with pytest.raises(SchemaError, match="the table has no rows"):
        scan(source_of(*[frame.iloc[:0]] * n_partitions, target="y"), ScanRequest("labels"))


# ---- columns ------------------------------------------------------------------------------------------------------------


def test_texts_are_levels_with_counts():
    found = scan_column(["b", "a", None], ["c", "a", np.nan])
    assert found == CategoricalStats(2, {"b": 1, "a": 2, "c": 1}, from_numbers=False)
    assert found.ordered == ["a", "b", "c"]


def test_categoricals_of_unlike_categories_are_one_column():
    left = pd.Categorical(["z", "b", None], categories=["z", "never", "b"])
    right = pd.Categorical(["a", "b"], categories=["b", "a"])
    found = scan_column(left, right, ["a"])
    assert dict(found.counts) == {"z": 1, "b": 2, "a": 2}  # categories without rows are no levels
    assert (found.ordered, found.n_missing) == (["a", "b", "z"], 1)


def test_levels_that_were_numbers_are_ordered_as_numbers():
    assert scan_column(pd.Categorical([10, 9, 100]), pd.Categorical([-1])).ordered == ["-1", "9", "10", "100"]
    assert scan_column(pd.Categorical([10.5, 9.0])).ordered == ["9", "10.5"]
    assert scan_column(["10", "9", "100"]).ordered == ["10", "100", "9"]  # texts stay texts
    assert scan_column(pd.Categorical([10, 9]), ["100"]).ordered == ["10", "100", "9"]


def test_levels_of_other_types_have_an_order():
    assert scan_column(pd.Categorical([True, False, True])).ordered == ["False", "True"]
    days = pd.Categorical(pd.to_datetime(["2021-01-01", "2020-06-01"]))
    assert scan_column(days).ordered == ["2020-06-01T00:00:00", "2021-01-01T00:00:00"]
    assert scan_column(pd.cut(pd.Series([1, 2, 3]), [0, 1, 3])).ordered == ["(0, 1]", "(1, 3]"]


def test_a_number_is_the_same_level_in_every_dtype():
    found = scan_column(pd.Categorical([1, 2]), pd.Categorical([1.0, 2.5]), ["1", "2.5"])
    assert dict(found.counts) == {"1": 3, "2": 1, "2.5": 2}


@pytest.mark.parametrize(
    "values, message",
    [
        ([1j, 2], "omplex"),
        ([[1], [2]], r"for example \[1\] of type list"),
        ([1, "a"], "for example 1 of type int"),
        ([b"a"], "of type bytes"),
        (pd.period_range("2020", periods=2, freq="D"), "period"),
        (pd.array([[1]], pd.ArrowDtype(pa.list_(pa.int64()))), "of type list"),
        (pd.Categorical([b"a"]), "of type bytes"),
    ],
)
def test_columns_of_no_use_are_named(values, message):
    with pytest.raises(SchemaError, match=f"column 'x' of the table.*{message}|{message}.*column 'x' of the table"):
        scan_column(values)


EMPTY = {
    "objects": pd.Series([None, None], dtype=object),
    "floats": pd.Series([np.nan, np.nan]),
    "texts": pd.Series([None, None], dtype="str"),
    "categories": pd.Series(pd.Categorical([None, None], categories=["a"])),
    "null": pd.Series([None, None], dtype=pd.ArrowDtype(pa.null())),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_partition_without_values_takes_the_kind_of_the_others(kind):
    empty = EMPTY[kind]
    assert scan_column(empty) == EmptyStats(2)
    for values in (["a", "b"], [1.0, 2.0], [True, False]):
        alone = scan_column(values)
        for parts in ([empty, values], [values, empty], [empty, values, empty]):
            found = scan_column(*parts)
            assert found.n_missing == 2 * (len(parts) - 1)
            assert dataclasses.replace(found, n_missing=0) == alone


def test_columns_keep_the_order_of_the_table(frame):
    assert list(scan(source_of(frame, target="y", weight="w"), ScanRequest("labels")).columns) == [
        "number",
        "integer",
        "text",
        "flag",
    ]


def test_a_kind_that_changes_is_an_error():
    with pytest.raises(
        SchemaError, match="column 'x' of the table: partition 1 holds a category, partition 0 a number"
    ):
        scan_column([1.0], ["a"])


# ---- target, weights, offset --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, columns, message",
    [
        ("regression", {"y": np.nan}, "target 'y' of the table: none of 4 rows has a value and a weight above zero"),
        ("regression", {"w": 0.0}, "none of 4 rows"),
        ("regression", {"y": 0.1}, r"target 'y' is constant \(0.1\)"),
        (
            "regression",
            {"y": [1, 2, 3, 1e300]},
            "target 'y' of the table: values up to 1e.300 in partition 1 are too large",
        ),
        ("classification", {"y": "a"}, "target 'y' has one class only, 'a'"),
        ("classification", {"y": [1, 2, 3, 1.5]}, "target 'y' is continuous, for example 1.5"),
        ("classification", {"y": pd.to_datetime(["2020", "2021"] * 2)}, "labels of type Timestamp"),
        ("classification", {"y": pd.cut([1, 2, 3, 4], 2)}, "labels of type Interval.*Make them texts"),
    ],
)
def test_a_target_without_anything_to_learn_is_refused(task, columns, message):
    source, request = roles_table(**columns), ScanRequest(HEADS[task].target_kind)

    def check():
        found = scan(source, request)
        check_used(found, source, request)
        HEADS[task].check(found, name_of_target(source))

    with pytest.raises(SchemaError, match=message):
        check()
