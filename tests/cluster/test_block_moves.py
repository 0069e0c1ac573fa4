"""Blocks move to workers that join or are faster, and stay where they are when they cannot."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
from cluster.tables import (
    assert_same_bits,
    files,
    in_loop,
    in_process,
    nothing_left,
    parted,
    rounds,
    training_plugins,
    two_workers,
)
from distributed import Worker, get_worker
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster import block_moves, membership, table_tasks
from dask_dl.cluster.block_moves import BlockMoves
from dask_dl.cluster.shard import Shard
from dask_dl.frame.block_store import OnDisk


@two_workers
async def test_blocks_on_disk_move_to_a_worker_that_joins(c, s, a, b, monkeypatch):
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # nobody is taken for faster, whatever else the machine does
    loop, new, held = asyncio.get_running_loop(), [], []

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 3:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))
        if new:
            held.append([len(files(worker)) for worker in (a, b, *new)])
        return bool(held) and held[-1] == [6, 6, 6]

    given = rounds(300) | {"epochs": 1e4, "storage": "disk"}
    await DeepLearningRegressor(**given).fit(parted(make_table(), 18), "y", callbacks=[join])
    assert held[-1] == [6, 6, 6]
    assert not files(a, b, *new)
    await nothing_left(s, a, b, new[0])
    await new[0].close()


@two_workers
async def test_blocks_move_to_the_faster_worker(c, s, a, b):
    held, inner = [], Shard.train
    before = block_moves.SECONDS_PER_MOVE, membership.MIN_SECONDS

    def slow(shard, start, stop, settings, on_rows=None):
        time.sleep((stop - start) * (3e-4 if get_worker().address == a.address else 1e-4))
        return inner(shard, start, stop, settings, on_rows)

    def look(record):
        held.append([sum(len(p.shard.tables["training"].blocks) for p in training_plugins(w)) for w in (a, b)])
        return held[-1][1] >= 14

    block_moves.SECONDS_PER_MOVE, membership.MIN_SECONDS = 0.2, 0.0
    Shard.train = slow
    try:
        given = rounds(200) | {"epochs": 1e3}
        model = await DeepLearningRegressor(**given).fit(parted(make_table(), 20), "y", callbacks=[look])
    finally:
        Shard.train = inner
        block_moves.SECONDS_PER_MOVE, membership.MIN_SECONDS = before
    assert held[0] == [10, 10] and held[-1][1] >= 14
    assert model.model_.record.n_seen < 2e6
    await nothing_left(s, a, b)


@two_workers
async def test_a_disk_that_is_full_when_blocks_move_leaves_them_where_they_are(c, s, a, b):
    loop, new, inner, tried, after = asyncio.get_running_loop(), [], OnDisk.put, [], []

    def full(self, rows, again):
        if str(self.folder).startswith(new[0].local_directory):
            tried.append(1)
            raise self.write_error(OSError(28, "No space left on device"), rows.nbytes)
        return inner(self, rows, again)

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 3:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))
            OnDisk.put = full
        after.extend(tried[:1])
        return len(after) > 5

    given = rounds(400) | {"epochs": 1e4, "storage": "disk"}
    try:
        model = await DeepLearningRegressor(**given).fit(parted(make_table(), 18), "y", callbacks=[join])
    finally:
        OnDisk.put = inner
    assert model.model_.record.n_seen == 400 * model.n_iter_ and model.stopped_by_ == "callback"
    assert not files(a, b, *new)
    await nothing_left(s, a, b, new[0])
    await new[0].close()


@two_workers
async def test_a_worker_that_joins_gets_blocks(c, s, a, b, monkeypatch):
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # nobody is taken for faster, whatever else the machine does
    loop, new, held = asyncio.get_running_loop(), [], []

    def join(record):
        if record["iterations"] == 3:
            new.append(in_loop(start(), loop))
        if new and training_plugins(new[0]):
            tables = training_plugins(new[0])[0].shard.tables
            held.append({name: len(table.blocks) for name, table in tables.items()})
            return len(held) > 5 and held[-1] == {"training": 6, "validation": 6}
        return False

    async def start():
        return await Worker(s.address, nthreads=1)

    settings = rounds(300) | {"epochs": 1e4}
    model = DeepLearningRegressor(**settings, verbose=False)
    await model.fit(parted(make_table(), 18), "y", eval_set=parted(make_table(600), 6), callbacks=[join])
    # Those of validation were cut in three.
    assert held[-1] == {"training": 6, "validation": 6}
    assert model.parameters_["n_jobs"] == 3
    await nothing_left(s, a, b, new[0])
    await new[0].close()


@two_workers
async def test_a_take_over_that_fails_loses_no_block(c, s, a, b):
    loop, new, moves = asyncio.get_running_loop(), [], []
    inner = BlockMoves.take_over

    def spy(self):
        moves.append(len(self.futures))
        if len(moves) == 1:
            training_plugins(new[0])[0].staged.clear()
        inner(self)

    async def start():
        return await Worker(s.address, nthreads=1)

    def watch(record):
        if record["iterations"] == 3:
            new.append(in_loop(start(), loop))
        return len(moves) > 1

    BlockMoves.take_over = spy
    try:
        given = rounds(300) | {"epochs": 1e4}
        model = await DeepLearningClassifier(**given).fit(parted(make_table(), 18), "label", callbacks=[watch])
    finally:
        BlockMoves.take_over = inner
    assert len(moves) > 1 and np.sum(model.model_.record.history.measured["training"].confusion.matrix) == 2000
    await nothing_left(s, a, b)
    await new[0].close()


@two_workers
async def test_a_worker_that_is_lost_as_it_gives_blocks_up_leaves_no_shard_out(c, s, a, b, monkeypatch):
    loop, new, lost = asyncio.get_running_loop(), [], []
    given = rounds(300) | {"epochs": 3, "reproducible": True, "n_shards": 5}

    inner, advance, scored = BlockMoves.run, BlockMoves.advance, threading.Event()

    def run(self, task, blocks):
        if task is not table_tasks.give_up or lost:
            return inner(self, task, blocks)
        lost.extend(blocks)
        return {}, set(blocks)

    def before_a_round(self):
        if scored.is_set():  # and not before a scoring, after which workers are looked at again
            scored.clear()
            advance(self)

    async def start():
        return await Worker(s.address, nthreads=1)

    def watch(record):
        if record["iterations"] == 3:
            new.append(in_loop(start(), loop))
            while not training_plugins(new[0]):
                time.sleep(0.01)
        elif not lost:
            time.sleep(0.3)  # blocks arrive meanwhile, and change hands before the next round
        scored.set()

    monkeypatch.setattr(BlockMoves, "run", run)
    monkeypatch.setattr(BlockMoves, "advance", before_a_round)
    X = parted(make_table(), 10)
    there = await DeepLearningRegressor(**given).fit(X, "y", callbacks=[watch])
    assert lost
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**given), X, "y")
    assert_same_bits(there, here)
    await nothing_left(s, a, b, new[0])
    await new[0].close()
