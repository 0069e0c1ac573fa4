"""Rows that several trainers use."""

from __future__ import annotations

import asyncio

from cluster.tables import nothing_left, parted, training_plugins
from cluster.trainings import TELL, TRAININGS, Training, asked
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl.cluster import lending, plugin
from dask_dl.cluster.lending import Lender
from dask_dl.training.backends import backend_for
from dask_dl.training.engine import encode


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
async def test_rows_are_kept_as_long_as_a_trainer_uses_them(c, s, a, monkeypatch):
    requested, request = asked(parted(make_table(300)[["a", "b", "y"]]), {})
    backend = backend_for(requested, c, TELL, lambda: False)

    def work():
        with backend:
            encoded = encode(request, backend)
            trainings = [Training(backend, encoded, requested, which) for which in TRAININGS[:2]]
            monkeypatch.setattr(plugin, "LEASE", -1.0)
            homes = {home.job: home for home in training_plugins(a)}
            own = homes.pop(backend.membership.job)
            (other,) = homes.values()
            own.look()
            assert own.shard.tables
            other.look()  # its driver is gone
            own.look()
            assert not (own.shard.tables or other.shard.tables)
            monkeypatch.undo()
            for training in trainings:
                training.trainer.close()
            for _ in range(2):  # which find that out
                Training(backend, encoded, requested, TRAININGS[0]).round()

    await asyncio.to_thread(work)
    await nothing_left(s, a)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=60, config={"distributed.comm.timeouts.connect": "600s"})
async def test_a_lender_that_is_gone_is_not_waited_for(c, s, a):
    gone = Lender("job", "tcp://127.0.0.1:9")  # where nobody answers
    assert await c.submit(lending.fetched, gone, "training", [0, 1]) == {}
