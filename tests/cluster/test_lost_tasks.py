"""Tasks that Dask has lost: they are found, given up and done again; those that only take long are left alone."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import dask
import pytest
from cluster.tables import in_loop, lose, nothing_left, parted, rounds
from distributed import Status, Worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import liveness, lost_tasks, waiting
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.lost_tasks import LostTasks
from dask_dl.cluster.partitions import Partitions
from dask_dl.cluster.submit import Submitter

#: A worker that is paused stays so.
two_workers = gen_cluster(
    client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=60, config={"distributed.worker.memory.pause": False}
)

BEGUN, GOES_ON = threading.Event(), threading.Event()


def block():
    """A task that lasts as long as a test wants, in the same process."""
    BEGUN.set()
    GOES_ON.wait(50)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(lost_tasks, "PAUSE", 0.5)
    BEGUN.clear()
    GOES_ON.clear()


def submitter_of(client):
    lines = []
    workers = Liveness(client, lines.append)
    workers.look()
    return Submitter(client, workers, "job", 10.0, lines.append), lines


# ---- trainings ----------------------------------------------------------------------------------------------------------


@two_workers
async def test_a_training_goes_on_where_a_worker_never_hears_of_a_task(c, s, a, b):
    handle = a.stream_handlers["compute-task"]
    for kind in ("encode", "train", "score"):
        dropped = []

        def hear(key, kind=kind, dropped=dropped, **more):
            if dropped or not str(key).startswith(f"dask-dl-{kind}-"):
                handle(key=key, **more)
            else:
                dropped.append(key)

        a.stream_handlers["compute-task"] = hear
        model = await DeepLearningRegressor(**rounds(1000)).fit(parted(make_table()[["a", "b", "y"]]), "y")
        assert len(dropped) == 1 and model.model_.record.n_seen == 4000
    await nothing_left(s, a, b)


@two_workers
async def test_blocks_on_their_way_to_a_worker_that_is_gone_are_read_by_others(c, s, a, b, monkeypatch):
    monkeypatch.setattr(lost_tasks, "PAUSE", 1e6)  # it is known at once
    loop, new, gone = asyncio.get_running_loop(), [], []

    async def start():
        worker = await Worker(s.address, nthreads=1)
        handle = worker.stream_handlers["compute-task"]

        def hear(key, **more):
            if not isinstance(key, tuple):  # a partition
                handle(key=key, **more)

        worker.stream_handlers["compute-task"] = hear
        return worker

    def act(record):
        if not new:
            new.append(in_loop(start(), loop))
        if gone:
            gone.append(record)
        elif any(isinstance(task.key, tuple) for task in s.workers[new[0].address].processing):
            gone.append(record)
            for worker in (new[0], b):
                in_loop(lose(s, worker), loop)
        return len(gone) > 5

    settings = rounds(300) | {"epochs": 1e4}
    model = await DeepLearningRegressor(**settings).fit(parted(make_table(), 18), "y", callbacks=[act])
    assert len(gone) == 6 and model.parameters_["n_jobs"] == 1
    await nothing_left(s, a)


# ---- tasks --------------------------------------------------------------------------------------------------------------


@two_workers
async def test_a_partition_that_another_task_pins_to_a_worker_that_is_gone(c, s, a, b):
    def work():
        submitter, lines = submitter_of(c)
        partitions = Partitions(parted(make_table(70)).to_delayed())

        def read(worker):
            part = partitions.some({worker: [0]})[worker][0]
            return submitter.compute([dask.delayed(len)(part, dask_key_name=submitter.key("encode"))])[0]

        read("tcp://127.0.0.1:1")
        first = read(a.address)
        assert submitter.wait({a.address: first}) == {a.address}
        second = read(a.address)
        assert submitter.wait({a.address: second}) == set()
        assert lines == ["tasks that no worker will run are given up: encode (2)"]
        submitter.sweep()

    await asyncio.to_thread(work)


@two_workers
async def test_a_worker_that_is_paused_is_named_and_not_waited_for(c, s, a, b, monkeypatch):
    monkeypatch.setattr(waiting, "REMINDER", 0.0)
    monkeypatch.setattr(liveness, "CUT_OFF", 1e6)  # what it runs goes on

    def work():
        submitter, lines = submitter_of(c)
        running = submitter.submit("train", a.address, block)
        BEGUN.wait(50)
        queued = submitter.submit("score", a.address, len, "four")
        while queued.key not in a.state.tasks:
            time.sleep(0.01)
        c.loop.add_callback(setattr, a, "status", Status.paused)
        assert submitter.wait({a.address: queued}) == {a.address}
        assert running.status == "pending"
        assert any(f"paused since their memory is full: {a.address}" in line for line in lines)
        assert lines[-1] == "tasks that no worker will run are given up: score (1)"
        GOES_ON.set()
        assert submitter.wait({a.address: running}) == set()
        submitter.sweep()

    try:
        await asyncio.to_thread(work)
    finally:
        a.status = Status.running


@two_workers
async def test_what_takes_long_or_waits_for_its_turn_is_left_alone(c, s, a, b, monkeypatch):
    monkeypatch.setattr(lost_tasks, "PAUSE", 0.01)
    asked = []
    inner = c.run_on_scheduler

    def run_on_scheduler(*given):
        asked.append(given)
        if len(asked) == 20:
            GOES_ON.set()
        return inner(*given)

    monkeypatch.setattr(c, "run_on_scheduler", run_on_scheduler)

    def work():
        submitter, lines = submitter_of(c)
        first = submitter.submit("train", a.address, block)
        second = submitter.submit("score", a.address, len, "four")
        third = submitter.submit("receive", b.address, str, second)
        assert submitter.wait({a.address: first, (a.address, 2): second, b.address: third}) == set()
        assert len(asked) >= 20 and lines == []
        submitter.sweep()

    await asyncio.to_thread(work)


# ---- answers ------------------------------------------------------------------------------------------------------------


def given_up(answers, monkeypatch):
    """What is given up after each of some answers of a scheduler: whether it knows a task, and where that is."""
    monkeypatch.setattr(lost_tasks, "PAUSE", 0.0)
    task = SimpleNamespace(key="task", status="pending")
    script = iter(answers)

    def started(call):
        future = Future()
        try:
            future.set_result(call())
        except OSError as error:
            future.set_exception(error)
        return future

    def run_on_scheduler(_, first, keys=None):
        if keys is not None:  # those that need what is stuck
            return first
        if isinstance(answer := next(script), OSError):
            raise answer
        return answer

    monkeypatch.setattr(lost_tasks, "started", started)
    search = LostTasks(SimpleNamespace(run_on_scheduler=run_on_scheduler))
    found = []
    time.sleep(0.001)
    assert search.among([task]) == []  # it is new
    for _ in answers:
        time.sleep(0.001)
        assert search.among([task]) == []  # it asks
        found.append(search.among([task]) == [task])
    return found


FINE, STUCK, UNKNOWN = (["task"], {}), (["task"], {"task": None}), ([], {})


def test_two_answers_in_a_row_have_to_say_that_a_task_is_lost(monkeypatch):
    assert given_up([STUCK, FINE, STUCK, STUCK], monkeypatch) == [False, False, False, True]
    assert given_up([STUCK, OSError(), STUCK], monkeypatch) == [False, False, True]


def test_a_task_that_the_scheduler_has_known_is_lost_one_on_its_way_is_not(monkeypatch):
    assert given_up([FINE, UNKNOWN, UNKNOWN], monkeypatch) == [False, False, True]
    assert given_up([UNKNOWN, UNKNOWN, UNKNOWN], monkeypatch) == [False, False, False]
