"""Tables and settings of the tests of clusters, and what must hold after each."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import dask.dataframe as dd
import numpy as np
from distributed.utils_test import gen_cluster
from tables import UNSCORED

from dask_dl.cluster.plugin import TrainingPlugin

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
#: Train the epochs asked for, in rounds of a known size, on one thread.
PLAIN = UNSCORED | {
    "hidden": (20, 10),
    "epochs": 2,
    "random_state": 1,
    "n_jobs": 1,
    "stopping_rounds": 0,
    "regression_stop": -1,
    "classification_stop": -1,
    "overwrite_with_best_model": False,
}


def parted(table, n=7):
    return dd.from_pandas(table, npartitions=n)


def rounds(n):
    """Settings of rounds of n rows, with a scoring after each."""
    return PLAIN | {"train_samples_per_iteration": n, "score_each_iteration": True}


def training_plugins(worker):
    """What a worker has of trainings."""
    return [plugin for plugin in worker.plugins.values() if isinstance(plugin, TrainingPlugin)]


async def nothing_left(scheduler, *workers):
    """No task, no data, no plugin and no thread: as soon as messages have arrived."""
    for _ in range(100):
        left = [list(scheduler.tasks), *(list(w.data) for w in workers), *(training_plugins(w) for w in workers)]
        left.append([t.name for t in threading.enumerate() if t.name.startswith("dask_dl")])
        left.append([name for name in scheduler.worker_plugins if name.startswith("dask-dl")])
        if not any(left):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(left)


async def lose(scheduler, worker):
    """A worker is gone for the cluster, without a word."""
    await scheduler.remove_worker(worker.address, stimulus_id="gone", close=False)
    await worker.close(nanny=False)


def assert_same_bits(mine, other):
    np.testing.assert_array_equal(mine.model_.network.flat, other.model_.network.flat)
    for state, expected in zip(mine.model_.network.states, other.model_.network.states, strict=True):
        np.testing.assert_array_equal(state, expected)


def in_process(model, table, y, eval_set=None, **parts):
    """Fit where no client is active."""
    from dask_dl.cluster import clients

    find, clients.find_client = clients.find_client, lambda given: None
    try:
        return model.fit(table, y, eval_set=eval_set, **parts)
    finally:
        clients.find_client = find


def files(*workers):
    return [path for worker in workers for path in Path(worker.local_directory).rglob("*.rows")]


def in_loop(coroutine, loop):
    """From the thread of a fit."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)
