"""The encoder: H2O's inputs in H2O's order, one rule for training and scoring, columns matched by name."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dask_dl import DeepLearningClassifier
from dask_dl.checkpoint.codec import decode
from dask_dl.documents.encoder import EncoderDocument
from dask_dl.errors import DaskDLWarning, SchemaError
from dask_dl.frame.dense import DensePart
from dask_dl.frame.encoder import Encoder, Encoding, Number
from dask_dl.frame.inputs import dropped_warning, usable_predictors
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import Schema, Source
from dask_dl.state import padded
from dask_dl.tasks import HEADS


def scan_of(frame, request=ScanRequest("numbers"), **roles):  # noqa: B008  # a constant
    predictors = tuple(name for name in frame.columns if name not in roles.values())
    return scan(Source(Schema(predictors, roles, "the table"), 1, lambda _: frame), request)


def fit(frame, *, use_all_factor_levels=True, standardize=True, scheme="one_hot_internal", task="regression", **roles):
    encoding = Encoding(scheme, use_all_factor_levels, standardize)
    request = encoding.request(HEADS[task].target_kind, skips=False, is_weighted="weight" in roles)
    found = scan_of(frame, request, **roles)
    return Encoder.fit(found, tuple(found.columns), encoding)


def inputs(encoder, frame):
    """The network's inputs of every row as one matrix, one-hot inputs written out."""
    dense, active, _ = encoder.encode(frame, "the table")
    assert (dense.dtype, active.dtype) == (np.float32, np.int32)
    assert dense.shape == (len(frame), padded(encoder.n_dense))
    assert not dense[:, encoder.n_dense :].any()
    onehot = np.zeros((len(frame), encoder.n_onehot), np.float32)
    for row, places in enumerate(active):
        onehot[row, places[places >= 0]] = 1
    return np.hstack([onehot, dense[:, : encoder.n_dense]])


def column(values, **kwargs):
    return pd.DataFrame({"x": pd.Series(values, **kwargs)})


# ---- one-hot ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "all_levels, expected",
    [
        (True, {"l0": "1000", "l1": "0100", "l2": "0010", None: "0001", "unseen": "0001"}),
        (False, {"l0": "000", "l1": "100", "l2": "010", None: "001", "unseen": "001"}),
    ],
)
@pytest.mark.parametrize("training", [["l2", "l0", "l1"], ["l1", None, "l0", "l2"]])
def test_levels_have_an_input_each_and_the_missing_one_the_last(all_levels, expected, training):
    encoder = fit(column(training), use_all_factor_levels=all_levels)
    for value, bits in expected.items():
        (row,) = inputs(encoder, column([value], dtype="str"))
        assert "".join(str(int(bit)) for bit in row) == bits
    kept = ["x.l0", "x.l1", "x.l2"] if all_levels else ["x.l1", "x.l2"]
    assert encoder.input_names == [*kept, "x.missing(NA)"]


def test_training_and_scoring_use_the_same_missing_level():
    frame = column(["a", None, "b"])
    encoder = fit(frame, use_all_factor_levels=False)
    np.testing.assert_array_equal(inputs(encoder, frame), [[0, 0], [0, 1], [1, 0]])


def test_blocks_stand_side_by_side():
    frame = pd.DataFrame({"n": [1.0, 3.0], "p": ["u", "v"], "q": ["k", "l"]})
    encoder = fit(frame)
    assert encoder.starts.tolist() == [0, 3, 6]
    assert encoder.n_onehot == 6
    assert encoder.input_names == ["p.u", "p.v", "p.missing(NA)", "q.k", "q.l", "q.missing(NA)", "n"]
    np.testing.assert_allclose(inputs(encoder, frame)[1], [0, 1, 0, 0, 1, 0, 2**-0.5])
    assert encoder.bytes_per_row(0) == 4 * (16 + 2)


def exchange_sorted(counts):
    """Positions by decreasing count, as H2O's double loop leaves them (algorithm.md#order-of-inputs)."""
    order = list(range(len(counts)))
    for i in range(len(order)):
        for j in range(i + 1, len(order)):
            if counts[order[i]] < counts[order[j]]:
                order[i], order[j] = order[j], order[i]
    return order


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=7))
@example([2, 2, 3])  # a stable sort would leave the first two in their order
@example([1, 1, 2, 2, 3, 3])
def test_columns_are_ordered_as_by_the_unstable_sort(counts):
    frame = pd.DataFrame({f"c{k}": [f"level {row % n}" for row in range(4)] for k, n in enumerate(counts)})
    frame.insert(0, "late", 1.5)
    frame["number"] = 1.0
    encoder = fit(frame)
    assert encoder.columns == (*(f"c{k}" for k in exchange_sorted(counts)), "late", "number")


def test_the_unstable_sort_permutes_ties():
    assert exchange_sorted([2, 2, 3]) == [2, 1, 0]
    assert exchange_sorted([1, 1, 2, 2, 3, 3]) == [4, 5, 2, 3, 0, 1]  # a stable sort, by luck


def test_a_number_and_its_text_are_one_level():
    encoder = fit(column([3, 1, 2], dtype="category"))
    assert encoder.categories[0].levels == ("1", "2", "3")
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    for values in (
        column(["2", "3", "4"]),
        column([2, 3, 4]),
        column([2.0, 3.0, np.nan]),
        column([2, 3, 4], dtype="category"),
        column([2, 3, None], dtype="Int8"),
        column([2, 3, None], dtype="int64[pyarrow]"),
        column(["2", "3", None], dtype="string[pyarrow]"),
        column([2, 3, 7], dtype=object),
    ):
        np.testing.assert_array_equal(inputs(encoder, values), expected)


def test_categories_are_matched_by_text_whatever_their_codes():
    encoder = fit(column(pd.Categorical(["a", "b", "c"], categories=["c", "b", "a"])))
    other = column(pd.Categorical(["c", "new", None], categories=["new", "c"]))
    np.testing.assert_array_equal(inputs(encoder, other), [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]])


def test_true_and_false_can_be_levels():
    encoder = fit(column([True, False], dtype="category"))
    np.testing.assert_array_equal(inputs(encoder, column(["False", "True"])), [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(inputs(encoder, column([False, True])), [[1, 0, 0], [0, 1, 0]])


# ---- numbers ------------------------------------------------------------------------------------------------------------


def test_numbers_are_standardised():
    values = [1.0, 2.0, 6.0, np.nan]
    encoder = fit(column(values))
    assert (encoder.numbers[0].shift, encoder.numbers[0].factor) == (3.0, pytest.approx(7**-0.5))
    np.testing.assert_allclose(inputs(encoder, column(values))[:, 0], np.array([-2, -1, 3, 0]) / 7**0.5, rtol=1e-6)


def test_standardisation_and_imputation_count_rows_by_their_weight():
    frame = pd.DataFrame({"x": [1.0, 2.0, 6.0, 100.0], "w": [1.0, 2.0, 1.0, 0.0]})
    mean, deviation = 2.75, np.sqrt(14.75 / 4 * 1.5)
    encoder = fit(frame, weight="w")
    assert encoder.numbers[0].fill == encoder.numbers[0].shift == mean
    assert encoder.numbers[0].factor == pytest.approx(1 / deviation)
    assert fit(frame, weight="w", standardize=False).numbers[0].fill == mean


@pytest.mark.parametrize("standardize", [True, False])
def test_a_missing_number_is_the_mean_of_training_in_training_and_scoring(standardize):
    frame = pd.DataFrame({"x": [1.0, np.nan, 6.0], "w": [3.0, 9.0, 2.0]})
    encoder = fit(frame, weight="w", standardize=standardize)
    assert encoder.numbers[0].fill == 3.0
    in_training = inputs(encoder, frame[["x"]])[1]
    in_scoring = inputs(encoder, column([None], dtype=object))[0]
    the_mean = inputs(encoder, column([3.0]))[0]
    assert in_training == in_scoring == the_mean == (0 if standardize else 3)


def test_without_standardisation_numbers_stay_as_they_are():
    encoder = fit(column([5.0, 1e9, -3.0]), standardize=False)
    assert inputs(encoder, column([5.0, 1e9, -3.0]))[:, 0].tolist() == [5.0, 1e9, -3.0]


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1])
def test_a_constant_is_divided_by_one(value):
    encoder = fit(column(np.full(1000, value)))
    assert encoder.numbers[0].factor == 1
    np.testing.assert_allclose(inputs(encoder, column([value, value + 2]))[:, 0], [0, 2])


@pytest.mark.parametrize(
    "values, numbers",
    [
        (pd.array([True, False, None], "boolean"), [1, 0, None]),
        (np.array([True, False, True]), [1, 0, 1]),
        (pd.Series([True, False, None], dtype=object), [1, 0, None]),
        (pd.array([5, -6, None], "Int16"), [5, -6, None]),
        (pd.array([5, 6, None], "UInt8"), [5, 6, None]),
        (pd.array([0.5, -6, None], "Float32"), [0.5, -6, None]),
        (pd.array([5, -6, None], "int32[pyarrow]"), [5, -6, None]),
        (pd.array([0.5, -6, None], "double[pyarrow]"), [0.5, -6, None]),
        (pd.array([True, False, None], "bool[pyarrow]"), [1, 0, None]),
        (np.array([0.5, -6, np.nan], np.float16), [0.5, -6, None]),
        (np.array([0.5, -6, np.nan], np.float32), [0.5, -6, None]),
        (np.array([5, 6, 7], np.uint8), [5, 6, 7]),
        (pd.Series([None, None, 3], dtype=object), [None, None, 3]),
        (pd.to_datetime(["1970-01-02", "1969-12-31", None]), [86_400_000, -86_400_000, None]),
        (pd.to_datetime(["1970-01-02", "1969-12-31", None]).tz_localize("UTC"), [86_400_000, -86_400_000, None]),
        (pd.to_datetime(["1970-01-02", None, None]).tz_localize("Asia/Tokyo"), [54_000_000, None, None]),
        (np.array(["1970-01-02", "NaT", "NaT"], "M8[D]").astype("M8[ns]"), [86_400_000, None, None]),
        (
            pd.Series([dt.date(1970, 1, 2), None, None], dtype=pd.ArrowDtype(pa.date32())),
            [86_400_000, None, None],
        ),
        (pd.array(["1970-01-02", None, None], pd.ArrowDtype(pa.timestamp("us"))), [86_400_000, None, None]),
        (pd.Series([dt.date(1970, 1, 2), None, None], dtype=object), [86_400_000, None, None]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_every_dtype_of_numbers_and_dates_is_scored(values, numbers):
    encoder = fit(column([100.0, 200.0]), standardize=False)
    expected = [150.0 if number is None else number for number in numbers]
    assert inputs(encoder, column(values))[:, 0].tolist() == expected
    # Beside a plain column, pandas would mix their types.
    both = fit(pd.DataFrame({"x": [100.0, 200.0], "z": [0, 1]}), standardize=False)
    assert inputs(both, column(values).assign(z=1))[:, 0].tolist() == expected


def test_more_numbers_than_a_chunk_keep_their_places():
    values = np.random.default_rng(0).normal(3, 2, size=(40, 150))
    frame = pd.DataFrame(values, columns=[f"x{k}" for k in range(150)])
    frame["x70"] = frame["x70"].astype("Float64")
    expected = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    np.testing.assert_allclose(inputs(fit(frame), frame), expected, rtol=1e-5, atol=1e-6)


FORMS = {
    "one block": pd.DataFrame,
    "a block each": lambda X: pd.DataFrame({k: X[:, k].copy() for k in range(X.shape[1])}, copy=False),
    "row by row": lambda X: DensePart.of(np.ascontiguousarray(X), range(X.shape[1])),
    "column by column": lambda X: DensePart.of(np.asfortranarray(X), range(X.shape[1])),
    "others between": lambda X: pd.DataFrame(X).assign(text="x")[[0, "text", *range(1, X.shape[1])]],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["int64", "uint64", "bool", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("some", [None, np.array([0, 3, 4, 21])])
def test_rows_are_scaled_in_blocks(form, dtype, sparse, some, monkeypatch):
    X = np.random.default_rng(0).integers(0, 2**60, (23, 5)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        X[::4, 2] = np.nan
    numbers = tuple(Number(k, 5.5 + k, 0.0 if sparse else 2.0**58 * k, 3.0**-k) for k in (0, 2, 3))
    doubles = X[:, [0, 2, 3]].astype(np.float64)
    fill, shift, factor = np.array([(n.fill, n.shift, n.factor) for n in numbers]).T
    expected = ((np.where(np.isnan(doubles), fill, doubles) - shift) * factor).astype(np.float32)
    expected[np.setdiff1d(np.arange(23), some) if some is not None else []] = 0
    monkeypatch.setattr("dask_dl.frame.encoder.NUMBERS_AT_ONCE", 9)
    part = FORMS[form](X)
    values = getattr(part, "array", part)
    before = pd.DataFrame(values).copy(deep=True)
    dense, _, entries = Encoder((), numbers, is_sparse=sparse).encode(part, "t", some)
    found = dense[:, :3]
    if sparse:
        found = np.zeros((23, 3), np.float32)
        found[np.repeat(np.arange(23), entries.length), entries.slot] = entries.value
    np.testing.assert_array_equal(found, expected)
    pd.testing.assert_frame_equal(pd.DataFrame(values), before)


def test_a_fault_counts_the_rows_of_all_blocks(monkeypatch):
    monkeypatch.setattr("dask_dl.frame.encoder.NUMBERS_AT_ONCE", 3)
    frame = pd.DataFrame({"a": [1.0, np.inf] * 9, "b": [*[0.0] * 9, 1e39, *[-1.0] * 8]})
    encoder = Encoder((), (Number("a", 0.0, 0.0, 1.0), Number("b", 0.0, 0.0, 1.0)))
    text = "column 'a' of t holds 9 infinite values.*column 'b' of t holds values up to 1e.39, too large"
    with pytest.raises(SchemaError, match=text):
        encoder.encode(frame, "t")


def test_encoding_changes_nothing_in_the_users_table():
    frame = pd.DataFrame({"x": [1.0, np.nan], "y": [2.0, 3.0], "c": ["a", None]})
    copy = frame.copy(deep=True)
    inputs(fit(frame), frame)
    pd.testing.assert_frame_equal(frame, copy)


# ---- tables that differ -------------------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    return pd.DataFrame({"a": [1.0, 2.0, 4.0], "c": ["u", "v", "u"], "b": [5, 6, 9], "d": ["k", "l", "m"]})


def test_columns_are_matched_by_name_and_others_ignored(frame):
    encoder = fit(frame)
    expected = inputs(encoder, frame)
    for names in (["d", "b", "a", "c"], ["b", "a", "d", "c"]):
        np.testing.assert_array_equal(inputs(encoder, frame[names]), expected)
    more = frame.assign(extra=["not", "a", "number"], other=[[1], [2], [3]])
    np.testing.assert_array_equal(inputs(encoder, more), expected)


def test_missing_columns_are_told_of(frame):
    encoder = fit(frame)
    assert encoder.match(["b", "extra", "d"], "the table") == ["c", "a"]
    assert encoder.match(["a", "b", "c", "d"], "the table") == []
    with pytest.raises(SchemaError, match=r"the table has none of the columns of training.*'d', 'c', 'a', 'b'.*'z'"):
        encoder.match(["z"], "the table")


def test_an_absent_column_is_warned_of_and_taken_as_missing(frame):
    model = DeepLearningClassifier(hidden=(2,), epochs=1, random_state=1).fit(frame, ["p", "q", "p"])
    with pytest.warns(DaskDLWarning, match=r"the table to predict lacks 2 columns of training.*\['d', 'b'\]"):
        absent = model.predict_proba(frame[["a", "c"]])
    np.testing.assert_array_equal(absent, model.predict_proba(frame.assign(b=np.nan, d=None)))


def test_all_faults_of_a_table_are_listed(frame):
    encoder = fit(frame)
    with pytest.raises(SchemaError) as caught:
        encoder.encode(frame.assign(a=["x", "y", "z"], b=pd.Categorical(["p", "q", "p"]), d=[b"1", b"2", b"3"]), "t")
    text = str(caught.value)
    assert "column 'a' of t was a number in training and is now str. Convert it" in text
    assert "column 'b' of t was a number in training and is now category. Convert it" in text
    assert "column 'd' of t has a level b'1' of type bytes" in text


def test_infinite_and_enormous_values_are_listed(frame):
    encoder = fit(frame, standardize=False)
    with pytest.raises(SchemaError) as caught:
        encoder.encode(frame.assign(a=[1, np.inf, -np.inf], b=[1.0, -1e39, 2.0]), "t")
    assert str(caught.value) == (
        "column 'a' of t holds 2 infinite values. Make them missing (NaN).; "
        "column 'b' of t holds values up to 1e+39, too large for the network. Make them missing (NaN)."
    )


@pytest.mark.parametrize("dtype", ["str", "category", "string[pyarrow]", pd.ArrowDtype(pa.null()), object])
def test_a_column_without_values_fits_every_kind(frame, dtype):
    encoder = fit(frame)
    nothing = pd.Series([None] * 3, dtype=dtype)
    expected = inputs(encoder, frame.assign(a=np.nan, c=None))
    np.testing.assert_array_equal(inputs(encoder, frame.assign(a=nothing, c=nothing)), expected)
    none = frame.assign(a=nothing, c=nothing).iloc[:0]
    assert inputs(encoder, none).shape == (0, len(encoder.input_names))


@pytest.mark.parametrize("names", [["a", "b"], ["c", "d"], ["c"], ["a"]])
def test_tables_of_one_kind_only(frame, names):
    encoder = fit(frame[names])
    assert inputs(encoder, frame).shape == (3, len(encoder.input_names))


# ---- what is kept -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignore_const_cols", [True, False])
def test_constant_columns_are_dropped_on_request_and_empty_ones_always(ignore_const_cols):
    frame = pd.DataFrame(
        {
            "x": [1.0, 2.0],
            "one": [3, 3],
            "one and missing": [np.nan, 3],
            "level": ["a", None],
            "nothing": [None, None],
            "nan": [np.nan, np.nan],
            "c": ["a", "b"],
        }
    )
    constant = ["one", "one and missing", "level"]
    kept, dropped = usable_predictors(scan_of(frame).columns, ignore_const_cols=ignore_const_cols)
    assert kept == (["x", "c"] if ignore_const_cols else ["x", *constant, "c"])
    assert dropped == ([*constant, "nothing", "nan"] if ignore_const_cols else ["nothing", "nan"])


def test_dropped_columns_are_named():
    assert str(dropped_warning(["a", "b"])) == "dropped 2 columns that are constant or empty: 'a', 'b'."
    many = str(dropped_warning([f"c{k}" for k in range(100)]))
    assert many.startswith("dropped 100 columns that are constant or empty: 'c0', 'c1'")
    assert many.endswith("more.")
    assert len(many) < 300


@pytest.mark.parametrize("all_levels", [True, False])
def test_the_rule_survives_json(frame, all_levels):
    encoder = fit(frame, use_all_factor_levels=all_levels)
    text = json.dumps(encoder.to_json(), allow_nan=False).encode()
    again = decode(text, EncoderDocument, "the encoder").encoder()
    assert again == encoder
    np.testing.assert_array_equal(inputs(again, frame), inputs(encoder, frame))


def test_the_rule_can_be_read(frame):
    text = repr(fit(frame))
    assert "Encoder of 4 columns to 9 inputs" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()[2:]}
    assert lines["d"] == ["category", "3", "0", "4"]
    assert lines["c"] == ["category", "2", "4", "3"]
    assert lines["b"] == ["number", "0", "8", "1", "6.66667", "2.08167"]
    assert "and 80 more" in repr(fit(pd.DataFrame(np.eye(100)).rename(columns=str)))
