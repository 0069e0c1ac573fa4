"""What adaptive scaling reads from a training, and that nothing of it stays."""

from __future__ import annotations

import asyncio

import pytest
from cluster.tables import PLAIN, nothing_left, parted, rounds
from distributed import Client, LocalCluster, Worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import waiting
from dask_dl.cluster.demand import MAX_TASKS, NAME, Demand
from dask_dl.errors import NoWorkersError

no_worker = gen_cluster(client=True, nthreads=[], timeout=60)
one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_of_two_threads = gen_cluster(client=True, nthreads=[("127.0.0.1", 2)] * 2, timeout=60)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    DeepLearningRegressor(**PLAIN).fit(make_table(50), "y")


async def shown(demand, s, n_threads, **given):
    await asyncio.to_thread(demand.show, n_threads)
    while len(s.unrunnable) != len(demand.tasks):
        await asyncio.sleep(0.01)
    return s.adaptive_target(**given)


def tasks(s):
    return [key for key in s.tasks if str(key).startswith(NAME)]


@no_worker
async def test_without_workers_each_thread_that_is_wanted_is_one_worker(c, s):
    demand = Demand(c, "0123abcd")
    assert s.adaptive_target() == 0
    for n in (1, 7, 3, 3):
        assert await shown(demand, s, n) == n
    await asyncio.to_thread(demand.withdraw)
    while tasks(s):
        await asyncio.sleep(0.01)
    assert s.adaptive_target() == 0


@two_of_two_threads
async def test_threads_are_counted_in_workers_and_none_is_taken(c, s, a, b):
    demand = Demand(c, "0123abcd")
    assert await shown(demand, s, 10) == 5
    assert await c.submit(sum, (1, 2)) == 3
    assert not any(ws.processing for ws in s.workers.values())
    assert await shown(demand, s, 10, target_duration="5s") == 5
    retired = await c.retire_workers([a.address])
    assert list(retired) == [a.address]  # no task keeps a worker that somebody wants to retire
    assert await shown(demand, s, 10) == 5
    await asyncio.to_thread(demand.withdraw)


@no_worker
async def test_a_scheduler_that_runs_no_functions_reads_the_same(c, s):
    s.handlers.pop("run_function")
    demand = Demand(c, "0123abcd")
    assert await shown(demand, s, 3) == 3
    await asyncio.to_thread(demand.withdraw)


@no_worker
async def test_a_demand_that_the_scheduler_gave_up_is_renewed_and_it_has_a_limit(c, s):
    demand = Demand(c, "0123abcd")
    await shown(demand, s, 2)
    await c.cancel(demand.tasks)
    await asyncio.sleep(0.1)
    assert await shown(demand, s, 2) == 2
    await shown(demand, s, 10 * MAX_TASKS)
    assert len(tasks(s)) == MAX_TASKS
    await asyncio.to_thread(demand.withdraw)


@one_worker
async def test_a_training_asks_for_no_more_workers_than_it_has_blocks(c, s, a):
    targets = []
    for n_partitions in (1, 3, 20):
        seen = []
        model = DeepLearningRegressor(**rounds(500) | {"epochs": 1})
        await model.fit(
            parted(make_table(), n_partitions), "y", callbacks=[lambda _, seen=seen: seen.append(len(tasks(s)))]
        )
        targets.append(max(seen))
    assert targets == [1, 3, 5]
    await nothing_left(s, a)


@one_worker
async def test_a_fit_that_fails_asks_for_nothing_any_more(c, s, a):
    def fail(_):
        assert tasks(s)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[fail])
    await nothing_left(s, a)


@no_worker
async def test_what_is_waited_for_is_said_and_a_worker_that_comes_is_used(c, s, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "REMINDER", 0.3)
    model = DeepLearningRegressor(**PLAIN | {"worker_timeout": 60.0}, verbose=True)
    running = asyncio.ensure_future(model.fit(parted(make_table(500)), "y"))
    while not tasks(s):
        await asyncio.sleep(0.01)
    assert s.adaptive_target() == 1
    out = ""
    while out.count(" s for a worker: the cluster has none.") < 2:
        out += capsys.readouterr().out
        await asyncio.sleep(0.1)
    async with Worker(s.address, nthreads=1):
        await running
        assert model.model_.record.n_seen == 1000


@no_worker
async def test_a_training_without_workers_ends_in_time_and_leaves_no_demand(c, s, capsys):
    with pytest.raises(NoWorkersError, match=r"no worker for 0.5 s.*worker_timeout"):
        await DeepLearningRegressor(**PLAIN | {"worker_timeout": 0.5}).fit(parted(make_table(500)), "y")
    while tasks(s):
        await asyncio.sleep(0.01)
    assert not capsys.readouterr().out


# ---- with real clusters ---------------------------------------------------------------------------------------------


def adapts(cluster, *, minimum, maximum, n_partitions):
    """Train until the cluster has grown as far as it may and everybody trains."""
    with Client(cluster) as client:
        cluster.adapt(minimum=minimum, maximum=maximum, interval="200ms")
        used = []

        def watch(record):
            used.append(n_with_blocks(client))
            assert record["duration"] < 100, "it did not grow"
            return used[-1] == maximum

        given = rounds(2000) | {"epochs": 1e5, "worker_timeout": 60.0}
        model = DeepLearningRegressor(**given, client=client)
        model.fit(parted(make_table(), n_partitions), "y", callbacks=[watch])
        assert model.parameters_["n_jobs"] == maximum


def n_with_blocks(client):
    """Workers that have blocks of the training table."""

    def n_blocks(dask_worker):  # local, so that it travels by value: a job's worker does not know the tests
        homes = [plugin for name, plugin in dask_worker.plugins.items() if name.startswith("dask-dl-")]
        return sum(len(home.shard.tables["training"].blocks) for home in homes if "training" in home.shard.tables)

    return sum(bool(n) for n in client.run(n_blocks).values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_that_adapts_from_nothing_grows_while_it_trains():
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        adapts(cluster, minimum=0, maximum=3, n_partitions=9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_of_dask_jobqueue_are_asked_for(tmp_path, monkeypatch):
    local = pytest.importorskip("dask_jobqueue.local")
    monkeypatch.chdir(tmp_path)
    with local.LocalCluster(
        cores=1, memory="2GiB", processes=1, n_workers=1, scheduler_options={"dashboard_address": ":0"}
    ) as cluster:
        adapts(cluster, minimum=1, maximum=2, n_partitions=8)
