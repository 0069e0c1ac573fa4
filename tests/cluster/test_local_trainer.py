"""Trainers of one process, of one replica and of fixed shards: snapshots, ways back, and rounds that are broken off."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.trainings import TRAININGS, N, Training, asked
from tables import make_table

from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.setup import RoundSettings
from dask_dl.errors import ReplicasLostError
from dask_dl.training.engine import encode


def training_of(backend):
    requested, request = asked(make_table(500)[["a", "b", "y"]], {})
    return Training(backend, encode(request, backend), requested, TRAININGS[0])


@pytest.mark.parametrize(
    "given",
    [{}, {"n_shards": 3, "momentum": 0.5}, {"n_shards": 3, "moving_rate": 0.5}],
    ids=["one", "momentum", "elastic"],
)
def test_a_training_that_goes_back_learns_the_same_again(given):
    with LocalBackend(**given) as backend:
        training = training_of(backend)
        training.round()
        copy = training.trainer.snapshot()
        training.round()
        there = training.learned()[3]
        training.trainer.restore(copy)
        assert training.trainer.n_seen == copy.n_seen == N
        np.testing.assert_array_equal(training.trainer.weights().flat, copy.flat)
        training.round()
        for mine, other in zip(training.learned()[3], there, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_a_snapshot_is_a_copy_and_weights_are_what_is_trained():
    with LocalBackend() as backend:
        training = training_of(backend)
        weights, copy = training.trainer.weights(), training.trainer.snapshot()
        training.round()
        assert np.shares_memory(weights.flat, training.trainer.weights().flat)
        assert (weights.flat != copy.flat).any()


def test_replicas_that_are_drawn_to_a_consensus_are_no_copy_within_a_round():
    with LocalBackend(n_shards=3, moving_rate=0.5) as backend:
        training = training_of(backend)
        training.round()
        trainer = training.trainer
        trainer.train(N, RoundSettings())
        with pytest.raises(ReplicasLostError, match="have learned a part of a round"):
            trainer.weights()
        trainer.average()
        assert len(trainer.weights().averaging.replicas) == trainer.n_replicas == 3


def test_what_threads_do_is_reported():
    with LocalBackend() as backend:
        found = training_of(backend).trainer.report()
    assert (found["n_jobs"], found["exchange_interval"]) == (1, None) and "parallelism" in found
