"""Several trainings on a cluster at once, and other work beside them."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections import Counter

import pytest
from cluster.tables import nothing_left, parted, rounds, training_plugins
from distributed import Client, Worker
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils_test import gen_cluster, inc
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.plugin import TrainingPlugin, name_of
from dask_dl.cluster.shard import Shard

two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
#: Rounds that a training may be ahead of another one that began with it, and has as much to do.
MAX_AHEAD = 8


class Watch(SchedulerPlugin):
    """Counts the training tasks that a worker has at a time, by training and in all."""

    def __init__(self):
        self.running = {}
        self.max_running, self.max_on_worker = Counter(), Counter()

    def transition(self, key, start, finish, *args, **kwargs):
        if not str(key).startswith("dask-dl-train-"):
            return
        if finish == "processing":
            self.running[key] = self.scheduler.tasks[key].processing_on.address, str(key).split("-")[3]
        else:
            self.running.pop(key, None)
        self.max_running |= Counter(self.running.values())
        self.max_on_worker |= Counter(worker for worker, _ in self.running.values())

    async def start(self, scheduler):
        self.scheduler = scheduler


def max_in_a_row(turns):
    """Rounds of one training between two of the other, while both are trained."""
    last = [max(k for k, who in enumerate(turns) if who == one) for one in set(turns)]
    first = [min(k for k, who in enumerate(turns) if who == one) for one in set(turns)]
    both = turns[max(first) : min(last) + 1]
    return max(len(list(run)) for _, run in itertools.groupby(both))


@pytest.mark.parametrize("clients, given", [("one", {}), ("two", {"reproducible": True, "n_shards": 3})], ids=str)
@two_workers
async def test_trainings_take_turns(c, s, a, b, clients, given):
    watch = Watch()
    await c.register_plugin(watch)
    watch = next(plugin for plugin in s.plugins.values() if isinstance(plugin, Watch))
    turns, table = [], make_table(1000)[["a", "b", "level", "y"]]
    settings = rounds(250) | {"epochs": 5} | given
    async with Client(s.address, asynchronous=True, set_as_default=False) as other:
        ends = (c, other if clients == "two" else c)
        await asyncio.gather(
            *(
                DeepLearningRegressor(client=client, **settings).fit(
                    parted(table), "y", callbacks=[lambda _, who=who: turns.append(who)]
                )
                for who, client in enumerate(ends)
            )
        )
    assert max_in_a_row(turns) <= MAX_AHEAD
    assert len(watch.max_running) == 4 and set(watch.max_running.values()) == {1}  # two trainings on two workers
    assert max(watch.max_on_worker.values()) == 2  # and they were trained at the same time
    await nothing_left(s, a, b)


@two_workers
async def test_a_long_round_holds_up_neither_tasks_nor_trainings(c, s, a, b, monkeypatch):
    table = parted(make_table(200)[["a", "b", "level", "y"]])
    inner, calls, over = Shard.train, itertools.count(), threading.Event()
    under_way = threading.Semaphore(0)

    def train(self, *arguments):
        if next(calls) < 2:  # the first round, on both workers
            under_way.release()
            assert over.wait(60), "what was to happen meanwhile did not"
        return inner(self, *arguments)

    monkeypatch.setattr(Shard, "train", train)
    long = asyncio.ensure_future(
        DeepLearningRegressor(**rounds(400) | {"epochs": 2, "reproducible": True}).fit(table, "y")
    )
    try:
        for _ in range(2):
            assert await asyncio.to_thread(under_way.acquire, timeout=60)
        for worker in (a, b):
            assert await asyncio.wait_for(c.submit(inc, 1, workers=[worker.address], pure=False), 30) == 2
        short = DeepLearningRegressor(**rounds(100)).fit(table, "y")
        assert (await asyncio.wait_for(short, 60)).model_.record.n_seen == 400
        assert not long.done()
    finally:
        over.set()
    assert (await long).model_.record.n_seen == 400


@two_workers
async def test_a_worker_without_the_package_starts_while_others_train(c, s, a, b, monkeypatch):
    await c.register_plugin(TrainingPlugin("job"))
    async with Worker(s.address, nthreads=1) as able:
        assert [plugin.job for plugin in training_plugins(able)] == ["job"]
    for name in [name for name in sys.modules if name.split(".")[0] == "dask_dl"]:
        monkeypatch.setitem(sys.modules, name, None)
    async with Worker(s.address, nthreads=1) as foreign:
        assert foreign.address in s.workers and not training_plugins(foreign)
        assert await c.submit(inc, 1, workers=[foreign.address]) == 2
        await c.unregister_worker_plugin(name_of("job"))
        assert not any(name.startswith("dask-dl") for name in foreign.plugins)
