"""Capacity of workers: who gets most of the work, and who has least room for it."""

from __future__ import annotations

from types import SimpleNamespace

import dask
import pytest

from dask_dl.cluster.capacity import budget, slots, too_small, workload
from dask_dl.cluster.liveness import Member
from dask_dl.cluster.machine import disk_of
from dask_dl.cluster.placement import RowRange

GB = 10**9
MEMBERS = {
    "w1": Member("w1", 1, 4 * GB, "one"),
    "w2": Member("w2", 3, 2 * GB, "two"),
    "w3": Member("w3", 2, 0, "two"),
}


def blocks(*rows):
    return [RowRange(k, 0, n) for k, n in enumerate(rows)]


def test_the_worker_with_most_threads_has_its_share_and_a_block_more():
    assert slots(MEMBERS) == 6 and slots({}) == 1
    found = workload(MEMBERS, [blocks(100, 50, 150), blocks(10)], 2, shares=True)
    assert (found.n_rows, found.n_validation, found.n_readers, found.share) == (150 + 150, 5 + 5, 3, 0.5)
    assert found.largest_blocks == (150, 10) and found.n_kept == 2
    assert workload(MEMBERS, [blocks(100, 300), blocks()], 2, shares=False).n_rows == 400


def test_the_budget_is_that_of_the_worker_with_least(tmp_path):
    disk = disk_of(tmp_path)
    facts = {
        name: {"memory": 8 * GB, "disk": disk._replace(free=free, device=host)}
        for name, free, host in (("w1", 9 * GB, "one"), ("w2", 12 * GB, "two"), ("w3", 12 * GB, "two"))
    }
    with dask.config.set({"distributed.worker.memory.target": 0.6}):
        found = budget(MEMBERS, facts, SimpleNamespace(lazy=None))
    assert found.memory == pytest.approx(0.6 * 2 * GB)  # of w2; w3 has half of what its machine has
    assert found.disk == 6 * GB  # two workers share it
    assert "Save it to Parquet" in found.no_stream()
    unknown = budget(MEMBERS, {}, SimpleNamespace(lazy=None))
    assert unknown.memory == 0 and "not known what disks" in unknown.no_disk


def test_workers_that_dask_would_pause_are_named_with_remedies():
    with dask.config.set({"distributed.worker.memory.pause": 0.8}):
        assert too_small(MEMBERS, int(1.5 * GB)) is None
        found = too_small(MEMBERS, int(1.7 * GB))
    assert "1 workers have too little memory, w2 for example 2 GB, of which Dask lets it use 80%" in found
    assert "Raise their memory limit" in found
