"""Searches: what is tried, in which order the table has it, and that the table is read once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from distributed.utils_test import gen_cluster
from scipy.stats import uniform
from sklearn.linear_model import Ridge
from tables import make_table

import dask_dl
from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, prepare
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError
from dask_dl.events import Compared, Judged
from dask_dl.show import leaderboard
from dask_dl.show.leaderboard import LiveLeaderboard
from dask_dl.tuning import running

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


def test_a_metric_of_the_user_has_its_direction():
    scorer = "neg_mean_absolute_error"
    estimator = DeepLearningRegressor(**SMALL, custom_metric=scorer)
    table = searched({"l1": [0.0, 0.1]}, estimator=estimator, metric="custom").leaderboard_
    assert table.index[0] == 0 and table["custom_increasing"].is_monotonic_decreasing
    halved_ = halved(estimator=DeepLearningRegressor(**SMALL | {"epochs": 9}, custom_metric=scorer), metric="custom")
    assert halved_.leaderboard_["custom_increasing"].is_monotonic_decreasing


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


def test_a_candidate_whose_time_was_up_goes_on_when_there_is_more(tmp_path):
    space = {"rho": [0.9, 0.99]}
    given = {"recovery_dir": tmp_path, "n_jobs": 1, "estimator": DeepLearningRegressor(**SMALL | {"epochs": 400})}
    part = searched(space, max_runtime_secs=0.5, **given)
    assert part.leaderboard_["status"].iloc[-1] == "interrupted" and part.ended_by_ == "max_runtime_secs"
    assert part.best_model_.predict(NUMBERS).shape == (600,)
    whole = searched(space, **given)
    assert (whole.leaderboard_["status"] == "trained").all() and (whole.leaderboard_["epochs"].round() == 400).all()


def test_a_damaged_model_is_trained_anew(tmp_path, counting):
    found = searched(recovery_dir=tmp_path)
    Path(found.leaderboard_["model"].iloc[0]).write_bytes(b"no model")
    with pytest.warns(DaskDLWarning, match="is trained anew, as what is kept of it is damaged"):
        again = searched(recovery_dir=tmp_path)
    assert len(counting) == 5 and len(again.leaderboard_) == 4


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
    with pytest.raises(ParameterError, match="a search requires y"):
        searched(y=None)
    with pytest.raises(ParameterError, match="estimator is a Ridge"):
        searched(estimator=Ridge())
    with pytest.raises(OSError, match="recovery_dir: nothing can be written"):
        searched(recovery_dir="/proc/none")
    with pytest.raises(ParameterError, match="checkpoint_dir: candidates have a folder each"):
        searched(estimator=DeepLearningRegressor(**SMALL, checkpoint_dir="here"))
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


def halved(**more):
    space = {"hidden": [[4], [8, 4], [3]], "rho": [0.9, 0.95, 0.99]}
    given = {
        "estimator": DeepLearningRegressor(**SMALL | {"epochs": 9}),
        "method": "halving",
        "eval_set": NUMBERS[:200],
    }
    return searched(space, **given | more)


def test_by_halving_the_best_go_on_from_where_they_were(monkeypatch):
    begun = []
    inner = running.train

    def train(request, *given, **more):
        begun.append((request.parameters["epochs"], request.resume))
        return inner(request, *given, **more)

    monkeypatch.setattr(running, "train", train)
    found = halved(n_jobs=1, estimator=DeepLearningRegressor(**SMALL | {"epochs": 9, "reproducible": True}))
    table = found.leaderboard_
    assert [epochs for epochs, _ in begun] == [1.0] * 9 + [3.0] * 3 + [9.0]
    assert sorted(table["epochs"].round()) == [1.0] * 6 + [3.0] * 2 + [9.0]
    assert table["deviance"].is_monotonic_increasing and (table["status"] == "trained").all()
    number = table["epochs"].idxmax()
    model = found.model(number)
    # None started over: all epochs are in its history, and it has the bits of a training that was never interrupted.
    assert model.history_["epochs"].is_monotonic_increasing and model.history_["epochs"].iloc[0] <= 1.0
    alone = DeepLearningRegressor(**model.get_params()).fit(NUMBERS, "y", eval_set=NUMBERS[:200])
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    assert model.model_.record.requested["checkpoint_dir"] is None
    assert model.model_.record.requested["epochs"] == 9.0


def test_halving_draws_random_candidates_where_there_are_too_many():
    found = halved(max_models=4, reduction_factor=2, min_epochs=1.0)
    assert len(found.leaderboard_) == 4
    assert found.leaderboard_["epochs"].max() >= 4.0


def test_halving_refuses_what_it_cannot_go_on_with():
    with pytest.raises(ParameterError, match="Leave epochs out"):
        searched({"epochs": [1, 2]}, method="halving")
    with pytest.raises(ParameterError, match="folds begin anew"):
        searched(method="halving", estimator=DeepLearningRegressor(**SMALL, nfolds=2))
    with pytest.raises(ParameterError, match="min_epochs=2"):
        searched(method="halving", min_epochs=2.0)


@pytest.fixture
def counting(monkeypatch):
    trained = []
    inner = running.train

    def train(request, *given, **more):
        trained.append(request.parameters["hidden"])
        return inner(request, *given, **more)

    monkeypatch.setattr(running, "train", train)
    return trained


def test_a_search_that_was_done_is_not_done_again(tmp_path, counting):
    first = searched(recovery_dir=tmp_path)
    assert len(counting) == 4
    assert first.leaderboard_["model"].map(lambda path: dask_dl.load(path).predict(NUMBERS).shape == (600,)).all()
    again = searched(recovery_dir=tmp_path)
    assert len(counting) == 4
    pd.testing.assert_frame_equal(first.leaderboard_, again.leaderboard_)
    # With a wider space only what is new is trained.
    wider = searched(SPACE | {"l1": [0.0, 1e-3, 1e-2]}, recovery_dir=tmp_path)
    assert len(counting) == 6 and len(wider.leaderboard_) == 6
    with pytest.raises(SchemaError, match="a search on other rows"):
        searched(X=NUMBERS.assign(a=0.5 - NUMBERS["a"]), recovery_dir=tmp_path)
    with pytest.raises(ParameterError, match="this is one of a regression by mae"):
        searched(recovery_dir=tmp_path, metric="mae")


def test_random_candidates_are_the_same_when_a_search_goes_on(tmp_path, counting):
    given = {"space": {"l2": uniform(0, 1e-3)}, "method": "random", "max_models": 3, "recovery_dir": tmp_path}
    estimator = DeepLearningRegressor(**SMALL | {"random_state": None})
    first = searched(**given, estimator=estimator)
    again = searched(**given, estimator=estimator)
    assert len(counting) == 3
    assert first.leaderboard_["l2"].tolist() == again.leaderboard_["l2"].tolist()


@pytest.mark.parametrize("method", ["grid", "halving"])
def test_a_search_that_was_interrupted_goes_on(tmp_path, method):
    given = {"space": {"hidden": [[4], [5], [6], [7]]}, "method": method, "recovery_dir": tmp_path, "n_jobs": 1}
    estimator = DeepLearningRegressor(**SMALL | {"epochs": 60, "reproducible": True, "score_each_iteration": True})
    straight = searched(**given | {"recovery_dir": None}, estimator=estimator)
    judged, inner = [], running.train

    def listen(event):
        if isinstance(event, Judged):
            judged.append(event)
            if len(judged) == 40:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "train", lambda request, part, _, **more: inner(request, part, [listen], **more))
        part = searched(**given, estimator=estimator)
    assert part.ended_by_ == "interrupted" and list(tmp_path.rglob("checkpoint-*"))
    whole = searched(**given, estimator=estimator)
    assert whole.ended_by_ is None
    assert whole.leaderboard_["epochs"].sum() == pytest.approx(straight.leaderboard_["epochs"].sum())
    for number in whole.leaderboard_.index:
        mine, other = whole.model(number), straight.model(number)
        np.testing.assert_array_equal(mine.coefs_[0], other.coefs_[0])
    assert not list(tmp_path.rglob("checkpoint-*"))


KILLED = """
import sys
import dask_dl
from tables import make_table
table = make_table(600)[["a", "b", "level", "y"]]
estimator = dask_dl.DeepLearningRegressor(hidden=6, epochs=50, random_state=1, stopping_rounds=0, checkpoint_interval=0)
dask_dl.search(estimator, table, "y", space={"rho": [0.9, 0.95, 0.99]}, recovery_dir=sys.argv[1], n_jobs=1)
"""


def test_a_search_whose_process_was_killed_goes_on(tmp_path, counting):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    )
    until = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < until:
        models, checkpoints = list(tmp_path.rglob("model.zip")), list(tmp_path.rglob("checkpoint-*"))
        if models and checkpoints and checkpoints[0].parent != models[0].parent:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    estimator = DeepLearningRegressor(hidden=6, epochs=50, random_state=1, stopping_rounds=0, checkpoint_interval=0)
    found = searched({"rho": [0.9, 0.95, 0.99]}, estimator=estimator, recovery_dir=tmp_path, n_jobs=1)
    assert len(counting) < 3 and len(found.leaderboard_) == 3
    assert (found.leaderboard_["status"] == "trained").all()


def test_a_killed_worker_costs_a_candidate_no_more_than_a_round():
    table, killed = dd.from_pandas(NUMBERS, npartitions=4), []
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": "2GiB"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        pids = client.run(os.getpid)

        def kill(event):
            if isinstance(event, Compared) and not killed:
                killed.append(min(pids.values()))
                os.kill(killed[0], signal.SIGKILL)

        class Killing(LiveLeaderboard):
            def __call__(self, event, /):
                kill(event)

        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.setattr(leaderboard, "LiveLeaderboard", Killing)
            warnings.simplefilter("ignore", DaskDLWarning)  # of the weights that were on it
            estimator = DeepLearningRegressor(**SMALL | {"epochs": 10}, client=client)
            found = searched({"hidden": [[4], [5], [6], [7]]}, X=table, estimator=estimator)
    assert killed
    assert set(found.leaderboard_["error"]) == {""}
    assert (found.leaderboard_["status"] == "trained").all() and len(found.leaderboard_) == 4
    assert found.leaderboard_["epochs"].min() >= 10
