"""Sparse tables from end to end: the same network as from numbers written out, in memory in proportion to the non-zeros."""

from __future__ import annotations

import tracemalloc

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, SchemaError

SETTINGS = UNSCORED | {"hidden": (12,), "epochs": 4, "random_state": 1, "n_jobs": 1, "stopping_rounds": 0}


def make_matrix(n=700, p=60, seed=0):
    random = np.random.default_rng(seed)
    X = sparse.random_array((n, p), density=0.08, format="csr", rng=random)
    X.data[::50] = np.nan
    return X, np.nan_to_num(X.toarray()) @ random.normal(size=p) * 3 + random.normal(size=n) / 10


def blocks(X, n=200):
    return da.from_array(X.toarray(), chunks=(n, -1)).map_blocks(
        sparse.csr_matrix, dtype=float, meta=sparse.csr_matrix((0, 0))
    )


@pytest.mark.parametrize(
    "given",
    [{}, {"mini_batch_size": 16}, {"fast_mode": False}, {"standardize": False, "input_dropout_ratio": 0.2}],
    ids=["rows", "batches", "not fast", "raw with dropout"],
)
def test_any_form_of_the_matrix_gives_the_same_bits(given, tmp_path):
    X, y = make_matrix()
    settings = SETTINGS | given
    whole = DeepLearningRegressor(**settings, sparse=True).fit(X.toarray(), y)
    forms = [X, X.tocsc(), sparse.csr_matrix(X), blocks(X), pd.DataFrame(X.toarray())]
    for form in forms:
        model = DeepLearningRegressor(**settings, sparse=isinstance(form, pd.DataFrame)).fit(form, y)
        if not isinstance(form, pd.DataFrame):
            assert model.parameters_["sparse"] is True
        # Figures are summed in another order.
        np.testing.assert_allclose(model.model_.network.flat, whole.model_.network.flat, rtol=1e-4, atol=1e-5)
    together = whole.predict(X)
    np.testing.assert_allclose(whole.predict(X.toarray()), together, rtol=1e-6)
    lazy = whole.predict(blocks(X))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), together)
    whole.save(tmp_path / "m.zip")
    np.testing.assert_array_equal(load(tmp_path / "m.zip").predict(X), together)


@pytest.mark.parametrize("storage", ["disk", "stream"])
def test_out_of_memory_gives_the_same_bits(storage):
    X, y = make_matrix()
    one, other = (DeepLearningRegressor(**SETTINGS, storage=how).fit(blocks(X), y) for how in ("memory", storage))
    np.testing.assert_array_equal(one.model_.network.flat, other.model_.network.flat)


def test_categories_beside_sparse_numbers():
    X, y = make_matrix()
    frame = pd.DataFrame(X.toarray()).rename(columns="n{}".format).assign(level=np.where(y > 0, "up", "down"))
    model = DeepLearningRegressor(**SETTINGS, sparse=True).fit(frame, y)
    assert list(model.encoder_.get_feature_names_out()[:4]) == ["level.down", "level.up", "level.missing(NA)", "n0"]
    assert model.score(frame, y) > 0.5
    with pytest.raises(SchemaError, match="was trained on categories"):
        model.predict(sparse.csr_array(np.zeros((3, X.shape[1] + 1))))


def test_a_column_that_is_absent_at_prediction_is_zero():
    X, y = make_matrix()
    frame = pd.DataFrame(X.toarray()).rename(columns="n{}".format)
    model = DeepLearningRegressor(**SETTINGS, sparse=True).fit(frame, y)
    with pytest.warns(DaskDLWarning, match="lacks 1 columns of training"):
        without = model.predict(frame.drop(columns="n3"))
    np.testing.assert_array_equal(without, model.predict(frame.assign(n3=0.0)))


def test_classes_weights_and_validation():
    X, y = make_matrix()
    labels = np.where(y > 0, "up", "down")
    Xv, yv = make_matrix(seed=1)
    model = DeepLearningClassifier(**SETTINGS, balance_classes=True)
    model.fit(X, labels, eval_set=(Xv, np.where(yv > 0, "up", "down")))
    assert model.predict_proba(X).shape == (700, 2)
    weighted = DeepLearningRegressor(**SETTINGS).fit(X, y, sample_weight=np.arange(700) % 2)
    half = DeepLearningRegressor(**SETTINGS).fit(X[1::2], y[1::2])
    assert weighted.model_.record.n_rows == half.model_.record.n_rows == 350


def test_missing_numbers_are_skipped_on_request():
    X, y = make_matrix()
    lacking = np.isnan(X.toarray()).any(axis=1)
    model = DeepLearningRegressor(**SETTINGS, missing_values_handling="skip").fit(X, y)
    assert model.model_.record.n_rows == (~lacking).sum() < 700


def test_a_validation_table_may_have_more_columns():
    X, y = make_matrix()
    wide = sparse.hstack([X, X], format="csr")
    for held in (wide, blocks(wide)):
        model = DeepLearningRegressor(**SETTINGS, score_validation_samples=0).fit(X, y, eval_set=(held, y))
        last = model.history_.iloc[-1]
        assert last["validation_rmse"] == pytest.approx(last["training_rmse"])


def test_skip_asks_little_of_columns_with_gaps_and_zeros():
    n, p = 20_000, 3000
    random = np.random.default_rng(0)
    gaps = sparse.csr_array((np.full(p, np.nan), (random.integers(0, n, p), np.arange(p))), shape=(n, p))
    X = sparse.hstack([sparse.random_array((n, 20), density=0.2, rng=random), gaps], format="csr")
    y = np.arange(n) % 7.0
    settings = SETTINGS | {"hidden": (2,), "epochs": 0.1, "missing_values_handling": "skip"}
    tracemalloc.start()
    with pytest.warns(DaskDLWarning, match="dropped 3000 columns"):
        model = DeepLearningRegressor(**settings).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.model_.record.n_rows == n
    assert peak < 40e6  # a mark for each row and column would be 60 MB


def test_a_prediction_does_not_take_the_model_apart():
    X, y = make_matrix()
    model = DeepLearningRegressor(**SETTINGS).fit(X, y)
    assert len(model.predict(blocks(X)).dask) < 30  # and not a task for each column


def test_sparse_blocks_that_dask_does_not_know_of_are_found_at_once():
    X, y = make_matrix()
    hidden = da.from_array(X.toarray(), chunks=(200, -1)).map_blocks(sparse.csr_matrix, meta=np.zeros((0, 0)))
    with pytest.raises(SchemaError, match=r"partition 0 is a sparse matrix, .* meta=scipy.sparse.csr_matrix"):
        DeepLearningRegressor(**SETTINGS).fit(hidden, y)
    told = DeepLearningRegressor(**SETTINGS, sparse=True).fit(hidden, y)
    np.testing.assert_array_equal(
        told.model_.network.flat, DeepLearningRegressor(**SETTINGS).fit(blocks(X), y).model_.network.flat
    )


def test_what_does_not_fit_is_refused():
    X, y = make_matrix()
    dense = DeepLearningRegressor(**SETTINGS).fit(X.toarray(), y)
    with pytest.raises(SchemaError, match="trained on numbers that are centred, which leaves no zeros"):
        dense.predict(X)
    with pytest.raises(SchemaError, match="give the target as an array beside it, and not as one of its columns, 3"):
        DeepLearningRegressor(**SETTINGS).fit(X, 3)
    model = DeepLearningRegressor(**SETTINGS).fit(X, y)
    with pytest.raises(SchemaError, match="X has 59 features, but DeepLearningRegressor is expecting 60"):
        model.predict(X[:, :-1])


@pytest.mark.filterwarnings("ignore::dask_dl.errors.DaskDLWarning")  # columns without a number
def test_memory_is_in_proportion_to_the_non_zeros():
    n, p, per_row = 4000, 20_000, 20
    random = np.random.default_rng(0)
    indices = np.sort(random.integers(0, p, (n, per_row)), axis=1).ravel()
    X = sparse.csr_array((random.random(n * per_row), indices, np.arange(0, n * per_row + 1, per_row)), shape=(n, p))
    y = np.asarray(X.sum(axis=1)).ravel()
    settings = SETTINGS | {"hidden": (2,), "epochs": 1}
    DeepLearningRegressor(**settings).fit(X[:50, :100], y[:50])  # imports and kernels
    tracemalloc.start()
    model = DeepLearningRegressor(**settings).fit(X, y)
    model.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    per_column = 3500  # figures of scan and encoder, names; weights, their state, the best network
    assert peak < 120 * X.nnz + per_column * p < n * p * 8 / 5


def test_hashed_levels_share_inputs(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.integers(0, 200, 900).astype(str) for name in "abc"})
    effect = random.normal(size=200)
    y = effect[frame["a"].astype(int)] + random.normal(size=900) / 10
    given = SETTINGS | {"epochs": 40, "max_categorical_features": 64}
    model = DeepLearningRegressor(**given).fit(frame, y)
    assert model.coefs_[0].shape[0] == 64
    assert list(model.encoder_.get_feature_names_out()) == [f"hashed.{k}" for k in range(64)]
    assert set(model.encoder_.describe()["kind"]) == {"hashed category"}
    assert np.corrcoef(model.predict(frame), y)[0, 1] > 0.35  # most levels collide
    model.save(tmp_path / "m.zip")
    strange = frame.assign(b="never seen", c=None)
    np.testing.assert_array_equal(load(tmp_path / "m.zip").predict(strange), model.predict(strange))
    other = DeepLearningRegressor(**given | {"random_state": 2}).fit(frame, y)
    assert other.encoder_.hashing != model.encoder_.hashing  # the seed is H2O's
    roomy = DeepLearningRegressor(**given | {"max_categorical_features": 10_000}).fit(frame, y)
    assert roomy.encoder_.hashing is None


def test_a_constant_column_of_zeros_is_dropped_and_told():
    X, y = make_matrix()
    wide = sparse.hstack([X, sparse.csr_array((700, 2))], format="csr")
    with pytest.warns(DaskDLWarning, match="dropped 2 columns that are constant or empty: 'x60', 'x61'"):
        model = DeepLearningRegressor(**SETTINGS).fit(wide, y)
    assert model.n_features_in_ == 62 and model.coefs_[0].shape[0] == 60
