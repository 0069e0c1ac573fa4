"""Searches: what is tried, in which order the table has it, and that the table is read once."""

from __future__ import annotations

import signal
import threading
import time

import dask.dataframe as dd
import numpy as np
import pytest
from distributed.utils_test import gen_cluster
from tables import make_table

import dask_dl
from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, prepare
from dask_dl.errors import ParameterError

SMALL = {"hidden": (6,), "epochs": 2, "random_state": 1, "score_duty_cycle": 0.0, "stopping_rounds": 0}
TABLE = make_table(600)[["a", "b", "level", "y", "label"]]
NUMBERS = TABLE.drop(columns="label")
#: Rows of the partitions that were read.
READ, LOCK = [], threading.Lock()
SPACE = {"hidden": [[4], [8, 4]], "l1": [0.0, 1e-3]}


def searched(space=None, X=NUMBERS, y="y", estimator=None, **more):
    estimator = estimator or DeepLearningRegressor(**SMALL)
    return dask_dl.search(estimator, X, y, space=space or SPACE, **more)


def test_every_candidate_is_in_the_table_the_best_first():
    found = searched(eval_set=NUMBERS[:200])
    table = found.leaderboard_
    assert sorted(table.index) == [0, 1, 2, 3]
    assert table["deviance"].is_monotonic_increasing and found.metric_ == "deviance"
    assert list(table.columns[:2]) == ["hidden", "l1"]
    assert {"rmse", "r2", "epochs", "seconds", "status", "error"} <= set(table.columns)
    assert (table["status"] == "trained").all() and found.ended_by_ is None
    best = found.best_model_
    assert best.get_params()["hidden"] == found.best_params_["hidden"]
    assert best.evaluate(NUMBERS[:200])["deviance"] == pytest.approx(table["deviance"].iloc[0], rel=1e-5)
    for number in table.index:
        assert found.model(number).predict(NUMBERS).shape == (600,)
    assert "4 candidates by deviance" in repr(found)


def test_a_candidate_is_what_fit_makes_of_its_parameters():
    estimator = DeepLearningRegressor(**SMALL, reproducible=True)
    found = searched(estimator=estimator, n_jobs=2)
    for number in found.leaderboard_.index:
        model = found.model(number)
        alone = DeepLearningRegressor(**model.get_params()).fit(NUMBERS, "y")
        np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    assert not hasattr(estimator, "model_")


@pytest.mark.parametrize("metric", ["auc", "misclassification"])
def test_any_metric_sorts(metric):
    found = searched(X=TABLE.drop(columns="y"), y="label", estimator=DeepLearningClassifier(**SMALL), metric=metric)
    values = found.leaderboard_[metric]
    assert values.is_monotonic_decreasing if metric == "auc" else values.is_monotonic_increasing


def test_folds_judge_where_there_are_some():
    found = searched({"l2": [0.0, 1e-2]}, estimator=DeepLearningRegressor(**SMALL, nfolds=3))
    best = found.best_model_
    combined = best.metrics_["cross_validation"]["deviance"]
    assert found.leaderboard_["deviance"].iloc[0] == pytest.approx(combined)


def counted(part):
    with LOCK:
        READ.append(len(part))
    return part


def test_the_table_is_read_once_for_all_candidates_that_encode_it_alike():
    READ.clear()
    table = dd.from_pandas(NUMBERS, npartitions=3).map_partitions(counted, meta=NUMBERS.iloc[:0])
    DeepLearningRegressor(**SMALL).fit(table, "y")
    once = len(READ)
    READ.clear()
    searched(X=table)
    assert len(READ) == once
    READ.clear()
    searched({"standardize": [True, False]}, X=table)
    assert len(READ) == 2 * once


def test_a_dataset_is_searched_where_its_rows_lie():
    with prepare(NUMBERS, "y", random_state=1) as data:
        found = searched({"l1": [0.0, 1e-3], "standardize": [True, False]}, X=data, y=None)
        with pytest.raises(ParameterError, match="y"):
            searched(X=data)
    table = found.leaderboard_
    assert (table["status"] == "failed").sum() == 2
    assert table["error"].str.contains("standardize: the rows of the Dataset are encoded otherwise").sum() == 2


def test_failures_are_recorded_and_end_nothing():
    found = searched({"l1": [0.0, -1.0], "rate": [0.1], "adaptive_rate": [False]})
    table = found.leaderboard_
    assert table["status"].tolist() == ["trained", "failed"]
    assert "l1" in table["error"].iloc[1]
    with pytest.raises(ParameterError, match="candidate 1 has no model: it failed"):
        found.model(1)
    with pytest.raises(ParameterError, match="candidate 7 has no model: it was not tried"):
        found.model(7)
    nothing = searched({"l1": [-1.0]})
    with pytest.raises(ParameterError, match="no candidate was trained"):
        _ = nothing.best_model_


def test_random_search_ends_when_the_best_no_longer_get_better():
    space = {"l1": np.linspace(0, 1e-9, 40).tolist()}
    found = searched(space, method="random", stopping_rounds=2, stopping_tolerance=0.5, n_jobs=1)
    assert found.ended_by_ == "stopping_rounds: the best 2 deviance no longer improve"
    assert 4 <= len(found.leaderboard_) < 40


def test_time_limits_the_search():
    found = searched({"epochs": [10_000.0, 20_000.0, 30_000.0]}, max_runtime_secs=2.0, n_jobs=1)
    assert found.ended_by_ == "max_runtime_secs"
    assert len(found.leaderboard_) < 3


def test_ctrl_c_leaves_what_was_tried():
    def interrupt():
        time.sleep(3.0)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    timer = threading.Thread(target=interrupt)
    timer.start()
    found = searched({"epochs": [1.0, 100_000.0, 200_000.0]}, n_jobs=1)
    timer.join()
    assert found.ended_by_ == "interrupted"
    assert "trained" in set(found.leaderboard_["status"])
    assert found.best_model_.predict(NUMBERS).shape == (600,)


def test_autoencoders_are_searched():
    found = dask_dl.search(DeepLearningAutoEncoder(**SMALL), NUMBERS, space={"hidden": [[2], [3]]})
    assert found.metric_ == "mse" and found.leaderboard_["mse"].notna().all()


def test_what_is_missing_or_unknown_is_said():
    with pytest.raises(ParameterError, match="search requires y"):
        searched(y=None)
    with pytest.raises(ParameterError, match="metric='accuracy'"):
        searched(metric="accuracy")
    with pytest.raises(ParameterError, match="metric='auc': regression has"):
        searched(metric="auc")


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=180)
async def test_two_workers_share_the_candidates(c, s, a, b):
    table = dd.from_pandas(NUMBERS, npartitions=4)
    found = await dask_dl.search(DeepLearningRegressor(**SMALL), table, "y", space=SPACE)
    assert (found.leaderboard_["status"] == "trained").all()
    assert len(found.leaderboard_) == 4
