"""Workers that are closed as planned hand over what they have learned; rows are counted."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from cluster.tables import nothing_left, parted, rounds, training_plugins
from distributed import Worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster import handover, plugin
from dask_dl.errors import DaskDLWarning, NoWorkersError

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
three_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=120)


class Spy:
    """Counts the rows that shards train, and does something in the middle of a round."""

    def __init__(self, monkeypatch, at, happens, n_rows=100):
        self.trained, self.n_rounds, self.lock = [], 0, threading.Lock()
        self.at, self.happens, self.n_rows = at, happens, n_rows
        inner = plugin.Shard.train

        def train(shard, start, stop, settings, on_rows=None):
            before = shard.replica.n_seen
            with self.lock:
                self.n_rounds += 1
                is_it = self.n_rounds == at
            try:
                if not is_it:
                    return inner(shard, start, stop, settings, on_rows)
                inner(shard, start, start + n_rows, settings, on_rows)
                happens(shard)
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:  # until the round is stopped
                    on_rows(0)
                    time.sleep(0.01)
                raise AssertionError("the round was not stopped")
            finally:
                self.trained.append(shard.replica.n_seen - before)

        monkeypatch.setattr(plugin.Shard, "train", train)


def home_of(shard, *workers):
    """The worker of a shard."""
    (worker,) = [w for w in workers for home in training_plugins(w) if home.shard is shard]
    return worker


def is_whole(model, spy, n=4000):
    assert model.model_.record.n_seen == n == sum(spy.trained)
    assert model.history_["samples"].is_monotonic_increasing


WAYS = {
    "retire": lambda c, worker: c.retire_workers([worker.address]),
    "close": lambda c, worker: worker.close(),
    "close_gracefully": lambda c, worker: worker.close_gracefully(),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_of_two_is_closed_in_mid_round_and_no_row_is_lost(way, monkeypatch):
    @two_workers
    async def run(c, s, a, b):
        loop = asyncio.get_running_loop()

        def leave(shard):
            asyncio.run_coroutine_threadsafe(one_way(c, home_of(shard, a, b)), loop)

        async def one_way(c, worker):
            await WAYS[way](c, worker)

        spy = Spy(monkeypatch, 5, leave)
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
        is_whole(model, spy)
        assert model.parameters_["n_jobs"] == 1

    run()


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}, {"adaptive_rate": False}])
def test_the_last_worker_is_closed_and_another_goes_on(given, monkeypatch):
    @one_worker
    async def run(c, s, a):
        loop, new = asyncio.get_running_loop(), []

        async def replace():
            await a.close()
            await asyncio.sleep(0.5)
            new.append(await Worker(s.address, nthreads=1))

        spy = Spy(monkeypatch, 5, lambda _: asyncio.run_coroutine_threadsafe(replace(), loop))
        model = await DeepLearningClassifier(**rounds(500) | given).fit(parted(make_table()), "label")
        is_whole(model, spy)
        assert model.score(make_table(), "label") > 0.7
        await nothing_left(s, new[0])
        await new[0].close()

    run()


@two_workers
async def test_all_workers_are_closed_at_once_and_others_go_on(c, s, a, b):
    monkeypatch = pytest.MonkeyPatch()
    loop, new = asyncio.get_running_loop(), []

    async def replace():
        await asyncio.gather(a.close(), b.close())
        new.append(await Worker(s.address, nthreads=1))

    spy = Spy(monkeypatch, 6, lambda _: asyncio.run_coroutine_threadsafe(replace(), loop))
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        monkeypatch.undo()
    is_whole(model, spy)
    await new[0].close()


@two_workers
async def test_workers_are_closed_between_two_rounds(c, s, a, b):
    """They have the average then, and learned nothing since."""
    loop, new = asyncio.get_running_loop(), []

    async def replace():
        await asyncio.gather(a.close(), b.close())
        new.append(await Worker(s.address, nthreads=1))

    def watch(record):
        if record["iterations"] == 4 and not new:
            asyncio.run_coroutine_threadsafe(replace(), loop).result(30)

    model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[watch])
    assert model.model_.record.n_seen == 4000 and model.n_iter_ == 8
    await new[0].close()


@one_worker
async def test_what_the_last_worker_handed_over_is_the_model_when_nobody_comes(c, s, a):
    monkeypatch = pytest.MonkeyPatch()
    loop = asyncio.get_running_loop()
    spy = Spy(monkeypatch, 5, lambda _: asyncio.run_coroutine_threadsafe(a.close(), loop))
    model = DeepLearningRegressor(**rounds(500) | {"worker_timeout": 1.0})
    try:
        with pytest.raises(NoWorkersError):
            await model.fit(parted(make_table()), "y")
    finally:
        monkeypatch.undo()
    assert model.stopped_by_ == "no workers"
    assert model.model_.record.n_seen == sum(spy.trained) and 2000 < model.model_.record.n_seen < 2500


@one_worker
async def test_a_network_too_large_to_hand_over_goes_back_to_the_drivers_copy(c, s, a):
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(handover, "MAX_BYTES", 10)
    loop, new = asyncio.get_running_loop(), []

    async def replace():
        await a.close()
        new.append(await Worker(s.address, nthreads=1))

    Spy(monkeypatch, 5, lambda _: asyncio.run_coroutine_threadsafe(replace(), loop))
    try:
        with pytest.warns(DaskDLWarning, match="all workers that held the weights are gone. Went back to"):
            model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        monkeypatch.undo()
    assert model.model_.record.n_seen == 4000
    await new[0].close()


@three_workers
async def test_nothing_of_a_handover_stays_on_the_scheduler(c, s, a, b, d):
    def watch(record):
        if record["iterations"] == 3:
            assert [name for name in s.extensions["queues"].queues if name.startswith("dask-dl-handover")]

    loop = asyncio.get_running_loop()
    monkeypatch = pytest.MonkeyPatch()
    spy = Spy(monkeypatch, 7, lambda shard: asyncio.run_coroutine_threadsafe(home_of(shard, a, b, d).close(), loop))
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[watch])
    finally:
        monkeypatch.undo()
    is_whole(model, spy)
    while s.extensions["queues"].queues:
        await asyncio.sleep(0.01)
