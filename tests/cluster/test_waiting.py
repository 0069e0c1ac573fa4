"""Waiting for tasks: told by the client's event loop, and not at all for a scheduler that is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from cluster.tables import parted, rounds
from distributed import Event
from distributed.utils_test import gen_cluster, inc
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import membership
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.submit import Submitter
from dask_dl.cluster.waiting import ending
from dask_dl.errors import NoWorkersError

two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 2)] * 2, timeout=120)
#: Seconds of what has to happen, on a busy machine.
SOON = 60


def silent(_):
    """Say nothing."""


def gated(k):
    assert Event("gate").wait(SOON)
    return k


def failing():
    raise ValueError("no")


def submitter_of(client):
    return Submitter(client, Liveness(client, silent), "job", 1.0, silent)


def watching(loop):
    return [task for task in asyncio.all_tasks(loop) if "end_of" in repr(task)]


@two_workers
async def test_waiting_longer_takes_no_more_of_the_event_loop(c, s, a, b):
    some = submitter_of(c)
    futures = {(w.address, k): some.submit("train", w.address, gated, k) for w in (a, b) for k in range(20)}
    loop, counts, seen = asyncio.get_running_loop(), [], set()

    def on_poll():
        if len(counts) < 5:
            seen.update(watching(loop))
            counts.append(len(seen))
            if len(counts) == 5:
                Event("gate", client=c).set()

    assert await asyncio.to_thread(some.wait, futures, on_poll) == set()
    assert counts == [len(futures)] * 5  # one each, from the first poll to the last
    assert all(future.status == "finished" for future in futures.values())
    while watching(loop):  # and none is left
        await asyncio.sleep(0.01)
    some.sweep()


@two_workers
async def test_an_error_ends_the_waiting_for_others(c, s, a, b):
    some = submitter_of(c)
    futures = {
        a.address: some.submit("train", a.address, failing),
        b.address: some.submit("train", b.address, gated, 1),
    }
    with pytest.raises(ValueError, match="no"):
        await asyncio.to_thread(some.wait, futures)
    assert futures[b.address].status == "pending"
    await Event("gate", client=c).set()
    some.sweep()


@pytest.mark.parametrize("first", [False, True])
@two_workers
async def test_the_end_is_that_of_all_or_of_the_first(c, s, a, b, first):
    futures = [c.submit(inc, 1), c.submit(gated, 1)]
    with ending(c, futures, first=first) as end:
        await futures[0]
        if first:
            await asyncio.wait_for(asyncio.wrap_future(end), SOON)
        else:
            assert not end.done()
            await Event("gate", client=c).set()
            await asyncio.wait_for(asyncio.wrap_future(end), SOON)
            assert futures[1].status == "finished"
    await Event("gate", client=c).set()


@two_workers
async def test_tasks_of_a_client_without_a_loop_are_not_waited_for(c, s, a, b):
    future = c.submit(inc, 1)
    await future
    gone = SimpleNamespace(loop=SimpleNamespace(asyncio_loop=asyncio.new_event_loop()))
    gone.loop.asyncio_loop.close()
    with ending(gone, [future]) as end:
        assert end.done()


def test_a_client_without_a_scheduler_is_asked_nothing():
    asked = []
    scheduler = SimpleNamespace(identity=None, events=None)
    client = SimpleNamespace(scheduler=scheduler, status="running", sync=lambda *_, **__: asked.append(1))
    some = Liveness(client, silent)
    assert some.look() == {} and not some.was_planned("tcp://one") and len(asked) == 2
    for client.status in ("connecting", "closing", "closed"):
        assert some.look() == {} and not some.was_planned("tcp://one") and len(asked) == 2


@two_workers
async def test_a_dead_scheduler_is_waited_for_as_long_as_for_workers_and_no_longer(c, s, a, b, monkeypatch):
    """Of the deadlines that end a wait, only `worker_timeout` counts: of the others none is left to run."""
    loop, deadlines, died = asyncio.get_running_loop(), [], threading.Event()
    inner = membership.within

    def within(seconds, call):
        if died.is_set():
            deadlines.append(seconds)
        return inner(seconds, call)

    def watch(record):
        if record["iterations"] == 3:
            asyncio.run_coroutine_threadsafe(s.close(), loop).result(SOON)
            deadline = time.monotonic() + SOON
            while c.status == "running":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            died.set()

    monkeypatch.setattr(membership, "within", within)
    model = DeepLearningRegressor(**rounds(500) | {"worker_timeout": 0.5})
    with pytest.raises(NoWorkersError, match=r"no worker for 0\.5 s"):
        await model.fit(parted(make_table()), "y", callbacks=[watch])
    assert died.is_set() and deadlines == []
