"""The backend of a cluster: rows in memory, on disk, or read again from the source, and what its rounds take."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from cluster.tables import (
    PLAIN,
    assert_same_bits,
    files,
    nothing_left,
    one_worker,
    parted,
    rounds,
    training_plugins,
    two_workers,
)
from stored import too_little
from tables import make_table

from dask_dl import DeepLearningRegressor, storage
from dask_dl.errors import DaskDLWarning, SchemaError, StorageError
from dask_dl.frame.block_store import OnDisk


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
async def test_the_share_of_communication_is_in_the_history(c, s, a, b):
    given = rounds(-2) | {"epochs": 3, "target_ratio_comm_to_comp": 0.3}
    model = await DeepLearningRegressor(**given).fit(parted(make_table(20_000)), "y")
    shares = model.history_["communication"]
    assert shares.iloc[0] == 0 and shares[1:].between(0.001, 0.999).all()
