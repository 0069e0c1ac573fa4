"""Training on a cluster: the logic, on workers within this process; what needs real processes is in test_processes.py."""

from __future__ import annotations

import asyncio
import pickle
import time

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from cluster.tables import (
    PLAIN,
    assert_same_bits,
    in_loop,
    in_process,
    lose,
    nothing_left,
    one_worker,
    parted,
    rounds,
    training_plugins,
    two_workers,
)
from distributed import Client, get_client, worker_client
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster import plugin
from dask_dl.errors import ClusterError, DaskDLWarning, NoWorkersError, ParameterError
from dask_dl.training import loop as loop_of_trainings
from dask_dl.training.checkpoints import Checkpoint

TIMES = {"timestamp", "duration", "training_speed", "communication", "scoring_seconds"}


@one_worker
async def test_one_worker_gives_the_bits_of_this_process(c, s, a):
    table, held = make_table(1000), make_table(300, seed=1)
    for kind, y, given in (
        (DeepLearningRegressor, "y", {}),
        (DeepLearningRegressor, "y", {"adaptive_rate": False, "momentum_stable": 0.5, "reproducible": True}),
        (DeepLearningClassifier, "label", {"overwrite_with_best_model": True, "score_training_samples": 400}),
        (DeepLearningRegressor, "y", {"distribution": "huber", "activation": "maxout_with_dropout"}),
        (DeepLearningClassifier, "label", {"mini_batch_size": 16, "input_dropout_ratio": 0.2, "max_w2": 2.0}),
        (DeepLearningRegressor, "y", {"missing_values_handling": "skip", "categorical_encoding": "label_encoder"}),
        (DeepLearningClassifier, "label", {"categorical_encoding": "sort_by_response"}),
        (DeepLearningClassifier, "label", {"balance_classes": True, "class_sampling_factors": [2.5, 0.3]}),
    ):
        settings = rounds(700) | given
        is_balanced = "balance_classes" in given
        parts = {} if is_balanced else {"sample_weight": "w"}
        if given.get("missing_values_handling") == "skip":
            table, held = (t.assign(a=t["a"].where(t["a"] > -1.5)) for t in (table, held))
        table_, held_ = (t.drop(columns="label" if y == "y" else "y") for t in (table, held))
        X, Xv = parted(table_), parted(held_, 2)
        here = await asyncio.to_thread(in_process, kind(**settings), X, y, Xv, **parts)
        there = await kind(**settings).fit(X, y, eval_set=Xv, **parts)
        assert_same_bits(there, here)
        columns = [name for name in here.history_ if name not in TIMES]
        pd.testing.assert_frame_equal(there.history_[columns], here.history_[columns], rtol=1e-9)
        assert there.encoder_ == here.encoder_


@one_worker
async def test_arrays_in_the_memory_of_a_cluster_and_on_disk(c, s, a):
    table = make_table(1000)
    local, y, w = table[list("abcde")].to_numpy(), table["y"].to_numpy(), table["w"].to_numpy()
    X = da.from_array(local, chunks=(300, 2))
    settings = rounds(700)
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**settings), X, y, (X, y, w), sample_weight=w)
    persisted = c.persist(X)
    unknown = da.Array(X.dask, X.name, ((np.nan,) * 4, X.chunks[1]), meta=X._meta)
    for X_, y_, w_ in (
        (X, da.from_array(y, chunks=450), w),
        (persisted, c.persist(da.from_array(y, chunks=300)), da.from_array(w, chunks=1000)),
        (unknown, da.from_array(y, chunks=300), da.from_array(w, chunks=300)),
    ):
        there = await DeepLearningRegressor(**settings).fit(X_, y_, sample_weight=w_, eval_set=(X_, y_, w_))
        assert_same_bits(there, here)
        lazy = there.predict(X_)
        np.testing.assert_array_equal(await c.compute(lazy), here.predict(local))


@two_workers
async def test_local_tables_and_few_partitions_are_divided_too(c, s, a, b):
    table = make_table()[["a", "b", "level", "y"]]
    for X in (table, parted(table, 1)):
        seen = []

        def look(record, seen=seen):
            seen.append([p.shard.tables["training"].n_used for w in (a, b) for p in training_plugins(w)])

        model = await DeepLearningRegressor(**rounds(1000)).fit(X, "y", callbacks=[look])
        assert model.model_.record.n_seen == 4000 and model.parameters_["n_jobs"] == 2
        assert all(len(sizes) == 2 and min(sizes) > 0.4 * sum(sizes) for sizes in seen)
    await nothing_left(s, a, b)


@two_workers
async def test_twenty_rounds_leave_no_more_tasks_than_five(c, s, a, b):
    tasks = []
    model = DeepLearningRegressor(**rounds(100) | {"epochs": 1})
    await model.fit(parted(make_table()), "y", callbacks=[lambda _: tasks.append(len(s.tasks))])
    assert len(tasks) == 20 and max(tasks[5:]) <= max(tasks[:5]) < 25
    await nothing_left(s, a, b)


@two_workers
async def test_every_row_is_visited_once_in_an_epoch(c, s, a, b):
    table = make_table(1001).assign(number=np.arange(1001.0))
    visited = []
    inner = plugin.Shard.train

    def spy(shard, start, stop, settings, on_rows=None):
        whole, _, _ = shard.visits.source.at(0, 0, lambda: None)
        rows = whole.numbers(start, stop) if stop <= shard.visits.n_rows else []
        visited.append(list(rows))
        return inner(shard, start, stop, settings, on_rows)

    plugin.Shard.train = spy
    try:
        model = await DeepLearningRegressor(**rounds(77) | {"epochs": 1}).fit(parted(table), "y")
    finally:
        plugin.Shard.train = inner
    assert sorted(row for rows in visited for row in rows) == list(range(1001))
    assert model.model_.record.n_seen == 1001 and len(visited) == 2 * 13


@two_workers
async def test_the_dashboard_tells_the_story(c, s, a, b):
    await DeepLearningRegressor(**rounds(1000)).fit(parted(make_table()), "y")
    names = {"scan", "scan-merge", "encode", "compile", "take", "train", "average", "receive", "score", "give"}
    assert {f"dask-dl-{name}" for name in names} <= set(s.task_prefixes)


@two_workers
async def test_fit_within_a_task(c, s, a, b):
    table = make_table(500)

    def task():
        with worker_client():
            model = DeepLearningRegressor(**PLAIN).fit(parted(table), "y")
        return model.parameters_["n_jobs"], model.client

    def plain_task():
        get_client()  # known to the worker, but not meant for this task
        return DeepLearningRegressor(**PLAIN).fit(table, "y").parameters_["n_jobs"]

    assert await c.submit(task, workers=[a.address]) == (2, None)
    assert await c.submit(plain_task, workers=[a.address]) == 1


@two_workers
async def test_a_cancelled_fit_ends(c, s, a, b):
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    given = rounds(500) | {"epochs": 1e6}
    model = DeepLearningRegressor(**given)
    fit = model.fit(parted(make_table()), "y", callbacks=[lambda _: loop.call_soon_threadsafe(begun.set) and None])
    running = asyncio.ensure_future(fit)
    await begun.wait()
    running.cancel()
    with pytest.warns(DaskDLWarning, match="interrupted"), pytest.raises(asyncio.CancelledError):
        await running
    assert model.stopped_by_ == "interrupted"
    await nothing_left(s, a, b)


@two_workers
async def test_a_client_never_travels(c, s, a, b):
    from sklearn.base import clone

    model = DeepLearningRegressor(**PLAIN, client=c)
    assert pickle.loads(pickle.dumps(model)).client is None
    assert clone(model).client is c and model.client is c
    await model.fit(parted(make_table(200)), "y")
    fitted = pickle.loads(pickle.dumps(model))
    assert fitted.client is None and fitted.model_.record.requested["client"] is None
    assert model.parameters_["client"] is None


@one_worker
async def test_a_client_that_is_none_is_refused(c, s, a):
    with pytest.raises(ClusterError, match="no running"):
        DeepLearningRegressor(client="tcp://somewhere").fit(make_table(10), "y")
    other = await Client(s.address, asynchronous=True)
    await other.close()
    with pytest.raises(ClusterError, match="no running"):
        DeepLearningRegressor(client=other).fit(make_table(10), "y")


@two_workers
async def test_the_last_checkpoint_is_not_older_than_the_one_before(c, s, a, b, tmp_path, monkeypatch):
    """What was fetched for a checkpoint is gone back to; the copy that the driver makes now and then is of the start."""
    monkeypatch.setattr(loop_of_trainings, "SECONDS_PER_FETCH", 1e9)
    monkeypatch.setattr(loop_of_trainings, "SECONDS_PER_COPY", 1e9)
    loop, saved = asyncio.get_running_loop(), []

    def watch(record):
        newest = CheckpointFolder(str(tmp_path)).newest(str)
        saved.append(0 if newest is None else Checkpoint.read(newest).state("deviance").n_seen)
        if len(saved) == 6:
            for worker in (a, b):
                training_plugins(worker)[0].forget()  # else it hands over what it has
                in_loop(lose(s, worker), loop)

    saving = {"checkpoint_dir": tmp_path, "checkpoint_interval": 0.0, "worker_timeout": 0.5}
    with pytest.raises(NoWorkersError):
        await DeepLearningRegressor(**rounds(100) | saving).fit(parted(make_table(1000)), "y", callbacks=[watch])
    newest = Checkpoint.read(CheckpointFolder(str(tmp_path)).newest(str))
    assert newest.state("deviance").n_seen >= saved[-1] > 200


@two_workers
async def test_a_client_that_is_closed_leaves_the_last_good_network(c, s, a, b):
    other = await Client(s.address, asynchronous=True)

    def close(record):
        if record["iterations"] == 6:
            other.close()

    given = rounds(500) | {"overwrite_with_best_model": True, "worker_timeout": 1.0}
    model = DeepLearningRegressor(**given, client=other)
    with pytest.raises(NoWorkersError):
        await model.fit(parted(make_table()), "y", callbacks=[close])
    assert model.stopped_by_ == "no workers" and len(model.predict(make_table())) == 2000


def slow(part):
    time.sleep(0.5)
    return part


@two_workers
async def test_a_fit_that_is_cancelled_while_it_reads_ends_at_once(c, s, a, b):
    table = make_table(400)
    model = DeepLearningRegressor(**PLAIN)
    running = asyncio.ensure_future(model.fit(parted(table, 40).map_partitions(slow, meta=table[:0]), "y"))
    await asyncio.sleep(1)
    running.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < 5 and not hasattr(model, "model_")
    await nothing_left(s, a, b)


def broken(part):
    if 5 in part.index:
        raise ValueError("bad day")
    return part


@one_worker
async def test_sparse_blocks_on_a_worker_give_the_bits_of_this_process(c, s, a):
    import dask.array as da
    from scipy import sparse

    random = np.random.default_rng(0)
    whole = random.normal(size=(600, 30)) * (random.random((600, 30)) < 0.1)
    X = da.from_array(whole, chunks=(150, 10)).map_blocks(
        sparse.csr_matrix, dtype=float, meta=sparse.csr_matrix((0, 0))
    )
    y = whole @ random.normal(size=30)
    for given in ({}, {"mini_batch_size": 8, "storage": "disk"}):
        here = await asyncio.to_thread(in_process, DeepLearningRegressor(**PLAIN | given), X, y)
        there = await DeepLearningRegressor(**PLAIN | given).fit(X, y)
        assert_same_bits(there, here)
        answers = await c.compute(there.predict(X))
        np.testing.assert_allclose(answers, here.predict(sparse.csr_array(whole)), rtol=1e-6)


class BrokenMetric:
    greater_is_better = True

    def measure(self, y_true, y_pred, sample_weight):
        raise KeyError("lost")

    def merge(self, state, other):
        return state

    def value(self, state):
        return 0.0


@two_workers
async def test_a_metric_that_fails_on_workers_is_named(c, s, a, b):
    text = r"custom_metric: BrokenMetric\.measure failed with KeyError: 'lost'"
    with pytest.raises(ParameterError, match=text):
        await DeepLearningRegressor(**rounds(500), custom_metric=BrokenMetric()).fit(parted(make_table(500)), "y")
    await nothing_left(s, a, b)
