"""Several trainers on the rows of one backend: in turns and at the same time each does what it does alone."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cluster.tables import lose, nothing_left, parted, rounds, training_plugins
from distributed import Worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import parameters
from dask_dl.cluster import plugin, table_tasks
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.setup import RoundSettings
from dask_dl.errors import NoWorkersError, SchemaError
from dask_dl.events import Listeners
from dask_dl.frame import blocks
from dask_dl.frame.row_selection import AllBut, AllRows, Fold
from dask_dl.frame.source import open_source
from dask_dl.frame.view import View
from dask_dl.training.backends import backend_for
from dask_dl.training.engine import Request, encode, train
from dask_dl.training.loop import TIME_IS_UP, Halt
from dask_dl.training.preparation import plan
from dask_dl.training.start import Start

#: Rows that a trainer learns from, its hidden layers, and its seed.
TRAININGS = [
    (AllRows(), (6,), 1),
    (AllBut(Fold(0, 3)), (6,), 1),
    (Fold(0, 3), (4, 3), 2),
    (AllBut(Fold(1, 3, "modulo")), (6,), 1),
]
N_ROUNDS, N = 5, 300
TELL = Listeners()


class Training:
    """A trainer on a view, and what it has learned."""

    def __init__(self, backend, encoded, requested, which):
        rows, hidden, seed = which
        problem = plan(encoded.data, requested | {"hidden": hidden}, seed, TELL, backend)
        view = View("training", rows)
        scored = {"training": view}

        def trainer(setup, *more):
            return backend.trainer(replace(setup, view=view, scored=scored), *more)

        self.trainer = Start.fresh(problem).begin(problem, SimpleNamespace(trainer=trainer), lambda now: None)
        self.trainer.compile()
        self.losses = []

    def round(self):
        self.trainer.train(N, RoundSettings(), None)
        self.trainer.average()
        self.losses.append(self.trainer.measure("training").metric("rmse"))

    def learned(self):
        flat, states, _, averaging = self.trainer.snapshot()
        velocity = () if averaging is None or averaging.velocity is None else (averaging.velocity,)
        return self.trainer.n_rows, self.trainer.n_seen, self.losses, (flat, *states, *velocity)


def assert_same(found, expected):
    assert found[:2] == expected[:2]
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-12)
    for mine, theirs in zip(found[3], expected[3], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def asked(X, given):
    requested = parameters.validate(rounds(N) | {"score_training_samples": 0} | given, task="regression")
    return requested, Request(open_source(X, "y"), "regression", requested)


def alone(opened, request, requested):
    """What each training learns on rows of its own."""
    found = []
    for which in TRAININGS:
        with opened() as backend:
            training = Training(backend, encode(request, backend), requested, which)
            for _ in range(N_ROUNDS):
                training.round()
            found.append(training.learned())
    return found


def in_turns(backend, encoded, requested):
    trainings = [Training(backend, encoded, requested, which) for which in TRAININGS[:3]]
    for k in range(N_ROUNDS):
        for training in trainings:
            training.round()
        if k == 1:  # one comes later
            trainings.append(Training(backend, encoded, requested, TRAININGS[3]))
    for _ in range(2):
        trainings[3].round()
    return trainings


def at_once(backend, encoded, requested):
    """From threads, which begin each round together."""
    barrier = threading.Barrier(len(TRAININGS), timeout=60)

    def run(which):
        training = Training(backend, encoded, requested, which)
        for _ in range(N_ROUNDS):
            barrier.wait()
            training.round()
        return training

    with ThreadPoolExecutor(len(TRAININGS)) as pool:
        return list(pool.map(run, TRAININGS))


def counted(monkeypatch, where):
    """Numbers of the partitions that are encoded."""
    numbers, inner = [], where.encode_partition

    def spy(part, recipe, k, n):
        numbers.append(k)
        return inner(part, recipe, k, n)

    monkeypatch.setattr(where, "encode_partition", spy)
    return numbers


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("n_shards", [None, 3])
def test_trainers_in_a_process_do_not_know_of_each_other(monkeypatch, n_shards, storage):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(table, {"storage": storage, "score_training_samples": 200})

    def opened():
        return LocalBackend(n_shards=n_shards)

    expected = alone(opened, request, requested)
    for together in (in_turns, at_once):
        with opened() as backend:
            encoded = encode(request, backend)
            numbers = counted(monkeypatch, blocks)
            trainings = together(backend, encoded, requested)
            for training, theirs in zip(trainings, expected, strict=True):
                assert_same(training.learned(), theirs)
            stores = [training.trainer.shard.tables["training"] for training in trainings]
            assert all(store is stores[0] for store in stores)
            first, *others = trainings
            first.trainer.close()
            first.trainer.close()
            assert first.trainer.shard.replica is None
            assert len(stores[0].blocks)
            again = Training(backend, encoded, requested, TRAININGS[0])
            for _ in range(N_ROUNDS):
                again.round()
            assert_same(again.learned(), expected[0])
            for training, theirs in zip(others, expected[1:], strict=True):
                assert_same(training.learned(), theirs)
            assert not numbers
            monkeypatch.undo()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_dl")]


two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=240)
FIXED = {"reproducible": True, "n_shards": 3}


def held_by(worker):
    """Blocks of the training table by job."""
    return {home.job: dict(home.shard.tables["training"].blocks) for home in training_plugins(worker)}


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
@two_workers
async def test_trainers_on_workers_do_not_know_of_each_other(c, s, a, b, monkeypatch, storage):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(parted(table), FIXED | {"storage": storage, "score_training_samples": 200})
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=3), request, requested)
    backend = backend_for(requested, c, TELL, lambda: False)

    def work():
        with backend:
            encoded = encode(request, backend)
            jobs = {home.job for home in training_plugins(a)}
            numbers = counted(monkeypatch, table_tasks)
            for together in (in_turns, at_once):
                trainings = together(backend, encoded, requested)
                for training, theirs in zip(trainings, expected, strict=True):
                    assert_same(training.learned(), theirs)
                if storage == "stream":
                    numbers.clear()
                for worker in (a, b):
                    held = held_by(worker)
                    (own,) = (held.pop(job) for job in jobs)
                    assert len(held) == 3
                    for theirs in held.values():
                        assert own.keys() == theirs.keys()
                        if storage == "memory":
                            assert all(own[k].handle.dense is theirs[k].handle.dense for k in own)
                memberships = [training.trainer.membership for training in trainings]
                assert len({id(m) for m in memberships}) == 4
                (first,) = (k for k, m in enumerate(memberships) if m is backend.membership)
                del memberships[first]
                before = [(m.version, m.holders, dict(m.tables["training"].held)) for m in memberships]
                trainings[first].trainer.close()
                homes = [home for worker in (a, b) for home in training_plugins(worker) if home.job in jobs]
                assert [home.shard.replica for home in homes] == [None, None]
                assert before == [(m.version, m.holders, dict(m.tables["training"].held)) for m in memberships]
                again = Training(backend, encoded, requested, TRAININGS[0])
                for _ in range(N_ROUNDS):
                    again.round()
                assert_same(again.learned(), expected[0])
                for training in (*trainings, again):
                    training.trainer.close()
                    training.trainer.close()
                assert {home.job for worker in (a, b) for home in training_plugins(worker)} == jobs
                if storage != "stream":
                    assert not numbers

    await asyncio.to_thread(work)
    await nothing_left(s, a, b)


@pytest.mark.parametrize("given", [FIXED, {}, FIXED | {"storage": "disk"}], ids=str)
@two_workers
async def test_parts_of_a_divided_cluster_train_on_all_rows(c, s, a, b, monkeypatch, given):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(parted(table), given)
    n_shards = given.get("n_shards")
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=n_shards), request, requested)
    backend = backend_for(requested, c, TELL, lambda: False)

    def train(part, encoded, which):
        with part:
            found = []
            for k in which:  # one after another on the same part, which copies rows for the first
                training = Training(part, encoded, requested, TRAININGS[k])
                for _ in range(N_ROUNDS):
                    training.round()
                found.append(training.learned())
                training.trainer.close()
            return found

    def work():
        with backend:
            encoded = encode(request, backend)
            numbers = counted(monkeypatch, table_tasks)
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(train, backend.split(2), [encoded] * 2, [(0, 1), (2, 3)])
            assert not numbers
            for found, theirs in zip(first + second, expected, strict=True):
                assert_same(found, theirs)
            assert len(training_plugins(a)) == len(training_plugins(b)) == 1

    await asyncio.to_thread(work)
    await nothing_left(s, a, b)


@two_workers
async def test_trainers_go_on_when_workers_go_and_come_and_rows_are_forgotten(c, s, a, b, monkeypatch):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(parted(table), FIXED)
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=3), request, requested)
    backend = backend_for(requested, c, TELL, lambda: False)

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, c.loop.asyncio_loop).result()

    def work():
        with backend:
            encoded = encode(request, backend)
            trainings = [Training(backend, encoded, requested, which) for which in TRAININGS[:2]]
            for k in range(N_ROUNDS):
                if k == 2:
                    run(lose(s, b))
                if k == 3:
                    run(new.start())
                for training in trainings:
                    training.round()
            for training, theirs in zip(trainings, expected, strict=False):
                assert_same(training.learned(), theirs)
            for home in training_plugins(a):
                if home.job == backend.membership.job:
                    home.forget()  # as after ten idle minutes
            for which, theirs in zip(TRAININGS[2:], expected[2:], strict=True):
                training = Training(backend, encoded, requested, which)
                for _ in range(N_ROUNDS):
                    training.round()
                assert_same(training.learned(), theirs)

    new = Worker(s.address, nthreads=1)
    await asyncio.to_thread(work)
    await nothing_left(s, a, new)
    await new.close()


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


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=240)
async def test_a_part_that_loses_its_only_worker_is_lent_one_or_ends_in_time(c, s, a, b, d):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(parted(table), FIXED | {"worker_timeout": 3.0})
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=3), request, requested)
    backend = backend_for(requested, c, TELL, lambda: False)
    workers = {worker.address: worker for worker in (a, b, d)}

    def lose_one(part):
        worker = workers.pop(min(part.membership.liveness.look()))
        asyncio.run_coroutine_threadsafe(lose(s, worker), c.loop.asyncio_loop).result()

    def work():
        with backend:
            encoded = encode(request, backend)
            parts = backend.split(2)
            with parts[0], parts[1]:
                trainings = [
                    Training(part, encoded, requested, which) for part, which in zip(parts, TRAININGS, strict=False)
                ]
                assert [len(part.membership.taking_part) for part in parts] == [2, 1]
                for k in range(N_ROUNDS):
                    if k == 2:
                        lose_one(parts[1])
                    for training in reversed(trainings):
                        training.round()
                for training, theirs in zip(trainings, expected, strict=False):
                    assert_same(training.learned(), theirs)
                assert [len(part.membership.liveness.look()) for part in parts] == [1, 1]
                lose_one(parts[1])
                with pytest.raises(NoWorkersError, match="no worker but 1 of other trainings for 3 s"):
                    trainings[1].round()
                trainings[0].round()

    await asyncio.to_thread(work)
    await nothing_left(s, *workers.values())


def folded(dtype=object):
    """A table with a column of three folds by row number, of which some rows that do not count have none, or another."""
    table = make_table(1000)[["a", "b", "level", "y"]]
    table["f"] = pd.Series(np.array(["no", "one", "two"])[np.arange(1000) % 3], dtype=dtype)
    if dtype is object:
        table.loc[::50, "y"] = np.nan
        table.loc[0, "f"], table.loc[50, "f"] = None, "none of these"
    return table


def learned_of_folds(backend, request, requested, hows=("column", "modulo")):
    found = {}
    with backend:
        encoded = encode(request, backend)
        for how in hows:
            for k in range(3):
                training = Training(backend, encoded, requested, (AllBut(Fold(k, 3, how)), (5,), 1))
                training.round()
                found[how, k] = training.learned()
                training.trainer.close()
    return found


def by_fold(X, given):
    requested = parameters.validate(rounds(N) | given, task="regression")
    return requested, Request(open_source(X, "y", fold="f"), "regression", requested)


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
@pytest.mark.parametrize("dtype", [object, "category"])
def test_folds_of_a_column_are_those_of_row_numbers(dtype, storage):
    requested, request = by_fold(folded(dtype), {"storage": storage, "score_training_samples": 200})
    assert request.source.predictors == ("a", "b", "level")
    found = learned_of_folds(LocalBackend(n_shards=2), request, requested)
    for k in range(3):
        if dtype is object and k != 1:  # those two rows are in no fold by the column, and views number them
            assert found["column", k][0] == found["modulo", k][0]
        else:
            assert_same(found["column", k], found["modulo", k])


@pytest.mark.parametrize("storage", ["memory", "disk", "stream", "local"])
@two_workers
async def test_workers_keep_the_folds_of_a_column(c, s, a, b, storage):
    table = folded()
    given = FIXED | {"score_training_samples": 200}
    here = await asyncio.to_thread(
        learned_of_folds, LocalBackend(n_shards=3), by_fold(table, given)[1], by_fold(table, given)[0], ["column"]
    )
    X = table if storage == "local" else parted(table)
    requested, request = by_fold(X, given | ({} if storage == "local" else {"storage": storage}))
    backend = backend_for(requested, c, TELL, lambda: False)

    def work():
        with backend:
            encoded = encode(request, backend)
            for k, part in enumerate(backend.split(2)):  # which copy a half of the rows
                with part:
                    training = Training(part, encoded, requested, (AllBut(Fold(k, 3, "column")), (5,), 1))
                    training.round()
                    assert_same(training.learned(), here["column", k])

    await asyncio.to_thread(work)
    await nothing_left(s, a, b)


def test_a_row_that_counts_must_have_a_fold():
    table = folded("category")
    table.loc[7, "f"] = None
    requested, request = by_fold(table, {})
    with pytest.raises(
        SchemaError, match=r"fold 'f' of the training table: 1 rows in partition 0 have none. Fill them"
    ):
        learned_of_folds(LocalBackend(), request, requested)
    many = make_table(70_000)[["a", "y"]].assign(f=np.arange(70_000))
    requested, request = by_fold(many, {})
    with pytest.raises(SchemaError, match="70,000 values; there may be 65,535 folds at most"):
        learned_of_folds(LocalBackend(), request, requested)


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}], ids=str)
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=180)
async def test_a_replica_follows_its_shard_to_a_worker_that_joins(c, s, a, given):
    """A snapshot between the move of the rows and the next round has all replicas, and the old worker keeps none."""
    requested, request = asked(parted(make_table(1000)[["a", "b", "level", "y"]]), FIXED | given)
    backend = backend_for(requested, c, TELL, lambda: False)
    new = Worker(s.address, nthreads=1)

    def replicas(worker):
        return sum(
            shard.replica is not None for home in training_plugins(worker) for shard in home.shard.fixed.values()
        )

    def work():
        with backend:
            training = Training(backend, encode(request, backend), requested, TRAININGS[0])
            training.round()
            asyncio.run_coroutine_threadsafe(new.start(), c.loop.asyncio_loop).result()
            n = 1
            while not training_plugins(new) or not replicas(new):
                training.round()
                training.trainer.snapshot()
                n += 1
                time.sleep(0.1)  # it compiles the kernels
            assert replicas(a) + replicas(new) == 3
            return n, training.learned()

    n, found = await asyncio.to_thread(work)

    def work_here():
        here = backend_for(requested, None, TELL, lambda: False)
        training = Training(here, encode(request, here), requested, TRAININGS[0])
        for _ in range(n):
            training.round()
        return training.learned()

    assert_same(found, await asyncio.to_thread(work_here))
    await nothing_left(s, a, new)
    await new.close()


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=180)
async def test_shards_that_are_trained_again_for_the_average_can_be_broken_off(c, s, a, b, d, monkeypatch):
    requested, request = asked(parted(make_table(1000)[["a", "b", "level", "y"]]), FIXED)
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=3), request, requested)
    inner, calls, is_over = DaskTrainer.average, [], []

    def average(trainer):
        """What a worker has trained is gone when it is to be averaged."""
        calls.append(trainer)
        if len(calls) in {2, 11}:
            worker = d if len(calls) == 2 else b
            asyncio.run_coroutine_threadsafe(lose(s, worker), c.loop.asyncio_loop).result()
            is_over.append(True)
        try:
            inner(trainer)
        finally:
            is_over.clear()

    monkeypatch.setattr(DaskTrainer, "average", average)

    def on_rows(n):
        if is_over:
            raise Halt(TIME_IS_UP)

    def by_hand():
        backend = backend_for(requested, c, TELL, lambda: False)
        with backend:
            training = Training(backend, encode(request, backend), requested, TRAININGS[0])
            training.round()
            before = training.learned()
            training.trainer.train(N, RoundSettings(), on_rows)
            with pytest.raises(Halt, match=TIME_IS_UP):
                training.trainer.average()
            training.trainer.average()
            assert_same(training.learned(), before)
            for _ in range(N_ROUNDS - 1):
                training.round()
            assert_same(training.learned(), expected[0])

    def by_the_loop():
        del calls[9:]
        calls.extend([None] * (9 - len(calls)))
        outcome = train(request, backend_for(requested, c, TELL, lambda: False), cancelled=lambda: bool(is_over))
        assert outcome.failure is None
        record = outcome.model.record
        assert (record.stopped_by, record.n_seen) == ("interrupted", N)

    await asyncio.to_thread(by_hand)
    await asyncio.to_thread(by_the_loop)
    await nothing_left(s, a)
