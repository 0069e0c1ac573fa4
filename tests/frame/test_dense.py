"""Arrays of numbers reach the network without a frame: everything is as if they had one."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import SchemaError

N, P = 80, 4
SMALL = UNSCORED | {"hidden": (5, 3), "epochs": 1, "random_state": 1, "n_jobs": 1}


@pytest.fixture(scope="module")
def numbers():
    X = np.random.default_rng(0).integers(0, 4, (N, P)).astype(float)
    X[::7, 1] = np.nan
    return X


@pytest.fixture(scope="module")
def models(numbers):
    names = [f"x{k}" for k in range(P)]  # as an array's columns are called
    frame = pd.DataFrame(numbers, columns=names)
    levels = frame.assign(x2=frame["x2"].astype(int).astype("category"))
    labels = np.where(numbers[:, 0] > 1, "high", "low")
    return {
        "numbers": DeepLearningClassifier(**SMALL).fit(frame, labels),
        "levels": DeepLearningClassifier(**SMALL).fit(levels, labels),
        "codes": DeepLearningClassifier(**SMALL, categorical_encoding="label_encoder").fit(levels, labels),
        "sparse": DeepLearningClassifier(**SMALL, sparse=True).fit(frame, labels),
        "regressor": DeepLearningRegressor(**SMALL).fit(frame, numbers[:, 0] * 100.0),
    }


def outputs(model, X):
    return [
        getattr(model, name)(X) for name in ("predict", "predict_proba", "predict_log_proba") if hasattr(model, name)
    ]


DTYPES = ["f2", "f4", "f8", "longdouble", "i1", "u2", "i8", "u8", "?"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(
        np.dtype(dtype),
        st.tuples(st.integers(0, 40), st.just(P)),
        elements=None if dtype == "?" else st.integers(0, 9).map(np.dtype(dtype).type),
    )
)


@given(
    array=ARRAYS, kind=st.sampled_from(["numbers", "levels", "codes", "sparse", "regressor"]), form=st.integers(0, 3)
)
@settings(deadline=None)
def test_an_array_is_predicted_as_its_frame(models, array, kind, form):
    array = [array, np.asfortranarray(array), array[::-1], np.repeat(array, 2, axis=1)[:, ::2]][form]
    frame = pd.DataFrame(array, columns=[f"x{k}" for k in range(P)])
    array.flags.writeable = False
    for of_array, of_frame in zip(outputs(models[kind], array), outputs(models[kind], frame), strict=True):
        assert of_array.dtype == of_frame.dtype
        np.testing.assert_array_equal(of_array, of_frame)


@pytest.mark.parametrize("kind", ["numbers", "levels", "codes", "sparse", "regressor"])
def test_a_row_alone_has_the_bits_that_it_has_among_others(models, numbers, kind):
    whole = outputs(models[kind], numbers)
    for k in (0, 1, 7, N - 1):
        for alone, among in zip(outputs(models[kind], numbers[k : k + 1]), whole, strict=True):
            np.testing.assert_array_equal(alone, among[k : k + 1])
        for alone, among in zip(outputs(models[kind], numbers[k : k + 1].tolist()), whole, strict=True):
            np.testing.assert_array_equal(alone, among[k : k + 1])


def test_blocks_of_a_dask_array_need_no_frame_either(numbers):
    model = DeepLearningClassifier(**SMALL).fit(numbers, numbers[:, 0] > 1)
    lazy = model.predict_log_proba(da.from_array(numbers, chunks=(30, 2)))
    assert lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy.compute(), model.predict_log_proba(numbers))


@pytest.mark.parametrize("dtype", ["M8[D]", "M8[ms]", "M8[ns]", "m8[s]", "m8[us]"])
def test_dates_and_durations_of_an_array_are_those_of_a_frame(models, numbers, dtype):
    # Milliseconds, whatever holds them and whatever a column held in training: a column of dates is a column of numbers.
    X = (np.nan_to_num(numbers) * 1e7).astype("i8").astype(dtype)
    X[np.isnan(numbers)] = "NaT"
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(P)])
    y = np.arange(float(N))
    of_array, of_frame = (DeepLearningRegressor(**SMALL).fit(table, y) for table in (X, frame))
    assert of_array.encoder_.to_json() == of_frame.encoder_.to_json()
    of_numbers = DeepLearningRegressor(**SMALL).fit(numbers, y)
    milliseconds = np.where(np.isnan(numbers), np.nan, (X - np.zeros((), dtype)) / np.timedelta64(1, "ms"))
    for model, column in ((of_array, of_frame), (of_numbers, models["regressor"])):
        for table in (X, da.from_array(X, chunks=(30, P)), milliseconds):
            np.testing.assert_array_equal(np.asarray(model.predict(table)), model.predict(milliseconds))
        np.testing.assert_array_equal(column.predict(frame), column.predict(milliseconds))


def test_what_is_masked_is_missing(models, numbers):
    masked = np.ma.masked_invalid(numbers)
    masked.data[masked.mask] = 1e9
    np.testing.assert_array_equal(models["numbers"].predict_proba(masked), models["numbers"].predict_proba(numbers))


@pytest.mark.parametrize("kind", ["numbers", "sparse"])
def test_faults_of_an_array_name_the_column(models, numbers, kind):
    odd = numbers.copy()
    odd[3, 2] = np.inf
    with pytest.raises(SchemaError, match=r"column 'x2' of the table to predict holds 1 infinite values"):
        models[kind].predict(odd)
    with pytest.raises(SchemaError, match="X has 3 features, but DeepLearningClassifier is expecting 4"):
        models[kind].predict(numbers[:, :3])
    with pytest.raises(SchemaError, match=r"found numpy.ndarray of shape \(4,\). Reshape your data: one row"):
        models[kind].predict(numbers[0])


def test_an_answer_is_an_array_of_its_own(models, numbers):
    X = numbers.astype(np.float32)
    first = models["numbers"].predict_proba(X)
    first[:] = -1
    assert (models["numbers"].predict_proba(X) >= 0).all()
    labels = models["numbers"].predict(X)
    labels[:] = "none"
    assert set(models["numbers"].predict(X)) <= {"high", "low"}
