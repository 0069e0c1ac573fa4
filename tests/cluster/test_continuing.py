"""Going on from a model on a cluster: on workers as in one process, and from one to the other."""

from __future__ import annotations

import numpy as np
from cluster.tables import PLAIN, assert_same_bits, nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningRegressor

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
COLUMNS = ["a", "b", "level", "y"]


@one_worker
async def test_one_worker_goes_on_to_the_bits_of_one_training(c, s, a):
    X = parted(make_table()[COLUMNS])
    whole = await DeepLearningRegressor(**rounds(700) | {"epochs": 3}).fit(X, "y")
    half = await DeepLearningRegressor(**rounds(700) | {"epochs": 1}).fit(X, "y")
    more = await DeepLearningRegressor(**rounds(700) | {"epochs": 3}).fit(X, "y", checkpoint=half)
    assert_same_bits(more, whole)
    await nothing_left(s, a)


@two_workers
async def test_two_workers_go_on_with_other_rows(c, s, a, b, tmp_path):
    table, other = make_table()[COLUMNS], make_table(731, 3)[COLUMNS]
    local = DeepLearningRegressor(**PLAIN, client=None)
    await local.fit(parted(table), "y", sample_weight=None)
    n = local.model_.record.n_seen
    more = await DeepLearningRegressor(**PLAIN | {"epochs": 5}, export_checkpoints_dir=str(tmp_path)).fit(
        parted(other), "y", checkpoint=local
    )
    record = more.model_.record
    assert (record.n_seen, record.n_epochs) == (n + 3 * len(other), 5)
    assert record.history.own[0].samples == n
    assert more.encoder_ == local.encoder_
    assert more.score(table, "y") > local.score(table, "y") - 0.1
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".zip"]
    warm = DeepLearningRegressor(**PLAIN, warm_start=True)
    await warm.fit(parted(table), "y")
    await warm.fit(parted(table), "y")
    await warm.partial_fit(parted(other), "y")
    assert warm.model_.record.n_epochs == 5
    await nothing_left(s, a, b)


@two_workers
async def test_a_reproducible_training_goes_on_to_the_bits_of_one_process(c, s, a, b):
    table, other = make_table()[COLUMNS], make_table(730, 3)[COLUMNS]
    given = PLAIN | {"reproducible": True, "n_shards": 3, "averaging_momentum": 0.0}
    half = await DeepLearningRegressor(**given).fit(parted(table), "y")
    there = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(other), "y", checkpoint=half)
    again = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(other), "y", checkpoint=half)
    assert_same_bits(there, again)
    whole = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(table), "y")
    more = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(table), "y", checkpoint=half)
    assert_same_bits(more, whole)
    assert np.isfinite(there.model_.network.flat).all()
    await nothing_left(s, a, b)
