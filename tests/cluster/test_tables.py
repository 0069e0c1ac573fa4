"""Tables on a cluster: who has which rows."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cluster.tables import PLAIN, nothing_left, parted, rounds, training_plugins, two_workers
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster import membership
from dask_dl.cluster.shard import Shard
from dask_dl.errors import DaskDLWarning


class Trained:
    """What every shard trained: its rows, and how many of them count there. All are as fast as each other."""

    def __init__(self):
        self.shares = []

    def __enter__(self):
        self.shortest, membership.MIN_SECONDS = membership.MIN_SECONDS, 1e9
        self.inner = inner = Shard.train

        def spy(shard, start, stop, settings, on_rows=None):
            rows, n = [], shard.visits.n_rows
            for place in range(start, stop):
                whole, lo, _ = shard.visits.source.at(place // n, place % n, lambda: None)
                rows += whole.numbers(place % n - lo, place % n - lo + 1).tolist()
            self.shares.append((shard, shard.tables["training"].n_used, list(rows)))
            return inner(shard, start, stop, settings, on_rows)

        Shard.train = spy
        return self

    def __exit__(self, *_):
        Shard.train, membership.MIN_SECONDS = self.inner, self.shortest


@two_workers
async def test_replicated_workers_have_all_rows_and_draw_different_ones(c, s, a, b):
    given = rounds(400) | {"replicate_training_data": True, "epochs": 1}
    with Trained() as seen:
        model = await DeepLearningClassifier(**given).fit(
            parted(make_table()), "label", eval_set=parted(make_table(90))
        )
    assert model.model_.record.n_seen == 2000 and {n for _, n, _ in seen.shares} == {2000}
    by_shard = {}
    for shard, _, rows in seen.shares:
        by_shard.setdefault(id(shard), []).extend(rows)
    first, second = by_shard.values()
    assert sorted(first + second) == list(range(2000))  # together they visit every row once
    # The sample is drawn once, and not from every copy.
    assert (
        np.sum(model.model_.record.history.measured["training"].confusion.matrix) == 2000
        and np.sum(model.model_.record.history.measured["validation"].confusion.matrix) == 90
    )
    await nothing_left(s, a, b)


@two_workers
async def test_replicated_workers_share_a_table_in_stored_order(c, s, a, b):
    given = rounds(400) | {"replicate_training_data": True, "epochs": 1, "shuffle_training_data": False}
    with Trained() as seen:
        await DeepLearningRegressor(**given).fit(parted(make_table()), "y")
    assert sorted(row for _, _, rows in seen.shares for row in rows) == list(range(2000))


@two_workers
async def test_an_iteration_of_minus_one_is_all_rows_of_every_replica(c, s, a, b):
    given = rounds(-1)
    for replicated, n in ((True, 4000), (False, 2000)):
        model = await DeepLearningRegressor(**given, replicate_training_data=replicated).fit(parted(make_table()), "y")
        assert model.history_["samples_per_iteration"].iloc[1] == n and model.model_.record.n_seen == 4000
    with pytest.warns(DaskDLWarning, match="replicate_training_data=True has no effect: needs reproducible=False"):
        reproducible = await DeepLearningRegressor(**given, replicate_training_data=True, reproducible=True).fit(
            parted(make_table()), "y"
        )
    assert reproducible.history_["samples_per_iteration"].iloc[1] == 2000  # it turns replication off


@two_workers
async def test_a_replica_that_dies_costs_no_rows(c, s, a, b):
    loop, reads = asyncio.get_running_loop(), []

    def leave(record):
        reads.append(sum(len(p.shard.tables["training"].blocks) for p in training_plugins(b)))
        if record["iterations"] == 4:
            asyncio.run_coroutine_threadsafe(a.close(), loop).result(30)

    given = rounds(400) | {"replicate_training_data": True}
    model = await DeepLearningRegressor(**given).fit(parted(make_table(), 16), "y", callbacks=[leave])
    assert model.model_.record.n_seen == 4000 and set(reads) == {16} and model.parameters_["n_jobs"] == 1
    await nothing_left(s, b)


@two_workers
async def test_a_single_node_trains_alone_and_another_takes_over(c, s, a, b):
    loop, given = asyncio.get_running_loop(), rounds(400) | {"replicate_training_data": True, "single_node_mode": True}

    def leave(record):
        if record["iterations"] == 4:
            (busy,) = [w for w in (a, b) if any("training" in p.shard.tables for p in training_plugins(w))]
            asyncio.run_coroutine_threadsafe(busy.close(), loop).result(30)

    with Trained() as seen:
        model = await DeepLearningRegressor(**given).fit(parted(make_table()), "y", callbacks=[leave])
    assert model.model_.record.n_seen == 4000 and {n for _, n, _ in seen.shares} == {2000}
    shards = [id(shard) for shard, _, _ in seen.shares]
    assert len(set(shards)) == 2 and shards == sorted(shards, key=shards.index)  # one, and then the other


@two_workers
async def test_without_balancing_workers_may_be_idle_and_that_is_told(c, s, a, b, told):
    given = rounds(500) | {"force_load_balance": False}
    with pytest.warns(
        DaskDLWarning, match=r"1 of 2 workers have no rows of the training table.*force_load_balance=True"
    ):
        await DeepLearningRegressor(**given).fit(parted(make_table(), 1), "y")
    assert len(told) == 1 and told[0].text.startswith("1 of 2 workers have no rows of the training table")
    await nothing_left(s, a, b)


def test_what_is_done_to_partitions_is_told(capsys):
    @two_workers
    async def run(c, s, a, b):
        await DeepLearningRegressor(**PLAIN, verbose=True).fit(parted(make_table(), 3), "y")
        await DeepLearningRegressor(**PLAIN, verbose=True, replicate_training_data=True).fit(
            parted(make_table(), 3), "y"
        )

    run()
    out = capsys.readouterr().out
    assert "the training table: 3 partitions are cut into 18 blocks" in out
    assert "the training table is whole on 2 of 2 workers" in out


@two_workers
async def test_a_sorted_table_is_dealt_out_and_not_cut_in_two(c, s, a, b):
    table = make_table().sort_values("y").reset_index(drop=True)
    seen = []

    def look(record):
        seen.extend(sorted(p.shard.tables["training"].blocks) for w in (a, b) for p in training_plugins(w))
        return True

    await DeepLearningRegressor(**rounds(500)).fit(parted(table, 16), "y", callbacks=[look])
    assert sorted(seen) == [list(range(0, 16, 2)), list(range(1, 16, 2))]
