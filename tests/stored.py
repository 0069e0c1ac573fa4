"""Trainings whose rows are in memory, on the disk, or nowhere."""

from __future__ import annotations

import tables

from dask_dl import memory, storage
from dask_dl.storage import decide


def make_table(n=3000, seed=0):
    return tables.make_table(n, seed).drop(columns="label")


SETTINGS = {"hidden": (8,), "epochs": 4, "random_state": 1, "n_jobs": 1, "train_samples_per_iteration": 700}
SETTINGS |= {"score_interval": 0.0, "score_duty_cycle": 1.0, "stopping_rounds": 0}


def left_in(folder):
    return [path for path in folder.rglob("*") if "blocks-" in path.name]


def small_windows(monkeypatch, n_bytes):
    monkeypatch.setattr(storage, "MIN_WINDOW", n_bytes)
    monkeypatch.setattr(storage, "MAX_WINDOW", n_bytes)
    monkeypatch.setattr(storage, "BLOCKS_PER_WINDOW", 1)
    monkeypatch.setattr("dask_dl.cluster.shard.MIN_SEGMENT", 200)


def too_little(monkeypatch):
    """Have a byte less than rows in memory would need."""

    def decided(requested, need, budget, **more):
        return decide(requested, need, budget._replace(memory=need(memory.IN_MEMORY).peak - 1), **more)

    monkeypatch.setattr("dask_dl.training.loading.decide", decided)
