"""What workers hold of a training: renewed by its driver, and forgotten without it."""

from __future__ import annotations

import asyncio
import pickle
import time

import pytest
from cluster.tables import PLAIN, one_worker, parted, training_plugins
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import plugin, submit
from dask_dl.cluster.plugin import TrainingPlugin
from dask_dl.errors import ClusterError, ReplicasLostError


def slow(part):
    time.sleep(0.5)
    return part


@one_worker
async def test_the_lease_is_renewed_while_the_driver_waits(c, s, a, monkeypatch):
    monkeypatch.setattr(submit, "RENEWAL", 0.2)
    table, renewals = make_table(250), set()
    model = DeepLearningRegressor(**PLAIN)
    running = asyncio.ensure_future(model.fit(parted(table, 5).map_partitions(slow, meta=table[:0]), "y"))
    while not running.done():
        await asyncio.sleep(0.05)
        renewals |= {home.used for home in training_plugins(a) if "training" not in home.shard.tables}
    await running
    # The scan alone takes two and a half seconds, in which no task asks for the shard.
    assert len(renewals) >= 5 and model.model_.record.n_seen == 500


@one_worker
async def test_a_job_without_a_driver_is_forgotten(c, s, a):
    await c.register_plugin(TrainingPlugin("abc"))
    (home,) = training_plugins(a)
    home.version, home.used = 3, time.monotonic() - plugin.LEASE - 1
    home.look()
    assert home.version == -1
    await c.unregister_worker_plugin("dask-dl-abc")


@pytest.mark.parametrize("error", [ClusterError("x"), ReplicasLostError("y"), plugin.GoneError("z")])
def test_errors_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
