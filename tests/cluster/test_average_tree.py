"""Who fetches the average of a round from whom."""

from __future__ import annotations

from collections import Counter, defaultdict
from types import SimpleNamespace

import pytest
from cluster.tables import nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import average_tree
from dask_dl.cluster.average_tree import FAN, AverageTree


class Submitted(list):
    """Tasks as (name, worker, arguments), which are their own futures."""

    def submit(self, name, worker, _, *arguments):
        self.append((name, worker, arguments))
        return self[-1]

    def wait(self, futures, also):
        return set()

    def results(self, futures, lost):
        return dict(futures), lost


@pytest.mark.parametrize("n", [1, 2, 8, 9, 16, 17, 72, 73, 100, 1000])
def test_no_worker_is_asked_for_the_average_by_more_than_eight(n):
    workers, tasks = [f"{k:04d}" for k in range(n)], Submitted()
    membership = SimpleNamespace(submitter=tasks, taking_part=dict.fromkeys(workers), version=1, job="job")
    membership.next_version, membership.lose = lambda: None, lambda workers, why: None
    parts, hosts = {w: f"part of {w}" for w in workers}, {w: w for w in workers}
    assert AverageTree(membership, None).average(parts, hosts, 0.0, 0)[0].keys() == set(workers)
    passed = [task for task in tasks if task[0] in {"relay", "receive"}]
    assert sorted(task[1] for task in passed if task[0] == "receive") == workers
    fetching = defaultdict(set)
    for _, worker, (source, *_) in passed:
        sender = source[1] if isinstance(source, tuple) else workers[0]  # the contribution of the only worker
        if sender != worker or source[0] == "average":
            fetching[id(source)].add(worker)
    assert all(len(receivers) <= FAN for receivers in fetching.values())
    senders = Counter(task[1] for task in passed if task[0] == "relay")
    assert len(senders) == (n - 1) // FAN and set(senders.values()) <= {1}


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 5, timeout=120)
async def test_a_training_whose_average_is_passed_on(c, s, *workers):
    patch = pytest.MonkeyPatch()
    patch.setattr(average_tree, "FAN", 2)
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table(), 10), "y")
    finally:
        patch.undo()
    assert model.model_.record.n_seen == 4000 and "dask-dl-relay" in s.task_prefixes
    await nothing_left(s, *workers)
