"""Going on with an estimator: warm starts, partial_fit, and searches that use it."""

from __future__ import annotations

import copy

import dask
import numpy as np
import pytest
from sklearn.base import clone
from tables import make_table
from training.continued import COLUMNS, SETTINGS, assert_same, fit

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError


@pytest.fixture(scope="module")
def table():
    return make_table(500, 0, noise=1.0)


@pytest.fixture(scope="module")
def first(table):
    return fit(table, epochs=3)


def test_warm_start_adds_epochs(table, tmp_path):
    warm = DeepLearningRegressor(**SETTINGS, epochs=2, warm_start=True)
    for k in (1, 2, 3):
        warm.fit(table[[*COLUMNS, "y"]], "y")
        assert warm.model_.record.n_epochs == 2 * k
    assert_same(warm, fit(table, epochs=6))
    warm.save(tmp_path / "m.zip")
    again = load(tmp_path / "m.zip")
    assert (again.epochs, again.warm_start) == (2, True)  # as they were given, and not the sum
    again.fit(table[[*COLUMNS, "y"]], "y")
    assert again.model_.record.n_epochs == 8
    cold = clone(warm).fit(table[[*COLUMNS, "y"]], "y")
    assert cold.model_.record.n_epochs == 2
    warm.set_params(hidden=(9,))
    with pytest.raises(ParameterError, match=r"hidden=.*which cannot change"):
        warm.fit(table[[*COLUMNS, "y"]], "y")


def test_partial_fit_is_one_epoch_and_leaves_the_last_network(table):
    given = SETTINGS | {"epochs": 99, "overwrite_with_best_model": True, "regression_stop": 10.0}
    model, seen = DeepLearningRegressor(**given), 0
    for part in (table[:200], table[200:270], table[270:]):
        assert model.partial_fit(part[COLUMNS], part["y"]) is model
        seen += len(part)
        assert model.model_.record.n_seen == seen
    assert model.model_.record.n_epochs == 3
    assert model.get_params()["epochs"] == 99 and model.model_.record.requested["epochs"] == 99
    at_once = DeepLearningRegressor(**given | {"epochs": 1}).fit(table[COLUMNS], table["y"])
    assert model.score(table[COLUMNS], table["y"]) > 0.5 * at_once.score(table[COLUMNS], table["y"])
    twice = DeepLearningRegressor(**SETTINGS)
    for _ in range(2):
        twice.partial_fit(table[COLUMNS], table["y"])
    assert_same(twice, fit(table, epochs=2))


def test_partial_fit_takes_classes_that_come_later(table):
    labels = np.where(table["a"] > 0, 2, np.where(table["b"] > 0, 5, 9))
    order = np.argsort(labels, kind="stable")
    X, y = table[COLUMNS].iloc[order], labels[order]
    model = DeepLearningClassifier(**SETTINGS)
    model.partial_fit(X[:100], y[:100], classes=[9, 2, 5])
    assert model.classes_.tolist() == [2, 5, 9] and model.predict_proba(X).shape == (500, 3)
    for k in range(40):
        rows = np.arange(k % 5, 500, 5)
        model.partial_fit(X.iloc[rows], y[rows], sample_weight=np.ones(len(rows)))
    assert set(model.predict(X)) == {2, 5, 9} and model.score(X, y) > 0.7
    with pytest.raises(ParameterError, match=r"classes=\[2, 5\], and the first call had \[2, 5, 9\]"):
        model.partial_fit(X, y, classes=[2, 5])
    with pytest.raises(SchemaError, match=r"labels that are not in classes: \[9\]"):
        DeepLearningClassifier(**SETTINGS).partial_fit(X, y, classes=[2, 5])
    with pytest.raises(ParameterError, match="balance_classes=True: partial_fit does not know"):
        DeepLearningClassifier(**SETTINGS, balance_classes=True).partial_fit(X, y)
    with pytest.raises(SchemaError, match="classes that the model does not know: 7"):
        model.partial_fit(X, np.full(500, 7))


def test_a_column_that_is_constant_on_the_first_call_is_left_out_for_good_or_kept(table):
    later = table.assign(k=table["y"])
    begins = later[:100].assign(k=5.0)
    dropped, kept = (DeepLearningRegressor(**SETTINGS, ignore_const_cols=drops) for drops in (True, False))
    with pytest.warns(DaskDLWarning, match=r"dropped 1 columns .*: 'k'\. Later calls of partial_fit leave them out"):
        dropped.partial_fit(begins[[*COLUMNS, "k"]], begins["y"])
    kept.partial_fit(begins[[*COLUMNS, "k"]], begins["y"])
    for _ in range(5):
        for model in (dropped, kept):
            model.partial_fit(later[[*COLUMNS, "k"]], later["y"])
    assert "k" not in dropped.encoder_.columns and "k" in kept.encoder_.columns
    scores = [model.score(later[[*COLUMNS, "k"]], later["y"]) for model in (dropped, kept)]
    assert scores[1] > 0.9 > scores[0]
    with pytest.warns(DaskDLWarning, match=r"dropped 1 columns that are constant or empty: 'k'\.$"):
        DeepLearningRegressor(**SETTINGS).fit(begins[[*COLUMNS, "k"]], begins["y"])


def test_partial_fit_goes_on_from_fit(table, first):
    model = fit(table, epochs=3)
    model.partial_fit(table[COLUMNS], table["y"])
    assert_same(model, fit(table, epochs=4))


def test_partial_fit_leaves_the_last_network_even_if_it_is_worse(table):
    model = fit(table, epochs=8, adaptive_rate=False, rate=0.05, overwrite_with_best_model=True)
    before, score = model.model_.network.flat, model.score(table[COLUMNS], table["y"])
    model.set_params(l2=0.3).partial_fit(table[COLUMNS], table["y"])
    assert not np.array_equal(model.model_.network.flat, before) and model.score(table[COLUMNS], table["y"]) < score


def test_a_search_may_copy_and_go_on_with_models(table):
    # As searches of dask-ml do it: the better half of copies trains on, block after block.
    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    base = DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1)
    models = [clone(base).set_params(rho=rho, l2=l2) for rho in (0.9, 0.99) for l2 in (0.0, 1e-3)]
    for k in range(3):
        rows = slice(100 * k, 100 * k + 100)
        for n, model in enumerate(models):
            before, models[n] = model, copy.deepcopy(model)
            models[n].partial_fit(X[rows], y[rows], classes=[0, 1])
            assert getattr(before, "n_iter_", 0) < models[n].n_iter_ if k else not hasattr(before, "model_")
        models.sort(key=lambda model: -model.score(X[300:], y[300:]))
        del models[max(1, len(models) // 2) :]
    assert len(models) == 1 and models[0].model_.record.n_epochs == 3 and models[0].score(X[300:], y[300:]) > 0.8


@pytest.mark.filterwarnings("ignore")  # dask-ml's own
def test_searches_of_dask_ml_train_by_partial_fit(table):
    model_selection, dask_ml = (pytest.importorskip(f"dask_ml{part}") for part in (".model_selection", ""))
    from distributed import Client

    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    estimator = DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1)
    options = {"n_initial_parameters": 4, "decay_rate": None, "max_iter": 4, "random_state": 0}
    search = model_selection.IncrementalSearchCV(estimator, {"l2": [0.0, 1e-4], "rho": [0.9, 0.99]}, **options)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
        try:
            search.fit(X, y, classes=[0, 1])
        except RuntimeError as error:
            if "asynchronous Client" not in str(error):
                raise
            pytest.skip(f"dask-ml {dask_ml.__version__} with Dask {dask.__version__}, whatever the estimator: {error}")
    assert search.best_score_ > 0.8
    assert max(record["partial_fit_calls"] for record in search.history_) >= 3


@pytest.mark.filterwarnings("ignore")  # as above
def test_blocks_of_a_dask_array_train_one_after_another_in_dask_ml(table):
    wrappers = pytest.importorskip("dask_ml.wrappers")
    import dask.array as da

    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    model = wrappers.Incremental(DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1))
    model.fit(da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100), classes=[0, 1])
    assert model.estimator_.model_.record.n_epochs == 5 and model.estimator_.score(X, y) > 0.8
