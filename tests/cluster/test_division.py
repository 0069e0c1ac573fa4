"""Backends that are divided: trainings side by side, each with workers or threads of its own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cluster.tables import nothing_left, parted, rounds
from distributed import Worker, get_worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import parameters
from dask_dl.cluster.division import Division
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.shard import Shard
from dask_dl.errors import ClusterError, ParameterError
from dask_dl.events import Listeners
from dask_dl.frame.source import open_source
from dask_dl.training.backends import backend_for
from dask_dl.training.engine import Request, train


def test_workers_stay_in_their_part_and_newcomers_join_the_smallest():
    first, second = (part.choose for part in Division(2).parts())
    assert (first("abcd"), second("abcd")) == ({"a", "c"}, {"b", "d"})
    assert (second("bcd"), first("bcd")) == ({"b", "d"}, {"c"})
    assert (first("bcdef"), second("bcdef")) == ({"c", "e", "f"}, {"b", "d"})
    assert (first(""), second("")) == (set(), set())
    assert first("xyz") | second("xyz") == {"x", "y", "z"}


def test_a_part_without_workers_is_lent_one():
    parts = Division(3).parts()
    first, second, third = (part.choose for part in parts)
    assert [part("abcdefg") for part in (first, second, third)] == [set("adg"), set("be"), set("cf")]
    assert third("abdeg") == {"g"}  # of the largest part
    assert first("abdeg") == {"a", "d"}
    assert second("ab") == {"b"} and third("ab") == set()  # no part has two
    parts[0].close()
    assert third("ab") == {"a"}  # of one that is closed
    assert second("ab") == {"b"}
    assert second("abz") == {"b", "z"} and third("abz") == {"a"}  # newcomers join those that are open
    assert first("abz") == {"z"}


def asked(X, given):
    requested = parameters.validate(given, task="regression")
    return requested, Request(open_source(X, "y"), "regression", requested)


def trained(request, backend):
    outcome = train(request, backend)
    assert outcome.failure is None
    return outcome.model


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
async def test_trainings_side_by_side_have_workers_of_their_own(c, s, a, b, monkeypatch):
    table, inner, where = make_table()[["a", "b", "level", "y"]], Shard.train, {}

    def spy(shard, *arguments):
        where.setdefault(get_worker().address, set()).add(shard.setup.seed)
        return inner(shard, *arguments)

    monkeypatch.setattr(Shard, "train", spy)
    asks = [asked(parted(table), rounds(500) | {"random_state": seed}) for seed in (1, 2)]
    backend = backend_for(asks[0][0], c, Listeners(), lambda: False)
    parts = await asyncio.to_thread(backend.split, 2)
    models = await asyncio.gather(
        *(asyncio.to_thread(trained, request, part) for (_, request), part in zip(asks, parts, strict=True))
    )
    assert sorted(where.values(), key=min) == [{1}, {2}]  # each on one worker
    monkeypatch.undo()
    for (_, request), model in zip(asks, models, strict=True):
        alone = await asyncio.to_thread(trained, request, LocalBackend())
        np.testing.assert_array_equal(model.network.flat, alone.network.flat)
    monkeypatch.setattr(Shard, "train", spy)
    where.clear()
    async with Worker(s.address, nthreads=1) as new:
        parts = await asyncio.to_thread(backend.split, 2)
        await asyncio.gather(
            *(asyncio.to_thread(trained, request, part) for (_, request), part in zip(asks, parts, strict=True))
        )
        assert sorted(map(len, where.values())) == [1, 1, 1] and new.address in where
        with pytest.raises(ClusterError, match="3 workers cannot be divided into 4 parts"):
            await asyncio.to_thread(backend.split, 4)
    await nothing_left(s, a, b)


def test_threads_of_a_process_are_divided():
    backend = LocalBackend(n_threads=5)
    requested, request = asked(make_table(9000)[["a", "b", "y"]], rounds(4500) | {"n_jobs": None, "epochs": 1})
    assert requested["n_jobs"] is None
    used = [trained(request, part).record.effective["n_jobs"] for part in backend.split(2)]
    assert used == [2, 3]
    with pytest.raises(ParameterError, match="5 threads cannot be divided into 6 parts"):
        backend.split(6)
