"""What a dtype means: every type that pandas and pyarrow know is numbers, levels or an error with a remedy."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import CATEGORY, FEW_ROWS, NUMBER, UNKNOWN, as_levels, as_numbers, is_blurred, kind_of

HOUR = 3_600_000
BERLIN = dt.timezone(dt.timedelta(hours=1))


def objects(*values):
    return pd.Series(values, dtype=object)


def arrow(values, kind):
    return pd.Series(pd.array(values, dtype=pd.ArrowDtype(kind)))


def encoded(values, kind):
    """A column as Parquet's dictionaries arrive."""
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, kind).dictionary_encode()])))


# ---- levels -------------------------------------------------------------------------------------------------------------

LEVELS = {
    "str": (pd.Series(["b", None, "a"]), ["b", None, "a"]),
    "string[python]": (pd.Series(["b", pd.NA, "a"], dtype="string[python]"), ["b", None, "a"]),
    "string[pyarrow]": (pd.Series(["b", pd.NA, "a"], dtype="string[pyarrow]"), ["b", None, "a"]),
    "arrow string": (arrow(["b", None, "a"], pa.string()), ["b", None, "a"]),
    "arrow large_string": (arrow(["b", None, "a"], pa.large_string()), ["b", None, "a"]),
    "arrow dictionary": (encoded(["b", None, "a"], pa.string()), ["b", None, "a"]),
    "arrow dictionary of numbers": (encoded([7, None, 5], pa.int64()), ["7", None, "5"]),
    "arrow dictionary that repeats": (
        pd.Series(
            pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.DictionaryArray.from_arrays([0, 1], ["a", "a"])]))
        ),
        ["a", "a"],
    ),
    "objects": (objects("b", None, "a"), ["b", None, "a"]),
    "objects with every kind of missing": (
        objects("b", None, np.nan, pd.NA, pd.NaT, "a"),
        ["b", None, None, None, None, "a"],
    ),
    "numpy's texts": (objects(np.str_("b"), "a"), ["b", "a"]),
    "an empty text": (pd.Series(["b", "", None]), ["b", "", None]),
    "texts that look missing": (pd.Series(["NA", "nan", "None", ""]), ["NA", "nan", "None", ""]),
    "texts of every kind": (
        pd.Series(["a\nb", '"', "'", "\U0001f600", "a,b"]),
        ["a\nb", '"', "'", "\U0001f600", "a,b"],
    ),
    "categories": (pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
    "ordered categories": (pd.Series(pd.Categorical(["b"], ["c", "b"], ordered=True)), ["b"]),
    "categories of whole numbers": (pd.Series([1, None, 3], dtype="category"), ["1", None, "3"]),
    "categories of numbers": (pd.Series([1.5, None, 3], dtype="category"), ["1.5", None, "3"]),
    "categories of decimals": (pd.Series(pd.Categorical([Decimal("1.5"), Decimal(1)])), ["1.5", "1"]),
    "categories of booleans": (pd.Series([True, None, False], dtype="category"), ["True", None, "False"]),
    "categories of days": (pd.Series(pd.Categorical([dt.date(2020, 1, 2)])), ["2020-01-02"]),
    "intervals of cut": (pd.Series(pd.cut([1, 3], [0, 2, 4])), ["(0, 2]", "(2, 4]"]),
}


@pytest.mark.parametrize("name", LEVELS)
def test_what_is_a_category(name):
    column, expected = LEVELS[name]
    codes, texts, _ = as_levels(column, "the column")
    assert kind_of(column, "the column") == CATEGORY
    assert [None if code < 0 else texts[code] for code in codes] == expected
    assert {type(text) for text in texts} == {str}


# ---- numbers ------------------------------------------------------------------------------------------------------------

NAN = np.nan
NUMBERS = {
    **{np.dtype(kind).name: (pd.Series(np.array([1, 2], kind)), [1, 2]) for kind in "bBhHiIlLefdg"},
    **{kind: (pd.Series([1, None], dtype=kind), [1, NAN]) for kind in ("Int8", "UInt64", "Float32", "boolean")},
    "bool": (pd.Series([True, False]), [1, 0]),
    "arrow int": (arrow([1, None], pa.int8()), [1, NAN]),
    "arrow half": (arrow(np.array([1.5, 2], np.float16), pa.float16()), [1.5, 2]),
    "arrow bool": (arrow([True, None], pa.bool_()), [1, NAN]),
    "arrow decimal128": (arrow([Decimal("1.5"), None], pa.decimal128(5, 2)), [1.5, NAN]),
    "arrow decimal256": (arrow([Decimal("1.5"), None], pa.decimal256(50, 2)), [1.5, NAN]),
    "objects: booleans": (objects(True, None, pd.NA, NAN, False), [1, NAN, NAN, NAN, 0]),
    "objects: integers": (objects(1, None, 2), [1, NAN, 2]),
    "objects: numbers": (objects(1, NAN, 2.5), [1, NAN, 2.5]),
    "objects: decimals": (objects(Decimal("1.5"), None, Decimal("NaN")), [1.5, NAN, NAN]),
    "objects: decimals beside numbers": (objects(Decimal("1.5"), 2, 0.5, np.int8(3)), [1.5, 2, 0.5, 3]),
    "objects: large integers": (objects(10**30, None), [1e30, NAN]),
    "objects: integers without end": (objects(10**400, 1), [np.inf, 1]),
    "long doubles without end": (pd.Series([np.longdouble("1e4000")]), [np.inf]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.0, 1.5, NAN])), [0, 1.5, NAN]),
    "sparse integers": (pd.Series(pd.arrays.SparseArray([0, 3])), [0, 3]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_a_number(name):
    column, expected = NUMBERS[name]
    assert kind_of(column, "the column") == NUMBER
    np.testing.assert_array_equal(as_numbers(column), expected, strict=False)
    assert as_numbers(column).dtype == np.float64


# ---- dates, durations, times of day --------------------------------------------------------------------------------------

MOMENT = 1_577_836_800_000  # 2020-01-01 in Greenwich, milliseconds since 1970
NAIVE = dt.datetime(2020, 1, 1)  # noqa: DTZ001  # what has no zone is what is tested
ZONED = dt.datetime(2020, 1, 1, 1, tzinfo=BERLIN)
STAMPS = pd.Series(pd.to_datetime(["2020-01-01", None]))
THE_MOMENT = {
    **{unit: STAMPS.astype(f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns")},
    **{f"{unit} in UTC": STAMPS.dt.tz_localize("UTC").astype(f"datetime64[{unit}, UTC]") for unit in ("s", "ns")},
    "in Berlin": (STAMPS + pd.Timedelta("1h")).dt.tz_localize("Europe/Berlin"),
    "arrow": arrow([NAIVE, None], pa.timestamp("us")),
    "arrow in Berlin": arrow([ZONED, None], pa.timestamp("ns", "Europe/Berlin")),
    "arrow date32": arrow([NAIVE.date(), None], pa.date32()),
    "arrow date64": arrow([NAIVE.date(), None], pa.date64()),
    "objects": objects(NAIVE, None),
    "objects in a zone": objects(ZONED, pd.NaT),
    "days": objects(NAIVE.date(), None),
    "Timestamps": objects(pd.Timestamp(NAIVE), NAN),
    "numpy's": objects(np.datetime64(NAIVE), None),
}


@pytest.mark.parametrize("name", THE_MOMENT)
def test_a_moment_is_one_number_in_every_spelling(name):
    column = THE_MOMENT[name]
    assert kind_of(column, "the column") == NUMBER
    np.testing.assert_array_equal(as_numbers(column), [MOMENT, NAN])


def test_moments_with_and_without_zone_in_one_column():
    np.testing.assert_array_equal(as_numbers(objects(NAIVE, ZONED, NAIVE.date())), [MOMENT] * 3)


def test_years_that_nanoseconds_do_not_reach():
    np.testing.assert_array_equal(
        as_numbers(objects(dt.date(3000, 1, 1), dt.date(1, 1, 1))), [32503680000000, -62135596800000]
    )


DURATIONS = {
    "ns": pd.Series(pd.to_timedelta(["1.5us", None])).astype("timedelta64[ns]"),
    "objects": objects(pd.Timedelta("1.5us"), None),
    "arrow": arrow([pd.Timedelta("1.5us"), None], pa.duration("ns")),
}


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_milliseconds(name):
    column = DURATIONS[name]
    assert kind_of(column, "the column") == NUMBER
    np.testing.assert_allclose(as_numbers(column), [0.0015, NAN], rtol=1e-15)


def test_long_durations_in_seconds():
    np.testing.assert_array_equal(as_numbers(arrow([dt.timedelta(days=10**6)], pa.duration("s"))), [10**6 * 24 * HOUR])


@pytest.mark.parametrize("make", [objects, lambda *v: arrow(v, pa.time64("us"))], ids=["objects", "arrow"])
def test_times_of_day_are_milliseconds_since_midnight(make):
    column = make(dt.time(1, 0, 0, 500), None, dt.time(0))
    assert kind_of(column, "the column") == NUMBER
    np.testing.assert_array_equal(as_numbers(column), [HOUR + 0.5, NAN, 0])


# ---- whole numbers beyond float32 ---------------------------------------------------------------------------------------

IDS = np.arange(1000)
BLURRED = {
    "a prefix": pd.Series(np.concatenate([10**12 + IDS, 3 * 10**12 + IDS])),
    "a sentinel": pd.Series(np.append(IDS, 999_999_999_999)),
    "moments in digits": pd.Series(
        [2020_01_01_00_00_00 + 10**10 * year + second for year in range(4) for second in range(60)]
    ),
    "from CSV": pd.Series(np.append(np.nan, np.append(IDS, 1e12))),
    "nullable": pd.Series(np.append(IDS, 10**12), dtype="Int64"),
    "arrow": pd.Series(np.append(IDS, 10**12), dtype="int64[pyarrow]"),
    "beyond float64": pd.Series(2**60 + np.append(IDS, 2**40)),
    "unsigned": pd.Series([*IDS.tolist(), 2**64 - 1], dtype=np.uint64),
}
SHARP = {
    "small": pd.Series(IDS),
    "far from zero": pd.Series(10**12 + IDS),  # they are counted from their mean
    "up to 2**24": pd.Series(np.arange(0, 2**24, 1000)),
    "a population": pd.Series(np.random.default_rng(0).lognormal(10, 3, 1000).astype(int)),
    "hashes": pd.Series(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1000)),
    "fractions": pd.Series(np.append(IDS / 2, 1e12)),
    "floats": pd.Series(np.append(IDS, 1e300)),
    "dates": pd.Series(pd.date_range("2000", periods=9000, freq="D")),
    "booleans": pd.Series([True, False]),
    "missing": pd.Series([np.nan, np.nan]),
    "nothing": pd.Series([], dtype=np.int64),
}


@pytest.mark.parametrize("name", BLURRED)
def test_whole_numbers_that_become_one_are_seen(name):
    assert is_blurred(BLURRED[name], as_numbers(BLURRED[name]))


@pytest.mark.parametrize("name", SHARP)
def test_columns_that_lose_nothing_are_left_in_peace(name):
    assert not is_blurred(SHARP[name], as_numbers(SHARP[name]))


# ---- nothing, and what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [objects(None, None), objects(NAN, pd.NA, pd.NaT), arrow([None], pa.null()), objects()],
    ids=["None", "all kinds", "nulls", "no rows"],
)
def test_nothing_but_missing_values_may_be_anything(column):
    assert kind_of(column, "the column") == UNKNOWN


REFUSED = {
    "booleans and texts": (objects(True, "a"), ["for example True of type bool, beside str", "to numbers or to texts"]),
    "texts and numbers": (objects("a", None, 7), ["for example 7 of type int, beside str"]),
    "booleans and numbers": (objects(True, 2), ["(mixed-integer)", "for example True of type bool, beside int"]),
    "lists": (objects(None, [1], [2]), ["for example [1] of type list"]),
    "long lists": (objects(list(range(10**4))), ["for example [0, 1, 2,", "... of type list"]),
    "dicts": (objects({"a": 1}), ["for example {'a': 1} of type dict"]),
    "tuples": (objects((1, 2)), ["for example (1, 2) of type tuple"]),
    "bytes": (objects(b"a"), ["for example b'a' of type bytes"]),
    "complex objects": (objects(1j), ["for example 1j of type complex"]),
    "complex": (pd.Series([1j]), ["complex128", "two columns of numbers"]),
    "periods": (pd.Series(pd.period_range("2020", periods=2, freq="M")), ["period[M]", ".dt.to_timestamp()"]),
    "periods as objects": (objects(pd.Period("2020")), ["of type Period", ".dt.to_timestamp()"]),
    "intervals": (pd.Series(pd.interval_range(0, 2)), ["interval[int64, right]", "to a category or to texts"]),
    "intervals as objects": (objects(pd.Interval(0, 1)), ["of type Interval", "to a category or to texts"]),
    "arrow lists": (arrow([[1]], pa.list_(pa.int8())), ["for example [1] of type list"]),
    "arrow structs": (arrow([{"a": 1}], pa.struct([("a", pa.int8())])), ["of type dict"]),
    "arrow binary": (arrow([b"a"], pa.binary()), ["for example b'a' of type bytes"]),
    "arrow string_view": (arrow(["a"], pa.string_view()), ["string_view", "Convert it, texts to str"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_an_example(name):
    column, parts = REFUSED[name]
    with pytest.raises(SchemaError) as caught:
        kind_of(column, "column 'x' of the table")
    text = str(caught.value)
    assert text.count("column 'x' of the table") == 1 and len(text) < 300
    for part in parts:
        assert part in text


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"a", dt.timedelta(1)])
def test_what_cannot_be_a_level_is_refused(value):
    with pytest.raises(SchemaError, match=r"column 'x' .*to texts"):
        as_levels(objects(value), "column 'x'")


VALUES = ["b", "a", "", "b", None]
DAYS = pd.to_datetime(["2024-03-01", "2023-01-01", None, "2024-03-01"])
COLUMNS = {
    "str": pd.Series(VALUES),
    "objects": pd.Series([*VALUES, np.nan], dtype=object),
    "numbers as objects": pd.Series([1, 1.0, 2, Decimal(2), None], dtype=object),
    "string": pd.Series(VALUES, dtype="string"),
    "Arrow's string": pd.Series(VALUES, dtype="large_string[pyarrow]"),
    "category": pd.Categorical([*VALUES, "c"], categories=["c", "unused", "b", "a", ""]),
    "category of numbers": pd.Categorical([3, 1, None, 3], categories=[1, 2, 3]),
    "category of floats": pd.Categorical([1.0, 2.5, np.nan]),
    "category of days": pd.Categorical(DAYS),
    "category of intervals": pd.cut(pd.Series([0.5, 1.5, np.nan]), [0, 1, 2]),
    "days": pd.Series(DAYS),
    "days with a zone": pd.Series(DAYS).dt.tz_localize("UTC"),
    "dates": pd.Series([dt.date(2024, 3, 1), None, dt.date(2023, 1, 1)], dtype=object),
    "integers": pd.Series([3, 1, 3]),
    "floats": pd.Series([3.0, 0.5, np.nan]),
    "booleans": pd.Series([True, False]),
    "nullable integers": pd.Series([3, None, 3], dtype="Int64"),
    "nullable booleans": pd.Series([True, None], dtype="boolean"),
    "Arrow's integers": pd.Series([3, None, 3], dtype="int64[pyarrow]"),
    "nothing": pd.Series([None, None], dtype=object),
}


def texts_of(column):
    codes, texts, from_numbers = as_levels(column, "c")
    assert codes.dtype == np.intp
    assert len(set(texts)) == len(texts)
    return [None if code < 0 else texts[code] for code in codes], set(texts), from_numbers


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_levels_of_few_rows_are_those_of_many(column):
    column = pd.Series(column)
    times = FEW_ROWS + 1
    many = pd.concat([column] * times, ignore_index=True)
    of_many, distinct, from_numbers = texts_of(many)
    assert texts_of(column) == (of_many[: len(column)], distinct, from_numbers)
    alone = [text for k in range(len(column)) for text in texts_of(column.iloc[[k]])[0]]
    assert alone * times == of_many
    assert texts_of(column.iloc[:0])[:2] == ([], set())
