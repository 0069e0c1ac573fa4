"""Outcome of a search."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tables import make_table

from dask_dl import DeepLearningClassifier, GridSearch
from dask_dl.errors import ParameterError

TABLE = make_table(400)[["a", "b", "label"]]
SMALL = {"hidden": (4,), "epochs": 2, "random_state": 1, "score_duty_cycle": 0.0, "stopping_rounds": 0, "n_jobs": 1}
SPACE = {"hidden": [[3], [5]], "l1": [0.0, -1.0]}


@pytest.fixture(scope="module")
def found():
    return GridSearch(DeepLearningClassifier(**SMALL), SPACE, metric="auc").fit(TABLE, "label", eval_set=TABLE)


def test_the_best_answers(found):
    best = found.best_model_
    assert best.get_params()["hidden"] == found.best_params_["hidden"]
    assert found.best_score_ == found.leaderboard_["auc"].iloc[0] == found.leaderboard_["auc"].max()
    np.testing.assert_array_equal(found.predict(TABLE), best.predict(TABLE))
    np.testing.assert_array_equal(found.predict_proba(TABLE), best.predict_proba(TABLE))
    assert found.score(TABLE, "label") == best.score(TABLE, "label")


def test_it_is_pickled_and_cloned(found):
    other = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(other.predict_proba(TABLE), found.predict_proba(TABLE))
    fresh = clone(found)
    assert fresh.get_params(deep=False).keys() == found.get_params(deep=False).keys()
    assert repr(fresh).startswith("GridSearch(estimator=")
    with pytest.raises(NotFittedError):
        fresh.predict(TABLE)


def test_pictures_are_drawn(found):
    pytest.importorskip("matplotlib")
    assert [ax.get_xlabel() for ax in found.plot_parameters().axes if ax.get_visible()] == ["hidden", "l1"]
    lines = [line for line in found.plot_parallel_coordinates("logloss").lines if len(line.get_xdata()) == 3]
    assert len(lines) == 2  # those that failed have no value
    ax = found.plot_curves("misclassification")
    assert ax.get_ylabel() == "validation misclassification" and len(ax.lines) == 2
    for draw in (found.plot_parameters, found.plot_parallel_coordinates, found.plot_curves):
        with pytest.raises(ParameterError, match="metric='rmsle'"):
            draw("rmsle")
