"""Tables of other libraries train and answer as the same table of pandas; what only stands for a table is refused."""

from __future__ import annotations

import datetime as dt
import pickle
import warnings
from decimal import Decimal

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import SchemaError
from dask_dl.frame.interchange import as_column, as_table, to_pandas

N = 40
SMALL = UNSCORED | {"hidden": (3,), "epochs": 1, "random_state": 1, "n_jobs": 1}


def make_table():
    random = np.random.default_rng(0)
    town = random.choice(["Rome", "Oslo"], N)
    table = pd.DataFrame(
        {
            "age": random.uniform(20, 60, N),
            "count": pd.array(random.integers(0, 9, N), "Int64"),
            "town": town,
            "colour": pd.Categorical(random.choice(["red", "blue"], N)),
            "day": pd.date_range("2020-01-01", periods=N),
            "waited": pd.to_timedelta(np.arange(N), unit="h"),
            "at": [dt.time(k % 24) for k in range(N)],
            "is_new": random.random(N) > 0.5,
            "price": [Decimal(k) / 4 for k in range(N)],
        }
    )
    for row, column in enumerate(table.columns[:6]):
        table.loc[row, column] = None
    return table.assign(y=table["age"].fillna(40) / 10 + (town == "Rome"), label=town, w=random.integers(1, 3, N))


TABLE = make_table()
PREDICTORS = [name for name in TABLE.columns if name not in {"y", "label", "w", "town"}]


class Arrow:
    """A table of a library that speaks Arrow and nothing else."""

    def __init__(self, frame):
        self._table = arrow(frame)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


class Interchange:
    """A table of a library that knows the older protocol only."""

    def __init__(self, frame):
        self._frame = frame

    def __dataframe__(self, *arguments, **more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas gives the protocol up
            return self._frame.__dataframe__(*arguments, **more)


def arrow(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


def polars(frame):
    return pl.from_arrow(arrow(frame))


TABLES = {
    "pyarrow": arrow,
    "batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    "reader": lambda frame: arrow(frame).to_reader(),
    "polars": polars,
    "stream": Arrow,
}


def assert_same_weights(model, expected):
    for weights, others in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(weights, others)


@pytest.fixture(scope="module")
def regressor():
    table = TABLE[[*PREDICTORS, "y", "w"]]
    return DeepLearningRegressor(**SMALL).fit(table, "y", sample_weight="w", eval_set=table)


@pytest.fixture(scope="module")
def classifier():
    beside = TABLE["label"], TABLE["w"]
    return DeepLearningClassifier(**SMALL).fit(
        TABLE[PREDICTORS], beside[0], sample_weight=beside[1], eval_set=(TABLE[PREDICTORS], *beside)
    )


# ---- tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_table_of_another_library_is_that_of_pandas(make, regressor, classifier):
    columns = [*PREDICTORS, "y", "w"]
    model = DeepLearningRegressor(**SMALL).fit(
        make(TABLE[columns]), "y", sample_weight="w", eval_set=make(TABLE[columns])
    )
    assert_same_weights(model, regressor)
    assert model.best_score_ == regressor.best_score_
    assert list(model.feature_names_in_) == PREDICTORS
    assert model.score(make(TABLE), "y") == regressor.score(TABLE, "y")
    np.testing.assert_array_equal(classifier.predict(make(TABLE)), classifier.predict(TABLE))
    np.testing.assert_array_equal(classifier.predict_proba(make(TABLE)), classifier.predict_proba(TABLE))
    answers = classifier.predict_table(make(TABLE), keep=["count"])
    assert answers["count"].isna().tolist() == TABLE["count"].isna().tolist()
    np.testing.assert_array_equal(answers["Rome"], classifier.predict_table(TABLE)["Rome"])


@pytest.mark.parametrize(
    "column",
    [
        lambda name: polars(TABLE)[name],
        lambda name: polars(TABLE).select(name),
        lambda name: arrow(TABLE)[name],
        lambda name: arrow(TABLE)[name].combine_chunks(),
        lambda name: arrow(TABLE).select([name]),
    ],
    ids=["polars series", "polars table", "chunked array", "array", "arrow table"],
)
def test_columns_of_another_library_stand_beside_a_table(column, classifier):
    X, y, weight = polars(TABLE[PREDICTORS]), column("label"), column("w")
    model = DeepLearningClassifier(**SMALL).fit(X, y, sample_weight=weight, eval_set=(X, y, weight))
    assert_same_weights(model, classifier)
    assert model.classes_.tolist() == ["Oslo", "Rome"]
    assert model.score(X, y, sample_weight=weight) == classifier.score(TABLE[PREDICTORS], TABLE["label"], TABLE["w"])


@pytest.mark.parametrize("make", [np.asarray, lambda X: da.from_array(X, chunks=(10, 2))], ids=["numpy", "dask"])
def test_targets_and_offsets_of_another_library_beside_arrays(make):
    X = make(TABLE[["age", "y"]].fillna(0).to_numpy())
    other, y, offset = polars(TABLE), TABLE["y"].to_numpy(), TABLE["w"].to_numpy()
    model = DeepLearningRegressor(**SMALL).fit(X, other["y"], offset=other["w"])
    expected = DeepLearningRegressor(**SMALL).fit(X, y, offset=offset)
    assert_same_weights(model, expected)
    np.testing.assert_array_equal(
        np.asarray(model.predict(X, offset=other["w"])), np.asarray(expected.predict(X, offset=offset))
    )


def test_a_library_that_knows_the_older_protocol_only():
    table = TABLE[["age", "town", "day", "y"]].dropna()
    expected = DeepLearningRegressor(**SMALL).fit(table, "y")
    assert_same_weights(DeepLearningRegressor(**SMALL).fit(Interchange(table), "y"), expected)
    np.testing.assert_array_equal(expected.predict(Interchange(table)), expected.predict(table))


@pytest.mark.parametrize(
    "values, kind",
    [
        (pl.Series(["a", None], dtype=pl.Categorical), "category"),
        (pl.Series(["a", None], dtype=pl.Enum(["a", "b"])), "category"),
        (pa.array([1, None], pa.uint64()), "uint64[pyarrow]"),
        (pa.array([2**60 + 1, None]), "int64[pyarrow]"),
        (pa.array([1.5, None]), "float64"),
        (pa.array(["a", None], pa.string_view()), "large_string[pyarrow]"),
        (pa.array([1, None]).dictionary_encode(), "category"),
        (pa.RunEndEncodedArray.from_arrays([1, 2], pa.array([3, None])), "int64[pyarrow]"),
        (pa.array([Decimal("1.5"), None]), "decimal128(2, 1)[pyarrow]"),
    ],
    ids=lambda value: str(getattr(value, "type", getattr(value, "dtype", value))),
)
def test_types_keep_their_meaning(values, kind):
    held = as_column(values, "the target")
    assert str(held.dtype) == kind
    assert held.isna().tolist() == [False, True]


@pytest.mark.parametrize("values", [["Rome", "Rome"], ["Rome", None], pa.array(["Oslo", "Oslo"], pa.string_view())])
def test_dictionaries_may_repeat_values_and_hold_nulls(values):
    codes = [0, 1, None, 1] * 3
    column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(values))
    found = to_pandas(pa.table({"town": column}))["town"]
    assert isinstance(found.dtype, pd.CategoricalDtype)
    assert found.astype(object).where(found.notna(), None).tolist() == column.to_pylist()


@pytest.mark.parametrize(
    "make", [np.asarray, lambda X: da.from_array(np.asarray(X), chunks=(15, 1))], ids=["numpy", "dask"]
)
def test_what_is_masked_is_missing(make):
    random = np.random.default_rng(0)
    x, gone = random.normal(size=N), np.arange(N) % 4 == 1
    X, y = np.c_[x, x**2], np.ma.masked_array(np.where(gone, 1e6, x), mask=gone)
    for target in (y, y[:, None]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataConversionWarning)
            model = DeepLearningRegressor(**SMALL).fit(make(X), target, eval_set=(make(X), target))
            score = model.score(make(X), target)
        assert model.model_.head.shift == pytest.approx(x[~gone].mean())
        assert score == pytest.approx(model.score(X[~gone], x[~gone]))
    with pytest.raises(SchemaError, match=r"weight of the training table: .* missing or infinite"):
        DeepLearningRegressor(**SMALL).fit(make(X), x, sample_weight=y)
    model = DeepLearningRegressor(**SMALL).fit(make(X), x, offset=x)
    with pytest.raises(SchemaError, match="offsets of the table to predict are missing or infinite"):
        np.asarray(model.predict(make(X), offset=y))


def test_a_column_to_ignore_may_be_called_anything(regressor):
    table = TABLE.copy()
    table.columns = pd.Index(["\ud800" if name == "label" else name for name in table.columns], dtype=object)
    assert np.array_equal(regressor.predict(table), regressor.predict(TABLE))
    with pytest.raises(SchemaError, match=r"keep: there is a column '\\ud800', which is not valid Unicode"):
        regressor.predict_table(table, keep=["\ud800"])


def test_whole_numbers_beside_nulls_stay_whole():
    assert to_pandas(pl.Series([2**60 + 1, None]))[0] == 2**60 + 1


def test_an_index_of_pandas_is_no_predictor():
    indexed = TABLE[["age", "y"]].set_index(pd.Index(range(100, 100 + N), name="id"))
    assert list(as_table(pa.Table.from_pandas(indexed), "the table").columns) == ["age", "y"]


def test_names_that_repeat_are_refused():
    table = pa.Table.from_arrays([pa.array([1.0, 2.0])] * 2, names=["a", "a"])
    with pytest.raises(SchemaError, match="several columns named 'a'"):
        DeepLearningRegressor(**SMALL).fit(table, [1, 2])


@pytest.mark.parametrize(
    "values, message",
    [
        ([[1, 2]] * N, "column 'odd' .* list"),
        ([b"a"] * N, r"column 'odd' .* bytes.*decode"),
        ([{"a": 1}] * N, "column 'odd' .* dict"),
    ],
    ids=["lists", "bytes", "structs"],
)
def test_a_column_that_cannot_be_learned_from_is_named(values, message):
    table = polars(TABLE[["age", "y"]]).with_columns(odd=pl.Series(values))
    with pytest.raises(SchemaError, match=message):
        DeepLearningRegressor(**SMALL).fit(table, "y")


def test_a_type_that_arrow_does_not_know_is_refused():
    with pytest.raises(SchemaError, match=r"polars.DataFrame cannot be taken through Arrow.*i128"):
        DeepLearningRegressor(**SMALL).fit(pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128), "y": [1, 2]}), "y")


# ---- what is no table ---------------------------------------------------------------------------------------------------

LOCAL = TABLE[["age", "y"]]
NO_TABLE = {
    "delayed": (dask.delayed(LOCAL), "from_delayed"),
    "delayeds": ([dask.delayed(LOCAL)] * 2, "from_delayed"),
    "frames": ([LOCAL, LOCAL], "pandas.concat"),
    "dask frames": ([dd.from_pandas(LOCAL, npartitions=1)] * 2, "dask.dataframe.concat"),
    "dask arrays": ((da.ones((2, 2)),) * 2, "dask.array.concatenate"),
    "polars frames": ([polars(LOCAL)] * 2, "into one table"),
    "batches": (arrow(LOCAL).to_batches(), "into one table"),
    "matrices": ([sparse.eye_array(3).tocsr()] * 2, "scipy.sparse.vstack"),
    "lazy polars": (polars(LOCAL).lazy(), r"collect\(\)"),
    "lazy polars, several": ([polars(LOCAL).lazy()] * 2, r"polars.concat\(X\).collect"),
    "Arrow data set": (pyarrow.dataset.dataset(arrow(LOCAL)), r"to_table\(\)"),
    "bag": (db.from_sequence([{"a": 1}], npartitions=1), "to_dataframe"),
    "dask series": (dd.from_pandas(LOCAL, npartitions=1)["age"], "to_frame"),
    "polars series": (pl.Series([1.0]), "one column"),
    "arrow column": (pa.array([1.0]), "one column"),
    "dict": ({"age": [1.0]}, "pandas.DataFrame"),
    "records": ([{"age": 1.0}], "pandas.DataFrame"),
    "path": ("table.csv", "read_csv"),
    "none": (None, "None"),
    "rows of two lengths": ([[1.0, 2.0], [3.0]], "not of one length"),
}


@pytest.mark.parametrize("X, message", NO_TABLE.values(), ids=NO_TABLE)
def test_what_is_no_table_is_refused_with_the_way_out(X, message, regressor):
    for table, work in {
        "the training table": lambda: DeepLearningRegressor(**SMALL).fit(X, [1.0]),
        "the validation table": lambda: DeepLearningRegressor(**SMALL).fit(LOCAL, "y", eval_set=(X, [1.0])),
        "the table to predict": lambda: regressor.predict(X),
    }.items():
        with pytest.raises(SchemaError, match=f"{table}.*{message}") as caught:
            work()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "y, message",
    [
        (dask.delayed(LOCAL["y"]), r"compute\(\)"),
        (db.from_sequence([1.0], npartitions=1), r"compute\(\)"),
        (polars(LOCAL).lazy().select("y"), r"collect\(\)"),
    ],
    ids=["delayed", "bag", "lazy polars"],
)
@pytest.mark.parametrize(
    "X",
    [LOCAL[["age"]], dd.from_pandas(LOCAL[["age"]], npartitions=2), da.ones((N, 2))],
    ids=["pandas", "dask", "array"],
)
def test_what_only_stands_for_values_is_refused_with_the_way_out(X, y, message):
    with pytest.raises(SchemaError, match=f"the target of the training table.*not values.*{message}"):
        DeepLearningRegressor(**SMALL).fit(X, y)
