"""Memory and disk that a process may have."""

from __future__ import annotations

import dask

from dask_dl.cluster import machine

MB = 10**6


def test_what_a_process_may_have(monkeypatch):
    limit, of = machine.memory_budget()
    assert 0 < limit < 2**50 and "80%" in of
    assert machine.of_worker(1000 * MB)[0] == 600 * MB
    with dask.config.set({"distributed.worker.memory.target": False, "distributed.worker.memory.spill": 0.5}):
        assert machine.of_worker(1000 * MB) == (500 * MB, "50% of a worker's limit of 1 GB")
    shm = machine.disk_of(machine.Path("/dev/shm/not/there"))
    assert machine.unusable(shm) is not None and "tmpfs" in machine.unusable(shm)
