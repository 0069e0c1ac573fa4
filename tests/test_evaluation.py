"""A score reads its truth as training does, and is what a user would compute from `predict`."""

from __future__ import annotations

import decimal

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError, SchemaError

N = 90
SMALL = UNSCORED | {"hidden": (3,), "epochs": 2, "random_state": 1}
RANDOM = np.random.default_rng(5)
X = pd.DataFrame({"a": RANDOM.normal(size=N), "b": RANDOM.normal(size=N)}, index=np.arange(N)[::-1])
WEIGHTS = RANDOM.integers(0, 3, N) / 2
FLAGS = X["a"] > 0.1
WORDS = FLAGS.map({True: "in", False: "out"})
NUMBERS = (X["a"] * 1000).round() + 4000
KNOWN = np.arange(N) % 9 > 0
DAY = pd.Timestamp("2001-02-03")
DATES = DAY + pd.to_timedelta(NUMBERS, "ms")

column_vectors = pytest.mark.filterwarnings("ignore:A column-vector")


@pytest.fixture(scope="module")
def classifiers():
    labels = {"bool": FLAGS, "int": FLAGS.astype(int) * 3, "str": WORDS}
    return {kind: DeepLearningClassifier(**SMALL).fit(X, y) for kind, y in labels.items()}


@pytest.fixture(scope="module")
def regressor():
    return DeepLearningRegressor(**SMALL).fit(X, NUMBERS)


def gaps(y, value=None):
    return y.where(KNOWN, value)


LABELS = {
    "nullable booleans": ("bool", gaps(FLAGS.astype("boolean"), pd.NA)),
    "Arrow booleans": ("bool", gaps(FLAGS.astype("bool[pyarrow]"), None)),
    "objects of booleans": ("bool", gaps(FLAGS.astype(object))),
    "categories of booleans": ("bool", gaps(FLAGS.astype(object)).astype("category")),
    "nullable integers": ("int", gaps(FLAGS.astype("Int16") * 3, pd.NA)),
    "floats": ("int", gaps(FLAGS * 3.0, np.nan)),
    "objects of integers": ("int", gaps((FLAGS.astype(int) * 3).astype(object))),
    "texts": ("str", gaps(WORDS.astype("string"), pd.NA)),
    "categories never used": ("str", gaps(WORDS).astype(pd.CategoricalDtype(["x", "out", "in"]))),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "y"), LABELS.values(), ids=LABELS)
def test_labels_of_every_type(classifiers, kind, y):
    model = classifiers[kind]
    truth = (
        FLAGS.map({True: model.classes_[1], False: model.classes_[0]})
        if kind != "str"
        else FLAGS.map({True: "in", False: "out"})
    )
    by_hand = accuracy_score(truth[KNOWN].tolist(), model.predict(X)[KNOWN].tolist(), sample_weight=WEIGHTS[KNOWN])
    lazy = dd.from_pandas(X.assign(y=y, w=WEIGHTS), npartitions=3)
    assert model.score(X, y, WEIGHTS) == pytest.approx(by_hand, abs=1e-12)
    assert model.score(X.assign(y=y, w=WEIGHTS), "y", "w") == model.score(X, y, WEIGHTS)
    if y.dtype != object:  # which Dask makes texts of
        assert (
            model.score(lazy, "y", "w")
            == model.score(lazy[["a", "b"]], lazy["y"], lazy["w"])
            == model.score(X, y, WEIGHTS)
        )


TRUTHS = {
    "nullable floats": (gaps(NUMBERS.astype("Float32"), pd.NA), NUMBERS),
    "Arrow floats": (gaps(NUMBERS.astype("double[pyarrow]"), None), NUMBERS),
    "nullable integers": (gaps(NUMBERS.astype("Int64"), pd.NA), NUMBERS),
    "objects": (gaps(NUMBERS.astype(object)), NUMBERS),
    "decimals": (gaps(NUMBERS.map(lambda v: decimal.Decimal(int(v)))), NUMBERS),
    "booleans": (gaps(FLAGS.astype("boolean"), pd.NA), FLAGS.astype(float)),
    "dates": (gaps(DATES, pd.NaT), NUMBERS + DAY.timestamp() * 1000),
    "dates by the second": (
        gaps((DAY + pd.to_timedelta(NUMBERS, "s")).astype("datetime64[s]"), pd.NaT),
        NUMBERS * 1000 + DAY.timestamp() * 1000,
    ),
    "dates with a zone": (gaps(DATES.dt.tz_localize("Asia/Tokyo"), pd.NaT), NUMBERS + DAY.timestamp() * 1000 - 9 * 3_600_000),
    "dates of Arrow": (gaps(DATES.astype("timestamp[ms][pyarrow]"), None), NUMBERS + DAY.timestamp() * 1000),
    "durations": (gaps(pd.to_timedelta(NUMBERS, "s"), pd.NaT), NUMBERS * 1000),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the target holds only 0 and 1")
@pytest.mark.parametrize(("y", "truth"), TRUTHS.values(), ids=TRUTHS)
def test_numbers_of_every_type(y, truth):
    model = DeepLearningRegressor(**SMALL).fit(X, y)
    by_hand = r2_score(truth[KNOWN], model.predict(X)[KNOWN], sample_weight=WEIGHTS[KNOWN])
    assert model.score(X, y, WEIGHTS) == pytest.approx(by_hand, abs=1e-9)
    assert model.score(X.assign(y=y, w=WEIGHTS), "y", "w") == model.score(X, y, WEIGHTS)
    if y.dtype != object:
        assert model.score(dd.from_pandas(X.assign(y=y, w=WEIGHTS), npartitions=3), "y", "w") == pytest.approx(
            by_hand, abs=1e-9
        )


@column_vectors
@pytest.mark.parametrize(
    "y",
    [
        NUMBERS.to_frame(),
        NUMBERS.to_numpy()[:, None],
        NUMBERS.tolist(),
        tuple(NUMBERS),
        NUMBERS.reset_index(drop=True),
        pd.Index(NUMBERS),
    ],
    ids=["frame", "vector", "list", "tuple", "other index", "index"],
)  # fmt: skip
def test_truth_in_every_container(regressor, y):
    assert regressor.score(X, y) == regressor.score(X, NUMBERS)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=N, max_size=N), st.sets(st.integers(0, N - 1), max_size=N - 3)
)
def test_rows_without_weight_or_truth_do_not_count(regressor, weights, unknown):
    weights = np.array(weights)
    y = NUMBERS.mask(np.isin(np.arange(N), list(unknown)))
    counts = (weights > 0) & y.notna().to_numpy()
    if counts.sum() < 2:
        return
    by_hand = r2_score(y[counts], regressor.predict(X)[counts], sample_weight=weights[counts])
    assert regressor.score(X, y, weights) == pytest.approx(by_hand, abs=1e-12)
    assert regressor.score(X.iloc[counts], y[counts], weights[counts]) == pytest.approx(by_hand, abs=1e-9)


def test_arrays_and_columns_that_play_two_parts(regressor):
    whole = X.assign(y=NUMBERS, w=WEIGHTS)
    expected = regressor.score(X, NUMBERS, WEIGHTS)
    array = da.from_array(whole.to_numpy(), chunks=(20, 2))
    unnamed = DeepLearningRegressor(**SMALL).fit(X.to_numpy(), NUMBERS)
    for table in (whole.to_numpy(), array, whole):
        assert unnamed.score(table, 2, 3) == pytest.approx(expected, abs=1e-12)
    assert regressor.score(X.to_numpy(), NUMBERS, WEIGHTS) == expected
    by_hand = r2_score(X["b"], regressor.predict(X), sample_weight=X["a"].abs())  # a predictor all the same
    assert regressor.score(X, "b", X["a"].abs()) == pytest.approx(by_hand, abs=1e-12)


def test_sparse_tables_and_offsets():
    matrix = scipy.sparse.random_array((N, 5), density=0.4, rng=0, format="csr")
    y = np.asarray(matrix.sum(axis=1)).ravel()
    sparse = DeepLearningRegressor(**SMALL, sparse=True).fit(matrix, y)
    assert sparse.score(matrix, y, WEIGHTS) == pytest.approx(
        r2_score(y, sparse.predict(matrix), sample_weight=WEIGHTS), abs=1e-12
    )
    shifted = DeepLearningRegressor(**SMALL).fit(X.assign(o=NUMBERS / 2), NUMBERS, offset="o")
    by_hand = r2_score(NUMBERS, shifted.predict(X, offset=NUMBERS / 2))
    for table, offset in ((X.assign(o=NUMBERS / 2), None), (X, NUMBERS / 2), (X.assign(p=NUMBERS / 2), "p")):
        assert shifted.score(table, NUMBERS, offset=offset) == pytest.approx(by_hand, abs=1e-12)
    with pytest.raises(ParameterError, match="trained with offsets and column 'o' is not in the table"):
        shifted.score(X, NUMBERS)


FAULTS = {
    "fewer": (NUMBERS.head(7), SchemaError, "90 rows and its target 7"),
    "texts": (["x"] * N, SchemaError, "not numbers: use DeepLearningClassifier"),
    "nothing known": ([None] * N, SchemaError, "no row has a known value, so there is nothing to score"),
    "nothing": (None, ParameterError, "DeepLearningRegressor.score requires y"),
    "two columns": (X, SchemaError, "one dimension"),
    "no such column": ("z", SchemaError, "the table to score has no column 'z' for the target"),
    "infinite": (NUMBERS.mask(~KNOWN, np.inf), SchemaError, "infinite"),
}


@pytest.mark.parametrize(("y", "kind", "text"), FAULTS.values(), ids=FAULTS)
def test_truths_that_are_none(regressor, y, kind, text):
    with pytest.raises(kind, match=text):
        regressor.score(X, y)


@pytest.mark.parametrize(
    ("weights", "text"),
    [(WEIGHTS - 1, "negative"), (np.full(N, np.nan), "missing or infinite"), (WEIGHTS[1:], "90 rows and its weight 89"),
     (["1"] * N, "not numeric"), (WEIGHTS * 0, "no row has a known value and a weight above zero")],
)  # fmt: skip
def test_weights_that_are_none(regressor, weights, text):
    with pytest.raises(SchemaError, match=text):
        regressor.score(X, NUMBERS, weights)


def test_labels_of_another_type_are_refused(classifiers):
    for kind, y in (("str", FLAGS), ("str", FLAGS.astype(int)), ("int", FLAGS.map(str)), ("bool", FLAGS.map(str))):
        with pytest.raises(SchemaError, match=r"labels of type .* and the model learned labels of type"):
            classifiers[kind].score(X, y)
    for y in (NUMBERS + 0.5, pd.Series(DATES), FLAGS.map(lambda f: [f])):
        with pytest.raises(DaskDLError, match="the target of the table to score"):
            classifiers["str"].score(X, y)


def test_labels_never_seen_count_as_wrong(classifiers):
    model, y = classifiers["str"], FLAGS.map({True: "in", False: "elsewhere"})
    wrong = int((~FLAGS).sum())
    for table, truth in ((X, y), (dd.from_pandas(X.assign(y=y), npartitions=4), "y")):
        with pytest.warns(
            DaskDLWarning, match=f"{wrong} of {N} rows have labels .* never seen, 'elsewhere'; they count as wrong"
        ):
            assert model.score(table, truth) == pytest.approx(accuracy_score(y, model.predict(X)))


def test_a_partition_that_cannot_be_read(regressor):
    def broken(k):
        if k == 1:
            raise ValueError("no such block")
        return X.assign(y=NUMBERS)

    frame = dd.from_map(broken, [0, 1], meta=X.assign(y=NUMBERS).iloc[:0])
    with pytest.raises(SchemaError, match=r"the table to score cannot be read(.|\n)*no such block"):
        regressor.score(frame, "y")


def test_every_partition_is_read_once(regressor):
    read = []

    def part(k):
        read.append(k)
        return X.assign(y=NUMBERS)

    frame = dd.from_map(part, [0, 1, 2], meta=X.assign(y=NUMBERS).iloc[:0])
    assert regressor.score(frame, "y") == pytest.approx(regressor.score(X, NUMBERS), abs=1e-12)
    assert sorted(read) == [0, 1, 2]


def test_on_the_workers_of_an_active_client(regressor, classifiers):
    frame = dd.from_pandas(X.assign(y=NUMBERS, label=WORDS, w=WEIGHTS), npartitions=3)
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"):
        assert regressor.score(frame, "y", "w") == pytest.approx(regressor.score(X, NUMBERS, WEIGHTS), abs=1e-12)
        assert classifiers["str"].score(frame.persist(), "label") == classifiers["str"].score(X, WORDS)
        with pytest.raises(SchemaError, match="labels of type str"):
            classifiers["int"].score(frame, "label")
