"""Predictions over Dask Arrays: lazy, in their chunks, with the bits of local ones."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from predicted import LABELS, SMALL, N, check_weights_travel_once, fail

import dask_dl.node.replica
import dask_dl.predictor
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError


@pytest.fixture(scope="module")
def numbers():
    array = np.random.default_rng(2).normal(size=(N, 3))
    array[::7, 0] = np.nan
    return array


@pytest.fixture(scope="module")
def of_arrays(numbers):
    return {
        kind: DeepLearningClassifier(**SMALL).fit(numbers, np.resize(np.array(labels), N))
        for kind, labels in LABELS.items()
    } | {"numbers": DeepLearningRegressor(**SMALL).fit(numbers, np.arange(N) * 1000.0)}


def of_unknown_length(array):
    return da.Array(array.dask, array.name, ((np.nan,) * array.numblocks[0], *array.chunks[1:]), meta=array._meta)


CHUNKS = [(N, 3), (17, 3), (17, 2), ((0, 20, 0, 40, 0), (1, 1, 1))]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("kind", [*LABELS, "numbers"])
def test_a_dask_array_gives_a_lazy_dask_array(of_arrays, numbers, kind, chunks, known):
    model, X = of_arrays[kind], da.from_array(numbers, chunks=chunks)
    rows = X.chunks[0]
    X = X if known else of_unknown_length(X)
    answers = {model.predict: (N,)}
    if kind != "numbers":
        answers[model.predict_proba] = (N, len(LABELS[kind]))
    for predict, shape in answers.items():
        lazy, local = predict(X), predict(numbers)
        assert isinstance(lazy, da.Array)
        assert (lazy.dtype, lazy.ndim) == (local.dtype, len(shape))
        assert lazy.chunks[1:] == tuple((k,) for k in shape[1:])
        if known:
            assert lazy.chunks[0] == rows
        else:
            assert np.isnan(lazy.chunks[0]).all() and len(lazy.chunks[0]) == len(rows)
        computed = lazy.compute(scheduler="synchronous")
        assert computed.dtype == local.dtype
        np.testing.assert_array_equal(computed, local)
        np.testing.assert_array_equal(lazy[::5].compute() if known else lazy.compute(), local[::5] if known else local)


def test_nothing_of_an_array_is_predicted_before_compute(of_arrays, monkeypatch):
    X = da.map_blocks(fail, chunks=((10, 10), (3,)), dtype=float, meta=np.zeros((0, 0)))
    monkeypatch.setattr(dask_dl.predictor, "predict", fail)
    lazy = of_arrays["texts"].predict_proba(X)
    assert lazy.shape == (20, 3)
    with pytest.raises(AssertionError, match="later"):
        lazy.compute(scheduler="synchronous")


def test_the_weights_are_in_the_graph_of_an_array_once(numbers):
    model = DeepLearningClassifier(hidden=(300, 300), epochs=0.1, random_state=1).fit(numbers, np.resize([0, 1], N))
    X = da.from_array(numbers, chunks=(5, 3))
    for lazy in (model.predict(X), model.predict_proba(X), model.predict_proba(X)[:, 0] + 1):
        check_weights_travel_once(model, lazy)


def test_offsets_beside_a_dask_array(numbers):
    offset = np.random.default_rng(3).normal(size=N)
    model = DeepLearningRegressor(**SMALL).fit(numbers, np.arange(N) ** 2, offset=offset)
    local = model.predict(numbers, offset=offset)
    X = da.from_array(numbers, chunks=(17, 2))
    for beside in (
        offset,
        offset.tolist(),
        da.from_array(offset, chunks=9),
        of_unknown_length(da.from_array(offset, chunks=17)),
    ):
        np.testing.assert_array_equal(model.predict(X, offset=beside).compute(), local)
    np.testing.assert_array_equal(
        model.predict(of_unknown_length(X), offset=da.from_array(offset, chunks=17)).compute(), local
    )
    with pytest.raises(SchemaError, match=r"60 rows and its offset 59. Their lengths must match"):
        model.predict(X, offset=offset[1:])
    for texts in (["high"] * N, pd.Series(["high"] * N), da.from_array(np.array(["high"] * N, object), chunks=9)):
        with pytest.raises(SchemaError, match=r"offset of the table to predict is not numeric"):
            np.asarray(model.predict(X, offset=texts))
    with pytest.raises(SchemaError, match="unknown length"):
        model.predict(of_unknown_length(X), offset=offset)
    for given, found in ((None, "none was given"), (2, "column 'x2' is a predictor"), ("zzz", "is not in the table")):
        with pytest.raises(ParameterError, match=f"trained with offsets and .*{found}"):
            model.predict(X, offset=given)


def test_scores_of_every_kind_of_table(numbers):
    y = numbers[:, 1:].sum(axis=1)
    w = np.random.default_rng(4).uniform(1, 2, N)
    model = DeepLearningRegressor(**SMALL).fit(numbers, y)
    expected = model.score(numbers, y, w)
    whole = np.column_stack([y, numbers, w])
    frame = pd.DataFrame(whole, columns=["y", "x0", "x1", "x2", "w"])
    lazy = da.from_array(whole, chunks=(17, 2))
    named = DeepLearningRegressor(**SMALL).fit(frame, "y", sample_weight="w")
    for table in (whole, whole.tolist(), lazy, of_unknown_length(lazy)):
        assert model.score(table, 0, -1) == expected
    for table in (frame, dd.from_pandas(frame, npartitions=3)):
        assert named.score(table, "y", "w") == named.score(table, 0, 4) == named.score(frame, y, w)
    assert model.score(lazy[:, 1:-1], da.from_array(y, chunks=9), w) == expected
    with pytest.raises(SchemaError, match="the table to score has 5 columns, at the positions 0 to 4, and none at 5"):
        model.score(whole, 5)
    with pytest.raises(SchemaError, match="the table to score has no column 'z' for the target"):
        named.score(frame, "z")
