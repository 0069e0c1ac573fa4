"""What trainings leave on scheduler, workers and driver: as much after many as after one."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

from cluster.tables import PLAIN, parted
from distributed import Client, span, wait
from distributed.utils_test import gen_cluster, inc
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.membership import Membership
from dask_dl.cluster.spans import tidy

#: A training of three rounds.
SHORT = PLAIN | {"epochs": 1.5, "train_samples_per_iteration": 100}

two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


def n_kept(owner):
    """Entries of all collections that an object of the scheduler has."""
    names = [*getattr(owner, "__dict__", ()), *getattr(owner, "__slots__", ())]
    return sum(
        len(each) for each in (getattr(owner, name, None) for name in names) if isinstance(each, (dict, set, list))
    )


def left(s, c, workers):
    """Number of things of each kind that are kept for no limited time."""
    spans = s.extensions["spans"].spans.values()
    return {
        "spans": len(spans),
        "task groups of spans": sum(len(span.groups) for span in spans),
        "metadata of spans": sum(len((span._metadata or {"collections": ()})["collections"]) for span in spans),
        "metrics of spans": sum(len(span._cumulative_worker_metrics) for span in spans),
        "tasks": len(s.tasks),
        "task groups": len(s.task_groups),
        "names of tasks": len(s.task_prefixes),
        "topics": len(s._broker._topics),
        "plugins": len(s.plugins) + len(s.worker_plugins),
        "kept by extensions": sum(map(n_kept, s.extensions.values())),
        "kept of clients": sum(map(n_kept, s.clients.values())),
        "kept of workers": sum(map(n_kept, s.workers.values())),
        "metadata": len(s.task_metadata),
        "clients": len(s.clients),
        "futures": len(c.futures),
        "tasks on workers": sum(len(w.state.tasks) + len(w.data) for w in workers),
        "plugins of workers": sum(len(w.plugins) for w in workers),
        "metrics of workers": sum(len(w.digests_total) for w in workers),
        "drivers": sum(isinstance(each, Membership) for each in gc.get_objects()),
        "threads": sum(thread.name.startswith("dask_dl") for thread in threading.enumerate()),
    }


async def settled(count, limits, seconds=15):
    """What is left, once that is no more than some counts or after so many seconds: releasing takes a moment."""
    deadline = time.monotonic() + seconds
    while True:
        gc.collect()
        found = count()
        if all(found[name] <= limit for name, limit in limits.items()) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


@two_workers
async def test_many_trainings_leave_what_one_leaves(c, s, a, b):
    async def fit():
        await DeepLearningRegressor(**SHORT).fit(parted(make_table(200)), "y", eval_set=parted(make_table(50)))

    def rest():
        tidy(s)  # what a client has just released is forgotten a moment later
        return left(s, c, [a, b])

    for _ in range(2):  # the second for names of tasks and metrics that only some trainings need
        await fit()
    await asyncio.sleep(1.2)  # a heartbeat
    once = await settled(rest, {"tasks": 0, "futures": 0, "task groups of spans": 0})
    assert once["spans"] == 1 and once["tasks"] == once["task groups of spans"] == once["futures"] == 0
    grown = {"anything"}
    for _ in range(5):
        for _ in range(3):
            await fit()
        often = await settled(rest, once)
        grown, once = {name for name in once if often[name] > once[name]}, often
        if not grown:
            break
        # Names and metrics that earlier trainings by chance did not need are few, and so are the counters that work stealing
        # makes for a worker when it looks at it first: some three trainings add none.
        assert grown <= {"names of tasks", "metrics of spans", "metrics of workers", "kept by extensions"}
    assert not grown, once


@two_workers
async def test_the_history_of_computations_keeps_no_task_groups_of_trainings(c, s, a, b):
    def kept():
        tidy(s)
        groups = {group.name for computation in s.computations for group in computation.groups}
        return {"ours": sum(name.startswith("dask-dl-") for name in groups), "others": len(groups)}

    await DeepLearningRegressor(**SHORT).fit(parted(make_table(200)), "y")
    await settled(lambda: {"tasks": len(s.tasks)}, {"tasks": 0})
    found = kept()
    assert found["ours"] == 0 < found["others"]


@two_workers
async def test_a_driver_is_not_kept(c, s, a, b):
    memberships = []
    inner = Membership.__enter__

    def spy(self):
        memberships.append(weakref.ref(self))
        return inner(self)

    Membership.__enter__ = spy
    try:
        await DeepLearningRegressor(**SHORT).fit(parted(make_table(200)), "y")
    finally:
        Membership.__enter__ = inner
    deadline = time.monotonic() + 15
    while memberships[0]() is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        gc.collect()
    assert len(memberships) == 1 and memberships[0]() is None


@two_workers
async def test_a_training_is_within_the_span_of_its_user(c, s, a, b):
    with span("mine") as mine:
        for _ in range(2):
            await DeepLearningRegressor(**SHORT).fit(make_table(200), "y")
    names = [each.name for each in s.extensions["spans"].spans.values() if each.name != ("default",)]
    assert names == [("mine",), ("mine", "dask-dl-fit")]
    children = s.extensions["spans"].spans[mine].children
    assert [child.name for child in children] == [("mine", "dask-dl-fit")]


@two_workers
async def test_spans_of_others_stay(c, s, a, b):
    spans = s.extensions["spans"]
    done = c.submit(inc, 1)
    await wait(done)
    with span("mine"):
        other = c.submit(inc, 2, key="other-1")
    await wait(other)
    (sent,) = await c.scatter([1], hash=False)
    await c.submit(inc, sent)
    for future in (done, other, sent):
        future.release()
    while s.tasks:
        await asyncio.sleep(0.05)
    before = {each.id: (each.name, set(each.groups), each._metadata) for each in spans.spans.values()}
    await c.run_on_scheduler(tidy)
    assert {each.id: (each.name, each.groups, each._metadata) for each in spans.spans.values()} == before
    assert {name for name, _, _ in before.values()} == {("default",), ("mine",)}


@two_workers
async def test_trainings_at_the_same_time_share_a_span(c, s, a, b):
    async with Client(s.address, asynchronous=True) as other:
        fits = [
            DeepLearningRegressor(client=client, **SHORT).fit(parted(make_table(200)), "y") for client in (c, other)
        ]
        one, two = await asyncio.gather(*fits)
    assert one.model_.record.n_seen == two.model_.record.n_seen > 0
    await asyncio.sleep(1.2)  # heartbeats of workers ask for spans of tasks that are over
    assert len(s.workers) == 2
    await c.run_on_scheduler(tidy)
    assert [each.name for each in s.extensions["spans"].spans.values()] == [("dask-dl-fit",)]
