"""Replicas of elastic averaging, which stay apart."""

from __future__ import annotations

import asyncio
import tempfile

import numpy as np
import pytest
from cluster.tables import nothing_left, parted, rounds, training_plugins, two_workers
from distributed import Worker
from tables import make_table

from dask_dl import DeepLearningRegressor


@two_workers
async def test_elastic_averaging_keeps_networks_apart_and_reports_the_consensus(c, s, a, b):
    seen, n_rows = [], []

    def look(record):
        shards = [p.shard for w in (a, b) for p in training_plugins(w)]
        n_rows.append([shard.tables["training"].n_used / 2000 for shard in shards])
        seen.append(
            [(st.replica.flat.copy(), st.consensus[0].copy(), st.replica.optimizer.penalties.pull) for st in shards]
        )

    def mean(k):
        return sum(share * flat for share, (flat, _, _) in zip(n_rows[k], seen[k], strict=True))

    given = rounds(500) | {"elastic_averaging": True, "elastic_averaging_moving_rate": 0.3, "epochs": 5}
    model = await DeepLearningRegressor(**given).fit(parted(make_table()), "y", callbacks=[look])
    for (one, consensus, pull), (two, other, _) in seen:
        np.testing.assert_array_equal(consensus, other)
        assert pull == pytest.approx(1e-3) and not np.array_equal(one, two)
    # C <- 0.3 A + 0.7 C; the first time C <- A. Shares of a round are whole numbers of rows, and not quite those of the table.
    np.testing.assert_allclose(seen[0][0][1], mean(0), atol=5e-4)
    np.testing.assert_allclose(seen[4][0][1], 0.3 * mean(4) + 0.7 * seen[3][0][1], atol=5e-4)
    assert np.abs(seen[4][0][1] - mean(4)).max() > 2e-3
    np.testing.assert_array_equal(model.model_.network.flat, seen[-1][0][1])
    assert model.score(make_table(500, seed=1), "y") > 0.7
    await nothing_left(s, a, b)


@two_workers
async def test_elastic_averaging_goes_on_from_a_checkpoint_and_with_a_newcomer(c, s, a, b):
    loop, new = asyncio.get_running_loop(), []

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 7:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))

    with tempfile.TemporaryDirectory() as folder:
        given = rounds(500) | {
            "elastic_averaging": True,
            "epochs": 5,
            "checkpoint_dir": folder,
            "checkpoint_interval": 0.0,
        }
        stop = [lambda record: record["iterations"] >= 5]
        await DeepLearningRegressor(**given).fit(parted(make_table()), "y", callbacks=stop)
        again = DeepLearningRegressor(**given | {"checkpoint_interval": 1e6})
        model = await again.fit(parted(make_table()), "y", callbacks=[join], resume=True)
    assert model.model_.record.n_seen == 10_000 and model.score(make_table(500, seed=1), "y") > 0.7
    await nothing_left(s, a, b, new[0])
    await new[0].close()
