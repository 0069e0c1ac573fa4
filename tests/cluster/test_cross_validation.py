"""Cross-validation on a cluster: folds side by side on parts of it, and workers that die meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import dask.dataframe as dd
import numpy as np
import pytest
from cluster.tables import in_process, lose, nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from sklearn.metrics import mean_squared_error
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.plugin import GoneError, TrainingPlugin

KEPT = {"keep_cross_validation_predictions": True, "keep_cross_validation_fold_assignment": True}
TABLE = make_table(900)[["a", "b", "level", "y"]]


def given(**more):
    return rounds(500) | {"reproducible": True, "n_shards": 2, "overwrite_with_best_model": False} | more


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=240)
async def test_folds_on_parts_of_a_cluster_are_those_of_one_process(c, s, a, b):
    """Two shards of each fold are in one worker, or in this process."""
    model = await DeepLearningRegressor(**given(nfolds=3), **KEPT).fit(parted(TABLE), "y")
    alone = in_process(DeepLearningRegressor(**given(nfolds=3, n_jobs=1)), TABLE, "y")
    for mine, theirs in zip(model.cross_validation_models_, alone.cross_validation_models_, strict=True):
        np.testing.assert_allclose(mine.model_.network.flat, theirs.model_.network.flat, rtol=1e-3, atol=1e-4)
    predictions = await c.compute(model.cross_validation_predictions_)
    folds = await c.compute(model.cross_validation_fold_assignment_)
    assert predictions.index.equals(folds.index) and folds.value_counts().tolist() == [300, 300, 300]
    expected = mean_squared_error(TABLE["y"], predictions["predict"].to_numpy()) ** 0.5
    np.testing.assert_allclose(model.metrics_["cross_validation"]["rmse"], expected, rtol=1e-5)
    for k, fold in enumerate(model.cross_validation_models_):
        rows = folds.to_numpy() == k
        np.testing.assert_allclose(
            predictions["predict"].to_numpy()[rows], fold.predict(TABLE[["a", "b", "level"]][rows]), rtol=1e-6
        )
    await nothing_left(s, a, b)


READ = Counter()


def read(k):
    READ[k] += 1
    return TABLE[100 * k : 100 * k + 100]


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=240)
async def test_folds_read_a_table_as_often_as_one_training_and_no_task_fails(c, s, a, b, d):
    failed = []
    READ.clear()

    def late(self, *args):
        if self.address != a.address:  # one is ready for the work before the others
            time.sleep(0.2)
        return turn(self, *args)

    X = dd.from_map(read, range(9), meta=TABLE[:0])
    turn = TrainingPlugin.turn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingPlugin, "turn", late)
        patch.setattr(GoneError, "__init__", lambda self, *words: failed.append(words))
        model = await DeepLearningRegressor(**rounds(500), nfolds=3).fit(X, "y")
    assert len(model.cross_validation_models_) == 3
    assert not failed
    assert set(READ.values()) == {2}  # to scan, and to encode
    await nothing_left(s, a, b, d)


# Where it was the fold's only one the fold goes back to the driver's copy.
@pytest.mark.filterwarnings("ignore:all workers that held the weights are gone")
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=240)
async def test_a_worker_that_dies_costs_its_fold_a_round(c, s, a, b, d):
    model = DeepLearningRegressor(**given(nfolds=4, epochs=6, n_shards=3), **KEPT)

    async def die():
        while not any("train" in key for key in map(str, s.tasks)):
            await asyncio.sleep(0.01)
        await lose(s, b)

    dying = asyncio.ensure_future(die())
    await model.fit(parted(TABLE, 9), "y")
    await dying
    summary = model.cross_validation_summary_
    assert summary.shape[1] == 6 and np.isfinite(summary.loc["rmse"]).all()
    for fold in model.cross_validation_models_:
        assert fold.model_.record.n_seen == 6 * 675
    await nothing_left(s, a, d)
