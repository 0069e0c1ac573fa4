"""Trainers: what they refuse, and several of them on the rows of workers, each of which does what it does alone."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from cluster.tables import lose, nothing_left, parted, rounds, training_plugins
from cluster.trainings import (
    N_ROUNDS,
    TELL,
    TRAININGS,
    N,
    Training,
    alone,
    asked,
    assert_same,
    at_once,
    counted,
    in_turns,
)
from distributed import Worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import parameters
from dask_dl.cluster import table_tasks
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.trainer import check_visits, diverged, measured
from dask_dl.errors import DivergedError, NoWorkersError, ParameterError, SchemaError
from dask_dl.frame.balance import Balance
from dask_dl.frame.row_selection import AllBut, Fold
from dask_dl.frame.source import open_source
from dask_dl.frame.view import View
from dask_dl.metrics.measurement import Means, Measurement, Spread
from dask_dl.training.backends import backend_for
from dask_dl.training.engine import Request, encode

two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=240)
FIXED = {"reproducible": True, "n_shards": 3}


def test_an_epoch_without_visits_is_refused_with_a_way_out():
    check_visits(1, View("training"))
    with pytest.raises(ParameterError, match="no row of the training table that counts is selected by Fold"):
        check_visits(0, View("training", Fold(0, 3)))
    with pytest.raises(ParameterError, match=r"no row was drawn\. Raise class_sampling_factors"):
        check_visits(0, View("training", balance=Balance((0.1, 0.1), 1)))


def test_divergence_is_told_with_its_rows_and_remedies():
    error = diverged("weights of layer 1 have exploded", 12_345)
    assert isinstance(error, DivergedError) and "exploded after 12,345 rows. Lower `rate`" in str(error)


def test_an_empty_sample_is_refused_with_its_parameter():
    found = Measurement(Means(1.0, {}), Spread(1.0, 0.0, 0.0))
    assert measured("training", found) is found
    with pytest.raises(ParameterError, match=r"of the validation view was .* Raise score_validation_samples"):
        measured("validation", None)


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
