"""Searches of scikit-learn and of dask-ml over the estimators: on which tables they run, and that they find the better one."""

from __future__ import annotations

from types import SimpleNamespace

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from dask.base import unpack_collections
from distributed import Client
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # makes the halving searches importable
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

SETTINGS = {"epochs": 3, "random_state": 4, "n_jobs": 1, "stopping_rounds": 0, "on_interrupt": "raise"}
#: The second cannot learn: its steps are too small.
SPACE = {"hidden": [(6,)], "epsilon": [1e-6, 1e-20]}
BEST = {"hidden": (6,), "epsilon": 1e-6}


@pytest.fixture(scope="module")
def table():
    """Two numbers, a level, a label and a number that follow from them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300), "c": rng.choice(["x", "y"], 300)})
    score = frame["a"] - frame["b"] + (frame["c"] == "x")
    return frame.assign(label=np.where(score > 0.5, "yes", "no"), number=10 + 3 * score)


@pytest.fixture(scope="module")
def client():
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        yield client


def frames(table):
    return table[["a", "b", "c"]], table["label"]


def arrays(table):
    return table[["a", "b"]].to_numpy(), (table["label"] == "yes").to_numpy().astype(int)


def dask_arrays(table):
    return tuple(da.from_array(part, chunks=100) for part in arrays(table))


def dask_frames(table):
    return tuple(dd.from_pandas(part, npartitions=2) for part in frames(table))


def classifier(**given):
    return DeepLearningClassifier(**SETTINGS | given)


def check(search, X, y):
    """Whether a search found the better candidate, and trained it on all rows."""
    assert search.best_params_ == BEST
    assert search.best_score_ > np.nanmin(search.cv_results_["mean_test_score"]) + 0.1
    assert search.best_estimator_.n_iter_ > 0 and len(search.best_estimator_.classes_) == 2
    assert np.mean(np.asarray(search.predict(X)) == np.asarray(y)) > 0.8


# ---- scikit-learn -----------------------------------------------------------------------------------------------------


NO_TAKE = pytest.mark.xfail(raises=AttributeError, reason="scikit-learn takes rows by pandas' take, which Dask has not")


@pytest.mark.parametrize("form", [frames, arrays, dask_arrays, pytest.param(dask_frames, marks=NO_TAKE)])
def test_grids_of_scikit_learn(table, form):
    X, y = form(table)
    check(GridSearchCV(classifier(), SPACE, cv=2, error_score="raise").fit(X, y), X, y)


def test_a_search_passes_a_table_for_stopping_to_all(table):
    X, y = frames(table)
    search = GridSearchCV(classifier(epochs=30, stopping_rounds=1), SPACE, cv=2, error_score="raise")
    search.fit(X[:200], y[:200], eval_set=(X[200:], y[200:]))
    assert "validation_logloss" in search.best_estimator_.history_.columns
    assert search.best_params_ == BEST


def test_random_searches_of_scikit_learn(table):
    X, y = table[["a", "b", "c"]], table["number"]
    space = {"rho": [0.9, 0.99], "l2": loguniform(1e-6, 10)}
    search = RandomizedSearchCV(
        DeepLearningRegressor(hidden=(6,), **SETTINGS), space, n_iter=4, cv=2, random_state=0, error_score="raise",
        scoring=["r2", "neg_mean_absolute_error"], refit="r2",
    ).fit(X, y)  # fmt: skip
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_neg_mean_absolute_error"]).all()
    assert search.score(X, y) > 0.5
    assert search.best_estimator_.l2 == search.best_params_["l2"] < 1


@pytest.mark.parametrize("kind", [HalvingGridSearchCV, HalvingRandomSearchCV])
def test_halving_searches_of_scikit_learn_over_epochs(table, kind):
    X, y = frames(table)
    how = {"n_candidates": 2} if kind is HalvingRandomSearchCV else {}
    search = kind(
        classifier(), SPACE, resource="epochs", min_resources=1, max_resources=4, factor=2, cv=2, random_state=0,
        error_score="raise", **how,
    ).fit(X, y)  # fmt: skip
    assert search.n_resources_[0] < search.n_resources_[-1] <= 4
    assert search.n_candidates_[0] == 2 and search.n_candidates_[-1] == 1
    assert {k: search.best_params_[k] for k in BEST} == BEST
    assert search.best_estimator_.epochs == search.n_resources_[-1]


@pytest.mark.parametrize("backend", ["threading", "dask"])
def test_searches_of_scikit_learn_through_joblib(table, client, backend):
    X, y = frames(table)
    with joblib.parallel_config(backend, n_jobs=2):
        there = GridSearchCV(classifier(), SPACE, cv=2, error_score="raise").fit(X, y)
    check(there, X, y)
    here = GridSearchCV(classifier(), SPACE, cv=2, error_score="raise").fit(X, y)
    # Here candidates are trained on the cluster, there each in a task.
    scores = [search.cv_results_["mean_test_score"] for search in (there, here)]
    np.testing.assert_allclose(*scores, atol=0.05)


# ---- dask-ml ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dask_ml():
    """Searches of dask-ml, which is no dependency."""
    return pytest.importorskip("dask_ml.model_selection", reason="dask-ml is not installed")


@pytest.mark.filterwarnings("ignore")  # dask-ml's own
@pytest.mark.parametrize("form", [frames, arrays, dask_arrays, dask_frames])
def test_grids_of_dask_ml(table, client, dask_ml, form):
    X, y = form(table)
    check(dask_ml.GridSearchCV(classifier(), SPACE, cv=2, scheduler=client).fit(X, y), X, y)


ADAPTIVE = {
    "IncrementalSearchCV": {"n_initial_parameters": "grid", "decay_rate": None, "max_iter": 3},
    "HyperbandSearchCV": {"max_iter": 4},
}


def adaptive(dask_ml, name):
    return getattr(dask_ml, name)(classifier(hidden=(6,)), {"epsilon": [1e-6, 1e-20]}, random_state=0, **ADAPTIVE[name])


def check_adaptive(search, X, y):
    assert search.best_params_["epsilon"] == 1e-6 and search.best_score_ > 0.7
    assert max(record["partial_fit_calls"] for record in search.history_) >= 3
    assert search.best_estimator_.model_.record.n_epochs >= 3
    assert np.mean(np.asarray(search.predict(X)) == np.asarray(y)) > 0.8


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("form", [arrays, dask_arrays])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_searches_of_dask_ml(table, client, dask_ml, name, form):
    X, y = form(table)
    try:
        search = adaptive(dask_ml, name).fit(X, y, classes=[0, 1])
    except RuntimeError as error:
        if "asynchronous Client" not in str(error):
            raise
        pytest.skip(
            f"dask-ml calls dask.persist on the loop of the client, which Dask {dask.__version__} refuses, whatever the "
            f"estimator: {error}"
        )
    check_adaptive(search, X, y)


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("form", [arrays, dask_arrays])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_searches_of_dask_ml_but_for_that_call(table, client, dask_ml, name, form, monkeypatch):
    from dask_ml.model_selection import _incremental

    def persist(*parts):
        collections, repack = unpack_collections(*parts)
        return repack(client.persist(collections))

    monkeypatch.setattr(_incremental, "dask", SimpleNamespace(**vars(dask) | {"persist": persist}))
    X, y = form(table)
    check_adaptive(adaptive(dask_ml, name).fit(X, y, classes=[0, 1]), X, y)
