"""Partitions that are too large for workers, and workers that are paused: found, and said with figures and remedies."""

from __future__ import annotations

import pickle
import time
import types

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from cluster.tables import PLAIN
from distributed import Client, LocalCluster

from dask_dl import DeepLearningRegressor, memory
from dask_dl.cluster import liveness as liveness_module
from dask_dl.cluster import tables, worker_memory
from dask_dl.cluster.liveness import Liveness, Member
from dask_dl.cluster.worker_memory import Restarts, check_partitions, died_reading
from dask_dl.errors import ClusterError, DaskDLWarning, NoWorkersError, WorkerMemoryError, warn
from dask_dl.frame.partition_size import PartitionSize
from dask_dl.frame.source import open_source

MIB = 2**20


def liveness(limit, n_threads=1, *, has_nanny=True):
    return {f"tcp://{k}": Member(f"tcp://{k}", n_threads, limit, "here", has_nanny) for k in range(2)}


class OfSize:
    """What is known of a table with partitions of so many MiB."""

    def __init__(self, monkeypatch):
        self._patch = monkeypatch

    def __call__(self, n_mib):
        self._patch.setattr(worker_memory, "largest_known", lambda _: PartitionSize(0, n_mib * MIB))
        return open_source(dd.from_pandas(pd.DataFrame({"a": [1.0], "y": [1.0]}), npartitions=1), "y")


@pytest.fixture
def source(monkeypatch):
    return OfSize(monkeypatch)


def test_a_partition_that_fits_is_not_spoken_of(source):
    check_partitions(liveness(1024 * MIB), source(64), warn)
    check_partitions(liveness(0), source(64), warn)  # no limit
    local = open_source(pd.DataFrame({"a": [1.0], "y": [1.0]}), "y")
    check_partitions(liveness(64 * MIB), local, warn)  # nothing of it is read by workers


def test_a_partition_that_may_not_fit_is_warned_of_with_figures_and_remedies(source):
    with pytest.warns(DaskDLWarning) as caught:
        check_partitions(liveness(1024 * MIB), source(128), warn)
    (text,) = [str(warning.message) for warning in caught]
    for what in (
        "partition 0 of the training table",
        "134 MB",
        "tcp://",
        "1.02 GB (95% of its memory limit of 1.07 GB)",
    ):
        assert what in text
    for remedy in ("split_row_groups=True", "blocksize='", "repartition(partition_size='", "memory_limit"):
        assert remedy in text


def test_threads_of_a_worker_read_at_the_same_time(source):
    check_partitions(liveness(1024 * MIB, 1), source(64), warn)
    with pytest.warns(DaskDLWarning, match="a partition for each of 4 threads"):
        check_partitions(liveness(1024 * MIB, 4), source(64), warn)


def test_a_partition_that_cannot_fit_is_refused_before_it_is_read(source):
    with pytest.raises(
        WorkerMemoryError, match=r"partition 0 of the training table takes 268 MB.*Hardly anything fits"
    ):
        check_partitions(liveness(384 * MIB), source(256), warn)
    with pytest.warns(DaskDLWarning, match="partition 0"):  # nobody ends a worker without a nanny
        check_partitions(liveness(384 * MIB, has_nanny=False), source(256), warn)
    one_fits = liveness(384 * MIB) | {"large": Member("large", 1, 4096 * MIB, "there", has_nanny=True)}
    with pytest.warns(DaskDLWarning, match="partition 0"):
        check_partitions(one_fits, source(256), warn)


def test_workers_without_room_for_the_imports_are_warned_of_whatever_is_read():
    unknown = dd.from_map(lambda k: pd.DataFrame({"a": [k], "y": [1.0]}), range(3))
    with pytest.warns(DaskDLWarning, match="imports alone take up to"):
        check_partitions(liveness(320 * MIB), open_source(unknown, "y"), warn)
    check_partitions(liveness(1024 * MIB), open_source(unknown, "y"), warn)


@pytest.mark.parametrize(
    ("partitions", "n_bytes", "n_restarts", "texts"),
    [
        ([3], 10**8, 4, ["partition 3 of the training table, of 100 MB in memory or more", "4 times Dask restarted"]),
        ([5, 1], 0, 0, ["one of the partitions 1, 5 of", "see their logs"]),
        (range(9), 10**8, 0, ["one of the partitions 0, 1, 2, 3, 4, ... of"]),
        ([], 0, 4, ["a partition of the training table"]),
    ],
)
def test_what_is_said_of_workers_that_died(source, partitions, n_bytes, n_restarts, texts):
    error = died_reading(liveness(1024 * MIB), source(1), partitions, n_bytes, n_restarts)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ClusterError) and str(again) == str(error)
    assert all(text in str(error) for text in [*texts, "1.07 GB", "split_row_groups", "repartition"])
    if n_bytes:  # what they died of is no remedy
        assert "50MB" in str(error)


def test_only_restarts_from_now_on_count():
    events = [(1.0, {"worker": "a"}), (2.0, {"worker": "b"})]
    client = types.SimpleNamespace(get_events=lambda topic: events)
    restarts = Restarts(client)
    assert restarts.workers() == []
    events += [(3.0, {"worker": "b"}), (4.0, {"worker": "b"})]
    assert restarts.workers() == ["b", "b"]
    client.get_events = None  # the scheduler is gone
    assert Restarts(types.SimpleNamespace()).workers() == []


def test_paused_workers_are_named_with_their_memory_and_not_waited_for_longer(monkeypatch):
    monkeypatch.setattr(liveness_module, "CUT_OFF", 0.0)  # a worker that is paused counts no more at once
    worker = {
        "status": "paused",
        "last_seen": 0,
        "nthreads": 1,
        "memory_limit": 320 * 10**6,
        "metrics": {"memory": 29e7},
    }
    identity = {"workers": {"tcp://one": worker}}
    client = types.SimpleNamespace(
        sync=lambda *_, **__: identity, scheduler=types.SimpleNamespace(identity=None), status="running"
    )
    some = Liveness(client, lambda _: None)
    with pytest.raises(NoWorkersError, match=r"tcp://one at 290 MB of 320 MB.*more memory") as caught:
        some.wait(0.1)
    assert "wait longer" not in str(caught.value)
    identity["workers"] = {}
    with pytest.raises(NoWorkersError, match="wait longer for them: worker_timeout"):
        some.wait(0.1)


def greedy(k, folder, n_modest):
    """A partition whose making takes more memory than a worker has, but for the first reads."""
    n_read = len(list(folder.iterdir()))
    (folder / str(n_read)).touch()
    if n_read >= n_modest:
        held = np.ones(600 * MIB // 8)
        time.sleep(5)
        assert held[0]
    return pd.DataFrame({"a": np.arange(100.0) + k, "y": np.arange(100.0)})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("n_modest", [0, 1])
def test_workers_that_die_of_a_partition_are_a_typed_error(n_modest, tmp_path, monkeypatch):
    """In the scan, and when it is encoded; of one death, as restarts take their time."""
    monkeypatch.setattr(tables, "MAX_RESTARTS", 1)
    frame = dd.from_map(
        greedy, [0], folder=tmp_path, n_modest=n_modest, meta=pd.DataFrame({"a": [0.0], "y": [0.0]}).iloc[:0]
    )
    given = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 640 * MIB}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(**given) as cluster,
        Client(cluster) as client,
    ):
        model = DeepLearningRegressor(**PLAIN, client=client)
        with pytest.raises(WorkerMemoryError, match=r"partition 0 of the training table.*restarted.*split_row_groups"):
            model.fit(frame, "y")


def test_what_surely_does_not_fit_is_less_than_what_may_not():
    for limit in (512 * MIB, 1024 * MIB, 8192 * MIB):
        assert not memory.surely_too_large(memory.largest_partition(limit), limit)
