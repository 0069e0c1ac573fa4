"""Workers of a training: those that leave, forget and come back."""

from __future__ import annotations

import asyncio

from cluster.tables import in_loop, nothing_left, parted, rounds, training_plugins, two_workers
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import plugin


@two_workers
async def test_a_worker_that_leaves_costs_a_round_and_no_replay(c, s, a, b):
    loop, trained = asyncio.get_running_loop(), []
    inner = plugin.Shard.train

    def spy(shard, start, stop, settings, on_rows=None):
        trained.append(stop - start)
        return inner(shard, start, stop, settings, on_rows)

    def leave(record):
        if record["iterations"] == 5:  # all have the average then: one of them goes
            in_loop(a.close(), loop)

    plugin.Shard.train = spy
    try:
        model = await DeepLearningRegressor(**rounds(200)).fit(parted(make_table()), "y", callbacks=[leave])
    finally:
        plugin.Shard.train = inner
    assert model.model_.record.n_seen == 4000 == sum(trained)
    assert model.n_iter_ == 20
    await nothing_left(s, b)


@two_workers
async def test_a_worker_that_forgets_is_filled_again(c, s, a, b):
    forgot = []

    def forget(record):
        if record["iterations"] in {3, 6}:
            (home,) = training_plugins(a)
            home.forget()
            forgot.append(record["samples"])

    model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[forget])
    assert len(forgot) == 2 and model.model_.record.n_seen == 4000
    assert training_plugins(a) == [] and model.score(make_table(), "y") > 0.5
