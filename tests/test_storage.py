"""Where the rows are: the choice, the same numbers from everywhere, and nothing left on the disk."""

from __future__ import annotations

import re
import signal
import warnings

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from stored import SETTINGS, left_in, make_table, small_windows

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, memory, storage
from dask_dl.errors import SchemaError, StorageError
from dask_dl.frame.block_store import OnDisk
from dask_dl.storage import Budget, decide

MB = 10**6
MODES = ["memory", "disk", "stream"]
#: A machine that hums along: 300 MB for the process, 10 GB of disk.
ROOM = Budget(300 * MB, "75 % of 400 MB", 10_000 * MB, "/scratch")


def need(n_bytes):
    """What a training of so many bytes of rows takes: 100 MB, and the rows, or two windows of them."""

    def of(storage):
        rows = n_bytes if storage.mode == "memory" else min(2 * storage.window, n_bytes)
        return memory.Memory(rows, 0, 100 * MB, 0, 0, 0, 0, 0)

    return of


def chosen(requested="auto", n_bytes=1000 * MB, budget=ROOM, largest_block=5 * MB, **more):
    base = memory.IMPORTS
    budget = budget._replace(memory=budget.memory and budget.memory + base)
    given = {"n_bytes": n_bytes, "bytes_per_row": 100, "largest_block": largest_block}
    return decide(requested, need(n_bytes), budget, **given, **more)


@pytest.mark.parametrize(
    ("n_bytes", "changes", "mode", "why"),
    [
        (199 * MB, {}, "memory", "needs up to .*; limit .*, 75 % of 400 MB"),
        (201 * MB, {}, "disk", "in memory it would need up to .*, limit .*, 75 % of 400 MB"),
        (9_100 * MB, {}, "stream", "9.1 GB do not fit into 90% of the 10 GB that are free in /scratch"),
        (201 * MB, {"no_disk": "/scratch lies in memory (tmpfs)"}, "stream", "lies in memory"),
        (
            9_100 * MB,
            {"no_stream": lambda: "the table is here."},
            "memory",
            "nothing fits .*do not fit .*; the table is here",
        ),
        (201 * MB, {"no_stream": lambda: "the table is here."}, "disk", "would need"),
        (10**15, {"memory": 0}, "memory", "no limit is known"),
        (201 * MB, {"memory": 110 * MB}, "disk", "nothing fits .*disk would need up to .*stream would need"),
    ],
)
def test_auto_takes_the_first_that_fits(n_bytes, changes, mode, why):
    decision = chosen(n_bytes=n_bytes, budget=ROOM._replace(**changes))
    assert decision.storage.mode == mode
    assert re.search(why, decision.why)


def test_windows_take_what_memory_leaves_within_limits():
    assert chosen().storage.window == pytest.approx(200 * MB / (2 + 0.48), rel=0.01)
    assert chosen().memory.peak <= ROOM.memory + memory.IMPORTS
    assert chosen().storage.max_rows == 90_000_000  # of 100 bytes, in nine tenths of the free disk
    assert chosen(n_bytes=100 * MB).storage.max_rows == 10**6 + 100 * MB // 132
    assert chosen("stream").storage.max_rows is None
    assert chosen(budget=ROOM._replace(memory=50 * MB)).storage.window == storage.MIN_WINDOW
    assert chosen(budget=ROOM._replace(memory=10_000 * MB), requested="disk").storage.window == storage.MAX_WINDOW
    few = chosen("stream", largest_block=20 * MB, budget=ROOM._replace(memory=200 * MB))
    assert few.storage.window == storage.BLOCKS_PER_WINDOW * 20 * MB


def test_a_reproducible_choice_does_not_look_at_the_machine():
    for budget in (ROOM, ROOM._replace(memory=10 * MB), ROOM._replace(memory=10**12)):
        assert chosen(budget=budget, fixed=True).storage.mode == "memory"
        assert chosen("disk", budget=budget, fixed=True).storage.window == storage.MAX_WINDOW


def test_what_is_asked_for_is_done_or_refused():
    for mode in MODES:
        assert chosen(mode, n_bytes=MB).storage.mode == mode
    with pytest.raises(SchemaError, match="storage='stream': the table is here"):
        chosen("stream", budget=ROOM._replace(no_stream=lambda: "the table is here."))


@pytest.fixture
def folder(tmp_path):
    """Where scratch goes."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path


@pytest.mark.parametrize("mode", ["disk", "stream"])
@pytest.mark.parametrize("frame", ["pandas", "dask"])
@pytest.mark.parametrize(
    "more", [{}, {"activation": "tanh_with_dropout", "input_dropout_ratio": 0.2, "mini_batch_size": 8}]
)
def test_every_mode_gives_the_bits_of_memory_where_one_window_holds_all(folder, mode, frame, more):
    table = make_table()
    X = table if frame == "pandas" else dd.from_pandas(table, npartitions=7, sort=False)
    held = make_table(500, seed=1)
    here, there = (
        DeepLearningRegressor(**SETTINGS | more, storage=how, score_training_samples=600).fit(
            X, "y", sample_weight="w", eval_set=held
        )
        for how in ("memory", mode)
    )
    np.testing.assert_array_equal(here.model_.network.flat, there.model_.network.flat)
    columns = [name for name in here.history_ if name.startswith(("training_r", "training_d", "samples"))]
    pd.testing.assert_frame_equal(here.history_[columns], there.history_[columns], rtol=1e-9)
    assert (here.parameters_["storage"], there.parameters_["storage"]) == ("memory", mode)
    assert left_in(folder) == []


@pytest.mark.parametrize("mode", ["disk", "stream"])
def test_small_windows_learn_and_are_the_same_again(folder, mode, monkeypatch):
    small_windows(monkeypatch, 20_000)
    X = dd.from_pandas(make_table(), npartitions=20, sort=False)
    models = [DeepLearningRegressor(**SETTINGS, storage=mode).fit(X, "y") for _ in range(2)]
    np.testing.assert_array_equal(models[0].model_.network.flat, models[1].model_.network.flat)
    assert models[0].score(make_table(500, seed=1), "y") > 0.55  # numbers that add up alone come to 0.53


@pytest.mark.parametrize("mode", MODES)
def test_a_training_goes_on_in_another_mode(folder, mode, tmp_path):
    X = dd.from_pandas(make_table(), npartitions=7, sort=False)
    whole = DeepLearningRegressor(**SETTINGS).fit(X, "y")
    given = SETTINGS | {"checkpoint_dir": str(tmp_path / "states"), "checkpoint_interval": 0.0}
    stop = [lambda record: record["iterations"] >= 5]
    DeepLearningRegressor(**given, storage=mode).fit(X, "y", callbacks=stop)
    for other, until in zip(MODES, (8, 11, 1e6), strict=True):
        again = DeepLearningRegressor(**given | {"checkpoint_interval": 1e6}, storage=other)
        stop = [lambda record, until=until: record["iterations"] >= until]
        resumed = again.fit(X, "y", resume=True, callbacks=stop)
        assert resumed.n_iter_ == min(until, whole.n_iter_)
    np.testing.assert_array_equal(resumed.model_.network.flat, whole.model_.network.flat)


def test_a_full_disk_ends_it_before_work_starts(folder, monkeypatch):
    def full(self, rows, again):
        raise self.write_error(OSError(28, "No space left on device"), rows.nbytes)

    monkeypatch.setattr(OnDisk, "put", full)
    with pytest.raises(StorageError, match="the disk is full"):
        DeepLearningRegressor(**SETTINGS, storage="disk").fit(make_table(), "y")
    assert left_in(folder) == []


@pytest.mark.parametrize("how", ["a file vanishes", "interrupt", "callback", "diverged"])
def test_nothing_stays_on_the_disk_and_what_was_learned_is_kept(folder, monkeypatch, how):
    small_windows(monkeypatch, 20_000)
    seen = []

    def harm(record):
        seen.append(left_in(folder))
        if record["iterations"] == 9:
            if how == "a file vanishes":
                for path in folder.rglob("*.rows"):
                    path.unlink()
            if how == "interrupt":
                signal.raise_signal(signal.SIGINT)
            if how == "callback":
                raise RuntimeError("enough")

    given = SETTINGS | ({"adaptive_rate": False, "rate": 1e30} if how == "diverged" else {})
    model = DeepLearningRegressor(**given, storage="disk")
    errors = {"a file vanishes": StorageError, "callback": RuntimeError, "diverged": ArithmeticError}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how in errors:
            with pytest.raises(errors[how]):
                model.fit(make_table(), "y", callbacks=[harm])
        else:
            model.fit(make_table(), "y", callbacks=[harm])
    assert left_in(folder) == []
    if how != "diverged":
        assert all(seen) and model.model_.record.n_seen >= 700 and len(model.predict(make_table(9))) == 9
    if how == "a file vanishes":
        assert model.stopped_by_ == "failed"


def flip_bits(files):
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def exchange(files):
    one, *_, other = files
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize("keeps_best", [True, False])
@pytest.mark.parametrize("harm", [flip_bits, exchange])
@pytest.mark.parametrize("which", ["training", "validation"])
def test_scratch_that_was_changed_ends_a_training_with_what_it_had_learned(
    folder, monkeypatch, which, harm, keeps_best
):
    small_windows(monkeypatch, 20_000)
    table, held = (dd.from_pandas(t, npartitions=4) for t in (make_table(), make_table(1200, seed=1)))

    def damage(record):
        if record["iterations"] == 9:
            harm(sorted(folder.rglob(f"{which}-*.rows")))

    given = {"storage": "disk", "overwrite_with_best_model": keeps_best, "score_validation_samples": 0}
    model = DeepLearningRegressor(**SETTINGS | given)
    with pytest.raises(StorageError, match=rf"{which}-\d.rows on .* is damaged"):
        model.fit(table, "y", eval_set=held, callbacks=[damage])
    assert model.stopped_by_ == "failed" and model.model_.record.n_seen >= 9 * 700
    assert model.score(make_table(), "y") > 0.5
    assert left_in(folder) == []


def test_a_source_that_changes_while_it_is_streamed_keeps_what_was_learned(folder, monkeypatch, tmp_path):
    small_windows(monkeypatch, 20_000)
    dd.from_pandas(make_table(), npartitions=6).to_parquet(tmp_path / "table")

    def harm(record):
        if record["iterations"] == 6:
            for path in (tmp_path / "table").glob("*.parquet"):
                pd.read_parquet(path)[:-1].to_parquet(path)

    model = DeepLearningRegressor(**SETTINGS | {"epochs": 50}, storage="stream")
    with pytest.raises(SchemaError, match=r"had .* rows in the scan and has .* now"):
        model.fit(dd.read_parquet(tmp_path / "table"), "y", callbacks=[harm])
    assert model.stopped_by_ == "failed" and model.model_.record.n_seen >= 700


@pytest.mark.data
@pytest.mark.slow
def test_a_sorted_table_trains_as_well_as_a_shuffled_one(folder, monkeypatch, data_folder):
    """Means of two seeds; a window is a fifth of the table, or eight of forty partitions."""
    from cluster.test_shard import covtype

    train, test = (table[:n] for table, n in zip(covtype(data_folder), (8_000, 2_000), strict=True))
    by_class = train.sort_values("y", kind="stable")

    def loss(table, mode, seeds=(0, 1)):
        X = dd.from_pandas(table.reset_index(drop=True), npartitions=40, sort=False)
        small_windows(monkeypatch, len(table) * 4 * 64 // 5)
        given = {"hidden": (50, 50), "epochs": 2, "n_jobs": 1, "stopping_rounds": 0, "overwrite_with_best_model": False}
        given |= {"storage": mode, "train_samples_per_iteration": len(table) // 5, "score_each_iteration": True}
        given["score_training_samples"] = 100
        models = (DeepLearningClassifier(**given, random_state=seed).fit(X, "y", eval_set=test) for seed in seeds)
        # It jumps from row to row: five events of the last epoch.
        return np.mean([model.history_["validation_logloss"].iloc[-5:].mean() for model in models])

    shuffled = loss(train, "memory")
    for mode in MODES:
        assert loss(by_class, mode) < shuffled + 0.03, mode
    # The bound can fail: windows of neighbours, as if the table were visited from end to end.
    monkeypatch.setattr(
        "dask_dl.cluster.windows.windows", lambda starts, n, seed, epoch: np.array_split(np.arange(len(starts)), n)
    )
    assert loss(by_class, "disk", seeds=[0]) > shuffled + 0.1


def test_a_random_source_is_not_streamed(folder):
    table = make_table()
    X = dd.from_pandas(table, npartitions=4, sort=False).map_partitions(
        lambda part: part.sample(frac=1), meta=table[:0]
    )
    with pytest.raises(SchemaError, match=r"holds other rows than when training began.*Parquet"):
        DeepLearningRegressor(**SETTINGS, storage="stream").fit(X, "y")


def test_a_source_that_vanishes_is_told(folder, tmp_path):
    dd.from_pandas(make_table(), npartitions=3).to_parquet(tmp_path / "table")

    def harm(record):
        for path in (tmp_path / "table").glob("*.parquet"):
            path.unlink()

    with pytest.raises(SchemaError, match=r"cannot be now: FileNotFoundError"):
        DeepLearningRegressor(**SETTINGS | {"score_training_samples": 0}, storage="stream").fit(
            dd.read_parquet(tmp_path / "table"), "y", callbacks=[harm]
        )


def test_partitions_that_share_work_are_not_read_again_and_again(folder):
    X = dd.from_pandas(make_table(), npartitions=6, sort=False).shuffle("level")
    with pytest.raises(SchemaError, match="share work"):
        DeepLearningRegressor(**SETTINGS, storage="stream").fit(X, "y")
