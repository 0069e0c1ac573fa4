"""What hosts have and a training needs: versions, partitions, memory and disk."""

from __future__ import annotations

import numpy as np
from cluster.tables import nothing_left
from distributed.utils_test import gen_cluster
from preflight.tables import SMALL, found, of_parts, parted, table

from dask_dl import check
from dask_dl.storage import Budget


def test_partitions_too_large_for_the_memory_there_is(monkeypatch):
    budget = Budget(400 * 2**20, "80% of nearly nothing", 2**40, "/scratch")
    monkeypatch.setattr("dask_dl.cluster.local.LocalBackend.budget", lambda self, source: budget)
    frame = table(400_000).drop(columns="label")
    report = check(of_parts([frame[:1000], frame]), "y", **SMALL)
    large = found(report, "warning", "partition 1 takes", "80% of nearly nothing", "1 of 2 partitions")
    assert large.partition == 1 and "memory_limit" in large.remedy
    assert found(report, "warning", "may need").parameter == "storage"
    assert found(report, "note", "was not measured: it may need more memory")


def test_a_disk_that_is_too_small(monkeypatch):
    budget = Budget(2**34, "a limit", 100, "/scratch", "/scratch lies in memory")
    monkeypatch.setattr("dask_dl.cluster.local.LocalBackend.budget", lambda self, source: budget)
    report = check(table(), "y", storage="disk", **SMALL)
    assert found(report, "warning", "100 B are free in /scratch").parameter == "storage"


two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


def test_versions_that_differ_are_found_by_host(answers):
    answers[0] = {"numpy": "1.0", "host": "node7"}

    @two_workers
    async def refused(c, s, a, b):
        report = await check(parted(table().assign(x=np.inf)), "y", **SMALL)
        await nothing_left(s, a, b)
        reports.append(report)

    @two_workers
    async def differing(c, s, a, b):
        reports.append(await check(parted(table()), "y", **SMALL))

    reports = []
    differing()
    (report,) = reports
    assert report.ok
    finding = found(report, "warning", "numpy is", "1.0 on tcp://")
    assert finding.host == "node7" and "Install the same version everywhere" in finding.remedy
    assert found(report, "note", "host node7: 1 worker,", "numpy 1.0")

    # One worker cannot take part: the table is scanned by the other.
    answers[0], reports[:] = {"dask_dl": "0.0.1", "host": "node7"}, []
    refused()
    (report,) = reports
    assert found(report, "error", "dask_dl is", "0.0.1 on tcp://").host == "node7"
    assert found(report, "error", "infinite values in partition 0").column == "x"

    # None can.
    answers[1], reports[:] = ModuleNotFoundError("No module named 'dask_dl'"), []
    refused()
    (report,) = reports
    assert [f.text.partition(" ")[0] for f in report.of("error")] == ["dask_dl", "dask_dl"]
    assert found(report, "note", "was not read: there is no worker")
