"""Who has which rows on a cluster, and where: on disk, again from the source, everywhere, by speed; and who is waited for."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from cluster.tables import PLAIN, assert_same_bits, nothing_left, parted, rounds, training_plugins
from distributed import Worker, get_worker
from distributed.utils_test import gen_cluster
from tables import make_table
from stored import too_little

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, storage
from dask_dl.cluster import block_moves, membership, stragglers, table_tasks, tables
from dask_dl.cluster.shard import Shard
from dask_dl.errors import DaskDLWarning, SchemaError, StorageError
from dask_dl.frame.block_store import OnDisk

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Kernels are compiled before clocks of clusters tick, and zarr has its thread."""
    place = str(tmp_path_factory.mktemp("states"))
    DeepLearningRegressor(**PLAIN, checkpoint_dir=place).fit(make_table(50), "y")


@pytest.fixture
def saved(tmp_path):
    """Tables of Parquet: those that can be read again."""

    def save(table, n=7):
        folder = tmp_path / f"table-{len(list(tmp_path.iterdir()))}"
        parted(table, n).to_parquet(folder)
        return dd.read_parquet(folder)

    return save


def files(*workers):
    return [path for worker in workers for path in Path(worker.local_directory).rglob("*.rows")]


# ---- where the rows are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["disk", "stream"])
def test_one_worker_gives_the_bits_of_memory(mode, saved):
    X, held = saved(make_table().drop(columns="label")), saved(make_table(300, seed=1).drop(columns="label"), 2)
    seen = []

    @one_worker
    async def run(c, s, a):
        models = []
        for how in ("memory", mode):
            look = [lambda _: seen.append((len(files(a)), a.memory_manager.memory_limit))]
            given = rounds(700) | {"epochs": 2, "storage": how, "score_training_samples": 500}
            fitted = DeepLearningRegressor(**given).fit(X, "y", sample_weight="w", eval_set=held, callbacks=look)
            models.append(await fitted)
            assert not files(a)
        assert_same_bits(*models)
        columns = ["samples", "training_deviance", "validation_deviance"]
        pd.testing.assert_frame_equal(models[0].history_[columns], models[1].history_[columns], rtol=1e-9)
        await nothing_left(s, a)

    run()
    n_files = [n for n, _ in seen]
    assert max(n_files) == (9 if mode == "disk" else 0) and min(n_files) == 0  # seven partitions and two


@pytest.mark.parametrize("mode", ["disk", "stream"])
def test_two_workers_train_small_windows(mode, saved, monkeypatch):
    for name in ("MIN_WINDOW", "MAX_WINDOW"):
        monkeypatch.setattr(storage, name, 20_000)
    monkeypatch.setattr(storage, "BLOCKS_PER_WINDOW", 1)
    X = saved(make_table(), 20)

    @two_workers
    async def run(c, s, a, b):
        model = await DeepLearningRegressor(**rounds(1000) | {"storage": mode, "epochs": 4}).fit(X, "y")
        assert model.model_.record.n_seen == 8000 and model.score(make_table(500, seed=1), "y") > 0.5
        assert model.parameters_["storage"] == mode
        assert not files(a, b)
        await nothing_left(s, a, b)

    run()


def test_a_worker_with_too_little_memory_gets_its_rows_on_disk(capsys, saved, monkeypatch):
    X = saved(make_table())

    @two_workers
    async def run(c, s, a, b):
        for name in ("MIN_WINDOW", "MAX_WINDOW"):
            monkeypatch.setattr(storage, name, 20_000)
        too_little(monkeypatch)
        model = await DeepLearningRegressor(**PLAIN, verbose=True).fit(X, "y")
        assert model.parameters_["storage"] == "disk"

    run()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("storage: "))
    assert "in memory it would need" in line and "60% of a worker's limit of" in line and "dask-scratch-space" in line


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda X: X, "in this process"),
        (lambda X: parted(X).persist(), "in the memory of the cluster"),
        (lambda X: parted(X).shuffle("level"), "share work"),
        (lambda X: parted(pd.concat([X] * 60, ignore_index=True), 2), "inside its graph"),
    ],
)
def test_a_table_that_cannot_be_read_again_is_not_streamed(make, text):
    @two_workers
    async def run(c, s, a, b):
        X = await asyncio.to_thread(make, make_table())
        with pytest.raises(SchemaError, match=rf"storage='stream': .*{text}.* Parquet"):
            await DeepLearningRegressor(**PLAIN, storage="stream").fit(X, "y")
        await nothing_left(s, a, b) if text != "in the memory of the cluster" else None

    run()


@two_workers
async def test_a_full_disk_is_told_and_leaves_nothing(c, s, a, b):
    inner = OnDisk.put

    def full(self, rows, again):
        raise self.write_error(OSError(28, "No space left on device"), rows.nbytes)

    OnDisk.put = full
    try:
        # The first worker is left out, and nobody could replace the last one.
        with (
            pytest.warns(DaskDLWarning, match="is not used, .*the disk is full"),
            pytest.raises(StorageError, match="the disk is full"),
        ):
            await DeepLearningRegressor(**PLAIN, storage="disk").fit(parted(make_table()), "y")
    finally:
        OnDisk.put = inner
    assert not files(a, b)
    await nothing_left(s, a, b)


@two_workers
async def test_a_disk_that_is_full_when_blocks_are_rebuilt_keeps_what_was_learned(c, s, a, b):
    loop, inner = asyncio.get_running_loop(), OnDisk.put

    def full(self, rows, again):
        raise self.write_error(OSError(28, "No space left on device"), rows.nbytes)

    def leave(record):
        if record["iterations"] == 5:
            OnDisk.put = full
            asyncio.run_coroutine_threadsafe(a.close(), loop).result(30)

    model = DeepLearningRegressor(**rounds(500) | {"epochs": 100}, storage="disk")
    try:
        with pytest.raises(StorageError, match="the disk is full"):
            await model.fit(parted(make_table()), "y", callbacks=[leave])
    finally:
        OnDisk.put = inner
    assert model.stopped_by_ == "failed" and model.model_.record.n_seen >= 500
    assert not files(a, b)
    await nothing_left(s, b)


@pytest.mark.parametrize("table", ["training", "validation"])
@two_workers
async def test_scratch_of_a_worker_that_was_changed_ends_a_training_with_what_it_had_learned(c, s, a, b, table):
    def damage(record):
        if record["iterations"] >= 5:  # of both: a slow one may be left with blocks that it reads only once
            for path in files(a, b):
                if path.name.startswith(table):
                    path.write_bytes(bytes(path.stat().st_size))

    given = rounds(500) | {"epochs": 100, "storage": "disk", "score_training_samples": 300}
    model = DeepLearningRegressor(**given)
    minimum, maximum = storage.MIN_WINDOW, storage.MAX_WINDOW
    storage.MIN_WINDOW = storage.MAX_WINDOW = 20_000
    try:
        with pytest.raises(StorageError, match=rf"{table}-\d+.rows on .* is damaged: .* temporary-directory"):
            await model.fit(parted(make_table()), "y", eval_set=parted(make_table(300, seed=1)), callbacks=[damage])
    finally:
        storage.MIN_WINDOW, storage.MAX_WINDOW = minimum, maximum
    assert model.stopped_by_ == "failed" and model.model_.record.n_seen > 5 * 500
    if table == "training":  # what both had learned in the round before they came to the damage counts, and was scored
        assert model.history_["samples"].iloc[-1] == model.model_.record.n_seen
    assert not files(a, b)
    await nothing_left(s, a, b)


@two_workers
async def test_streamed_blocks_that_another_worker_reads_are_those_of_the_first(c, s, a, b):
    with tempfile.TemporaryDirectory() as place:
        loop, table = asyncio.get_running_loop(), Path(place) / "table"
        await asyncio.to_thread(parted(make_table(), 6).to_parquet, table, compute_kwargs={"scheduler": "sync"})

        def leave(record):
            if record["iterations"] == 5:  # the only window was read: nobody but the heir reads these again
                (home,) = training_plugins(b)
                for k in home.shard.tables["training"].numbers:
                    path = table / f"part.{k}.parquet"
                    frame = pd.read_parquet(path)
                    frame.assign(a=frame["a"].to_numpy()[::-1]).to_parquet(path)
                asyncio.run_coroutine_threadsafe(b.close(), loop).result(30)

        given = rounds(500) | {"epochs": 100, "force_load_balance": False}  # a block is a partition
        model = DeepLearningRegressor(**given, storage="stream")
        with pytest.raises(SchemaError, match=r"partition \d of .* holds other rows on tcp://"):
            await model.fit(dd.read_parquet(table), "y", callbacks=[leave])
    assert model.stopped_by_ == "failed" and model.model_.record.n_seen >= 5 * 500
    await nothing_left(s, a)


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


# ---- who has them -------------------------------------------------------------------------------------------------------


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


@two_workers
async def test_few_partitions_wait_on_a_worker_at_a_time(c, s, a, b, monkeypatch):
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # all get as many blocks, however busy the machine is
    loop, new, waiting, held, before = asyncio.get_running_loop(), [], [], [], tables.PER_WAVE
    inner = table_tasks.keep

    def spy(*given, **more):
        waiting.append(sum(str(key).startswith("dask-dl-encode") for key in list(s.tasks)))
        return inner(*given, **more)

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 3:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))
        if new:
            held.append(sum(len(p.shard.tables["training"].blocks) for p in training_plugins(new[0]) if p.shard.tables))
        return bool(held) and held[-1] >= 16

    table_tasks.keep, tables.PER_WAVE = spy, 4
    try:
        given = rounds(300) | {"epochs": 1e4}
        await DeepLearningRegressor(**given).fit(parted(make_table(), 60), "y", callbacks=[join])
    finally:
        table_tasks.keep, tables.PER_WAVE = inner, before
    assert len(waiting) >= 76 and max(waiting[:8]) <= 8  # those of earlier waves are released later
    assert held[-1] >= 16 and len({*held}) > 3  # a newcomer takes part with its first few
    await nothing_left(s, a, b, new[0])
    await new[0].close()


# ---- by speed -----------------------------------------------------------------------------------------------------------


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


# ---- elastic averaging --------------------------------------------------------------------------------------------------


@two_workers
async def test_elastic_averaging_keeps_networks_apart_and_reports_the_consensus(c, s, a, b):
    seen, n_rows = [], []

    def look(record):
        shards = [p.shard for w in (a, b) for p in training_plugins(w)]
        n_rows.append([shard.tables["training"].n_used / 2000 for shard in shards])
        seen.append(
            [(st.replica.flat.copy(), st.consensus[0].copy(), st.replica.optimizer.penalties.pull) for st in shards]
        )

    def mean(k):
        return sum(share * flat for share, (flat, _, _) in zip(n_rows[k], seen[k], strict=True))

    given = rounds(500) | {"elastic_averaging": True, "elastic_averaging_moving_rate": 0.3, "epochs": 5}
    model = await DeepLearningRegressor(**given).fit(parted(make_table()), "y", callbacks=[look])
    for (one, consensus, pull), (two, other, _) in seen:
        np.testing.assert_array_equal(consensus, other)
        assert pull == pytest.approx(1e-3) and not np.array_equal(one, two)
    # C <- 0.3 A + 0.7 C; the first time C <- A. Shares of a round are whole numbers of rows, and not quite those of the table.
    np.testing.assert_allclose(seen[0][0][1], mean(0), atol=5e-4)
    np.testing.assert_allclose(seen[4][0][1], 0.3 * mean(4) + 0.7 * seen[3][0][1], atol=5e-4)
    assert np.abs(seen[4][0][1] - mean(4)).max() > 2e-3
    np.testing.assert_array_equal(model.model_.network.flat, seen[-1][0][1])
    assert model.score(make_table(500, seed=1), "y") > 0.7
    await nothing_left(s, a, b)


@two_workers
async def test_elastic_averaging_goes_on_from_a_checkpoint_and_with_a_newcomer(c, s, a, b):
    loop, new = asyncio.get_running_loop(), []

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 7:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))

    with tempfile.TemporaryDirectory() as folder:
        given = rounds(500) | {
            "elastic_averaging": True,
            "epochs": 5,
            "checkpoint_dir": folder,
            "checkpoint_interval": 0.0,
        }
        stop = [lambda record: record["iterations"] >= 5]
        await DeepLearningRegressor(**given).fit(parted(make_table()), "y", callbacks=stop)
        again = DeepLearningRegressor(**given | {"checkpoint_interval": 1e6})
        model = await again.fit(parted(make_table()), "y", callbacks=[join], resume=True)
    assert model.model_.record.n_seen == 10_000 and model.score(make_table(500, seed=1), "y") > 0.7
    await nothing_left(s, a, b, new[0])
    await new[0].close()


@two_workers
async def test_the_share_of_communication_is_in_the_history(c, s, a, b):
    given = rounds(-2) | {"epochs": 3, "target_ratio_comm_to_comp": 0.3}
    model = await DeepLearningRegressor(**given).fit(parted(make_table(20_000)), "y")
    shares = model.history_["communication"]
    assert shares.iloc[0] == 0 and shares[1:].between(0.001, 0.999).all()
