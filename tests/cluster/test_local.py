"""Trainers in one process: on the rows of one backend each does what it does alone."""

from __future__ import annotations

import threading

import pytest
from cluster.trainings import N_ROUNDS, TRAININGS, Training, alone, asked, assert_same, at_once, counted, in_turns
from tables import make_table

from dask_dl.cluster.local import LocalBackend
from dask_dl.frame import blocks
from dask_dl.training.engine import encode


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("n_shards", [None, 3])
def test_trainers_in_a_process_do_not_know_of_each_other(monkeypatch, n_shards, storage):
    table = make_table(1000)[["a", "b", "level", "y"]]
    requested, request = asked(table, {"storage": storage, "score_training_samples": 200})

    def opened():
        return LocalBackend(n_shards=n_shards)

    expected = alone(opened, request, requested)
    for together in (in_turns, at_once):
        with opened() as backend:
            encoded = encode(request, backend)
            numbers = counted(monkeypatch, blocks)
            trainings = together(backend, encoded, requested)
            for training, theirs in zip(trainings, expected, strict=True):
                assert_same(training.learned(), theirs)
            stores = [training.trainer.shard.tables["training"] for training in trainings]
            assert all(store is stores[0] for store in stores)
            first, *others = trainings
            first.trainer.close()
            first.trainer.close()
            assert first.trainer.shard.replica is None
            assert len(stores[0].blocks)
            again = Training(backend, encoded, requested, TRAININGS[0])
            for _ in range(N_ROUNDS):
                again.round()
            assert_same(again.learned(), expected[0])
            for training, theirs in zip(others, expected[1:], strict=True):
                assert_same(training.learned(), theirs)
            assert not numbers
            monkeypatch.undo()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_dl")]
