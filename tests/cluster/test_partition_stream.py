"""Partitions come in order, few at a time, and a failure ends the work."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from dask_dl.cluster import partition_stream
from dask_dl.cluster.partition_stream import computed_partitions
from dask_dl.errors import NoWorkersError, SchemaError

META = pd.DataFrame({"k": pd.Series([], dtype="int64")})
N_THREADS = 2
ONE_WORKER = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}


def make(k, folder, fails=None, waits=False):
    """Partition k; a file in the folder tells that it was begun, wherever that was."""
    (Path(folder) / str(k)).touch()
    if k == fails:
        raise ValueError("no such thing")
    deadline = time.monotonic() + 30
    while waits and not (Path(folder) / "go on").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.02 if k % 3 == 0 else 0)  # some overtake others
    return pd.DataFrame({"k": [k, k]})


def begun(folder):
    return sorted(int(file.name) for file in folder.glob("[0-9]*"))


def parts(folder, n, client=None, timeout=60.0, **given):
    frame = dd.from_map(partial(make, folder=str(folder), **given), range(n), meta=META)
    return computed_partitions(frame, client, label="the table", timeout=timeout, say=lambda _: None)


@pytest.fixture(params=["here", "on workers"])
def client(request, monkeypatch):
    if request.param == "here":
        monkeypatch.setattr(partition_stream, "CPU_COUNT", N_THREADS)
        yield None
        return
    with LocalCluster(**{**ONE_WORKER, "n_workers": N_THREADS}) as cluster, Client(cluster) as client:
        yield client


def test_partitions_come_in_order_and_few_are_ahead(client, tmp_path):
    n = 17
    for k, part in enumerate(parts(tmp_path, n, client)):
        assert part["k"].tolist() == [k, k]
        assert begun(tmp_path)[-1] <= k + 2 * N_THREADS
    assert begun(tmp_path) == [*range(n)]


def test_a_failure_is_told_and_ends_the_work(client, tmp_path):
    with pytest.raises(SchemaError, match=r"(?s)the table cannot be read.*no such thing"):
        list(parts(tmp_path, 40, client, fails=3))
    assert begun(tmp_path)[-1] <= 3 + 2 * N_THREADS


def test_a_reader_that_stops_ends_the_work(client, tmp_path):
    found = parts(tmp_path, 40, client)
    next(found)
    found.close()
    assert begun(tmp_path)[-1] <= 2 * N_THREADS


def test_a_cluster_without_workers_is_not_waited_for_without_end(tmp_path):
    with (
        LocalCluster(**{**ONE_WORKER, "n_workers": 0}) as cluster,
        Client(cluster) as client,
        pytest.raises(NoWorkersError, match=r"had no worker for 0\.2 s"),
    ):
        next(parts(tmp_path, 2, client, timeout=0.2))


def test_workers_that_leave_are_missed_while_a_partition_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(partition_stream, "LOOK", 0.1)

    def leave():
        deadline = time.monotonic() + 60
        while not begun(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        cluster.scale(0)

    with LocalCluster(**ONE_WORKER) as cluster, Client(cluster) as client:
        leaving = threading.Thread(target=leave)
        leaving.start()
        try:
            with pytest.raises(NoWorkersError):
                list(parts(tmp_path, 3, client, timeout=0.5, waits=True))
        finally:
            (tmp_path / "go on").touch()
            leaving.join(60)
