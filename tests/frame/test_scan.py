"""The scan: figures of a table that do not depend on how it is cut, found with one partition in memory."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
import weakref
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import CategoricalStats, EmptyStats, Moments, NumericStats
from dask_dl.frame.inputs import settle
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import FAN_IN, check_used, merged, name_of_target, scan, scan_partition
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source
from dask_dl.tasks import HEADS

exact = settings(derandomize=True, database=None, deadline=None)


def source_of(*parts, **roles):
    """A table of these partitions; `roles` name its target, weight and offset."""
    predictors = tuple(name for name in parts[0].columns if name not in roles.values())
    return Source(Schema(predictors, roles, "the table"), len(parts), parts.__getitem__)


def scan_column(*parts):
    """What the scan finds in one column that is cut into `parts`."""
    return scan(source_of(*(pd.DataFrame({"x": part}) for part in parts)), ScanRequest("numbers")).columns["x"]


def cut(frame, edges):
    edges = [0, *sorted(edges), len(frame)]
    return [frame.iloc[lo:hi] for lo, hi in itertools.pairwise(edges)]


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


def test_deviation_has_n_minus_1_below_and_weights_keep_it():
    plain, weighted = (Moments.of(np.array([[1.0, 2.0, 6.0]]), w).column(0) for w in (None, np.array([1.0, 2.0, 1.0])))
    assert (plain.mean, plain.deviation) == (3.0, pytest.approx(np.sqrt(7)))
    # sum w (x - 2.75)^2 / sum w = 14.75 / 4, times n / (n - 1) = 3 / 2
    assert (weighted.mean, weighted.deviation) == (2.75, pytest.approx(np.sqrt(14.75 / 4 * 1.5)))


def test_weights_of_any_unit_give_the_same_deviation():
    values = np.random.default_rng(0).normal(size=(1, 50))
    weights = np.random.default_rng(1).uniform(size=50)
    one, thousand = (Moments.of(values, k * weights).column(0) for k in (1, 1000))
    assert thousand.deviation == pytest.approx(one.deviation, rel=1e-14)


@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e9 + 0.1, 1.7e12])
def test_a_constant_has_exactly_its_value_as_mean_and_no_deviation(value):
    # A rounded mean would leave a deviation of 1e-17, which standardisation would blow up to 1.
    values, weights = np.full((1, 1000), value), np.random.default_rng(0).uniform(size=1000)
    values[0, :3] = np.nan, value, np.nan
    for w in (None, weights):
        whole = Moments.of(values, w)
        left, right = (Moments.of(v, w if w is None else w[s]) for v, s in _halves(values))
        for moments in (whole.column(0), left.merge(right).column(0), left.column(0).merge(right.column(0))):
            assert (moments.mean, moments.deviation) == (value, 0.0)


def _halves(values):
    return [(values[:, s], s) for s in (slice(0, 337), slice(337, None))]


def test_nothing_merges_to_the_other():
    both = Moments.of(np.array([[1.0, 4.0], [np.nan, np.nan]]), None)
    some, none = both.column(0), both.column(1)
    assert none == Moments()
    assert none.merge(some) == some.merge(none) == some
    assert Moments().merge(Moments()) == Moments()
    assert [Moments.of(np.zeros((2, 0)), None).column(k) for k in range(2)] == [Moments(), Moments()]
    assert Moments.of(np.ones((1, 3)), np.zeros(3)).column(0) == Moments()


def test_one_number_has_no_deviation():
    assert Moments.of(np.array([[7.0]]), None).deviation.tolist() == [0]
    assert Moments(1, 2.0, 7.0).deviation == 0


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
    "values, expected",
    [
        ([3, None, 5], [3, 5]),
        (pd.array([3, None, 5], "Int8"), [3, 5]),
        (pd.array([1.5, None], "Float32"), [1.5]),
        (np.array([1.5, np.nan], np.float16), [1.5]),
        (np.array([1.5, 2], np.float32), [1.5, 2]),
        ([True, False], [1, 0]),
        (pd.array([True, None], "boolean"), [1]),
        (pd.Series([True, None], dtype=object), [1]),
        (pd.Series([1, pd.NA, 2.5], dtype=object), [1, 2.5]),
        (pd.Series([Decimal("1.5"), None], dtype=object), [1.5]),
        (pd.array([3, None], "int64[pyarrow]"), [3]),
        (pd.array([1.5, None], "float[pyarrow]"), [1.5]),
        (pd.array([True, None], "bool[pyarrow]"), [1]),
        (pd.array([Decimal("1.5"), None], pd.ArrowDtype(pa.decimal128(5, 2))), [1.5]),
        (pd.arrays.SparseArray([0.0, 1.5]), [0, 1.5]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_numbers_of_every_dtype(values, expected):
    found = scan_column(values)
    assert isinstance(found, NumericStats)
    assert (found.moments.n, found.n_missing) == (len(expected), len(values) - len(expected))
    assert found.moments.mean == pytest.approx(np.mean(expected))


NOON = pd.Timestamp("2020-01-02 12:00")
MILLISECONDS = 1_577_966_400_000  # from 1970 to that noon in Greenwich


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([NOON, "NaT"], "M8[ns]"), MILLISECONDS),
        (np.array([NOON, "NaT"], "M8[s]"), MILLISECONDS),
        (pd.Series([NOON, pd.NaT]).dt.tz_localize("Asia/Tokyo"), MILLISECONDS - 9 * 3_600_000),
        (pd.Series([NOON, None]).astype(pd.ArrowDtype(pa.timestamp("us"))), MILLISECONDS),
        (
            pd.Series([NOON, None])
            .dt.tz_localize("Asia/Tokyo")
            .astype(pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo"))),
            MILLISECONDS - 9 * 3_600_000,
        ),
        (pd.Series([dt.date(2020, 1, 2), None], dtype=pd.ArrowDtype(pa.date32())), MILLISECONDS - 12 * 3_600_000),
        (pd.Series([dt.date(2020, 1, 2), None], dtype=object), MILLISECONDS - 12 * 3_600_000),
        (pd.Series([dt.datetime(2020, 1, 2, 12), None], dtype=object), MILLISECONDS),  # noqa: DTZ001  # without a zone
        (np.array(["1969-12-31T23:59:59", "NaT"], "M8[ns]"), -1000),
    ],
    ids=["ns", "s", "zone", "arrow", "arrow zone", "arrow day", "day", "objects", "before 1970"],
)
def test_dates_are_milliseconds_since_1970(values, expected):
    found = scan_column(values)
    assert (found.moments.mean, found.n_missing) == (expected, 1)


@pytest.mark.parametrize(
    "values",
    [
        pd.array(["b", "a", None], "string"),
        pd.array(["b", "a", None], "string[pyarrow]"),
        pd.array(["b", "a", None], pd.ArrowDtype(pa.large_string())),
        pd.Series(["b", "a", None], dtype=object),
        pd.array(["b", "a", None], pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    ],
    ids=lambda values: str(values.dtype),
)
def test_texts_of_every_dtype(values):
    assert scan_column(values) == CategoricalStats(1, {"b": 1, "a": 1}, from_numbers=False)


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


def test_many_columns_are_taken_in_chunks():
    values = np.random.default_rng(0).normal(size=(5, 150))
    found = scan(source_of(pd.DataFrame(values).rename(columns=str)), ScanRequest("numbers")).columns
    assert [column.moments.mean for column in found.values()] == pytest.approx(values.mean(axis=0).tolist())


def test_a_kind_that_changes_is_an_error():
    with pytest.raises(
        SchemaError, match="column 'x' of the table: partition 1 holds a category, partition 0 a number"
    ):
        scan_column([1.0], ["a"])


def test_infinite_and_enormous_values_are_errors():
    with pytest.raises(SchemaError, match="column 'x' of the table: 2 infinite values in partition 1"):
        scan_column([1.0], [np.inf, 0, -np.inf])
    with pytest.raises(SchemaError, match=r"column 'x'.*values up to 1.79769e\+308 in partition 0 are too large"):
        scan_column([1.0, np.finfo(np.float64).max])


# ---- target, weights, offset --------------------------------------------------------------------------------------------


def roles_table(**columns):
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [1.0, 2, 3, 4], "w": 1.0, "o": 0.0}).assign(**columns)
    return source_of(frame.iloc[:2], frame.iloc[2:], **{TARGET: "y", WEIGHT: "w", OFFSET: "o"})


def test_rows_without_target_or_weight_are_not_used():
    found = scan(roles_table(y=[1.0, np.nan, 3, 5], w=[2.0, 3, 0, 4]), ScanRequest("numbers"))
    assert (found.n_rows, found.n_used, found.row_stats.weight, found.mean_weight) == (4, 2, 6, 3)
    assert (found.target.n, found.target.mean) == (2, (2 * 1 + 4 * 5) / 6)
    assert (found.columns["x"].moments.weight, found.columns["x"].maximum) == (6, 4)


@pytest.mark.parametrize(
    "labels, classes",
    [
        (["b", "a", "b", None], {"b": 2, "a": 1}),
        ([1, 0, 1, 1], {1: 3, 0: 1}),
        ([1, np.nan, 0, 1], {1: 2, 0: 1}),
        ([True, False, True, True], {True: 3, False: 1}),
        (pd.Categorical(["b", "a", "b", "b"], categories=["b", "never", "a"]), {"b": 3, "a": 1}),
        (pd.array([1, None, 1, 2], "Int8"), {1: 2, 2: 1}),
    ],
)
def test_classes_are_counted_as_python_values(labels, classes):
    found = scan(roles_table(y=labels), ScanRequest("labels"))
    assert dict(found.classes) == classes
    assert {type(label) for label in found.classes} <= {str, int, float, bool}


def test_classes_of_weight_zero_do_not_exist():
    found = scan(roles_table(y=["a", "b", "c", "a"], w=[1.0, 1, 0, 1]), ScanRequest("labels"))
    assert dict(found.classes) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"w": [1, 2, np.nan, 1]}, "weight 'w' of the table: 1 of 2 values in partition 1 are missing or infinite"),
        ({"w": [1, np.inf, 1, 1]}, "weight 'w' of the table: 1 of 2 values in partition 0 are missing or infinite"),
        ({"w": [1, 1, 1, -0.5]}, "weight 'w' of the table: partition 1 holds negative weights, the least -0.5"),
        ({"w": list("abcd")}, "weight 'w' of the table is not numeric"),
        ({"o": [0, 0, 0, np.nan]}, "offset 'o' of the table: 1 of 2 values in partition 1 are missing"),
        ({"y": [1, 2, 3, np.inf]}, "target 'y' of the table: partition 1 holds infinite"),
        ({"y": list("abcd")}, "target 'y' of the table holds str, not numbers: use DeepLearningClassifier"),
    ],
)
def test_faults_of_the_roles_name_column_and_partition(columns, message):
    with pytest.raises(SchemaError, match=message):
        scan(roles_table(**columns), ScanRequest("numbers"))


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


# ---- inputs, and the rows that lack some --------------------------------------------------------------------------------


@st.composite
def tables_with_gaps(draw):
    """Columns of few values with gaps, some of them constant or empty, weights, and a cut into partitions."""
    n = draw(st.integers(1, 25))
    value = st.sampled_from([None, 1.0, 2.0, 4.0])
    frame = {name: draw(st.lists(value, min_size=n, max_size=n)) for name in ("a", "b")}
    frame["flat"] = draw(st.lists(st.sampled_from([None, 7.0]), min_size=n, max_size=n))
    frame["word"] = draw(st.lists(st.sampled_from([None, "x", "y"]), min_size=n, max_size=n))
    frame["y"] = draw(st.lists(st.sampled_from([None, 0.0, 1.0, 3.0]), min_size=n, max_size=n))
    frame["w"] = draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=n, max_size=n))
    table = pd.DataFrame(frame).astype(dict.fromkeys(["a", "b", "flat", "y", "w"], float) | {"word": "string"})
    return table, sorted(draw(st.lists(st.integers(0, n), max_size=3)))


def chan(left, right):
    """Moments of two sets of numbers by Chan's formula, number by number."""
    if not left.n or not right.n:
        return left if left.n else right
    weight, shift = left.weight + right.weight, right.mean - left.mean
    mean = left.mean + shift * right.weight / weight
    m2 = left.m2 + right.m2 + shift * shift * left.weight * right.weight / weight
    return Moments(left.n + right.n, weight, mean, m2)


@exact
@given(tables_with_gaps(), st.booleans())
def test_any_cut_gives_the_figures_of_each_column(case, weighted):
    table, edges = case
    parts = cut(table if weighted else table.drop(columns="w"), edges)
    found = scan(source_of(*parts, target="y", **({"weight": "w"} if weighted else {})), ScanRequest("numbers")).columns
    counting = [part[part["y"].notna() & (part["w"] > 0 if weighted else True)] for part in parts]
    rows = pd.concat(counting)
    for k, name in enumerate(found):
        values = rows[name].dropna()
        assert found[name].n_missing == len(rows) - len(values)
        assert found.has_values[k] == (len(values) > 0)
        assert found.is_constant[k] == (values.nunique() < 2)
        if not len(values):
            assert found[name] == EmptyStats(len(rows))
        elif name == "word":
            assert dict(found[name].counts) == values.value_counts().to_dict()
        else:
            assert (found[name].minimum, found[name].maximum) == (values.min(), values.max())
            weights = [part["w"].to_numpy() if weighted else None for part in counting]
            tree = [Moments.of(p[[name]].to_numpy().T, w).column(0) for p, w in zip(counting, weights, strict=True)]
            while len(tree) > 1:
                tree = [functools.reduce(chan, tree[i : i + 2]) for i in range(0, len(tree), 2)]
            assert found[name].moments == tree[0]  # to the last bit


@exact
@given(tables_with_gaps(), st.booleans(), st.booleans())
def test_inputs_are_of_use_in_the_rows_that_train_and_these_lack_none(case, weighted, ignores):
    # Which columns are inputs is known only at the end of the pass, and hangs on the rows that are skipped.
    table, edges = case
    roles = {"target": "y"} | ({"weight": "w"} if weighted else {})
    table = table if weighted else table.drop(columns="w")

    def settled(table, edges):
        source = source_of(*cut(table, edges), **roles)
        return settle(
            lambda request: scan(source, request), ScanRequest("numbers", skips=True), ignore_const_cols=ignores
        )

    found, predictors, dropped, required = settled(table, edges)
    weights = table["w"] if weighted else pd.Series(1.0, index=table.index)
    trains = table["y"].notna() & (weights > 0) & table[list(required)].notna().all(axis=1)
    assert required >= set(predictors) and set(predictors).isdisjoint(dropped)
    assert (found.n_used, found.row_stats.weight) == (trains.sum(), weights[trains].sum())
    assert found.row_stats.min_target == (table["y"][trains].min() if trains.any() else None)
    if not trains.any():
        return
    useful = {name for name in (*predictors, *dropped) if table[name][trains].nunique() > ignores}
    assert set(predictors) == useful
    assert found.target.mean == pytest.approx(np.average(table["y"][trains], weights=weights[trains]))
    for name in {"a", "b"}.intersection(predictors):
        values = table[name][trains]
        assert found.columns[name].moments.n == found.n_used
        assert found.columns[name].moments.mean == pytest.approx(np.average(values, weights=weights[trains]))

    alone = settled(table[trains], [int(trains.iloc[:edge].sum()) for edge in edges])
    assert alone.found.columns == found.columns and alone.found.row_stats == found.row_stats
    assert alone.predictors == predictors


def of_gaps(**columns):
    """What is settled of a table in one partition, and how often it is scanned."""
    table = pd.DataFrame(columns).astype(float)
    inquiries = []

    def scanned(request):
        inquiries.append(request)
        return scan(source_of(table, target="y"), request)

    return settle(scanned, ScanRequest("numbers", skips=True), ignore_const_cols=True), len(inquiries)


def test_skipping_scans_once_more_only_where_useless_columns_have_gaps():
    nan = np.nan
    once, n = of_gaps(a=[1, 2, nan, 4], flat=[5, 5, 5, 5], y=[1, 2, 3, 4])
    assert (once.predictors, once.found.n_used, n) == (["a"], 3, 1)
    gone, n = of_gaps(a=[1, 2, nan, 4], gone=[nan] * 4, y=[1, 2, 3, 4])
    assert (gone.predictors, gone.found.n_used, n) == (["a"], 3, 2)
    # Without the first row, which lacks b, nothing is left to learn from a, whose gap then costs no row.
    late, n = of_gaps(a=[9, 1, 1, nan], b=[nan, 1, 2, 3], y=[1, 2, 3, 4])
    assert (late.predictors, late.dropped, late.found.n_used, n) == (["b"], ["a"], 3, 2)


def test_columns_that_exclude_each_other_in_a_circle_end_with_the_fewer_rows():
    # c varies only in a row that lacks d, d in one that lacks e, e in one that lacks c; x keeps something to learn from.
    nan = np.nan
    found, n = of_gaps(
        x=[1, 2, 3, 4, 5],
        c=[1, 1, 2, 1, nan],
        d=[1, 1, nan, 2, 1],
        e=[1, 1, 1, nan, 2],
        y=[1, 2, 3, 4, 5],
    )
    assert (found.predictors, found.dropped, found.found.n_used, n) == (["x"], ["c", "d", "e"], 2, 2)


def test_levels_are_limited(monkeypatch):
    monkeypatch.setattr("dask_dl.frame.column_stats.MAX_LEVELS", 5)
    parts = [pd.DataFrame({"id": [f"{k}{n}" for n in range(3)], "y": [0.0, 1, 2]}) for k in range(2)]
    with pytest.raises(SchemaError, match=r"column 'id' of the table has more than 5 levels"):
        scan(source_of(*parts, target="y"), ScanRequest("numbers"))
