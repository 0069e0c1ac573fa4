"""Fixed shards: the same bits from any number of workers, in any order of arrival, and whatever becomes of them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cluster.tables import assert_same_bits, in_process, lose, nothing_left, parted, rounds, training_plugins
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.fixed_shard import FixedShard
from dask_dl.cluster.placement import fixed_shards
from dask_dl.cluster.shard import Shard
from dask_dl.errors import DaskDLWarning, NoWorkersError, ParameterError
from dask_dl.training.checkpoints import Checkpoint

TIMES = {"timestamp", "duration", "training_speed", "communication", "scoring_seconds"}
FIXED = rounds(700) | {"epochs": 2, "reproducible": True, "n_shards": 3}


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Kernels are compiled, and zarr has its thread, before clocks of clusters tick and threads are counted."""
    DeepLearningRegressor(**FIXED, checkpoint_dir=tmp_path_factory.mktemp("state")).fit(make_table(50), "y")


@pytest.mark.parametrize("rows", [[5, 0, 7], [100], [1] * 40, [3, 250, 4, 0], [0, 9]])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_divide_a_table_by_row_numbers_alone(rows, n):
    row_ranges, shards = fixed_shards(rows, n)
    starts = np.cumsum([0, *rows])
    owner = np.full(sum(rows), -1)
    for number, blocks in enumerate(shards.values()):
        for k in blocks:
            partition, lo, hi = row_ranges[k]
            assert (owner[starts[partition] + lo : starts[partition] + hi] == -1).all()
            owner[starts[partition] + lo : starts[partition] + hi] = number
    _, whole = fixed_shards([sum(rows)], n)
    expected = np.full(sum(rows), -1)
    for number, blocks in enumerate(whole.values()):
        for k in blocks:
            _, lo, hi = fixed_shards([sum(rows)], n)[0][k]
            expected[lo:hi] = number
    np.testing.assert_array_equal(owner, expected)
    assert (owner >= 0).all()
    assert list(shards) == sorted(shards)
    counts = np.bincount(owner, minlength=n)
    assert counts.max() - counts.min() <= 8  # one row for each of its ranges, at most


KINDS = [
    (DeepLearningRegressor, "y", {}),
    (DeepLearningRegressor, "y", {"adaptive_rate": False, "momentum_stable": 0.5, "averaging_momentum": 0.0}),
    (DeepLearningRegressor, "y", {"distribution": "huber", "activation": "maxout_with_dropout", "n_jobs": 2}),
    (DeepLearningClassifier, "label", {"mini_batch_size": 16, "overwrite_with_best_model": True}),
    (DeepLearningClassifier, "label", {"elastic_averaging": True, "score_training_samples": 500}),
]


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 1)], timeout=180)
async def test_one_process_and_one_two_three_workers_give_the_same_bits(c, s, a, b, d):
    table, held = make_table(), make_table(300, seed=1)
    models = []
    for kind, y, given in KINDS:
        other = "label" if y == "y" else "y"
        X, Xv = parted(table.drop(columns=other)), parted(held.drop(columns=other), 2)
        make = lambda kind=kind, given=given: kind(**FIXED | given)  # noqa: E731
        here = await asyncio.to_thread(in_process, make(), X, y, Xv, sample_weight="w")
        assert here.parameters_["n_shards"] == 3
        models.append((make, X, y, Xv, here))
    for leaver in (None, d, b):
        if leaver is not None:
            await leaver.close()
        for make, X, y, Xv, here in models:
            there = await make().fit(X, y, eval_set=Xv, sample_weight="w")
            assert_same_bits(there, here)
            columns = [name for name in here.history_ if name not in TIMES]
            pd.testing.assert_frame_equal(there.history_[columns], here.history_[columns], check_exact=True)
    await nothing_left(s, a)


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}, {"averaging_momentum": 0.0}], ids=str)
def test_a_resumed_training_has_the_bits_of_one_that_was_not_interrupted(tmp_path, given):
    table = make_table(900)[["a", "b", "level", "y"]]
    settings = FIXED | {"train_samples_per_iteration": 200} | given
    whole = DeepLearningRegressor(**settings | {"epochs": 4}).fit(table, "y")
    part = DeepLearningRegressor(**settings | {"epochs": 2}, checkpoint_dir=tmp_path, checkpoint_interval=1e9)
    part.fit(table, "y")
    path = CheckpointFolder(str(tmp_path)).newest(str)
    saved = Checkpoint.read(path)
    assert saved.n_shards == 3
    assert saved.averaging.n_averages == 9
    assert (saved.averaging.velocity is not None) == (not given)
    assert set(saved.averaging.replicas) == ({"0", "1", "2"} if "elastic_averaging" in given else set())
    # Without n_shards: that of the checkpoint.
    resumed = DeepLearningRegressor(
        **settings | {"epochs": 4, "n_shards": None}, checkpoint_dir=tmp_path, checkpoint_interval=1e9
    )
    resumed.fit(table, "y", resume=True)
    assert_same_bits(resumed, whole)
    assert resumed.parameters_["n_shards"] == 3
    other = DeepLearningRegressor(
        **settings | {"epochs": 6, "n_shards": 2}, checkpoint_dir=tmp_path, checkpoint_interval=1e9
    )
    with pytest.raises(ParameterError, match=r"n_shards=2.* with 3"):
        other.fit(table, "y", resume=True)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=180)
async def test_a_training_of_one_process_goes_on_on_a_cluster_to_the_bit(c, s, a, b, tmp_path):
    table = make_table(900)[["a", "b", "level", "y"]]
    for given in ({}, {"elastic_averaging": True}):
        settings = FIXED | {"train_samples_per_iteration": 200} | given
        saving, rest = (
            {"checkpoint_dir": tmp_path / str(len(given)), "checkpoint_interval": 1e9},
            settings | {"epochs": 4},
        )
        whole = await asyncio.to_thread(in_process, DeepLearningRegressor(**rest), table, "y")
        first = DeepLearningRegressor(**settings | {"epochs": 2}, **saving)
        await asyncio.to_thread(in_process, first, table, "y")
        model = await DeepLearningRegressor(**rest, **saving).fit(table, "y", resume=True)
        assert_same_bits(model, whole)


@pytest.mark.parametrize("moment", ["training", "averaging"])
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=180)
async def test_a_shard_whose_worker_dies_is_trained_again_to_the_same_bits(c, s, a, b, d, monkeypatch, moment):
    table = make_table()[["a", "b", "level", "y"]]
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**FIXED), table, "y")
    victims, n_calls = [d, b], 0
    kind, name = (FixedShard, "train") if moment == "training" else (Shard, "receive")
    inner = getattr(kind, name)

    def dying(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls in {4, 9}:
            asyncio.run_coroutine_threadsafe(lose(s, victims.pop()), c.loop.asyncio_loop).result()
        return inner(*arguments)

    monkeypatch.setattr(kind, name, dying)
    there = await DeepLearningRegressor(**FIXED).fit(parted(table), "y")
    assert not victims
    assert_same_bits(there, here)


@pytest.mark.parametrize("n_lost", [1, 2])
@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=180)
async def test_a_copy_holds_every_elastic_replica_or_is_none(c, s, a, b, tmp_path, monkeypatch, n_lost):
    """Workers die just before the driver fetches what a checkpoint needs."""
    table = make_table(900)[["a", "b", "level", "y"]]
    settings = FIXED | {"train_samples_per_iteration": 200, "elastic_averaging": True}
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**settings), table, "y")
    inner, n_calls = DaskTrainer.snapshot, 0

    def snapshot(self):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 8:
            for worker in (a, b)[:n_lost]:
                asyncio.run_coroutine_threadsafe(lose(s, worker), c.loop.asyncio_loop).result()
        return inner(self)

    monkeypatch.setattr(DaskTrainer, "snapshot", snapshot)
    saving = {"checkpoint_dir": tmp_path, "checkpoint_interval": 0.0, "worker_timeout": 0.5}
    model = DeepLearningRegressor(**settings, **saving)
    if n_lost == 1:
        with pytest.warns(DaskDLWarning, match="Went back"):
            await model.fit(parted(table), "y")
    else:
        with pytest.raises(NoWorkersError):
            await model.fit(parted(table), "y")
        model = DeepLearningRegressor(**settings, **saving)
        await asyncio.to_thread(in_process, model, table, "y", resume=True)
    assert n_calls > 8
    assert_same_bits(model, here)


def test_rounds_of_several_shards_are_parts_of_an_epoch_and_an_epoch_is_scored():
    table = make_table(1000)[["a", "b", "y"]]
    given = {"random_state": 1, "reproducible": True, "epochs": 6, "hidden": (5,), "stopping_rounds": 0}
    model = DeepLearningRegressor(**given, n_shards=3).fit(table, "y")
    assert model.parameters_["train_samples_per_iteration"] == 250  # four averages in an epoch, at least
    assert list(model.history_["samples"].unique()) == [0, 1000, 2000, 3000, 4000, 5000, 6000]
    each = DeepLearningRegressor(**given, n_shards=3, score_each_iteration=True).fit(table, "y")
    assert_same_bits(each, model)
    assert len(each.history_) == 25 + (len(each.history_) - len(each.history_["samples"].unique()))
    one = DeepLearningRegressor(**given).fit(table, "y")
    assert one.parameters_["n_shards"] == 1
    assert one.parameters_["train_samples_per_iteration"] == -1


@gen_cluster(client=True, nthreads=[("127.0.0.1", 4), ("127.0.0.1", 1), ("127.0.0.1", 1)], timeout=120)
async def test_every_worker_gets_a_shard_and_is_warned_of_where_there_are_too_few(c, s, a, b, d):
    X = parted(make_table(600)[["a", "b", "y"]])
    held = []

    def look(record):
        held.append([len(p.shard.fixed) for w in (a, b, d) for p in training_plugins(w)])

    await DeepLearningRegressor(**FIXED | {"n_shards": 5}).fit(X, "y", callbacks=[look])
    assert held[-1] in ([3, 1, 1], [2, 2, 1], [2, 1, 2])  # a team of four is about twice as fast as one
    with pytest.warns(DaskDLWarning, match=r"1 of 3 workers have no rows of .*: it has n_shards=2. Raise n_shards"):
        await DeepLearningRegressor(**FIXED | {"n_shards": 2}).fit(X, "y")


def test_shards_without_rows_in_the_first_rounds_have_replicas_too():
    """Elastic averaging draws them to the consensus when their turn comes."""
    table = make_table(300)[["a", "b", "y"]]
    given = {"hidden": (5,), "epochs": 1, "random_state": 1, "reproducible": True, "n_shards": 20}
    model = DeepLearningRegressor(**given, elastic_averaging=True).fit(table, "y")
    assert model.model_.record.n_seen == 300


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}], ids=str)
def test_a_round_that_is_broken_off_is_trained_anew(tmp_path, monkeypatch, given):
    table = make_table(900)[["a", "b", "level", "y"]]
    settings = FIXED | {"train_samples_per_iteration": 200} | given
    saving = {"checkpoint_dir": tmp_path, "checkpoint_interval": 1e9}
    whole = DeepLearningRegressor(**settings).fit(table, "y")
    inner, calls = FixedShard.train, []

    def train(shard, start, stop, *more):
        calls.append(start)
        loss = inner(shard, start, stop, *more)
        if len(calls) == 8:  # the second shard of the third round
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(FixedShard, "train", train)
    with pytest.warns(DaskDLWarning, match="training was interrupted"):
        part = DeepLearningRegressor(**settings, **saving).fit(table, "y")
    # Elastic replicas have learned a part of the round: the training goes back to a copy of before.
    assert part.model_.record.n_seen == (0 if given else 400)
    assert_same_bits(DeepLearningRegressor(**settings, **saving).fit(table, "y", resume=True), whole)


def test_more_epochs_are_asked_for_when_a_training_is_resumed(tmp_path):
    table = make_table(900)[["a", "b", "y"]]
    settings = {"hidden": (5,), "random_state": 1, "reproducible": True, "n_shards": 8, "stopping_rounds": 0}
    settings |= {"overwrite_with_best_model": False}
    saving = {"checkpoint_dir": tmp_path, "checkpoint_interval": 1e9}
    whole = DeepLearningRegressor(**settings, epochs=4).fit(table, "y")
    DeepLearningRegressor(**settings, epochs=2, **saving).fit(table, "y")
    assert_same_bits(DeepLearningRegressor(**settings, epochs=4, **saving).fit(table, "y", resume=True), whole)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
async def test_rows_that_no_epoch_visits_are_scored_all_the_same(c, s, a, b):
    """Class balance may leave out all rows of a shard, or of a worker."""
    table = make_table(240).sort_values("label", ignore_index=True)[["a", "b", "label"]]
    given = FIXED | {"balance_classes": True, "class_sampling_factors": [0, 1], "train_samples_per_iteration": 60}
    here = await asyncio.to_thread(in_process, DeepLearningClassifier(**given), table, "label")
    there = await DeepLearningClassifier(**given).fit(parted(table), "label")
    assert_same_bits(there, here)
    np.testing.assert_allclose(there.history_["training_logloss"], here.history_["training_logloss"], rtol=1e-12)
    unlabelled = table.assign(label=table["label"].where(table.index < 120))
    free = rounds(60) | {"balance_classes": True, "force_load_balance": False}
    with pytest.warns(DaskDLWarning, match="1 of 2 workers have no rows"):
        model = await DeepLearningClassifier(**free).fit(parted(unlabelled.iloc[60:180], 2), "label")
    assert model.model_.record.n_seen > 0


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}, {"averaging_momentum": 0.0}], ids=str)
def test_what_averaging_keeps_is_counted(tmp_path, monkeypatch, capsys, given):
    """In the room for a checkpoint, and in memory."""
    wanted = []
    monkeypatch.setattr(CheckpointFolder, "check_room", lambda self, n_bytes: wanted.append(n_bytes))
    table = make_table(300)[["a", "b", "y"]]
    settings = FIXED | {"hidden": (200, 200), "checkpoint_interval": 1e9, "verbose": True} | given
    settings |= {"train_samples_per_iteration": 100}
    kept = []
    for n_shards in (1, 3):
        place = tmp_path / str(n_shards)
        model = DeepLearningRegressor(**settings | {"n_shards": n_shards}, checkpoint_dir=place).fit(table, "y")
        assert model.model_.record.effective["n_shards"] == n_shards
        size = Path(CheckpointFolder(str(place)).newest(str)).stat().st_size
        assert wanted.pop() == pytest.approx(size, rel=0.1)
        line = capsys.readouterr().out.split("memory: ")[1].splitlines()[0]
        kept.append(float(re.search(r"([\d.]+) MB kept copies", line)[1]))
    # Three copies: replicas are in each, a velocity of a third of a network too, and one is with the average.
    more = 4 if "elastic_averaging" in given else 1 if given else 1 + 2 / 3
    assert kept[1] == pytest.approx(more * kept[0], rel=0.02)
