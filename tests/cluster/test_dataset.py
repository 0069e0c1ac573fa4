"""Datasets on a cluster: trainings one after another on rows that stay with the workers."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.tables import assert_same_bits, nothing_left, parted, rounds, training_plugins
from distributed import Worker
from distributed.utils_test import gen_cluster
from tables import make_table

import dask_dl
from dask_dl import DeepLearningRegressor
from dask_dl.cluster.plugin import TrainingPlugin
from dask_dl.errors import ParameterError

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@one_worker
async def test_trainings_on_one_worker_have_the_bits_of_their_own(c, s, a):
    X, held = parted(make_table()[["a", "b", "level", "y"]]), parted(make_table(300, seed=1)[["a", "b", "level", "y"]])
    data = await dask_dl.prepare(X, "y", eval_set=held, **rounds(700))
    for other in ({}, {"hidden": (6, 4)}, {"mini_batch_size": 16}, {"activation": "maxout", "l2": 1e-3}, {}):
        given = rounds(700) | other
        there = await DeepLearningRegressor(**given).fit(data)
        alone = await DeepLearningRegressor(**given).fit(X, "y", eval_set=held)
        assert_same_bits(there, alone)
        assert there.metrics_.to_pandas().equals(alone.metrics_.to_pandas())
    await data.close()
    await nothing_left(s, a)


@two_workers
async def test_workers_that_go_and_come_between_trainings_change_nothing_but_who_has_rows(c, s, a, b):
    table = make_table()[["a", "b", "level", "y"]]
    data = await dask_dl.prepare(parted(table), "y", **rounds(500))
    assert "of the workers" in repr(data)
    first = await DeepLearningRegressor(**rounds(500)).fit(data)
    await b.close()
    async with Worker(s.address, nthreads=1) as new:
        second = await DeepLearningRegressor(**rounds(500)).fit(data)
        third = await DeepLearningRegressor(**rounds(500)).fit(data)
        held = [sum(len(home.shard.tables["training"].blocks) for home in training_plugins(w)) for w in (a, new)]
        assert sum(held) == len(
            {k for w in (a, new) for home in training_plugins(w) for k in home.shard.tables["training"].blocks}
        )
        assert min(held) > 0
        for model in (first, second, third):
            assert model.model_.record.n_seen == first.model_.record.n_seen
            assert np.isfinite(model.model_.network.flat).all() and model.score(table, "y") > 0.4
        await data.close()
        await nothing_left(s, a, new)


@two_workers
async def test_datasets_of_equal_preparations_share_what_workers_hold(c, s, a, b):
    X = parted(make_table()[["a", "b", "level", "y"]])
    first = await dask_dl.prepare(X, "y", **rounds(500))
    second = await dask_dl.prepare(X, "y", **rounds(500) | {"hidden": (3,)})
    assert len(training_plugins(a)) == len(training_plugins(b)) == 1
    await first.close()
    model = await DeepLearningRegressor(**rounds(500)).fit(second)
    assert model.model_.record.n_seen == 4000
    await second.close()
    await nothing_left(s, a, b)


@one_worker
async def test_a_dataset_outlives_all_of_its_workers_and_what_they_forget(c, s, a):
    table = make_table()[["a", "b", "level", "y"]]
    async with await dask_dl.prepare(parted(table), "y", **rounds(500)) as data:
        first = await DeepLearningRegressor(**rounds(500)).fit(data)
        for home in training_plugins(a):
            home.forget()  # as after ten idle minutes
        again = await DeepLearningRegressor(**rounds(500)).fit(data)
        assert_same_bits(again, first)
        TrainingPlugin.last_network, left = lambda self: None, TrainingPlugin.last_network  # as a worker that is killed
        try:
            await a.close()
        finally:
            TrainingPlugin.last_network = left
        async with Worker(s.address, nthreads=1) as new:
            for _ in range(2):
                other = await DeepLearningRegressor(**rounds(500)).fit(data)
                assert_same_bits(other, first)
            await data.close()
            await nothing_left(s, new)
    with pytest.raises(ParameterError, match="use `async with`"), data:
        pass


@two_workers
async def test_a_model_is_evaluated_where_the_rows_of_a_dataset_lie(c, s, a, b):
    table = make_table()[["a", "b", "level", "y"]]
    async with await dask_dl.prepare(parted(table), "y", **rounds(500)) as data:
        model = await DeepLearningRegressor(**rounds(500)).fit(data)
        found, expected = await model.evaluate(data), model.evaluate(table)
        assert found.n_rows == expected.n_rows == 2000
        assert dict(found) == pytest.approx(dict(expected), rel=1e-4, nan_ok=True)
    await nothing_left(s, a, b)
