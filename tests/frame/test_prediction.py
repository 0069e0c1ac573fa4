"""Prediction: lazy over Dask with index, divisions and exact types; everywhere the same bits as on a local table."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from types import SimpleNamespace

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from dask.dataframe.utils import assert_eq
from distributed import Client
from distributed.scheduler import KilledWorker
from predicted import LABELS, SMALL, N, check_weights_travel_once, fail
from tables import make_table

import dask_dl.node.replica
import dask_dl.predictor
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning, SchemaError, WorkerMemoryError
from dask_dl.frame import prediction
from dask_dl.frame.source import open_source
from dask_dl.node import predict as predicting
from dask_dl.predictor import Predictor


@pytest.fixture(scope="module")
def table():
    table = make_table(N, gaps=0.12)[["a", "b", "level"]].set_axis(list("abc"), axis=1)
    return table.set_index(pd.Index(np.arange(N) * 2 + 100, name="row"))


@pytest.fixture(scope="module")
def frame(table):
    return dd.from_pandas(table, npartitions=4)


@pytest.fixture(scope="module")
def classifiers(table):
    return {
        kind: DeepLearningClassifier(**SMALL).fit(table, np.resize(np.array(labels), N))
        for kind, labels in LABELS.items()
    }


@pytest.fixture(scope="module")
def classifier(classifiers):
    return classifiers["texts"]


@pytest.fixture(scope="module")
def regressor(table):
    return DeepLearningRegressor(**SMALL).fit(table, np.arange(N) * 1000.0)


@pytest.fixture(scope="module")
def with_offset(table):
    return DeepLearningRegressor(**SMALL).fit(table.assign(o=np.arange(N)), np.arange(N) ** 2, offset="o")


def expected(values, table, **kwargs):
    """A local answer with the index that the lazy one must have."""
    if values.ndim == 2:
        return pd.DataFrame(values, index=table.index, **kwargs)
    return pd.Series(values, index=table.index, name="predict")


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_in_their_type(classifiers, table, frame, kind):
    model = classifiers[kind]
    lazy, local = model.predict(frame), model.predict(table)
    assert isinstance(lazy, dd.Series)
    assert lazy.dtype == lazy.compute().dtype == pd.Series(LABELS[kind]).dtype
    assert lazy.divisions == frame.divisions
    assert set(local) <= set(LABELS[kind])
    assert_eq(lazy, expected(local, table).astype(lazy.dtype))


@pytest.mark.parametrize("kind", LABELS)
def test_probabilities_are_float32_columns_named_by_class(classifiers, table, frame, kind):
    model = classifiers[kind]
    lazy, local = model.predict_proba(frame), model.predict_proba(table)
    assert list(lazy.columns) == [str(label) for label in model.classes_]
    assert set(lazy.dtypes) == set(lazy.compute().dtypes) == {np.dtype(np.float32)}
    assert local.dtype == np.float32
    assert lazy.divisions == frame.divisions
    assert_eq(lazy, expected(local, table, columns=lazy.columns))
    np.testing.assert_allclose(local.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", LABELS)
def test_logarithms_of_probabilities(classifiers, table, frame, kind):
    model = classifiers[kind]
    lazy, local = model.predict_log_proba(frame), model.predict_log_proba(table)
    assert list(lazy.columns) == [str(label) for label in model.classes_]
    assert set(lazy.dtypes) == set(lazy.compute().dtypes) == {local.dtype} == {np.dtype(np.float32)}
    assert_eq(lazy, expected(local, table, columns=lazy.columns))
    np.testing.assert_array_equal(local, np.log(model.predict_proba(table)))


def test_the_logarithm_of_nothing_is_infinite_without_a_warning(table):
    model = DeepLearningClassifier(**SMALL).fit(table[["b"]], np.resize(["no", "yes"], N))
    sure = model.predict_log_proba(table[["b"]].assign(b=1e30))
    assert (np.isneginf(sure) | (sure == 0)).all()


def test_numbers_are_float64_in_the_unit_of_the_target(regressor, table, frame):
    lazy, local = regressor.predict(frame), regressor.predict(table)
    assert lazy.dtype == local.dtype == np.float64
    assert lazy.divisions == frame.divisions
    assert_eq(lazy, expected(local, table))


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([f"row {k:03}" for k in range(N)]),
        pd.date_range("2020", periods=N, name="day"),
        pd.Index(np.arange(N) / 2),
        pd.Index(np.zeros(N, int)),
    ],
    ids=["texts", "dates", "floats", "repeated"],
)
def test_every_index_survives(classifier, table, index):
    local = table.set_axis(index, axis=0)
    frame = dd.from_pandas(local, npartitions=3)
    assert_eq(
        classifier.predict_proba(frame),
        expected(classifier.predict_proba(local), local, columns=["maybe", "no", "yes"]),
    )
    assert_eq(classifier.predict(frame), expected(classifier.predict(local), local).astype("str"))


def test_unknown_divisions_stay_unknown(regressor, table, frame):
    unknown = frame.clear_divisions()
    lazy = regressor.predict(unknown)
    assert not lazy.known_divisions
    assert lazy.npartitions == 4
    assert_eq(lazy, expected(regressor.predict(table), table), check_divisions=False)


def with_empty_partitions(frame):
    """The first and the third of four partitions without rows."""
    return frame.map_partitions(lambda part: part[~part.index.isin([*range(100, 130), *range(160, 190)])])


@pytest.mark.parametrize("kind", LABELS)
def test_empty_partitions_have_the_types_of_the_others(classifiers, regressor, frame, kind):
    gaps = with_empty_partitions(frame)
    assert gaps.map_partitions(len).compute().tolist() == [0, 15, 0, 15]
    for lazy in (classifiers[kind].predict(gaps), classifiers[kind].predict_proba(gaps), regressor.predict(gaps)):
        parts = [part.compute() for part in lazy.partitions]
        assert [len(part) for part in parts] == [0, 15, 0, 15]
        for part in parts:
            assert part.index.name == "row"
            if part.ndim == 1:
                assert (part.dtype, part.name) == (lazy.dtype, lazy.name)
            else:
                assert part.dtypes.equals(lazy.dtypes)


@pytest.mark.parametrize("empty_of", ["typed", "objects"])
def test_an_empty_table_gives_an_empty_answer(classifiers, regressor, table, empty_of):
    empty = table.iloc[:0] if empty_of == "typed" else pd.DataFrame(columns=table.columns)
    frame = dd.from_pandas(empty, npartitions=1)
    for kind, model in classifiers.items():
        assert model.predict(empty).shape == (0,)
        assert model.predict_proba(empty).shape == (0, len(LABELS[kind]))
        assert model.predict(frame).compute().dtype == pd.Series(LABELS[kind]).dtype
        assert model.predict_proba(frame).compute().shape == (0, len(LABELS[kind]))
    assert regressor.predict(empty).shape == regressor.predict(frame).compute().shape == (0,)


def test_nothing_is_read_or_predicted_before_compute(classifier, regressor, table, monkeypatch):
    frame = dd.from_map(fail, [0, 1], meta=table.iloc[:0])
    monkeypatch.setattr(dask_dl.predictor, "predict", fail)
    assert classifier.predict(frame).npartitions == 2
    assert classifier.predict_proba(frame).npartitions == 2
    lazy = regressor.predict(frame)
    with pytest.raises(AssertionError, match="later"):
        lazy.compute(scheduler="synchronous")


def test_no_partition_is_read_to_describe_a_table_of_predictions(classifier, table):
    frame = dd.from_map(fail, [0, 1], meta=table.iloc[:0])
    assert list(classifier.predict_table(frame, keep=["a"]).columns) == ["a", "predict", "maybe", "no", "yes"]


@pytest.fixture(scope="module")
def wide(table):
    """A classifier whose weights are large beside everything else of it, optimizer state excepted."""
    return DeepLearningClassifier(hidden=(300, 300), epochs=0.1, random_state=1).fit(table, np.resize(["u", "v"], N))


@pytest.mark.parametrize("n_partitions", [1, 8])
def test_the_weights_are_in_the_graph_once(wide, table, n_partitions):
    frame = dd.from_pandas(table, npartitions=n_partitions)
    for lazy in (
        wide.predict(frame),
        wide.predict_proba(frame),
        wide.predict_table(frame),
        wide.predict_proba(frame)["u"] + 1,
        frame.assign(predicted=wide.predict(frame)),
    ):
        check_weights_travel_once(wide, lazy)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler_gives_the_bits_of_the_local_answer(classifier, regressor, table, scheduler):
    frame = dd.from_pandas(table, npartitions=5)
    lazy = classifier.predict_proba(frame), classifier.predict(frame), regressor.predict(frame)
    proba, labels, numbers = dask.compute(*lazy, scheduler=scheduler, num_workers=1 if scheduler == "processes" else 4)
    np.testing.assert_array_equal(proba, classifier.predict_proba(table))
    np.testing.assert_array_equal(labels, classifier.predict(table))
    np.testing.assert_array_equal(numbers, regressor.predict(table))


def test_slices_of_a_local_table_change_nothing(classifiers, with_offset, table, monkeypatch):
    offset = np.arange(N)
    whole = [classifiers[kind].predict(table) for kind in LABELS]
    numbers = with_offset.predict(table, offset=offset)
    monkeypatch.setattr(prediction, "ROWS_PER_SLICE", 7)
    for kind, answer in zip(LABELS, whole, strict=True):
        again = classifiers[kind].predict(table)
        assert again.dtype == answer.dtype
        np.testing.assert_array_equal(again, answer)
    np.testing.assert_array_equal(with_offset.predict(table, offset=offset), numbers)


def of_threads(monkeypatch, model=None, n_jobs=1):
    """Names of the threads that answer, slice by slice of seven rows, in a list that grows; the first wait for each other."""
    names, inner, lock, all_are_here = [], Predictor.answers, threading.Lock(), threading.Barrier(n_jobs)

    def answers(predictor, *given):
        with lock:
            names.append(threading.current_thread().name)
            is_first = len(names) <= n_jobs
        if is_first:
            all_are_here.wait(60)
        return inner(predictor, *given)

    if model is not None:
        monkeypatch.setattr(model, "n_jobs", n_jobs)

    monkeypatch.setattr(Predictor, "answers", answers)
    monkeypatch.setattr(prediction, "ROWS_PER_SLICE", 7)
    return names


FORMS = {
    "pandas": lambda t: t,
    "arrow": pa.Table.from_pandas,
    "objects": lambda t: t.to_numpy(object),
    "array": lambda t: t[["a", "b", "b"]].to_numpy(np.float32),
    "sparse": lambda t: scipy.sparse.csr_matrix(t[["a", "b", "b"]].fillna(0.0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_number_of_threads_changes_nothing(table, form, monkeypatch):
    X, y = FORMS[form](table), np.resize(["no", "yes", "maybe"], N)
    model = DeepLearningClassifier(**SMALL, sparse=form == "sparse").fit(X, y)
    methods = [model.predict, model.predict_proba]
    methods += [functools.partial(model.predict_table, keep=["b"])] if form == "pandas" else []
    for method in methods:
        answer = method(X)
        for n in (1, 2, 5):
            with monkeypatch.context() as patch:
                names = of_threads(patch, model, n)
                again = method(X)
            assert type(again) is type(answer) and np.asarray(again).dtype == np.asarray(answer).dtype
            same = pd.testing.assert_frame_equal if isinstance(answer, pd.DataFrame) else np.testing.assert_array_equal
            same(again, answer)
            assert len(names) == 9 and len(set(names)) == n
            assert (threading.current_thread().name in names) == (n == 1)


def test_offsets_go_with_their_rows_to_every_thread(with_offset, table, monkeypatch):
    offset = np.arange(N)
    whole, names = with_offset.predict(table, offset=offset), of_threads(monkeypatch, with_offset, 3)
    np.testing.assert_array_equal(with_offset.predict(table, offset=offset), whole)
    assert len(set(names)) == 3


def test_a_few_rows_are_predicted_where_they_are(classifier, table, monkeypatch):
    names = of_threads(monkeypatch)
    monkeypatch.setattr(joblib, "cpu_count", lambda: pytest.fail("asked how many threads there may be"))
    classifier.predict(table[:7])
    assert names == [threading.current_thread().name]


def test_a_task_of_a_worker_predicts_in_one_thread(classifier, table, monkeypatch):
    names = of_threads(monkeypatch)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        client.submit(lambda: classifier.predict(table)).result()
    assert len(names) == 9 and len(set(names)) == 1


@pytest.mark.parametrize("n_jobs", [None, -1])
def test_all_cores_predict_where_n_jobs_is_not_given(classifier, table, monkeypatch, n_jobs):
    names = of_threads(monkeypatch, n_jobs=3)
    monkeypatch.setattr(classifier, "n_jobs", n_jobs)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    classifier.predict(table)
    assert len(set(names)) == 3


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_the_fault_of_the_first_slice_is_raised(classifier, table, monkeypatch, n_jobs):
    of_threads(monkeypatch, classifier, n_jobs)
    broken = table.copy()
    broken.iloc[[20, 21, 33, 50], 0] = np.inf
    with pytest.raises(SchemaError, match="column 'a' of the table to predict holds 2 infinite values"):
        classifier.predict(broken)


def test_an_interrupt_ends_a_prediction_soon(classifier, table, monkeypatch):
    inner, n_calls = dask_dl.node.replica.predict_batches, itertools.count()

    def slow(*given):
        if next(n_calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        inner(*given)

    monkeypatch.setattr(dask_dl.node.replica, "predict_batches", slow)
    monkeypatch.setattr(classifier, "n_jobs", 2)
    many = pd.concat([table] * 1000)
    with pytest.raises(KeyboardInterrupt):
        classifier.predict(many)
    assert next(n_calls) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dask_dl-")]


@pytest.mark.parametrize("make", [lambda t: t, lambda t: dd.from_pandas(t, npartitions=2)], ids=["pandas", "dask"])
def test_outputs_are_held_for_as_many_rows_as_their_bytes_allow(classifier, with_offset, table, monkeypatch, make):
    seen, inner = [], Predictor.answers
    methods = {
        "predict": classifier.predict,
        "predict_proba": classifier.predict_proba,
        "predict_table": lambda X: classifier.predict_table(X, keep=["a"]),
        "offset": lambda X: with_offset.predict(X, offset=X["a"]),
    }
    y = np.resize(["no", "yes"], N)
    whole = {name: method(table) for name, method in methods.items()}
    score = classifier.score(table, y)

    def answers(predictor, part, *given):
        seen.append(len(part))
        return inner(predictor, part, *given)

    monkeypatch.setattr(Predictor, "answers", answers)
    monkeypatch.setattr(predicting, "BYTES_PER_CHUNK", 8 * 3 * 7)  # three classes, seven rows
    for name, method in methods.items():
        answer = method(make(table))
        answer = answer.compute(scheduler="synchronous") if hasattr(answer, "compute") else answer
        np.testing.assert_array_equal(np.asarray(answer), np.asarray(whole[name]))
    assert classifier.score(table, y) == score
    assert max(seen) <= 21 and 7 in seen  # numbers have one output


def test_a_row_is_predicted_the_same_whatever_is_beside_it(classifier, table):
    whole = classifier.predict_proba(table)
    shuffled = np.random.default_rng(0).permutation(N)
    np.testing.assert_array_equal(classifier.predict_proba(table.iloc[shuffled]), whole[shuffled])
    np.testing.assert_array_equal(classifier.predict_proba(table.iloc[[3]]), whole[[3]])


def test_columns_in_any_order_and_others_beside_them(classifier, table, frame):
    more = frame[["c", "b", "a"]].assign(extra="x")
    np.testing.assert_array_equal(classifier.predict_proba(more).compute(), classifier.predict_proba(table))


def test_absent_columns_are_warned_of_when_the_graph_is_made(classifier, table, frame):
    with pytest.warns(DaskDLWarning, match=r"the table to predict lacks 1 columns of training.*\['b'\]"):
        lazy = classifier.predict_proba(frame[["a", "c"]])
    np.testing.assert_array_equal(lazy.compute(), classifier.predict_proba(table.assign(b=np.nan)))


def test_a_table_of_other_columns_is_refused_at_once(classifier, frame):
    other = frame.rename(columns={"a": "x", "b": "y", "c": "z"})
    with pytest.raises(SchemaError, match="the table to predict has none of the columns of training"):
        classifier.predict(other)


def test_faults_of_a_partition_name_the_column(classifier, frame):
    lazy = classifier.predict(frame.assign(a=frame["c"]))
    with pytest.raises(SchemaError, match="column 'a' of the table to predict was a number in training"):
        lazy.compute()


def test_offsets_by_name_and_beside_the_table(with_offset, table):
    offset = np.random.default_rng(1).normal(size=N)
    local = with_offset.predict(table, offset=offset)
    np.testing.assert_allclose(local - offset, with_offset.predict(table, offset=np.zeros(N)), rtol=1e-4, atol=1e-3)
    named = table.assign(o=offset)
    frame = dd.from_pandas(named, npartitions=3)
    for answer in (
        with_offset.predict(named),
        with_offset.predict(named.rename(columns={"o": "other"}), offset="other"),
        with_offset.predict(frame).compute(),
        with_offset.predict(frame, offset="o").compute(),
        with_offset.predict(frame[["a", "b", "c"]], offset=frame["o"]).compute(),
        with_offset.predict(frame[["a", "b", "c"]], offset=frame["o"].repartition(npartitions=2)).compute(),
    ):
        np.testing.assert_array_equal(answer, local)
    lazy = with_offset.predict(frame)
    assert lazy.divisions == frame.divisions
    assert_eq(lazy, expected(local, named))


def test_offsets_that_do_not_match_are_refused(with_offset, table, frame):
    with pytest.raises(SchemaError, match=r"60 rows and 59 offsets. Their lengths must match"):
        with_offset.predict(table, offset=np.zeros(N - 1))
    with pytest.raises(
        SchemaError, match="the offset of a Dask DataFrame must be a Dask Series or the name of a column"
    ):
        with_offset.predict(frame, offset=np.zeros(N))
    with pytest.raises(SchemaError, match="1 offsets of the table to predict are missing or infinite"):
        with_offset.predict(table, offset=[np.nan, *np.zeros(N - 1)])
    texts = frame.assign(o="high")
    for X, offset in (
        (table, ["high"] * N),
        (table.assign(o="high"), "o"),
        (texts, "o"),
        (table, np.zeros(N, "M8[s]")),
    ):
        with pytest.raises(
            SchemaError, match=r"^offset ('o' )?of the table to predict is not numeric: a partition holds"
        ):
            np.asarray(with_offset.predict(X, offset=offset))


@pytest.mark.parametrize("kind", LABELS)
def test_a_table_of_predictions_has_labels_and_probabilities(classifiers, table, frame, kind):
    model = classifiers[kind]
    local = model.predict_table(table, keep=["c", "a"])
    names = {"texts": ["maybe", "no", "yes"], "integers": ["p-1", "p0", "p7"], "booleans": ["False", "True"]}
    probabilities = names.get(kind, ["1.0", "2.0"])
    assert list(local.columns) == ["c", "a", "predict", *probabilities]
    pd.testing.assert_frame_equal(local[["c", "a"]], table[["c", "a"]])
    np.testing.assert_array_equal(local["predict"], model.predict(table))
    np.testing.assert_array_equal(local[probabilities], model.predict_proba(table))
    lazy = model.predict_table(frame, keep=["c", "a"])
    assert lazy.divisions == frame.divisions
    assert lazy.dtypes.equals(lazy.compute().dtypes)
    assert_eq(lazy, local)


def test_a_table_of_predictions_has_numbers(regressor, with_offset, table, frame):
    local = regressor.predict_table(table)
    assert list(local.columns) == ["predict"]
    np.testing.assert_array_equal(local["predict"], regressor.predict(table))
    assert_eq(regressor.predict_table(frame), local)
    offset = dd.from_pandas(table.assign(o=np.arange(N)), npartitions=2)
    np.testing.assert_array_equal(
        with_offset.predict_table(offset, keep=["o"]).compute()["predict"],
        with_offset.predict(table, offset=np.arange(N)),
    )


def test_a_table_of_predictions_is_typed_where_it_is_empty(classifiers, frame):
    for model in classifiers.values():
        lazy = model.predict_table(with_empty_partitions(frame), keep=["c"])
        parts = [part.compute() for part in lazy.partitions]
        assert [len(part) for part in parts] == [0, 15, 0, 15]
        assert all(part.dtypes.equals(lazy.dtypes) for part in parts)


def test_columns_to_keep_must_exist(classifier, table, frame):
    for X in (table, frame):
        with pytest.raises(SchemaError, match=r"keep: there are no columns \['zzz'\]"):
            classifier.predict_table(X, keep=["zzz"])


@pytest.fixture(scope="module")
def by_number(table):
    local = table.set_axis([0, 1, 2], axis=1)
    return DeepLearningClassifier(**SMALL).fit(local, np.resize(["no", "yes"], N)), local


def test_columns_named_by_numbers_are_found_in_a_local_table(by_number):
    model, local = by_number
    assert len(np.unique(model.predict_proba(local), axis=0)) > N / 2


def test_columns_named_by_numbers_are_found_in_partitions(by_number):
    model, local = by_number
    lazy = model.predict_proba(dd.from_pandas(local, npartitions=2))
    np.testing.assert_array_equal(lazy.compute(), model.predict_proba(local))


def test_columns_named_by_numbers_are_found_for_a_table_of_predictions(by_number):
    model, local = by_number
    np.testing.assert_array_equal(model.predict_table(local)[["no", "yes"]], model.predict_proba(local))


def test_a_table_of_predictions_from_other_columns_is_refused(classifier, table):
    with pytest.warns(DaskDLWarning, match=r"lacks 1 columns of training.*\['b'\]"):
        classifier.predict_table(table[["a", "c"]])
    with pytest.raises(SchemaError, match="none of the columns of training"):
        classifier.predict_table(table.set_axis(["x", "y", "z"], axis=1))


def test_only_columns_of_training_are_read_where_most_are_others(classifier, table):
    asked, more = [], table.assign(long="text", longer="more text")

    def read(_, columns=None):
        asked.append(columns)
        return more if columns is None else more[columns]

    classifier.predict_proba(dd.from_map(read, [0], meta=more.iloc[:0])).compute()
    assert asked == [["a", "b", "c"]]


def test_a_dask_array_of_other_columns_is_refused_at_once(classifier):
    of_array = DeepLearningClassifier(**SMALL).fit(np.eye(N, 3), np.resize(["no", "yes"], N))
    for model, p in ((of_array, 2), (classifier, 4)):
        with pytest.raises(
            SchemaError, match=f"X has {p} features, but DeepLearningClassifier is expecting 3 features"
        ):
            model.predict(da.zeros((10, p)))
    with pytest.raises(SchemaError, match=r"two dimensions.*shape \(10,\)"):
        classifier.predict(da.zeros(10))
    with pytest.raises(SchemaError, match="pass a Dask DataFrame"):
        classifier.predict_table(da.zeros((10, 3)))


def test_workers_that_died_while_they_scored_are_an_error_with_a_remedy(monkeypatch):
    def compute(*_):
        raise KilledWorker(("read", 3), SimpleNamespace(memory_limit=10**9, address="tcp://there:1"), 2)

    table = dd.from_pandas(pd.DataFrame({"a": [1.0, 2.0], "y": [1.0, 2.0]}), npartitions=2)
    source = open_source(table, "y", label="the table to score")
    monkeypatch.setattr(dask, "compute", compute)
    with pytest.raises(WorkerMemoryError, match=r"partition 3 of the table to score, .* had 1 GB of .*repartition\("):
        prediction.map_partitions(len, source, None)
