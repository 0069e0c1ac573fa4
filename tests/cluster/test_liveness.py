"""Which workers can be relied on."""

from __future__ import annotations

import numpy as np
from cluster.tables import parted, rounds, training_plugins, two_workers
from tables import make_table

from dask_dl import DeepLearningClassifier
from dask_dl.cluster import membership
from dask_dl.cluster.liveness import Liveness


def blocks_of(worker):
    (home,) = training_plugins(worker)
    return sorted(home.shard.tables["training"].blocks if "training" in home.shard.tables else ())


@two_workers
async def test_a_worker_that_was_taken_for_lost_begins_anew(c, s, a, b, monkeypatch):
    """What it had read belongs to the other by then: no row is trained or scored twice."""
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # as above
    look, hidden, held, sums = Liveness.look, [], [], []

    def spy(self, *age):
        alive = look(self, *age)
        if hidden and hidden[0] > 0:
            hidden[0] -= 1
            alive.pop(a.address, None)
        return alive

    def watch(record):
        if record["iterations"] == 3:
            hidden.append(5)
        held.append([blocks_of(a), blocks_of(b)])
        return any(len(theirs) == 18 for _, theirs in held) and min(map(len, held[-1])) == 9

    Liveness.look = spy
    try:
        given = rounds(300) | {"epochs": 1e4}
        model = await DeepLearningClassifier(**given).fit(parted(make_table(), 18), "label", callbacks=[watch])
    finally:
        Liveness.look = look
    sums.append(np.sum(model.model_.record.history.measured["training"].confusion.matrix))
    assert sums == [2000]
    assert any(len(theirs) == 18 for _, theirs in held)
    assert sorted(held[-1][0] + held[-1][1]) == list(range(18)) and min(map(len, held[-1])) == 9
