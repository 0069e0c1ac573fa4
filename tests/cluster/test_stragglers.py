"""Workers that do not end a round with the others."""

from __future__ import annotations

import itertools
import time

import numpy as np
from cluster.tables import nothing_left, parted, rounds, two_workers
from distributed import get_worker
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import stragglers
from dask_dl.cluster.shard import Shard


@two_workers
async def test_a_straggler_does_not_hold_a_round(c, s, a, b):
    """It is told to end, and what it has learned counts."""
    inner, shares, times, before = Shard.train, [], [], stragglers.MIN_WAIT

    def slow(shard, start, stop, settings, on_rows=None):
        if get_worker().address != a.address or len(times) >= 3:
            return inner(shard, start, stop, settings, on_rows)
        loss = 0.0
        for k in range(start, stop):
            loss += inner(shard, k, k + 1, settings, on_rows)
            time.sleep(0.01)
        return loss

    def look(record):
        times.append(time.monotonic())
        shares.append(record["samples"])

    stragglers.MIN_WAIT = 0.5
    Shard.train = slow
    try:
        model = await DeepLearningRegressor(**rounds(2000) | {"epochs": 8}).fit(
            parted(make_table()), "y", callbacks=[look]
        )
    finally:
        Shard.train, stragglers.MIN_WAIT = inner, before
    learned = np.diff([0, *shares])
    assert all(
        900 < n < 1900 for n in learned[:3]
    )  # one share, and a part of the other: 1000 rows would take ten seconds
    assert model.model_.record.n_seen == 16_000 and model.parameters_["n_jobs"] == 2  # nobody was lost
    await nothing_left(s, a, b)


@two_workers
async def test_a_straggler_goes_on_where_it_was_stopped(c, s, a, b):
    inner, before, begun = Shard.train, stragglers.MIN_WAIT, {a.address: [], b.address: []}

    def slow(shard, start, stop, settings, on_rows=None):
        home, n_before = get_worker().address, shard.replica.n_seen
        try:
            if home != a.address:
                return inner(shard, start, stop, settings, on_rows)
            for k in range(start, stop):
                inner(shard, k, k + 1, settings, on_rows)
                time.sleep(0.005)
        finally:
            begun[home].append((start, start + shard.replica.n_seen - n_before))
        return 0.0

    stragglers.MIN_WAIT = 0.3
    Shard.train = slow
    try:
        model = await DeepLearningRegressor(**rounds(1000) | {"epochs": 2}).fit(parted(make_table()), "y")
    finally:
        Shard.train, stragglers.MIN_WAIT = inner, before
    assert model.model_.record.n_seen == 4000
    for shares in begun.values():
        assert shares[0][0] == 0 and all(one[1] == two[0] for one, two in itertools.pairwise(shares))
    assert sum(shares[-1][1] for shares in begun.values()) == 4000
    await nothing_left(s, a, b)


@two_workers
async def test_a_reproducible_training_waits(c, s, a, b):
    inner, before, ended = Shard.train, stragglers.MIN_WAIT, []

    def slow(shard, start, stop, settings, on_rows=None):
        time.sleep(1.0 if get_worker().address == a.address else 0.0)
        ended.append(stop - start)
        return inner(shard, start, stop, settings, on_rows)

    stragglers.MIN_WAIT = 0.1
    Shard.train = slow
    try:
        given = rounds(1000) | {"reproducible": True, "epochs": 1}
        model = await DeepLearningRegressor(**given).fit(parted(make_table()), "y")
    finally:
        Shard.train, stragglers.MIN_WAIT = inner, before
    assert model.model_.record.n_seen == 2000 and len(ended) == 4 and model.n_iter_ == 2


@two_workers
async def test_a_straggler_that_does_not_even_stop_is_lost(c, s, a, b):
    inner, before = Shard.train, (stragglers.MIN_WAIT, stragglers.STOPPING)
    hung = []

    def hang(shard, start, stop, settings, on_rows=None):
        if get_worker().address == a.address and not hung:
            hung.append(1)
            time.sleep(4)
        return inner(shard, start, stop, settings, on_rows)

    stragglers.MIN_WAIT = stragglers.STOPPING = 0.3
    Shard.train = hang
    try:
        model = await DeepLearningRegressor(**rounds(1000)).fit(parted(make_table()), "y")
    finally:
        Shard.train = inner
        stragglers.MIN_WAIT, stragglers.STOPPING = before
    assert model.model_.record.n_seen == 4000
    await nothing_left(s, a, b)
