"""Columns are found by name in every partition, wherever partitions are taken apart; what has not all of them is refused."""

from __future__ import annotations

import pickle

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import SchemaError
from dask_dl.frame.partition import selected
from dask_dl.frame.source import open_source

N = 60
SMALL = UNSCORED | {"hidden": (3,), "epochs": 1, "random_state": 1, "n_jobs": 1}
PREDICTORS = ["age", "pay", "town"]
exact = settings(derandomize=True, database=None, deadline=None, max_examples=12)


COLUMNS = {"a": "age", "b": "pay", "level": "town", "y": "y", "label": "label", "w": "w", "c": "o"}
TABLE = make_table(N)[[*COLUMNS]].rename(columns=COLUMNS)
MIDDLE = TABLE.iloc[20:40]


def mapped(*parts):
    """A frame of partitions as they are, which Dask takes to be like the first."""
    return dd.from_map(lambda k: parts[k], range(len(parts)), meta=TABLE.iloc[:0])


def delayed(*parts):
    return dd.from_delayed(
        [dask.delayed(lambda part=part: part)() for part in parts], TABLE.iloc[:0], verify_meta=False
    )


def around(part, make=mapped):
    """Three partitions, the second of which is `part`."""
    return make(TABLE.iloc[:20], part, TABLE.iloc[40:])


@pytest.fixture(scope="module")
def regressor():
    return DeepLearningRegressor(**SMALL).fit(TABLE[[*PREDICTORS, "y"]], "y")


@pytest.fixture(scope="module")
def with_offset():
    return DeepLearningRegressor(**SMALL).fit(TABLE[[*PREDICTORS, "y", "o"]], "y", offset="o")


# ---- another order ------------------------------------------------------------------------------------------------------


@exact
@given(st.permutations(list(TABLE.columns)), st.permutations(list(TABLE.columns)), st.integers(0, 3))
def test_the_order_of_columns_is_of_no_account(first, second, n_more):
    more = {f"more {k}": "text" for k in range(n_more)}
    frame = mapped(TABLE.iloc[:20][first].assign(**more), MIDDLE[second], TABLE.iloc[40:])
    source = open_source(frame[[*PREDICTORS, "y"]], "y", frame["w"], frame["o"])
    table = pd.concat([source.read(k) for k in range(3)])
    expected = TABLE.rename(columns={"w": "__weight__", "o": "__offset__"})
    pd.testing.assert_frame_equal(table[sorted(table.columns)], expected[sorted(table.columns)], check_dtype=False)


@pytest.mark.parametrize("make", [mapped, delayed])
def test_models_and_answers_of_partitions_in_any_order_are_those_of_the_table(make, regressor):
    frame = around(MIDDLE[TABLE.columns[::-1]], make)
    whole = [*PREDICTORS, "y", "w"]
    expected = DeepLearningRegressor(**SMALL).fit(TABLE[whole], "y", sample_weight="w", eval_set=TABLE[whole])
    by_name = DeepLearningRegressor(**SMALL).fit(frame[whole], "y", sample_weight="w", eval_set=frame[whole])
    beside = DeepLearningRegressor(**SMALL).fit(
        frame[PREDICTORS], frame["y"], sample_weight=frame["w"], eval_set=(frame[PREDICTORS], frame["y"], frame["w"])
    )
    for model in (by_name, beside):
        for weights, others in zip(model.coefs_, expected.coefs_, strict=True):
            np.testing.assert_allclose(weights, others, rtol=1e-5, atol=1e-7)
        assert model.best_score_ == pytest.approx(expected.best_score_)
    np.testing.assert_array_equal(regressor.predict(frame).compute(), regressor.predict(TABLE))
    answers = regressor.predict_table(frame, keep=["label"]).compute()
    np.testing.assert_array_equal(answers["predict"], regressor.predict(TABLE))
    assert answers["label"].tolist() == TABLE["label"].tolist()
    assert regressor.score(frame, "y") == pytest.approx(regressor.score(TABLE, "y"))


def test_predictions_can_be_put_beside_the_frame_they_are_of(regressor):
    frame = around(MIDDLE[TABLE.columns[::-1]])
    both = frame.assign(predicted=regressor.predict(frame)).compute()
    np.testing.assert_array_equal(both["predicted"], regressor.predict(TABLE))


@pytest.mark.parametrize("write", ["to_csv", "to_parquet"])
def test_files_that_list_columns_in_another_order(tmp_path, write, regressor):
    ending = write.removeprefix("to_")
    orders = [[*PREDICTORS, "y"], ["y", "town", "pay", "age"], ["town", "y", "age", "pay"]]
    for k, order in enumerate(orders):
        getattr(TABLE.iloc[20 * k : 20 * k + 20][order], write)(tmp_path / f"{k}.{ending}", index=False)
    files = [str(tmp_path / f"{k}.{ending}") for k in range(3)]
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    for frame in (getattr(dd, f"read_{ending}")(files), dd.from_map(read, files)):
        source = open_source(frame, "y")
        table = pd.concat([source.read(k) for k in range(source.n_partitions)])
        np.testing.assert_allclose(table["age"], TABLE["age"])
        np.testing.assert_allclose(regressor.predict(frame).compute(), regressor.predict(TABLE), rtol=1e-5)


@pytest.mark.parametrize("labels", [[3, 1, 2], [("a", 1), ("a", 2), ("b", 1)], [1, "1a", 2.5]], ids=str)
def test_labels_that_are_no_texts(labels):
    table = pd.DataFrame(np.arange(18.0).reshape(6, 3))
    table.columns = pd.Index(labels, tupleize_cols=False)
    parts = [table.iloc[:3], table.iloc[3:, [2, 0, 1]]]
    source = open_source(dd.from_map(lambda k: parts[k], range(2), meta=table.iloc[:0]), labels[0])
    read = pd.concat([source.read(k) for k in range(2)])
    assert read.columns.tolist() == [str(label) for label in labels]
    np.testing.assert_array_equal(read, table)


# ---- what has not all columns -------------------------------------------------------------------------------------------

ODD = {
    "lacking": (MIDDLE.drop(columns=["pay", "label"]), "lacks the columns? .*'pay'"),
    "another name": (MIDDLE.rename(columns={"pay": "wages"}), "lacks the column 'pay'; its columns are .*'wages'"),
    "twice": (pd.concat([MIDDLE, MIDDLE[["pay"]]], axis=1), "several columns named 'pay'"),
    "no columns": (pd.DataFrame(), "lacks the columns? .*its columns are none"),
    "none": (None, "is None, not a pandas DataFrame"),
    "dict": ({"age": 1}, "is a dict, not"),
    "list": ([1, 2], "is a list, not"),
    "series": (MIDDLE["age"], "is a pandas.Series, not"),
    "scalar": (3, "is an int, not"),
    "array": (MIDDLE.to_numpy(), r"is a numpy.ndarray of shape \(20, 7\), not"),
    "matrix": (sparse.csr_array((3, 3)), "is a scipy.csr_array, not"),
}


def refused(work, message):
    with pytest.raises(SchemaError, match=message) as caught:
        work()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("make", [mapped, delayed])
@pytest.mark.parametrize("part, message", ODD.values(), ids=ODD)
def test_a_partition_without_the_columns_of_the_table_is_refused(part, message, make, regressor, with_offset):
    frame = around(part, make)
    training, held, predicted = (
        f"partition 1 of the {label}.* {message}"
        for label in ("training table", "validation table", "table to predict")
    )
    fit = DeepLearningRegressor(**SMALL).fit
    refused(lambda: fit(frame[[*PREDICTORS, "y"]], "y"), training)
    refused(lambda: fit(frame[PREDICTORS], frame["y"], sample_weight=frame["w"]), training)
    refused(lambda: fit(frame.drop(columns="label"), "y", sample_weight="w", offset="o"), training)
    local = TABLE[[*PREDICTORS, "y"]]
    refused(lambda: fit(local, "y", eval_set=frame), held)
    refused(lambda: fit(local, "y", eval_set=(frame[PREDICTORS], frame["y"])), held)
    for X in (frame, frame[PREDICTORS], frame.drop(columns="y")):
        refused(regressor.predict(X).compute, predicted)
        refused(regressor.predict_table(X, keep=["age"]).compute, predicted)
    refused(with_offset.predict(frame).compute, predicted)
    refused(lambda: regressor.score(frame, "y"), "partition 1 of the table to .*")


def test_a_partition_that_changed_between_two_readings_is_refused():
    readings = []

    def read(k):
        readings.append(k)
        part = TABLE.iloc[20 * k : 20 * k + 20]
        return part.rename(columns={"pay": "wages"}) if len(readings) > 3 and k == 1 else part

    frame = dd.from_map(read, range(3), meta=TABLE.iloc[:0])
    refused(lambda: DeepLearningRegressor(**SMALL).fit(frame, "y"), "partition 1 of the training table lacks .*'pay'")


def test_values_beside_a_partition_are_a_series():
    X = mapped(TABLE.iloc[:20], TABLE.iloc[20:])
    y = dd.from_map(lambda k: [TABLE["y"].iloc[:20], {"y": 1}][k], range(2), meta=TABLE["y"].iloc[:0])
    refused(lambda: open_source(X[PREDICTORS], y).read(1), "partition 1 of the training table: its target is a dict")


def test_what_dask_reads_less_for_and_cannot_read_names_partition_and_column(tmp_path):
    # Most is of no use, so Dask chooses columns: what it then says is handed on.
    whole = TABLE.assign(**{f"text {k}": "long" for k in range(5)})
    for k, part in enumerate((whole, whole.drop(columns="pay"))):
        part.to_parquet(tmp_path / f"{k}.parquet")
    table = dd.read_parquet(tmp_path)
    source = open_source(table, "y", keep=["age", "pay"])
    refused(lambda: [source.read(k) for k in range(source.n_partitions)], "training table cannot be read(.|\n)*pay")


@pytest.mark.parametrize("n_columns", [1, 9, 10])
def test_what_is_taken_of_parquet_stays_in_the_same_partitions(tmp_path, n_columns):
    # Dask puts files together where few of their columns are read.
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 10)), columns=list("abcdefghij"))
    table = table.assign(y=table["a"], w=1.0, town="Rome")
    for k in range(12):
        table.iloc[5 * k : 5 * k + 5].to_parquet(tmp_path / f"{k:02}.parquet", index=False)
    frame, X = dd.read_parquet(tmp_path), list(table.columns[:n_columns])
    expected = DeepLearningRegressor(**SMALL).fit(table[X], table["y"], offset=table["w"])
    model = DeepLearningRegressor(**SMALL).fit(
        frame[X],
        frame["y"],
        sample_weight=2 * frame["w"],
        offset=frame["w"],
        eval_set=(frame[X], frame["y"], None, frame["w"]),
    )
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-5, atol=1e-7)
    predicted = expected.predict(table[X], offset=table["w"])
    lazy = expected.predict(frame, offset=frame["w"])
    np.testing.assert_allclose(lazy.compute(), predicted)
    np.testing.assert_allclose((frame["y"] - lazy).compute(), table["y"] - predicted)
    np.testing.assert_allclose(frame[["y"]].assign(predicted=lazy).compute()["predicted"], predicted)


def test_partitions_of_other_libraries_are_tables_too():
    part = pa.Table.from_pandas(MIDDLE[TABLE.columns[::-1]], preserve_index=False)
    source = open_source(around(part)[PREDICTORS])
    np.testing.assert_array_equal(source.read(1)["age"], MIDDLE["age"])


def test_a_partition_as_it_should_be_is_not_copied():
    assert selected(TABLE, tuple(TABLE.columns), "the table") is TABLE


def test_classes_of_partitions_in_any_order():
    frame = around(MIDDLE[TABLE.columns[::-1]])
    model = DeepLearningClassifier(**SMALL).fit(frame[[*PREDICTORS, "label"]], "label")
    expected = DeepLearningClassifier(**SMALL).fit(TABLE[PREDICTORS], TABLE["label"])
    np.testing.assert_allclose(
        model.predict_proba(frame).compute(), expected.predict_proba(TABLE), rtol=1e-5, atol=1e-6
    )
